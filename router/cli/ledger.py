"""`farebox ledger`: the record, as it was written."""

import csv
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import orjson

from router.cli.common import config_option, no
from router.cli.report import format_option, reading, time_options
from router.core.limits import moment
from router.stores.ledgerfile import rows, verify

PAGE = 1000  # rows for which a read is kept open, so that a slow reader never holds up the server's checkpoints


@click.group("ledger")
def command() -> None:
    """Export the ledger, or prove that it was not altered."""


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
    connection: sqlite3.Connection, after: int, since: int | None, until: int | None
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


@command.command("verify")
@config_option
def check(config: Path | None) -> None:
    """Walk the chain of hashes from the first row, and compare the rows with the sums that are kept of them.

    Says how many rows are as they were written; exits 1 and names the first that is not. Keep the last hash somewhere
    else: a later ledger that still has it has everything up to it.
    """
    with reading(config) as connection:
        connection.execute("BEGIN")  # one view of the ledger, whatever the server writes meanwhile
        good, bad, problem = _walk(connection)
        problem = problem or _against_sums(connection)
        last = connection.execute("SELECT seq, hash FROM ledger ORDER BY seq DESC LIMIT 1").fetchone()
    if problem:
        no(f"{good} of {good + bad} rows are as they were written. {problem}")
    if last is None:
        print("the ledger is empty")
        return
    print(f"all {good} rows are as they were written; the last is {last[0]}, hash {last[1].hex()}")


def _walk(connection: sqlite3.Connection) -> tuple[int, int, str]:
    """(rows as written, others, what is wrong with the first of those)."""
    from rich.console import Console  # noqa: PLC0415 (only a terminal needs it)
    from rich.progress import track  # noqa: PLC0415

    good, bad, last, problem = 0, 0, 0, ""
    count = connection.execute("SELECT count(*) FROM ledger").fetchone()[0]
    walked = track(
        verify(connection), "Verifying", count, console=Console(stderr=True), transient=True,
        disable=not sys.stderr.isatty(),
    )  # fmt: skip
    try:
        for seq, right in walked:
            good, bad = good + right, bad + (not right)
            if not right and not problem:
                problem = _first(connection, last, seq)
            last = seq
    except TypeError:  # a column holds what the ledger never writes
        bad, problem = count - good, problem or _first(connection, last, last + 1)
    return good, bad, problem


def _first(connection: sqlite3.Connection, last: int, seq: int) -> str:
    """What is wrong at the first bad row."""
    if seq > last + 1:
        missing = f"Row {last + 1} is" if seq == last + 2 else f"Rows {last + 1} to {seq - 1} are"
        return f"{missing} missing: it goes on with row {seq}."
    name = connection.execute("SELECT id FROM ledger WHERE seq = ?", (seq,)).fetchone()
    return f"Row {seq} ({name[0] if name else 'no id'}) was changed, inserted or moved."


def _against_sums(connection: sqlite3.Connection) -> str:
    """The chain cannot see that its end was cut off or made up; the sums kept beside it can."""
    kept = connection.execute("SELECT ifnull(sum(attempts), 0), ifnull(sum(cost), 0) FROM totals").fetchone()
    found = connection.execute("SELECT count(*), ifnull(sum(cost), 0) FROM ledger").fetchone()
    if kept == found:
        return ""
    if kept[0] != found[0]:
        return f"The chain is whole, but {kept[0]} rows were written and {found[0]} are here: its end is not as it was."
    return "The chain is whole, but its rows do not add up to the sums that were kept: its end is not as it was."
