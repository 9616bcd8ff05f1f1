"""What a model costs at an instant, and what that makes of a usage.

A `Timeline` is a model's dated prices in one currency; `Timeline.at` finds the one in force. A `Price` holds one or more
sets of `Rates`, each with the condition under which the *whole* request is rated by it (vendors re-rate the whole
request past a context length, not only the excess). Unknown is never zero: a missing rate is `None` and asking for it
raises `Unpriced`.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, tzinfo
from typing import Literal

from router.core.conditions import ALWAYS, ANY, Calendar, Facts, Span, When, special
from router.core.limits import window
from router.core.rates import EACH, PER_TOKEN, Rates, Unpriced, show_amount
from router.core.usage import Usage

__all__ = [
    "ALWAYS",
    "ANY",
    "EACH",
    "PER_TOKEN",
    "Calendar",
    "Facts",
    "Price",
    "Quota",
    "Rates",
    "Span",
    "Timeline",
    "Unpriced",
    "When",
    "charge_pico_with_free",
    "show_amount",
    "special",
]


@dataclass(frozen=True, slots=True)
class Quota:
    """What a vendor gives for nothing before it charges: so many tokens or requests a day, a month or in all."""

    unit: Literal["tokens", "requests"]
    amount: int
    per: Literal["day", "month", "total"]
    zone: tzinfo = UTC
    start: int | None = None  # microseconds since 1970; None: as long as the price is in force
    end: int | None = None  # exclusive

    def applies(self, at: int) -> bool:
        """Whether it is given at an instant."""
        return (self.start is None or at >= self.start) and (self.end is None or at < self.end)

    def window(self, at: int) -> tuple[int, int]:
        """The calendar window that holds an instant, as [start, end) in microseconds since 1970."""
        return window(self.per, self.zone, at)


@dataclass(frozen=True, slots=True)
class Price:
    """One dated entry of the price book."""

    currency: str
    rates: tuple[Rates, ...]
    start: int | None = None  # microseconds since 1970; None: as far back as is known
    end: int | None = None  # exclusive; None: open
    confidence: str = "high"
    source: str = ""
    note: str = ""
    label: str = ""  # names the entry in the ledger, e.g. "CNY 0.8/2 from 2024-09-19"
    free: bool = False
    quota: Quota | None = None
    evaluated: Literal["start", "completion"] = "start"
    """By which instant of a request the clock conditions are judged; the entry itself is always that of its start."""
    promotion: bool = False
    """Whether it lies over the ordinary prices, which are in force again when it ends."""
    checked: int | None = None
    """When it was last compared with its source (microseconds since 1970); None: nobody says, as of a contract."""
    flat: Rates | None = field(init=False, repr=False, compare=False)  # the only ordinary rates, if without condition
    by_thinking: bool = field(init=False, repr=False, compare=False)
    """Whether it matters if the model thinks."""
    _tiers: frozenset[str | None] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ordinary = self.ordinary
        only = ordinary[0] if len(ordinary) == 1 and ordinary[0].when is ALWAYS else None
        object.__setattr__(self, "flat", only)
        object.__setattr__(self, "by_thinking", any(rates.when.thinking is not None for rates in self.rates))
        object.__setattr__(self, "_tiers", frozenset(rates.when.service_tier for rates in self.rates))

    @property
    def ordinary(self) -> tuple[Rates, ...]:
        """The rates of the ordinary service tier."""
        return tuple(rates for rates in self.rates if rates.when.service_tier is None)

    def has(self, tier: str | None) -> bool:
        """Whether there are rates for a service tier, by the name that `special` gives it."""
        return tier in self._tiers

    def rates_for(self, facts: Facts) -> Rates:
        """The rates of this request: the first set whose condition holds.

        Raises:
            Unpriced: none holds, or the service tier is one that the price does not know.

        """
        if self.flat is not None and facts.service_tier is None:
            return self.flat
        tier = facts.tier
        for rates in self.rates:
            if rates.when.service_tier == tier and rates.when.holds(facts):
                return rates
        raise self._no_rates(tier, "no rate for a request like this")

    def _no_rates(self, tier: str | None, why: str) -> Unpriced:
        if tier is not None and not self.has(tier):
            why = f"no price for the service tier {tier!r}"
        return Unpriced(f"{self.label}: {why}")

    def cost_pico(self, usage: Usage, facts: Facts) -> int:
        """The exact cost of a usage. Raises `Unpriced`."""
        return self.rates_for(facts).cost_pico(usage)

    def listed(self, at: int) -> Rates:
        """The ordinary rates of an instant, for people: those of the shortest prompt, where that matters."""
        return next((rates for rates in self.ordinary if rates.when.holds_at(at)), self.rates[0])

    def bounds_pico(
        self, input_low: int, input_high: int, output_high: int, service_tier: str | None = None
    ) -> tuple[int, int]:
        """(most for the request and its prompt, most per output token) over every set of rates that it could fall under:
        whatever the clock says until it is over, at the service tier that it asks for or at the ordinary one.

        Searches and pictures are not bounded by tokens and not in it.

        Raises:
            Unpriced: a rate that may be needed is unknown.

        """
        tier = None if service_tier is None else special(service_tier)
        for_prompt = per_output = 0
        met = False
        for rates in self.rates:
            when = rates.when
            if when is not ALWAYS:
                own = when.service_tier
                if own is not None and own != tier:
                    continue
                if not when.input_tokens.meets(input_low, input_high):
                    continue
                met = met or own == tier
            elif tier is None:
                met = True
            a, b = rates.dearest_input, rates.dearest_output
            if a is None:
                raise Unpriced(f"{self.label}: the input price is unknown")
            if b is None and output_high:
                raise Unpriced(f"{self.label}: the output price is unknown")
            for_prompt = max(for_prompt, a * input_high + (rates.per_request or 0))
            per_output = max(per_output, b or 0)
        if not met:
            raise self._no_rates(tier, f"no rate for a prompt of up to {input_high} tokens")
        return for_prompt, per_output

    def dearest_pico(self, usage: Usage) -> int:
        """The cost of a usage at the dearest rates that there are, for one that no condition covers. A unit whose rate is
        not known anywhere is left out.
        """

        def dearest(name: str) -> int:
            return max(getattr(rates, name) or 0 for rates in self.rates)

        prompt = usage.input_total - (usage.input_prepaid or 0)
        answer = usage.output_total - (usage.output_prepaid or 0)
        each = (usage.searches or 0) * dearest("per_search") + (usage.images or 0) * dearest("per_image")
        return (
            prompt * dearest("dearest_input") + answer * dearest("dearest_output") + each + dearest("per_request")
            if prompt or answer or each
            else 0
        )

    def describe(self) -> str:
        """The amounts per million tokens, for people."""
        return "; ".join(_describe(rates, self.currency) for rates in self.rates)


FREE_FIRST = (
    *("input_fresh", "cache_read", "cache_write_5m", "cache_write_1h", "input_audio", "input_image"),
    *("output_text", "output_reasoning", "output_audio", "output_image", "output_rejected"),
)
"""The order in which free tokens are taken from a usage. What is prepaid or priced each takes none."""


def charge_pico_with_free(price: Price, usage: Usage, facts: Facts, free_tokens: int) -> int:
    """The exact cost of a usage of which some tokens are free; conditions are judged by the whole usage.

    Raises:
        Unpriced: a unit that was used has no known rate.

    """
    rates = price.rates_for(facts)
    total = rates.cost_pico(usage)
    given: dict[str, int] = {}
    for leaf in FREE_FIRST:
        if free_tokens <= 0:
            break
        if count := getattr(usage, leaf):
            given[leaf] = min(count, free_tokens)
            free_tokens -= given[leaf]
    return total - (rates.cost_pico(Usage(**given)) - (rates.per_request or 0)) if given else total


def _describe(rates: Rates, currency: str) -> str:
    shown = ", ".join(f"{name} {amount}" for name, amount in rates.told().items())
    tier = f"{rates.when.service_tier}: " if rates.when.service_tier else ""
    return f"{tier}{currency} {shown}" if shown else "unknown"


class Timeline:
    """A model's prices in one currency, oldest first, without overlap."""

    __slots__ = ("_starts", "discounts", "name", "prices")

    def __init__(self, name: str, prices: Sequence[Price]) -> None:
        self.name = name
        self.prices = tuple(sorted(prices, key=_start))
        self._starts = [_start(p) for p in self.prices]
        self.discounts = any(rates.cache_read is not None for price in self.prices for rates in price.rates)
        """Whether what is read from a vendor's cache has, or has had, a price of its own."""
        for earlier, later in zip(self.prices, self.prices[1:], strict=False):
            if _start(earlier) == _start(later) or (earlier.end is not None and earlier.end > _start(later)):
                raise ValueError(f"{name}: the price {later.label!r} begins while {earlier.label!r} is still in force")

    def at(self, instant: int) -> Price:
        """The price in force at an instant (microseconds since 1970).

        Raises:
            Unpriced: none is known, or the one that is is marked doubtful.

        """
        i = bisect_right(self._starts, instant) - 1
        if i < 0:
            raise Unpriced(f"{self.name} has no price before {self.prices[0].label}" if self.prices else self.name)
        price = self.prices[i]
        if price.end is not None and instant >= price.end:
            raise Unpriced(f"{self.name}: the last known price, {price.label}, has ended")
        if price.confidence == "doubtful":
            raise Unpriced(f"{self.name}: {price.label} is doubtful; confirm it in a price book of your own")
        return price

    def cut(self, start: int | None, end: int | None, since: str = "") -> list[Price]:
        """What is in force within [start, end), as prices of their own.

        Args:
            start: the first instant (microseconds since 1970); None: from the first price on.
            end: exclusive; None: open.
            since: how the label of a price tells `start`, where the price itself is older.

        """
        pieces = []
        ends: list[int | None] = [*self._starts[1:], None]
        for price, begun, follows in zip(self.prices, self._starts, ends, strict=True):
            stops = _earliest(price.end, follows, end)
            begins = begun if start is None else max(begun, start)
            if stops is not None and begins >= stops:
                continue
            late = begins > begun
            pieces.append(
                replace(
                    price,
                    start=begins if late else price.start,
                    end=price.end if end is None else stops,
                    label=f"{price.label.partition(' from ')[0]} from {since}" if late else price.label,
                )
            )
        return pieces


def _earliest(*instants: int | None) -> int | None:
    return min((at for at in instants if at is not None), default=None)


def _start(price: Price) -> int:
    return price.start if price.start is not None else -(2**62)
