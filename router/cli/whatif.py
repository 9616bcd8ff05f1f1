"""`farebox whatif`: recorded traffic under other prices, another policy or other vendors. Writes nothing."""

import json
import sqlite3
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click

from router.cli.bounds import Bound, bounds, in_force, lowest
from router.cli.common import config_option, config_path, missing, no
from router.cli.report import format_option, instant, put, time_options
from router.core.altered import altered, fixed, times
from router.core.limits import FOREVER, moment
from router.core.money import Rate, show
from router.core.prices import Timeline
from router.core.replay import Replay
from router.core.whom import Change
from router.habits import Habits
from router.pricebook import PriceBook, read_books
from router.promises import Promises
from router.snapshot import Snapshot, load
from router.stores.ledgerfile import connect, count_of, totals
from router.stores.place import Connection
from router.stores.ports import StoreDown
from router.stores.traffic import certified, reader, replayed
from router.yamlfile import BadConfiguration, Key

TEAMS = ("team", "requests", "moved", "share", "before", "after", "change", "percent", "currency")
MOVES = ("route", "from", "to", "requests", "before", "after", "change", "currency")
BOUNDS = ("route", "requests", "quality_bound", "confidence", "beyond", "kept")
LEFT = ("model", "route", "attempts", "requests", "billed", "currency", "why")
NUMBERS = {
    "requests", "moved", "share", "before", "after", "change", "percent", "attempts", "billed", "quality_bound",
    "confidence", "beyond",
}  # fmt: skip
_YES: Mapping[bool | None, str] = {True: "yes", False: "no", None: ""}


@dataclass(slots=True)
class Outcome:
    """Sums of one span of the ledger before and after; amounts are nano-units of the reporting currency."""

    since: int | None
    until: int | None
    currency: str
    teams: dict[str, list[int]] = field(default_factory=dict)  # team → attempts, requests, moved, before, after
    moves: dict[tuple[str, str, str], list[int]] = field(default_factory=dict)  # → attempts, requests, before, after
    left: dict[tuple[str, str, str], list[int]] = field(default_factory=dict)  # → attempts, requests, billed, 0
    quality: tuple[float | None, float | None] = (None, None)  # believed, before and after
    bounds: list[Bound] = field(default_factory=list)
    """What is certified of the quality after, by route."""

    @classmethod
    def of(cls, replay: Replay, since: int | None, until: int | None) -> "Outcome":
        out = cls(since, until, replay.rates.reporting)
        for (team, route, model, target), (attempts, requests, before, after) in replay.tallies.items():
            if not attempts:
                continue
            moved = 0 if model == target else requests
            _add(out.teams.setdefault(team, [0] * 5), (attempts, requests, moved, before, after))
            _add(out.moves.setdefault((route, model, target), [0] * 4), (attempts, requests, before, after))
        out.left = {names: found for names, found in replay.unserved.items() if found[0]}
        out.quality = tuple(_believed(out, replay.qualities, place) for place in (1, 2))  # type: ignore[assignment]  # two
        return out

    @property
    def certified(self) -> bool:
        """Whether a certificate is in force at all."""
        return any(bound.quality is not None for bound in self.bounds)

    def known(self) -> str:
        """What holds of the quality after."""
        bound = _rounded(lowest(self.bounds))
        return (
            "what holds of it is not known" if bound is None else f"at least {bound:g} of the flagship's is certified"
        )

    def total(self) -> list[int]:
        total = [0] * 5
        for found in self.teams.values():
            _add(total, found)
        return total

    def team_rows(self) -> list[tuple[Any, ...]]:
        """Those on which it does most first."""
        order = sorted(self.teams.items(), key=lambda item: (-abs(item[1][4] - item[1][3]), item[0]))
        return [(team, *self._told(found)) for team, found in order]

    def _told(self, found: Sequence[int]) -> tuple[Any, ...]:
        _, requests, moved, before, after = found
        share = round(moved * 100 / requests, 1) if requests else None
        percent = round((after - before) * 100 / before, 1) if before else None
        return requests, moved, share, show(before), show(after), show(after - before), percent, self.currency

    def total_row(self) -> tuple[Any, ...]:
        return ("total", *self._told(self.total()))

    def move_rows(self, *, all_: bool) -> list[tuple[Any, ...]]:
        """From where to where; also what stays where it is, if that is wanted."""
        order = sorted(self.moves.items(), key=lambda item: (-item[1][1], item[0]))
        return [
            (*names, requests, show(before), show(after), show(after - before), self.currency)
            for names, (_, requests, before, after) in order
            if all_ or (names[1] != names[2] and (requests or before or after))
        ]

    def bound_rows(self) -> list[tuple[Any, ...]]:
        return [
            (b.route, b.requests, _rounded(b.quality), _rounded(b.confidence), b.beyond, b.kept) for b in self.bounds
        ]

    def left_rows(self) -> list[tuple[Any, ...]]:
        order = sorted(self.left.items(), key=lambda item: (-item[1][2], item[0]))
        return [(name, route, n, requests, show(billed), self.currency, why) for (name, route, why), (n, requests, billed, _) in order]  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        return {
            "since": _shown(self.since), "until": _shown(self.until),
            "teams": [dict(zip(TEAMS, row, strict=True)) for row in self.team_rows()],
            "moves": [dict(zip(MOVES, row, strict=True)) for row in self.move_rows(all_=True)],
            "quality_bounds": [dict(zip(BOUNDS, row, strict=True)) for row in self.bound_rows()],
            "left_out": [dict(zip(LEFT, row, strict=True)) for row in self.left_rows()],
            "total": {
                **dict(zip(TEAMS[1:], self.total_row()[1:], strict=True)),
                "quality_before": self.quality[0], "quality_after": self.quality[1],
                "quality_bound": _rounded(lowest(self.bounds)),
            },
        }  # fmt: skip


def _add(to: list[int], amounts: Sequence[int]) -> None:
    for i, amount in enumerate(amounts):
        to[i] += amount


def _rounded(share: float | None) -> float | None:
    """A float that was worked out, without the dust at its end."""
    return None if share is None else round(share, 6)


def _believed(out: Outcome, qualities: Mapping[str, float | None], place: int) -> float | None:
    """The mean configured quality of what answers; None where one has none."""
    told = [(qualities.get(names[place]), found[1]) for names, found in out.moves.items() if found[1]]
    if not told or any(quality is None for quality, _ in told):
        return None
    return round(sum((quality or 0.0) * n for quality, n in told) / sum(n for _, n in told), 4)


def _factors(_ctx: click.Context, _param: click.Parameter, value: Sequence[str]) -> Mapping[str, Rate]:
    out = {}
    for told in value:
        vendor, _, factor = told.partition("=")
        try:
            out[vendor] = Rate.of(factor)
        except ValueError:
            raise click.BadParameter(f"{told!r} is not VENDOR=FACTOR, as in openai=10 or alibaba=0.5") from None
    return out


@click.command("whatif")
@config_option
@click.option(
    "--prices", "books", multiple=True, type=click.Path(exists=True, path_type=Path), metavar="FILE",
    help="A price book, or a folder of them, that wins over the configured ones. May be given again.",
)  # fmt: skip
@click.option(
    "--at", type=instant, metavar="DATE", help="At the prices of this date or instant, not of each row's own."
)
@click.option(
    "--times", "factors", multiple=True, callback=_factors, metavar="VENDOR=FACTOR",
    help="A vendor's prices so many times as high (openai=10). May be given again.",
)  # fmt: skip
@click.option(
    "--quality", type=click.FloatRange(0, 1), help="The quality that every route needs, whatever is configured."
)
@click.option("--without", multiple=True, metavar="VENDOR", help="Nobody asks this vendor. May be given again.")
@click.option("--only", multiple=True, metavar="VENDOR", help="Nobody asks any other vendor. May be given again.")
@click.option("--stay", is_flag=True, help="Each request stays with the model that served it: other prices alone.")
@click.option(
    "--ledger", "store", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
    help="The store to read (default: the configuration's).",
)  # fmt: skip
@time_options
@format_option("table", "csv", "json")
def command(
    config: Path | None, books: Sequence[Path], at: int | None, factors: Mapping[str, Rate], quality: float | None,
    without: Sequence[str], only: Sequence[str], stay: bool, store: Path | None, since: int | None, until: int | None,  # noqa: FBT001 (click's flag)
    format_: str,
) -> None:  # fmt: skip
    """Recorded traffic under another price book, policy or vendor mix: money per team before and after, and what moves.

    `before` is what the ledger has. `after` is each request decided anew by the configuration's routes (or, with --stay, at
    the model that served it) and priced on its own. Without any option it is the configuration as it is. Nothing is
    written.
    """
    snapshot = _load(config, books)
    known = {*snapshot.vendors, *snapshot.settings.vendors}
    if unknown := {*without, *only, *factors} - known:
        raise click.UsageError(
            f"no vendor is called {', '.join(sorted(unknown))}; configured are {', '.join(sorted(known))}"
        )

    def priced(timeline: Timeline, vendor: str) -> Timeline:
        timeline = timeline if at is None else fixed(timeline, at)
        return times(timeline, factors[vendor]) if vendor in factors else timeline

    try:
        catalog = altered(snapshot.catalog, lambda model: priced(model.timeline, model.vendor))
    except ValueError as error:
        no(error)
    change = Change(stay, quality, lambda vendor: vendor not in without and (not only or vendor in only))
    place = store or snapshot.settings.place
    listed = _listed(config, snapshot, books, priced)
    span = (-FOREVER if since is None else since, FOREVER if until is None else until)
    try:
        if why := missing(place):
            no(why)
        with closing(connect(place)) as connection:
            habits = Habits()
            habits.load(totals(connection, since, until))
            callers = snapshot.teams
            replay = Replay(
                catalog, callers, snapshot.rates, listed, habits.expected_output, reader(connection), change
            )
            _run(connection, replay, span)
            outcome = Outcome.of(replay, since, until)
            sent = partial(certified, connection, since=span[0], until=span[1])
            certificates = in_force(snapshot, Promises.beside(store or snapshot.settings.store_path), quality)
            outcome.bounds = bounds(outcome.moves, certificates, snapshot.catalog, sent)
    except (StoreDown, sqlite3.Error) as error:
        no(f"{error}" + ("; run `farebox migrate`" if "no such" in str(error) else ""))
    _print(outcome, format_)


def _load(config: Path | None, books: Sequence[Path]) -> Snapshot:
    """The configuration with these books. Keys play no part, so that it can be tried where they are not."""
    try:
        return load(config_path(config), "http://mock.invalid", books=books)
    except BadConfiguration as error:
        no(error)


def _listed(
    config: Path | None, snapshot: Snapshot, books: Sequence[Path], priced: Callable[[Timeline, str], Timeline]
) -> Callable[[str, str, str], Timeline | None]:
    """The price books' word on models that are in the ledger and not in the configuration; read when there is one."""
    read: list[PriceBook] = []

    def find(vendor: str, model: str, currency: str) -> Timeline | None:
        if not read:
            folder = config_path(config).parent
            places: list[Any] = [place if place == "builtin" else folder / place for place in snapshot.settings.prices]
            keyed: list[tuple[Key, Any]] = [(("prices", i), place) for i, place in enumerate((*places, *books))]
            read.append(read_books(keyed, None))
        known = read[0].find(vendor, model)
        timeline = known.timelines.get(currency) if known else None
        return None if timeline is None else priced(timeline, vendor)

    return find


def _run(connection: Connection, replay: Replay, span: tuple[int, int]) -> None:
    from rich.console import Console  # noqa: PLC0415 (only a terminal needs it)
    from rich.progress import Progress  # noqa: PLC0415

    shown = sys.stderr.isatty()
    with Progress(console=Console(stderr=True), transient=True, disable=not shown) as progress:
        task = progress.add_task("Replaying", total=count_of(connection, *span) if shown else None)
        for count in replayed(connection, replay, *span):
            progress.advance(task, count)


def _print(outcome: Outcome, format_: str) -> None:
    if format_ == "json":
        print(json.dumps(outcome.as_json(), indent=2, ensure_ascii=False))
        return
    if format_ == "csv":
        put(format_, TEAMS, outcome.team_rows())
        if outcome.certified:
            print()
            put(format_, BOUNDS, _said(outcome.bound_rows()))
        return
    if not outcome.teams and not outcome.left:
        print("the ledger has no rows in this time")
        return
    rows = outcome.team_rows()
    put("table", TEAMS, [*rows, *([outcome.total_row()] if len(rows) > 1 else [])], NUMBERS)
    if moves := outcome.move_rows(all_=False):
        print("\nwhat moves")
        put("table", MOVES, moves, NUMBERS)
    if outcome.left:
        print("\nnot in it, before or after, since nothing says what it would cost")
        put("table", LEFT, outcome.left_rows(), NUMBERS)
    if outcome.certified:
        print("\nquality that is certified, and requests beyond it: at a model that the certificate has not chosen")
        put("table", BOUNDS, _said(outcome.bound_rows()), NUMBERS)
    before, after = outcome.quality
    if before is not None and after is not None:
        print(f"\nquality as configured: {before:g} before, {after:g} after; {outcome.known()}")


def _said(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Whether it is kept, in a word."""
    return [(*row[:-1], _YES[row[-1]]) for row in rows]


def _shown(at: int | None) -> str | None:
    return None if at is None else moment(at).isoformat().replace("+00:00", "Z").removesuffix("T00:00:00Z")
