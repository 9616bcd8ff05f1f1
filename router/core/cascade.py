"""When a route tries a cheap model first, and what its answer has to pass."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from router.core.checks import Check


@dataclass(frozen=True, slots=True, repr=False)  # an address may hold a secret
class Webhook:
    url: str
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Function:
    call: Callable[[Any, Any, str, str], Any]
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Certified:
    """A certificate of a cascade: from which score on `cheap`'s answers may be given in place of `flagship`'s."""

    digest: str  # of the certificate, which tells it from others
    cheap: str
    flagship: str
    at_least: float
    quality: float  # the share of the flagship's quality that is promised
    epsilon: float  # points of score that may be lost, on average
    delta: float
    n: int  # labels that it was made of
    date: str
    versions: Mapping[str, str] | None = None  # what the vendors called the models then, where that is known

    def meets(self, need: float | None) -> bool:
        """Whether at least this share of the flagship's quality is promised."""
        return self.quality >= (need or 0.0) - 1e-9


@dataclass(frozen=True, slots=True)
class Cascade:
    """A route's."""

    when_ratio: float  # the cheap answer is tried where the other is expected to cost so many times as much
    checks: tuple[Check, ...]
    checker: Webhook | Function | None
    judge: str | None  # a model's name
    at_least: float  # what checker and judge have to give: the certificate's, where there is one
    certified: Certified | None = None


def scored_by(checker: bool, judge: str | None) -> str:  # noqa: FBT001 (whether there is one)
    """Who scores answers, as a certificate names them: of both, the lower score counts."""
    return " and ".join([*(["a checker"] if checker else []), *([f"judge {judge}"] if judge is not None else [])])


def short_of(told: Cascade, who: str, score: float | None) -> "Doubt | None":
    """Why a score will not do; None if it will. The one place that knows what is enough."""
    if score is None:
        return Doubt(f"{who}: it could not be checked", unchecked=True)
    return None if score >= told.at_least else Doubt(f"{who}: {score:g} is below {told.at_least:g}")


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why a cheap answer is not passed on."""

    why: str
    unchecked: bool = False  # it may have been good, but nobody could say
