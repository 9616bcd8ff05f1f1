"""The next changes of the prices that are configured, from their own timelines."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from router.admin.figures import NBSP, duration
from router.admin.markup import Html, tag
from router.admin.tables import nothing, table
from router.admin.words import Words
from router.core.catalog import Model
from router.core.limits import MICROS, moment
from router.core.prices import Price, Timeline, Unpriced

AHEAD = 90 * 86_400 * MICROS
KINDS = ("input", "cache_read", "output")


@dataclass(frozen=True, slots=True)
class Coming:
    """One amount that changes. Per million tokens; None: not known, and so refused."""

    at: int
    model: str
    vendor: str
    kind: str
    currency: str
    before: Decimal | None
    after: Decimal | None

    @property
    def percent(self) -> Decimal | None:
        if not self.before or self.after is None:
            return None
        return (self.after - self.before) * 100 / self.before


def coming(models: Iterable[Model], now: int) -> list[Coming]:
    """What becomes dearer or cheaper, the soonest first."""
    found = [change for model in models for change in _changes(model, now)]
    return sorted(found, key=lambda one: (one.at, one.model, KINDS.index(one.kind)))


def _changes(model: Model, now: int) -> Iterator[Coming]:
    timeline = model.timeline
    turns = {at for price in timeline.prices for at in (price.start, price.end) if at is not None}
    for at in sorted(at for at in turns if now < at <= now + AHEAD):
        before, after = _at(timeline, at - 1), _at(timeline, at)
        named = after or before
        if named is None:
            continue
        for kind in KINDS:
            old, new = _amount(before, kind, at - 1), _amount(after, kind, at)
            if old != new:
                yield Coming(at, model.name, model.vendor, kind, named.currency, old, new)


def _at(timeline: Timeline, at: int) -> Price | None:
    try:
        return timeline.at(at)
    except Unpriced:
        return None


def _amount(price: Price | None, kind: str, at: int) -> Decimal | None:
    """The amount of one kind; where a cache has no price of its own, it costs what any input costs."""
    if price is None:
        return None
    told = price.listed(at).told()
    found = told.get(kind, told.get("input") if kind == "cache_read" else None)
    return None if found is None else Decimal(found)


def coming_table(found: Sequence[Coming], now: int, words: Words) -> Html:
    if not found:
        return nothing(words("no_change"))
    rows = [
        (
            one.model, one.vendor, words("cached" if one.kind == "cache_read" else one.kind),
            _shown(one.before, one.currency, words), _shown(one.after, one.currency, words), _percent(one.percent),
            words("in_time", day=moment(one.at).strftime("%Y-%m-%d %H:%M").removesuffix(" 00:00"), time=duration(one.at - now, words)),
        )
        for one in found
    ]  # fmt: skip
    names = ("model", "vendor", "what", "before", "after", "change", "time")
    return table(words("changes_caption"), tuple(words(name) for name in names), rows, frozenset({3, 4, 5}))


def _shown(amount: Decimal | None, currency: str, words: Words) -> str:
    return words("unknown") if amount is None else f"{currency}{NBSP}{amount}"


def _percent(share: Decimal | None) -> str | Html:
    if share is None:
        return "–"
    shown = f"{abs(share):.1f}".removesuffix(".0")
    sign = "+" if share > 0 else "−"
    return tag("span", f"{sign}{shown}{NBSP}%", class_="dearer" if share > 0 else "cheaper")
