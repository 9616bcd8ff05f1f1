"""Who may look at the page: nobody, who has the admin key, or everybody."""

import re

import aiohttp
import pytest
from traffic import ADMIN, BATCH, send_traffic

from router.admin.access import COOKIE, FORM_COOKIE
from router.admin.logins import BURST, LOGIN_S, PAUSE_S, Logins
from router.admin.page import POLICY
from router.core.limits import MICROS
from router.settings import hash_key


def session():
    return aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))


async def form(http, on):
    """The token of the form that is shown, whose cookie the session keeps."""
    async with http.get(on.url + "/") as reply:
        return re.search(r'name="token" value="([0-9a-f]{64})"', await reply.text())[1]


async def log_in(http, on, key=ADMIN, **how):
    data = {"key": key, "token": await form(http, on)}
    async with http.post(on.url + "/login", data=data, allow_redirects=False, **how) as reply:
        await reply.read()
        return reply


async def cookie_of(on, key=ADMIN):
    """The login as a header that anybody could send who has copied it."""
    async with session() as http:
        return {"Cookie": f"{COOKIE}={(await log_in(http, on, key)).cookies[COOKIE].value}"}


async def test_without_an_admin_key_the_page_says_that_it_is_closed_and_how_to_open_it(running, demo, look):
    demo["server"] |= {"open_page": False, "admin_key": None}
    on = await running(demo)
    status, page = await look(on)
    assert status == 200
    assert "This page is closed" in page
    assert "admin_key" in page
    assert "<form" not in page
    async with on.http.post(on.url + "/login", data={"key": ""}, allow_redirects=False) as reply:
        assert reply.status == 403
        assert "Set-Cookie" not in reply.headers


async def test_an_open_page_is_for_everybody_and_shows_no_login(seen, look):
    status, page = await look(seen)
    assert status == 200
    assert "Budgets" in page
    assert "<form" not in page


async def test_a_closed_page_shows_a_login_form_and_nothing_of_what_it_guards(running, demo, look):
    demo["server"]["open_page"] = False
    status, page = await look(await running(demo))
    assert status == 200
    assert 'type="password"' in page
    assert "search" not in page
    assert "refresh" not in page  # it would wipe what is being typed


async def test_logging_in_sets_a_cookie_that_opens_the_page_and_logging_out_takes_it_back(running, demo):
    demo["server"]["open_page"] = False
    on = await running(demo)
    async with session() as http:
        reply = await log_in(http, on)
        assert (reply.status, reply.headers["Location"]) == (303, "./")
        told, ended = reply.headers.getall("Set-Cookie")
        assert {"HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"} <= set(told.split("; "))
        assert ADMIN not in told
        assert ended.startswith(f'{FORM_COOKIE}=""')
        async with http.get(on.url + "/") as reply:
            page = await reply.text()
            assert "Budgets" in page
            assert "Log out" in page
        async with http.post(on.url + "/logout", data={"token": await form(http, on)}) as reply:
            assert 'type="password"' in await reply.text()
        async with http.get(on.url + "/") as reply:
            assert 'type="password"' in await reply.text()


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ("token=TOKEN&key=wrong", {}, 403),
        ("token=TOKEN&key=", {}, 403),
        ("token=TOKEN", {}, 403),
        ("token=TOKEN&key=wrong&key=" + ADMIN, {}, 403),
        ("token=TOKEN&key=" + ADMIN, {"Sec-Fetch-Site": "cross-site"}, 403),
        ("token=TOKEN&key=" + ADMIN, {"Sec-Fetch-Site": "same-site"}, 403),
        ("token=TOKEN&key=" + ADMIN, {"Content-Type": "text/plain"}, 400),
        ("token=TOKEN&key=" + ADMIN + "&x=" + 5000 * "x", {}, 400),
        ("token=TOKEN&a=1&b=2&c=3&d=4&key=" + ADMIN, {}, 400),
        ("key=" + ADMIN, {}, 400),
        ("token=&key=" + ADMIN, {}, 400),
        ("token=" + 64 * "0" + "&key=" + ADMIN, {}, 400),
        ("token=%F0%9F%92%B0&key=" + ADMIN, {}, 400),
        ("token=TOKEN&key=" + ADMIN, {"Cookie": f"{FORM_COOKIE}=another"}, 400),
        ("token=TOKEN&key=" + ADMIN, {"Cookie": f"{FORM_COOKIE}="}, 400),
    ],
)
async def test_a_login_that_is_not_this_pages_form_with_the_right_key_sets_no_cookie(
    running, demo, body, headers, status
):
    demo["server"]["open_page"] = False
    on = await running(demo)
    async with session() as http:
        body = body.replace("TOKEN", await form(http, on))
        shown = {cookie.key: cookie.value for cookie in http.cookie_jar}[FORM_COOKIE]
    headers = {
        "Content-Type": "application/x-www-form-urlencoded", "Cookie": f"{FORM_COOKIE}={shown}", **headers,
    }  # fmt: skip
    async with on.http.post(on.url + "/login", data=body, headers=headers, allow_redirects=False) as reply:
        assert reply.status == status
        assert COOKIE not in reply.cookies
        assert reply.headers["Content-Security-Policy"] == POLICY
        assert 'role="alert"' in await reply.text()


async def test_behind_tls_the_cookie_is_only_for_tls(running, demo):
    demo["server"]["open_page"] = False
    on = await running(demo)
    async with session() as http:
        reply = await log_in(http, on, headers={"X-Forwarded-Proto": "https"})
        assert "Secure" in reply.headers["Set-Cookie"].split("; ")


def test_a_login_holds_until_it_ends_and_only_under_its_key():
    logins = Logins()
    told = logins.begin("the-key", 0)
    assert logins.under(told, LOGIN_S * MICROS - 1) == hash_key("the-key")
    assert logins.under(told, LOGIN_S * MICROS) == ""
    for forged in ("", ".", told[:-1], told + "0", told.swapcase(), "é.é", "\udcff"):
        assert logins.under(forged, 0) == "", forged
    assert logins.begin("the-key", 0) != told
    assert told not in repr(vars(logins))  # only its hash is kept
    logins.end(told)
    assert logins.under(told, 0) == ""


def test_wrong_keys_cost_an_address_a_pause_and_others_nothing():
    logins, now = Logins(), 10**15
    for _ in range(BURST):
        assert logins.wait_s("a", now) == 0
        logins.was_wrong("a", now)
    assert logins.wait_s("a", now) == PAUSE_S
    assert logins.wait_s("b", now) == 0
    assert logins.wait_s("a", now + PAUSE_S * MICROS - 1) == 1
    assert logins.wait_s("a", now + PAUSE_S * MICROS) == 0
    logins.was_wrong("a", now + PAUSE_S * MICROS)
    assert logins.wait_s("a", now + PAUSE_S * MICROS) == PAUSE_S
    assert logins.wait_s("a", now + 2 * BURST * PAUSE_S * MICROS) == 0
    for number in range(10_000):
        logins.was_wrong(str(number), now)
    assert len(logins._wrong) <= 4096


async def test_guessing_is_slowed_down_also_for_the_right_key(running, demo):
    demo["server"]["open_page"] = False
    on = await running(demo)
    async with session() as http:
        for _ in range(BURST):
            assert (await log_in(http, on, "wrong")).status == 403
        reply = await log_in(http, on)
        assert (reply.status, reply.headers["Retry-After"]) == (429, str(PAUSE_S))
        assert COOKIE not in reply.cookies


async def test_a_copied_cookie_opens_nothing_after_the_logout(running, demo, look):
    demo["server"]["open_page"] = False
    on = await running(demo)
    cookie = await cookie_of(on)
    _, page = await look(on, headers=cookie)
    assert "Budgets" in page
    token = {"token": re.search(r'name="token" value="(\w+)"', page)[1]}
    elsewhere = {**cookie, "Sec-Fetch-Site": "cross-site"}
    for headers, data in ((elsewhere, token), (cookie, {}), (cookie, {"token": 64 * "0"})):
        async with on.http.post(on.url + "/logout", headers=headers, data=data, allow_redirects=False):
            assert "Budgets" in (await look(on, headers=cookie))[1]  # another site logs nobody out
    async with on.http.post(on.url + "/logout", headers=cookie, data=token, allow_redirects=False):
        assert 'type="password"' in (await look(on, headers=cookie))[1]


async def test_changing_the_admin_key_ends_every_login(running, demo, look):
    demo["server"]["open_page"] = False
    on = await running(demo)
    cookie = await cookie_of(on)
    assert "Budgets" in (await look(on, headers=cookie))[1]
    file = on.farebox.snapshot.path
    file.write_text(file.read_text().replace(ADMIN, "another-admin-key"))
    assert await on.farebox.reload()
    assert 'type="password"' in (await look(on, headers=cookie))[1]


# Teams


async def test_a_teams_key_shows_what_is_its_own_and_nothing_else(running, demo, look):
    demo["server"]["open_page"] = False
    demo["teams"]["batch"]["keys"][0]["budgets"] = [{"limit": 3, "per": "day"}]
    demo["budgets"] = [{"limit": 1234, "per": "year"}]
    on = await running(demo)
    await send_traffic(on)
    on.farebox.problems = ("a problem of the configuration",)
    _, admin = await look(on, headers=await cookie_of(on))
    for there in ("Everybody", "support", "0 in flight", "a problem of the configuration", "gpt-4o<"):
        assert there in admin, there
    _, page = await look(on, headers=await cookie_of(on, BATCH))
    for there in ("batch, read only", "batch, key demo", "doubao-pro-32k", "qwen-plus", ">1</dd>"):
        assert there in page, there
    for of_others in (
        "search", "support", "Everybody", "1,234", "anthropic", "gpt-4o<", "claude", "0 in flight", "a problem", "By team",
    ):  # fmt: skip
        assert of_others not in page, of_others
    rows = [row for row in await on.rows() if row["team"] == "batch"]
    assert page.count('data-label="Outcome"') == len({row["request_id"] for row in rows})


async def test_a_teams_login_ends_with_its_key(running, demo, look, ask):
    demo["server"]["open_page"] = False
    on = await running(demo)
    _, made = await ask(on, "keys", method="POST", json={"team": "batch", "name": "visitor"})
    cookie = await cookie_of(on, made["key"])
    assert "batch, read only" in (await look(on, headers=cookie))[1]
    await ask(on, f"keys/{made['id']}", method="DELETE")
    assert 'type="password"' in (await look(on, headers=cookie))[1]
    async with session() as http:
        assert (await log_in(http, on, made["key"])).status == 403


async def test_a_teams_login_opens_nothing_but_the_page(running, demo):
    demo["server"]["open_page"] = False
    on = await running(demo)
    cookie = await cookie_of(on, BATCH)
    for path in ("/admin/v1/spend", "/admin/v1/keys", "/v1/models"):
        async with on.http.get(on.url + path, headers=cookie) as reply:
            assert reply.status == 401
