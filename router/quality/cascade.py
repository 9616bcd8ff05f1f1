"""A cascade's certificate: from which score of its checker or judge on a cheap answer may be passed on.

The test is that of `calibrate`: thresholds are walked from "none is accepted" downwards, and what is bet on is the quality
lost by the accepted answers, over all that were looked at. Only the score is another: it is of an answer, not of a request.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from router.quality.certificate import CannotCertify, Certificate
from router.quality.certify import LEAST, calibrate, ratio
from router.quality.labels import BadLabels, label_of

Doubles = NDArray[np.float64]


def certify_cascade(
    rows: Iterable[Mapping[str, Any]],
    scored: Sequence[str],
    epsilon: float,
    delta: float,
    *,
    flagship: str,
    cheap: str,
    route: str = "",
    seed: int = 0,
    **told: Any,
) -> Certificate:
    """The certificate of a cascade from `cheap` to `flagship`. Raises `CannotCertify` or `BadLabels`.

    Args:
        rows: of requests drawn at random from those that the cascade would try and whose answers pass its free checks: under
            the names of `scored` what was said of the cheap model's answer, and `scores` of both models by whom the promise is
            made to, with `costs` where known. Rows of another route are left out where `route` is given.
        scored: `checker`, `judge` or both; of both the lower counts, and an answer that one of them could not score is not accepted.
        epsilon: the most that may be lost, in points of score, on average.
        delta: the chance that the promise is wrong.
        flagship: whose answers the accepted ones are compared with.
        cheap: whose answers are accepted or not.
        route: "" is every route.
        seed: of the order in which rows are tested.
        told: more of the certificate's own fields.

    """
    said, best, worth, dear, low = _columns(rows, scored, flagship, cheap, route)
    known = np.isfinite(said)
    said, lost = np.where(known, said, 0.0), np.where(known, best - worth, 0.0)  # what has no score is never accepted
    made = calibrate(-said, lost, epsilon, delta, flagship_scores=best, flagship=flagship, cheap=cheap, seed=seed,
                     route=route, **told)  # fmt: skip
    threshold, naive = 0.0 - (made.threshold or 0.0), made.naive_threshold
    accepted = known & (said >= threshold)
    saving, least, most = ratio(
        np.where(accepted, dear, 0.0) - low, dear
    )  # every cheap answer is paid, accepted or not
    if saving < LEAST:
        raise CannotCertify(
            f"a threshold of {threshold:g} would do, but cheap answers cost what the accepted ones spare"
        )
    return replace(
        made, kind="cascade", threshold=threshold, naive_threshold=None if naive is None else 0.0 - naive,
        relative_costs={flagship: 1.0, cheap: round(float(low.mean() / dear.mean()), 6)},
        routed_down=float(accepted.mean()), loss=float(np.where(accepted, lost, 0.0).mean()),
        saving=saving, saving_low=least, saving_high=most,
    )  # fmt: skip


def _columns(
    rows: Iterable[Mapping[str, Any]], scored: Sequence[str], flagship: str, cheap: str, route: str
) -> tuple[Doubles, Doubles, Doubles, Doubles, Doubles]:
    """By row what was said of the cheap answer (NaN: nothing), what flagship's and cheap one's are worth, and what they cost."""
    found: list[tuple[float, ...]] = []
    for number, row in enumerate(rows, 1):
        if route and str(row.get("route") or route) != route:
            continue
        label = label_of(row, number)
        if flagship not in label.scores or cheap not in label.scores:
            raise BadLabels(f"row {number}: `scores` of both {flagship!r} and {cheap!r} are needed")
        costs = label.costs.get(flagship, np.nan), label.costs.get(cheap, np.nan)
        found.append((_said(row, scored, number), label.scores[flagship], label.scores[cheap], *costs))
    said, best, worth, dear, low = np.array(found, np.float64).reshape(-1, 5).T
    if not np.isfinite([dear, low]).all() or not dear.any():
        dear, low = np.ones(len(dear)), np.zeros(len(low))  # a saving is then the share of requests
    return said, best, worth, dear, low


def _said(row: Mapping[str, Any], scored: Sequence[str], number: int) -> float:
    """The lower of the scores, NaN where one is missing."""
    values = [row.get(name) for name in scored]
    if any(value is None or value == "" for value in values):
        return float("nan")
    try:
        said = min(float(value) for value in values if value is not None)
    except (TypeError, ValueError) as error:
        raise BadLabels(f"row {number}: {error}") from None
    if not 0 <= said <= 1:
        raise BadLabels(f"row {number}: a score of {' or '.join(scored)} is {said:g}; scores are from 0 to 1")
    return said
