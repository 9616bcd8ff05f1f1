"""What is going to change: entries that begin or end, promotions, free quotas, names that are re-pointed. Pure."""

from collections.abc import Iterator
from typing import Any

from router.cli.pricetext import amounts, changes, in_force
from router.core.limits import moment
from router.core.prices import Price, Timeline
from router.pricebook import BookModel

COMING = ("on", "model", "currency", "kind", "when", "before", "after", "percent", "why")


def coming(name: str, model: BookModel, now: int, until: int) -> Iterator[tuple[Any, ...]]:
    """Rows of `COMING` for one model, after `now` and up to `until` (microseconds since 1970)."""
    for currency, timeline in model.timelines.items():
        for at in sorted(at for at in _turns(model, timeline) if now < at <= until):
            before, after = model.at(at - 1), model.at(at)
            why = _why(timeline, at)
            if before.name != after.name:
                why = f"the name leads to {after.name}"
                yield _shown(at), name, currency, "model", None, before.name, after.name, None, why
            for change in changes(amounts(model, currency, at - 1), amounts(model, currency, at)):
                yield _shown(at), name, currency, *change, why


def _turns(model: BookModel, timeline: Timeline) -> set[int]:
    """Every instant at which something may change."""
    found: set[int | None] = {meaning.start for meaning in model.meant} | {meaning.end for meaning in model.meant}
    for price in timeline.prices:
        found |= {price.start, price.end}
        if price.quota is not None:
            found |= {price.quota.start, price.quota.end}
    return {at for at in found if at is not None}


def _why(timeline: Timeline, at: int) -> str:
    """What happens at an instant, in words."""
    old, new = in_force(timeline, at - 1), in_force(timeline, at)
    if new is None:
        return "the price ends; none is known after it: refused"
    if old is new:
        return "the free quota " + ("begins" if new.quota and new.quota.start == at else "ends")
    if new.confidence == "doubtful":
        return "a doubtful price begins: refused"
    if new.promotion:
        return "a promotion begins" + (f", until {_shown(new.end)}" if new.end else "")
    return "a promotion ends" if old is not None and old.promotion else _noted(new)


def _noted(price: Price) -> str:
    return "a new price" + (f": {price.note}" if price.note else "")


def _shown(at: int) -> str:
    return moment(at).isoformat().replace("+00:00", "Z").removesuffix("T00:00:00Z")
