"""What a vendor says a request consumed, as disjoint leaves, so that pricing is a dot product and nothing counts twice.

A dialect knows whether its "input" includes cached tokens and its "output" includes reasoning; it subtracts at the
border and hands over leaves. `None` is *not reported*, which is never the same as 0.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

from router.core.value import value


class ContradictoryUsage(ValueError):
    """A vendor's counts contradict each other; the message names both fields."""


@value()
class Usage:
    """Disjoint counts of billable units."""

    input_fresh: int | None = None  # prompt tokens neither read from nor written to a cache
    cache_read: int | None = None  # prompt tokens served from the vendor's cache
    cache_write_5m: int | None = None  # prompt tokens written to a cache with the vendor's usual lifetime
    cache_write_1h: int | None = None  # the same with the long lifetime, where that has its own price
    output_text: int | None = None  # completion tokens that are not reasoning
    output_reasoning: int | None = None  # completion tokens spent thinking
    input_audio: int | None = None  # prompt tokens of sound, not cached
    input_image: int | None = None  # prompt tokens of pictures, where the vendor counts them apart
    input_prepaid: int | None = None  # prompt tokens that were paid for in advance (provisioned): never priced
    output_audio: int | None = None
    output_image: int | None = None
    output_rejected: int | None = None  # predicted tokens that did not come true; billed as completion
    output_prepaid: int | None = None
    searches: int | None = None  # calls of the vendor's own search, priced each
    images: int | None = None  # pictures made, priced each

    @property
    def input_total(self) -> int:
        """Every prompt token, however it is priced: what context tiers look at."""
        plain = (self.input_fresh or 0) + (self.cache_read or 0)
        written = (self.cache_write_5m or 0) + (self.cache_write_1h or 0)
        return plain + written + (self.input_audio or 0) + (self.input_image or 0) + (self.input_prepaid or 0)

    @property
    def output_total(self) -> int:
        """Every completion token, however it is priced."""
        plain = (self.output_text or 0) + (self.output_reasoning or 0) + (self.output_rejected or 0)
        return plain + (self.output_audio or 0) + (self.output_image or 0) + (self.output_prepaid or 0)

    def as_dict(self) -> dict[str, int]:
        """The leaves that were reported."""
        return {name: value for name in LEAVES if (value := getattr(self, name)) is not None}


LEAVES = tuple(f.name for f in fields(Usage))
KINDS: Mapping[str, tuple[str, ...]] = {
    "input": ("input_fresh", "input_audio", "input_image", "input_prepaid"),
    "cache_read": ("cache_read",),
    "cache_write": ("cache_write_5m", "cache_write_1h"),
    "output": ("output_text", "output_audio", "output_image", "output_rejected", "output_prepaid"),
    "reasoning": ("output_reasoning",),
}
"""The kinds of tokens that metrics and reports tell apart, and the leaves that each is the sum of."""
INPUTS = (
    "input_fresh",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "input_audio",
    "input_image",
    "input_prepaid",
)
OUTPUTS = ("output_text", "output_reasoning", "output_audio", "output_image", "output_rejected", "output_prepaid")


MOST = 10**9
"""No answer has more tokens: a larger count is a misreading, and its price would not fit the ledger's integers."""


def count(value: Any, most: int = MOST) -> int | None:
    """A count as vendors write it: 12, 12.0 or "12"; None for what is absent or no count (some send null or objects)."""
    if type(value) is int:  # the usual case; True is none
        return value if 0 <= value <= most else None
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdigit() and len(value) < 20 and int(value) <= most else None
    if isinstance(value, int | float) and 0 <= value <= most and value == value // 1:
        return int(value)
    return None


def minus(total: int, part: int | None, total_name: str, part_name: str) -> int:
    """`total` without a part that it includes.

    Raises:
        ContradictoryUsage: the part is larger than the whole.

    """
    rest = total - (part or 0)
    if rest < 0:
        raise ContradictoryUsage(f"{part_name} ({part}) is more than {total_name} ({total})")
    return rest


Minus = Callable[[int, int | None, str, str], int]
"""How a part is taken out of its whole: `minus`, or `apart` where that contradicts itself."""


def apart(total: int, part: int | None, _total_name: str, _part_name: str) -> int:
    """As `minus`; a part that is larger than its whole is taken to stand beside it, which is the most that may be billed."""
    rest = total - (part or 0)
    return total if rest < 0 else rest


def heard(before: Usage | None, usage_of: Callable[[Minus], Usage | None]) -> tuple[Usage | None, bool]:
    """(what a vendor says was used, whether it can be believed); (None, True) if it says nothing.

    A report that contradicts itself is read so that it comes to most, and one that has less than an earlier report of the
    same answer does not lower it: the vendor may bill either, so that the charge is marked as estimated.
    """
    sound = True
    try:
        usage = usage_of(minus)
    except ContradictoryUsage:
        usage, sound = usage_of(apart), False
    if usage is None or before is None:
        return usage, sound
    if usage.input_total < before.input_total:
        usage, sound = replace(usage, **{name: getattr(before, name) for name in INPUTS}), False
    if usage.output_total < before.output_total:
        usage, sound = replace(usage, **{name: getattr(before, name) for name in OUTPUTS}), False
    return usage, sound
