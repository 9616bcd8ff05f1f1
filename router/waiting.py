"""Lines of requests that wait for room, each a moment and no longer.

A line exists only while somebody stands in it. It is looked at when somebody joins or leaves, when `wake` says that room
was made, and when time makes room by itself; there is one alarm for a line and one for each who waits, and no task.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from math import isfinite
from typing import Generic, TypeVar

from router.clock import Alarm, Clock
from router.core.buckets import Seat
from router.core.fair import Line, Waiter

W = TypeVar("W")

MOST = 1000  # who wait in one line: they are open connections, and each look at the line costs a microsecond for each
SLACK_S = 0.0005  # an alarm that rings a little early would find nothing and be set anew


@dataclass(slots=True)
class _Standing(Generic[W]):
    want: W
    seat: asyncio.Future[Seat | None]


@dataclass(slots=True)
class _Open(Generic[W]):
    line: Line[_Standing[W]] = field(default_factory=Line)
    alarm: Alarm | None = None


@dataclass(slots=True)
class Lines(Generic[W]):
    """Lines by name. `enter` takes what somebody wants if there is room, else it says in how many seconds there may be; its
    set is empty at the beginning of each look at a line, to remember who has a claim to what.
    """

    clock: Clock
    enter: Callable[[W, set[int]], Seat | float]
    refuse: Callable[[W, Seat], None]  # gives a seat back that nobody takes any more
    _open: dict[str, _Open[W]] = field(default_factory=dict)

    def ahead(self, name: str) -> list[W]:
        """What those in a line want."""
        found = self._open.get(name)
        return [] if found is None else [standing.want for standing in found.line.items()]

    def before(self, name: str, flow: str, weight: float) -> list[W]:
        """What those in a line want whose turn would come before that of one who joined now."""
        found = self._open.get(name)
        return [] if found is None else [standing.want for standing in found.line.before(flow, weight)]

    def is_open(self, name: str) -> bool:
        return name in self._open

    def count(self) -> int:
        """How many wait, in all lines."""
        return sum(len(found.line) for found in self._open.values())

    async def wait(self, name: str, flow: str, weight: float, cost: float, want: W, most_s: float) -> Seat | None:
        """Stand in line for at most so many seconds; None if no turn came, or if the line is too long already."""
        found = self._open.setdefault(name, _Open())
        if len(found.line) >= MOST:
            return None
        standing = _Standing(want, asyncio.get_running_loop().create_future())
        waiter = found.line.join(flow, weight, cost, standing)
        expiry: Alarm | None = None
        try:
            self.wake(name)
            if not standing.seat.done():
                expiry = self.clock.later(most_s, lambda: self._expire(name, standing.seat))
            return await standing.seat
        except asyncio.CancelledError:
            if standing.seat.done() and not standing.seat.cancelled() and (seat := standing.seat.result()) is not None:
                self.refuse(standing.want, seat)  # its turn came in the same moment
                standing.seat = asyncio.get_running_loop().create_future()
            raise
        finally:
            if expiry is not None:
                expiry.cancel()
            self._leave(name, found, waiter)

    def _expire(self, name: str, seat: asyncio.Future[Seat | None]) -> None:
        self.wake(name)  # its turn may come in this very moment
        if not seat.done():
            seat.set_result(None)

    def wake(self, name: str) -> None:
        """There may be room: let in who can go, in fair order."""
        found = self._open.get(name)
        if found is None:
            return
        claimed: set[int] = set()
        soonest = float("inf")

        def enter(standing: _Standing[W]) -> bool:
            nonlocal soonest
            if standing.seat.done():
                return False
            seat = self.enter(standing.want, claimed)
            if isinstance(seat, Seat):
                standing.seat.set_result(seat)
                return True
            soonest = min(soonest, seat)
            return False

        found.line.serve(enter)
        if found.alarm is not None:
            found.alarm.cancel()
            found.alarm = None
        if len(found.line) and isfinite(soonest):
            found.alarm = self.clock.later(soonest + SLACK_S, lambda: self.wake(name))

    def _leave(self, name: str, found: _Open[W], waiter: Waiter[_Standing[W]]) -> None:
        served = waiter.item.seat.done() and not waiter.item.seat.cancelled() and waiter.item.seat.result() is not None
        found.line.leave(waiter)
        if not len(found.line):
            if found.alarm is not None:
                found.alarm.cancel()
            if self._open.get(name) is found:
                del self._open[name]
        elif not served:
            self.wake(name)  # what it had a claim to is free for others
