"""The program, left to right: a request is read, measured, decided, paid for, relayed.

    client ──► read ──► measure ──► candidates ──► decide ──► reserve ──► relay ──► vendor

What follows a reservation (usage, charge, ledger, accounts, metrics) happens in `settlement`, out of the request's reach.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

from router.clock import Clock
from router.core import jsonio
from router.core.catalog import Caller, ChatRequest, Endpoint, Route, candidates, require_known_vendors
from router.core.errors import (
    ContentFiltered,
    ContextTooLong,
    InvalidRequest,
    Overloaded,
    RateLimited,
    RouterError,
    UpstreamFailed,
    UpstreamTimeout,
)
from router.core.explain import explain
from router.core.failure import CALLERS_FAULT, Failure, Fault
from router.core.health import OF_THE_KEY, Health
from router.core.policy import Decision, Market, Plan, decide
from router.dialects import cannot, read
from router.gate import Admission, Gate
from router.grants import Grants
from router.habits import Habits
from router.hedge import Hedges, Lane
from router.relay import Reach, Reply, relay
from router.settlement import Settlement
from router.snapshot import Snapshot
from router.tally import Tally, Ticket
from router.tokenizer import Tokenizer
from router.turns import Turn, Turns, tokens_of
from router.upstream import Upstream

MAX_ATTEMPTS = 3  # a request that three vendors could not serve is told so, while its client still waits


@dataclass(frozen=True, slots=True)
class Inbound:
    """What came in."""

    id: str
    endpoint: Endpoint
    raw: bytes
    headers: Mapping[str, str]
    caller: Caller
    began: float  # seconds on the measuring clock


@dataclass(slots=True)
class Services:
    """Everything with a life of its own that a request uses."""

    tokenizer: Tokenizer
    upstream: Upstream
    settlement: Settlement
    habits: Habits
    gate: Gate
    health: Health
    turns: Turns
    clock: Clock
    on_decision: Callable[[str, Caller, Decision], None]
    on_fallback: Callable[[str, str, str], None]
    on_overhead: Callable[[float], None]
    reach: Reach = field(init=False)
    hedges: Hedges = field(init=False)

    def __post_init__(self) -> None:
        self.reach = Reach(self.upstream, Grants(self.upstream, self.clock), self.health, self.clock)
        self.hedges = Hedges(self.clock)
        self.settlement.observers.append(self.hedges.paces.observe)


async def serve(inbound: Inbound, reply: Reply, snapshot: Snapshot, services: Services) -> None:
    """Answer one request: the diagram above, left to right. Raises RouterError only while nothing has been sent."""
    chat = read(inbound.endpoint, inbound.raw, inbound.headers)
    route = snapshot.catalog.route(chat.asked, inbound.caller)
    decision, ticket = await choose(inbound.id, chat, route, inbound.caller, snapshot, services)
    services.on_decision(ticket.id, inbound.caller, decision)
    if chat.wishes.dry_run:
        await _dry_run(ticket, reply)
        return
    asked = services.clock.seconds()
    async with services.gate.admit(inbound.caller, ticket.id, tokens_of(decision.plans[0])) as admission:
        waited = services.clock.seconds() - asked
        await _attempts(inbound, reply, decision, ticket, admission, waited, services)


async def _attempts(
    inbound: Inbound,
    reply: Reply,
    decision: Decision,
    ticket: Ticket,
    admission: Admission,
    waited: float,
    services: Services,
) -> None:
    """The decision's plans in order, one reservation each, until one has answered."""
    failed, asked = list[Tally](), services.clock.seconds()
    turn = await services.turns.pick(decision.plans, inbound.caller)
    waited += services.clock.seconds() - asked
    if not turn.plans:
        raise _nobody_can_be_asked(decision.plans, services)
    attempt = partial(_attempt, inbound.caller, admission, services)
    while turn.plans:
        number = len(failed) + 1
        after_s = services.hedges.after(decision.route, turn.plans)
        if after_s is None:
            tried = [await attempt(ticket, turn, number, reply)]
        else:
            tried = await services.hedges.race(
                decision.route,
                reply,
                after_s,
                partial(attempt, ticket, turn, number),
                partial(_second, attempt, ticket, turn, number + 1, after_s, services),
            )
        services.on_overhead(tried[0].tally.overhead_s(inbound.began + waited))
        if any(one.tally.answered or one.tally.left for one in tried):
            return
        failed.extend(one.tally for one in tried)
        turn = next((one.following for one in tried if one.following.plans), tried[0].following)
        if turn.plans and turn.plans[0].model is not failed[-1].plan.model:
            services.on_fallback(decision.route.name, failed[-1].plan.model.name, turn.plans[0].model.name)
    raise _every_attempt_failed(failed, services)


class _Tried(NamedTuple):
    tally: Tally
    following: Turn  # whom to ask next; nobody if there is no need


async def _attempt(
    caller: Caller, admission: Admission, services: Services, ticket: Ticket, turn: Turn, number: int, reply: Reply
) -> _Tried:
    """One reservation and one call. In a race only who fails last looks for whom to ask next."""
    try:
        async with services.settlement.reserve(ticket, turn.plans, number, turn.claim) as tally:
            tally.seat, admission.asked = turn.take(), True
            lane = reply if isinstance(reply, Lane) else None
            if lane is not None:
                lane.start(tally)
            await relay(ticket.chat, tally, reply, services.reach)
            if lane is not None and not tally.answered and not lane.is_last():
                tally.final = False
                return _Tried(tally, Turn(services.turns, ()))
            following = await _next(turn.plans, tally, number, caller, services)
            tally.final = not following.plans and not tally.lost
    finally:
        turn.give_back()  # where no attempt was made
    return _Tried(tally, following)


def _second(
    attempt: Callable[[Ticket, Turn, int, Reply], Awaitable[_Tried]],
    ticket: Ticket,
    turn: Turn,
    number: int,
    after_s: float,
    services: Services,
    lane: Lane,
) -> Awaitable[_Tried] | None:
    """The attempt beside a slow one: by the next plan of another model that is well and has room; None if none has."""
    others = tuple(plan for plan in turn.plans if plan.model is not turn.plans[0].model)
    for i, plan in enumerate(others):
        if services.turns.look(plan) is None and (seat := services.turns.seat(plan, well=True)) is not None:
            slow = turn.plans[0].model.name
            reason = f"{ticket.decision.reason}; {slow} had not begun after {after_s:.2g} s"
            told = replace(ticket, decision=replace(ticket.decision, reason=reason))
            return attempt(told, Turn(services.turns, others[i:], seat), number, lane)
    return None


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
    market = Market(
        now,
        snapshot.rates.at(now),
        services.habits.expected_output,
        learnt,
        free_left,
        lambda model: services.health.look(model, seconds),
        services.habits.likely_output,
    )
    decision = decide(chat, route, caller, considered, measure, market, soft)
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
        "x-farebox-model": plan.model.name,
        "x-farebox-vendor": plan.model.vendor,
        "x-farebox-tier": str(plan.model.tier),
        "x-farebox-reason": ticket.decision.reason,
    }
    told = {"object": "farebox.decision", "id": ticket.id, **explain(ticket.decision, ticket.currency)}
    await reply.send(200, jsonio.dumps(told), headers)


def _nobody_can_be_asked(plans: tuple[Plan, ...], services: Services) -> RouterError:
    unwell = {plan.model.name: services.turns.look(plan) for plan in plans}
    told = "; ".join(f"{name}: {found or 'others were faster'}" for name, found in unwell.items())
    limited = all(found is None or found.fault is Fault.RATE_LIMITED for found in unwell.values())
    return (RateLimited if limited else Overloaded)(
        f"no vendor can be asked now: {told}", retry_after_s=services.turns.back_in(plans)
    )


async def _next(plans: tuple[Plan, ...], tally: Tally, tried: int, caller: Caller, services: Services) -> Turn:
    """Whom to ask after this attempt; nobody once it has answered, once it is the caller's fault, or after enough tries."""
    nobody, failure = Turn(services.turns, ()), tally.failure
    if tally.answered or tally.left or failure is None or tried >= MAX_ATTEMPTS:
        return nobody
    if tally.seat is not None:
        tally.seat.leave()  # it may be this one's own that the next waits for
    if left := _left_to_try(plans, tally, failure.fault, services):
        turn = await services.turns.pick(left, caller)
        if turn.plans:
            return turn
    same = tuple(plan for plan in plans if plan.model is tally.plan.model)
    wait = services.turns.again(same[0], failure, tried)
    if wait is None or (tally.streaming and tally.reader is not None and tally.reader.text()):
        return nobody
    await services.turns.pause(wait)
    return await services.turns.pick(same, caller)


def _left_to_try(plans: tuple[Plan, ...], tally: Tally, fault: Fault, services: Services) -> tuple[Plan, ...]:
    """The plans after this attempt. Where a prompt was too long, those with a larger window; the same again where it was
    the credential's fault and there is another.
    """
    model = tally.plan.model
    if fault is Fault.CONTEXT_TOO_LONG:
        plans = tuple(plan for plan in plans if (plan.model.context_window or 0) > (model.context_window or 0))
    elif tally.failure and tally.failure.callers:
        return ()
    if (
        fault in OF_THE_KEY
        and len(model.access.keys) > 1
        and services.health.look(model, services.clock.seconds()) is None
    ):
        return plans
    return tuple(plan for plan in plans if plan.model is not model)


def _every_attempt_failed(failed: list[Tally], services: Services) -> RouterError:
    """One error for all attempts, each named; the caller's own fault keeps the vendor's message."""
    failures = [tally.failure or Failure(Fault.SERVER, "no answer") for tally in failed]
    last = failures[-1]
    if last.fault in CALLERS_FAULT:
        kind = {Fault.CONTEXT_TOO_LONG: ContextTooLong, Fault.CONTENT_FILTERED: ContentFiltered}
        return kind.get(last.fault, InvalidRequest)(last.message, details=_told(failed))
    named = "; ".join(
        f"{tally.plan.model.name} ({tally.plan.model.vendor}): {failure}"
        for tally, failure in zip(failed, failures, strict=True)
    )
    faults = {failure.fault for failure in failures}
    waits = [failure.retry_after_s for failure in failures if failure.retry_after_s is not None]
    wait = min(waits, default=None)
    if faults <= {Fault.RATE_LIMITED, Fault.OVERLOADED}:
        limited = faults == {Fault.RATE_LIMITED}
        if wait is None:  # who is ill and has nobody beside him is tried at once, so there is no need to come late
            wait = services.turns.back_in([tally.plan for tally in failed]) if limited else 1.0
        kind_of_error: type[RouterError] = RateLimited if limited else Overloaded
        told = f"every candidate is {'rate limited' if limited else 'overloaded'}: {named}"
        return kind_of_error(told, retry_after_s=wait, details=_told(failed))
    kind_of_error = UpstreamTimeout if faults == {Fault.TIMEOUT} else UpstreamFailed
    return kind_of_error(f"every attempt failed: {named}", retry_after_s=wait, details=_told(failed))


def _told(failed: list[Tally]) -> Mapping[str, object]:
    """Each attempt, for programs."""
    return {
        "request_id": failed[-1].attempt.request_id,
        "attempts": [
            {
                "model": tally.attempt.model,
                "vendor": tally.attempt.vendor,
                "status": tally.failure.status if tally.failure else None,
                "fault": str(tally.failure.fault) if tally.failure else None,
                "code": tally.failure.code if tally.failure else None,
            }
            for tally in failed
        ],
    }
