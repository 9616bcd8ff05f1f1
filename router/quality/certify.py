"""Calibration: the boldest routing whose promise the labels prove.

Learn-then-Test with fixed-sequence testing: settings are tried from all-flagship downwards, each tested by betting at the
whole δ, and the first that fails ends the walk; so no correction for their number is due. Losses are quality lost against the
flagship: flagship's score − the score of what would answer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import log
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from router.quality.betting import evidence_below, labels_needed
from router.quality.certificate import CannotCertify, Certificate

Doubles = NDArray[np.float64]
Basis = Literal["points", "share"]

STEPS = 40  # settings in a sequence: steps of 2.5 % of the requests
METHOD = "Learn-then-Test, fixed sequence, betting on a grid of 12"
LEAST = 0.005  # a saving below this is no saving


def calibrate(
    scores: ArrayLike,
    losses: ArrayLike,
    epsilon: float,
    delta: float,
    *,
    costs: tuple[ArrayLike, ArrayLike] | None = None,
    flagship_scores: ArrayLike | None = None,
    basis: Basis = "points",
    judged: ArrayLike | None = None,
    judged_scores: ArrayLike | None = None,
    flagship: str = "flagship",
    cheap: str = "cheap",
    seed: int = 0,
    **told: Any,
) -> Certificate:
    """The certificate for two tiers, or `CannotCertify`.

    `scores[i]` is P(flagship) − P(cheap) of labelled request i, `losses[i]` the flagship's score less the cheap model's (−1 to 1).
    `costs` are (flagship's, cheap model's), each one number or one per request; without them savings are counted in
    requests. `basis="share"` holds ε against the flagship's own quality and needs `flagship_scores`.
    With `judged` (a judge's losses of the same requests, and `judged_scores`, `judged_losses` as `told`) see `calibrate_judged`.
    Requests must be a random sample of the traffic, and none may have been trained on.
    """
    if judged is not None or judged_scores is not None:
        raise TypeError("labels of a judge: see calibrate_judged")
    need, lost = _checked(scores, losses, epsilon, delta)
    order = np.random.default_rng(seed).permutation(len(need))
    need, lost = need[order], lost[order]
    best = np.ones(len(need)) if flagship_scores is None else np.asarray(flagship_scores, np.float64)[order]
    if basis == "share" and flagship_scores is None:
        raise ValueError('basis="share" needs flagship_scores')
    limits = _limits(need)
    margin, high = _margin(lost, best, epsilon, basis)

    def rows(limit: float) -> Doubles:
        down = need <= limit
        return np.where(down, margin, _idle(best, epsilon, basis))

    centre = epsilon if basis == "points" else 0.0
    passed = walk(limits, rows, centre, high, delta)
    spent = _costs(costs, len(need), order)
    naive = _naive(need, lost, best, epsilon, basis)
    if not passed or _saving(need <= passed[-1], *spent)[0] < LEAST:
        hopeful = rows(limits[len(limits) // 8])
        refuse(len(need), epsilon, delta, labels_needed(hopeful, centre, delta, high))
    limit = passed[-1]
    down = need <= limit
    saving, low, top = _saving(down, *spent)
    return Certificate(
        kind="two-tier", flagship=flagship, models=(cheap,), epsilon=epsilon, delta=delta, n=len(need), method=METHOD,
        basis=basis, threshold=float(limit), naive_threshold=naive, relative_costs=_relative(spent, flagship, cheap),
        routed_down=float(down.mean()), loss=float(np.where(down, lost, 0).mean()), flagship_score=float(best.mean()),
        saving=saving, saving_low=low, saving_high=top, seed=seed, **told,
    )  # fmt: skip


def _checked(scores: ArrayLike, losses: ArrayLike, epsilon: float, delta: float) -> tuple[Doubles, Doubles]:
    need, lost = np.asarray(scores, np.float64), np.asarray(losses, np.float64)
    if need.shape != lost.shape or need.ndim != 1:
        raise ValueError("scores and losses are lists of one length")
    if not 0 < epsilon < 1 or not 0 < delta < 1:
        raise ValueError("epsilon and delta are between 0 and 1")
    if not np.isfinite(need).all() or not np.isfinite(lost).all():
        raise ValueError("a score or loss is no number")
    if len(lost) and np.abs(lost).max() > 1:
        raise ValueError("a loss is between -1 and 1: the flagship's score less the cheap model's")
    if not len(need):
        refuse(0, epsilon, delta, labels_needed(np.zeros(1), epsilon, delta))
    return need, lost


def refuse(n: int, epsilon: float, delta: float, needed: int | None) -> None:
    """Says how many labels it would take."""
    so = f"{n} labels do not certify a loss of at most {epsilon:g} at {100 * (1 - delta):g} % confidence"
    if needed is None:
        raise CannotCertify(f"{so}: on these labels routing down loses more than that; no number of such labels would")
    needed = max(needed, n + 1)
    raise CannotCertify(f"{so}; it would take about {needed:,} like them", needed)


def walk(
    settings: Sequence[float] | Doubles, rows: Callable[[float], Doubles], centre: float, high: float, delta: float
) -> list[float]:
    """The settings that pass, in order, up to the first that does not."""
    passed = []
    for setting in settings:
        if evidence_below(rows(float(setting))[None], centre, high)[0] < log(1 / delta):
            break
        passed.append(float(setting))
    return passed


def _limits(need: Doubles) -> Doubles:
    """Thresholds that route down one share of the requests after the other, the last all of them."""
    return np.unique(np.quantile(need, np.arange(1, STEPS + 1) / STEPS, method="lower"))


def _margin(lost: Doubles, best: Doubles, epsilon: float, basis: Basis) -> tuple[Doubles, float]:
    """What is tested to be below the centre when routed down, and the most that it can be."""
    return (lost, 1.0) if basis == "points" else (lost - epsilon * best, 1.0)


def _idle(best: Doubles, epsilon: float, basis: Basis) -> Doubles | float:
    return 0.0 if basis == "points" else -epsilon * best


def _naive(need: Doubles, lost: Doubles, best: Doubles, epsilon: float, basis: Basis) -> float | None:
    order = np.argsort(need, kind="stable")
    total = np.cumsum(lost[order]) / len(need)
    good = np.flatnonzero(total <= epsilon * (best.mean() if basis == "share" else 1.0))
    return float(need[order[good[-1]]]) if len(good) else None


def _costs(costs: tuple[ArrayLike, ArrayLike] | None, count: int, order: NDArray[np.intp]) -> tuple[Doubles, Doubles]:
    dear, cheap = (1.0, 0.0) if costs is None else costs
    return (
        np.broadcast_to(np.asarray(dear, np.float64), count)[order],
        np.broadcast_to(np.asarray(cheap, np.float64), count)[order],
    )


def _relative(spent: tuple[Doubles, Doubles], flagship: str, cheap: str) -> Mapping[str, float]:
    return {flagship: 1.0, cheap: round(float(spent[1].mean() / max(spent[0].mean(), 1e-300)), 6)}


def _saving(down: NDArray[np.bool_], dear: Doubles, cheap: Doubles) -> tuple[float, float, float]:
    """Share of the flagship's cost that is saved, with a 95 % interval (a ratio of means, by the delta method)."""
    return ratio(np.where(down, dear - cheap, 0.0), dear)


def ratio(part: Doubles, whole: Doubles) -> tuple[float, float, float]:
    """mean(part) / mean(whole) with a 95 % interval."""
    base = max(float(whole.mean()), 1e-300)
    value = float(part.mean()) / base
    error = float(np.std((part - value * whole) / base)) / np.sqrt(max(len(part) - 1, 1))
    return value, value - 1.96 * error, value + 1.96 * error


def calibrate_list(
    scores: Mapping[str, ArrayLike],
    quality: Mapping[str, ArrayLike],
    costs: Mapping[str, ArrayLike],
    epsilon: float,
    delta: float,
    *,
    flagship: str,
    basis: Basis = "points",
    seed: int = 0,
    **told: Any,
) -> Certificate:
    """The certificate for a list of models: by name P(acceptable), the labelled scores, and costs (one or one per request)."""
    names = [flagship, *(name for name in scores if name != flagship)]
    p = np.stack([np.asarray(scores[name], np.float64) for name in names])
    true = np.stack([np.asarray(quality[name], np.float64) for name in names])
    spent = np.stack([np.broadcast_to(np.asarray(costs[name], np.float64), p.shape[1]) for name in names])
    order = np.random.default_rng(seed).permutation(p.shape[1])
    p, true, spent = p[:, order], true[:, order], spent[:, order]
    _checked(p[0], true[0] - true.min(0), epsilon, delta)
    relative = spent / np.maximum(spent[0], 1e-300)
    every = np.arange(p.shape[1])

    def chosen(multiplier: float) -> NDArray[np.intp]:
        return np.asarray(
            np.argmax(np.minimum(p, p[0]) - multiplier * relative, axis=0)
        )  # the first, the flagship, among equals

    def rows(multiplier: float) -> Doubles:
        lost = true[0] - true[chosen(multiplier), every]
        return np.asarray(lost if basis == "points" else lost - epsilon * true[0])

    settings = _multipliers(p, relative)
    centre = epsilon if basis == "points" else 0.0
    passed = walk(settings, rows, centre, 1.0, delta)
    if not passed or ratio(spent[0] - spent[chosen(passed[-1]), every], spent[0])[0] < LEAST:
        refuse(
            p.shape[1], epsilon, delta, labels_needed(rows(settings[min(len(settings) - 1, STEPS // 8)]), centre, delta)
        )
    take = chosen(passed[-1])
    saving, low, high = ratio(spent[0] - spent[take, every], spent[0])
    return Certificate(
        kind="list", flagship=flagship, models=tuple(names[1:]), epsilon=epsilon, delta=delta, n=p.shape[1], method=METHOD,
        basis=basis, multiplier=passed[-1], routed_down=float((take > 0).mean()),
        loss=float((true[0] - true[take, every]).mean()), flagship_score=float(true[0].mean()),
        relative_costs=dict(zip(names, (spent.mean(1) / max(spent[0].mean(), 1e-300)).round(6).tolist(), strict=True)),
        saving=saving, saving_low=low, saving_high=high, seed=seed, **told,
    )  # fmt: skip


def _multipliers(p: Doubles, relative: Doubles) -> list[float]:
    """From caring for quality alone to caring for costs alone, in steps that move about equal shares of requests."""
    with np.errstate(divide="ignore", invalid="ignore"):
        price = (p[0] - np.minimum(p[1:], p[0])) / (1 - relative[1:])
    turns = np.where(relative[1:] < 1, price, np.inf).min(0)  # at which multiplier a request first leaves the flagship
    finite = turns[np.isfinite(turns)]
    if not len(finite):
        return [0.0]
    steps = np.unique(np.quantile(finite, np.arange(1, STEPS + 1) / STEPS, method="lower"))
    wider = steps[-1] * np.array((1.25, 1.6, 2, 3, 5, 10))
    return [float(step) * (1 + 1e-9) + 1e-12 for step in (*steps, *wider)]


def calibrate_judged(
    scores: ArrayLike,
    judged: ArrayLike,
    human: ArrayLike,
    epsilon: float,
    delta: float,
    *,
    costs: tuple[ArrayLike, ArrayLike] | None = None,
    flagship: str = "flagship",
    cheap: str = "cheap",
    seed: int = 0,
    **told: Any,
) -> Certificate:
    """The certificate from a judge's losses on all requests, corrected on those that people labelled too (`human`, NaN: not).

    Prediction-powered (2301.09633) with a finite sample's guarantee: the requests without a human label are dealt out to those
    that have one, and Z = human − η·judge + η·(mean judge of its share) has the mean of the human losses, whatever the judge is
    worth. Z is bet on as losses are, the stake spread over η of 0, ½ and 1. People must have labelled a random part.
    """
    need, lost = _checked(scores, judged, epsilon, delta)
    people = np.asarray(human, np.float64)
    rng = np.random.default_rng(seed)
    by_people = rng.permutation(np.flatnonzero(np.isfinite(people)))
    alone = rng.permutation(np.flatnonzero(~np.isfinite(people)))
    if not len(by_people):
        raise CannotCertify("a judge alone certifies nothing: label some 100 of the requests by people", 100)
    if len(alone) < len(by_people):
        return replace(
            calibrate(need[by_people], people[by_people], epsilon, delta, costs=_some(costs, by_people), seed=seed,
                      flagship=flagship, cheap=cheap, **told), human=len(by_people),
        )  # fmt: skip
    share = len(alone) // len(by_people)
    dealt = alone[: share * len(by_people)].reshape(len(by_people), share)

    def passes(limit: float) -> bool:
        truth = np.where(need <= limit, np.where(np.isfinite(people), people, 0), 0)[by_people]
        seen = np.where(need <= limit, lost, 0)
        bets = []
        for eta in (0.0, 0.5, 1.0):
            z = truth - eta * seen[by_people] + eta * seen[dealt].mean(1)
            bets.append(evidence_below(z[None], epsilon, 1 + 2 * eta)[0])
        return bool(max(bets) - log(len(bets)) >= log(1 / delta))  # a third of the stake on each

    limits = _limits(need)
    passed: list[float] = []
    for limit in limits:
        if not passes(float(limit)):
            break
        passed.append(float(limit))
    order = np.arange(len(need))
    spent = _costs(costs, len(need), order)
    if not passed or _saving(need <= passed[-1], *spent)[0] < LEAST:
        hopeful = np.where(need <= limits[len(limits) // 8], people, 0)[by_people]
        refuse(len(by_people), epsilon, delta, labels_needed(hopeful, epsilon, delta / 3))
    down = need <= passed[-1]
    saving, low, high = _saving(down, *spent)
    bias = float((people - lost)[by_people].mean())
    return Certificate(
        kind="two-tier", flagship=flagship, models=(cheap,), epsilon=epsilon, delta=delta, n=len(need), human=len(by_people),
        method=f"{METHOD}; prediction-powered, the judge off by {bias:+.3f}", threshold=passed[-1],
        naive_threshold=_naive(need, lost, np.ones(len(need)), epsilon, "points"),
        relative_costs=_relative(spent, flagship, cheap), routed_down=float(down.mean()),
        loss=float(np.where(down, lost, 0).mean() + np.where(down, people - lost, 0)[by_people].mean()),
        saving=saving, saving_low=low, saving_high=high, seed=seed, **told,
    )  # fmt: skip


def _some(costs: tuple[ArrayLike, ArrayLike] | None, rows: NDArray[np.intp]) -> tuple[ArrayLike, ArrayLike] | None:
    if costs is None:
        return None
    dear, cheap = (np.asarray(cost, np.float64) for cost in costs)
    return (dear[rows] if dear.ndim else dear), (cheap[rows] if cheap.ndim else cheap)
