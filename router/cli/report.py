"""`farebox report`, and how the commands that look things up read the ledger and print what they found."""

import csv
import json
import sqlite3
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

import click

from router.cli.common import config_option, no, store_of
from router.core.limits import moment
from router.core.money import show
from router.core.savings import Saving, saving
from router.pricebook import as_date_or_instant
from router.stores.ledgerfile import GROUPS, PROMPTS, SUMMED, connect, sums
from router.stores.place import Connection
from router.stores.ports import StoreDown

Command = Callable[..., None]
MONEY = ("cost", "saved", "estimated_cost")
COLUMNS = (
    "attempts", "requests", "input", "cache_read", "cache_write", "output", "reasoning", "cost", "saved",
    "estimated_cost", "estimated_share", "currency",
)  # fmt: skip
BY_MODEL = (*PROMPTS, "prompt_error")  # shown by model, since it is for each model that they are estimated


def instant(text: Any) -> int:
    """A date (midnight UTC) or an ISO instant from the command line, as microseconds since 1970."""
    try:
        return text if isinstance(text, int) else as_date_or_instant(text)
    except ValueError:
        example = "a date (2026-11-22) or an instant (2026-11-22T08:00:00+08:00)"
        raise click.BadParameter(f"{text!r} is not {example}") from None


def time_options(command: Command) -> Command:
    """`--since` and `--until`."""
    until: Any = click.option(
        "--until", type=instant, metavar="DATE", help="Up to this date (UTC) or instant, exclusive."
    )
    since: Any = click.option("--since", type=instant, metavar="DATE", help="From this date (UTC) or instant on.")
    decorated: Command = since(until(command))
    return decorated


def format_option(*formats: str) -> Callable[[Command], Command]:
    """`--format`; the first is the default."""
    choice = click.Choice(formats)
    option: Any = click.option(
        "--format", "format_", type=choice, default=formats[0], show_default=True, help="How to print it."
    )
    return cast("Callable[[Command], Command]", option)


@contextmanager
def reading(config: Path | None) -> Iterator[Connection]:
    """A read-only connection to the store; exit 1 with the reason when it cannot be read."""
    place = store_of(config)
    try:
        with closing(connect(place)) as connection:
            yield connection
    except StoreDown as error:
        no(error)
    except sqlite3.Error as error:
        no(f"{place} cannot be read: {error}" + ("; run `farebox migrate`" if "no such" in str(error) else ""))


def put(
    format_: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    numbers: Collection[str] = (),
    styles: Sequence[str] = (),
) -> None:
    """Rows as a table, CSV or a JSON array. What is None is blank, empty or null. On a terminal a row may have a style."""
    if format_ == "json":
        print(json.dumps([dict(zip(columns, row, strict=True)) for row in rows], indent=2, ensure_ascii=False))
    elif format_ == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
    else:
        _table(columns, rows, numbers, styles)


def _table(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], numbers: Collection[str], styles: Sequence[str]
) -> None:
    """As wide as it needs to be, since a broken number is worse than a long line; without columns that are all blank."""
    from rich.console import Console  # noqa: PLC0415 (only a table needs it)
    from rich.table import Table  # noqa: PLC0415

    console = Console(width=10_000, force_terminal=sys.stdout.isatty(), markup=False, highlight=False, emoji=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    kept = [i for i in range(len(columns)) if any(row[i] not in {None, ""} for row in rows)]
    for column in (columns[i] for i in kept):
        table.add_column(column.replace("_", " "), justify="right" if column in numbers else "left", no_wrap=True)
    for number, row in enumerate(rows):
        style = styles[number] if number < len(styles) else "bold" if row and row[0] == "total" else None
        table.add_row(*("" if row[i] is None else str(row[i]) for i in kept), style=style)
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _groups(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))
    if not names or (unknown := set(names) - set(GROUPS)):
        wrong = f"{', '.join(sorted(unknown))}: " if names else ""
        raise click.BadParameter(f"{wrong}a report goes by any of {', '.join(GROUPS)}, separated by commas")
    return names


@click.command("report")
@config_option
@time_options
@click.option(
    "--by", default="team", show_default=True, callback=_groups, metavar="NAMES",
    help=f"What to group by, separated by commas: {', '.join(GROUPS)}. Days are UTC; keys are shown as team/key.",
)  # fmt: skip
@format_option("table", "csv", "json", "focus")
def command(config: Path | None, since: int | None, until: int | None, by: tuple[str, ...], format_: str) -> None:
    """Spend, tokens and savings from the ledger.

    `attempts` are ledger rows, `requests` the final ones. Tokens are disjoint: `input` holds neither cache reads nor
    cache writes, `output` no reasoning. `saved` is what the route's flagship would have cost more; below the table it
    stands beside what the best single model would have cost, with intervals over the days. `estimated` is spend
    that no vendor reported. Amounts are exact, in the reporting currency of their time. By model it also shows what
    prompts were estimated at, in tokens, and what vendors then reported.

    `--format focus` prints FOCUS 1.2 billing columns as CSV for cloud-cost tools, a row for each day, team, key, route,
    model and vendor, whatever `--by` says.
    """
    if format_ == "focus":
        from router.cli.focus import COLUMNS as FOCUS  # noqa: PLC0415 (seldom wanted)
        from router.cli.focus import rows as focus_rows  # noqa: PLC0415

        with reading(config) as connection:
            put("csv", FOCUS, list(focus_rows(connection, since, until)))
        return
    columns = (*by, *COLUMNS, *(BY_MODEL if "model" in by else ()))
    with reading(config) as connection:
        found = list(sums(connection, by, since, until))
        saved = _savings(connection, since, until) if format_ in {"table", "json"} else {}
    rows, totals = [], dict[str, list[int]]()
    for values in found:
        groups, currency, counts = values[: len(by)], values[len(by)], values[len(by) + 1 :]
        rows.append((*groups, *_shown(currency, counts, columns[len(by) :])))
        total = totals.setdefault(currency, [0] * len(counts))
        totals[currency] = [a + b for a, b in zip(total, counts, strict=True)]
    all_totals = [_shown(currency, counts, columns[len(by) :]) for currency, counts in totals.items()]
    if format_ == "json":
        told = {
            "since": _instant(since), "until": _instant(until), "by": by,
            "rows": [dict(zip(columns, row, strict=True)) for row in rows],
            "totals": [dict(zip(columns[len(by) :], row, strict=True)) for row in all_totals],
            "savings": [{"currency": currency, **_saving_json(told)} for currency, told in saved.items()],
        }  # fmt: skip
        print(json.dumps(told, indent=2, ensure_ascii=False))
        return
    if format_ == "table":
        if not rows:
            print("the ledger has no rows in this time")
            return
        rows += [("total", *[""] * (len(by) - 1), *total) for total in all_totals]
    put(format_, columns, rows, {*columns[len(by) :]} - {"currency"})
    for currency, measured in saved.items() if format_ == "table" else ():
        for against, one in measured.items():
            print(_saving_line(currency, against, one))


AGAINST = {"flagship": "always the flagship", "fixed_model": "the best single model"}


def _savings(connection: Connection, since: int | None, until: int | None) -> dict[str, dict[str, Saving]]:
    """By currency, what was saved against the flagship and against the one model that would have done for everything."""
    days = dict[str, dict[str, list[tuple[int, int]]]]()
    for _, currency, *counts in sums(connection, ("day",), since, until):
        told = dict(zip(SUMMED, counts, strict=False))
        found = days.setdefault(currency, {against: [] for against in AGAINST})
        found["flagship"].append((told["cost"], told["cost"] + told["saved"]))
        found["fixed_model"].append((told["cost"], told["fixed_cost"]))
    return {
        currency: {against: one for against, pairs in found.items() if (one := saving(pairs)) is not None}
        for currency, found in days.items()
    }


def _saving_json(told: Mapping[str, Saving]) -> dict[str, Any]:
    return {
        against: {**{k: v for k, v in one._asdict().items() if k != "nano"}, "saved": show(one.nano)}
        for against, one in told.items()
    }


def _saving_line(currency: str, against: str, one: Saving) -> str:
    days = f"{one.days} day{'s' if one.days != 1 else ''}"
    sure = (
        f"95 %: {one.low:.1%} to {one.high:.1%}, {days}" if one.low is not None else f"{days}: too few for an interval"
    )
    return f"against {AGAINST[against]}: {show(one.nano)} {currency} saved, {one.share:.1%} ({sure})"


def _shown(currency: str, counts: Sequence[int], columns: Sequence[str]) -> tuple[Any, ...]:
    """One row's sums as they are printed."""
    told: dict[str, Any] = dict(zip((*SUMMED, *PROMPTS), counts, strict=True))
    if billed := told["prompt_billed"]:
        told["prompt_error"] = round(told["prompt_estimate"] / billed - 1, 4)
    else:
        told |= dict.fromkeys(BY_MODEL)  # of no row both are known
    share = round(told["estimated_cost"] / told["cost"], 4) if told["cost"] else None
    told |= {name: show(told[name]) for name in MONEY} | {"estimated_share": share, "currency": currency}
    return tuple(told[name] for name in columns)


def _instant(at: int | None) -> str | None:
    return None if at is None else moment(at).isoformat().replace("+00:00", "Z")
