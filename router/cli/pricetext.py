"""Prices as `farebox prices` tells them: what is in force, what came before, what changed. Pure."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from router.core.conditions import MICROS_PER_DAY
from router.core.limits import moment
from router.core.prices import ANY, EACH, PER_TOKEN, Price, Quota, Rates, Span, Timeline, When, show_amount
from router.pricebook import BookModel
from router.priceentry import DAYS

KINDS = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning")
MORE = tuple(kind for kind in (*PER_TOKEN, *EACH) if kind not in KINDS)
# Where a kind has no price of its own, it costs what this one costs.
ORDINARY = {
    "cache_read": "input", "cache_write_5m": "input", "cache_write_1h": "cache_write_5m", "reasoning": "output",
    "input_audio": "input", "input_image": "input", "output_audio": "output", "output_image": "output",
}  # fmt: skip

HALF_A_DAY = MICROS_PER_DAY // 2  # from a day's midnight anywhere to an instant of that day in UTC
STALE_DAYS = 120
"""Past that an entry in force is old: of the thirty changes that the built-in books have, half came within 121 days of the
price before them.
"""

Amounts = Mapping[tuple[str, str], int | str]  # (kind, condition) → pico-units, or why it is not known


def needed(model: BookModel) -> tuple[str, ...]:
    """What a request to this model cannot do without."""
    return ("input",) if model.kind == "embedding" else ("input", "output")


def in_force(timeline: Timeline, at: int) -> Price | None:
    """The entry of this instant, also a doubtful one."""
    begun = [price for price in timeline.prices if price.start is None or price.start <= at]
    return begun[-1] if begun and (begun[-1].end is None or at < begun[-1].end) else None


def today(timeline: Timeline, needs: Collection[str], at: int) -> tuple[str | None, ...]:
    """input, cache read, output, since, confidence, checked, days since then if those are too many, source."""
    price = in_force(timeline, at)
    if price is None:
        return *("unknown" if kind in needs else None for kind in ("input", "cache_read", "output")), *[None] * 5
    shown = (_range(price, kind, needs) for kind in ("input", "cache_read", "output"))
    days = str((at - (price.checked or 0)) // MICROS_PER_DAY) if stale(price, at) else None
    return *shown, since(price), price.confidence, checked(price), days, price.source or None


def checked(price: Price) -> str | None:
    """The day on which an entry was last compared with its source, where the book has its dates."""
    return None if price.checked is None else moment(price.checked + HALF_A_DAY).date().isoformat()


def stale(price: Price, now: int) -> bool:
    """Whether an entry was last compared with its source too long ago; one without a day is not judged."""
    return (
        price.checked is not None
        and price.confidence != "doubtful"
        and now - price.checked > STALE_DAYS * MICROS_PER_DAY
    )


def doubts(timeline: Timeline, needs: Collection[str], now: int) -> str:
    """What somebody who is about to be billed by these prices should know; "" if there is nothing."""
    price = in_force(timeline, now)
    if price is None or price.confidence == "doubtful" or _has_blanks(price, needs):
        return state(timeline, needs, now)
    if stale(price, now):
        days = (now - (price.checked or 0)) // MICROS_PER_DAY
        return f"{price.label} was last checked on {checked(price)}, {days} days ago: compare it with the vendor"
    return ""


def _has_blanks(price: Price, needs: Collection[str]) -> bool:
    return any(getattr(rates, kind) is None for rates in price.rates for kind in needs)


def _range(price: Price, kind: str, needs: Collection[str]) -> str | None:
    """The amounts of one kind over all rates; blank where a cache has no price of its own."""
    amounts = [getattr(rates, kind) for rates in price.ordinary]
    known = sorted({amount for amount in amounts if amount is not None})
    shown = " to ".join(show_amount(kind, amount) for amount in dict.fromkeys((*known[:1], *known[-1:])))
    if None in amounts and kind in needs:
        shown = f"{shown} or unknown" if shown else "unknown"
    return f"({shown})" if shown and price.confidence == "doubtful" else shown or None


def since(price: Price) -> str | None:
    """The entry's first day as its book has it."""
    return price.label.partition(" from ")[2] or None


def state(timeline: Timeline, needs: Collection[str], now: int) -> str:
    """A sentence on what is in force and what comes next."""
    price = in_force(timeline, now)
    if price is None:
        told = "no price is known for today: refused"
    elif price.confidence == "doubtful":
        told = f"{price.label} is doubtful: refused until a book of yours confirms it"
    else:
        told = f"{price.label} is in force"
        if _has_blanks(price, needs):
            told += "; what is unknown in it is refused"
    coming = [entry.label for entry in timeline.prices if entry.start is not None and entry.start > now]
    return told + (f"; next: {', then '.join(coming)}" if coming else "")


def history(model: BookModel, now: int) -> list[tuple[str | None, ...]]:
    """Every entry of every currency, one row for each set of rates."""
    rows: list[tuple[str | None, ...]] = []
    for currency, timeline in model.timelines.items():
        current = in_force(timeline, now)
        following: list[Price | None] = [*timeline.prices[1:], None]
        for price, then in zip(timeline.prices, following, strict=True):
            mark = ">" if price is current else "+" if price.start is not None and price.start > now else ""
            until = _utc(price.end) if price.end is not None else since(then) if then else None
            for rates in price.rates:
                amounts = rates.told()
                shown = [amounts.get(kind, "unknown" if kind in needed(model) else None) for kind in KINDS]
                told = (price.confidence, price.source or None, _note(price, rates) or None)
                rows.append((mark, currency, since(price), until, *shown, condition(rates.when) or None, *told))
    return rows


def _note(price: Price, rates: Rates) -> str:
    """What the columns have no room for: rarer amounts, what is free, and the book's note."""
    more = [f"{kind} {amount}" for kind, amount in rates.told().items() if kind in MORE]
    told = [", ".join(more), "promotion" if price.promotion else ""]
    if price.quota is not None:
        told.append(free(price.quota))
    return "; ".join(part for part in (*told, price.note) if part)


def _utc(at: int) -> str:
    return moment(at).isoformat().replace("+00:00", "Z").removesuffix("T00:00:00Z")


def condition(when: When) -> str:
    """What has to hold, in words; nothing for rates that always hold."""
    parts = [_span("prompt", when.input_tokens), _span("answer", when.output_tokens)]
    if when.thinking is not None:
        parts.append("thinking" if when.thinking else "not thinking")
    if when.minutes is not None:
        clock = "{:02}:{:02}-{:02}:{:02}".format(*divmod(when.minutes[0], 60), *divmod(when.minutes[1], 60))
        parts.append(f"{clock} {when.zone or 'UTC'}")
    if when.weekdays:
        parts.append(" ".join(DAYS[day] for day in sorted(when.weekdays)))
    if when.calendar is not None:
        days = (("public holiday", when.holidays), ("working day", when.working_days))
        parts += [
            f"{'' if wanted else 'no '}{name} in {when.calendar.name}" for name, wanted in days if wanted is not None
        ]
    if when.service_tier is not None:
        parts.append(f"service tier {when.service_tier}")
    return ", ".join(part for part in parts if part)


def _span(name: str, span: Span) -> str:
    if span == ANY:
        return ""
    over = f" over {span.above}" if span.above >= 0 else ""
    return f"{name}{over}" + (f" up to {span.to}" if span.to is not None else "")


def amounts(model: BookModel | None, currency: str, at: int) -> Amounts:
    """What a model costs at an instant; empty where the book does not have it."""
    timeline = model.timelines.get(currency) if model else None
    if model is None or timeline is None:
        return {}
    price = in_force(timeline, at)
    if price is None or price.confidence == "doubtful":
        why = "unknown" if price is None else "doubtful"
        return {(kind, ""): why for kind in needed(model)}
    out: dict[tuple[str, str], int | str] = {}
    for rates in price.rates:
        when = condition(rates.when)
        for kind in (*KINDS, *MORE):
            pico = getattr(rates, kind)
            if pico is not None or kind in needed(model):
                out[kind, when] = "unknown" if pico is None else pico
    if price.quota is not None and price.quota.applies(at):
        out["free_quota", ""] = free(price.quota)
    return out


def free(quota: Quota) -> str:
    """What is free, in words."""
    return f"{quota.amount} {quota.unit} free " + ("in all" if quota.per == "total" else f"per {quota.per}")


def changes(before: Amounts, after: Amounts) -> Iterator[tuple[Any, ...]]:
    """(kind, condition, before, after, percent) of what is not the same."""
    for kind, when in dict.fromkeys((*before, *after)):
        old, new = _amount(before, kind, when), _amount(after, kind, when)
        if old == new:
            continue
        percent = None
        if isinstance(old, int) and isinstance(new, int) and old:
            percent = round((new - old) * 100 / old, 1)
        yield kind, when or None, _shown(kind, old), _shown(kind, new), percent


def _amount(told: Amounts, kind: str, when: str) -> int | str | None:
    found: str | None = kind
    while found is not None and (found, when) not in told:
        found = ORDINARY.get(found)
    return None if found is None else told[found, when]


def _shown(kind: str, amount: int | str | None) -> str | None:
    return show_amount(kind, amount) if isinstance(amount, int) else amount
