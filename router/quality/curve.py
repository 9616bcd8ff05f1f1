"""What a score is worth between two models: the cost-quality curve, and the figures read from it.

`need` is how much a request needs the flagship: those with the highest go there. PGR(f) is the share of the quality gap that is
recovered when the share f goes to the flagship, APGR the area under it (a random mix has 0.5), CPT(x) the least f with
PGR ≥ x. Saved at q: 1 − cost / flagship's cost at the cheapest point whose quality is at least q times the flagship's own.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

LEVELS = (0.90, 0.95, 0.99)
CHOOSING = tuple(0.90 + 0.01 * i for i in range(10))
RESAMPLES = 400
EPS = 1e-12


@dataclass(frozen=True)
class Pair:
    """Of each request: both scores and both costs (any unit)."""

    flagship: Doubles
    cheap: Doubles
    flagship_cost: Doubles
    cheap_cost: Doubles

    def rows(self, keep: NDArray[np.intp] | NDArray[np.bool_]) -> "Pair":
        """Some of the requests."""
        return Pair(self.flagship[keep], self.cheap[keep], self.flagship_cost[keep], self.cheap_cost[keep])


@dataclass(frozen=True)
class Curve:
    """Points from all-cheap (first) to all-flagship (last)."""

    share: Doubles  # of requests at the flagship
    quality: Doubles  # mean score
    saved: Doubles  # share of the flagship's cost

    def apgr(self) -> float | None:
        """None where there is no gap to recover."""
        pgr = self.recovered()
        return None if pgr is None else float(np.trapezoid(pgr, self.share))

    def recovered(self) -> Doubles | None:
        """PGR at each point."""
        gap = self.quality[-1] - self.quality[0]
        return np.asarray((self.quality - self.quality[0]) / gap) if gap > EPS else None

    def cpt(self, level: float) -> float | None:
        """The least share at the flagship that recovers this share of the gap."""
        pgr = self.recovered()
        return None if pgr is None else float(self.share[np.argmax(pgr >= level - EPS)])

    def saved_at(self, level: float) -> float:
        """At the cheapest point with this share of the flagship's quality."""
        return float(self.saved[self.quality >= level * self.quality[-1] - EPS].max())


def curve(need: Doubles, pair: Pair, weights: Doubles | None = None) -> Curve:
    """The curve of a score. `weights` are how often each request counts."""
    order = np.argsort(-need, kind="stable")
    return ordered(order, pair, np.ones(len(need)) if weights is None else weights)


def ordered(order: NDArray[np.intp], pair: Pair, weights: Doubles) -> Curve:
    """The curve of an order, those that need the flagship most first."""
    weight = weights[order]
    total = weight.sum()
    gap = _from_zero((pair.flagship - pair.cheap)[order] * weight)
    dearer = _from_zero((pair.flagship_cost - pair.cheap_cost)[order] * weight)
    flagship_cost = max(float(pair.flagship_cost @ weights), EPS)
    return Curve(
        _from_zero(weight) / total,
        (pair.cheap @ weights + gap) / total,
        1 - (pair.cheap_cost @ weights + dearer) / flagship_cost,
    )


def mix(pair: Pair) -> Curve:
    """The random mix: a straight line between the two models."""
    ends = curve(np.zeros(len(pair.cheap)), pair)
    at = np.linspace(0, 1, 2001)
    return Curve(
        at,
        ends.quality[0] + at * (ends.quality[-1] - ends.quality[0]),
        ends.saved[0] + at * (ends.saved[-1] - ends.saved[0]),
    )


def oracle(pair: Pair) -> Doubles:
    """The need of one who knows both answers: the gap itself, the cheaper saving first among equals."""
    dear = np.maximum(pair.flagship_cost.max(), EPS)
    return np.asarray((pair.flagship - pair.cheap) - 1e-6 * (pair.flagship_cost - pair.cheap_cost) / dear)


def worth(need: Doubles, pair: Pair) -> float:
    """What scores are chosen by: the saving, averaged from 90 to 99 % so that one step of the curve does not decide."""
    points = curve(need, pair)
    return float(np.mean([points.saved_at(level) for level in CHOOSING]))


def resampled(need: Doubles, pair: Pair, seed: int, times: int = RESAMPLES) -> dict[str, tuple[float, float]]:
    """95 % intervals of APGR and savings, by the bootstrap over requests (percentiles)."""
    rng = np.random.default_rng(seed)
    order = np.argsort(-need, kind="stable")
    size = len(need)
    found: dict[str, list[float]] = {"apgr": [], **{f"{level:.2f}": [] for level in LEVELS}}
    for _ in range(times):
        points = ordered(order, pair, np.bincount(rng.integers(0, size, size), minlength=size).astype(np.float64))
        if (area := points.apgr()) is not None:
            found["apgr"].append(area)
        for level in LEVELS:
            found[f"{level:.2f}"].append(points.saved_at(level))
    return {
        name: (float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975)))
        for name, values in found.items()
        if values
    }


def _from_zero(values: Doubles) -> Doubles:
    return np.concatenate(([0.0], np.cumsum(values)))
