"""`farebox top`: spend as it happens, in the terminal, read from the store without touching it."""

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from router.cli.common import config_option, load_or_exit, missing, no
from router.cli.report import put
from router.core.limits import MICROS, moment
from router.core.money import show
from router.pricebook import now_micros
from router.snapshot import Snapshot
from router.stores import spans
from router.stores.ledgerfile import connect, settled
from router.stores.place import Connection
from router.stores.ports import StoreDown

if TYPE_CHECKING:
    from rich.console import RenderableType

SPANS = {"hour": spans.HOUR, "day": spans.DAY, "week": 7 * spans.DAY, "month": 30 * spans.DAY}
BY = ("team", "model", "route", "vendor", "tier")
LAST = 8  # newest attempts that are shown
GROUP = ("requests", "failed", "tokens", "cost", "share", "saved", "currency")
BUDGET = ("budget", "spent", "limit", "percent", "currency")
NEWEST = ("at", "team", "route", "model", "outcome", "cost", "currency", "ms")
NUMBERS = {"requests", "failed", "tokens", "cost", "share", "saved", "spent", "limit", "percent", "ms"}

Block = tuple[str, Sequence[str], list[tuple[Any, ...]]]
"""(heading, columns, rows)"""


@click.command("top")
@config_option
@click.option("--span", type=click.Choice(list(SPANS)), default="day", show_default=True, help="How far to look back.")
@click.option("--by", type=click.Choice(BY), default="team", show_default=True, help="What to group by.")
@click.option("--every", type=click.FloatRange(0.2), default=2.0, show_default=True, help="Seconds between two looks.")
@click.option("--once", is_flag=True, help="Look once and print it, as also where the output is no terminal.")
def command(config: Path | None, span: str, by: str, every: float, once: bool) -> None:  # noqa: FBT001 (click's flag)
    """Spend, budgets and the newest attempts, live. Reads the store beside a running server; Ctrl-C ends it.

    What requests under way hold of a budget is known to the server alone: the page has it.
    """
    from rich.console import Console  # noqa: PLC0415 (not needed for --help)

    snapshot, console = load_or_exit(config, "http://mock.invalid"), Console()
    if once or not console.is_terminal:
        for number, (heading, columns, rows) in enumerate(_looked(snapshot, span, by)):
            print(("\n" if number else "") + heading)
            put("table", columns, rows, NUMBERS)
        return
    _live(console, snapshot, span, by, every)


def _live(console: Any, snapshot: Snapshot, span: str, by: str, every: float) -> None:
    from rich.live import Live  # noqa: PLC0415

    try:
        with Live(_drawn(_looked(snapshot, span, by)), console=console, screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(every)
                live.update(_drawn(_looked(snapshot, span, by)), refresh=True)
    except KeyboardInterrupt:
        return


def _drawn(blocks: Sequence[Block]) -> "RenderableType":
    from rich.console import Group  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    out: list[RenderableType] = []
    for heading, columns, rows in blocks:
        table = Table(expand=False, header_style="bold", title=Text(heading), title_justify="left")
        for column in columns:
            table.add_column(column.replace("_", " "), justify="right" if column in NUMBERS else "left")
        for row in rows:
            table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
        out.append(table)
    return Group(*out)


def _looked(snapshot: Snapshot, span: str, by: str) -> list[Block]:
    """What there is to show now; exit 1 where the store cannot be read."""
    place, now = snapshot.settings.place, now_micros()
    try:
        if why := missing(place):
            no(why)
        with closing(connect(place)) as connection:
            return [
                (f"the last {span}, by {by}, at {_clock(now)}Z", (by, *GROUP), _groups(connection, by, now - SPANS[span])),
                ("budgets", BUDGET, _budgets(connection, snapshot, now)),
                ("newest attempts", NEWEST, _newest(connection)),
            ]  # fmt: skip
    except (StoreDown, sqlite3.Error) as error:
        no(f"{error}" + ("; run `farebox migrate`" if "no such" in str(error) else ""))


def _groups(connection: Connection, by: str, since: int) -> list[tuple[Any, ...]]:
    """The dearest first, and their total."""
    names = ("requests", "cost", "saved", "input", "cache_read", "cache_write", "output", "reasoning")
    found: dict[tuple[str, str], list[int]] = {}
    for name, currency, outcome, requests, cost, saved, *tokens in spans.summed(
        connection, (by, "currency", "outcome"), names, since
    ):
        for key in ((name, currency), ("total", currency)):
            sums = found.setdefault(key, [0] * 5)
            for i, amount in enumerate((requests, requests * (outcome == "error"), sum(tokens), cost, saved)):
                sums[i] += amount
    order = sorted(found.items(), key=lambda item: (item[0][0] == "total", -item[1][3], item[0]))
    out = []
    for (name, currency), (requests, failed, tokens_, cost, saved) in order:
        whole = found["total", currency][3]
        share = f"{cost * 100 / whole:.1f}%" if whole else None
        out.append((name, requests, failed, tokens_, show(cost), share, show(saved), currency))
    return out


def _budgets(connection: Connection, snapshot: Snapshot, now: int) -> list[tuple[Any, ...]]:
    """What is settled of each; the fullest first."""
    accounts = [(budget, budget.window(now)[0]) for budget in snapshot.budgets]
    spent = settled(connection, accounts, snapshot.rates.at(now))
    found = sorted(snapshot.budgets, key=lambda budget: -spent[budget.account] / max(1, budget.limit))
    return [
        (
            budget.describe(), show(spent[budget.account]), show(budget.limit),
            f"{spent[budget.account] * 100 / budget.limit:.1f}%" if budget.limit else None, budget.currency,
        )
        for budget in found
    ]  # fmt: skip


def _newest(connection: Connection) -> list[tuple[Any, ...]]:
    query = (
        f"SELECT at, team, route, model, outcome, cost, currency, total_ms FROM ledger ORDER BY seq DESC LIMIT {LAST}"  # noqa: S608 (a number)
    )
    return [
        (_clock(at), team, route, model, outcome, show(cost), currency, ms)
        for at, team, route, model, outcome, cost, currency, ms in connection.execute(query)
    ]


def _clock(at: int) -> str:
    return moment(at - at % MICROS).isoformat().removesuffix("+00:00")
