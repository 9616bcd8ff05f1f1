"""Ridge regression on pieces and shape, for many targets and every strength of the ridge at once.

Golub and Kahan's bidiagonalisation gives, for a target y, bases of what 16 products can reach; in them the ridge of any
strength is a system of 16 unknowns (Paige and Saunders 1982, LSQR; Björck 1988 for the strengths). A target that is missing
(NaN) is a row left out, so that models with different labels, and the folds of a cross-validation, are columns of one run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from router.quality.features import PLACES
from router.quality.spool import Spool

STRENGTHS = (3.0, 10.0, 30.0, 100.0)
STEPS = 16  # the best strength on the development data was 10 to 100; there 16 steps agree with 40 to three digits
WIDTH = 4096  # columns of a sketch
SHAPE_WEIGHT = 0.3  # of a request's likeness, how much is shape's where its text's is 1

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


class Matrix(Protocol):
    """Requests as rows. Values and weights have the targets as their first axis."""

    def times(self, places: Floats, shape: Floats) -> Floats:
        """The product with weights of places and of shape."""

    def back(self, values: Floats) -> tuple[Floats, Floats]:
        """The product of the transpose with values of rows."""


@dataclass(frozen=True)
class Spooled:
    """Pieces in a spool, shapes standardised and weighted."""

    spool: Spool
    shapes: Floats

    def times(self, places: Floats, shape: Floats) -> Floats:
        """The product with weights of places and of shape: columns are the first axis."""
        out = shape @ self.shapes.T
        for block in self.spool.blocks():
            span = slice(block.first, block.first + len(block.starts))
            for column, weights in zip(out, places, strict=True):
                column[span] += block.times(weights)
        return np.asarray(out, np.float32)

    def back(self, values: Floats) -> tuple[Floats, Floats]:
        """The product of the transpose with values of rows."""
        places = np.zeros((len(values), PLACES), np.float32)
        for block in self.spool.blocks():
            span = slice(block.first, block.first + len(block.starts))
            for column, out in zip(values, places, strict=True):
                block.back(column[span], out)
        return places, np.asarray(values @ self.shapes, np.float32)


@dataclass(frozen=True)
class Sketched:
    """A spool's rows thrown together into `WIDTH` columns with random signs (Charikar and others 2002), so that products are
    dense and a cross-validation takes seconds: likenesses of requests are kept to 1 / sqrt(WIDTH).
    """

    sketch: Floats
    shapes: Floats

    def times(self, places: Floats, shape: Floats) -> Floats:
        """The product with weights."""
        return np.asarray(places @ self.sketch.T + shape @ self.shapes.T, np.float32)

    def back(self, values: Floats) -> tuple[Floats, Floats]:
        """The product of the transpose."""
        return np.asarray(values @ self.sketch, np.float32), np.asarray(values @ self.shapes, np.float32)


def sketched(spool: Spool, shapes: Floats, limit: int) -> tuple[Sketched, NDArray[np.intp]]:
    """A sketch of about `limit` rows at most, whole blocks from all over the spool; and which rows those are."""
    every = max(1, -(-spool.rows // limit))
    keys = np.arange(PLACES, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    column = ((keys >> np.uint64(40)) % np.uint64(WIDTH)).astype(np.int64)
    sign = ((keys >> np.uint64(33)) & np.uint64(1)).astype(np.float32) * 2 - 1
    parts, rows = [], []
    for number, block in enumerate(spool.blocks()):
        if number % every:
            continue
        ends = np.append(block.starts[1:], len(block.places))
        part = np.empty((len(ends), WIDTH), np.float32)
        for at, (start, end) in enumerate(zip(block.starts, ends, strict=True)):
            places = block.places[start:end]
            part[at] = np.bincount(column[places], weights=sign[places], minlength=WIDTH) * block.scale[at]
        parts.append(part)
        rows.append(np.arange(block.first, block.first + len(ends)))
    chosen = np.concatenate(rows)
    return Sketched(np.concatenate(parts), shapes[chosen]), chosen


@dataclass(frozen=True)
class Solution:
    """Of each target and strength: weights by (target, strength, place) and the constant."""

    places: Floats
    shape: Floats
    constant: Doubles


def solve(
    matrix: Matrix,
    targets: Floats,
    strengths: Sequence[float] | NDArray[np.float64] = STRENGTHS,
    steps: int = STEPS,
    told: Callable[[float], None] = lambda _: None,
) -> Solution:
    """The ridge's weights; `targets` has a row per target. `strengths` may be one row per target."""
    mask = np.isfinite(targets).astype(np.float32)
    count = np.maximum(mask.sum(1), 1.0)
    mean = np.nansum(targets, 1, dtype=np.float64) / count
    mid_places, mid_shape = matrix.back(mask)  # each target's mean row, which the constant stands for
    mid_places /= count[:, None]
    mid_shape /= count[:, None]

    def forward(places: Floats, shape: Floats) -> Floats:
        off = (places * mid_places).sum(1) + (shape * mid_shape).sum(1)
        return np.asarray(mask * (matrix.times(places, shape) - off[:, None]), np.float32)

    def backward(values: Floats) -> tuple[Floats, Floats]:
        places, shape = matrix.back(values)
        total = values.sum(1, keepdims=True)
        return places - total * mid_places, shape - total * mid_shape

    rows = len(targets)
    left = np.where(mask > 0, targets - mean[:, None], 0).astype(np.float32)
    beta = np.zeros((rows, steps + 1))
    alpha = np.zeros((rows, steps))
    beta[:, 0] = _norm(left)
    left = _unit(left, beta[:, 0])
    places, shape = backward(left)
    basis: list[tuple[Floats, Floats]] = []
    for step in range(steps):
        if step:
            places, shape = backward(left)
            places -= beta[:, step, None].astype(np.float32) * basis[-1][0]
            shape -= beta[:, step, None].astype(np.float32) * basis[-1][1]
        alpha[:, step] = np.sqrt(_norm(places) ** 2 + _norm(shape) ** 2)
        basis.append((_unit(places, alpha[:, step]), _unit(shape, alpha[:, step])))
        left = forward(*basis[-1]) - alpha[:, step, None].astype(np.float32) * left
        beta[:, step + 1] = _norm(left)
        left = _unit(left, beta[:, step + 1])
        told((step + 1) / steps)
    grid = np.broadcast_to(np.asarray(strengths, np.float64), (rows, np.shape(strengths)[-1]))
    small = np.zeros((rows, grid.shape[1], steps))
    for row in range(rows):
        lower = np.zeros((steps + 1, steps))
        lower[range(steps), range(steps)] = alpha[row]
        lower[range(1, steps + 1), range(steps)] = beta[row, 1:]
        for at, strength in enumerate(grid[row]):
            normal = lower.T @ lower + strength * np.eye(steps)
            small[row, at] = np.linalg.solve(normal, alpha[row, 0] * beta[row, 0] * np.eye(steps)[0])
    out_places = np.zeros((rows, grid.shape[1], places.shape[1]), np.float32)
    out_shape = np.zeros((rows, grid.shape[1], shape.shape[1]), np.float32)
    for step, (places, shape) in enumerate(basis):
        weight = small[:, :, step, None].astype(np.float32)
        out_places += weight * places[:, None]
        out_shape += weight * shape[:, None]
    constant = mean[:, None] - (out_places * mid_places[:, None]).sum(2) - (out_shape * mid_shape[:, None]).sum(2)
    return Solution(out_places, out_shape, constant)


def _norm(values: Floats) -> Doubles:
    return np.asarray(np.sqrt(np.square(values, dtype=np.float64).sum(1)))


def _unit(values: Floats, norms: Doubles) -> Floats:
    """Each row divided by its norm; a row that has come to nothing stays nothing."""
    return np.asarray(values / np.where(norms > 1e-7, norms, np.inf)[:, None], np.float32)
