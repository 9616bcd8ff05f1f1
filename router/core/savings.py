"""What routing saved, with an interval that says how far it can be trusted."""

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

ENOUGH = 5  # days, before an interval says anything
Z95 = 1.96


class Saving(NamedTuple):
    """A share of what it is measured against, which may be below 0."""

    nano: int
    share: float
    low: float | None  # 95 %; None: too few days
    high: float | None
    days: int


def saving(days: Sequence[tuple[int, int]]) -> Saving | None:
    """From what each day cost and what it would have cost otherwise; None where that is nothing.

    The requests of a day are alike, so the days are the sample: the interval is that of a ratio of sums over clusters
    (Cochran, Sampling Techniques, 1977, section 6.3).
    """
    other = sum(base for _, base in days)
    if not other:
        return None
    nano = other - sum(paid for paid, _ in days)
    share = nano / other
    if len(days) < ENOUGH:
        return Saving(nano, share, None, None, len(days))
    squares = sum(((base - paid) - share * base) ** 2 for paid, base in days)
    error = Z95 * sqrt(squares * len(days) / (len(days) - 1)) / other
    return Saving(nano, share, share - error, share + error, len(days))
