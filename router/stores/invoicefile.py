"""An invoice beside the ledger: both in one SQLite connection, the invoice in temporary tables, so that size is no matter.
Of a ledger in another database the rows that an invoice is about are brought into a file that lives as long as the command.

By id each request is one thing; without ids each day (or month) of a model is. What is left over on both sides by id is
matched once more: by model, usage and time, and what was only estimated here by model and time.
"""

import contextlib
import itertools
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from router.core.differences import Billed, Difference, Recorded, compare
from router.core.invoice import COUNTS, Line
from router.core.money import NANO
from router.stores.place import Connection
from router.stores.schema import COLUMNS

_BATCH = 5000
_SLACK = 2 * 86_400_000_000  # a request that is named may lie so far outside of the time: vendors write when it ended
_COUNT_SUMS = ", ".join(f"sum({name})" for name in COUNTS)
_WRITTEN = "ifnull(cache_write_5m, 0) + ifnull(cache_write_1h, 0)"
_FRESH = "ifnull(input_fresh, 0) + ifnull(input_audio, 0) + ifnull(input_image, 0) + ifnull(input_prepaid, 0)"
_OUTPUT = (
    "ifnull(output_text, 0) + ifnull(output_audio, 0) + ifnull(output_image, 0) + ifnull(output_rejected, 0)"
    " + ifnull(output_prepaid, 0)"
)
_BILLED = f"key, line, lines, at, model, {', '.join(COUNTS)}, nano, atto"
_RECORDED = (
    "key, id, rows, at, model, fresh, cache_read, cache_write, output, reasoning, nano, estimated, price, outcome"
)


class Scope(NamedTuple):
    """Which rows an invoice is about."""

    vendor: str
    currency: str
    since: int | None
    until: int | None  # microseconds since 1970; not included
    window: int  # microseconds that may lie between an invoice's time of a request and the ledger's


@contextlib.contextmanager
def workplace(connection: Connection) -> Iterator[sqlite3.Connection]:
    """Where invoice and ledger come together; see `bring`."""
    if isinstance(connection, sqlite3.Connection):
        yield connection
        return
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(sqlite3.connect(f"{folder}/rows.db")) as local:
        local.execute("PRAGMA journal_mode = OFF")
        local.execute("PRAGMA synchronous = OFF")
        local.execute(f"CREATE TABLE ledger (seq INTEGER PRIMARY KEY, {', '.join(COLUMNS)})")
        yield local


def bring(connection: Connection, local: sqlite3.Connection, scope: Scope) -> None:
    """See that the rows of a scope, and what may be compared with them, are at the `workplace`."""
    if connection is local:
        return
    query = f"""SELECT seq, {", ".join(COLUMNS)} FROM ledger WHERE seq > ? AND vendor = ? AND vendor_currency = ?
        AND at >= ? AND at < ? ORDER BY seq LIMIT {_BATCH}"""  # noqa: S608 (names of ours)
    insert = f"INSERT INTO ledger VALUES ({', '.join('?' * (1 + len(COLUMNS)))})"  # noqa: S608 (question marks)
    after = 0
    while rows := connection.execute(query, (after, scope.vendor, scope.currency, *_span(scope, _SLACK))).fetchall():
        local.executemany(insert, rows)
        after = rows[-1][0]
    local.commit()


def load(connection: sqlite3.Connection, lines: Iterable[Line], *, by_id: bool) -> None:
    """Take an invoice in. The ledger's file may be read-only: temporary tables are elsewhere."""
    connection.execute("PRAGMA temp_store=FILE")
    columns = ", ".join(f"{name} INTEGER" for name in COUNTS)
    connection.execute(
        f"CREATE TEMP TABLE lines (key TEXT, line INTEGER, at INTEGER, model TEXT, {columns}, nano INTEGER, atto INTEGER)"
    )
    insert = f"INSERT INTO lines VALUES ({', '.join('?' * (6 + len(COUNTS)))})"  # noqa: S608 (question marks)
    told = (
        (line.id if by_id else f"{line.bucket} {line.model}", line.number, line.at, line.model, *line.counts,
         *divmod(line.amount, NANO))
        for line in lines
    )  # fmt: skip
    while batch := list(itertools.islice(told, _BATCH)):
        connection.executemany(insert, batch)
    connection.execute(
        f"""CREATE TEMP TABLE billed AS SELECT key, min(line) AS line, count(*) AS lines, min(at) AS at, max(model) AS model,
        {", ".join(f"sum({name}) AS {name}" for name in COUNTS)}, sum(nano) AS nano, sum(atto) AS atto FROM lines GROUP BY key"""  # noqa: S608 (names of ours)
    )
    connection.execute("DROP TABLE lines")
    connection.execute("CREATE UNIQUE INDEX temp.billed_key ON billed (key)")


def differences(
    connection: sqlite3.Connection,
    scope: Scope,
    model: Callable[[str], str],
    bucket: Callable[[int], str] | None,
    half: int,
) -> Iterator[Difference]:
    """Each thing on either side, in the order of the invoice and then of the ledger.

    Args:
        connection: with the invoice loaded.
        scope: which rows.
        model: the ledger's name of a model → the invoice's.
        bucket: the day or month of an instant, where the invoice goes by them; None: it goes by ids.
        half: of one in the last decimal that the invoice writes, in 10^-18.

    """
    _gather(connection, scope, model, bucket)
    if bucket is None:
        _match_leftovers(connection, scope.window)
    else:
        connection.execute("CREATE TEMP TABLE paired (bill TEXT PRIMARY KEY, row TEXT UNIQUE, how TEXT)")
    theirs = ", ".join(f"b.{name.strip()}" for name in _BILLED.split(","))
    ours = ", ".join(f"r.{name.strip()}" for name in _RECORDED.split(","))
    found = connection.execute(
        f"""SELECT p.how, {theirs}, {ours} FROM billed b LEFT JOIN paired p ON p.bill = b.key
        LEFT JOIN recorded r ON r.key = ifnull(p.row, b.key) ORDER BY b.line"""  # noqa: S608 (names of ours)
    )
    split = 1 + len(_BILLED.split(","))
    for row in found:
        yield compare(_billed(row[1:split]), _recorded(row[split:]), half, row[0] or "")
    for row in connection.execute(
        f"""SELECT {_RECORDED} FROM recorded WHERE key NOT IN (SELECT key FROM billed) AND nano <> 0 AND inside
        AND key NOT IN (SELECT row FROM paired) ORDER BY at, id"""  # noqa: S608 (names of ours)
    ):
        yield compare(None, _recorded(row), half)


def elsewhere(connection: Connection, scope: Scope) -> int:
    """The vendor's rows of that time that are in another currency, and so are not compared."""
    query = "SELECT count(*) FROM ledger WHERE vendor = ? AND vendor_currency <> ? AND at >= ? AND at < ?"
    found: int = connection.execute(query, (scope.vendor, scope.currency, *_span(scope, 0))).fetchone()[0]
    return found


def currencies(connection: Connection, vendor: str) -> list[str]:
    """What the ledger has paid a vendor in."""
    found = connection.execute("SELECT DISTINCT vendor_currency FROM ledger WHERE vendor = ? ORDER BY 1", (vendor,))
    return [currency for (currency,) in found]


def vendors(connection: Connection) -> list[str]:
    """Whom the ledger has paid."""
    return [vendor for (vendor,) in connection.execute("SELECT DISTINCT vendor FROM ledger ORDER BY 1")]


def _span(scope: Scope, slack: int) -> tuple[int, int]:
    since = -(2**62) if scope.since is None else scope.since - slack
    return since, 2**62 if scope.until is None else scope.until + slack


def _gather(
    connection: sqlite3.Connection, scope: Scope, model: Callable[[str], str], bucket: Callable[[int], str] | None
) -> None:
    """The ledger's side, by the same keys; of those that are named also what lies a little outside of the time."""
    connection.create_function("billed_model", 1, model, deterministic=True)
    connection.create_function("bucket", 1, bucket or str, deterministic=True)
    if bucket is None:
        key, slack = "ifnull(vendor_id, id)", _SLACK
        wanted = "AND (inside OR EXISTS (SELECT 1 FROM billed WHERE billed.key = vendor_id))"
    else:
        key, slack, wanted = "bucket(at) || ' ' || billed_model(model)", 0, ""
    connection.execute(
        f"""CREATE TEMP TABLE recorded AS SELECT {key} AS key, min(id) AS id, count(*) AS rows, min(at) AS at,
        max(billed_model(model)) AS model, sum({_FRESH}) AS fresh, sum(ifnull(cache_read, 0)) AS cache_read,
        sum({_WRITTEN}) AS cache_write, sum({_OUTPUT}) AS output, sum(ifnull(output_reasoning, 0)) AS reasoning,
        sum(vendor_cost) AS nano, sum(basis = 'estimated') AS estimated,
        CASE WHEN min(price) = max(price) THEN min(price) ELSE '' END AS price,
        CASE WHEN min(outcome) = max(outcome) THEN min(outcome) ELSE 'several' END AS outcome, max(inside) AS inside
        FROM (SELECT *, at >= ?3 AND at < ?4 AS inside FROM ledger
            WHERE vendor = ?1 AND vendor_currency = ?2 AND attempt > 0 AND at >= ?5 AND at < ?6)
        WHERE true {wanted} GROUP BY 1""",  # noqa: S608 (fixed text)
        (scope.vendor, scope.currency, *_span(scope, 0), *_span(scope, slack)),
    )
    connection.execute("CREATE UNIQUE INDEX temp.recorded_key ON recorded (key)")


def _match_leftovers(connection: sqlite3.Connection, window: int) -> None:
    """Pair what has no name in common: the ledger may be older than the names, or the answer never have come."""
    connection.execute("CREATE TEMP TABLE paired (bill TEXT PRIMARY KEY, row TEXT UNIQUE, how TEXT)")
    left = "key NOT IN (SELECT {mine} FROM paired) AND key NOT IN (SELECT key FROM {other}) AND at IS NOT NULL"
    theirs = f"FROM billed WHERE {left.format(mine='bill', other='recorded')}"
    ours = f"FROM recorded WHERE {left.format(mine='row', other='billed')}"
    prompt = "fresh + cache_read + cache_write"
    for columns, mine, condition, how in (
        ("model, input, output", f"model, {prompt}, output + reasoning", "", "matched by model, usage and time"),
        ("model", "model", "AND estimated", "matched by model and time"),
    ):
        bills = connection.execute(f"SELECT {columns}, at, key {theirs} ORDER BY {columns}, at")
        rows = connection.execute(f"SELECT {mine}, at, key {ours} {condition} ORDER BY {mine}, at")
        pairs = [(bill, row, how) for bill, row in _nearest(bills, rows, window)]
        connection.executemany("INSERT INTO paired VALUES (?, ?, ?)", pairs)


def _nearest(
    bills: Iterator[tuple[object, ...]], rows: Iterator[tuple[object, ...]], window: int
) -> Iterator[tuple[object, object]]:
    """Pairs that are alike and not further apart than the window, both in one order; each is in one pair at most."""
    bill, row = next(bills, None), next(rows, None)
    while bill is not None and row is not None:
        *alike, at, key = bill
        *wanted, other_at, other = row
        mine, other_key = _order(alike), _order(wanted)
        if mine == other_key and abs(at - other_at) <= window:  # type: ignore[operator]  # both are instants
            yield key, other
            bill, row = next(bills, None), next(rows, None)
        elif (mine, at) < (other_key, other_at):
            bill = next(bills, None)
        else:
            row = next(rows, None)


def _order(values: list[object]) -> list[tuple[bool, object]]:
    """As SQLite orders them: NULL first."""
    return [(value is not None, 0 if value is None else value) for value in values]


def _billed(row: tuple[object, ...]) -> Billed:
    key, line, lines, at, model, *rest = row
    *counts, nano, atto = rest
    return Billed(key, line, lines, at, model, tuple(counts), nano * NANO + atto)  # type: ignore[arg-type,operator]  # as they were stored


def _recorded(row: tuple[object, ...]) -> Recorded | None:
    return None if row[0] is None else Recorded(*row)  # type: ignore[arg-type]  # as they were stored
