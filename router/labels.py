"""Labels from live traffic: what is asked of a route is drawn, kept and judged, beside the request and never in its way.

decide ─► drawn? ─► answered ─► ledger ─► kept in the label store ◄─ feedback, shadow calls
"""

import asyncio
import contextlib
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Protocol

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from router.checker import Checker
from router.clock import Clock
from router.core.charge import fit
from router.core.entry import SHADOW, Entry
from router.core.explore import explorable, explore
from router.core.labels import OTHER, SOURCES, Asked, Label, Labelled, offered, shape
from router.core.limits import Budget
from router.core.plan import Plan
from router.relay import Reach, Reply
from router.room import Room
from router.settings import Settings
from router.settlement import Settlement
from router.shadow import Kept, Shadow
from router.snapshot import Snapshot
from router.stores.labels import Keep, LabelStore
from router.stores.ports import StoreDown
from router.tally import Ticket
from router.turns import Turns

log = logging.getLogger("farebox.labels")

TEND_S = 3600.0
WRITTEN_S = 10.0  # how long a label waits for the row of its answer
MOST_PENDING = 20_000  # requests whose entry has not come yet
KEPT = frozenset({"ok", "cut", "left"})  # outcomes of requests that have an answer which can be judged


class Labelling(Protocol):
    """What the pipeline asks for."""

    async def drawn(self, ticket: Ticket) -> Ticket:
        """The ticket, perhaps with another plan in front."""

    def around(self, ticket: Ticket, raw: bytes, reply: Reply) -> "Around":
        """The scope in which a request is answered; entering it gives the way back to use."""


def _features(said: Mapping[str, Any]) -> tuple[bytes, list[float]]:
    """What of a request a quality model is trained on."""
    from router.quality.request import request_of  # noqa: PLC0415 (it brings numpy, which few routes need)

    request = request_of(said)
    return request.places().astype("<u4").tobytes(), request.shape().tolist()


def keep_of(settings: Settings) -> Keep:
    """How long and how much a configuration says to keep."""
    told = settings.labels
    stored = {name: team.retention_days for name, team in settings.teams.items() if team.store_prompts}
    return Keep(told.days, told.max_bytes, stored)


@dataclass(slots=True)
class Labels:
    """See `Labelling`; and the observer of entries by which it learns who has answered."""

    snapshot: Callable[[], Snapshot]
    settlement: Settlement
    clock: Clock
    chance: Callable[[], float] = random.random
    observers: list[Callable[[Labelled], None]] = field(default_factory=list)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)  # labels by (route, source)
    store: LabelStore = field(init=False)
    shadow: Shadow | None = None
    _pending: dict[str, Ticket] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        settings = self.snapshot().settings
        self.store = LabelStore(settings.labels_path, self.clock.now, keep=keep_of(settings), features=_features)
        self.settlement.observers.append(self.observe)

    # What the pipeline asks for

    async def drawn(self, ticket: Ticket) -> Ticket:
        """With the probability that the route says, the other side's model is put first: only if it could serve the request
        and every budget can pay for it as it is.
        """
        decision = ticket.decision
        rate = decision.route.explore
        if not rate or not explorable(ticket.chat):
            return ticket
        budgets = ticket.caller.budgets
        states = await self.settlement.accounts.states(budgets, self.clock.now()) if budgets else ()

        def may(plan: Plan) -> bool:
            return fit(plan, states, ticket.rates, plan.output_cap).plan is plan

        found = explore(decision, rate, self.chance(), may)
        return ticket if found is decision else replace(ticket, decision=found)

    def around(self, ticket: Ticket, raw: bytes, reply: Reply) -> "Around":
        """Note a request of a route whose labels are kept, and keep the answer of one that a shadow call is to follow."""
        if not ticket.decision.route.labels:
            return Around(self, None, raw, reply)
        self._pending[ticket.id] = ticket
        if len(self._pending) > MOST_PENDING:
            del self._pending[next(iter(self._pending))]
        wanted = self.shadow is not None and self.shadow.wants(ticket)
        return Around(self, ticket, raw, Kept(reply) if wanted else reply)

    def over(self, around: "Around", *, answered: bool) -> None:
        """A request has left its scope."""
        ticket, reply = around.ticket, around.reply
        if ticket is None:
            return
        if not answered:
            self._pending.pop(ticket.id, None)
        if self.shadow is None or not isinstance(reply, Kept):
            return
        if answered:
            self.shadow.offer(ticket, around.raw, reply)
        else:
            self.shadow.drop(ticket)

    # What the settlement tells

    def observe(self, entry: Entry) -> None:
        """Hand an answered request to the store, and what a shadow call has cost."""
        attempt = entry.attempt
        if attempt.team == SHADOW:
            if entry.outcome in KEPT:
                request_id = attempt.tags.get(SHADOW, "")
                self.store.offer_cost(request_id, attempt.model, entry.cost, attempt.route)
            return
        if not self._pending or not entry.final or (ticket := self._pending.pop(attempt.request_id, None)) is None:
            return
        if entry.outcome not in KEPT:
            return
        decision = ticket.decision
        asked = Asked(
            id=attempt.request_id,
            at=attempt.at,
            team=attempt.team,
            route=attempt.route,
            model=attempt.model,
            tier=str(attempt.tier),
            cost=entry.cost,
            propensity=attempt.propensity,
            explored=decision.explored and attempt.propensity is not None,
            need=decision.need,
            size=ticket.chat.prompt.size,
            shape=shape(ticket.chat, decision),
            candidates=offered(decision),
        )
        self.store.offer(asked, ticket.chat)

    # What is judged

    async def give(self, labels: Sequence[Label], bare: Sequence[Asked] = ()) -> None:
        """Keep labels, count them, and tell those who watch.

        Raises:
            StoreDown: they are not kept.

        """
        if any(label.request_id in self._pending for label in labels):  # a vendor beside it was faster than its own row
            await self.settlement.drain(WRITTEN_S)
        for one in await self.store.label(labels, bare):
            if not one.again:
                self.counts[one.route, one.source] += 1
            for observe in self.observers:
                try:
                    observe(one)
                except Exception:
                    log.exception("somebody who watches labels failed, which is a bug")

    # Life

    def begin(self, turns: Turns, reach: Reach, room: Room) -> None:
        """Allow shadow calls, which need a way to vendors, and that clients do not need what there is."""

        def busy() -> bool:
            return room.in_flight * room.parts > self.snapshot().settings.server.max_in_flight // 2

        self.shadow = Shadow(
            self.settlement, turns, reach, self.clock, self._shared, busy, self.give,
            lambda told: Checker(told, reach.upstream),
        )  # fmt: skip

    def _shared(self) -> tuple[Budget, ...]:
        return tuple(budget for budget in self.snapshot().budgets if budget.owner == "*")

    def follow(self) -> None:
        """The configuration has changed. The file can only be moved by a restart."""
        self.store.keep = keep_of(self.snapshot().settings)
        self._changed.set()

    async def tend(self) -> None:
        """Delete what is beyond its time, also while nothing is asked, and at once when less is to be kept."""
        while True:
            self._changed.clear()
            if self.store.path.exists():
                with contextlib.suppress(StoreDown):  # it is in the log
                    await self.store.prune()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TEND_S):
                    await self._changed.wait()

    async def stop_asking(self) -> None:
        if self.shadow is not None:
            await self.shadow.stop()

    async def stop(self) -> None:
        await self.store.stop()


class Around:
    """`with labels.around(ticket, raw, reply) as reply`: one request while it is answered."""

    __slots__ = ("_labels", "raw", "reply", "ticket")

    def __init__(self, labels: Labels | None, ticket: Ticket | None, raw: bytes, reply: Reply) -> None:
        self._labels = labels
        self.ticket, self.raw, self.reply = ticket, raw, reply

    def __enter__(self) -> Reply:
        return self.reply

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._labels is not None:
            self._labels.over(self, answered=kind is None)


class Unlabelled:
    """`Labelling` that does nothing."""

    async def drawn(self, ticket: Ticket) -> Ticket:
        return ticket

    def around(self, ticket: Ticket, raw: bytes, reply: Reply) -> Around:  # noqa: ARG002 (the port's)
        return Around(None, None, raw, reply)


class LabelMetrics(Collector):
    """The counters of labels and of shadow calls, since the process began."""

    def __init__(self, labels: Labels) -> None:
        self._labels = labels

    def collect(self) -> Iterator[Metric]:
        labels, routes = self._labels, self._labels.snapshot().catalog.routes
        shadow = labels.shadow.outcomes if labels.shadow is not None else Counter[tuple[str, str]]()
        known = Counter[tuple[str, str]]()
        for (route, source), count in labels.counts.items():
            known[route, source if source in SOURCES else OTHER] += count
        dropped = Counter({(route,): count for route, count in labels.store.dropped.items()})
        for name, text, second, counts in (
            ("farebox_labels", "Answers that were judged", ("source",), known),
            ("farebox_shadow", "Shadow calls by what came of them", ("outcome",), shadow),
            ("farebox_labels_dropped", "Requests that could not be kept for their labels", (), dropped),
        ):
            family = CounterMetricFamily(name, text, labels=("route", *second))
            folded = Counter[tuple[str, ...]]()
            for (route, *rest), count in counts.items():
                folded[(route if route in routes else OTHER, *rest)] += count
            for key, count in folded.items():
                family.add_metric(key, count)
            yield family
