"""Who may look: the admin key as a bearer, or a cookie that the login form has set."""

import hmac
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from aiohttp import web

from router.admin.logins import Logins
from router.api import FAREBOX, show
from router.app import Farebox
from router.auth import identify, presented
from router.core.catalog import Caller
from router.core.errors import BadKey, InvalidRequest, NotAllowed, Overloaded, RouterError
from router.settings import hash_key
from router.stores.ports import StoreDown

log = logging.getLogger("farebox.admin")

COOKIE, FORM_COOKIE = "farebox_page", "farebox_form"
LOGINS = web.AppKey("logins", Logins)
CLOSED = "the admin API is closed; set server.admin_key"
PRIVATE = {
    "Server": "farebox",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

Call = Callable[[Farebox, web.Request], Awaitable[web.Response]]
TeamCall = Callable[[Farebox, web.Request, Caller | None], Awaitable[web.Response]]


class Conflict(RouterError):
    """What was asked for cannot be done as things stand."""

    status: ClassVar[int] = 409
    code: ClassVar[str] = "conflict"
    kind: ClassVar[str] = "invalid_request_error"


def admin_key(farebox: Farebox) -> str | None:
    """The configured key; a blank one is none, and then nobody is an admin."""
    key = farebox.snapshot.settings.server.admin_key
    return (key.get_secret_value() or None) if key is not None else None


def is_admin_key(told: str, key: str) -> bool:
    """Compared by hash, so that the time it takes tells neither content nor length."""
    return hmac.compare_digest(hash_key(told), hash_key(key))


def require_admin(farebox: Farebox, request: web.Request) -> None:
    """Raises `NotAllowed` without a configured key, `BadKey` without the right one."""
    key = admin_key(farebox)
    if key is None:
        raise NotAllowed(CLOSED)
    told = presented(request.headers)
    if not told:
        raise BadKey("no admin key; send it as `Authorization: Bearer ADMIN_KEY`")
    if not is_admin_key(told, key):
        raise BadKey("this is not the admin key")


def guarded(call: Call) -> Callable[[web.Request], Awaitable[web.Response]]:
    """The handler of one admin call: the key first, and every failure in OpenAI's shape."""

    async def admin(farebox: Farebox, request: web.Request) -> web.Response:
        require_admin(farebox, request)
        return await call(farebox, request)

    return _told(admin)


def guarded_for_teams(call: TeamCall) -> Callable[[web.Request], Awaitable[web.Response]]:
    """The same for a call that a team's own key may make too; it is told whose, or None for the admin's."""

    async def anybody(farebox: Farebox, request: web.Request) -> web.Response:
        if hash_key(presented(request.headers)) in farebox.callers:
            return await call(farebox, request, identify(request.headers, farebox.callers, farebox.clock.now()))
        require_admin(farebox, request)
        return await call(farebox, request, None)

    return _told(anybody)


def _told(call: Call) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        farebox = request.app[FAREBOX]
        try:
            response = await call(farebox, request)
        except RouterError as error:
            response = show(error)
        except StoreDown as error:
            response = show(Overloaded(f"the store cannot be used: {error}", retry_after_s=5))
        except web.HTTPRequestEntityTooLarge:
            response = show(InvalidRequest("the body is too large"))
        except Exception:
            log.exception("an admin call failed in a way that is a bug", extra={"path": request.path})
            response = show(RouterError("an internal error; its traceback is in the log"))
        response.headers.update(PRIVATE)
        return response

    return handle


# The page's visitors


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks at the page."""

    team: str | None  # whose figures may be seen; None: everybody's
    cookie: str = ""  # of the login; "": nobody had to log in


def visitor(farebox: Farebox, request: web.Request) -> Visitor | None:
    """Who looks: whoever has logged in, or anybody where the page is open; None: the door is all there is to see."""
    key, cookie, now = admin_key(farebox), request.cookies.get(COOKIE, ""), farebox.clock.now()
    under = request.app[LOGINS].under(cookie, now)
    if key is not None and under:
        if hmac.compare_digest(under, hash_key(key)):
            return Visitor(None, cookie)
        if (team := team_of(farebox, under, now)) is not None:
            return Visitor(team, cookie)
    return Visitor(None) if farebox.snapshot.settings.server.open_page else None


def team_of(farebox: Farebox, key_hash: str, now: int) -> str | None:
    """The team whose key has this hash, while the key is valid."""
    caller = farebox.callers.get(key_hash)
    return None if caller is None or (caller.expires is not None and now >= caller.expires) else caller.team


def set_cookie(request: web.Request, response: web.Response, name: str, value: str, seconds: int | None) -> None:
    """A cookie that no script can read and no other site can send; without `seconds` it ends with the browser."""
    encrypted = request.secure or request.headers.get("X-Forwarded-Proto", "").lower() == "https"
    settings: dict[str, Any] = {"httponly": True, "samesite": "Strict", "path": "/", "secure": encrypted}
    response.set_cookie(name, value, max_age=seconds, **settings)


def form_token(cookie: str) -> str:
    """What a form must bring along with a cookie: another site can neither read one nor know the other."""
    return hash_key(f"form {cookie}")


def is_form_token(told: str, cookie: str) -> bool:
    return bool(cookie) and hmac.compare_digest(told.encode(), form_token(cookie).encode())
