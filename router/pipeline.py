"""The program, left to right: a request is read, measured, decided, paid for, relayed.

    client ──► read ──► measure ──► candidates ──► decide ──► reserve ──► relay ──► vendor

What follows a reservation (usage, charge, ledger, accounts, metrics) happens in `settlement`, out of the request's reach.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

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
from router.core.health import OF_THE_KEY, Health, Unwell
from router.core.policy import Decision, Market, Plan, decide
from router.dialects import cannot, read
from router.gate import Gate
from router.grants import Grants
from router.habits import Habits
from router.relay import Reach, Reply, relay
from router.settlement import Settlement
from router.snapshot import Snapshot
from router.tally import Tally, Ticket
from router.tokenizer import Tokenizer
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
    clock: Clock
    on_decision: Callable[[str, Caller, Decision], None]
    on_fallback: Callable[[str, str, str], None]
    on_overhead: Callable[[float], None]
    reach: Reach = field(init=False)

    def __post_init__(self) -> None:
        self.reach = Reach(self.upstream, Grants(self.upstream, self.clock), self.health, self.clock)


async def serve(inbound: Inbound, reply: Reply, snapshot: Snapshot, services: Services) -> None:
    """Answer one request: the diagram above, left to right. Raises RouterError only while nothing has been sent."""
    chat = read(inbound.endpoint, inbound.raw, inbound.headers)
    route = snapshot.catalog.route(chat.asked, inbound.caller)
    decision, ticket = await choose(inbound.id, chat, route, inbound.caller, snapshot, services)
    services.on_decision(ticket.id, inbound.caller, decision)
    if chat.wishes.dry_run:
        await _dry_run(ticket, reply)
        return
    with services.gate.admit(inbound.caller):
        await _attempts(inbound, reply, decision, ticket, services)


async def _attempts(inbound: Inbound, reply: Reply, decision: Decision, ticket: Ticket, services: Services) -> None:
    """The decision's plans in order, one reservation each, until one has answered."""
    chat, plans, failed = ticket.chat, decision.plans, list[Tally]()
    busy = _busy(plans, services)
    plans = tuple(plan for plan in plans if plan.model.name not in busy)
    if not plans:
        raise _nobody_can_be_asked(busy)
    while plans:
        async with services.settlement.reserve(ticket, plans, len(failed) + 1) as tally:
            await relay(chat, tally, reply, services.reach)
            plans = _left_to_try(plans, tally, len(failed) + 1, services)
            tally.final = not plans
        services.on_overhead(tally.overhead_s(inbound.began))
        if tally.answered or tally.left:
            return
        failed.append(tally)
        if plans:
            services.on_fallback(decision.route.name, tally.plan.model.name, plans[0].model.name)
    raise _every_attempt_failed(failed)


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


def _busy(plans: tuple[Plan, ...], services: Services) -> Mapping[str, Unwell]:
    """Of these the models that are unwell while another request tries them, by name."""
    now = services.clock.seconds()
    unwell = {plan.model.name: services.health.look(plan.model, now) for plan in plans}
    return {name: found for name, found in unwell.items() if found is not None and found.busy}


def _nobody_can_be_asked(busy: Mapping[str, Unwell]) -> RouterError:
    told = "; ".join(f"{name}: {found}" for name, found in busy.items())
    limited = all(found.fault is Fault.RATE_LIMITED for found in busy.values())
    wait = min(found.wait_s for found in busy.values())
    return (RateLimited if limited else Overloaded)(f"no vendor can be asked now: {told}", retry_after_s=wait)


def _left_to_try(plans: tuple[Plan, ...], tally: Tally, tried: int, services: Services) -> tuple[Plan, ...]:
    """The plans after this attempt: none once it has answered, once it is the caller's fault, or after enough tries. Where a
    prompt was too long, those with a larger window; the same again where it was the credential's fault and there is another.
    """
    model, fault = tally.plan.model, tally.failure.fault if tally.failure else None
    if tally.answered or tally.left or tried >= MAX_ATTEMPTS:
        return ()
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
    busy = _busy(plans, services)
    return tuple(plan for plan in plans if plan.model is not model and plan.model.name not in busy)


def _every_attempt_failed(failed: list[Tally]) -> RouterError:
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
    if faults == {Fault.RATE_LIMITED}:
        return RateLimited(
            f"every candidate is rate limited: {named}", retry_after_s=wait or 1.0, details=_told(failed)
        )
    if faults <= {Fault.RATE_LIMITED, Fault.OVERLOADED}:
        return Overloaded(f"every candidate is overloaded: {named}", retry_after_s=wait or 1.0, details=_told(failed))
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
