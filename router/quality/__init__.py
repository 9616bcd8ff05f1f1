"""Cheap when it is good enough, with a number behind it: see docs/quality.md.

    model = train(rows);  model.save("quality.model");  Model.load("quality.model").score("a prompt")
    evaluate(model, rows);  calibrate(scores, losses, epsilon=0.05, delta=0.05) -> Certificate

Nothing is started by importing this, and each name brings only what it needs: what serves requests never imports training.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from router.quality.certificate import CannotCertify as CannotCertify
    from router.quality.certificate import Certificate as Certificate
    from router.quality.certify import calibrate as calibrate
    from router.quality.estimate import doubly_robust as doubly_robust
    from router.quality.estimate import inverse_propensity as inverse_propensity
    from router.quality.evaluation import evaluate as evaluate
    from router.quality.model import Model as Model
    from router.quality.request import Request as Request
    from router.quality.training import train as train
    from router.quality.watch import Watch as Watch

_PLACES = {
    "CannotCertify": "certificate",
    "Certificate": "certificate",
    "Model": "model",
    "Request": "request",
    "Watch": "watch",
    "calibrate": "certify",
    "doubly_robust": "estimate",
    "evaluate": "evaluation",
    "inverse_propensity": "estimate",
    "train": "training",
}
__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"router.quality has no {name!r}")
    return getattr(import_module(f"router.quality.{_PLACES[name]}"), name)
