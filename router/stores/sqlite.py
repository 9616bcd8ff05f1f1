"""The ledger in SQLite: one file, one writer thread, commits batched, each awaited.

With WAL and `synchronous=FULL` what a call promised survives SIGKILL and power loss. Whatever waits when the writer
comes round is one transaction, so the price of a commit is shared by everybody who waits for it. Reads have
connections of their own and never wait for the writer.
"""

import asyncio
import contextlib
import fcntl
import itertools
import logging
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from router.core.entry import Attempt, Entry
from router.core.lease import Account
from router.stores.folding import ROWS, Folding
from router.stores.journal import short
from router.stores.ledgerfile import GENESIS, chain, last_row, migrate, open_attempts, values_of
from router.stores.place import Connection
from router.stores.ports import StoreDown
from router.stores.reading import StoredLedger
from router.stores.schema import COLUMNS, VERSION
from router.stores.sqlitefile import connect_file

log = logging.getLogger("farebox.store")

T = TypeVar("T")
_OPEN = "INSERT OR IGNORE INTO attempts (id, body) VALUES {}"
_OVER = "DELETE FROM attempts WHERE id IN ({})"
_KNOWN = "SELECT id FROM ledger WHERE id IN ({})"
_INSERT = f"INSERT INTO ledger ({', '.join(COLUMNS)}, hash) VALUES {{}}"  # noqa: S608 (names of ours)
_ADD_SPEND = """INSERT INTO spend VALUES (?, ?, ?)
    ON CONFLICT (account, start) DO UPDATE SET nano = nano + excluded.nano"""
_FILL = 10_000  # rows to a transaction that nobody waits for
_BATCH = 1024  # a transaction this large is past the point where a larger one is any faster

_LAST_STEPS = 16  # of folding, before the file is let go
_MOST_ROWS = 32  # to a statement
_TOGETHER_S = 0.01  # how long a row waits for others

Operation = tuple[str, Any, "asyncio.Future[None]"]
Done = list[tuple[list[Operation], Exception | None]]  # what was written, or why not


def fill(path: Path, entries: Iterable[Entry]) -> None:
    """Write entries to a file that nobody serves from, as the server writes them but fast. Raises `StoreDown`."""
    migrate(path)
    ledger, waiting = SqliteLedger(path), iter(entries)
    try:
        with contextlib.closing(connect_file(path, write=True)) as connection:
            connection.execute("PRAGMA synchronous=OFF")
            last = last_row(connection)
            ledger._last_hash = last[1] if last else GENESIS  # noqa: SLF001 (its own)
            while batch := list(itertools.islice(waiting, _FILL)):
                connection.execute("BEGIN IMMEDIATE")
                ledger._append(connection, batch)  # noqa: SLF001 (its own)
                connection.execute("COMMIT")
                while ledger._folding.step(connection, _FILL):  # noqa: SLF001 (its own)
                    pass
    except sqlite3.Error as error:
        raise StoreDown(f"{path}: {error}") from None


def each(connection: sqlite3.Connection, sql: str, rows: Sequence[Sequence[Any]]) -> list[Any]:
    """Execute a statement for many rows at once, and return what it finds. Each statement lets the event loop have the
    interpreter and waits to get it back, so that one for 32 rows costs a fraction of 32.
    """
    out, at = list[Any](), 0
    while at < len(rows):
        size = min(_MOST_ROWS, 1 << (len(rows) - at).bit_length() - 1)  # powers of two, so that few are prepared
        part = rows[at : at + size]
        out += connection.execute(_for(sql, len(part[0]), size), [value for row in part for value in row])
        at += size
    return out


@lru_cache(maxsize=64)
def _for(sql: str, columns: int, rows: int) -> str:
    """A statement with parameters for rows, or for a list where a row has but one value."""
    one = "?" if columns == 1 else f"({', '.join('?' * columns)})"
    return sql.format(", ".join([one] * rows))


class SqliteLedger(StoredLedger):
    """See the port `Ledger`. One serving process at a time; commands may read, and write keys, beside it."""

    forget: tuple[str, ...] = ("DELETE FROM leases", "DELETE FROM replicas")  # that nobody is when this one starts

    def __init__(self, path: Path) -> None:
        self.place = self.path = path
        self.shared = False
        self._queue: queue.SimpleQueue[list[Operation] | None] = queue.SimpleQueue()
        self._next: list[Operation] = []  # what this turn of the event loop has to be written
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock: int | None = None
        self._turn: AbstractContextManager[object] = contextlib.nullcontext()  # while a transaction runs
        self._last_hash = GENESIS
        self._folding = Folding()
        self._since: float | None = None  # when the writer was last idle, while something waits
        self._waiting = 0

    def start(self) -> None:
        """Take the file for this process and begin to write. Raises `StoreDown` if another process serves from it."""
        migrate(self.path)
        self._lock_file()
        self._begin()

    def _lock_file(self) -> None:
        lock = os.open(f"{self.path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise StoreDown(f"{self.path} is in use by another Farebox; one process may serve from it") from None
        self._lock = lock

    def _begin(self) -> None:
        connection = self._connect()
        last = last_row(connection)
        self._last_hash = last[1] if last else GENESIS
        self._folding.add(ROWS)  # that may have been left behind
        self._loop = asyncio.get_running_loop()
        writer = (connection, asyncio.get_running_loop())
        self._thread = threading.Thread(target=self._write, args=writer, name="ledger", daemon=True)
        self._thread.start()

    def _connect(self) -> sqlite3.Connection:
        return connect_file(self.path, write=True)

    async def stop(self) -> None:
        """Write what waits and let the file go."""
        if self._thread is not None:
            self._hand_over()
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
        if not self._next:
            self._loop.call_soon(self._hand_over)
        self._next.append((kind, payload, future))
        return future

    def _hand_over(self) -> None:
        """Give the writer at once what came in one turn of the event loop: one transaction, and one thread to be woken."""
        if self._next:
            batch, self._next = self._next, []
            self._queue.put(batch)

    def lag(self, now: float) -> float:
        """Seconds for which something has waited to be durable, at most."""
        return 0.0 if self._since is None else max(0.0, now - self._since)

    async def open(self, attempt: Attempt) -> None:
        await self._submit("open", attempt)

    async def close(self, entry: Entry) -> None:
        await self._submit("close", entry)

    async def probe(self) -> None:
        """Write something that changes nothing. Raises `StoreDown`."""
        await self._submit("probe", None)

    def _write(self, connection: sqlite3.Connection, loop: asyncio.AbstractEventLoop) -> None:
        """The writer thread: what waits is one transaction. Nobody waits for the row of an attempt that is over, so while
        others begin such rows wait for each other a little: many at once cost hardly more than one.
        """
        rows: list[Operation] = []  # that wait for company
        since, going = 0.0, True
        while going:
            batch, going = self._came(max(0.0, since + _TOGETHER_S - time.perf_counter()) if rows else None)
            with self._turn:  # for which others may have to be waited: meanwhile more has come
                going = going and self._gather(batch)
                if not rows:
                    since = time.perf_counter()
                rows += [operation for operation in batch if operation[0] == "close"]
                batch = [operation for operation in batch if operation[0] != "close"]
                late = time.perf_counter() - since >= _TOGETHER_S
                if late or len(rows) >= _MOST_ROWS or not batch or not going:
                    batch, rows = batch + rows, []
                done = self._commit(connection, batch) if batch else []
            for part, error in self._durable(connection, done):
                with contextlib.suppress(RuntimeError):  # the loop has ended; nobody waits any more
                    loop.call_soon_threadsafe(self._done, part, error)
            if self._folding.due(idle=self._queue.empty()):
                self._fold(connection)
        for _ in range(_LAST_STEPS):
            if not self._fold(connection):
                break
        connection.close()

    def _fold(self, connection: sqlite3.Connection) -> bool:
        """Take a step; False if there is none. What fails is tried again, and everybody reads the sums right meanwhile."""
        try:
            with self._turn:
                return self._folding.step(connection)
        except sqlite3.Error:
            log.exception("rows could not be added to the sums")
            return False

    def _came(self, wait_s: float | None) -> tuple[list[Operation], bool]:
        """(what has come by then, whether more may come)."""
        try:
            came = self._queue.get(timeout=wait_s)
        except queue.Empty:
            return [], True
        return ([], False) if came is None else (came, True)

    def _gather(self, batch: list[Operation]) -> bool:
        """Add what else has come; whether more may come."""
        while len(batch) < _BATCH and not self._queue.empty():
            if (more := self._queue.get_nowait()) is None:
                return False
            batch += more
        return True

    def _commit(self, connection: sqlite3.Connection, batch: list[Operation]) -> Done:
        """Write a batch; if a row is bad, each alone, so that it does not take the others with it."""
        error = self._apply(connection, batch)
        if error is not None and len(batch) > 1 and not isinstance(error, sqlite3.OperationalError):  # not the disk
            return [done for operation in batch for done in self._commit(connection, [operation])]
        return [(batch, error)]

    def _durable(self, _connection: sqlite3.Connection, done: Done) -> Done:
        """What may be told to those who wait: a commit is durable."""
        return done

    def _done(self, batch: list[Operation], error: Exception | None) -> None:
        self._waiting -= len(batch)
        self._since = time.perf_counter() if self._waiting else None
        for _, _, future in batch:
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error if isinstance(error, StoreDown) else StoreDown(str(error)))

    def _apply(self, connection: sqlite3.Connection, batch: list[Operation]) -> Exception | None:
        last = self._last_hash
        try:
            connection.execute("BEGIN IMMEDIATE")
            self._catch_up(connection)
            if opened := [item for kind, item, _ in batch if kind == "open"]:
                self._write_down(connection, opened)
            if closed := [item for kind, item, _ in batch if kind == "close"]:
                self._append(connection, closed)
            works = [item for kind, item, _ in batch if kind == "do"]
            for work in works:
                work(connection)
            if not opened and not closed and not works:
                connection.execute(f"PRAGMA user_version={VERSION}")
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001  (whatever it is, those who wait are told and the writer goes on)
            self._last_hash = last
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            return error
        return None

    def _catch_up(self, connection: sqlite3.Connection) -> None:
        """Nobody else writes."""

    def _write_down(self, connection: sqlite3.Connection, attempts: Iterable[Attempt]) -> None:
        each(connection, _OPEN, [(attempt.id, short(attempt)) for attempt in attempts])

    def _append(self, connection: sqlite3.Connection, entries: Sequence[Entry]) -> dict[Account, int]:
        """Rows, and what they cost in the accounts, in one transaction, so that they can never disagree: what was spent."""
        spend: dict[Account, int] = {}
        ids = [(entry.attempt.id,) for entry in entries]
        known = {found[0] for found in each(connection, _KNOWN, ids)}  # closed before: the sums have it already
        added = []
        for entry in entries:
            if entry.attempt.id in known:
                continue
            known.add(entry.attempt.id)
            values = values_of(entry)
            self._last_hash = chain(self._last_hash, values)
            added.append((*values, self._last_hash))
            for account, start, nano in entry.charges:
                spend[account, start] = spend.get((account, start), 0) + nano
        each(connection, _INSERT, added)
        each(connection, _OVER, ids)
        connection.executemany(_ADD_SPEND, [(*key, nano) for key, nano in spend.items()])
        self._folding.add(len(added))
        return spend

    async def recover(self) -> list[Entry]:
        """See the port. Nobody else lives, and nothing is leased."""
        entries: list[Entry] = []

        def work(connection: sqlite3.Connection) -> None:
            entries[:] = open_attempts(connection)
            self._append(connection, entries)
            for statement in self.forget:
                connection.execute(statement)

        await self._submit("do", work)
        return entries

    # Reading

    async def _read(self, query: Callable[[Connection], T]) -> T:
        return await asyncio.to_thread(self._ask, query)

    async def _change(self, query: Callable[[Connection], T]) -> T:
        return await asyncio.to_thread(self._ask, query, write=True)

    def _ask(self, query: Callable[[Connection], T], *, write: bool = False) -> T:
        try:
            with contextlib.closing(connect_file(self.path, write=write)) as connection:
                return query(connection)
        except sqlite3.Error as error:
            raise StoreDown(f"{self.path}: {error}") from None
