"""`farebox prices`: the price book, now, on a day, and between two."""

import json
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click

from router.cli.bill import BY_MODEL, Bill, Pair, last_month, priced_again, show_bill
from router.cli.common import config_option, config_path, no, settings_or_exit
from router.cli.ownprices import overridden, own_prices
from router.cli.pricenext import COMING, coming
from router.cli.pricetext import KINDS, STALE_DAYS, amounts, changes, history, needed, state, today
from router.cli.report import format_option, instant, put, time_options
from router.core.conditions import MICROS_PER_DAY
from router.core.prices import Price, Unpriced
from router.pricebook import BookModel, PriceBook, now_micros, read_books
from router.settings import Settings, read
from router.yamlfile import BadConfiguration, Key

LISTED = (
    "model",
    "tier",
    "currency",
    "input",
    "cache_read",
    "output",
    "since",
    "confidence",
    "checked",
    "stale",
    "source",
)
SHOWN = ("", "currency", "from", "to", *KINDS, "when", "confidence", "source", "note")
CHANGED = ("model", "currency", "kind", "when", "before", "after", "percent")
vendor_option = click.option("--vendor", help="Only this vendor's models.")
all_option = click.option("--all", "every", is_flag=True, help="Every vendor of the books, not only those configured.")


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison: a book, and the instant at which it is looked at."""

    book: PriceBook
    at: int
    whole: bool  # holds every vendor, not only those of one book


@click.group("prices")
def command() -> None:
    """Look into the price book: the built-in one and those of the configuration, the later winning, and what the
    configuration gives a model itself over both.

    Prices are per million tokens. What is unknown or doubtful is said to be so; it is refused, never taken for zero.
    """


@command.command("list")
@config_option
@vendor_option
@all_option
@format_option("table", "csv", "json")
def list_(config: Path | None, vendor: str | None, every: bool, format_: str) -> None:  # noqa: FBT001 (click's flag)
    """What the configured vendors' models cost now. Several amounts of one price stand as a range; `show` has them all."""
    _list(config, vendor, every=every, at=now_micros(), format_=format_)


@command.command("at")
@config_option
@vendor_option
@all_option
@format_option("table", "csv", "json")
@click.argument("date", type=instant)
def at_(config: Path | None, vendor: str | None, every: bool, format_: str, date: int) -> None:  # noqa: FBT001 (click's flag)
    """What models cost at DATE: midnight UTC of a day (2026-11-22), or an instant (2026-11-22T08:00:00+08:00)."""
    _list(config, vendor, every=every, at=date, format_=format_)


@command.command("show")
@config_option
@format_option("table", "csv", "json")
@click.argument("model")
def show(config: Path | None, format_: str, model: str) -> None:
    """The whole price history of MODEL: `vendor/model`, or a model's name at every vendor that has it.

    `>` marks the entry in force, `+` what comes next. `from` is as written in the book, `to` is UTC.
    """
    book, now = _book(config), now_micros()
    models = _configured_models(config, book)
    found = [(name, known) for name, known in models if model in {name, name.partition("/")[2]}]
    found = found or [(f"{v}/{n}", known) for (v, n), known in book.models.items() if model in {n, f"{v}/{n}"}]
    if not found:
        no(f"no price book has {model!r}; `farebox prices list --all` shows what they have")
    if format_ != "table":
        rows = [(name, *row) for name, known in found for row in history(known, now)]
        put(format_, ("model", "state", *SHOWN[1:]), rows)
        return
    for number, (name, known) in enumerate(found):
        sizes = [("window", known.context_window), ("at most", known.max_output)]
        told = "".join(f", {what} {size} tokens" for what, size in sizes if size)
        print(("\n" if number else "") + f"{name}: {known.tier}{told}")
        put(format_, SHOWN, history(known, now), KINDS)
        for currency, timeline in known.timelines.items():
            print(f"{currency}: {state(timeline, needed(known), now)}")


@command.command("next")
@config_option
@click.option("--days", type=click.IntRange(1), default=90, show_default=True, help="How far to look ahead.")
@vendor_option
@all_option
@format_option("table", "csv", "json")
def next_(config: Path | None, days: int, vendor: str | None, every: bool, format_: str) -> None:  # noqa: FBT001 (click's flag)
    """What becomes dearer or cheaper in the next days, as far as the books know: new prices, promotions, free quotas, names that
    are re-pointed.
    """
    now = now_micros()
    until = now + days * MICROS_PER_DAY
    found = [row for name, model in _chosen(config, vendor, every=every) for row in coming(name, model, now, until)]
    if not found and format_ == "table":
        print(f"nothing changes in the next {days} days, as far as the books know")
        return
    put(format_, COMING, sorted(found, key=lambda row: (row[0], row[1])), ("before", "after", "percent"))


@command.command("diff")
@config_option
@format_option("table", "csv", "json")
@click.option(
    "--at", "at", type=instant, metavar="DATE", help="The instant at which books are compared (default: now)."
)
@time_options
@click.option(
    "--only", type=click.Choice(["changes", "bill"]), help="Only one part; CSV has the changes if nothing is said."
)
@click.argument("a")
@click.argument("b")
def diff(
    config: Path | None, format_: str, at: int | None, since: int | None, until: int | None, only: str | None, a: str, b: str
) -> None:  # fmt: skip
    """What changed from A to B, per model and in percent. Each is a date, an instant, `now`, a YAML book or a folder of books.

    A date means the configured books on that day. Beside a date, a book is compared in the models that it has.

    What that does to the bill is shown with it: the ledger's rows of last month (UTC), or of --since to --until, at the
    prices of A and of B, per model and team, in the vendor's and in the reporting currency.
    """
    now = now_micros()
    before, after = (_side(config, place, now if at is None else at) for place in (a, b))
    names, rows = _changed(before, after)
    only = only or ("changes" if format_ == "csv" else None)
    bill: Bill | str = ""
    if only != "changes":
        span = last_month(now) if since is None and until is None else (since, until)
        settings = settings_or_exit(config)
        again = _prices_then(config, settings, names, before, after, now if at is None else at)
        bill = priced_again(settings.place, *span, settings.rates(), again)
    if format_ == "json":
        told: dict[str, Any] = (
            {} if only == "bill" else {"changes": [dict(zip(CHANGED, row, strict=True)) for row in rows]}
        )
        if only != "changes":
            told |= {"bill": None, "why": bill} if isinstance(bill, str) else {"bill": bill.as_json()}
        print(json.dumps(told, indent=2, ensure_ascii=False))
    elif format_ == "csv":
        if only == "changes":
            put(format_, CHANGED, rows)
        elif isinstance(bill, str):
            no(f"no bill to price again: {bill}")
        else:
            put(format_, BY_MODEL, bill.model_rows())
    else:
        _show_changes(rows, only, bill)


def _show_changes(rows: Sequence[tuple[Any, ...]], only: str | None, bill: Bill | str) -> None:
    if only != "bill":
        if rows:
            put("table", CHANGED, rows, CHANGED[-3:])
        else:
            print("nothing changed")
    if only is None:
        print()
    if only != "changes":
        show_bill(bill)


def _changed(before: Side, after: Side) -> tuple[Collection[str], list[tuple[Any, ...]]]:
    """(models that are compared, what is not the same of them)"""
    narrow = [side for side in (before, after) if not side.whole]
    here, there = dict(_models(before.book)), dict(_models(after.book))
    names = dict(_models(narrow[0].book)) if len(narrow) == 1 else {**here, **there}
    rows = []
    for name in sorted(names):
        old, new = here.get(name), there.get(name)
        for currency in sorted({*(old.timelines if old else ()), *(new.timelines if new else ())}):
            found = changes(amounts(old, currency, before.at), amounts(new, currency, after.at))
            rows += [(name, currency, *change) for change in found]
    return names, rows


def _prices_then(
    config: Path | None, settings: Settings, names: Collection[str], before: Side, after: Side, at: int
) -> Callable[[str, str, str], Pair]:
    """How a ledger row's model is priced on both sides: (vendor, model, currency) → its prices."""
    others = next((side for side in (before, after) if side.whole), None) or Side(_book(config), at, whole=True)

    def find(vendor: str, model: str, currency: str) -> Pair:
        told = settings.models.get(model)
        name = model
        if told is not None and told.vendor == vendor:
            if told.price is not None:
                return None, None
            name = told.priced_as or told.name or model
        found = (side.book.find(vendor, name) for side in (before, after))
        compared = any(f"{vendor}/{known.name}" in names for known in found if known is not None)
        sides = (before, after) if compared else (others, others)  # what only one of them has is not meant to change
        old, new = (_price(side, letter, vendor, name, currency) for side, letter in zip(sides, "AB", strict=True))
        return old, new

    return find


def _price(side: Side, letter: str, vendor: str, name: str, currency: str) -> Price:
    """What a side has in force. Raises `Unpriced`, saying which side has none."""
    known = side.book.find(vendor, name)
    timeline = known.timelines.get(currency) if known else None
    try:
        if timeline is None:
            where = (
                f"no price book has {vendor}/{name}" if known is None else f"{vendor}/{name} has no price in {currency}"
            )
            raise Unpriced(where)
        return timeline.at(side.at)
    except Unpriced as error:
        raise Unpriced(f"{letter}: {error}") from None


def _book(config: Path | None, place: Path | Literal["builtin"] | None = None) -> PriceBook:
    """The configured books, or those at `place`; exit 1 with every problem."""
    places: list[Path | Literal["builtin"]] = [place] if place else []
    if place is None:
        folder, told = config_path(config).parent, settings_or_exit(config).prices
        places = [folder / place if place != "builtin" else "builtin" for place in told]
    keyed: list[tuple[Key, Path | Literal["builtin"]]] = [(("prices", i), place) for i, place in enumerate(places)]
    try:
        return read_books(keyed, None)
    except BadConfiguration as error:
        no(error)


def _side(config: Path | None, place: str, now: int) -> Side:
    if place == "builtin" or Path(place).exists():
        return Side(_book(config, "builtin" if place == "builtin" else Path(place)), now, place == "builtin")
    try:
        return Side(_book(config), now_micros() if place == "now" else instant(place), whole=True)
    except click.BadParameter:
        raise click.BadParameter(f"{place!r} is no date, no instant, no file and no folder") from None


def _models(book: PriceBook) -> Iterator[tuple[str, BookModel]]:
    """Every model under its own name, and under those of the vendors that bill at another's prices."""
    own = [(vendor, name, model) for (vendor, name), model in book.models.items() if name == model.name]
    for vendor, name, model in own:
        yield f"{vendor}/{name}", model
    for vendor, other in book.same_as.items():
        for base, name, model in own:
            if base == other and (vendor, name) not in book.models:
                yield f"{vendor}/{name}", model


def _configured_models(config: Path | None, book: PriceBook) -> list[tuple[str, BookModel]]:
    """Every model as it is billed: where the configuration has a price for it, by that."""
    try:
        settings, file = read(config_path(config))
        own = own_prices(settings, file, book)
    except BadConfiguration as error:
        no(error)
    hidden = overridden(settings) | own.keys()
    return [*own.items(), *(item for item in _models(book) if item[0] not in hidden)]


def _list(config: Path | None, vendor: str | None, *, every: bool, at: int, format_: str) -> None:
    rows = [
        (name, model.tier, currency, *today(timeline, needed(model), at))
        for name, model in _chosen(config, vendor, every=every)
        for currency, timeline in model.timelines.items()
    ]
    put(format_, LISTED, rows, (*LISTED[3:6], "stale"))
    old = sum(row[LISTED.index("stale")] is not None for row in rows)
    if old and format_ == "table":
        told = f"{old} of {len(rows)} prices were last checked more than {STALE_DAYS} days before: compare them with their vendors"
        print(f"warning: {told}", file=sys.stderr)


def _chosen(config: Path | None, vendor: str | None, *, every: bool) -> list[tuple[str, BookModel]]:
    """The models of one vendor, of those that are configured, or of all; exit 1 where no book has the vendor."""
    configured, models = set(settings_or_exit(config).vendors), _configured_models(config, _book(config))
    known = {name.partition("/")[0] for name, _ in models}
    if vendor is not None and vendor not in known:
        no(f"no price book has a vendor {vendor!r}; they have {', '.join(sorted(known))}")
    wanted = {vendor} if vendor is not None else known if every or not configured else configured
    return sorted((item for item in models if item[0].partition("/")[0] in wanted), key=lambda item: item[0])
