"""When a route tries a cheap model first, and what its answer has to pass."""

from collections.abc import Callable
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
class Cascade:
    """A route's."""

    when_ratio: float  # the cheap answer is tried where the other is expected to cost so many times as much
    checks: tuple[Check, ...]
    checker: Webhook | Function | None
    judge: str | None  # a model's name
    at_least: float  # what checker and judge have to give


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
