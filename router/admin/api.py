"""`/admin/v1/…`: what operators' programs may ask and change. Amounts are decimal strings, times are RFC 3339 in UTC."""

import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from router.admin import feedback, listed, query, spend
from router.admin.access import Conflict, guarded, guarded_for_teams
from router.api import json
from router.app import Farebox
from router.core import jsonio
from router.core.catalog import Caller
from router.core.errors import InvalidRequest, NoSuchPath
from router.core.limits import FOREVER, BudgetState, moment
from router.core.money import show
from router.settings import hash_key
from router.stores.ports import StoredKey, Total
from router.workers import answers as together

_NAME = re.compile(r"[^\s|,/]{1,128}")
PAGE_ROWS, MOST_ROWS = 1000, 10_000


def iso(at: int | None) -> str | None:
    return None if at is None or at >= FOREVER else moment(at).isoformat().replace("+00:00", "Z")


async def spent(farebox: Farebox, request: web.Request) -> web.Response:
    """The ledger's sums, by any of its names."""
    query.only(request, ("by", "since", "until"))
    by = query.names(request, "by", spend.BY, "team")
    since, until = query.span(request)
    if spend.APART.isdisjoint(by):
        totals: Sequence[Total] = await farebox.ledger.totals(since, until)
    else:
        totals = await farebox.ledger.apart(since, until, days="day" in by)
    return json(
        {
            "object": "list",
            "by": by,
            "since": iso(since),
            "until": iso(until),
            "data": [spend.as_json(found, by) for found in spend.group(totals, by)],
            "total": [spend.as_json(found, ()) for found in spend.group(totals, ())],
        }
    )


async def ledger(farebox: Farebox, request: web.Request) -> web.Response:
    """Rows in the order in which they were closed; `next` is the `after` that goes on from here, now or later."""
    query.only(request, ("after", "limit"))
    after = query.integer(request, "after", 0, 0, 2**62)
    limit = query.integer(request, "limit", PAGE_ROWS, 1, MOST_ROWS)
    rows = [{"seq": seq, **row} async for seq, row in farebox.ledger.entries(after, limit)]
    return json(
        {"object": "list", "data": rows, "next": rows[-1]["seq"] if rows else after, "more": len(rows) == limit}
    )


async def budgets(farebox: Farebox, request: web.Request) -> web.Response:
    query.only(request, ())
    now = farebox.clock.now()
    return json(
        {
            "object": "list",
            "at": iso(now),
            "data": [describe_budget(state, now) for state in await together.budgets(farebox)],
        }
    )


def describe_budget(state: BudgetState, now: int) -> dict[str, Any]:
    budget = state.budget
    endless = budget.per == "total"
    return {
        "owner": budget.owner,
        "per": budget.per,
        "timezone": budget.zone_name,
        "currency": budget.currency,
        "limit": show(budget.limit),
        "spent": show(state.settled),
        "held": show(state.held),
        "remaining": show(max(0, state.free)),
        "forecast": show(state.forecast(now)),
        "starts_at": None if endless else iso(state.starts),
        "resets_at": None if endless else iso(state.ends),
        "soft": None if budget.soft is None else show(budget.soft),
        "on_exceed": budget.on_exceed,
    }


async def decision(farebox: Farebox, request: web.Request) -> web.Response:
    """Why a request went where it went, while that is remembered."""
    query.only(request, ())
    name = request.match_info["id"]
    told = await together.explained(farebox, name)
    if told is None:
        raise NoSuchPath(f"no decision {name!r} is remembered; the newest are kept until the process ends", param="id")
    return json({"object": "farebox.decision", **told})


async def reload(farebox: Farebox, request: web.Request) -> web.Response:
    """Take the configuration as it is on disk, or tell every reason why not."""
    query.only(request, ())
    problems = await together.reload(farebox)
    if problems is None:
        return json({"ok": True, "warnings": [str(warning) for warning in farebox.snapshot.warnings]})
    problems = problems or ["the configuration did not come from a file"]
    raise Conflict(
        "the configuration was not reloaded; the one before it stays in force", details={"problems": problems}
    )


async def prices(farebox: Farebox, request: web.Request) -> web.Response:
    query.only(request, ())
    return json(
        {"object": "list", "at": iso(farebox.clock.now()), "data": listed.prices(farebox.snapshot, farebox.clock.now())}
    )


# Keys


async def keys(farebox: Farebox, request: web.Request) -> web.Response:
    """Every key, without its secret: those of the configuration and those that were made."""
    query.only(request, ())
    now = farebox.clock.now()
    stored = [describe_key(key, now) for key in await farebox.ledger.keys()]
    written = [_describe_caller(caller, now) for caller in farebox.snapshot.callers.values()]
    return json({"object": "list", "data": [*written, *stored]})


def describe_key(key: StoredKey, now: int) -> dict[str, Any]:
    return {
        "id": key.id,
        "team": key.team,
        "name": key.name,
        "source": "store",
        "status": "revoked" if key.revoked is not None else _status(key.expires, now),
        "created": iso(key.created),
        "expires": iso(key.expires),
        "revoked": iso(key.revoked),
    }


def _describe_caller(caller: Caller, now: int) -> dict[str, Any]:
    return {
        "id": None,
        "team": caller.team,
        "name": caller.key,
        "source": "config",
        "status": _status(caller.expires, now),
        "created": None,
        "expires": iso(caller.expires),
        "revoked": None,
    }


def _status(expires: int | None, now: int) -> str:
    return "expired" if expires is not None and now >= expires else "valid"


async def make_key(farebox: Farebox, request: web.Request) -> web.Response:
    """A new key. It is in this answer and nowhere else: the store has its hash."""
    query.only(request, ())
    now = farebox.clock.now()
    body = await _body(request)
    team, name = _name(body, "team"), _name(body, "name")
    if team not in farebox.snapshot.teams:
        known = ", ".join(farebox.snapshot.teams) or "none"
        raise InvalidRequest(f"no team is called {team!r}; configured are {known}", param="team")
    expires = None if body.get("expires") is None else query.instant(body["expires"], "expires")
    if expires is not None and expires <= now:
        raise InvalidRequest("`expires` must be in the future", param="expires")
    if any(_is_valid(caller, team, name, now) for caller in farebox.callers.values()):
        raise Conflict(f"team {team} has a key {name!r} already; revoke it first, or take another name", param="name")
    secret = f"fb-{secrets.token_hex(20)}"
    key = StoredKey(f"key-{secrets.token_hex(6)}", team, name, hash_key(secret), now, expires)
    await farebox.ledger.add_key(key)
    await together.refresh_keys(farebox)
    return json({**describe_key(key, now), "key": secret}, 201)


def _is_valid(caller: Caller, team: str, name: str, now: int) -> bool:
    return (caller.team, caller.key) == (team, name) and _status(caller.expires, now) == "valid"


async def _body(request: web.Request) -> Mapping[str, Any]:
    try:
        body = jsonio.loads(await request.read())
    except jsonio.NotJson as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}") from None
    if not isinstance(body, dict):
        raise InvalidRequest("the body must be a JSON object")
    if unknown := body.keys() - {"team", "name", "expires"}:
        first = min(unknown)
        raise InvalidRequest(f"unknown field {first!r}; known are team, name, expires", param=first)
    return body


def _name(body: Mapping[str, Any], field: str) -> str:
    value = body.get(field)
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise InvalidRequest(
            f"`{field}` must be 1 to 128 characters without blanks, commas, slashes and |", param=field
        )
    return value


async def revoke_key(farebox: Farebox, request: web.Request) -> web.Response:
    query.only(request, ())
    name = request.match_info["id"]
    if not await farebox.ledger.revoke_key(name, farebox.clock.now()):
        raise NoSuchPath(f"no key {name!r} is in the store and still valid; see GET /admin/v1/keys", param="id")
    await farebox.refresh_keys()
    return json({"id": name, "revoked": True})


async def unknown(_: Farebox, request: web.Request) -> web.Response:
    raise NoSuchPath(f"{request.method} {request.path} is not an endpoint of the admin API")


def routes() -> list[web.RouteDef]:
    at = "/admin/v1"
    return [
        web.get(f"{at}/spend", guarded(spent)),
        web.get(f"{at}/ledger", guarded(ledger)),
        web.get(f"{at}/budgets", guarded(budgets)),
        web.get(f"{at}/decisions/{{id}}", guarded(decision)),
        web.post(f"{at}/reload", guarded(reload)),
        web.get(f"{at}/prices", guarded(prices)),
        web.post(f"{at}/feedback", guarded_for_teams(feedback.give)),
        web.get(f"{at}/keys", guarded(keys)),
        web.post(f"{at}/keys", guarded(make_key)),
        web.delete(f"{at}/keys/{{id}}", guarded(revoke_key)),
        web.route("*", "/admin{path:(?s:(/.*)?)}", guarded(unknown)),
    ]
