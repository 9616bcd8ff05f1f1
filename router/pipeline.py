"""The program, left to right: a request is read, measured, decided, paid for, relayed.

    client ──► read ──► measure ──► candidates ──► decide ──► reserve ──► relay ──► vendor

What follows a reservation (usage, charge, ledger, accounts, metrics) happens in `settlement`, out of the request's reach.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from router.attempts import Attempts
from router.cascade import Ask, Kept
from router.clock import Stopwatch
from router.core import jsonio
from router.core.catalog import Caller, ChatRequest, Endpoint, Route, Wishes, candidates, require_known_vendors
from router.core.entry import JUDGE
from router.core.explain import explain
from router.core.plan import Market
from router.core.policy import Decision, decide, need_of
from router.core.value import value
from router.dialects import cannot, read
from router.relay import Reply
from router.services import Services
from router.snapshot import Snapshot
from router.tally import Ticket
from router.told import one_line
from router.turns import tokens_of


@value()
class Inbound:
    """What came in."""

    id: str
    endpoint: Endpoint
    raw: bytes
    headers: Mapping[str, str]
    caller: Caller
    began: float  # seconds on the measuring clock, later by what the body took to come


async def serve(inbound: Inbound, reply: Reply, snapshot: Snapshot, services: Services) -> None:
    """Answer one request: the diagram above, left to right. Raises RouterError only while nothing has been sent."""
    with Stopwatch(services.clock, services.on_overhead, inbound.began) as watch:
        await _serve(inbound, reply, snapshot, services, watch)


async def _serve(inbound: Inbound, reply: Reply, snapshot: Snapshot, services: Services, watch: Stopwatch) -> None:
    chat = read(inbound.endpoint, inbound.raw, inbound.headers)
    route = snapshot.catalog.route(chat.asked, inbound.caller)
    decision, ticket = await choose(inbound.id, chat, route, inbound.caller, snapshot, services)
    if route.explore and not chat.wishes.dry_run and services.cascades.first(chat, decision) is None:
        ticket = await services.labels.drawn(ticket)
        decision = ticket.decision
    services.on_decision(ticket.id, inbound.caller, decision)
    if chat.wishes.dry_run:
        await _dry_run(ticket, reply)
        return
    watch.pause()
    async with services.gate.admit(inbound.caller, ticket.id, tokens_of(decision.plans[0])) as admission:
        watch.resume()
        attempts = Attempts(inbound.caller, admission, services, watch)
        call = partial(_call, attempts, ticket, inbound.raw, partial(_ask, attempts, ticket, snapshot))
        await services.cache.answer(ticket, inbound.headers, reply, call, watch)


async def _call(attempts: Attempts, ticket: Ticket, raw: bytes, ask: Ask, reply: Reply) -> None:
    """Make a request's calls, its answer being kept for its labels where its route has any."""
    with attempts.services.labels.around(ticket, raw, reply) as way:
        await attempts.run(ticket, way, ask)


async def _ask(attempts: Attempts, judged: Ticket, snapshot: Snapshot, name: str, raw: bytes) -> bytes:
    """Ask a judge about an answer to this request: a request of the same caller, charged like any other, and written down
    as one of the same route, since it is the route that has it asked.
    """
    wishes = Wishes(tags={**judged.chat.wishes.tags, JUDGE: judged.id})
    chat, kept, model = replace(read("chat/completions", raw, {}), wishes=wishes), Kept(), snapshot.catalog.models[name]
    route = Route(name, (model,), pinned=True)
    _, ticket = await choose(f"{judged.id}-judge", chat, route, attempts.caller, snapshot, attempts.services)
    ticket = replace(ticket, booked=judged.decision.route.name)
    clock = attempts.services.clock
    watch = Stopwatch(clock, lambda _: None, clock.seconds())
    own = Attempts(attempts.caller, attempts.admission, attempts.services, watch, counted=False)
    await own.run(ticket, kept, partial(_ask, attempts, ticket, snapshot))
    return kept.body


async def choose(
    request_id: str, chat: ChatRequest, route: Route, caller: Caller, snapshot: Snapshot, services: Services
) -> tuple[Decision, Ticket]:
    """Measure the prompt and decide; sends nothing. Raises what `decide` raises."""
    require_known_vendors(chat.wishes, snapshot.vendors)
    considered = candidates(chat, route, cannot)
    encodings = {candidate.model.counting.encoding for candidate in considered}
    measure = await services.tokenizer.measure(chat.prompt, encodings)
    soft = await services.settlement.only_cheap(caller)
    now = services.clock.now()
    learnt, free_left = services.settlement.calibrator.learnt, services.settlement.quotas.left
    seconds = services.clock.seconds()
    seen = services.warm.look(chat, route, caller.team)
    market = Market(
        now,
        snapshot.rates.at(now),
        services.habits.expected_output,
        learnt,
        free_left,
        lambda model: services.health.look(model, seconds),
        services.habits.likely_output,
        seen.cached,
    )
    judge = services.promises.judge(snapshot.promised, chat, route, need_of(chat, route, caller))
    decision = decide(chat, route, caller, considered, measure, market, soft, judge)
    chat = services.warm.marked(request_id, chat, seen, decision)
    ticket = Ticket(request_id, chat, caller, decision, market.rates, snapshot.rates.reporting)
    return decision, ticket


async def count(raw: bytes, headers: Mapping[str, str], caller: Caller, snapshot: Snapshot, services: Services) -> int:
    """The tokens of a message's prompt, for the model that would be asked. Raises what `read` and `decide` raise."""
    chat = read("messages", raw, headers)
    route = snapshot.catalog.route(chat.asked, caller)
    decision, _ = await choose("", chat, route, caller, snapshot, services)
    return decision.plans[0].tokens.tokens


async def _dry_run(ticket: Ticket, reply: Reply) -> None:
    """Answer with the decision and its reasons; nobody is called, nothing is held."""
    plan = ticket.decision.plans[0]
    headers = {
        "content-type": "application/json",
        "x-farebox-request-id": ticket.id,
        "x-farebox-model": one_line(plan.model.name),
        "x-farebox-vendor": one_line(plan.model.vendor),
        "x-farebox-tier": str(plan.model.tier),
        "x-farebox-reason": one_line(ticket.decision.reason),
    }
    told = {"object": "farebox.decision", "id": ticket.id, **explain(ticket.decision, ticket.currency)}
    await reply.send(200, jsonio.dumps(told), headers)
