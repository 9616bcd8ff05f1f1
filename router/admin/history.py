"""The ledger over time, folded in memory: hours for two weeks, days for ever. What the page draws is added up from it.

It begins with the sums that the ledger keeps, however many rows they are of. From there on each row is read once, by its number,
so that nothing is counted twice and a late row still finds its hour.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from operator import add, attrgetter

from aiohttp import web

from router.admin.spans import DAY, Span
from router.clock import Clock
from router.stores.hours import HOUR, Cell
from router.stores.ports import StoreDown
from router.stores.reading import StoredLedger

KEEP_HOURS = 15 * 24
MOST_PASSED = 32
REST_S = 10.0  # until it is looked whether there is more, so that who comes after a night need not wait

Key = tuple[int, str, str, str, str, str, str]
_SUMS = tuple(field.name for field in fields(Cell) if field.type is int and field.name != "at")
_sums_of = attrgetter(*_SUMS)
_labels = attrgetter("team", "model", "vendor", "tier", "outcome", "currency")


class History:
    """Sums by hour and by day."""

    def __init__(self, ledger: StoredLedger, clock: Clock) -> None:
        self._ledger, self._clock = ledger, clock
        self._hours: dict[Key, Cell] = {}
        self._days: dict[Key, Cell] = {}
        self._busy = asyncio.Lock()
        self._late_hours = self._late_days = 0  # how often something of an hour or a day that has passed came
        self._passed: OrderedDict[tuple[Span, str | None, str, int, int], Drawn] = OrderedDict()
        self._oldest = 0  # the first hour that is kept
        self.seen: int | None = None  # the last row that is in the sums; None: nobody has looked yet

    async def advance(self) -> None:
        """Take in what is new, or at first what has been. Raises `StoreDown`."""
        async with self._busy:
            self._forget()
            now = self._clock.now()
            if self.seen is None:
                self.seen, hours, days = await self._ledger.past(self._oldest, now - now % HOUR - DAY)
            else:
                self.seen, hours = await self._ledger.hours(self.seen)
                days = hours
            self._late_hours += any(cell.at < now - now % HOUR for cell in hours)
            self._late_days += any(cell.at < now - now % DAY for cell in days)
            for cell in hours:
                if cell.at >= self._oldest:
                    _add(self._hours, cell, cell.at)
            for cell in days:
                _add(self._days, cell, cell.at - cell.at % DAY)

    async def look(self) -> None:
        """Take in what is new, unless that is under way: then what there is will do. Raises `StoreDown`."""
        if not self._busy.locked():
            await self.advance()

    async def follow(self) -> None:
        """Fold what there is, and what comes."""
        while True:
            with contextlib.suppress(StoreDown):
                await self.advance()
            await asyncio.sleep(REST_S)

    def _forget(self) -> None:
        """Let hours go that are only wanted as days."""
        now = self._clock.now()
        oldest = now - now % HOUR - KEEP_HOURS * HOUR
        if oldest > self._oldest:
            self._oldest = oldest
            for key in [key for key in self._hours if key[0] < oldest]:
                del self._hours[key]

    def cells(self, since: int, team: str | None = None, *, hourly: bool | None = None) -> Iterator[Cell]:
        """Sums from an instant on: by the hour as far as hours are kept, else by the day."""
        kept = self._hours if (since >= self._oldest if hourly is None else hourly) else self._days
        return (cell for cell in kept.values() if cell.at >= since and (team is None or cell.team == team))

    def draw(self, span: Span, team: str | None, currency: str) -> "Drawn":
        """A span added up. What has passed seldom changes, so that only what is of this hour or day is added anew."""
        hourly, now = span.since >= self._oldest, self._clock.now()
        edge = now - now % (HOUR if hourly else DAY)
        key = (span, team, currency, edge, self._late_hours if hourly else self._late_days)
        passed = self._passed.get(key)
        if passed is None:
            passed = draw((cell for cell in self.cells(span.since, team) if cell.at < edge), span, currency)
            self._passed[key] = passed
            while len(self._passed) > MOST_PASSED:
                self._passed.popitem(last=False)
        return draw(self.cells(max(edge, span.since), team, hourly=hourly), span, currency, passed)

    def first(self, team: str | None = None) -> int | None:
        """The first day of which there is something."""
        return min((cell.at for cell in self._days.values() if team is None or cell.team == team), default=None)


def _add(cells: dict[Key, Cell], cell: Cell, at: int) -> None:
    key = (at, cell.team, cell.model, cell.vendor, cell.tier, cell.outcome, cell.currency)
    there = cells.get(key)
    if there is None:
        cells[key] = replace(cell, at=at)
        return
    for name in _SUMS:
        setattr(there, name, getattr(there, name) + getattr(cell, name))


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a span of time comes to."""

    sums: Sequence[Cell]  # the whole span; `at` says nothing
    by_model: Mapping[tuple[str, int], int]  # (name, column) → cost
    by_tier: Mapping[tuple[str, int], int]
    by_day: Mapping[int, tuple[int, int, int]]
    """Day → what was paid, what the flagship would have cost, and the one model that would do."""


def draw(cells: Iterable[Cell], span: Span, currency: str, passed: Drawn | None = None) -> Drawn:
    """Add cells up once, in all ways, to what has been added up already; costs over time are those in one currency."""
    sums = {} if passed is None else {_labels(cell): list(_sums_of(cell)) for cell in passed.sums}
    by_model = {} if passed is None else dict(passed.by_model)
    by_tier = {} if passed is None else dict(passed.by_tier)
    by_day = {} if passed is None else dict(passed.by_day)
    for cell in cells:
        key = _labels(cell)
        there = sums.get(key)
        sums[key] = list(_sums_of(cell)) if there is None else list(map(add, there, _sums_of(cell)))
        if cell.cost and cell.currency == currency:
            column = span.column(cell.at)
            by_model[cell.model, column] = by_model.get((cell.model, column), 0) + cell.cost
            by_tier[cell.tier, column] = by_tier.get((cell.tier, column), 0) + cell.cost
        if cell.currency == currency:
            paid, flagship, fixed = by_day.get(cell.at // DAY, (0, 0, 0))
            by_day[cell.at // DAY] = paid + cell.cost, flagship + cell.cost + cell.saved, fixed + cell.fixed_cost
    return Drawn([_cell(key, values) for key, values in sums.items()], by_model, by_tier, by_day)


def _cell(key: tuple[str, ...], values: Sequence[int]) -> Cell:
    team, model, vendor, tier, outcome, currency = key
    return Cell(team, "", model, vendor, tier, outcome, currency, "", **dict(zip(_SUMS, values, strict=True)))


HISTORY = web.AppKey("history", History)


async def following(app: web.Application) -> AsyncIterator[None]:
    """Fold the ledger while the application runs."""
    folding = asyncio.create_task(app[HISTORY].follow())
    yield
    folding.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await folding
