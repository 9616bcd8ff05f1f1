"""The ledger in SQLite: one file, one writer thread, commits batched, each awaited.

With WAL and `synchronous=FULL` what a call promised survives SIGKILL and power loss. Whatever waits when the writer
comes round is one transaction, so the price of a commit is shared by everybody who waits for it. Reads have
connections of their own and never wait for the writer.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import queue
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import orjson

from router.core.entry import Attempt, Entry, abandoned
from router.core.limits import FOREVER, Budget, moment
from router.core.money import Rate, convert_nano, show
from router.core.usage import LEAVES, Usage
from router.stores.ports import SUMS, TOTAL_FIELDS, Labels, StoredKey, StoreDown, Total, labels_of
from router.stores.schema import COLUMNS, STEPS, VERSION

T = TypeVar("T")
_GENESIS = bytes(32)
# Not INSERT OR IGNORE, which would also swallow a row with a NULL where none may be.
_INSERT = f"""INSERT INTO ledger ({", ".join(COLUMNS)}, hash) VALUES ({", ".join("?" * (len(COLUMNS) + 1))})
    ON CONFLICT (id) DO NOTHING"""  # noqa: S608 (names of ours)
_ADD_SPEND = """INSERT INTO spend VALUES (?, ?, ?)
    ON CONFLICT (account, start) DO UPDATE SET nano = nano + excluded.nano"""
_ADD_TOTAL = f"""INSERT INTO totals VALUES ({", ".join("?" * (8 + len(SUMS)))})
    ON CONFLICT DO UPDATE SET {", ".join(f"{name} = {name} + excluded.{name}" for name in SUMS)}"""  # noqa: S608 (names of ours)
_BATCH = 1024  # a transaction this large is past the point where a larger one is any faster

Operation = tuple[str, Any, "asyncio.Future[None]"]


def connect(path: Path, *, write: bool = False) -> sqlite3.Connection:
    """A connection as the store uses it; read-only unless told otherwise. Raises `StoreDown`."""
    try:
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = not path.exists()
            connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
            if fresh:
                path.chmod(0o600)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
        else:
            connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10, check_same_thread=False
            )
        connection.execute("PRAGMA cache_size=-8000")
    except (sqlite3.Error, OSError) as error:
        raise StoreDown(f"{path}: {error}") from None
    return connection


def migrate(path: Path) -> tuple[int, int]:
    """Bring the file to this version's schema: (version before, version now). Raises `StoreDown`."""
    with contextlib.closing(connect(path, write=True)) as connection:
        before: int = connection.execute("PRAGMA user_version").fetchone()[0]
        if before > VERSION:
            raise StoreDown(f"{path} was written by a newer Farebox (schema {before}, this one knows {VERSION})")
        try:
            for number, step in enumerate(STEPS[before:], before + 1):
                connection.executescript(f"BEGIN IMMEDIATE; {step} PRAGMA user_version={number}; COMMIT;")
        except sqlite3.Error as error:
            raise StoreDown(f"{path}: migration {number} failed: {error}") from None
    return before, VERSION


class SqliteLedger:
    """See the port `Ledger`. One serving process at a time; commands may read, and write keys, beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._queue: queue.SimpleQueue[Operation | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock: int | None = None
        self._last_hash = _GENESIS
        self._since: float | None = None  # when the writer was last idle, while something waits
        self._waiting = 0

    def start(self) -> None:
        """Take the file for this process and begin to write. Raises `StoreDown` if another process serves from it."""
        migrate(self.path)
        self._lock = os.open(f"{self.path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise StoreDown(f"{self.path} is in use by another Farebox; one process may serve from it") from None
        connection = connect(self.path, write=True)
        last = connection.execute("SELECT hash FROM ledger ORDER BY seq DESC LIMIT 1").fetchone()
        self._last_hash = last[0] if last else _GENESIS
        self._loop = asyncio.get_running_loop()
        writer = (connection, asyncio.get_running_loop())
        self._thread = threading.Thread(target=self._write, args=writer, name="ledger", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Write what waits and let the file go."""
        if self._thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # Writing

    def _submit(self, kind: str, payload: Any) -> "asyncio.Future[None]":
        if self._loop is None or self._thread is None:
            raise StoreDown("the ledger is not open")
        future = self._loop.create_future()
        if not self._waiting:
            self._since = time.perf_counter()
        self._waiting += 1
        self._queue.put((kind, payload, future))
        return future

    def lag(self, now: float) -> float:
        """Seconds for which something has waited to be durable, at most."""
        return 0.0 if self._since is None else max(0.0, now - self._since)

    async def open(self, attempt: Attempt) -> None:
        await self._submit("open", attempt)

    async def close(self, entry: Entry) -> None:
        await self._submit("close", entry)

    def _write(self, connection: sqlite3.Connection, loop: asyncio.AbstractEventLoop) -> None:
        """The writer thread: everything that waits is one transaction."""
        stopping = False
        while not stopping:
            batch: list[Operation] = []
            first: Operation | None = self._queue.get()
            while True:
                if first is None:
                    stopping = True
                    break
                batch.append(first)
                if len(batch) >= _BATCH or self._queue.empty():
                    break
                first = self._queue.get_nowait()
            if batch:
                self._commit(connection, loop, batch)
        connection.close()

    def _commit(self, connection: sqlite3.Connection, loop: asyncio.AbstractEventLoop, batch: list[Operation]) -> None:
        """Write a batch; if it fails, each alone, so that one bad row does not take the others with it."""
        error = self._apply(connection, batch)
        if error is not None and len(batch) > 1:
            for operation in batch:
                self._commit(connection, loop, [operation])
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended; nobody waits any more
            loop.call_soon_threadsafe(self._done, batch, error)

    def _done(self, batch: list[Operation], error: Exception | None) -> None:
        self._waiting -= len(batch)
        self._since = time.perf_counter() if self._waiting else None
        for _, _, future in batch:
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(StoreDown(str(error)))

    def _apply(self, connection: sqlite3.Connection, batch: list[Operation]) -> Exception | None:
        last = self._last_hash
        try:
            connection.execute("BEGIN IMMEDIATE")
            opened = [(item.id, orjson.dumps(item)) for kind, item, _ in batch if kind == "open"]
            if opened:
                connection.executemany("INSERT OR IGNORE INTO attempts VALUES (?, ?)", opened)
            closed = [item for kind, item, _ in batch if kind == "close"]
            if closed:
                self._append(connection, closed)
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001  (whatever it is, those who wait are told and the writer goes on)
            self._last_hash = last
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            return error
        return None

    def _append(self, connection: sqlite3.Connection, entries: Iterable[Entry]) -> None:
        """Rows, and the sums that are kept of them, in one transaction, so that they can never disagree."""
        spend: dict[tuple[str, int], int] = {}
        totals: dict[Labels, Total] = {}
        ids = []
        for entry in entries:
            values = _values(entry)
            digest = chain(self._last_hash, values)
            ids.append((entry.attempt.id,))
            if connection.execute(_INSERT, (*values, digest)).rowcount != 1:
                continue  # closed before: the sums have it already
            self._last_hash = digest
            for account, start, nano in entry.charges:
                spend[account, start] = spend.get((account, start), 0) + nano
            labels = labels_of(entry)
            if (total := totals.get(labels)) is None:
                total = totals[labels] = Total(*labels)
            total.add(entry)
        connection.executemany("DELETE FROM attempts WHERE id = ?", ids)
        connection.executemany(_ADD_SPEND, [(*key, nano) for key, nano in spend.items()])
        rows = [(*labels, *(getattr(total, name) for name in SUMS)) for labels, total in totals.items()]
        connection.executemany(_ADD_TOTAL, rows)

    async def recover(self) -> list[Entry]:
        entries = await self._read(_open_attempts)
        for entry in entries:
            await self.close(entry)
        return entries

    # Reading

    async def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        def run() -> T:
            try:
                with contextlib.closing(connect(self.path)) as connection:
                    return query(connection)
            except sqlite3.Error as error:
                raise StoreDown(f"{self.path}: {error}") from None

        return await asyncio.to_thread(run)

    async def entries(self, after: int = 0, limit: int = 1000) -> AsyncIterator[tuple[int, dict[str, Any]]]:
        for item in await self._read(lambda connection: list(rows(connection, after, limit))):
            yield item

    async def totals(self, since: int | None = None, until: int | None = None) -> list[Total]:
        return await self._read(lambda connection: totals(connection, since, until))

    async def of_requests(self, ids: Iterable[str]) -> Mapping[str, list[dict[str, Any]]]:
        """The rows of each of these requests, first attempt first; none for one that is not in the ledger."""
        return await self._read(lambda connection: {name: list(rows_of(connection, name)) for name in ids})

    async def spent(
        self, accounts: Iterable[tuple[Budget, int]], rates: Mapping[str, Rate] | None = None
    ) -> Mapping[str, int]:
        wanted = list(accounts)

        def query() -> Mapping[str, int]:
            with contextlib.closing(connect(self.path, write=True)) as connection:
                return _spent(connection, wanted, rates or {})

        return await asyncio.to_thread(query)

    # Keys

    async def keys(self) -> list[StoredKey]:
        return await self._read(read_keys)

    async def add_key(self, key: StoredKey) -> None:
        await asyncio.to_thread(add_key, self.path, key)

    async def revoke_key(self, key_id: str, now: int) -> bool:
        return await asyncio.to_thread(revoke_key, self.path, key_id, now)


def chain(last: bytes, values: Sequence[Any]) -> bytes:
    """The hash of a row: over the one before it and its own columns, so that no row can be changed, added or removed
    unseen.
    """
    return hashlib.sha256(last + orjson.dumps(values)).digest()


def _values(entry: Entry) -> tuple[Any, ...]:
    """An entry as the ledger's columns."""
    a, u = entry.attempt, entry.usage
    return (
        a.id, a.request_id, a.number, a.at, a.team, a.key, a.route, a.model, a.vendor, a.tier, entry.outcome,
        entry.basis, u.input_fresh, u.cache_read, u.cache_write_5m, u.cache_write_1h, u.output_text, u.output_reasoning,
        entry.cost, a.currency, entry.vendor_cost, a.vendor_currency, entry.flagship_cost, a.held, a.price, a.reason,
        orjson.dumps(dict(a.tags)).decode() if a.tags else "{}", int(entry.final), entry.first_byte_ms, entry.total_ms,
    )  # fmt: skip


def rows(connection: sqlite3.Connection, after: int = 0, limit: int = -1) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows in the contract's form, with their sequence numbers."""
    yield from _rows(connection, "seq > ? ORDER BY seq LIMIT ?", (after, limit))


def rows_of(connection: sqlite3.Connection, request_id: str) -> Iterator[dict[str, Any]]:
    """One request's rows, found by their ids, which are the request's and the attempt's number."""
    for _, row in _rows(connection, "id > ? AND id < ? ORDER BY attempt", (f"{request_id}.", f"{request_id}/")):
        yield row


def _rows(connection: sqlite3.Connection, where: str, args: Sequence[Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    columns = ", ".join(COLUMNS)
    found = connection.execute(f"SELECT seq, hash, {columns} FROM ledger WHERE {where}", args)  # noqa: S608 (names of ours)
    for seq, digest, *values in found:
        row: dict[str, Any] = dict(zip(COLUMNS, values, strict=True))
        usage = {name: count for name in LEAVES if (count := row.pop(name)) is not None}
        for name in ("cost", "vendor_cost", "flagship_cost", "held"):
            row[name] = show(row[name])
        row["at"] = moment(row["at"]).isoformat(timespec="microseconds").replace("+00:00", "Z")
        row["tags"] = orjson.loads(row["tags"])
        row["final"] = bool(row["final"])
        yield seq, {**row, "usage": usage, "hash": digest.hex()}


def totals(connection: sqlite3.Connection, since: int | None = None, until: int | None = None) -> list[Total]:
    """The sums that are kept; for a span of time [since, until), the same counted from its rows."""
    fields: Sequence[str] = TOTAL_FIELDS
    if since is None and until is None:
        found = connection.execute(f"SELECT {', '.join(fields)} FROM totals")  # noqa: S608 (names of ours)
    else:
        labels = ", ".join(fields[:8])
        fields = (*fields[:8], *SUMMED, "vendor_cost")
        query = f"SELECT {labels}, {_SUMMED}, sum(vendor_cost) FROM ledger WHERE at >= ? AND at < ? GROUP BY {labels}"  # noqa: S608 (names of ours)
        found = connection.execute(query, (since or 0, FOREVER if until is None else until))
    return [Total(**dict(zip(fields, values, strict=True))) for values in found]


def verify(connection: sqlite3.Connection) -> Iterator[tuple[int, bool]]:
    """Walk the chain: (sequence number, whether the row is as it was written and follows the one before it)."""
    last, expected = _GENESIS, 1
    for seq, digest, *values in connection.execute(f"SELECT seq, hash, {', '.join(COLUMNS)} FROM ledger ORDER BY seq"):  # noqa: S608 (names of ours)
        yield seq, seq == expected and chain(last, values) == digest
        last, expected = digest, seq + 1


def _open_attempts(connection: sqlite3.Connection) -> list[Entry]:
    entries = []
    for (body,) in connection.execute("SELECT body FROM attempts ORDER BY id"):
        told = orjson.loads(body)
        told["bound"] = Usage(**told["bound"])
        told["holds"] = tuple(tuple(hold) for hold in told["holds"])
        entries.append(abandoned(Attempt(**told)))
    return entries


def _spent(
    connection: sqlite3.Connection, accounts: Sequence[tuple[Budget, int]], rates: Mapping[str, Rate]
) -> Mapping[str, int]:
    """Settled money per account. An account that was not live when rows were written is counted anew from the rows, so
    that a budget added in the middle of a month knows what the month has cost.
    """
    live = {name for (name,) in connection.execute("SELECT account FROM accounts WHERE live")}
    out: dict[str, int] = {}
    connection.execute("BEGIN IMMEDIATE")
    for budget, start in accounts:
        if budget.account not in live:
            spent = _count_anew(connection, budget, start, rates)
            connection.execute("INSERT OR REPLACE INTO spend VALUES (?, ?, ?)", (budget.account, start, spent))
            connection.execute("INSERT OR REPLACE INTO accounts VALUES (?, 1)", (budget.account,))
            live.add(budget.account)
        found = connection.execute(
            "SELECT nano FROM spend WHERE account = ? AND start = ?", (budget.account, start)
        ).fetchone()
        out[budget.account] = found[0] if found else 0
    gone = live - {budget.account for budget, _ in accounts}
    connection.executemany("UPDATE accounts SET live = 0 WHERE account = ?", [(name,) for name in gone])
    connection.execute("COMMIT")
    return out


def settled(
    connection: sqlite3.Connection, accounts: Iterable[tuple[Budget, int]], rates: Mapping[str, Rate]
) -> Mapping[str, int]:
    """What each budget's account has settled in the window that starts at the given instant; writes nothing."""
    live = {name for (name,) in connection.execute("SELECT account FROM accounts WHERE live")}
    query = "SELECT nano FROM spend WHERE account = ? AND start = ?"
    out: dict[str, int] = {}
    for budget, start in accounts:
        if budget.account in live:
            found = connection.execute(query, (budget.account, start)).fetchone()
            out[budget.account] = found[0] if found else 0
        else:
            out[budget.account] = _count_anew(connection, budget, start, rates)
    return out


def _count_anew(connection: sqlite3.Connection, budget: Budget, start: int, rates: Mapping[str, Rate]) -> int:
    where, args = "at >= ?", list[Any]([start])
    team, _, key = budget.owner.partition("/")
    if budget.owner != "*":
        where, args = where + " AND team = ?", [*args, team]
    if key:
        where, args = where + " AND key = ?", [*args, key]
    total = 0
    query = f"""SELECT currency, vendor_currency, sum(cost), sum(vendor_cost) FROM ledger
        WHERE {where} GROUP BY currency, vendor_currency"""  # noqa: S608 (fixed text)
    for currency, vendor_currency, cost, vendor_cost in connection.execute(query, args):
        if vendor_currency == budget.currency:
            total += vendor_cost
        elif currency == budget.currency:
            total += cost
        else:
            total += convert_nano(cost, rates[currency].then(rates[budget.currency].inverse()))
    return total


# What a report may be grouped by, as SQL; a key's name is only unique within its team.
GROUPS: Mapping[str, str] = {
    "team": "team", "key": "team || '/' || key", "route": "route", "model": "model", "vendor": "vendor",
    "tier": "tier", "outcome": "outcome", "day": "date(at / 1000000, 'unixepoch')",
}  # fmt: skip
_SUMMED = """count(*), sum(final), sum(cost),
    sum(CASE WHEN outcome <> 'error' AND flagship_cost > cost THEN flagship_cost - cost ELSE 0 END),
    sum(CASE WHEN basis = 'estimated' THEN cost ELSE 0 END), ifnull(sum(input_fresh), 0), ifnull(sum(cache_read), 0),
    ifnull(sum(cache_write_5m), 0) + ifnull(sum(cache_write_1h), 0), ifnull(sum(output_text), 0),
    ifnull(sum(output_reasoning), 0)"""
SUMMED = (
    "attempts", "requests", "cost", "saved", "estimated_cost", "input", "cache_read", "cache_write", "output",
    "reasoning",
)  # fmt: skip


def sums(
    connection: sqlite3.Connection, by: Sequence[str], since: int | None = None, until: int | None = None
) -> Iterator[tuple[Any, ...]]:
    """Sums over the attempts that began in [since, until), as (*groups, currency, *SUMMED); amounts are nano-units. In
    the order of days where they are asked for, else the dearest first.
    """
    names = [*(GROUPS[name] for name in by), "currency"]
    places = ", ".join(str(i) for i in range(1, len(names) + 1))
    order = f"{by.index('day') + 1}, sum(cost) DESC" if "day" in by else "sum(cost) DESC"
    bounds = [(sign, at) for sign, at in ((">=", since), ("<", until)) if at is not None]
    where = " AND ".join(f"at {sign} ?" for sign, _ in bounds) or "true"
    query = f"""SELECT {", ".join(names)}, {_SUMMED} FROM ledger WHERE {where}
        GROUP BY {places} ORDER BY {order}, {places}"""  # noqa: S608 (names of ours)
    yield from connection.execute(query, [at for _, at in bounds])


def read_keys(connection: sqlite3.Connection) -> list[StoredKey]:
    return [StoredKey(*found) for found in connection.execute("SELECT * FROM keys ORDER BY created")]


def add_key(path: Path, key: StoredKey) -> None:
    """Store a key's hash. Raises `StoreDown`."""
    with contextlib.closing(connect(path, write=True)) as connection:
        try:
            connection.execute(
                "INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?)",
                (key.id, key.team, key.name, key.sha256, key.created, key.expires, key.revoked),
            )
        except sqlite3.Error as error:
            raise StoreDown(f"{path}: {error}") from None


def revoke_key(path: Path, key_id: str, now: int) -> bool:
    """Revoke a key; False if there is no such key that is still valid. Raises `StoreDown`."""
    with contextlib.closing(connect(path, write=True)) as connection:
        try:
            done = connection.execute("UPDATE keys SET revoked = ? WHERE id = ? AND revoked IS NULL", (now, key_id))
        except sqlite3.Error as error:
            raise StoreDown(f"{path}: {error}") from None
        return done.rowcount == 1
