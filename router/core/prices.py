"""What a model costs at an instant, and what that makes of a usage.

A `Timeline` is a model's dated prices in one currency; `Timeline.at` finds the one in force. A `Price` holds one or more
sets of `Rates`, each with the condition under which the *whole* request is rated by it (vendors re-rate the whole
request past a context length, not only the excess). Unknown is never zero: a missing rate is `None` and asking for it
raises `Unpriced`.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from router.core.money import show_price
from router.core.usage import Usage

MICROS_PER_DAY = 86_400_000_000
MICROS_PER_MINUTE = 60_000_000
_FIRST_MONDAY = 4 * MICROS_PER_DAY  # 1970-01-05


class Unpriced(ValueError):
    """There is no price for this; the message says why. Never treated as free."""


@dataclass(frozen=True, slots=True)
class Span:
    """A count of tokens more than `above` and at most `to`."""

    above: int = -1
    to: int | None = None

    def holds(self, count: int) -> bool:
        return count > self.above and (self.to is None or count <= self.to)

    def meets(self, low: int, high: int) -> bool:
        """Whether any count from low to high lies in it."""
        return high > self.above and (self.to is None or low <= self.to)


ANY = Span()


@dataclass(frozen=True, slots=True)
class When:
    """The condition of one set of rates; the default always holds."""

    input_tokens: Span = ANY
    output_tokens: Span = ANY
    thinking: bool | None = None
    minutes: tuple[int, int] | None = None  # of the UTC day, [start, end), wrapping past midnight
    weekdays: frozenset[int] = frozenset()  # of the UTC day, Monday is 0; empty means every day

    def holds_at(self, at: int) -> bool:
        """Whether the clock part holds at an instant (microseconds since 1970)."""
        if self.weekdays and (at - _FIRST_MONDAY) // MICROS_PER_DAY % 7 not in self.weekdays:
            return False
        if self.minutes is None:
            return True
        start, end = self.minutes
        minute = at % MICROS_PER_DAY // MICROS_PER_MINUTE
        return start <= minute < end if start <= end else minute >= start or minute < end


ALWAYS = When()


@dataclass(frozen=True, slots=True)
class Rates:
    """Pico-units per token, by what the token is. A blank cache or reasoning rate means the vendor names none, so
    that token costs what an ordinary input or output token costs; a blank input or output rate is unknown.
    """

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write_5m: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None
    when: When = ALWAYS
    dearest_input: int | None = field(init=False, repr=False, compare=False)
    """The most one prompt token can cost: fresh, or written to a cache."""
    dearest_output: int | None = field(init=False, repr=False, compare=False)
    _by_leaf: tuple[int | None, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        written = self.cache_write_5m if self.cache_write_5m is not None else self.input
        by_leaf = (
            self.input,
            self.cache_read if self.cache_read is not None else self.input,
            written,
            self.cache_write_1h if self.cache_write_1h is not None else written,
            self.output,
            self.reasoning if self.reasoning is not None else self.output,
        )
        inputs, outputs = by_leaf[:4], by_leaf[4:]
        object.__setattr__(self, "_by_leaf", by_leaf)
        object.__setattr__(self, "dearest_input", None if None in inputs else max(inputs))  # type: ignore[type-var]  # no None is left
        object.__setattr__(self, "dearest_output", None if None in outputs else max(outputs))  # type: ignore[type-var]  # no None is left

    def cost_pico(self, usage: Usage) -> int:
        """The exact cost of a usage, before rounding.

        Raises:
            Unpriced: a unit that was used has no known rate.

        """
        counts = (
            usage.input_fresh,
            usage.cache_read,
            usage.cache_write_5m,
            usage.cache_write_1h,
            usage.output_text,
            usage.output_reasoning,
        )
        total = 0
        for count, rate in zip(counts, self._by_leaf, strict=True):
            if count:
                if rate is None:
                    raise Unpriced("tokens were used that have no known price")
                total += count * rate
        return total


@dataclass(frozen=True, slots=True)
class Facts:
    """What a price may depend on, of one request."""

    at: int  # microseconds since 1970
    input_tokens: int = 0
    output_tokens: int = 0
    thinking: bool = False


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
    flat: Rates | None = field(init=False, repr=False, compare=False)  # the only rates, where there is no condition

    def __post_init__(self) -> None:
        only = self.rates[0] if len(self.rates) == 1 and self.rates[0].when is ALWAYS else None
        object.__setattr__(self, "flat", only)

    def rates_for(self, facts: Facts) -> Rates:
        """The rates of this request: the first set whose condition holds.

        Raises:
            Unpriced: none holds.

        """
        if self.flat is not None:
            return self.flat
        for rates in self.rates:
            when = rates.when
            if (
                when.input_tokens.holds(facts.input_tokens)
                and when.output_tokens.holds(facts.output_tokens)
                and (when.thinking is None or when.thinking is facts.thinking)
                and when.holds_at(facts.at)
            ):
                return rates
        raise Unpriced(f"{self.label}: no rate for a request like this")

    def cost_pico(self, usage: Usage, facts: Facts) -> int:
        """The exact cost of a usage. Raises `Unpriced`."""
        return self.rates_for(facts).cost_pico(usage)

    def bounds_pico(self, input_low: int, input_high: int, output_high: int) -> tuple[int, int]:
        """(most for the prompt, most per output token) over every set of rates that this request could fall under.

        Raises:
            Unpriced: a rate that may be needed is unknown.

        """
        per_input = per_output = 0
        met = False
        for rates in self.rates:
            if rates.when is not ALWAYS and not rates.when.input_tokens.meets(input_low, input_high):
                continue
            met = True
            a, b = rates.dearest_input, rates.dearest_output
            if a is None:
                raise Unpriced(f"{self.label}: the input price is unknown")
            if b is None and output_high:
                raise Unpriced(f"{self.label}: the output price is unknown")
            per_input, per_output = max(per_input, a), max(per_output, b or 0)
        if not met:
            raise Unpriced(f"{self.label}: no rate for a prompt of up to {input_high} tokens")
        return per_input * input_high, per_output

    def describe(self) -> str:
        """The amounts per million tokens, for people."""
        return "; ".join(_describe(rates, self.currency) for rates in self.rates)


def _describe(rates: Rates, currency: str) -> str:
    shown = [
        f"{name} {show_price(value)}"
        for name in ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning")
        if (value := getattr(rates, name)) is not None
    ]
    return f"{currency} " + ", ".join(shown) if shown else "unknown"


class Timeline:
    """A model's prices in one currency, oldest first, without overlap."""

    __slots__ = ("_starts", "name", "prices")

    def __init__(self, name: str, prices: Sequence[Price]) -> None:
        self.name = name
        self.prices = tuple(sorted(prices, key=_start))
        self._starts = [_start(p) for p in self.prices]
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


def _start(price: Price) -> int:
    return price.start if price.start is not None else -(2**62)
