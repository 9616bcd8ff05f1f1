"""`farebox ledger verify` and `checkpoint`: proof that no row was changed, removed or inserted, also at the ends."""

import sqlite3
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from router.cli.common import config_option, no, settings_or_exit
from router.cli.report import reading
from router.core.checkpoint import BadCheckpoint, Checkpoint, parse
from router.stores.ledgerfile import counted, head, last_row, totals, verify
from router.stores.place import Connection
from router.stores.ports import TOTAL_FIELDS
from router.stores.schema import VERSION
from router.stores.spans import differing, folds


@click.command("verify")
@config_option
@click.option(
    "--checkpoints", "kept", type=click.Path(path_type=Path, allow_dash=True),
    help="Checkpoints that were kept, one a line; `-` is standard input (default: the configured `checkpoints.file`).",
)  # fmt: skip
def check(config: Path | None, kept: Path | None) -> None:
    """Walk the chain of hashes from the first row; compare the rows with the sums that are kept of them and with
    checkpoints.

    Says how many rows are as they were written; exits 1 and names the first that is not. Rows up to the last checkpoint
    are proven even against who can write the ledger's file, if the checkpoints were kept where they cannot.
    """
    checkpoints = _checkpoints(config, kept)
    with reading(config) as connection:
        connection.execute("BEGIN")  # one view of the ledger, whatever the server writes meanwhile
        good, bad, problem = examine(connection, checkpoints)
        last = last_row(connection)
        if problem and _is_newer(connection):
            problem += (
                " But its schema is of a newer Farebox, which knows columns that this one does not: ask that one."
            )
    if problem:
        no(f"{good} of {good + bad} rows are as they were written. {problem}")
    proven = max((found.seq for found in checkpoints), default=None)
    told = "" if proven is None else f"; {len(checkpoints)} checkpoints agree, the last at row {proven}"
    if last is None:
        print(f"the ledger is empty{told}")
        return
    print(f"all {good} rows are as they were written; the last is {last[0]}, hash {last[1].hex()}{told}")


@click.command("checkpoint")
@config_option
def checkpoint(config: Path | None) -> None:
    """Print a checkpoint: the last row's number and hash, and the time, as one line of JSON; signed if `checkpoints.key`
    is configured. Keep it where the ledger's machine cannot change it.
    """
    at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    settings = settings_or_exit(config)
    with reading(config) as connection:
        seq, digest = last_row(connection) or (0, bytes(32))
    key = settings.checkpoints.secret if settings.checkpoints else None
    print(Checkpoint(seq, digest.hex(), at).signed(key).line())


def examine(connection: Connection, checkpoints: list[Checkpoint]) -> tuple[int, int, str]:
    """(rows as written, others, what is wrong first; "" if nothing is)."""
    good, bad, problem = _walk(connection)
    problem = problem or _against_sums(connection) or _against_head(connection)
    problem = problem or _against_checkpoints(connection, checkpoints)
    if not problem and (kind := differing(connection)):
        kept = "of all time" if kind == "all" else f"per {kind}"
        problem = f"The chain is whole, but its rows do not add up to the sums that are kept {kept}."
    return good, bad, problem


def _is_newer(connection: Connection) -> bool:
    """Whether a newer Farebox has changed the schema: rows may have columns that this one does not hash."""
    if isinstance(connection, sqlite3.Connection):
        return bool(connection.execute("PRAGMA user_version").fetchone()[0] > VERSION)
    from router.stores.pgschema import STEPS  # noqa: PLC0415 (its driver need not be installed)

    return bool(connection.execute("SELECT version FROM schema_version").fetchone()[0] > len(STEPS))


def _checkpoints(config: Path | None, kept: Path | None) -> list[Checkpoint]:
    """Those that were kept; exit 1 with the first line that is none of ours."""
    settings = settings_or_exit(config).checkpoints
    place = kept or (settings.file if settings else None)
    if place is None or (kept is None and not place.exists()):
        return []
    try:
        text = sys.stdin.read() if str(place) == "-" else place.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        no(f"{place} cannot be read: {error.strerror}")
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                found.append(parse(line, settings.secret if settings else None))
            except BadCheckpoint as error:
                no(f"{place}:{number}: this line {error}")
    return found


def _walk(connection: Connection) -> tuple[int, int, str]:
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
    except (TypeError, sqlite3.OperationalError) as error:  # a column holds what the ledger never writes
        if "no such" in str(error):
            raise
        bad, problem = count - good, problem or _first(connection, last, last + 1)
    return good, bad, problem


def _first(connection: Connection, last: int, seq: int) -> str:
    """What is wrong at the first bad row."""
    if seq > last + 1:
        missing = f"Row {last + 1} is" if seq == last + 2 else f"Rows {last + 1} to {seq - 1} are"
        return f"{missing} missing: it goes on with row {seq}."
    # as bytes: a file may have anything in it
    as_bytes = "CAST(id AS BLOB)" if isinstance(connection, sqlite3.Connection) else "convert_to(id, 'UTF8')"
    name = connection.execute(f"SELECT {as_bytes} FROM ledger WHERE seq = ?", (seq,)).fetchone()  # noqa: S608 (fixed text)
    shown = name[0].decode("utf-8", "replace") if name and name[0] is not None else "no id"
    return f"Row {seq} ({shown}) was changed, inserted or moved."


def _against_sums(connection: Connection) -> str:
    """The chain cannot see that its end was cut off or made up; the sums kept beside it can."""
    names = TOTAL_FIELDS
    kept = {total.labels: [getattr(total, name) for name in names] for total in totals(connection)}
    found = {total.labels: [getattr(total, name) for name in names] for total in counted(connection)}
    if kept == found:
        return ""
    written, here = (sum(told[names.index("attempts")] for told in side.values()) for side in (kept, found))
    if written != here:
        return f"The chain is whole, but {written} rows were written and {here} are here: its end is not as it was."
    labels = next(labels for labels in {**kept, **found} if kept.get(labels) != found.get(labels))
    return (
        "The chain is whole, but its rows do not add up to the sums that were kept"
        f" (first of {'/'.join(map(str, labels[:3]))}): its end or a sum is not as it was."
    )


def _against_head(connection: Connection) -> str:
    """The sums have rows only later, so that they do not prove the last ones; what is kept of the last row does."""
    if not folds(connection):
        return ""
    last, kept = last_row(connection), head(connection)
    if last == kept:
        return ""
    if kept and (last is None or last[0] < kept[0]):
        here = f"ends with row {last[0]}" if last else "is empty"
        return f"The chain is whole, but it {here}, and row {kept[0]} was written: its end is not as it was."
    row = kept[0] if kept else 1
    return f"The chain is whole, but row {row} is not the one that was written: its end is not as it was."


def _against_checkpoints(connection: Connection, checkpoints: list[Checkpoint]) -> str:
    """What was cut off, or made anew from some row on, is no longer what an earlier checkpoint says."""
    last = last_row(connection)
    for kept in sorted(checkpoints, key=lambda found: found.seq):
        if kept.seq == 0:
            continue
        if last is None or kept.seq > last[0]:
            here = f"ends with row {last[0]}" if last else "is empty"
            return f"The chain is whole, but it {here}, and a checkpoint of {kept.at} has row {kept.seq}: its end is cut off."
        found = connection.execute("SELECT hash FROM ledger WHERE seq = ?", (kept.seq,)).fetchone()
        if found[0].hex() != kept.hash:
            return (
                f"The chain is whole, but row {kept.seq} has another hash than the checkpoint of {kept.at}: the ledger was"
                " written anew."
            )
    return ""
