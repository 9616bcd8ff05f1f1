"""Everything that the page shows at one instant, gathered for one visitor. A team sees what is its own and nothing else."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from aiohttp import web

from router import __version__
from router.admin import access
from router.admin.access import Visitor
from router.admin.certificates import Certificate
from router.admin.coming import coming
from router.admin.decisions import Considered, Recent
from router.admin.health import health
from router.admin.history import HISTORY
from router.admin.listed import prices
from router.admin.spans import DAY, span
from router.admin.view import DEFAULT_SPAN, View
from router.admin.words import LANGUAGES, Words, choose
from router.api import FAREBOX
from router.app import Farebox
from router.core.catalog import Model
from router.core.limits import micros
from router.core.money import amount_nano
from router.stores.hours import HOUR
from router.workers import answers as together

LAST_DECISIONS = 20


def words_for(request: web.Request) -> tuple[Words, str | None]:
    """The visitor's language, and whether the address says so."""
    asked = request.query.get("lang")
    asked = asked if asked in LANGUAGES else None
    return Words(choose(asked, request.headers.get("Accept-Language", ""))), asked


async def look(request: web.Request, visitor: Visitor) -> View:
    """What there is to show. Raises `StoreDown`."""
    farebox, history = request.app[FAREBOX], request.app[HISTORY]
    words, asked = words_for(request)
    await history.look()
    now, team = farebox.clock.now(), visitor.team
    shown = span(request.query.get("span", DEFAULT_SPAN), now, history.first(team))
    models = _models(farebox, team)
    names = {model.name for model in models}
    unwell = await together.unwell(farebox)
    yesterday = now - now % HOUR - DAY + HOUR
    return View(
        at=now,
        words=words,
        asked_language=asked,
        team=team,
        token=access.form_token(visitor.cookie) if visitor.cookie else None,
        refresh=request.query.get("refresh") != "off",
        version=__version__,
        currency=farebox.snapshot.rates.reporting,
        span=shown,
        in_flight=await together.in_flight(farebox) if team is None else None,
        reading=history.seen is None,
        problems=farebox.problems if team is None else (),
        budgets=[
            state for state in await together.budgets(farebox) if team is None or _is_of(state.budget.owner, team)
        ],
        drawn=history.draw(shown, team, farebox.snapshot.rates.reporting),
        recent=await _recent(farebox, team),
        health=health(models, {name: unwell[name] for name in names}, history.cells(yesterday, team)),
        prices=[told for told in prices(farebox.snapshot, now) if told["model"] in names],
        coming=coming(models, now),
        certificates=_certificates(farebox, team),
    )


def _is_of(owner: str, team: str) -> bool:
    return owner.partition("/")[0] == team


def _models(farebox: Farebox, team: str | None) -> Sequence[Model]:
    """What a team may be answered by; without one, everything that is configured."""
    catalog = farebox.snapshot.catalog
    models = list(catalog.models.values())
    caller = farebox.snapshot.teams.get(team) if team is not None else None
    if caller is None or "*" in caller.models:
        return models if team is None or caller is not None else []
    routes = [route for name, route in catalog.routes.items() if caller.routes is None or name in caller.routes]
    reached = {model.name for route in routes for model in (*route.models, *route.fallback)}
    return [model for model in models if model.name in reached | caller.models]


def _certificates(farebox: Farebox, team: str | None) -> Sequence[Certificate]:
    """What is certified of the routes that a team may ask."""
    snapshot = farebox.snapshot
    caller = snapshot.teams.get(team) if team is not None else None
    allowed = None if caller is None else caller.routes
    return [
        Certificate(
            one.route,
            f"{one.certificate.epsilon:g}",
            f"{one.certificate.delta:g}",
            one.certificate.n,
            one.certificate.date,
            "broken" if one.broken else "stale" if one.stale else "valid",
        )
        for one in farebox.promises.standings(snapshot.promised, snapshot.catalog, farebox.clock.now())
        if allowed is None or one.route in allowed
    ]


# The last decisions


async def _recent(farebox: Farebox, team: str | None) -> list[Recent]:
    """The newest decisions: those that are remembered, with every candidate, and before them what the ledger tells."""
    remembered = {one["id"]: one for one in await together.recent(farebox, team, LAST_DECISIONS)}
    written = await farebox.ledger.newest(LAST_DECISIONS, team)
    rows = await farebox.ledger.of_requests(dict.fromkeys((*remembered, *written)))
    found = [
        _told(name, remembered.get(name), attempts) for name, attempts in rows.items() if attempts or name in remembered
    ]
    return sorted(found, key=lambda one: (-one.at, one.id))[:LAST_DECISIONS]


def _told(name: str, kept: Mapping[str, Any] | None, attempts: Sequence[dict[str, Any]]) -> Recent:
    """One request: as it was decided where that is remembered, and as its rows have it."""
    ended: dict[str, Any] = {}
    if attempts:
        last = attempts[-1]
        ended = {
            "answered_by": last["model"],
            "outcome": last["outcome"],
            "cost": sum(amount_nano(row["cost"]) for row in attempts),
            "currency": last["currency"],
        }
    if kept is None:
        first = attempts[0]
        at = micros(datetime.fromisoformat(first["at"]))
        return Recent(name, at, first["team"], first["route"], first["model"], attempts[-1]["reason"], **ended)
    candidates = [
        Considered(one["model"], one["place"], one["expected_cost"], one["lost"] or "") for one in kept["candidates"]
    ]
    chosen, reason = kept["chosen"] or "–", attempts[-1]["reason"] if attempts else kept["reason"]
    at = micros(datetime.fromisoformat(kept["at"]))
    return Recent(name, at, kept["team"], kept["route"], chosen, reason, candidates=candidates, **ended)
