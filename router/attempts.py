"""The calls that are made for one request: in the decision's order, again where it is safe, beside a slow one, or the
cheap one first. One reservation each.
"""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

from router.cascade import Ask, Kept
from router.clock import Stopwatch
from router.core.cascade import Doubt
from router.core.catalog import Caller
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
from router.core.failure import CALLERS_FAULT, Failure, Fault
from router.core.health import OF_THE_KEY
from router.core.plan import Plan
from router.gate import Admission
from router.hedge import Lane
from router.relay import ClientLeft, Reply, relay
from router.services import Services
from router.tally import Tally, Ticket
from router.told import one_line
from router.turns import Turn

MOST_WHY = 200  # characters of one failure in a reason: it may be what the vendor says
MAX_ATTEMPTS = 3  # a request that three vendors could not serve is told so, while its client still waits


class _Tried(NamedTuple):
    tally: Tally
    following: Turn  # whom to ask next; nobody if there is no need


@dataclass(slots=True)
class Attempts:
    """Of one request."""

    caller: Caller
    admission: Admission
    services: Services
    watch: Stopwatch
    done: int = 0
    counted: bool = True  # as a client's request: a judge's is none
    _begun: list[Tally] = field(default_factory=list)  # at the same time

    async def run(self, ticket: Ticket, reply: Reply, ask: Ask) -> None:
        """Until one has answered. Raises `RouterError` if none has.

        Args:
            ticket: the request and what was decided.
            reply: the way to the client.
            ask: how a judge is asked, where the route has one.

        """
        self.watch.calling = True
        try:
            cheap = self.services.cascades.first(ticket.chat, ticket.decision)
            if cheap is None or (why := await self._cheap_first(ticket, cheap, reply, ask)) is not None:
                if cheap is not None:
                    ticket = _because(ticket, f"escalated from {cheap.model.name}: {why}")
                await self._in_order(ticket, reply)
        finally:
            self.watch.calling = False
            self.watch.stop()

    async def _in_order(self, ticket: Ticket, reply: Reply) -> None:
        """The decision's plans, one after the other."""
        services, route = self.services, ticket.decision.route
        failed: list[Tally] = []
        turn = await self._turn(ticket.decision.plans)
        if not turn.plans:
            raise _nobody_can_be_asked(ticket.decision.plans, services)
        while turn.plans:
            number = self.done + 1
            after_s = services.hedges.after(route, turn.plans)
            if after_s is None:
                tried = [await self._attempt(ticket, turn, number, reply)]
            else:
                first = partial(self._attempt, ticket, turn, number)
                second = partial(self._second, ticket, turn, number + 1, after_s)
                tried = await services.hedges.race(route, reply, after_s, first, second)
            self.done += len(tried)
            self._count(tried[-1].tally)
            if any(one.tally.answered or one.tally.left for one in tried):
                return
            failed.extend(one.tally for one in tried)
            turn = next((one.following for one in tried if one.following.plans), tried[0].following)
            if turn.plans:
                ticket = _because(ticket, "; ".join(map(_how_it_failed, (one.tally for one in tried))))
            if turn.plans and turn.plans[0].model is not failed[-1].plan.model:
                services.on_fallback(route.name, failed[-1].plan.model.name, turn.plans[0].model.name)
        raise _every_attempt_failed(failed, services)

    async def _turn(self, plans: tuple[Plan, ...]) -> Turn:
        """Whom to ask first; what was waited for is not our time."""
        self.watch.pause()
        turn = await self.services.turns.pick(plans, self.caller)
        self.watch.resume()
        return turn

    def _count(self, last: Tally | None) -> None:
        """Attempts are over: our own was the time until the first vendor was called, and what came after the last's answer."""
        since, begun = self.watch.since, [tally.sent_s for tally in self._begun if tally.sent_s]
        before_s = min(begun) - since if begun and since is not None else 0.0
        self.watch.lap(before_s + (last.after_s if last else 0.0))
        self._begun.clear()

    async def _attempt(self, ticket: Ticket, turn: Turn, number: int, reply: Reply) -> _Tried:
        """One reservation and one call. In a race only who fails last looks for whom to ask next."""
        services = self.services
        try:
            async with services.settlement.reserve(ticket, turn.plans, number, turn.claim) as tally:
                tally.seat, self.admission.asked, tally.final = turn.take(), True, self.counted
                self._begun.append(tally)
                lane = reply if isinstance(reply, Lane) else None
                if lane is not None:
                    lane.start(tally)
                await relay(ticket.chat, tally, reply, services.reach)
                if lane is not None and not tally.answered and not lane.is_last():
                    tally.final = False
                    return _Tried(tally, Turn(services.turns, ()))
                following = Turn(services.turns, ())
                if not tally.answered and not tally.left:
                    following = await _next(turn.plans, tally, number, self.caller, services)
                tally.final = self.counted and not following.plans and not tally.lost
        finally:
            turn.give_back()  # where no attempt was made
        return _Tried(tally, following)

    def _second(self, ticket: Ticket, turn: Turn, number: int, after_s: float, lane: Lane) -> Awaitable[_Tried] | None:
        """The attempt beside a slow one: by the next plan of another model that is well and has room; None if none has."""
        turns = self.services.turns
        others = tuple(plan for plan in turn.plans if plan.model is not turn.plans[0].model)
        for i, plan in enumerate(others):
            if turns.look(plan) is None and (seat := turns.seat(plan, well=True)) is not None:
                told = _because(ticket, f"{turn.plans[0].model.name} had not begun after {after_s:.2g} s")
                return self._attempt(told, Turn(turns, others[i:], seat), number, lane)
        return None

    async def _cheap_first(self, ticket: Ticket, cheap: Plan, reply: Reply, ask: Ask) -> str | None:
        """Ask a cheap model and look at its answer. None: the client has it; else why it has not."""
        services, kept, tally = self.services, Kept(), None
        route = ticket.decision.route
        turn = Turn(services.turns, (cheap,), services.turns.seat(cheap, well=True))
        if turn.seat is None or route.cascade is None:
            return "it has no room now"
        tried = _because(ticket, f"cascade: {cheap.model.name} is tried first")
        try:
            async with services.settlement.reserve(tried, turn.plans, 1, turn.claim) as tally:
                tally.seat, self.admission.asked = turn.take(), True
                self._begun.append(tally)
                self.done += 1
                await relay(ticket.chat, tally, kept, services.reach)
                if tally.seat is not None:
                    tally.seat.leave()  # its vendor has answered: a checker may take long, and a judge may wait for it
                doubt: Doubt | None = Doubt(str(tally.failure))
                if kept.status:
                    doubt = await services.cascades.doubt(ticket.chat, route.name, route.cascade, cheap, kept, ask)
                services.cascades.count(route.name, doubt)
                if doubt is not None:
                    tally.final, tally.lost = False, bool(kept.status)
                    return doubt.why
                await _send(tally, kept, reply)
        except RouterError as error:  # that of the better model is what the client is told
            return error.message
        finally:
            turn.give_back()
            self._count(tally)  # a judge's and a checker's time is another's
        return None


async def _send(tally: Tally, kept: Kept, reply: Reply) -> None:
    try:
        await reply.send(kept.status, kept.body, kept.headers)
    except ClientLeft:
        tally.left = True


def _because(ticket: Ticket, why: str) -> Ticket:
    """The same with one more reason."""
    return replace(
        ticket, decision=replace(ticket.decision, reason=f"{ticket.decision.reason}; {one_line(why, MOST_WHY)}")
    )


def _how_it_failed(tally: Tally) -> str:
    """In few words: a reason is a header and a column."""
    return f"{tally.plan.model.name} failed: {tally.failure.fault if tally.failure else Fault.SERVER}"


def _nobody_can_be_asked(plans: tuple[Plan, ...], services: Services) -> RouterError:
    unwell = {plan.model.name: services.turns.look(plan) for plan in plans}
    told = "; ".join(f"{name}: {found or 'others were faster'}" for name, found in unwell.items())
    limited = all(found is None or found.fault is Fault.RATE_LIMITED for found in unwell.values())
    return (RateLimited if limited else Overloaded)(
        f"no vendor can be asked now: {told}", retry_after_s=services.turns.back_in(plans)
    )


async def _next(plans: tuple[Plan, ...], tally: Tally, tried: int, caller: Caller, services: Services) -> Turn:
    """Whom to ask after an attempt that has not answered; nobody if it is the caller's fault, or after enough tries."""
    nobody, failure = Turn(services.turns, ()), tally.failure
    if failure is None or tried >= MAX_ATTEMPTS:
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
    """The plans after this attempt. Where a prompt was too long, those with a larger window, then those of which nobody knows
    it; the same again where it was the credential's fault and there is another.
    """
    model = tally.plan.model
    if fault is Fault.CONTEXT_TOO_LONG:
        larger = [plan for plan in plans if (plan.model.context_window or 0) > (model.context_window or 0)]
        plans = (*larger, *(plan for plan in plans if plan.model.context_window is None))
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
        return kind.get(last.fault, InvalidRequest)(last.message, param=last.param, details=_told(failed))
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
