"""One entry of a price book as YAML has it, checked and compiled. The format is explained in docs/prices.md."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from router import calendars
from router.core.limits import micros
from router.core.money import Rate, price_pico, scaled, show_price
from router.core.prices import (
    ALWAYS,
    ANY,
    EACH,
    PER_TOKEN,
    Calendar,
    Price,
    Quota,
    Rates,
    Span,
    When,
    show_amount,
    special,
)
from router.core.rates import PLACES

# No token has cost less than a tenth of a cent or more than a thousand units per million; what lies outside is most
# likely a price per thousand tokens, or cents (several public tables have carried such slips).
PLAUSIBLE = (price_pico("0.001"), price_pico("1000"))
PLAUSIBLE_EACH = scaled(5, PLACES)  # a search or a picture that costs more is most likely told per thousand

Amount = str | int | float | Decimal
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
NAMES = {name: "cache_write" if name == "cache_write_5m" else name for name in (*PER_TOKEN, *EACH)}
"""Rates of the core, and their keys in a book."""


class Strict(BaseModel):
    """Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True)


@dataclass(frozen=True, slots=True)
class Place:
    """What holds for all of a book: where its dates are told, and which holidays it means."""

    zone: ZoneInfo
    calendar: Calendar | None = None
    checked: date | None = None  # when entries were compared with their sources, where those name no day


class SpanSettings(Strict):
    above: int = -1
    to: int | None = None


class WhenSettings(Strict):
    input_tokens: SpanSettings | None = None
    output_tokens: SpanSettings | None = None
    thinking: bool | None = None
    timezone: str | None = None
    hours: str | None = None
    weekdays: list[Day] = Field(default_factory=list)
    calendar: str | None = None
    holidays: bool | None = None
    working_days: bool | None = None
    service_tier: str | None = None

    @field_validator("hours")
    @classmethod
    def _is_a_span(cls, value: str | None) -> str | None:
        if value is not None:
            _minutes(value)
        return value

    @field_validator("timezone")
    @classmethod
    def _is_a_zone(cls, value: str | None) -> str | None:
        if value is not None:
            zone(value)
        return value

    @field_validator("service_tier")
    @classmethod
    def _is_not_the_ordinary_tier(cls, value: str | None) -> str | None:
        return None if value is None else _tier(value)

    def compiled(self, place: Place) -> When:
        """The condition.

        Raises:
            ValueError: holidays without a calendar that is known.

        """
        calendar = None
        if self.holidays is not None or self.working_days is not None:
            calendar = calendars.find(self.calendar) if self.calendar else place.calendar
            if calendar is None:
                raise ValueError("which holidays? Name a `calendar`, e.g. china")
        return When(
            input_tokens=_span(self.input_tokens),
            output_tokens=_span(self.output_tokens),
            thinking=self.thinking,
            minutes=_minutes(self.hours) if self.hours else None,
            weekdays=frozenset(DAYS.index(day) for day in self.weekdays),
            zone=zone(self.timezone) if self.timezone else None,
            calendar=calendar,
            holidays=self.holidays,
            working_days=self.working_days,
            service_tier=self.service_tier,
        )


def _span(told: SpanSettings | None) -> Span:
    return Span(told.above, told.to) if told else ANY


def _minutes(hours: str) -> tuple[int, int]:
    try:
        start, end = (time.fromisoformat(part.strip()) for part in hours.split("-"))
    except ValueError:
        raise ValueError('hours are written "16:30-00:30"') from None
    if start == end:
        raise ValueError("hours that begin and end at one minute never hold")
    return start.hour * 60 + start.minute, end.hour * 60 + end.minute


def _tier(name: str) -> str:
    if special(name) is None:
        raise ValueError(f"{name!r} is the ordinary tier, whose prices are those without a tier")
    return name.lower()


def zone(name: str) -> ZoneInfo:
    """A time zone by its name. Raises `ValueError`."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"{name!r} is not a time zone") from None


class RatesSettings(Strict):
    """Amounts per million tokens; `per_…` for one."""

    input: Amount | None = None
    output: Amount | None = None
    cache_read: Amount | None = None
    cache_write: Amount | None = None
    cache_write_1h: Amount | None = None
    reasoning: Amount | None = None
    input_audio: Amount | None = None
    input_image: Amount | None = None
    output_audio: Amount | None = None
    output_image: Amount | None = None
    per_request: Amount | None = None
    per_search: Amount | None = None
    per_image: Amount | None = None

    @field_validator(*NAMES.values())
    @classmethod
    def _is_an_amount(cls, value: Amount | None, info: ValidationInfo) -> Amount | None:
        if value is not None:
            scaled(value, PLACES) if info.field_name in EACH else price_pico(value)
        return value

    @model_validator(mode="after")
    def _amounts_are_plausible(self) -> "RatesSettings":
        rates = self.rates(ALWAYS)
        for name in PER_TOKEN:
            value = getattr(rates, name)
            if value and not PLAUSIBLE[0] <= value <= PLAUSIBLE[1]:
                low, high = map(show_price, PLAUSIBLE)
                raise ValueError(f"{name} {show_price(value)} per million tokens is not plausible ({low} to {high})")
        for name in EACH:
            value = getattr(rates, name)
            if value and value > PLAUSIBLE_EACH:
                most = show_amount(name, PLAUSIBLE_EACH)
                raise ValueError(f"{name} {show_amount(name, value)} for one is not plausible (up to {most})")
        if rates.cache_read is not None and rates.input is not None and rates.cache_read > rates.input:
            raise ValueError("cache_read costs more than input")
        return self

    def rates(self, when: When, each: "RatesSettings | None" = None) -> Rates:
        """The amounts as rates; what they do not say is priced each as `each` says."""
        told = {name: getattr(self, key) for name, key in NAMES.items()}
        if each is not None:
            told |= {name: getattr(each, name) for name in EACH if told[name] is None}
        pico: dict[str, Any] = {
            name: scaled(amount, PLACES) if name in EACH else price_pico(amount)
            for name, amount in told.items()
            if amount is not None
        }
        return Rates(**pico, when=when)


class ConditionalRates(RatesSettings):
    when: WhenSettings | None = None


class QuotaSettings(Strict):
    """So many tokens or requests for nothing."""

    tokens: int | None = Field(default=None, gt=0)
    requests: int | None = Field(default=None, gt=0)
    per: Literal["day", "month", "total"]
    timezone: str | None = None
    start: date | datetime | None = Field(default=None, alias="from")
    to: date | datetime | None = None

    @model_validator(mode="after")
    def _one_unit(self) -> "QuotaSettings":
        if (self.tokens is None) is (self.requests is None):
            raise ValueError("is of either `tokens` or `requests`")
        return self

    def compiled(self, place: Place) -> Quota:
        """The quota. Raises `ValueError`."""
        where = zone(self.timezone) if self.timezone else place.zone
        start, end = instant(self.start, where), instant(self.to, where)
        if start is not None and end is not None and end <= start:
            raise ValueError("the free quota ends before it begins")
        if self.tokens is not None:
            return Quota("tokens", self.tokens, self.per, where, start, end)
        return Quota("requests", self.requests or 0, self.per, where, start, end)


class PriceSettings(RatesSettings):
    """One dated entry."""

    currency: str = Field(pattern="^[A-Z]{3}$")
    start: date | datetime | None = Field(default=None, alias="from")
    to: date | datetime | None = None
    confidence: Literal["high", "medium", "doubtful"] = "high"
    source: str = ""
    note: str = ""
    checked: date | None = None
    free: bool = False
    promotion: bool = False
    evaluated: Literal["start", "completion"] = "start"
    free_quota: QuotaSettings | None = None
    tiers: dict[str, Amount | RatesSettings] = Field(default_factory=dict)
    rates_: list[ConditionalRates] = Field(default_factory=list, alias="rates")

    @field_validator("tiers")
    @classmethod
    def _are_special_tiers(cls, value: dict[str, Any]) -> dict[str, Any]:
        return {_tier(name): told for name, told in value.items()}

    @model_validator(mode="after")
    def _one_kind_of_rates(self) -> "PriceSettings":
        told = self.model_fields_set & set(RatesSettings.model_fields)
        if told - set(EACH) and self.rates_:
            raise ValueError("give either input and output, or `rates`, not both")
        if not told and not self.rates_:
            raise ValueError("says no amount; leave the entry out if the price is not known")
        if self.promotion and (self.start is None or self.to is None):
            raise ValueError("a promotion says when it begins (`from`) and ends (`to`)")
        return self

    def compiled(self, place: Place, *, may_be_zero: bool) -> Price:
        """The entry as the core reads it.

        Raises:
            ValueError: zero where nothing says that it is free, an end before the start, a condition or a tier that
                cannot be.

        """
        rates = self._ordinary(place)
        if not (may_be_zero or self.free) and any(0 in (r.input, r.output) for r in rates):
            raise ValueError("a price of zero needs `free: true`, or a model of the tier free")
        start, end = instant(self.start, place.zone), instant(self.to, place.zone)
        if start is not None and end is not None and end <= start:
            raise ValueError("ends before it begins")
        price = Price(
            self.currency,
            (*rates, *self._at_tiers(rates)),
            start,
            end,
            self.confidence,
            self.source,
            self.note,
            free=self.free,
            quota=self.free_quota.compiled(place) if self.free_quota else None,
            evaluated=self.evaluated,
            promotion=self.promotion,
            checked=instant(self.checked or day_in(self.source) or place.checked, place.zone),
        )
        since = f" from {self.start.isoformat()}" if self.start else ""
        return replace(price, label=f"{_brief(self.currency, rates)}{since}")

    def _ordinary(self, place: Place) -> tuple[Rates, ...]:
        if not self.rates_:
            return (self.rates(ALWAYS),)
        return tuple(r.rates(r.when.compiled(place) if r.when else ALWAYS, self) for r in self.rates_)

    def _at_tiers(self, rates: Iterable[Rates]) -> list[Rates]:
        """The rates of the tiers that are told apart from `rates`. Raises `ValueError`."""
        out: list[Rates] = []
        for name, told in self.tiers.items():
            if any(r.when.service_tier == name for r in rates):
                raise ValueError(f"the tier {name!r} is both under `tiers` and in a `when`")
            if isinstance(told, RatesSettings):
                out.append(told.rates(When(service_tier=name), self))
                continue
            ordinary = [r for r in rates if r.when.service_tier is None]
            out += [r.times(Rate.of(told), replace(r.when, service_tier=name)) for r in ordinary]
        return out


_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_DAY = re.compile(rf"\b(20\d\d)-(\d\d)(?:-(\d\d))?\b|\b({'|'.join(_MONTHS)}) (20\d\d)\b")


def day_in(source: str) -> date | None:
    """The newest day that a source names, as it is written in "seen by 2026-10-01", "read 2026-08" or "September 2026"."""
    found = []
    for year, month, day, name, of in _DAY.findall(source):
        try:
            found.append(date(int(of or year), _MONTHS.index(name) + 1 if name else int(month), int(day or 1)))
        except ValueError:  # 2026-13 is no month but a number of something
            continue
    return max(found, default=None)


def _brief(currency: str, every: Iterable[Rates]) -> str:
    """How the ledger names an entry: "CNY 0.8/2", with the cache rate where there is one."""
    parts = []
    for r in every:
        if r.when.service_tier is not None:
            continue
        amounts = (r.input, r.cache_read, r.output) if r.cache_read is not None else (r.input, r.output)
        parts.append("/".join("?" if amount is None else show_price(amount) for amount in amounts))
    return f"{currency} {' or '.join(dict.fromkeys(parts))}"


def instant(value: date | datetime | None, where: ZoneInfo) -> int | None:
    """A day's midnight, or an instant, as microseconds since 1970."""
    if value is None:
        return None
    if not isinstance(value, datetime):
        value = datetime.combine(value, time(), where)
    return micros(value if value.tzinfo else value.replace(tzinfo=where))
