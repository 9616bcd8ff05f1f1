"""Price books: YAML files of dated prices, read and checked. The format is explained in docs/prices.md.

A price that is blank or marked doubtful is unknown, and unknown is refused, never zero. Later books win, model by model.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from router.core.catalog import Tier
from router.core.limits import micros
from router.core.money import price_pico, show_price
from router.core.prices import ALWAYS, ANY, Price, Rates, Span, Timeline, When
from router.resources import config_folder
from router.yamlfile import BadConfiguration, Key, Problem, YamlFile, load

# No token has cost less than a tenth of a cent or more than a thousand units per million; what lies outside is most
# likely a price per thousand tokens, or cents (several public tables have carried such slips).
PLAUSIBLE = (price_pico("0.001"), price_pico("1000"))

Amount = str | int | float | Decimal
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Strict(BaseModel):
    """Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True)


class SpanSettings(Strict):
    above: int = -1
    to: int | None = None


class WhenSettings(Strict):
    input_tokens: SpanSettings | None = None
    output_tokens: SpanSettings | None = None
    thinking: bool | None = None
    hours: str | None = None
    weekdays: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] = Field(default_factory=list)

    @field_validator("hours")
    @classmethod
    def _is_a_span(cls, value: str | None) -> str | None:
        if value is not None:
            _minutes(value)
        return value

    def compiled(self) -> When:
        return When(
            input_tokens=Span(self.input_tokens.above, self.input_tokens.to) if self.input_tokens else ANY,
            output_tokens=Span(self.output_tokens.above, self.output_tokens.to) if self.output_tokens else ANY,
            thinking=self.thinking,
            minutes=_minutes(self.hours) if self.hours else None,
            weekdays=frozenset(DAYS.index(day) for day in self.weekdays),
        )


def _minutes(hours: str) -> tuple[int, int]:
    try:
        start, end = (time.fromisoformat(part.strip()) for part in hours.split("-"))
    except ValueError:
        raise ValueError('hours are written "16:30-00:30", in UTC') from None
    return start.hour * 60 + start.minute, end.hour * 60 + end.minute


class RatesSettings(Strict):
    """Amounts per million tokens."""

    input: Amount | None = None
    output: Amount | None = None
    cache_read: Amount | None = None
    cache_write: Amount | None = None
    cache_write_1h: Amount | None = None
    reasoning: Amount | None = None

    @model_validator(mode="after")
    def _amounts_are_plausible(self) -> "RatesSettings":
        rates = self.rates(ALWAYS)
        for name in ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "reasoning"):
            value = getattr(rates, name)
            if value and not PLAUSIBLE[0] <= value <= PLAUSIBLE[1]:
                low, high = map(show_price, PLAUSIBLE)
                raise ValueError(f"{name} {show_price(value)} per million tokens is not plausible ({low} to {high})")
        if rates.cache_read is not None and rates.input is not None and rates.cache_read > rates.input:
            raise ValueError("cache_read costs more than input")
        return self

    def rates(self, when: When) -> Rates:
        def pico(value: Amount | None) -> int | None:
            return None if value is None else price_pico(value)

        return Rates(
            input=pico(self.input),
            output=pico(self.output),
            cache_read=pico(self.cache_read),
            cache_write_5m=pico(self.cache_write),
            cache_write_1h=pico(self.cache_write_1h),
            reasoning=pico(self.reasoning),
            when=when,
        )


class ConditionalRates(RatesSettings):
    when: WhenSettings | None = None


class PriceSettings(RatesSettings):
    """One dated entry."""

    currency: str = Field(pattern="^[A-Z]{3}$")
    start: date | datetime | None = Field(default=None, alias="from")
    to: date | datetime | None = None
    confidence: Literal["high", "medium", "doubtful"] = "high"
    source: str = ""
    note: str = ""
    free: bool = False
    rates_: list[ConditionalRates] = Field(default_factory=list, alias="rates")

    @model_validator(mode="after")
    def _one_kind_of_rates(self) -> "PriceSettings":
        flat = self.model_fields_set & set(RatesSettings.model_fields)
        if flat and self.rates_:
            raise ValueError("give either input and output, or `rates`, not both")
        if not flat and not self.rates_:
            raise ValueError("says no amount; leave the entry out if the price is not known")
        return self

    def compiled(self, zone: ZoneInfo, *, may_be_zero: bool) -> Price:
        """The entry as the core reads it.

        Raises:
            ValueError: zero where nothing says that it is free, or an end before the start.

        """
        rates = tuple(r.rates(r.when.compiled() if r.when else ALWAYS) for r in self.rates_) or (self.rates(ALWAYS),)
        if not (may_be_zero or self.free) and any(0 in (r.input, r.output) for r in rates):
            raise ValueError("a price of zero needs `free: true`, or a model of the tier free")
        start, end = _instant(self.start, zone), _instant(self.to, zone)
        if start is not None and end is not None and end <= start:
            raise ValueError("ends before it begins")
        price = Price(self.currency, rates, start, end, self.confidence, self.source, self.note, free=self.free)
        since = f" from {self.start.isoformat()}" if self.start else ""
        object.__setattr__(price, "label", f"{_brief(price)}{since}")
        return price


def _brief(price: Price) -> str:
    """How the ledger names an entry: "CNY 0.8/2", with the cache rate where there is one."""
    parts = []
    for r in price.rates:
        amounts = (r.input, r.cache_read, r.output) if r.cache_read is not None else (r.input, r.output)
        parts.append("/".join("?" if amount is None else show_price(amount) for amount in amounts))
    return f"{price.currency} {' or '.join(dict.fromkeys(parts))}"


def _instant(value: date | datetime | None, zone: ZoneInfo) -> int | None:
    if value is None:
        return None
    if not isinstance(value, datetime):
        value = datetime.combine(value, time(), zone)
    return micros(value if value.tzinfo else value.replace(tzinfo=zone))


class BookModelSettings(Strict):
    tier: Tier
    context_window: int | None = None
    max_output: int | None = None
    lacks: frozenset[str] = frozenset()
    aliases: list[str] = Field(default_factory=list)
    kind: Literal["chat", "embedding"] = "chat"
    prices: list[PriceSettings]


class BookSettings(Strict):
    vendor: str
    timezone: str = "UTC"
    same_as: str | None = None
    models: dict[str, BookModelSettings] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BookModel:
    """What a price book knows of a model. `timelines` has one for each currency."""

    vendor: str
    name: str
    tier: Tier
    context_window: int | None
    max_output: int | None
    lacks: frozenset[str]
    kind: Literal["chat", "embedding"]
    timelines: Mapping[str, Timeline]

    def timeline(self, currency: str) -> Timeline | None:
        """The prices in a currency; where there is only one currency, in that."""
        if currency in self.timelines or len(self.timelines) != 1:
            return self.timelines.get(currency)
        return next(iter(self.timelines.values()))


@dataclass(slots=True)
class PriceBook:
    """Every model of the books that were read, by vendor and API name."""

    models: dict[tuple[str, str], BookModel] = field(default_factory=dict)
    same_as: dict[str, str] = field(default_factory=dict)

    def find(self, vendor: str, name: str) -> BookModel | None:
        return self.models.get((vendor, name)) or self.models.get((self.same_as.get(vendor, vendor), name))


def read_books(places: Iterable[tuple[Key, Path | Literal["builtin"]]], vendors: Iterable[str] | None) -> PriceBook:
    """The books at these places, the later winning.

    Args:
        places: each with the key that names it in the configuration; a folder stands for its YAML files.
        vendors: read only what these need of the built-in book; None reads all.

    Raises:
        BadConfiguration: every problem in every file.

    """
    book, problems = PriceBook(), list[Problem]()
    for key, place in places:
        try:
            files = _builtin(vendors) if place == "builtin" else _files(place, key)
        except BadConfiguration as error:
            problems += error.problems
            continue
        for path in files:
            try:
                _add(book, load(path))
            except BadConfiguration as error:
                problems += error.problems
    if problems:
        raise BadConfiguration(problems)
    return book


def _builtin(vendors: Iterable[str] | None) -> list[Path]:
    folder = config_folder() / "prices"
    if vendors is None:
        return sorted(folder.glob("*.yaml"))
    wanted = {*vendors, *(("openai",) if "azure-openai" in vendors else ())}
    return [path for name in sorted(wanted) if (path := folder / f"{name}.yaml").is_file()]


def _files(place: Path, key: Key) -> list[Path]:
    if place.is_dir():
        return sorted((*place.glob("*.yaml"), *place.glob("*.yml")))
    if place.is_file():
        return [place]
    raise BadConfiguration([Problem(str(place), None, ".".join(map(str, key)), "no such file or folder")])


def _add(book: PriceBook, file: YamlFile) -> None:
    if file.problems:
        raise BadConfiguration(file.problems)
    try:
        told = BookSettings.model_validate(file.data)
    except ValidationError as error:
        raise BadConfiguration(problems_of(error, file)) from None
    try:
        zone = ZoneInfo(told.timezone)
    except (ZoneInfoNotFoundError, ValueError):
        raise BadConfiguration([file.problem(("timezone",), f"{told.timezone!r} is not a time zone")]) from None
    if told.same_as:
        book.same_as[told.vendor] = told.same_as
    problems: list[Problem] = []
    for name, model in told.models.items():
        compiled = BookModel(
            told.vendor, name, model.tier, model.context_window, model.max_output, model.lacks, model.kind,
            timelines(f"{told.vendor}/{name}", model.prices, zone, model.tier, file, ("models", name, "prices"), problems),
        )  # fmt: skip
        for alias in (name, *model.aliases):
            book.models[told.vendor, alias] = compiled
    if problems:
        raise BadConfiguration(problems)


def timelines(
    name: str,
    entries: Sequence[PriceSettings],
    zone: ZoneInfo,
    tier: Tier,
    file: YamlFile,
    key: Key,
    problems: list[Problem],
) -> Mapping[str, Timeline]:
    """Entries as one timeline per currency; what is wrong with them is added to `problems`."""
    by_currency: dict[str, list[Price]] = {}
    for i, entry in enumerate(entries):
        try:
            price = entry.compiled(zone, may_be_zero=tier is Tier.FREE)
        except ValueError as error:
            problems.append(file.problem((*key, i), str(error)))
            continue
        by_currency.setdefault(price.currency, []).append(price)
    out = {}
    for currency, prices in by_currency.items():
        try:
            out[currency] = Timeline(name, prices)
        except ValueError as error:
            problems.append(file.problem(key, str(error)))
    return out


def free_timeline(name: str, currency: str) -> Timeline:
    """`price: free`: zero, because somebody said so."""
    return Timeline(name, [Price(currency, (Rates(0, 0),), label=f"{currency} 0/0 (free)", free=True)])


def problems_of(error: ValidationError, file: YamlFile) -> list[Problem]:
    """Pydantic's errors with the file's lines; values are left out, they may be secrets."""
    out: dict[tuple[Key, str], Problem] = {}
    for item in error.errors(include_input=False, include_url=False):
        key = _key_of(item["loc"], file, missing=item["type"] == "missing")
        message = (
            "is not a known key" if item["type"] == "extra_forbidden" else item["msg"].removeprefix("Value error, ")
        )
        out.setdefault((key, message), file.problem(key, message))
    return list(out.values())


def _key_of(location: Key, file: YamlFile, *, missing: bool) -> Key:
    """A location without the names of union members that pydantic puts into it, which are no keys of the file."""
    key: Key = ()
    for part in location:
        if (*key, part) in file.lines:
            key = (*key, part)
    return location if missing and key != location else key


def now_micros() -> int:
    """The clock, for commands."""
    return micros(datetime.now(UTC))


def as_date_or_instant(text: Any) -> int:
    """A date or an instant from a command line, as microseconds since 1970; dates are UTC.

    Raises:
        ValueError: neither.

    """
    value = datetime.fromisoformat(str(text))
    return micros(value if value.tzinfo else value.replace(tzinfo=UTC))
