"""Who may look at the page: nobody, who has the admin key, or everybody."""

import aiohttp
import pytest
from traffic import ADMIN

from router.admin import access
from router.admin.page import POLICY


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


def test_a_token_is_good_until_it_expires_and_only_under_its_key():
    told = access.token("the-key", 1000)
    assert access.is_token(told, "the-key", 999_999_999)
    assert not access.is_token(told, "the-key", 1_000_000_000)
    assert not access.is_token(told, "another", 0)
    later = told.replace("1000.", "2000.")
    for forged in (
        later,
        "",
        ".",
        "1000",
        "1000.",
        told[:-1],
        told + "0",
        "１０００" + told[4:],
        "-1." + told[5:],
        "é.é",
    ):
        assert not access.is_token(forged, "the-key", 0), forged


async def test_changing_the_admin_key_ends_every_login(running, demo, look):
    demo["server"]["open_page"] = False
    on = await running(demo)
    cookie = {"Cookie": f"{access.COOKIE}={access.token('the-key-before', 2**33)}"}
    assert 'type="password"' in (await look(on, headers=cookie))[1]
    cookie = {"Cookie": f"{access.COOKIE}={access.token(ADMIN, 2**33)}"}
    assert "Budgets" in (await look(on, headers=cookie))[1]
