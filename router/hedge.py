"""Asking a second vendor when the first is slow to begin: whoever begins first answers, the other is left.

Off unless a route has `hedge`. A request is asked again once its vendor has taken longer to its first byte than that
percentile of its own late answers, if another candidate is well and has room now, if the budgets can hold a second attempt
without waiting, and if no more than the route's share of requests was asked twice. Both attempts are ledger rows. What is
left is read on without a client, as when a client leaves: that is how its bill is known.
"""

import asyncio
from bisect import insort
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from router.clock import Clock
from router.core.catalog import Route
from router.core.entry import Entry
from router.core.failure import Failure, Fault
from router.core.plan import Plan
from router.relay import ClientLeft, Reply
from router.tally import Tally

KEPT = 256  # first-byte times that are kept of each model
ENOUGH = 30  # of them, before a percentile says anything
BURST = 3.0  # hedges that a quiet route may make at once


class Paces:
    """How long each model takes to its first byte, in milliseconds."""

    def __init__(self) -> None:
        self._of: dict[str, tuple[deque[int], list[int]]] = {}

    def observe(self, entry: Entry) -> None:
        if entry.first_byte_ms is None or entry.outcome == "error":
            return
        late, ranked = self._of.setdefault(entry.attempt.model, (deque(), []))
        late.append(entry.first_byte_ms)
        insort(ranked, entry.first_byte_ms)
        if len(late) > KEPT:
            ranked.remove(late.popleft())

    def percentile_s(self, model: str, percent: float) -> float | None:
        """So many percent of its answers begin within these seconds; None if too few were seen."""
        ranked = self._of.get(model, ((), []))[1]
        if len(ranked) < ENOUGH:
            return None
        return ranked[min(len(ranked) - 1, int(len(ranked) * percent / 100))] / 1000


class Taken(ClientLeft):
    """Somebody else's answer has begun: this one is not wanted any more."""


@dataclass(slots=True)
class Race:
    """Two attempts and one client."""

    reply: Reply
    lanes: list["Lane"] = field(default_factory=list)
    winner: "Lane | None" = None
    over: bool = False  # the first has failed, and goes its way alone
    told: asyncio.Event = field(default_factory=asyncio.Event)

    def lane(self) -> "Lane":
        self.lanes.append(Lane(self))
        return self.lanes[-1]


@dataclass(slots=True, eq=False)
class Lane:
    """One attempt's way to the client: the client's own once something goes out on it, from then on `Taken` on the other."""

    race: Race
    tally: Tally | None = None
    failed: bool = False

    def start(self, tally: Tally) -> None:
        """Its attempt has been written down. Raises `Taken` if it is not to be made after all."""
        self.tally = tally
        tally.final = self.race.lanes[0] is self
        if self.race.over:
            tally.failure = Failure(Fault.CONNECT, "given up before the vendor was called")
            raise Taken

    def is_last(self) -> bool:
        """After a failure: whether nobody is left who might answer. If so, nobody will be."""
        self.failed = True
        self.race.over = all(lane.failed or lane.tally is None for lane in self.race.lanes)
        return self.race.over

    async def send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self._win()
        await self.race.reply.send(status, body, headers)

    async def begin(self, headers: Mapping[str, str]) -> None:
        self._win()
        await self.race.reply.begin(headers)

    async def write(self, data: bytes) -> None:
        self._win()
        await self.race.reply.write(data)

    def _win(self) -> None:
        if self.race.winner is self:
            return
        if self.race.winner is not None:
            raise Taken
        self.race.winner = self
        self.race.told.set()
        for lane in self.race.lanes:
            if lane.tally is not None:
                lane.tally.final, lane.tally.lost = lane is self, lane is not self


R = TypeVar("R")


@dataclass(slots=True)
class Hedges:
    """When to ask twice, for one process."""

    clock: Clock
    paces: Paces = field(default_factory=Paces)
    _credit: dict[str, float] = field(default_factory=dict)  # hedges that a route may make now

    def after(self, route: Route, plans: Sequence[Plan]) -> float | None:
        """In how many seconds a second is asked if nothing came; None: not at all. Every request earns its share."""
        told = route.hedge
        if told is None or len(plans) < 2:
            return None
        credit = self._credit[route.name] = min(BURST, self._credit.get(route.name, 0.0) + told.share)
        return self.paces.percentile_s(plans[0].model.name, told.percentile) if credit >= 1 else None

    async def race(
        self,
        route: Route,
        reply: Reply,
        after_s: float,
        first: Callable[[Lane], Awaitable[R]],
        second: Callable[[Lane], Awaitable[R] | None],
    ) -> list[R]:
        """What both came to, in the order in which they ended; one only, if the first was in time, the second could not be
        made or was left. Raises what the first raises.
        """
        race = Race(reply)
        mine = asyncio.ensure_future(first(race.lane()))
        theirs: asyncio.Future[R] | None = None
        try:
            await self._wait({mine}, race, after_s)
            if not mine.done() and race.winner is None and self._credit.get(route.name, 0.0) >= 1:
                lane = race.lane()
                if (other := second(lane)) is not None:
                    self._credit[route.name] -= 1
                    theirs = asyncio.ensure_future(other)
                    await self._until_one_answers(race, mine, theirs)
                    return await self._ended(race, mine, theirs)
                race.lanes.remove(lane)
            return [await mine]
        finally:
            await _stop(mine, theirs)

    async def _until_one_answers(self, race: Race, *tasks: "asyncio.Future[R]") -> None:
        while race.winner is None and not race.over and not all(task.done() for task in tasks):
            await self._wait({task for task in tasks if not task.done()}, race)

    async def _ended(self, race: Race, mine: "asyncio.Future[R]", theirs: "asyncio.Future[R]") -> list[R]:
        if race.winner is not None:
            won, lost = (mine, theirs) if race.winner is race.lanes[0] else (theirs, mine)
            ended = [lost.result()] if _came_to_something(lost) else []  # it had failed before
            lost.cancel()
            return [*ended, await won]
        first = await mine
        return [first, theirs.result()] if _came_to_something(theirs) else [first]

    async def _wait(self, tasks: "set[asyncio.Future[R]]", race: Race, seconds: float | None = None) -> None:
        """Until one ends, or an answer begins, or the time is over by the clock that is an argument."""
        told: asyncio.Future[object] = asyncio.ensure_future(race.told.wait())
        alarm = None if seconds is None else self.clock.later(seconds, race.told.set)
        try:
            both: set[asyncio.Future[object]] = {*tasks, told}  # type: ignore[arg-type]  # invariant, and only waited for
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            told.cancel()
            if alarm is not None:
                alarm.cancel()
        if race.winner is None:
            race.told.clear()


def _came_to_something(task: "asyncio.Future[R]") -> bool:
    """Whether there is a result. Of a second that could not be made nobody has to hear: the first still runs."""
    return task.done() and not task.cancelled() and task.exception() is None


async def _stop(*tasks: "asyncio.Future[R] | None") -> None:
    """End what still runs. Its reservation closes it, and reads on for its bill, out of this request's reach."""
    left = [task for task in tasks if task is not None and not task.done()]
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left)
