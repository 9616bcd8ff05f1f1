"""What deciding by a certificate would have scored on live traffic that was partly routed by lot (`explore`)."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from router.quality.certificate import Certificate
from router.quality.estimate import Estimate, doubly_robust, inverse_propensity
from router.quality.model import Model
from router.quality.request import request_of


@dataclass(frozen=True, slots=True)
class OffPolicy:
    """Mean scores, by rows of `farebox quality labels` whose answer was judged."""

    served: float  # what did answer
    inverse_propensity: Estimate
    doubly_robust: Estimate

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def off_policy(rows: Iterable[Mapping[str, Any]], model: Model, certificates: Mapping[str, Certificate]) -> OffPolicy:
    """Rows that the model was trained on are left out, as are those whose model was not drawn.

    Raises:
        ValueError: no row is left.

    """
    found: list[tuple[float, float, float, float, float]] = []
    for row in rows:
        name, odds, scores = row.get("model"), row.get("propensity"), row.get("scores") or {}
        certificate = certificates.get(str(row.get("route") or "")) or certificates.get("")
        if odds is None or name not in scores or name not in model.models or certificate is None:
            continue
        request = request_of(row)
        if model.knows(request):
            continue
        told = model.score(request)
        chosen = certificate.decide(told)
        found.append((float(scores[name]), float(odds), float(chosen == name), told[str(name)], told[chosen]))
    if not found:
        raise ValueError("no row was routed by lot, judged, and not trained on")
    outcomes, odds_, chosen_, predicted, other = zip(*found, strict=True)
    return OffPolicy(
        sum(outcomes) / len(outcomes),
        inverse_propensity(outcomes, odds_, chosen_),
        doubly_robust(outcomes, odds_, chosen_, predicted, other),
    )
