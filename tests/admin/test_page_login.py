"""Who may look at the page: nobody, who has the admin key, or everybody."""

import aiohttp
import pytest
from traffic import ADMIN

from router.admin.logins import BURST, LOGIN_S, PAUSE_S, Logins
from router.admin.page import POLICY
from router.core.limits import MICROS


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
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        async with http.post(on.url + "/login", data={"key": ADMIN}, allow_redirects=False) as reply:
            assert (reply.status, reply.headers["Location"]) == (303, "./")
            cookie = reply.headers["Set-Cookie"]
            assert {"HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"} <= set(cookie.split("; "))
            assert ADMIN not in cookie
        async with http.get(on.url + "/") as reply:
            page = await reply.text()
            assert "Budgets" in page
            assert "Log out" in page
        async with http.post(on.url + "/logout") as reply:
            assert 'type="password"' in await reply.text()
        async with http.get(on.url + "/") as reply:
            assert 'type="password"' in await reply.text()


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ("key=wrong", {}, 403),
        ("key=", {}, 403),
        ("", {}, 403),
        ("key=wrong&key=" + ADMIN, {}, 403),
        ("key=" + ADMIN, {"Sec-Fetch-Site": "cross-site"}, 403),
        ("key=" + ADMIN, {"Sec-Fetch-Site": "same-site"}, 403),
        ("key=" + ADMIN, {"Content-Type": "text/plain"}, 400),
        ("key=" + ADMIN + "&x=" + 5000 * "x", {}, 400),
        ("a=1&b=2&c=3&d=4&key=" + ADMIN, {}, 400),
    ],
)
async def test_a_login_that_is_not_this_pages_form_with_the_right_key_sets_no_cookie(
    running, demo, body, headers, status
):
    demo["server"]["open_page"] = False
    on = await running(demo)
    headers = {"Content-Type": "application/x-www-form-urlencoded"} | headers
    async with on.http.post(on.url + "/login", data=body, headers=headers, allow_redirects=False) as reply:
        assert reply.status == status
        assert "Set-Cookie" not in reply.headers
        assert reply.headers["Content-Security-Policy"] == POLICY


async def test_behind_tls_the_cookie_is_only_for_tls(running, demo):
    on = await running(demo)
    how = {"data": {"key": ADMIN}, "headers": {"X-Forwarded-Proto": "https"}, "allow_redirects": False}
    async with on.http.post(on.url + "/login", **how) as reply:
        assert "Secure" in reply.headers["Set-Cookie"].split("; ")


def test_a_login_holds_until_it_ends_and_only_under_its_key():
    logins = Logins()
    told = logins.begin("the-key", 0)
    assert logins.holds(told, "the-key", LOGIN_S * MICROS - 1)
    assert not logins.holds(told, "the-key", LOGIN_S * MICROS)
    assert not logins.holds(told, "another", 0)
    for forged in ("", ".", told[:-1], told + "0", told.swapcase(), "é.é", "\udcff"):
        assert not logins.holds(forged, "the-key", 0), forged
    assert logins.begin("the-key", 0) != told
    assert told not in repr(vars(logins))  # only its hash is kept
    logins.end(told)
    assert not logins.holds(told, "the-key", 0)


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
    for _ in range(BURST):
        async with on.http.post(on.url + "/login", data={"key": "wrong"}, allow_redirects=False) as reply:
            assert reply.status == 403
    async with on.http.post(on.url + "/login", data={"key": ADMIN}, allow_redirects=False) as reply:
        assert (reply.status, reply.headers["Retry-After"]) == (429, str(PAUSE_S))
        assert "Set-Cookie" not in reply.headers
        assert "Too many wrong keys" in await reply.text()


async def test_a_copied_cookie_opens_nothing_after_the_logout(running, demo, look):
    demo["server"]["open_page"] = False
    on = await running(demo)
    async with on.http.post(on.url + "/login", data={"key": ADMIN}, allow_redirects=False) as reply:
        cookie = {"Cookie": reply.headers["Set-Cookie"].partition(";")[0]}
    assert "Budgets" in (await look(on, headers=cookie))[1]
    elsewhere = {**cookie, "Sec-Fetch-Site": "cross-site"}
    async with on.http.post(on.url + "/logout", headers=elsewhere, allow_redirects=False):
        assert "Budgets" in (await look(on, headers=cookie))[1]  # another site logs nobody out
    async with on.http.post(on.url + "/logout", headers=cookie, allow_redirects=False):
        assert 'type="password"' in (await look(on, headers=cookie))[1]


async def test_changing_the_admin_key_ends_every_login(running, demo, look):
    demo["server"]["open_page"] = False
    on = await running(demo)
    async with on.http.post(on.url + "/login", data={"key": ADMIN}, allow_redirects=False) as reply:
        cookie = {"Cookie": reply.headers["Set-Cookie"].partition(";")[0]}
    assert "Budgets" in (await look(on, headers=cookie))[1]
    file = on.farebox.snapshot.path
    file.write_text(file.read_text().replace(ADMIN, "another-admin-key"))
    assert await on.farebox.reload()
    assert 'type="password"' in (await look(on, headers=cookie))[1]
