"""The fit of heads and gaps on labels in hand, the choice among them, and cross-validation.

A *head* predicts a model's score, a *gap* the reference's less a model's, each at a strength of its own. Which of the two
speaks for a model is decided by the saving that cross-validation finds.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from router.quality.curve import Pair, worth
from router.quality.fit import STRENGTHS, Matrix, Solution, solve

Floats = NDArray[np.float32]
Told = Callable[[float], None]

SHRINK = 20.0  # labels: a route with so many is believed half
COLUMNS = 12  # targets that are solved together: 16 bases of 1 MB each


@dataclass(frozen=True)
class Picks:
    """Per model the strength of its head and of its gap, and which of them speaks for it."""

    heads: tuple[int, ...]
    gaps: tuple[int, ...]
    by_gap: tuple[bool, ...]


@dataclass(frozen=True)
class Problem:
    """Requests with the scores of models; column `reference` is what the others are compared with."""

    matrix: Matrix
    scores: Floats  # (request, model), NaN where nobody scored
    costs: NDArray[np.float64]  # likewise
    routes: NDArray[np.int32]
    reference: int
    rows: NDArray[np.intp]  # where they are in the table of all labels

    def targets(self) -> Floats:
        """(target, request): a head per model, then a gap per model."""
        heads = self.scores.T
        return np.concatenate((heads, heads[self.reference] - heads))

    def pair(self, model: int) -> tuple[Pair, NDArray[np.intp]]:
        """Reference and model where both were scored, with costs; and which requests those are."""
        both = np.flatnonzero(np.isfinite(self.scores[:, self.reference]) & np.isfinite(self.scores[:, model]))
        scores = self.scores[both].astype(np.float64)
        costs = filled(self.costs[both][:, [self.reference, model]])
        return Pair(scores[:, self.reference], scores[:, model], costs[:, 0], costs[:, 1]), both

    def folds(self, count: int, seed: int, rows: NDArray[np.intp] | None = None) -> NDArray[np.int8]:
        """A fold for each request, alike in what they hold: dealt out in order of the gap. -1 for rows not asked for."""
        rows = np.arange(len(self.scores)) if rows is None else rows
        with np.errstate(invalid="ignore"):
            rest = np.delete(self.scores[rows], self.reference, 1)
            known = np.isfinite(rest)
            mean = np.where(known, rest, 0).sum(1) / np.maximum(known.sum(1), 1)
        key = np.nan_to_num(self.scores[rows, self.reference] - mean)
        order = np.random.default_rng(seed).permutation(len(rows))
        order = order[np.argsort(key[order], kind="stable")]
        out = np.full(len(self.scores), -1, np.int8)
        out[rows[order]] = np.arange(len(rows)) % count
        return out


def filled(costs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Costs with the column's mean for a blank; where a column has none, the flagship costs one and others nothing."""
    known = np.isfinite(costs)
    if not known.any(0).all():
        out = np.zeros_like(costs)
        out[:, 0] = 1.0
        return out
    mean = np.where(known, costs, 0).sum(0) / known.sum(0)
    return np.where(known, costs, mean)


def route_terms(targets: Floats, routes: NDArray[np.int32], count: int) -> Floats:
    """(target, route): how far a route's mean is from the mean of all, shrunk toward it by its number of labels."""
    out = np.zeros((len(targets), count), np.float32)
    for target, row in zip(targets, out, strict=True):
        known = np.isfinite(target)
        sizes = np.bincount(routes[known], minlength=count)
        if (sizes > 0).sum() < 2:
            continue
        off = target[known] - target[known].mean()
        row[:] = np.bincount(routes[known], weights=off, minlength=count) / (sizes + SHRINK)
    return out


def fit(
    problem: Problem, masks: NDArray[np.bool_], told: Told = lambda _: None
) -> tuple[list[Solution], NDArray[np.float32]]:
    """For each mask of requests: all targets at all strengths, and the terms of routes (mask, target, route)."""
    every = problem.targets()
    count = int(problem.routes.max(initial=0)) + 1
    used = wanted(problem.scores.shape[1], problem.reference)
    terms = np.stack([route_terms(np.where(mask, every, np.nan), problem.routes, count) for mask in masks])
    columns = [
        np.where(mask, every[target] - terms[at, target][problem.routes], np.nan)
        for at, mask in enumerate(masks)
        for target in used
    ]
    parts = []
    for first in range(0, len(columns), COLUMNS):
        share = first / len(columns), COLUMNS / len(columns)
        batch = np.asarray(columns[first : first + COLUMNS], np.float32)
        parts.append(solve(problem.matrix, batch, told=lambda x, s=share: told(min(1.0, s[0] + s[1] * x))))  # type: ignore[misc]
    return parts, terms


def wanted(models: int, reference: int) -> list[int]:
    """The targets that are solved: every head, and the gaps of all but the reference."""
    return [target for target in range(2 * models) if target != models + reference]


def predicted(problem: Problem, masks: NDArray[np.bool_], told: Told = lambda _: None) -> Floats:
    """(mask, strength, target, request): what each fit says of every request."""
    parts, terms = fit(problem, masks, told)
    models = problem.scores.shape[1]
    used = wanted(models, problem.reference)
    size = len(problem.scores)
    out = np.zeros((len(masks), len(STRENGTHS), 2 * models, size), np.float32)
    column = 0
    for part in parts:
        many = part.places.shape[0]
        flat = part.places.reshape(many * len(STRENGTHS), -1), part.shape.reshape(many * len(STRENGTHS), -1)
        said = problem.matrix.times(*flat).reshape(many, len(STRENGTHS), size) + part.constant[:, :, None]
        for at in range(many):
            mask, target = divmod(column, len(used))
            target = used[target]
            out[mask, :, target] = said[at] + terms[mask, target][problem.routes]
            column += 1
    return out


def pick(problem: Problem, said: Floats, rows: NDArray[np.intp]) -> Picks:
    """The strengths and speakers that do best on predictions (strength, target, request) for requests not seen."""
    models = problem.scores.shape[1]
    known = np.zeros(len(problem.scores), bool)
    known[rows] = True
    targets = problem.targets()
    heads, gaps, by_gap = [], [0] * models, [False] * models
    for model in range(models):
        there = known & np.isfinite(targets[model])
        errors = np.square(said[:, model, there] - targets[model, there]).mean(1) if there.any() else np.zeros(1)
        heads.append(int(np.argmin(errors)))
    for model in range(models):
        pair, both = problem.pair(model)
        keep = known[both]
        if model == problem.reference or not keep.any():
            continue
        pair, both = pair.rows(keep), both[keep]
        two = said[heads[problem.reference], problem.reference, both] - said[heads[model], model, both]
        found = [worth(row.astype(np.float64), pair) for row in said[:, models + model][:, both]]
        gaps[model] = int(np.argmax(found))
        by_gap[model] = max(found) > worth(two.astype(np.float64), pair)
    return Picks(tuple(heads), tuple(gaps), tuple(by_gap))


def combined(said: Floats, picks: Picks, reference: int) -> Floats:
    """(model, request) from predictions (strength, target, request): probabilities."""
    models = len(picks.heads)
    out = np.stack([said[strength, model] for model, strength in enumerate(picks.heads)])
    for model in range(models):
        if picks.by_gap[model]:
            out[model] = out[reference] - said[picks.gaps[model], models + model]
    return probabilities(out)


def probabilities(values: Floats) -> Floats:
    """(model, request) moved into 0 to 1, all models of a request together, so that their differences stay."""
    low, high = values.min(0), values.max(0)
    values = values - np.maximum(high - 1, 0) + np.maximum(-low, 0) * (high - low <= 1)
    return np.asarray(np.clip(values, 0, 1), np.float32)


def cross_validate(problem: Problem, count: int, seed: int, inner: int = 3, told: Told = lambda _: None) -> Floats:
    """(model, request): the probability that each request gets from a model trained and picked on the other folds."""
    folds = problem.folds(count, seed)
    out = np.zeros(problem.scores.T.shape, np.float32)
    for fold in range(count):
        train = np.flatnonzero(folds != fold)
        within = problem.folds(inner, seed + 1 + fold, train)
        masks = np.stack([(folds != fold) & (within != part) for part in range(inner)] + [folds != fold])
        said = predicted(problem, masks, lambda x, f=fold: told((f + x) / count))  # type: ignore[misc]
        unseen = np.zeros_like(said[0])
        for part in range(inner):
            unseen[:, :, within == part] = said[part][:, :, within == part]
        picks = pick(problem, unseen, train)
        test = folds == fold
        out[:, test] = combined(said[-1], picks, problem.reference)[:, test]
    return out
