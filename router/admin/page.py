"""`GET /`: the page. Rendered here, without a script and without anything from elsewhere."""

import logging
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path
from urllib.parse import parse_qs

from aiohttp import web

from router import __version__
from router.admin import access, view
from router.admin.listed import prices
from router.admin.logins import LOGIN_S
from router.admin.tables import Recent
from router.api import FAREBOX
from router.app import Farebox
from router.core.limits import MICROS
from router.core.money import amount_nano
from router.stores.ports import StoreDown

log = logging.getLogger("farebox.admin")

LAST_DECISIONS = 30
MOST_FORM_BYTES = 4096
SPAN_S = {"day": 86_400, "month": 30 * 86_400}
POLICY = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
HEADERS = {**access.PRIVATE, "Content-Security-Policy": POLICY}


def html(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8", headers=HEADERS)


async def show(request: web.Request) -> web.Response:
    """The page, the login form, or how to open it."""
    farebox = request.app[FAREBOX]
    if not farebox.snapshot.settings.server.open_page:
        if access.admin_key(farebox) is None:
            return html(view.closed())
        if not access.logged_in(farebox, request):
            return html(view.door())
    try:
        return html(view.page(await look(farebox, request)))
    except StoreDown as error:
        return html(view.unreadable(str(error)), 503)


async def look(farebox: Farebox, request: web.Request) -> view.View:
    """What there is to show at this instant. Raises `StoreDown`."""
    now = farebox.clock.now()
    span = request.query.get("span", "all")
    seconds = SPAN_S.get(span)
    totals = await farebox.ledger.totals(None if seconds is None else now - seconds * MICROS)
    return view.View(
        at=now,
        currency=farebox.snapshot.rates.reporting,
        span=span if seconds else "all",
        refresh=request.query.get("refresh") != "off",
        may_log_out=access.logged_in(farebox, request),
        version=__version__,
        in_flight=farebox.room.in_flight,
        problems=farebox.problems,
        budgets=farebox.budgets(),
        totals=totals,
        recent=await _recent(farebox),
        prices=prices(farebox.snapshot, farebox.clock.now()),
    )


async def _recent(farebox: Farebox) -> list[Recent]:
    """The newest decisions, with what the ledger already knows of them."""
    kept = list(islice(reversed(farebox.kept.values()), LAST_DECISIONS))
    rows = await farebox.ledger.of_requests([one.id for one in kept])
    found = []
    for one in kept:
        decision = one.decision
        chosen = decision.plans[0].model.name if decision.plans else "–"
        recent = Recent(one.id, decision.at, one.team, decision.route.name, chosen, decision.reason)
        if attempts := rows[one.id]:
            last = attempts[-1]
            recent = replace(
                recent,
                answered_by=last["model"],
                outcome=last["outcome"],
                cost=sum(amount_nano(row["cost"]) for row in attempts),
                currency=last["currency"],
            )
        found.append(recent)
    return found


# The style sheet and the door


@cache
def _style() -> bytes:
    return Path(__file__).with_name("page.css").read_bytes()


async def style(_: web.Request) -> web.Response:
    headers = {**access.PRIVATE, "Cache-Control": "public, max-age=300"}
    return web.Response(body=_style(), content_type="text/css", charset="utf-8", headers=headers)


async def log_in(request: web.Request) -> web.Response:
    """Trade the admin key for a cookie."""
    farebox = request.app[FAREBOX]
    key = access.admin_key(farebox)
    if key is None:
        return html(view.closed(), 403)
    if _from_elsewhere(request):
        return html(view.door("Log in on this page, not from another site."), 403)
    told = await _form_key(request)
    if told is None:
        return html(view.door("That was not this page's form."), 400)
    logins, address, now = request.app[access.LOGINS], request.remote or "", farebox.clock.now()
    if wait := logins.wait_s(address, now):
        response = html(view.door(f"Too many wrong keys from your address; try again in {wait} s."), 429)
        response.headers["Retry-After"] = str(wait)
        return response
    if not access.is_admin_key(told, key):
        logins.was_wrong(address, now)
        log.warning("a login to the page with a wrong key")
        return html(view.door("That is not the admin key."), 403)
    response = _to_the_page()
    access.set_cookie(request, response, logins.begin(key, now), LOGIN_S)
    return response


async def _form_key(request: web.Request) -> str | None:
    """The form's one field, from a body that is not larger than such a form can be."""
    if request.content_type != "application/x-www-form-urlencoded" or (request.content_length or 0) > MOST_FORM_BYTES:
        return None
    try:
        fields = parse_qs((await request.content.read(MOST_FORM_BYTES)).decode(), max_num_fields=4)
    except ValueError:
        return None
    return fields.get("key", [""])[0]


def _from_elsewhere(request: web.Request) -> bool:
    """Browsers tell where a form came from; a program that tells nothing is none that could be tricked."""
    return request.headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}


async def log_out(request: web.Request) -> web.Response:
    response = _to_the_page()
    if not _from_elsewhere(request):
        request.app[access.LOGINS].end(request.cookies.get(access.COOKIE, ""))
        access.set_cookie(request, response, "", 0)
    return response


def _to_the_page() -> web.Response:
    return web.Response(status=303, headers={**HEADERS, "Location": "./"})


def routes() -> list[web.RouteDef]:
    return [
        web.get("/", show),
        web.get("/page.css", style),
        web.post("/login", log_in),
        web.post("/logout", log_out),
    ]
