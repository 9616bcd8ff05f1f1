"""A line in which nobody starves another: start-time fair queueing.

Who waits belongs to a *flow* (a team, a key) with a weight. Each flow has a start tag: the line's own time when it came,
or where its last service ended if that is later. The lowest start tag is served next; what is served costs its flow
`cost / weight`, and the line's time is the tag of whoever was served last. (P. Goyal, H. Vin, H. Cheng: Start-time Fair
Queueing, SIGCOMM 1996.)

**The bound.** While two flows f and g both wait for the same thing, what they have been served, each divided by its
weight, differs by at most `c_f / w_f + c_g / w_g`, where c is the flow's dearest item. So nobody waits longer than the
others' shares of what is served meanwhile, however many more they ask for; a flow that was away gains no credit by it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Waiter(Generic[T]):
    """One in the line."""

    flow: str
    cost: float
    item: T


@dataclass(slots=True)
class _Flow(Generic[T]):
    weight: float = 1.0
    start: float = 0.0
    waiters: dict[Waiter[T], None] = field(default_factory=dict)  # in the order in which they came


@dataclass(slots=True)
class Line(Generic[T]):
    """Those who wait, by flow. It remembers nothing once it is empty."""

    _flows: dict[str, _Flow[T]] = field(default_factory=dict)
    _time: float = 0.0
    _count: int = 0

    def __len__(self) -> int:
        return self._count

    def items(self) -> list[T]:
        """Everybody in the line, in no order."""
        return [waiter.item for flow in self._flows.values() for waiter in flow.waiters]

    def before(self, flow: str, weight: float) -> list[T]:
        """Who would be served before one that joined now, if nobody came after it."""
        own = self._flows.get(flow)
        start = self._time if own is None else max(own.start, self._time)
        if own is not None and own.waiters:
            start = own.start + sum(waiter.cost for waiter in own.waiters) / weight
        found = []
        for other in self._flows.values():
            tag = other.start
            for waiter in other.waiters:
                if tag > start:
                    break
                found.append(waiter.item)
                tag += waiter.cost / other.weight
        return found

    def join(self, flow: str, weight: float, cost: float, item: T) -> Waiter[T]:
        found = self._flows.setdefault(flow, _Flow())
        found.weight = weight
        if not found.waiters:
            found.start = max(found.start, self._time)
        waiter = Waiter(flow, cost, item)
        found.waiters[waiter] = None
        self._count += 1
        return waiter

    def leave(self, waiter: Waiter[T]) -> None:
        """Go without having been served, which costs nothing; safe to call for one who was served."""
        flow = self._flows.get(waiter.flow)
        if flow is not None and waiter in flow.waiters:
            self._remove(flow, waiter)

    def serve(self, enter: Callable[[T], bool]) -> None:
        """Offer everybody a place in fair order; `enter` says whether there was one. Who is not let in is not asked again
        in this round, and does not keep those from going who wait for something else.
        """
        asking = [(flow.start, name, iter(tuple(flow.waiters))) for name, flow in self._flows.items() if flow.waiters]
        heapify(asking)
        while asking:
            _, name, waiters = heappop(asking)
            flow = self._flows.get(name)
            for waiter in waiters:
                if flow is None or waiter not in flow.waiters or not enter(waiter.item):
                    continue
                self._time = max(self._time, flow.start)
                flow.start += waiter.cost / flow.weight
                self._remove(flow, waiter)
                heappush(asking, (flow.start, name, waiters))
                break

    def _remove(self, flow: _Flow[T], waiter: Waiter[T]) -> None:
        del flow.waiters[waiter]
        self._count -= 1
        if not self._count:
            self._flows.clear()
            self._time = 0.0
