"""Sums of the ledger, grouped: for the API and the page."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from router.core.money import show
from router.core.usage import KINDS
from router.stores.ports import Total

BY = ("team", "route", "model", "vendor", "tier", "key", "day")
APART = frozenset({"key", "day"})  # of which the metrics' sums know nothing
TIERS = ("free", "cheap", "mid", "flagship")


@dataclass(slots=True)
class Spend:
    """What a group of ledger rows comes to, in nano-units of one reporting currency."""

    names: tuple[str, ...]
    currency: str
    attempts: int = 0
    requests: int = 0
    failed: int = 0
    cost: int = 0
    estimated_cost: int = 0
    saved: int = 0
    fixed_cost: int = 0  # at the best single model
    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    vendor_costs: dict[str, int] = field(default_factory=dict)
    by_tier: dict[str, int] = field(default_factory=dict)  # requests that were answered

    @property
    def answered(self) -> int:
        return self.requests - self.failed

    @property
    def tokens(self) -> int:
        return self.input + self.cache_read + self.cache_write + self.output + self.reasoning

    def add(self, total: Total) -> None:
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(total, name))
        self.vendor_costs[total.vendor_currency] = self.vendor_costs.get(total.vendor_currency, 0) + total.vendor_cost
        if total.outcome == "error":
            self.failed += total.requests
        else:
            self.by_tier[total.tier] = self.by_tier.get(total.tier, 0) + total.requests


_SUMS = ("attempts", "requests", "cost", "estimated_cost", "saved", "fixed_cost", *KINDS)


def group(totals: Iterable[Total], by: Sequence[str]) -> list[Spend]:
    """Sums by these names and, always, by reporting currency: day after day where it is by day, the dearest first."""
    found: dict[tuple[str, ...], Spend] = {}
    for total in totals:
        names = tuple(getattr(total, name) for name in by)
        key = (*names, total.currency)
        spend = found.get(key)
        if spend is None:
            spend = found[key] = Spend(names, total.currency)
        spend.add(total)
    day = tuple(by).index("day") if "day" in by else None
    return sorted(found.values(), key=lambda s: ("" if day is None else s.names[day], -s.cost, s.names))


def as_json(spend: Spend, by: Sequence[str]) -> dict[str, Any]:
    return {
        **dict(zip(by, spend.names, strict=True)),
        "requests": spend.requests,
        "failed": spend.failed,
        "attempts": spend.attempts,
        "cost": show(spend.cost),
        "currency": spend.currency,
        "vendor_costs": {currency: show(nano) for currency, nano in sorted(spend.vendor_costs.items())},
        "estimated_cost": show(spend.estimated_cost),
        "saved": show(spend.saved),
        "fixed_cost": show(spend.fixed_cost),
        "tokens": {kind: getattr(spend, kind) for kind in KINDS},
    }
