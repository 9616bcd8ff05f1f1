"""Certificates from scored labels: for two tiers or a list, for all routes or each, with a judge's labels corrected."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from router.quality.certificate import CannotCertify, Certificate
from router.quality.certify import calibrate, calibrate_judged, calibrate_list
from router.quality.evaluation import Scored
from router.quality.model import Model


def certificates(
    model: Model, scored: Scored, people: Scored | None, asked: Mapping[str, Any]
) -> tuple[list[Certificate], list[str]]:
    """What could be certified, and for each route that could not, why. `asked` are the options of `farebox quality calibrate`."""
    table = scored.table
    if not len(table):
        raise ValueError(
            f"all {scored.left_out} labelled requests were trained on; train with --hold, or give labels that are new"
        )
    flagship = asked["flagship"] or model.flagship
    cheap = list(asked["cheap"]) or [name for name in table.models if name != flagship and name in model.models]
    for name in (flagship, *cheap):
        if name not in table.models or name not in model.models:
            raise ValueError(f"{name!r} is not both in the artefact and in the labels")
    if not cheap:
        raise ValueError(f"there is no model besides the flagship {flagship!r} in artefact and labels")
    routes: list[tuple[str, NDArray[np.bool_]]] = [("", np.ones(len(table), bool))]
    if asked["per_route"]:
        numbers = table.route_numbers()
        routes = [(name, numbers == at) for at, name in enumerate(table.routes)]
    made, refused = [], []
    for route, inside in routes:
        try:
            made.append(_one(model, scored, people, flagship, cheap, inside, len(routes), {**asked, "route": route}))
        except CannotCertify as error:
            refused.append(f"route {route}: {error}" if route else str(error))
    return made, refused


def _one(
    model: Model,
    scored: Scored,
    people: Scored | None,
    flagship: str,
    cheap: list[str],
    inside: NDArray[np.bool_],
    parts: int,
    asked: Mapping[str, Any],
) -> Certificate:
    delta = asked["delta"] / parts
    told = {name: asked[name] for name in ("seed", "date", "prices", "route")} | {"artefact": model.hash}
    if len(cheap) == 1:
        pair, need, keep, _ = scored.pair(flagship, cheap[0])
        here = inside[keep]
        lost = (pair.flagship - pair.cheap)[here]
        costs = pair.flagship_cost[here], pair.cheap_cost[here]
        if people is not None:
            human = _by_people(scored, people, flagship, cheap[0])[keep][here]
            if asked["basis"] == "share":
                raise ValueError("labels of a judge certify points of score, not a share of the flagship's")
            return calibrate_judged(
                need[here], lost, human, asked["epsilon"], delta, costs=costs, flagship=flagship, cheap=cheap[0], **told
            )
        return calibrate(
            need[here], lost, asked["epsilon"], delta, costs=costs, flagship_scores=pair.flagship[here],
            basis=asked["basis"], flagship=flagship, cheap=cheap[0], **told,
        )  # fmt: skip
    if people is not None:
        raise ValueError("a judge's labels are corrected for one pair: name it with --cheap")
    names = [flagship, *cheap]
    at = [scored.table.models.index(name) for name in names]
    scores, costs_ = scored.table.matrix()
    keep = np.flatnonzero(inside & np.isfinite(scores[:, at]).all(1))
    spent = costs_[keep][:, at]
    if not np.isfinite(spent).any(0).all():
        raise ValueError("a list of models is certified by what each costs: the labels need costs of every model")
    mean = np.nanmean(spent, 0)
    spent = np.where(np.isfinite(spent), spent, mean)
    return calibrate_list(
        {name: scored.said[keep, column] for name, column in zip(names, at, strict=True)},
        {name: scores[keep, column] for name, column in zip(names, at, strict=True)},
        {name: spent[:, number] for number, name in enumerate(names)},
        asked["epsilon"], delta, flagship=flagship, basis=asked["basis"], **told,
    )  # fmt: skip


def _by_people(scored: Scored, people: Scored, flagship: str, cheap: str) -> NDArray[np.float64]:
    """The human loss of each request of `scored`; NaN where people did not label both answers."""
    out = np.full(len(scored.table), np.nan)
    if flagship not in people.table.models or cheap not in people.table.models:
        return out
    human, _ = people.table.matrix()
    lost = human[:, people.table.models.index(flagship)] - human[:, people.table.models.index(cheap)]
    rows = scored.table.rows_of(people.table)
    known = rows >= 0
    out[rows[known]] = lost[known]
    return out
