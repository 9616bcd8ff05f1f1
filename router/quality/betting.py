"""Tests by betting: how much evidence losses are against "their mean is above (or below) ε".

Whoever bets the share λ of a stake that losses stay below ε owns Π(1 + λ(ε − loss)): a fair or losing game while the mean is
at least ε, so that it ever reaches 1/δ with probability at most δ (Ville). The stake is spread over a grid of λ, so nothing
is tuned on the data (Waudby-Smith and Ramdas 2010.09686; Learn-then-Test 2110.01052 for what is built on it).
"""

from math import log

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

BETS = np.array((0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.55, 0.7, 0.85, 0.98))
"""Shares of the boldest bet that cannot lose everything."""

CHUNK = 1 << 14


def evidence_below(losses: Doubles, epsilon: float, high: float = 1.0) -> Doubles:
    """The logarithm of the most that was ever owned by betting on "mean at most ε", for each row of losses.

    `losses` is (test, request), each at most `high`. The order of requests must not depend on their losses.
    """
    bets = BETS / (high - epsilon)  # the worst loss leaves 1 - 0.98
    own = np.zeros((len(losses), len(bets)))
    best = np.zeros(len(losses))
    for first in range(0, losses.shape[1], CHUNK):
        part = losses[:, first : first + CHUNK]
        for row, values in enumerate(part):
            path = np.cumsum(np.log1p(bets[:, None] * (epsilon - values)), axis=1)
            path += own[row][:, None]
            own[row] = path[:, -1]
            top = path.max(0)
            total = top + np.log(np.exp(path - top).sum(0)) - log(len(bets))
            best[row] = max(best[row], float(total.max()))
    return best


def growth_below(losses: Doubles, epsilon: float, high: float = 1.0) -> float:
    """How much evidence (in logarithm) one more request of the kind brings at the best bet; 0 if none."""
    bets = BETS / (high - epsilon)
    return max(0.0, float(np.log1p(bets[:, None] * (epsilon - losses)).mean(1).max()))


def labels_needed(losses: Doubles, epsilon: float, delta: float, high: float = 1.0) -> int | None:
    """How many requests with such losses would certify ε at confidence 1 − δ; None if their mean is not below ε."""
    rate = growth_below(losses, epsilon, high)
    return None if rate <= 0 else int(np.ceil((log(1 / delta) + log(len(BETS)) * 0.5) / rate))
