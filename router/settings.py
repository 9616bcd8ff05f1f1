"""The configuration file, as written: docs/configuration.md explains each key.

These models check one value at a time; what must fit together (a route's models, a team's routes, prices, rates) is
checked where the snapshot is compiled. Either way every problem is reported at once, with file, line and key.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    SecretStr,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from router.alertsettings import AlertSettings
from router.core.catalog import UNLIMITED, DialectName, RateLimits, Tier
from router.core.currency import ExchangeRates
from router.core.money import Rate
from router.fields import Currency, KeyName, Name, Quality, Seconds, SecondsOrNone, seconds
from router.pricebook import problems_of
from router.priceentry import Amount, PriceSettings, Strict, instant
from router.routesettings import BudgetSettings, RouteSettings
from router.stores.place import SCHEMES, Place, Postgres, is_postgres, is_redis
from router.yamlfile import BadConfiguration, Key, Problem, YamlFile, load


class ServerSettings(Strict):
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    workers: int = Field(default=1, ge=1, le=64)
    admin_key: SecretStr | None = None
    max_body_bytes: int = Field(default=20 * 2**20, ge=1024)
    max_bodies_bytes: int = Field(default=256 * 2**20, ge=1024)
    max_in_flight: int = Field(default=10_000, ge=1)
    client_timeout: Seconds = 30.0
    on_store_failure: Literal["refuse", "serve"] = "refuse"
    open_page: bool = False
    budget_wait: Seconds = 5.0
    rate_wait: SecondsOrNone = 2.0
    drain: Seconds = 30.0
    notice: Annotated[float, BeforeValidator(seconds), Field(ge=0)] = 0.0
    reload_every: Seconds = 2.0
    http_client: Literal["lean", "aiohttp"] = "lean"


class RateSettings(Strict):
    start: date | datetime = Field(alias="from")
    rate: Amount

    @field_validator("rate")
    @classmethod
    def _is_positive(cls, value: Amount) -> Amount:
        Rate.of(value)
        return value


class TimeoutSettings(Strict):
    connect: Seconds = 5.0
    first_byte: Seconds = 120.0
    idle: Seconds = 120.0
    total: Seconds = 900.0


class LimitSettings(Strict):
    requests_per_minute: int | None = Field(default=None, gt=0)
    tokens_per_minute: int | None = Field(default=None, gt=0)
    concurrent: int | None = Field(default=None, gt=0)

    @property
    def compiled(self) -> RateLimits:
        found = RateLimits(self.requests_per_minute, self.tokens_per_minute, self.concurrent)
        return UNLIMITED if found == UNLIMITED else found


class VendorSettings(Strict):
    api_key: SecretStr | None = None
    api_keys: list[SecretStr] = Field(default_factory=list)
    base_url: str | None = Field(default=None, pattern=r"^(https?|wss?)://[^\s]+$")
    dialect: DialectName | None = None
    currency: Currency | None = None
    timeout: TimeoutSettings = TimeoutSettings()
    headers: dict[str, str] = Field(default_factory=dict)
    limits: LimitSettings = LimitSettings()

    @property
    def keys(self) -> tuple[str, ...]:
        """Every credential; a blank one is none."""
        found = [self.api_key, *self.api_keys]
        return tuple(key.get_secret_value() for key in found if key is not None and key.get_secret_value())


def _form_of_price(value: Any) -> str | None:
    """Which form a price has, so that only what is wrong with that form is told."""
    if isinstance(value, list):
        return "entries"
    if isinstance(value, dict | PriceSettings):
        return "entry"
    return "free" if value == "free" else None


PriceOf = Annotated[
    Annotated[PriceSettings, Tag("entry")]
    | Annotated[list[PriceSettings], Tag("entries")]
    | Annotated[Literal["free"], Tag("free")],
    Discriminator(
        _form_of_price,
        custom_error_type="price",
        custom_error_message="a price is {currency, input, output}, a list of these, or `free`",
    ),
]


class ModelSettings(Strict):
    vendor: str
    name: str | None = None
    tier: Tier | None = None
    quality: Quality | None = None
    price: PriceOf | None = None
    priced_as: str | None = None
    context_window: int | None = Field(default=None, gt=0)
    max_output: int | None = Field(default=None, gt=0)
    lacks: list[Literal["tools", "images", "json_schema", "audio"]] | None = None
    kind: Literal["chat", "embedding"] | None = None
    limits: LimitSettings = LimitSettings()


class KeySettings(Strict):
    name: KeyName
    value: SecretStr | None = None
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    expires: date | datetime | None = None
    budgets: list[BudgetSettings] = Field(default_factory=list)
    limits: LimitSettings = LimitSettings()

    @model_validator(mode="after")
    def _has_one_secret(self) -> "KeySettings":
        if (self.value is None) == (self.sha256 is None):
            raise ValueError("give either `value` or its `sha256`")
        if self.value is not None and len(self.value.get_secret_value()) < MIN_KEY_LENGTH:
            raise ValueError(f"a key has at least {MIN_KEY_LENGTH} characters")
        return self

    @property
    def digest(self) -> str:
        """The hash that callers are found by."""
        return self.sha256 or hash_key(self.value.get_secret_value() if self.value else "")


MIN_KEY_LENGTH = 8


def hash_key(value: str) -> str:
    """How keys are stored. They are random and long, so a plain hash is enough and stays cheap on every request."""
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()


class TeamSettings(Strict):
    keys: list[KeySettings] = Field(default_factory=list)
    routes: list[str] | None = None
    models: list[str] = Field(default_factory=list)
    quality: Quality | None = None
    budgets: list[BudgetSettings] | None = None
    limits: LimitSettings = LimitSettings()
    weight: float = Field(default=1.0, ge=0.001, le=1000)
    store_prompts: bool = False
    retention_days: int = Field(default=30, ge=1, le=3650)


class MockSettings(Strict):
    port: int = Field(default=0, ge=0, le=65535)
    pace: float = Field(default=1.0, ge=0)


class CheckpointSettings(Strict):
    file: Path
    every: Seconds = 3600.0
    key: SecretStr | None = None

    @property
    def secret(self) -> str | None:
        """What checkpoints are signed with; a blank key is none."""
        return (self.key.get_secret_value() or None) if self.key is not None else None


class LabelSettings(Strict):
    file: Path | None = None
    days: int = Field(default=90, ge=1, le=3650)
    max_bytes: int = Field(default=256 * 2**20, ge=2**20)


class QualitySettings(Strict):
    model: Path
    certificates: Path


class OtelSettings(Strict):
    endpoint: str = Field(pattern=r"^https?://[^\s?#]+$")
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    metrics: bool = True
    traces: bool = True
    every: Seconds = 60.0
    service: str = "farebox"

    @model_validator(mode="after")
    def _is_installed(self) -> "OtelSettings":
        if find_spec("opentelemetry") is None or find_spec("opentelemetry.exporter") is None:
            raise ValueError("OpenTelemetry is not installed: pip install 'farebox[otel]'")
        return self


class Settings(Strict):
    """The whole file."""

    server: ServerSettings = ServerSettings()
    store: str = Field(default="sqlite:///var/farebox.db", repr=False)  # it may have a password in it
    accounts: str | None = Field(default=None, repr=False)  # it may have a password in it
    currency: Currency = "USD"
    exchange_rates: dict[Currency, list[RateSettings]] = Field(default_factory=dict)
    checkpoints: CheckpointSettings | None = None
    labels: LabelSettings = LabelSettings()
    quality: QualitySettings | None = None
    otel: OtelSettings | None = None
    prices: list[str] = Field(default_factory=lambda: ["builtin"])
    vendors: dict[Name, VendorSettings] = Field(default_factory=dict)
    models: dict[Name, ModelSettings] = Field(default_factory=dict)
    routes: dict[Name, RouteSettings] = Field(default_factory=dict)
    teams: dict[Name, TeamSettings] = Field(default_factory=dict)
    budgets: list[BudgetSettings] = Field(default_factory=list)
    alerts: list[AlertSettings] = Field(default_factory=list)
    mock: MockSettings | None = None

    @field_validator("mock", mode="before")
    @classmethod
    def _true_is_enough(cls, value: Any) -> Any:
        return {} if value is True else None if value is False else value

    @field_validator("store")
    @classmethod
    def _is_known(cls, value: str) -> str:
        """What is wrong is told without the value."""
        if value.startswith(SCHEMES):
            if find_spec("psycopg") is None:
                raise ValueError("PostgreSQL's driver is not installed: pip install 'farebox[postgres]'")
            if not is_postgres(value):
                raise ValueError("a PostgreSQL store is postgresql://user@host/database")
        elif not value.startswith("sqlite:///") or value == "sqlite:///":
            raise ValueError(
                "a store is sqlite:///var/farebox.db, sqlite:////absolute/path.db or postgresql://user@host/database"
            )
        return value

    @field_validator("accounts")
    @classmethod
    def _is_redis(cls, value: str | None, info: ValidationInfo) -> str | None:
        """What is wrong is told without the value."""
        if value is not None:
            if not is_redis(value):
                raise ValueError(
                    "accounts are null (in the store), or redis://host:6379/0 or rediss://user:password@host/0"
                )
            if find_spec("redis") is None:
                raise ValueError("Redis's client is not installed: pip install 'farebox[redis]'")
            if "store" in info.data and not info.data["store"].startswith(SCHEMES):
                raise ValueError(
                    "accounts in Redis need a store in PostgreSQL, which knows what was spent and who lives"
                )
        return value

    @property
    def place(self) -> Place:
        """Where the store is."""
        return Postgres(self.store) if self.store.startswith(SCHEMES) else self.store_path

    @property
    def store_path(self) -> Path:
        """The store's file, or where there is none what the files are called by that a process keeps for itself."""
        if self.store.startswith(SCHEMES):
            return Path("var/postgresql")
        return Path(self.store.removeprefix("sqlite:///"))

    @property
    def labels_path(self) -> Path:
        return self.labels.file or self.store_path.with_name(f"{self.store_path.stem}.labels.db")

    def rates(self) -> ExchangeRates:
        """The exchange rates into the reporting currency; a date is midnight UTC."""
        utc = ZoneInfo("UTC")
        dated = {
            currency: [(instant(entry.start, utc) or 0, Rate.of(entry.rate)) for entry in entries]
            for currency, entries in self.exchange_rates.items()
        }
        return ExchangeRates(self.currency, dated)


def read(path: Path, environment: Mapping[str, str] | None = None) -> tuple[Settings, YamlFile]:
    """Read and check a configuration file.

    Raises:
        BadConfiguration: every problem that can be seen in the file itself.

    """
    settings, file, problems = read_leniently(path, environment)
    if problems or settings is None:
        raise BadConfiguration(problems)
    return settings, file


def read_leniently(
    path: Path, environment: Mapping[str, str] | None = None
) -> tuple[Settings | None, YamlFile, list[Problem]]:
    """The settings without what is wrong in them, and what that is, so that the rest can be checked further.

    Raises:
        BadConfiguration: the file cannot be read at all.

    """
    file = load(path, environment)
    if not isinstance(file.data, dict):
        raise BadConfiguration([file.problem((), "the file must be a mapping; see config/farebox.yaml")])
    problems, data = list(file.problems), file.data
    for _ in range(MAX_PRUNINGS):
        try:
            return Settings.model_validate(data), file, problems
        except ValidationError as error:
            found = problems_of(error, file)
            known = {problem.key for problem in problems}
            problems += [problem for problem in found if problem.key not in known]
            places = [_place(item["loc"], data) for item in error.errors(include_input=False)]
            data = {} if () in places else _without(data, places)
    return None, file, problems


def plays_vendors(path: Path) -> bool:
    """Whether a configuration has `mock`. Raises `BadConfiguration` if the file cannot be read at all."""
    settings, _, _ = read_leniently(path)
    return settings is not None and settings.mock is not None


MAX_PRUNINGS = 6  # each takes out what the one before has found; a file with more layers of faults is read again anyway


def _place(location: Key, data: Any) -> Key:
    """The longest part of a location that is there; of what lies in a list the whole list, or its indexes would shift."""
    place: Key = ()
    for part in location:
        if not isinstance(data, dict) or part not in data:
            break
        data = data[part]
        place = (*place, part)
    return place


def _without(data: Mapping[Any, Any], places: Sequence[Key]) -> dict[Any, Any]:
    """A copy of the data without what is at these places."""
    out = {}
    for name, value in data.items():
        below = [place[1:] for place in places if place[:1] == (name,)]
        if () not in below:
            out[name] = _without(value, below) if below else value
    return out
