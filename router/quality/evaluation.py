"""What a model is worth on labels that it did not see: per pair of models, per route and per language, with intervals.

Beside each saving stand those of who knows nothing (the random mix), of a rule (the longer text to the flagship) and of who
knows everything (the oracle).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from router.quality.curve import LEVELS, Curve, Pair, curve, mix, oracle, resampled
from router.quality.labels import Table, labels
from router.quality.model import Model
from router.quality.problem import filled

Doubles = NDArray[np.float64]

FEWEST = 30  # requests; fewer have no figures


@dataclass(frozen=True)
class PairFigures:
    """The flagship against one model on some requests. `intervals` are 95 %, of `apgr` and of each level."""

    flagship: str
    cheap: str
    n: int
    flagship_score: float
    cheap_score: float
    cost_ratio: float
    costs_known: bool
    part: str  # "" for all requests, else `route:…` or `language:…`
    learnt: Curve
    baselines: dict[str, Curve]  # random mix, length rule, oracle
    intervals: dict[str, tuple[float, float]]

    def as_json(self) -> dict[str, Any]:
        """The figures, not the curves."""
        names = {"learnt": self.learnt, **self.baselines}
        return {
            "flagship": self.flagship,
            "cheap": self.cheap,
            "part": self.part,
            "n": self.n,
            "flagship_score": round(self.flagship_score, 4),
            "cheap_score": round(self.cheap_score, 4),
            "gap": round(self.flagship_score - self.cheap_score, 4),
            "cost_ratio": round(self.cost_ratio, 4),
            "costs_known": self.costs_known,
            "apgr": {name: _round(points.apgr()) for name, points in names.items()},
            "cpt50": {name: _round(points.cpt(0.5)) for name, points in names.items()},
            "cpt80": {name: _round(points.cpt(0.8)) for name, points in names.items()},
            "saved": {
                f"{level:.2f}": {name: _round(points.saved_at(level)) for name, points in names.items()}
                for level in LEVELS
            },
            "intervals": {name: [_round(low), _round(high)] for name, (low, high) in self.intervals.items()},
        }


@dataclass(frozen=True)
class Evaluation:
    """All pairs, each whole first and then in parts. `left_out` requests had been trained on."""

    pairs: tuple[PairFigures, ...]
    requests: int
    left_out: int
    seed: int
    how: str

    def as_json(self) -> dict[str, Any]:
        """As `--format json` prints it."""
        return {
            "how": self.how,
            "requests": self.requests,
            "left_out": self.left_out,
            "seed": self.seed,
            "pairs": [pair.as_json() for pair in self.pairs],
        }


@dataclass(frozen=True)
class Scored:
    """Labelled requests with what a model says of them: `said` is (request, model) in the order of the table's models."""

    table: Table
    said: NDArray[np.float32]
    lengths: NDArray[np.float64]
    left_out: int

    def pair(self, flagship: str, cheap: str) -> tuple[Pair, Doubles, NDArray[np.intp], bool]:
        """Both where both were labelled and predicted: scores and costs, the need of the flagship, which requests."""
        scores, costs = self.table.matrix()
        at = [self.table.models.index(flagship), self.table.models.index(cheap)]
        keep = np.flatnonzero(np.isfinite(scores[:, at]).all(1) & np.isfinite(self.said[:, at]).all(1))
        known = bool(np.isfinite(costs[keep][:, at]).any(0).all())
        spent = filled(costs[keep][:, at])
        both = scores[keep][:, at].astype(np.float64)
        need = (self.said[keep, at[0]] - self.said[keep, at[1]]).astype(np.float64)
        return Pair(both[:, 0], both[:, 1], spent[:, 0], spent[:, 1]), need, keep, known


def score_labels(
    model: Model, rows: Iterable[Any], told: Callable[[str, float | None], None] = lambda *_: None
) -> Scored:
    """Reads labels once and scores their requests; those that were trained on are left out."""
    table, said, lengths, left = Table(), [], [], set()
    for number, label in enumerate(labels(rows), 1):
        if model.knows(label.request):
            left.add(label.request.digest())
            continue
        _, new = table.add(label)
        if new:
            said.append(model.values(label.request))
            lengths.append(float(len(label.request.text)))
        if number % 1000 == 0:
            told(f"{number:,} labels read", None)
    wide = np.full((len(table), len(table.models)), np.nan, np.float32)
    for column, name in enumerate(table.models):
        if name in model.models and said:
            wide[:, column] = np.stack(said)[:, model.models.index(name)]
    return Scored(table, wide, np.array(lengths), len(left))


def evaluate(
    model: Model,
    rows: Iterable[Any],
    *,
    flagship: str | None = None,
    cheap: Sequence[str] = (),
    seed: int = 0,
    told: Callable[[str, float | None], None] = lambda *_: None,
) -> Evaluation:
    """The figures of a model on labels. `flagship` is the model's own unless told; `cheap` all others that were labelled."""
    scored = score_labels(model, rows, told)
    return figures(scored, flagship or model.flagship, cheap, seed, "held back from training")


def figures(scored: Scored, flagship: str, cheap: Sequence[str], seed: int, how: str) -> Evaluation:
    """The figures of predictions on labels."""
    table = scored.table
    if flagship not in table.models:
        raise ValueError(f"no label (that was not trained on) is of the flagship {flagship!r}")
    out = []
    for name in cheap or [name for name in table.models if name != flagship]:
        if name not in table.models:
            raise ValueError(f"no label is of {name!r}; there are {', '.join(table.models)}")
        pair, need, keep, known = scored.pair(flagship, name)
        parts = [("", np.arange(len(keep)))]
        for kind, names, numbers in (
            ("route", table.routes, table.route_numbers()[keep]),
            ("language", table.languages, table.language_numbers()[keep]),
        ):
            if len(set(numbers.tolist())) > 1:
                parts += [(f"{kind}:{names[at]}", np.flatnonzero(numbers == at)) for at in np.unique(numbers)]
        for part, inside in parts:
            if len(inside) >= FEWEST:
                lengths = scored.lengths[keep[inside]]
                out.append(_pair(flagship, name, part, pair.rows(inside), need[inside], lengths, seed, known))
    return Evaluation(tuple(out), len(table), scored.left_out, seed, how)


def _pair(
    flagship: str,
    cheap: str,
    part: str,
    pair: Pair,
    need: Doubles,
    lengths: Doubles,
    seed: int,
    known: bool,  # noqa: FBT001
) -> PairFigures:
    return PairFigures(
        flagship=flagship,
        cheap=cheap,
        n=len(need),
        flagship_score=float(pair.flagship.mean()),
        cheap_score=float(pair.cheap.mean()),
        cost_ratio=float(pair.cheap_cost.mean() / max(pair.flagship_cost.mean(), 1e-300)),
        costs_known=known,
        part=part,
        learnt=curve(need, pair),
        baselines={"random mix": mix(pair), "length rule": curve(lengths, pair), "oracle": curve(oracle(pair), pair)},
        intervals=resampled(need, pair, seed),
    )


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
