"""What another policy would have scored, from traffic that was routed by chance with known odds.

Of each request: the outcome of the model that answered, the odds (propensity) with which the logging policy chose it, and the odds
with which the policy in question would have. The odds must have been above 0 wherever the other policy's are.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95 % interval. `effective` is how many equal-weighted requests it is worth."""

    value: float
    low: float
    high: float
    n: int
    effective: float


def _weights(propensities: ArrayLike, chosen: ArrayLike, cap: float | None) -> Doubles:
    odds, wanted = np.asarray(propensities, np.float64), np.asarray(chosen, np.float64)
    if odds.ndim != 1 or odds.shape != wanted.shape or not len(odds):
        raise ValueError("propensities and odds are lists of one length, and not empty")
    if not ((odds > 0) & (odds <= 1)).all():
        raise ValueError("a propensity is above 0 and at most 1")
    if not ((wanted >= 0) & (wanted <= 1)).all():
        raise ValueError("odds are from 0 to 1")
    weights = wanted / odds
    return weights if cap is None else np.minimum(weights, cap)


def _estimate(values: Doubles, weights: Doubles) -> Estimate:
    value = float(values.mean())
    error = float(values.std(ddof=1)) / np.sqrt(len(values)) if len(values) > 1 else float("inf")
    squares = float(np.square(weights).sum())
    effective = float(weights.sum()) ** 2 / squares if squares else 0.0
    return Estimate(value, value - 1.96 * error, value + 1.96 * error, len(values), effective)


def inverse_propensity(
    outcomes: ArrayLike,
    propensities: ArrayLike,
    chosen: ArrayLike,
    *,
    normalised: bool = False,
    cap: float | None = None,
) -> Estimate:
    """The mean outcome under the other policy. `chosen` are its odds for the model that answered (1 or 0 if it draws no lots).

    `normalised` divides by the weights' mean: a little bias for less variance. `cap` bounds a weight, towards too low a value.
    """
    weights = _weights(propensities, chosen, cap)
    found = np.asarray(outcomes, np.float64)
    if not normalised:
        return _estimate(weights * found, weights)
    mean = float(weights.mean())
    if mean == 0:
        raise ValueError("the other policy would have done nothing that was logged")
    value = float((weights * found).mean()) / mean
    return _estimate(value + weights * (found - value) / mean, weights)


def doubly_robust(
    outcomes: ArrayLike,
    propensities: ArrayLike,
    chosen: ArrayLike,
    predicted: ArrayLike,
    predicted_other: ArrayLike,
    *,
    cap: float | None = None,
) -> Estimate:
    """The same, leaning on a prediction: right if either the propensities or the predictions are.

    `predicted` is what was expected of the model that answered, `predicted_other` what is expected under the other policy (the mean
    over its odds). Predictions must come from a model that did not see the outcomes.
    """
    weights = _weights(propensities, chosen, cap)
    found, told = np.asarray(outcomes, np.float64), np.asarray(predicted, np.float64)
    return _estimate(np.asarray(predicted_other, np.float64) + weights * (found - told), weights)
