"""`GET /`: the page. Rendered here, whole without a script; what it loads is three small files of its own."""

import asyncio
import logging
import secrets
from functools import cache
from pathlib import Path
from urllib.parse import parse_qs

from aiohttp import web

from router.admin import access, door, view
from router.admin.logins import LOGIN_S
from router.admin.look import look, words_for
from router.api import FAREBOX
from router.settings import hash_key
from router.stores.ports import StoreDown

log = logging.getLogger("farebox.admin")

MOST_FORM_BYTES = 4096
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {**access.PRIVATE, "Content-Security-Policy": POLICY}


def html(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8", headers=HEADERS)


async def show(request: web.Request) -> web.Response:
    """The page, the login form, or how to open it."""
    farebox = request.app[FAREBOX]
    words, _ = words_for(request)
    visitor = access.visitor(farebox, request)
    if visitor is None:
        return html(door.closed(words)) if access.admin_key(farebox) is None else _door(request)
    try:
        found = await look(request, visitor)
        return html(await asyncio.to_thread(view.page, found))  # requests to models need not wait for it
    except StoreDown as error:
        return html(door.unreadable(words, str(error)), 503)


# What it loads


@cache
def _file(name: str) -> bytes:
    return Path(__file__).with_name(name).read_bytes()


def _serve(name: str, kind: str) -> web.RouteDef:
    async def handle(_: web.Request) -> web.Response:
        headers = {**HEADERS, "Cache-Control": "public, max-age=300"}
        return web.Response(body=_file(name), content_type=kind, charset="utf-8", headers=headers)

    return web.get(f"/{name}", handle)


# The door


def _door(request: web.Request, error: str = "", status: int = 200, **places: object) -> web.Response:
    """The login form, and the cookie that its token belongs to."""
    words, language = words_for(request)
    cookie = secrets.token_urlsafe(32)
    response = html(door.door(words, access.form_token(cookie), language, error, **places), status)
    access.set_cookie(request, response, access.FORM_COOKIE, cookie, None)
    return response


async def log_in(request: web.Request) -> web.Response:
    """Trade the admin key, or a team's, for a cookie."""
    farebox = request.app[FAREBOX]
    key = access.admin_key(farebox)
    if key is None:
        return html(door.closed(words_for(request)[0]), 403)
    if _from_elsewhere(request):
        return _door(request, "elsewhere", 403)
    fields = await _form(request)
    if fields is None or not access.is_form_token(fields.get("token", ""), request.cookies.get(access.FORM_COOKIE, "")):
        return _door(request, "not_the_form", 400)
    told = fields.get("key", "")
    logins, address, now = request.app[access.LOGINS], request.remote or "", farebox.clock.now()
    if wait := logins.wait_s(address, now):
        response = _door(request, "too_many", 429, seconds=wait)
        response.headers["Retry-After"] = str(wait)
        return response
    if not access.is_admin_key(told, key) and access.team_of(farebox, hash_key(told), now) is None:
        logins.was_wrong(address, now)
        await farebox.siblings.ask_all("wrong_key", address=address, at=now)
        log.warning("a login to the page with a wrong key")
        return _door(request, "wrong_key", 403)
    response = _to_the_page(request)
    cookie = logins.begin(told, now)
    await farebox.siblings.ask_all("logged_in", login=logins.entry(cookie))  # whoever answers the next request
    access.set_cookie(request, response, access.COOKIE, cookie, LOGIN_S)
    access.set_cookie(request, response, access.FORM_COOKIE, "", 0)
    return response


async def _form(request: web.Request) -> dict[str, str] | None:
    """The form's fields, from a body that is not larger than such a form can be; of one that is repeated, the first."""
    if request.content_type != "application/x-www-form-urlencoded" or (request.content_length or 0) > MOST_FORM_BYTES:
        return None
    try:
        fields = parse_qs((await request.content.read(MOST_FORM_BYTES)).decode(), max_num_fields=4)
    except ValueError:
        return None
    return {name: values[0] for name, values in fields.items()}


def _from_elsewhere(request: web.Request) -> bool:
    """Browsers tell where a form came from; a program that tells nothing is none that could be tricked."""
    return request.headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}


async def log_out(request: web.Request) -> web.Response:
    """End the login, if it is its own form that says so."""
    response, cookie = _to_the_page(request), request.cookies.get(access.COOKIE, "")
    if _from_elsewhere(request):
        return response
    fields = await _form(request) or {}
    if access.is_form_token(fields.get("token", ""), cookie):
        ended = request.app[access.LOGINS].end(cookie)
        await request.app[FAREBOX].siblings.ask_all("logged_out", cookie=ended)
        access.set_cookie(request, response, access.COOKIE, "", 0)
    return response


def _to_the_page(request: web.Request) -> web.Response:
    _, language = words_for(request)
    place = "./" + (f"?lang={language}" if language else "")
    return web.Response(status=303, headers={**HEADERS, "Location": place})


def routes() -> list[web.RouteDef]:
    return [
        web.get("/", show),
        _serve("page.css", "text/css"),
        _serve("page.js", "text/javascript"),
        _serve("page.svg", "image/svg+xml"),
        web.post("/login", log_in),
        web.post("/logout", log_out),
    ]
