"""Whose turn it is at a vendor: which of a request's candidates have room, and the wait for one when none has.

Who can be asked is `health`'s to say. When nobody can for now only because of rate limits, the request waits in the line
of the vendor where room comes soonest, in which teams take turns by their weight; when a vendor said no before it worked,
and there is nobody else to ask, the same is asked again after a moment.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import isfinite

from router.clock import Clock
from router.core.buckets import Seat
from router.core.catalog import Caller, Model
from router.core.failure import Failure, Fault
from router.core.health import Health, Unwell
from router.core.plan import Plan
from router.core.seats import SOON_S, Need
from router.waiting import Lines

RETRIED = frozenset({Fault.RATE_LIMITED, Fault.OVERLOADED, Fault.CONNECT})
"""Said before anything was done for the request, so that asking again cannot be paid for twice."""
FIRST_RETRY_S = 0.25  # doubled each time: a vendor that is restarting or shedding load needs about a second
UNKNOWN_S = 1.0  # when to come back where it is others' requests that have to end
MOST_RETRY_S = 2.0  # the longest that an overloaded vendor is waited for, also by its own word


@dataclass(frozen=True, slots=True)
class Want:
    """A request that waits for a model."""

    model: Model
    tokens: float


@dataclass(slots=True)
class Turns:
    """The way to every vendor, for one process."""

    health: Health
    clock: Clock
    wait_s: float = 0.0  # how long a request may wait for a vendor's limit
    retry_s: float = MOST_RETRY_S  # how long it may wait to ask an overloaded vendor again
    chance: Callable[[], float] = random.random
    lines: Lines[Want] = field(init=False)

    def __post_init__(self) -> None:
        self.lines = Lines(self.clock, self._enter, self._refuse)

    def look(self, plan: Plan, before: Sequence[Want] | None = None) -> Unwell | None:
        """Why a plan cannot be carried out now; None if it can.

        Args:
            plan: who would be asked.
            before: those in its vendor's line who go before; everybody, if not told.

        """
        line, now = plan.model.access.base_url, self.clock.seconds()
        if not self.lines.is_open(line):
            return self.health.look(plan.model, now, Need(tokens_of(plan)))
        self.lines.wake(line)  # now whoever is left in it has to wait
        waiting = self.lines.ahead(line)
        claimed: set[int] = set()
        for want in {want.model.name: want for want in waiting}.values():
            self.health.look(want.model, now, Need(want.tokens), claimed)
        ahead = [(want.model.name, want.tokens) for want in (waiting if before is None else before)]
        return self.health.look(plan.model, now, Need(tokens_of(plan), ahead), claimed)

    async def pick(self, plans: Sequence[Plan], caller: Caller) -> "Turn":
        """Those that can be asked now, with a seat for the first; none if nobody can be."""
        first = plans[0]
        nobody_waits = not self.lines.is_open(first.model.access.base_url)
        if nobody_waits and (seat := self.seat(first, well=True)) is not None:
            return Turn(self, tuple(plans), seat)  # the usual case
        found = [self.look(plan) for plan in plans]
        if all(found) and (soonest := self._soonest(plans, found, caller)) is not None:
            waited = await self._wait(soonest, caller)
            found = [self.look(plan) for plan in plans]
            if waited is not None:
                others = (plan for plan, unwell in zip(plans, found, strict=True) if not unwell or not unwell.busy)
                return Turn(self, (soonest, *(plan for plan in others if plan is not soonest)), waited)
        return self._take(plans, found)

    def _take(self, plans: Sequence[Plan], found: Sequence[Unwell | None]) -> "Turn":
        """A seat for the first that can be asked: those that are well, then those that may be tried."""
        well = [plan for plan, unwell in zip(plans, found, strict=True) if unwell is None]
        tried = [plan for plan, unwell in zip(plans, found, strict=True) if unwell is not None and not unwell.busy]
        for plan in (able := (*well, *tried)):
            if (seat := self.seat(plan)) is not None:
                return Turn(self, able[able.index(plan) :], seat)
        return Turn(self, ())

    def seat(self, plan: Plan, *, well: bool = False) -> Seat | None:
        """Room for this plan; None if it may not be asked now, or if it has to be well and is not."""
        return self._seat(plan.model, tokens_of(plan), well=well)

    def _seat(self, model: Model, tokens: float, *, well: bool = False) -> Seat | None:
        seat = self.health.seat(model, self.clock.seconds(), tokens, well=well)
        if seat is not None and seat.limiters:
            seat.freed = lambda: self.lines.wake(model.access.base_url)
        return seat

    def _soonest(self, plans: Sequence[Plan], found: Sequence[Unwell | None], caller: Caller) -> Plan | None:
        """Of plans that are only rate limited the one with room first, if that may be in time."""
        waits: list[tuple[float, int]] = []
        for i, (plan, unwell) in enumerate(zip(plans, found, strict=True)):
            if unwell is None or unwell.fault is not Fault.RATE_LIMITED or self.wait_s <= 0:
                continue
            turn = self.look(plan, self.lines.before(plan.model.access.base_url, caller.team, caller.weight))
            wait = 0.0 if turn is None else turn.wait_s
            if wait <= self.wait_s or not isfinite(wait):
                waits.append((wait, i))
        return plans[min(waits)[1]] if waits else None

    async def _wait(self, plan: Plan, caller: Caller) -> Seat | None:
        model, tokens, now = plan.model, tokens_of(plan), self.clock.seconds()
        cost = self.health.seats.share(model, now, tokens)
        line = model.access.base_url
        return await self.lines.wait(line, caller.team, caller.weight, cost, Want(model, tokens), self.wait_s)

    def _enter(self, want: Want, claimed: set[int]) -> Seat | float:
        now = self.clock.seconds()
        unwell = self.health.look(want.model, now, Need(want.tokens), claimed)
        if unwell is not None:
            return unwell.wait_s if not unwell.busy or unwell.by is not None else SOON_S
        return self._seat(want.model, want.tokens) or SOON_S

    def back_in(self, plans: Sequence[Plan]) -> float:
        """In how many seconds the first of these may be asked, if nothing else comes."""
        waits = [unwell.wait_s for plan in plans if (unwell := self.look(plan)) is not None]
        return min((wait for wait in waits if isfinite(wait)), default=UNKNOWN_S)

    async def pause(self, seconds: float) -> None:
        """Wait, by the clock that is an argument."""
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        alarm = self.clock.later(seconds, lambda: _end(over))
        try:
            await over
        finally:
            alarm.cancel()

    def _refuse(self, want: Want, seat: Seat) -> None:
        self.health.give_back(want.model, seat, self.clock.seconds())

    def again(self, plan: Plan, failure: Failure, tried: int) -> float | None:
        """In how many seconds the same may be asked again after it has failed; None if it had better not be."""
        if failure.fault not in RETRIED:
            return None
        told = failure.retry_after_s or 0.0
        if failure.fault is Fault.RATE_LIMITED:
            unwell = self.health.look(plan.model, self.clock.seconds())
            wait, most = max(told, unwell.wait_s if unwell is not None else 0.0), self.wait_s
        else:
            if self.health.breaker_open(plan.model, self.clock.seconds()):
                return None
            wait, most = max(told, FIRST_RETRY_S * 2 ** (tried - 1)), self.retry_s
        if wait > most:
            return None
        return wait + FIRST_RETRY_S * self.chance()  # later, never sooner: a crowd must not come back as one


@dataclass(slots=True)
class Turn:
    """The plans that can be asked now, best first, and a seat for one of them until an attempt takes it."""

    turns: Turns
    plans: tuple[Plan, ...]
    seat: Seat | None = None
    whose: Model | None = None  # the first plan's, if nothing is said

    def claim(self, plan: Plan) -> bool:
        """Whether there is room for this plan, however its cap was lowered since."""
        if self.seat is None or (self.whose or self.plans[0].model) is not plan.model:
            self.give_back()
            self.seat, self.whose = self.turns.seat(plan), plan.model
        return self.seat is not None

    def take(self) -> Seat | None:
        """The seat, for an attempt that is made."""
        seat, self.seat = self.seat, None
        return seat

    def give_back(self) -> None:
        """No attempt is made with it."""
        if self.seat is not None:
            whose = self.whose or self.plans[0].model
            self.turns.health.give_back(whose, self.seat, self.turns.clock.seconds())
            self.seat = None


def _end(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)


def tokens_of(plan: Plan) -> float:
    """What an attempt is expected to take of a limit in tokens."""
    return plan.tokens.tokens + plan.expected_output * plan.choices
