"""`farebox ledger`: the record, as it was written."""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import orjson

from router.cli.common import config_option
from router.cli.demo import command as demo
from router.cli.reconcile import command as reconcile
from router.cli.report import format_option, reading, time_options
from router.cli.verify import check, checkpoint
from router.core.limits import moment
from router.stores.ledgerfile import rows
from router.stores.place import Connection

PAGE = 1000  # rows for which a read is kept open, so that a slow reader never holds up the server's checkpoints


@click.group("ledger")
def command() -> None:
    """Export the ledger, prove that it was not altered, or hold a vendor's invoice to it."""


@command.command("export")
@config_option
@click.option("--after", type=click.IntRange(0), default=0, help="Only rows after this sequence number (first is 1).")
@time_options
@format_option("jsonl", "csv")
def export(config: Path | None, after: int, since: int | None, until: int | None, format_: str) -> None:
    """Print every row, oldest first, one JSON object a line or as CSV; also while the server is running.

    Amounts are decimal strings, times are UTC. CSV has the same columns, with `usage` and `tags` as JSON.
    """
    with reading(config) as connection:
        found = (row for _, row in _pages(connection, after, since, until))
        if format_ == "jsonl":
            out = sys.stdout.buffer
            for row in found:
                out.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
            out.flush()
        else:
            _csv(found)


def _pages(
    connection: Connection, after: int, since: int | None, until: int | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows page by page; of a time, only the stretch of the ledger that can hold it is read."""
    begin, end = _text(since, ""), _text(until, "~")
    last = sys.maxsize
    if since is not None or until is not None:
        bounds = (-sys.maxsize if since is None else since, sys.maxsize if until is None else until)
        query = "SELECT min(seq) - 1, max(seq) FROM ledger WHERE at >= ? AND at < ?"
        first, found = connection.execute(query, bounds).fetchone()
        after, last = max(after, first or 0), found or 0
    while after < last:
        page = list(rows(connection, after, PAGE))
        if not page:
            return
        yield from (item for item in page if begin <= item[1]["at"] < end)
        after = page[-1][0]


def _text(at: int | None, default: str) -> str:
    """An instant as rows have it, where the order of the texts is the order of time."""
    return default if at is None else moment(at).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _csv(found: Iterator[dict[str, Any]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    for number, row in enumerate(found):
        if not number:
            writer.writerow(row)
        writer.writerow(
            [orjson.dumps(cell).decode() if isinstance(cell, dict | bool) else cell for cell in row.values()]
        )


command.add_command(check)
command.add_command(checkpoint)
command.add_command(reconcile)
command.add_command(demo)
