"""Recorded traffic under other prices or another policy: what each attempt would have cost, and where it would have gone.

Each row of the ledger is decided anew by `policy.decide` itself and priced on its own, rounded up once, so that sums are
those of pricing every row one by one. What makes it fast is that a decision depends on little: the route, the need, how
long the prompt is, whether it thinks, and which prices are in force: see `whom`.

What the ledger does not know is not simulated: an answer is as long from any model, every model is well, a request's own
wishes and capabilities are forgotten, and another vendor's tokenizer is taken to count the same.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from typing import NamedTuple

from router.core.catalog import Caller, Catalog, Route
from router.core.conditions import ANY, MICROS_PER_MINUTE, Facts, When
from router.core.currency import ExchangeRates
from router.core.money import PICO_PER_NANO, Rate, nano_from_pico
from router.core.prices import Timeline, Unpriced
from router.core.reprice import Consumed
from router.core.whom import Change, Chooser, Known, Target, Unserved

FIELDS = (
    "seq", "at", "team", "route", "model", "vendor", "vendor_currency", "final", "cost", "fresh", "cache_read",
    "cache_write_5m", "cache_write_1h", "output_text", "output_reasoning", "odd",
)  # fmt: skip
"""A row as it is replayed. `cost` is None where it is not in today's reporting currency; counts are never None; `odd` are
rows that have more than that to them (other units, a service tier, free tokens) and are read in full; not where it
is 0 or None."""
MEMORY = 200_000  # remembered decisions, some 30 MB; beyond that they are forgotten and made again

MOST_TOKENS = 1 << 40  # of a prompt, and more
PIECES = 100  # that sizes between two changes of price are looked at in; rows of what is left are looked at one by one

GroupKey = tuple[str, str, str, str, str]
"""(team, route, model, vendor, vendor's currency)"""


class _Terms(NamedTuple):
    """What the usual row is priced by; pico-units."""

    tally: list[int]  # attempts, requests, before, after; the last two in nano-units of the reporting currency
    fresh: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int
    text: int
    reasoning: int
    numerator: int
    denominator: int
    dry: bool = False  # nothing says what an output token costs: only for rows that have none


@dataclass(slots=True)
class _State:
    """What holds while no price and no exchange rate changes."""

    groups: dict[GroupKey, dict[int, "_Terms | None"]] = field(default_factory=dict)
    decided: dict[tuple[str, float | None, int], Known] = field(default_factory=dict)


_UNKNOWN = _Terms([], 0, 0, 0, 0, 0, 0, 0, 1)


def _alike(one: _Terms, other: _Terms) -> bool:
    """Whether rows are priced the same by both, and go to the same tally."""
    return one.tally is other.tally and one[1:] == other[1:]


class Replay:
    """Takes rows, and has the sums in `tallies` and `unserved` when they are through."""

    def __init__(
        self,
        catalog: Catalog,
        callers: Mapping[str, Caller],
        rates: ExchangeRates,
        listed: Callable[[str, str, str], Timeline | None],
        expected: Callable[[str], int | None],
        consumed: Callable[[int], Consumed],
        change: Change,
    ) -> None:
        """`listed` finds the prices of (vendor, model, currency) that is not configured any more; `expected` is how long a
        route's answers are; `consumed` reads an odd row.
        """
        self.catalog = catalog
        self.callers = callers
        self.rates = rates
        self.listed = listed
        self.chooser = Chooser(rates, expected, change)
        self.consumed = consumed
        self.change = change
        self.tallies: dict[tuple[str, str, str, str], list[int]] = {}
        self.unserved: dict[tuple[str, str, str], list[int]] = {}
        self.qualities: dict[str, float | None] = {}
        self._own: dict[tuple[str, str, str], Target | Unserved] = {}
        self._watched: dict[int, Timeline] = {}
        self._clocks: dict[int, list[When]] = {}  # that play a part, by the number of the turn
        self._states: dict[object, _State] = {}
        self._by_minute: dict[tuple[int, int], _State] = {}
        self._turns: list[int] = []
        self._state, self._low, self._high = _State(), 0, 0
        self._remembered = 0
        for model in catalog.models.values():
            self._watch(model.timeline)
            self.qualities[f"{model.vendor}/{model.name}"] = model.quality

    # The rows

    def add(self, rows: Iterable[tuple[int, int, str, str, str, str, str, int, int | None, int, int, int, int, int, int, int | None]]) -> None:  # fmt: skip
        """Count rows, as `FIELDS` has them; fastest where they come in about the order of time."""
        low, high, groups = self._low, self._high, self._state.groups
        for row in rows:
            seq, at, team, route, model, vendor, own, final, cost, fresh, read, written, kept, text, thought, odd = row
            if not low <= at < high:
                self._turn(at)
                low, high, groups = self._low, self._high, self._state.groups
            key = (team, route, model, vendor, own)
            if (known := groups.get(key)) is None:
                known = groups[key] = {}
            size = (fresh + read + written + kept) * 2 + (thought > 0)
            if odd or cost is None:
                self._one(key, self.consumed(seq), final)
                low, high, groups = self._low, self._high, self._state.groups
                continue
            if (terms := known.get(size, _UNKNOWN)) is _UNKNOWN:
                terms = known[size] = self._terms(key, at, size)
                low, high, groups = self._low, self._high, self._state.groups  # it may have learnt of a price to mind
            if terms is None:
                self._one(key, self.consumed(seq), final)
                continue
            tally, a, b, c, d, e, f, numerator, denominator, dry = terms
            if dry and (text or thought):
                self._one(key, self.consumed(seq), final)
                continue
            pico = fresh * a + read * b + written * c + kept * d + text * e + thought * f
            tally[0] += 1
            tally[1] += final
            tally[2] += cost
            tally[3] += -(-pico * numerator // denominator)

    def _terms(self, key: GroupKey, at: int, size: int) -> _Terms | None:
        """What rows of this kind are priced by; None if each has to be looked at."""
        if self._remembered > MEMORY:
            self._forget()
            self._turn(at)
        self._remembered += 1
        target = self._target(key, at, size)
        try:
            if isinstance(target, Unserved):
                raise Unpriced(target.why)
            price = target.timeline.at(at)
            if price.evaluated == "completion" or any(rates.when.output_tokens != ANY for rates in price.rates):
                return None
            rates = price.rates_for(Facts(at, size // 2, 0, bool(size & 1)))
            if (rate := self.rates.at(at).get(price.currency)) is None:
                raise Unpriced(f"no exchange rate for {price.currency}")
        except Unpriced as error:
            return _Terms(self._left(key, str(error)), 0, 0, 0, 0, 0, 0, 0, 1) if size else None
        dry = rates.output is None and rates.input is not None and rates.per_request is None
        if not rates.by_token_alone and not dry:
            return None
        tally, denominator = self._tally(key, target.name), PICO_PER_NANO * rate.denominator
        return _Terms(tally, *rates.usual, rate.numerator, denominator, dry)

    # Many rows at once

    def window(self, at: int) -> tuple[int, int] | None:
        """[since, until) around an instant within which no price changes; None where the clock may change it."""
        self._turn(at)
        i = bisect_right(self._turns, at)
        return None if self._clocks[i] else (self._low, self._high)

    def intervals(self, key: GroupKey, at: int, *, thinking: bool) -> list[tuple[int, int, _Terms]]:
        """(fewest prompt tokens, most, what rows of this kind are priced by) at an instant; what is in none of them has to
        be looked at row by row.
        """
        known = self._known(key, thinking=thinking)
        target = None if known else self._target(key, at, thinking)
        starts = {0, 1}
        if known is not None:
            starts |= {*known.starts}
        elif isinstance(target, Target):
            spans = [rates.when.input_tokens for price in target.timeline.prices for rates in price.rates]
            starts |= {span.above + 1 for span in spans} | {span.to + 1 for span in spans if span.to is not None}
        ordered = sorted(starts)
        out: list[tuple[int, int, _Terms]] = []
        for start, end in zip(ordered, [*ordered[1:], MOST_TOKENS], strict=True):
            for low, high, terms in sorted(self._cut(key, at, known, start, end - 1, thinking=thinking)):
                if out and out[-1][1] == low - 1 and _alike(out[-1][2], terms):
                    out[-1] = (out[-1][0], high, terms)
                else:
                    out.append((low, high, terms))
        return out

    def _cut(
        self, key: GroupKey, at: int, known: Known | None, low: int, high: int, *, thinking: bool
    ) -> Iterator[tuple[int, int, _Terms]]:
        """Cut until one model wins all of a piece, the widest first, so that only a few sizes are left where that takes too
        many: about where two models cost the same.
        """
        pieces = [(low - high, low, high)]
        for _ in range(PIECES):
            if not pieces:
                return
            _, low, high = heappop(pieces)
            first, last = (self._terms(key, at, size * 2 + thinking) for size in (low, high))
            if first and last and _alike(first, last) and (known is None or self.chooser.settled(known, low, high)):
                yield low, high, first
            elif low < high and (first or last):
                middle = (low + high) // 2
                heappush(pieces, (low - middle, low, middle))
                heappush(pieces, (middle + 1 - high, middle + 1, high))

    def _known(self, key: GroupKey, *, thinking: bool) -> Known | None:
        """What is known of the decisions for such rows; None where there is none to make."""
        team, asked, model, vendor, _ = key
        route = None if self.change.stay else self.catalog.routes.get(asked) or self._pinned(asked, model, vendor)
        if route is None:
            return None
        what = (route.name, (self.callers.get(team) or Caller(team, "")).quality, int(thinking))
        if (known := self._state.decided.get(what)) is None:
            known = self._state.decided[what] = self.chooser.known(route)
        return known

    # Rows one by one

    def _one(self, key: GroupKey, row: Consumed, final: int) -> None:
        """Count one row with everything that there is to it."""
        _, _, model, vendor, _ = key
        table = self.rates.at(row.at)
        billed = row.cost
        if row.currency != self.rates.reporting:
            rate = table.get(row.vendor_currency)
            billed = nano_from_pico(row.vendor_cost * PICO_PER_NANO, rate) if rate else 0
        size = row.usage.input_total * 2 + bool(row.usage.output_reasoning)
        target = self._target(key, row.at, size)
        name, why, cost = f"{vendor}/{model}", "", 0
        if isinstance(target, Target):
            try:
                cost = self._cost(row, target, name, table)
                name = target.name
            except Unpriced as error:
                why = str(error)
        else:
            why = target.why
        if why and (row.vendor_cost or any(row.usage.as_dict().values())):
            left = self._left(key, why)
            for i, amount in enumerate((1, final, billed)):
                left[i] += amount
            return
        tally = self._tally(key, name)  # what consumed nothing costs nothing anywhere
        for i, amount in enumerate((1, final, billed, 0 if why else cost)):
            tally[i] += amount

    def _cost(self, row: Consumed, target: Target, name: str, table: Mapping[str, Rate]) -> int:
        """What a row costs at its target. Its service tier and its free tokens are those of the model that it had."""
        if target.name != name:
            row = replace(row, service_tier=None, free_tokens=None)
        price = target.timeline.at(row.at)
        if (rate := table.get(price.currency)) is None:
            raise Unpriced(f"no exchange rate for {price.currency}")
        return nano_from_pico(row.pico_at(price), rate)

    def _tally(self, key: GroupKey, target: str) -> list[int]:
        team, route, model, vendor, _ = key
        return self.tallies.setdefault((team, route, f"{vendor}/{model}", target), [0, 0, 0, 0])

    def _left(self, key: GroupKey, why: str) -> list[int]:
        """Attempts, requests and what was billed of rows that nothing says the cost of."""
        _, route, model, vendor, _ = key
        return self.unserved.setdefault((f"{vendor}/{model}", route, why), [0, 0, 0, 0])

    # Where they go

    def whom(self, team: str, asked: str, at: int, size: int) -> Target | Unserved:
        """Who would be asked; `size` is twice the prompt's tokens, and one more if it thinks."""
        if not self._low <= at < self._high:
            self._turn(at)
        return self._target((team, asked, asked, "", ""), at, size)

    def _target(self, key: GroupKey, at: int, size: int) -> Target | Unserved:
        team, asked, model, vendor, own = key
        if self.change.stay:
            return self._same(vendor, model, own)
        caller = self.callers.get(team) or Caller(team, "")
        route = self.catalog.routes.get(asked) or self._pinned(asked, model, vendor)
        if route is None:
            return Unserved(f"nothing is called {asked!r} any more")
        what = (route.name, caller.quality, size & 1)
        if (known := self._state.decided.get(what)) is None:
            known = self._state.decided[what] = self.chooser.known(route)
        return self.chooser.whom(known, route, caller, at, size // 2, thinking=bool(size & 1))

    def _pinned(self, asked: str, model: str, vendor: str) -> Route | None:
        """What was named directly, if it is there still."""
        found = self.catalog.models.get(asked) or self.catalog.by_vendor.get(asked)
        return (
            None
            if found is None or (found.name, found.vendor) != (model, vendor)
            else Route(asked, (found,), pinned=True)
        )

    def _same(self, vendor: str, name: str, currency: str) -> Target | Unserved:
        """The model that served it, at its prices."""
        key = (vendor, name, currency)
        if (found := self._own.get(key)) is None:
            model = self.catalog.models.get(name)
            timeline = model.timeline if model and model.vendor == vendor else self.listed(vendor, name, currency)
            if not self.change.vendors(vendor):
                found = Unserved(f"vendor {vendor} is not to be asked")
            elif timeline is None:
                found = Unserved(f"no price book has {vendor}/{name} in {currency}")
            else:
                self._watch(timeline)
                found = Target(f"{vendor}/{name}", timeline)
            self._own[key] = found
        return found

    # What holds when

    def _watch(self, timeline: Timeline) -> None:
        """Mind when these prices change."""
        if id(timeline) in self._watched:
            return
        self._watched[id(timeline)] = timeline
        turns = {*self.rates.turns}
        for watched in self._watched.values():
            turns |= {at for price in watched.prices for at in (price.start, price.end) if at is not None}
        self._turns = sorted(turns)
        self._clocks = {}
        self._forget()

    def _turn(self, at: int) -> None:
        """Go to what holds at an instant. Clock conditions change with the minute at the finest."""
        i = bisect_right(self._turns, at)
        low = self._turns[i - 1] if i else -(2**62)
        high = self._turns[i] if i < len(self._turns) else 2**62
        key: object = i
        if (clocks := self._clocks.get(i)) is None:
            clocks = self._clocks[i] = self._clocked(at)
        if clocks:
            minute = at // MICROS_PER_MINUTE
            low, high = max(low, minute * MICROS_PER_MINUTE), min(high, (minute + 1) * MICROS_PER_MINUTE)
            if (state := self._by_minute.get((i, minute))) is not None:
                self._state, self._low, self._high = state, low, high
                return
            key = (i, *(when.holds_at(at) for when in clocks))
        if (state := self._states.get(key)) is None:
            state = self._states[key] = _State()
        if clocks:
            if len(self._by_minute) > MEMORY:
                self._by_minute.clear()
            self._by_minute[i, at // MICROS_PER_MINUTE] = state
        self._state, self._low, self._high = state, low, high

    def _clocked(self, at: int) -> list[When]:
        """The conditions of the prices in force that look at the clock."""
        found: dict[When, None] = {}
        for timeline in self._watched.values():
            with suppress(Unpriced):
                found |= dict.fromkeys(rates.when for rates in timeline.at(at).rates if rates.when.clocked)
        return list(found)

    def _forget(self) -> None:
        self._states.clear()
        self._by_minute.clear()
        self._state, self._low, self._high = _State(), 0, 0
        self._remembered = 0
