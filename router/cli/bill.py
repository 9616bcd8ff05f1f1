"""What a change of prices does to a bill: the ledger's rows priced again, at the prices of two days or two books."""

import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from router.cli.common import missing
from router.cli.report import put
from router.core.currency import ExchangeRates
from router.core.limits import FOREVER, micros, moment
from router.core.money import ONE, PICO_PER_NANO, nano_from_pico, show
from router.core.prices import Price, Unpriced
from router.core.reprice import Consumed
from router.stores.ledgerfile import connect, consumed, count_of
from router.stores.place import Connection, Place
from router.stores.ports import StoreDown

BY_MODEL = (
    "model", "attempts", "currency", "billed", "before", "after", "percent", "cost_before", "cost_after", "change",
    "cost_currency",
)  # fmt: skip
BY_TEAM = ("team", "attempts", "cost_before", "cost_after", "change", "percent", "cost_currency")
UNPRICED = ("model", "attempts", "currency", "billed", "why")
NUMBERS = {"attempts", "billed", "before", "after", "percent", "cost_before", "cost_after", "change"}

Pair = tuple[Price | None, Price | None]
"""The prices of the two sides; both None: a book does not say this price, so that what was billed stands for both."""


@dataclass(slots=True)
class Sum:
    """Rows added up. `vendor` is in the vendor's currency, `cost` in the reporting currency, each (before, after)."""

    attempts: int = 0
    billed: int = 0
    vendor: list[int] = field(default_factory=lambda: [0, 0])
    cost: list[int] = field(default_factory=lambda: [0, 0])
    converted: bool = True  # there was an exchange rate for each row

    def add(self, row: Consumed, vendor: tuple[int, int], cost: tuple[int, int] | None) -> None:
        self.attempts += 1
        self.billed += row.vendor_cost
        for i in (0, 1):
            self.vendor[i] += vendor[i]
            self.cost[i] += cost[i] if cost else 0
        self.converted = self.converted and cost is not None

    def told(self) -> tuple[str | None, str | None, str | None]:
        """Cost before, cost after and change, as shown."""
        if not self.converted:
            return None, None, None
        before, after = self.cost
        return show(before), show(after), show(after - before)


@dataclass(slots=True)
class Bill:
    """One span of the ledger at two sets of prices."""

    since: int | None
    until: int | None
    reporting: str
    models: dict[tuple[str, str], Sum] = field(default_factory=dict)  # (vendor/model, vendor's currency)
    teams: dict[str, Sum] = field(default_factory=dict)
    unpriced: dict[tuple[str, str, str], Sum] = field(default_factory=dict)  # (vendor/model, currency, why)

    def total(self) -> Sum:
        out = Sum()
        for one in self.teams.values():
            out.attempts += one.attempts
            out.converted = out.converted and one.converted
            out.cost = [a + b for a, b in zip(out.cost, one.cost, strict=True)]
        return out

    def model_rows(self) -> list[tuple[Any, ...]]:
        """Those on which the change does most first."""
        order = sorted(self.models.items(), key=lambda item: (-abs(item[1].cost[1] - item[1].cost[0]), item[0]))
        return [
            (
                name, one.attempts, currency, show(one.billed), show(one.vendor[0]), show(one.vendor[1]),
                _percent(*one.vendor), *one.told(), self.reporting,
            )
            for (name, currency), one in order
        ]  # fmt: skip

    def team_rows(self) -> list[tuple[Any, ...]]:
        order = sorted(self.teams.items(), key=lambda item: (-abs(item[1].cost[1] - item[1].cost[0]), item[0]))
        return [
            (name, one.attempts, *one.told(), _percent(*one.cost) if one.converted else None, self.reporting)
            for name, one in order
        ]

    def unpriced_rows(self) -> list[tuple[Any, ...]]:
        return [
            (name, one.attempts, currency, show(one.billed), why)
            for (name, currency, why), one in sorted(self.unpriced.items())
        ]

    def as_json(self) -> dict[str, Any]:
        total = self.total()
        before, after, change = total.told()
        return {
            "since": _instant(self.since), "until": _instant(self.until),
            "models": [dict(zip(BY_MODEL, row, strict=True)) for row in self.model_rows()],
            "teams": [dict(zip(BY_TEAM, row, strict=True)) for row in self.team_rows()],
            "unpriced": [dict(zip(UNPRICED, row, strict=True)) for row in self.unpriced_rows()],
            "total": {
                "attempts": total.attempts, "cost_before": before, "cost_after": after, "change": change,
                "percent": _percent(*total.cost) if total.converted else None, "cost_currency": self.reporting,
            },
        }  # fmt: skip


def last_month(now: int) -> tuple[int, int]:
    """The calendar month before an instant, in UTC, as [start, end) in microseconds since 1970."""
    first = moment(now).astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    year, month = (first.year, first.month - 1) if first.month > 1 else (first.year - 1, 12)
    return micros(datetime(year, month, 1, tzinfo=UTC)), micros(first)


def priced_again(
    place: Place,
    since: int | None,
    until: int | None,
    rates: ExchangeRates,
    prices: Callable[[str, str, str], Pair],
) -> Bill | str:
    """The bill, or why there is none.

    Args:
        place: the store.
        since: the first instant (microseconds since 1970); None: from the first row on.
        until: exclusive; None: to the last row.
        rates: into the reporting currency; each row is converted at the rate of its instant.
        prices: (vendor, model, vendor's currency) → its prices on both sides; raises `Unpriced`.

    """
    bill, known = Bill(since, until, rates.reporting), dict[tuple[str, str, str], Pair | str]()
    try:
        if why := missing(place):
            return why
        with closing(connect(place)) as connection:
            for row in _walked(connection, since, until):
                _add(bill, row, rates, _once(known, row, prices))
    except (StoreDown, sqlite3.Error) as error:
        return f"{place} cannot be read: {error}" + ("; run `farebox migrate`" if "no such" in str(error) else "")
    return bill if bill.models or bill.unpriced else "the ledger has no rows in this time"


def _walked(connection: Connection, since: int | None, until: int | None) -> Iterator[Consumed]:
    from rich.console import Console  # noqa: PLC0415 (only a terminal needs it)
    from rich.progress import track  # noqa: PLC0415

    bounds = (-FOREVER if since is None else since, FOREVER if until is None else until)
    yield from track(
        consumed(connection, *bounds), "Pricing again", count_of(connection, *bounds), console=Console(stderr=True),
        transient=True, disable=not sys.stderr.isatty(),
    )  # fmt: skip


def _once(
    known: dict[tuple[str, str, str], Pair | str], row: Consumed, prices: Callable[[str, str, str], Pair]
) -> Pair | str:
    """The prices of a row's model, looked up for its first row only; or why there are none."""
    key = (row.vendor, row.model, row.vendor_currency)
    if key not in known:
        try:
            known[key] = prices(*key)
        except Unpriced as error:
            known[key] = str(error)
    return known[key]


def _add(bill: Bill, row: Consumed, rates: ExchangeRates, found: Pair | str) -> None:
    """Count one row. A row that consumed nothing costs nothing at any price."""
    name, currency = f"{row.vendor}/{row.model}", row.vendor_currency
    table = rates.at(row.at)
    rate = table.get(currency)
    try:
        if not row.vendor_cost and not any(row.usage.as_dict().values()):
            vendor, cost = (0, 0), (0, 0)
        elif isinstance(found, str):
            raise Unpriced(found)
        elif found[0] is None or found[1] is None:
            vendor = (row.vendor_cost, row.vendor_cost)
            same = (
                row.cost
                if row.currency == bill.reporting
                else nano_from_pico(row.vendor_cost * PICO_PER_NANO, rate or ONE)
            )
            cost = (same, same)
        else:
            pico = row.pico_at(found[0]), row.pico_at(found[1])
            vendor = (nano_from_pico(pico[0]), nano_from_pico(pico[1]))
            cost = (nano_from_pico(pico[0], rate), nano_from_pico(pico[1], rate)) if rate else (0, 0)
    except Unpriced as error:
        bill.unpriced.setdefault((name, currency, str(error)), Sum()).add(row, (0, 0), (0, 0))
        return
    told = cost if rate else None
    bill.models.setdefault((name, currency), Sum()).add(row, vendor, told)
    bill.teams.setdefault(row.team, Sum()).add(row, vendor, told)


def show_bill(bill: Bill | str) -> None:
    """The bill as tables."""
    if isinstance(bill, str):
        print(f"no bill to price again: {bill}")
        return
    span = [_instant(at) or "…" for at in (bill.since, bill.until)]
    print(f"the bill from {span[0]} to {span[1]}, at the prices of A (before) and of B (after)")
    total = bill.total()
    rows = bill.model_rows()
    if len(rows) > 1:
        told = (*total.told(), bill.reporting)
        percent = _percent(*total.cost) if total.converted else None
        rows.append(("total", total.attempts, "", "", "", "", percent, *told))
    put("table", BY_MODEL, rows, NUMBERS)
    if len(bill.teams) > 1:
        print()
        put("table", BY_TEAM, bill.team_rows(), NUMBERS)
    if bill.unpriced:
        print("\nnot in it, since one side has no price for them")
        put("table", UNPRICED, bill.unpriced_rows(), NUMBERS)


def _percent(before: int, after: int) -> float | None:
    return round((after - before) * 100 / before, 1) if before else None


def _instant(at: int | None) -> str | None:
    return None if at is None else moment(at).isoformat().replace("+00:00", "Z").removesuffix("T00:00:00Z")
