"""What a unit of usage costs, and what that makes of a usage: a dot product over the leaves."""

from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from router.core.conditions import ALWAYS, When
from router.core.money import Rate, show_price
from router.core.usage import LEAVES, Usage

PER_TOKEN = (
    *("input", "cache_read", "cache_write_5m", "cache_write_1h", "input_audio", "input_image"),
    *("output", "reasoning", "output_audio", "output_image"),
)
"""The rates that are told per million tokens."""
EACH = ("per_request", "per_search", "per_image")
"""The rates that are told for one."""

USUAL = ("input_fresh", "cache_read", "cache_write_5m", "cache_write_1h", "output_text", "output_reasoning")
PLACES = 12  # of a unit, in a pico-unit


class Unpriced(ValueError):
    """There is no price for this; the message says why. Never treated as free."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Pico-units, by what is used. A blank rate of tokens means the vendor names none, so that such a token costs what an
    ordinary input or output token costs; a blank input, output, search or picture is unknown. A predicted token that
    was rejected costs what an output token costs, and one that was paid for in advance nothing.
    """

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write_5m: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None
    input_audio: int | None = None
    input_image: int | None = None
    output_audio: int | None = None
    output_image: int | None = None
    per_request: int | None = None  # once for a request that consumed anything
    per_search: int | None = None
    per_image: int | None = None
    when: When = ALWAYS
    dearest_input: int | None = field(init=False, repr=False, compare=False)
    """The most one prompt token can cost: fresh, read from or written to a cache, sound or picture."""
    dearest_output: int | None = field(init=False, repr=False, compare=False)
    by_token_alone: bool = field(init=False, repr=False, compare=False)
    """Whether input and output are known and a request costs nothing by itself: the usual case, without detours."""
    _usual: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _by_leaf: tuple[int | None, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        priced = self._priced()
        usual = [priced[leaf] for leaf in USUAL]
        alone = None not in usual and self.per_request is None
        object.__setattr__(self, "_by_leaf", tuple(priced[leaf] for leaf in LEAVES))
        object.__setattr__(self, "_usual", tuple(rate or 0 for rate in usual))
        object.__setattr__(self, "by_token_alone", alone)
        inputs = [*usual[:4], priced["input_audio"], priced["input_image"]]
        outputs = [*usual[4:], priced["output_audio"], priced["output_image"]]
        object.__setattr__(self, "dearest_input", _dearest(inputs))
        object.__setattr__(self, "dearest_output", _dearest(outputs))

    def _priced(self) -> dict[str, int | None]:
        """The rate of each leaf."""

        def first(*rates: int | None) -> int | None:
            return next((rate for rate in rates if rate is not None), None)

        return {
            "input_fresh": self.input,
            "cache_read": first(self.cache_read, self.input),
            "cache_write_5m": first(self.cache_write_5m, self.input),
            "cache_write_1h": first(self.cache_write_1h, self.cache_write_5m, self.input),
            "output_text": self.output,
            "output_reasoning": first(self.reasoning, self.output),
            "input_audio": first(self.input_audio, self.input),
            "input_image": first(self.input_image, self.input),
            "input_prepaid": 0,
            "output_audio": first(self.output_audio, self.output),
            "output_image": first(self.output_image, self.output),
            "output_rejected": self.output,
            "output_prepaid": 0,
            "searches": self.per_search,
            "images": self.per_image,
        }

    @property
    def usual(self) -> tuple[int, int, int, int, int, int]:
        """The rates of `USUAL`, where `by_token_alone` says that they are all that there is; 0 for one that is not known."""
        fresh, read, written, kept, text, reasoning = self._usual
        return fresh, read, written, kept, text, reasoning

    def cost_pico(self, usage: Usage) -> int:
        """The exact cost of a usage, before rounding.

        Raises:
            Unpriced: a unit that was used has no known rate.

        """
        if not self.by_token_alone or (
            usage.searches
            or usage.images
            or usage.input_audio
            or usage.input_image
            or usage.output_audio
            or usage.output_image
            or usage.output_rejected
        ):
            return self._cost_of_all(usage)
        fresh, read, written, kept, text, reasoning = self._usual
        return (
            (usage.input_fresh or 0) * fresh
            + (usage.cache_read or 0) * read
            + (usage.cache_write_5m or 0) * written
            + (usage.cache_write_1h or 0) * kept
            + (usage.output_text or 0) * text
            + (usage.output_reasoning or 0) * reasoning
        )

    def _cost_of_all(self, usage: Usage) -> int:
        total, consumed = 0, False
        for leaf, rate in zip(LEAVES, self._by_leaf, strict=True):
            if count := getattr(usage, leaf):
                if rate is None:
                    raise Unpriced(f"{count} {leaf} were used, which have no known price")
                total += count * rate
                consumed = True
        return total + (self.per_request or 0) if consumed else total

    def times(self, factor: Rate, when: When, *, each: bool = False) -> "Rates":
        """These rates with each token a factor dearer or cheaper; what is priced each stays, unless `each` says otherwise.

        Raises:
            ValueError: a product is finer than a pico-unit.

        """
        scaled: dict[str, Any] = {}
        for name in (*PER_TOKEN, *(EACH if each else ())):
            if (pico := getattr(self, name)) is not None:
                scaled[name], rest = divmod(pico * factor.numerator, factor.denominator)
                if rest:
                    raise ValueError(
                        f"{name} {show_price(pico)} times {factor.numerator}/{factor.denominator} has more than 6 "
                        "decimal places; write the amounts of this tier out"
                    )
        return replace(self, when=when, **scaled)

    def told(self) -> dict[str, str]:
        """The amounts that are known, as people write them: per million tokens, or for one."""
        return {
            name: show_amount(name, pico) for name in (*PER_TOKEN, *EACH) if (pico := getattr(self, name)) is not None
        }


def show_amount(name: str, pico: int) -> str:
    """A rate as a decimal string, in the unit in which it is told."""
    return f"{Decimal(pico).scaleb(-PLACES).normalize():f}" if name in EACH else show_price(pico)


def _dearest(rates: list[int | None]) -> int | None:
    known = [rate for rate in rates if rate is not None]
    return max(known) if len(known) == len(rates) else None
