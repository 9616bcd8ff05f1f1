"""Routes and budgets as written: docs/configuration.md explains each key."""

import importlib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from router.core.cascade import Function, Webhook, scored_by
from router.core.catalog import CacheRule, Tier
from router.core.checks import EVERY, Check
from router.core.limits import Period
from router.fields import Currency, Money, Quality, Seconds, Size
from router.priceentry import Strict, zone


def _is_a_zone(name: str) -> str:
    zone(name)
    return name


TimeZone = Annotated[str, AfterValidator(_is_a_zone)]


class HedgeSettings(Strict):
    percentile: float = Field(default=95, ge=50, lt=100)
    share: float = Field(default=0.05, gt=0, le=0.5)


class CheckerSettings(Strict):
    webhook: str | None = Field(default=None, pattern="^https?://")
    python: str | None = Field(default=None, pattern=r"^[\w.]+:\w+$")
    timeout: float = Field(default=10, gt=0, le=600)

    @model_validator(mode="after")
    def _is_one(self) -> "CheckerSettings":
        if (self.webhook is None) == (self.python is None):
            raise ValueError("give either `webhook` or `python`")
        return self

    def compiled(self) -> Webhook | Function:
        """Who is asked. Raises `ValueError` where the user's module cannot be loaded, or has no such function."""
        if self.webhook is not None:
            return Webhook(self.webhook, self.timeout)
        module, _, name = (self.python or "").partition(":")
        try:
            call = getattr(importlib.import_module(module), name)
        except Exception as error:
            raise ValueError(f"cannot be loaded: {type(error).__name__}: {error}") from error
        if not callable(call):
            raise ValueError("is no function")  # noqa: TRY004 (what is wrong is the setting)
        return Function(call, self.timeout)


class CascadeSettings(Strict):
    when_ratio: float = Field(default=10, ge=1)
    checks: list[Check] = Field(default_factory=lambda: list(EVERY))
    checker: CheckerSettings | None = None
    judge: str | None = None
    at_least: float = Field(default=0.5, ge=0, le=1)
    certificate: Path | None = None

    @model_validator(mode="after")
    def _has_one_threshold(self) -> "CascadeSettings":
        if self.certificate is not None and "at_least" in self.model_fields_set:
            raise ValueError("give either `at_least` or the `certificate` that says it")
        if self.certificate is not None and self.checker is None and self.judge is None:
            raise ValueError("a `certificate` is about the scores of a `checker` or a `judge`: name one")
        return self

    @property
    def scored_by(self) -> str:
        """Who scores answers, as certificates have it."""
        return scored_by(self.checker is not None, self.judge)


class CacheSettings(Strict):
    ttl: Seconds = 3600.0
    max_bytes: Size = 64 * 2**20
    max_answer_bytes: Size = 2**20
    max_store_bytes: Size = 0
    any_temperature: bool = False
    tools: bool = False

    @property
    def rule(self) -> CacheRule:
        return CacheRule(
            self.ttl, self.max_bytes, self.max_answer_bytes, self.max_store_bytes, self.any_temperature, self.tools
        )


class BudgetSettings(Strict):
    limit: Money
    currency: Currency | None = None
    per: Period
    timezone: TimeZone = "UTC"
    on_exceed: Literal["refuse", "allow"] = "refuse"
    soft: float | None = Field(default=None, gt=0, lt=1)
    on_soft: Literal["cheap"] = "cheap"
    alert_at: list[Annotated[float, Field(gt=0, le=10)]] = [0.5, 0.8, 1.0]  # noqa: RUF012 (pydantic copies it)


class ShadowSettings(Strict):
    rate: float = Field(gt=0, le=1)
    budget: BudgetSettings
    checker: CheckerSettings
    concurrent: int = Field(default=8, ge=1, le=64)


class RouteSettings(Strict):
    tiers: list[Tier] = Field(default_factory=list)
    models: list[str] = Field(default_factory=list)
    quality: Quality | None = None
    max_output_tokens: int | None = Field(default=None, gt=0)
    min_output_tokens: int = Field(default=1, gt=0)
    fallback: list[str] = Field(default_factory=list)
    on_unmet: Literal["flagship", "refuse"] = "flagship"
    labels: bool = False
    explore: float | None = Field(default=None, ge=0.01, le=0.05)
    shadow: ShadowSettings | None = None
    hedge: HedgeSettings | None = None
    cascade: CascadeSettings | None = None
    cache: CacheSettings | None = None
    cache_breakpoints: bool = False

    @field_validator("cache", mode="before")
    @classmethod
    def _true_is_enough(cls, value: Any) -> Any:
        return {} if value is True else None if value is False else value

    @model_validator(mode="after")
    def _names_something(self) -> "RouteSettings":
        if not self.tiers and not self.models:
            raise ValueError("name `tiers` or `models`")
        return self
