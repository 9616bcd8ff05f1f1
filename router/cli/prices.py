"""`farebox prices`: the price book, now, on a day, and between two."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from router.cli.common import config_option, config_path, no, settings_or_exit
from router.cli.pricetext import KINDS, amounts, changes, history, needed, state, today
from router.cli.report import format_option, instant, put
from router.pricebook import BookModel, PriceBook, now_micros, read_books
from router.yamlfile import BadConfiguration, Key

LISTED = ("model", "tier", "currency", "input", "cache_read", "output", "since", "confidence", "source")
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
    """Look into the price book: the built-in one and those of the configuration, the later winning.

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
    found = [(name, known) for name, known in _models(book) if model in {name, name.partition("/")[2]}]
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


@command.command("diff")
@config_option
@format_option("table", "csv", "json")
@click.option(
    "--at", "at", type=instant, metavar="DATE", help="The instant at which books are compared (default: now)."
)
@click.argument("a")
@click.argument("b")
def diff(config: Path | None, format_: str, at: int | None, a: str, b: str) -> None:
    """What changed from A to B, per model and in percent. Each is a date, an instant, `now`, a YAML book or a folder of books.

    A date means the configured books on that day. Beside a date, a book is compared in the models that it has.
    """
    before, after = (_side(config, place, now_micros() if at is None else at) for place in (a, b))
    narrow = [side for side in (before, after) if not side.whole]
    here, there = dict(_models(before.book)), dict(_models(after.book))
    names = dict(_models(narrow[0].book)) if len(narrow) == 1 else {**here, **there}
    rows = []
    for name in sorted(names):
        old, new = here.get(name), there.get(name)
        for currency in sorted({*(old.timelines if old else ()), *(new.timelines if new else ())}):
            found = changes(amounts(old, currency, before.at), amounts(new, currency, after.at))
            rows += [(name, currency, *change) for change in found]
    if not rows and format_ == "table":
        print("nothing changed")
        return
    put(format_, CHANGED, rows, CHANGED[-3:])


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


def _list(config: Path | None, vendor: str | None, *, every: bool, at: int, format_: str) -> None:
    book, configured = _book(config), set(settings_or_exit(config).vendors)
    models = list(_models(book))
    known = {name.partition("/")[0] for name, _ in models}
    if vendor is not None and vendor not in known:
        no(f"no price book has a vendor {vendor!r}; they have {', '.join(sorted(known))}")
    wanted = {vendor} if vendor is not None else known if every or not configured else configured
    rows = [
        (name, model.tier, currency, *today(timeline, needed(model), at))
        for name, model in sorted(models, key=lambda item: item[0])
        if name.partition("/")[0] in wanted
        for currency, timeline in model.timelines.items()
    ]
    put(format_, LISTED, rows, LISTED[3:6])
