"""Training: labels in, artefact out. Not imported by what serves requests."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from router.quality.curve import LEVELS, curve, mix
from router.quality.evaluation import Scored
from router.quality.features import BITS, ORDERS
from router.quality.fit import SHAPE_WEIGHT, STRENGTHS, Floats, Spooled, sketched, solve
from router.quality.labels import Table, labels
from router.quality.model import Model, Neighbours
from router.quality.problem import (
    COLUMNS,
    Picks,
    Problem,
    combined,
    cross_validate,
    pick,
    predicted,
    route_terms,
)
from router.quality.request import SHAPE
from router.quality.spool import ROOM, Spool

Told = Callable[[str, float | None], None]
"""Progress: what is being done, and the share that is done if that is known."""

FOLDS = 5
SAMPLE = 12_000  # requests that a cross-validation looks at
NEIGHBOURS = 20_000  # requests whose embeddings are kept
FEWEST = 30  # requests; below that nothing can be learnt, and less be said about it


class TooFew(ValueError):
    """Labels that no model can be made from."""


@dataclass
class Gathered:
    """Labels read to the end: who scored what, the pieces in a spool, the shapes."""

    table: Table
    spool: Spool
    shapes: Floats
    vectors: list[tuple[int, tuple[float, ...]]]
    rows: int
    held: int


def held_out(digest: int, share: float) -> bool:
    """Whether a request is among those that training leaves for evaluation and certification: by its digest alone."""
    return (digest & 0xFFFFFF) < share * 0x1000000


def gather(rows: Iterable[Any], spool: Spool, hold: float = 0.0, told: Told = lambda *_: None) -> Gathered:
    """Reads labels once. What grows with them is a few hundred bytes a request; the pieces go to the spool."""
    table, shapes = Table(), np.zeros((1024, len(SHAPE)), np.float32)
    vectors: list[tuple[int, tuple[float, ...]]] = []
    held: set[int] = set()
    number = 0
    for number, label in enumerate(labels(rows), 1):
        digest = label.request.digest()
        if hold and held_out(digest, hold):
            held.add(digest)
            continue
        row, new = table.add(label, digest)
        if new:
            spool.add(label.request.places())
            if row == len(shapes):
                shapes = np.concatenate((shapes, np.zeros_like(shapes)))
            shapes[row] = label.request.shape()
            if label.request.embedding is not None and len(vectors) < NEIGHBOURS:
                vectors.append((row, label.request.embedding))
        if number % 1000 == 0:
            told(f"{number:,} labels read", None)
    return Gathered(table, spool, shapes[: len(table)], vectors, number, len(held))


def problem_of(data: Gathered, flagship: str | None = None, sample: int = 0) -> tuple[Problem, Floats, Floats]:
    """What is to be learnt, whole or as a sketch of a sample; and what shapes were standardised with."""
    scores, costs = data.table.matrix()
    known = np.isfinite(scores).sum(0)
    if len(scores) < FEWEST or len(known) < 1:
        raise TooFew(
            f"{len(scores)} labelled requests; a model needs {FEWEST} at the least, and some hundreds to be of use"
        )
    reference = _reference(data.table.models, scores, flagship)
    middle = data.shapes.mean(0, dtype=np.float64)
    spread = np.maximum(data.shapes.std(0, dtype=np.float64), 1e-3) * np.sqrt(len(SHAPE) / SHAPE_WEIGHT)
    shapes = np.asarray((data.shapes - middle) / spread, np.float32)
    routes = data.table.route_numbers()
    if sample:
        matrix, rows = sketched(data.spool, shapes, sample)
        problem = Problem(matrix, scores[rows], costs[rows], routes[rows], reference, rows)
    else:
        problem = Problem(Spooled(data.spool, shapes), scores, costs, routes, reference, np.arange(len(scores)))
    return problem, middle.astype(np.float32), spread.astype(np.float32)


def _reference(models: list[str], scores: Floats, flagship: str | None) -> int:
    """The flagship's column: as told, else the best mean among those scored on at least half as many as any."""
    if flagship is not None:
        if flagship not in models:
            raise TooFew(f"no label is of {flagship!r}; there are {', '.join(models)}")
        return models.index(flagship)
    known = np.isfinite(scores).sum(0)
    mean = np.nansum(scores, 0) / np.maximum(known, 1)
    return int(np.argmax(np.where(known * 2 >= known.max(), mean, -1)))


def train(
    rows: Iterable[Any],
    *,
    flagship: str | None = None,
    hold: float = 0.0,
    seed: int = 0,
    source: str = "",
    date: str = "",
    told: Told = lambda *_: None,
    room: int = ROOM,
) -> Model:
    """A model from labels (objects as in a file, or `Label`s), read once and in any number.

    `hold` is a share of the requests that is left out, always the same ones, for `evaluate` and `calibrate`. `source` and
    `date` go into the data card as they are.
    """
    with ExitStack() as stack:
        data = gather(rows, stack.enter_context(Spool(room)), hold, told)
        sample, _, _ = problem_of(data, flagship, sample=SAMPLE)
        folds = sample.folds(FOLDS, seed)
        masks = np.stack([folds != fold for fold in range(FOLDS)])
        said = predicted(sample, masks, lambda x: told("choosing strengths by cross-validation", x))
        unseen = np.zeros_like(said[0])
        for fold in range(FOLDS):
            unseen[:, :, folds == fold] = said[fold][:, :, folds == fold]
        picks = pick(sample, unseen, np.arange(len(folds)))
        figures = _figures(sample, combined(unseen, picks, sample.reference), data.table.models)
        problem, middle, spread = problem_of(data, flagship)
        model = _fitted(data, problem, picks, middle, spread, lambda x: told("fitting", x))
    scores, _ = data.table.matrix()
    means: list[float] = np.nanmean(scores, 0).tolist()
    card = {
        "source": source,
        "date": date,
        "labels": data.rows,
        "requests": len(data.table),
        "held_out": hold,
        "requests_held_out": data.held,
        "seed": seed,
        "flagship": data.table.models[problem.reference],
        "labels_per_model": dict(zip(data.table.models, np.isfinite(scores).sum(0).tolist(), strict=True)),
        "mean_score": dict(zip(data.table.models, (round(mean, 4) for mean in means), strict=True)),
        "features": {"bytes": list(ORDERS), "words": True, "pairs": True, "bits": BITS, "shape": list(SHAPE)},
        "strengths": {
            name: STRENGTHS[picks.gaps[at] if picks.by_gap[at] else picks.heads[at]]
            for at, name in enumerate(data.table.models)
        },
        "cross_validated": {
            "folds": FOLDS,
            "requests": len(folds),
            "note": "out of fold; strengths were picked on the same folds",
            "pairs": figures,
        },
    }
    return Model.parse(_with(model, card).dump())


def _with(model: Model, card: dict[str, Any]) -> Model:
    made = {
        name: getattr(model, name) for name in Model.__dataclass_fields__ if name != "card" and not name.startswith("_")
    }
    return Model(**made, card=card)


def _figures(problem: Problem, said: Floats, models: list[str]) -> dict[str, Any]:
    """APGR and savings of each model against the reference, on predictions (model, request) out of fold."""
    out = {}
    for at, name in enumerate(models):
        pair, both = problem.pair(at)
        if at == problem.reference or len(both) < FEWEST:
            continue
        points = curve((said[problem.reference, both] - said[at, both]).astype(np.float64), pair)
        straight = mix(pair)
        area = points.apgr()
        out[name] = {
            "n": len(both),
            "apgr": None if area is None else round(area, 4),
            "saved": {f"{level:.2f}": round(points.saved_at(level), 4) for level in LEVELS},
            "random_mix": {f"{level:.2f}": round(straight.saved_at(level), 4) for level in LEVELS},
        }
    return out


def _fitted(
    data: Gathered, problem: Problem, picks: Picks, middle: Floats, spread: Floats, told: Callable[[float], None]
) -> Model:
    """Every model's speaker at its strength, on all labels."""
    models = len(data.table.models)
    speakers = [models + at if picks.by_gap[at] else at for at in range(models)]
    strengths = [STRENGTHS[picks.gaps[at] if picks.by_gap[at] else picks.heads[at]] for at in range(models)]
    mask = np.ones((1, len(problem.scores)), bool)
    targets, terms = _targets(problem, mask)
    weights, shapes, constants = [], [], []
    for first in range(0, models, COLUMNS):
        batch = slice(first, first + COLUMNS)
        rows = np.asarray(targets[speakers[batch]], np.float32)
        found = solve(problem.matrix, rows, np.array(strengths[batch])[:, None], told=told)
        weights.append(found.places[:, 0])
        shapes.append(found.shape[:, 0] / spread)
        constants.append(found.constant[:, 0] - shapes[-1] @ middle)
    flat = np.concatenate(weights)
    scale = np.maximum(np.abs(flat).max(1), 1e-12).astype(np.float32)
    vectors = None
    if data.vectors:
        rows_ = [row for row, _ in data.vectors]
        wide = np.array([vector for _, vector in data.vectors], np.float32)
        wide /= np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-9)
        vectors = Neighbours(wide, problem.scores[rows_])
    return Model(
        models=tuple(data.table.models),
        reference=problem.reference,
        by_gap=picks.by_gap,
        weights=(flat / scale[:, None]).astype(np.float16),
        scale=scale,
        shape=np.concatenate(shapes).astype(np.float32),
        constant=np.concatenate(constants).astype(np.float32),
        routes={name: terms[speakers, at] for at, name in enumerate(data.table.routes)},
        seen=data.table.digests(),
        card={},
        neighbours=vectors,
    )


def _targets(problem: Problem, mask: Any) -> tuple[Floats, Floats]:
    every = problem.targets()
    terms = route_terms(np.where(mask[0], every, np.nan), problem.routes, int(problem.routes.max(initial=0)) + 1)
    return every - terms[:, problem.routes], terms


def crossed(
    rows: Iterable[Any], *, flagship: str | None = None, seed: int = 0, folds: int = FOLDS, told: Told = lambda *_: None
) -> tuple[Scored, str]:
    """What labels say of themselves: predictions from models that neither saw the request nor were chosen by it; the flagship.

    Models are fitted to sketches of the requests, the largest sets to those of a sample.
    """
    with Spool() as spool:
        data = gather(rows, spool, told=told)
        problem, _, _ = problem_of(data, flagship, sample=SAMPLE)
    said = cross_validate(problem, folds, seed, told=lambda x: told("cross-validation", x))
    wide = np.full((len(data.table), len(data.table.models)), np.nan, np.float32)
    wide[problem.rows] = said.T
    return Scored(data.table, wide, np.expm1(data.shapes[:, 0]).astype(np.float64), 0), data.table.models[
        problem.reference
    ]
