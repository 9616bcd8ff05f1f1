"""Price books: YAML files of dated prices, read and checked. The format is explained in docs/prices.md.

A price that is blank or marked doubtful is unknown, and unknown is refused, never zero. Later books win, model by model.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from router import calendars
from router.core.catalog import Tier
from router.core.limits import micros
from router.core.prices import Price, Rates, Timeline
from router.priceentry import Place, PriceSettings, Strict, instant, zone
from router.resources import config_folder
from router.yamlfile import BadConfiguration, Key, Problem, YamlFile, load, show_key


class AliasSettings(Strict):
    """A name that has meant this model for some time only."""

    name: str
    start: date | datetime | None = Field(default=None, alias="from")
    to: date | datetime | None = None


class BookModelSettings(Strict):
    tier: Tier
    context_window: int | None = None
    max_output: int | None = None
    lacks: frozenset[str] = frozenset()
    aliases: list[str | AliasSettings] = Field(default_factory=list)
    kind: Literal["chat", "embedding"] = "chat"
    prices: list[PriceSettings]


class BookSettings(Strict):
    vendor: str
    timezone: str = "UTC"
    calendar: str | None = None
    same_as: str | None = None
    checked: date | None = None
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
    meant: "tuple[Meaning, ...]" = ()
    """Where the name has led to other models for some time: which, and when."""

    def at(self, instant: int) -> "BookModel":
        """The model that the name means at an instant (microseconds since 1970)."""
        for meaning in self.meant:
            if (meaning.start is None or instant >= meaning.start) and (meaning.end is None or instant < meaning.end):
                return meaning.model
        return self

    def timeline(self, currency: str) -> Timeline | None:
        """The prices in a currency; where there is only one currency, in that."""
        if currency in self.timelines or len(self.timelines) != 1:
            return self.timelines.get(currency)
        return next(iter(self.timelines.values()))


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a name meant from `start` until before `end`."""

    name: str
    start: int | None
    end: int | None
    since: str  # `start` as the book tells it
    model: BookModel
    key: Key


@dataclass(slots=True)
class PriceBook:
    """Every model of the books that were read, by vendor and API name."""

    models: dict[tuple[str, str], BookModel] = field(default_factory=dict)
    same_as: dict[str, str] = field(default_factory=dict)

    def find(self, vendor: str, name: str, at: int | None = None) -> BookModel | None:
        """What a vendor sells under a name.

        Args:
            vendor: who bills.
            name: the model's name or an alias.
            at: an instant (microseconds since 1970), for the model that the name means then; its prices are those of
                every instant anyway.

        """
        found = self.models.get((vendor, name)) or self.models.get((self.same_as.get(vendor, vendor), name))
        return found if found is None or at is None else found.at(at)

    def sold(self, vendor: str, currency: str) -> Mapping[str, Timeline]:
        """The prices of everything that a vendor sells in a currency, by name."""
        vendors = {vendor, self.same_as.get(vendor, vendor)}
        return {
            name: model.timelines[currency]
            for (who, name), model in self.models.items()
            if who in vendors and currency in model.timelines
        }


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
    every = sorted((config_folder() / "prices").glob("*.yaml"))
    if vendors is None:
        return every
    wanted = {*vendors, *(("openai",) if "azure-openai" in vendors else ())}
    return [path for path in every if path.stem in wanted]


def _files(place: Path, key: Key) -> list[Path]:
    told = "no such file or folder"
    try:
        if place.is_dir():
            return sorted((*place.glob("*.yaml"), *place.glob("*.yml")))
        if place.is_file():
            return [place]
    except OSError as error:  # a name that is too long, a folder that may not be read
        told = error.strerror or told
    raise BadConfiguration([Problem(str(place), None, show_key(key), told)])


def _add(book: PriceBook, file: YamlFile) -> None:
    if file.problems:
        raise BadConfiguration(file.problems)
    try:
        told = BookSettings.model_validate(file.data)
    except ValidationError as error:
        raise BadConfiguration(problems_of(error, file)) from None
    place = _place(told, file)
    if told.same_as:
        book.same_as[told.vendor] = told.same_as
    problems: list[Problem] = []
    dated: dict[str, list[Meaning]] = {}
    own: dict[str, BookModel] = {}
    for name, model in told.models.items():
        key: Key = ("models", name)
        compiled = BookModel(
            told.vendor, name, model.tier, model.context_window, model.max_output, model.lacks, model.kind,
            timelines(f"{told.vendor}/{name}", model.prices, place, model.tier, file, (*key, "prices"), problems),
        )  # fmt: skip
        own[name] = compiled
        for i, alias in enumerate(model.aliases):
            if isinstance(alias, str):
                own[alias] = compiled
                continue
            since = alias.start.isoformat() if alias.start else ""
            start, end = instant(alias.start, place.zone), instant(alias.to, place.zone)
            meaning = Meaning(alias.name, start, end, since, compiled, (*key, "aliases", i))
            dated.setdefault(alias.name, []).append(meaning)
    for name, meanings in dated.items():
        try:
            own[name] = _re_pointed(told.vendor, name, own.get(name), meanings)
        except ValueError as error:
            problems.append(file.problem(meanings[0].key, str(error)))
    book.models.update({(told.vendor, name): compiled for name, compiled in own.items()})
    if problems:
        raise BadConfiguration(problems)


def _place(told: BookSettings, file: YamlFile) -> Place:
    try:
        key = "timezone"
        where = zone(told.timezone)
        key = "calendar"
        return Place(where, calendars.find(told.calendar) if told.calendar else None, told.checked)
    except ValueError as error:
        raise BadConfiguration([file.problem((key,), str(error))]) from None


def _re_pointed(vendor: str, name: str, own: BookModel | None, meanings: Sequence[Meaning]) -> BookModel:
    """A name that has led to one model after another, at the price of whichever it was.

    Raises:
        ValueError: it means two models at once.

    """
    if own is not None and own.name != name:
        raise ValueError(f"{name!r} is also an alias without dates, of {own.name}")
    newest = max(meanings, key=lambda meaning: meaning.start if meaning.start is not None else -(2**62)).model
    pieces: dict[str, list[Price]] = {}
    if own is not None:
        pieces = {currency: list(timeline.prices) for currency, timeline in own.timelines.items()}
    for meaning in meanings:
        for currency, timeline in meaning.model.timelines.items():
            pieces.setdefault(currency, []).extend(timeline.cut(meaning.start, meaning.end, meaning.since))
    return BookModel(
        vendor, name, newest.tier, newest.context_window, newest.max_output, newest.lacks, newest.kind,
        {currency: Timeline(f"{vendor}/{name}", prices) for currency, prices in pieces.items()}, tuple(meanings),
    )  # fmt: skip


def timelines(
    name: str,
    entries: Sequence[PriceSettings],
    place: Place,
    tier: Tier,
    file: YamlFile,
    key: Key,
    problems: list[Problem],
) -> Mapping[str, Timeline]:
    """Entries as one timeline per currency; what is wrong with them is added to `problems`."""
    by_currency: dict[str, list[tuple[Price, PriceSettings]]] = {}
    for i, entry in enumerate(entries):
        try:
            price = entry.compiled(place, may_be_zero=tier is Tier.FREE)
        except ValueError as error:
            problems.append(file.problem((*key, i), str(error)))
            continue
        by_currency.setdefault(price.currency, []).append((price, entry))
    out = {}
    for currency, prices in by_currency.items():
        try:
            out[currency] = _with_promotions(name, prices)
        except ValueError as error:
            problems.append(file.problem(key, str(error)))
    return out


def _with_promotions(name: str, prices: Sequence[tuple[Price, PriceSettings]]) -> Timeline:
    """The ordinary prices with the promotions laid over them.

    Raises:
        ValueError: two ordinary prices, or two promotions, at once.

    """
    ordinary = Timeline(name, [price for price, _ in prices if not price.promotion])
    promotions = sorted(((p, e) for p, e in prices if p.promotion), key=lambda item: item[0].start or 0)
    if not promotions:
        return ordinary
    pieces: list[Price] = []
    at, since = None, ""
    for price, entry in promotions:
        pieces += [*ordinary.cut(at, price.start, since), price]
        at, since = price.end, entry.to.isoformat() if entry.to else ""
    return Timeline(name, [*pieces, *ordinary.cut(at, None, since)])


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
    """A location without the names of union members that pydantic puts into it, which are no keys of the file. What is
    missing is no key of it either, and is named all the same.
    """
    key: Key = ()
    for part in location:
        if (*key, part) in file.lines:
            key = (*key, part)
    return (*key, location[-1]) if missing and key != location else key


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
