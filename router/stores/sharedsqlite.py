"""The ledger in SQLite for several processes of one machine: each writes rows of its own into the one chain.

A transaction begins when the process has the file `NAME.turn` for itself: whoever waits for it is woken at once, where
SQLite's own waiting would sleep, and meanwhile gathers what else is to be written. The chain is gone on with from the row
that is the last one then. What was committed becomes durable when the next already has the file: see `walsync`.
"""

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

import orjson

from router.core.entry import Attempt, Entry, abandoned
from router.core.lease import GRACE_S, MICROS, Account
from router.stores.journal import attempt_of, short
from router.stores.leases import JOURNAL, Buried
from router.stores.ledgerfile import GENESIS, last_row, migrate
from router.stores.ports import StoreDown, Unsure
from router.stores.sqlite import Done, SqliteLedger, each
from router.stores.sqlitefile import connect_file, expect_file
from router.stores.sqlleases import SQLITE, SqlLeases
from router.stores.walsync import WalSync

PATIENCE_S = 20.0  # for the process that is first, and closes what others have left open
_OPEN = "INSERT OR IGNORE INTO attempts (id, body, replica) VALUES {}"
_SETTLED = "UPDATE leases SET settled = settled + ? WHERE account = ? AND start = ? AND replica = ?"
_ORPHANS = "SELECT body FROM attempts WHERE replica NOT IN (SELECT id FROM replicas) ORDER BY id"


class Turn(AbstractContextManager[object]):
    """Has a file for itself, among all who ask so for it, also within one process. Not to be nested."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def __enter__(self) -> None:
        if self._file is None:
            self._file = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def turn_of(path: Path) -> Turn:
    return Turn(path.with_name(f"{path.name}.turn"))


def leases_in(path: Path) -> SqlLeases:
    """Leases beside a ledger. What is lost with the machine's power is nothing: then nobody lives who had leased."""
    return SqlLeases(lambda: _connected(path), SQLITE, turn_of(path))


def _connected(path: Path) -> sqlite3.Connection:
    """Commits do not wait for the disk."""
    made = connect_file(path, write=True)
    made.execute("PRAGMA synchronous=NORMAL")
    return made


class SharedSqliteLedger(SqliteLedger):
    """See the ports `Ledger` and `Burying`."""

    forget = (f"DELETE FROM leases WHERE replica NOT LIKE '{JOURNAL}%'", "DELETE FROM replicas")  # noqa: S608 (names of ours)

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.shared = True
        self.replica = ""
        self._turn = self._file_turn = turn_of(path)
        self._wal = WalSync(path)
        self._alone = False  # nobody else has the file yet

    def start(self) -> None:
        """Share the file, once nobody has it for itself. Raises `StoreDown`."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock_file()
        if self._alone:
            migrate(self.path)
        else:
            expect_file(self.path)
        self._begin()

    def _lock_file(self) -> None:
        lock = os.open(f"{self.path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        end = time.monotonic() + PATIENCE_S
        while True:
            for kind in (fcntl.LOCK_EX, fcntl.LOCK_SH):
                with contextlib.suppress(OSError):
                    fcntl.flock(lock, kind | fcntl.LOCK_NB)
                    self._lock, self._alone = lock, kind == fcntl.LOCK_EX
                    return
            if time.monotonic() > end:
                os.close(lock)
                raise StoreDown(f"{self.path} is in use by another Farebox, which does not share it")
            time.sleep(0.02)

    async def recover(self) -> list[Entry]:
        """Close what was left open by processes that are gone; the others may come from then on."""
        if not self._alone or self._lock is None:
            return await self._bury_all()
        entries = await super().recover()
        self._alone = False
        await asyncio.to_thread(fcntl.flock, self._lock, fcntl.LOCK_SH)
        return entries

    async def _bury_all(self) -> list[Entry]:
        """Close what nobody has open who lives."""
        entries: list[Entry] = []

        def work(connection: sqlite3.Connection) -> None:
            entries[:] = self._close_all(connection, connection.execute(_ORPHANS).fetchall())

        await self._submit("do", work)
        return entries

    async def bury(self, replica: str, *, surely: bool = False) -> list[Entry]:
        entries: list[Entry] = []

        def work(connection: sqlite3.Connection) -> None:
            found = connection.execute("SELECT until FROM replicas WHERE id = ?", (replica,)).fetchone()
            late = SQLITE.now(connection) - int(GRACE_S * MICROS)
            if found is None or not (surely or found[0] < late):
                return
            left = connection.execute("SELECT body FROM attempts WHERE replica = ? ORDER BY id", (replica,)).fetchall()
            entries[:] = self._close_all(connection, left)
            if not replica.startswith(JOURNAL):
                connection.execute("DELETE FROM leases WHERE replica = ?", (replica,))
            connection.execute("DELETE FROM replicas WHERE id = ?", (replica,))

        await self._submit("do", work)
        return entries

    def _close_all(self, connection: sqlite3.Connection, bodies: Iterable[tuple[bytes]]) -> list[Entry]:
        """Close attempts at their holds; what they cost is nobody's who has leased."""
        entries = [abandoned(attempt_of(orjson.loads(body))) for (body,) in bodies]
        super()._append(connection, entries)
        return entries

    async def open(self, attempt: Attempt) -> None:
        """Raises `Buried` where this replica was taken for dead: then what it held for the attempt is charged to nobody."""
        await self._submit("open", (attempt, self.replica))

    async def stop(self) -> None:
        await super().stop()
        self._file_turn.close()
        self._wal.close()

    def _connect(self) -> sqlite3.Connection:
        return _connected(self.path)

    def _durable(self, connection: sqlite3.Connection, done: Done) -> Done:
        """Nobody is told before what was committed is on the disk; where it may not be, nobody knows."""
        if all(error is not None for _, error in done):
            return done
        try:
            self._wal.sync(connection, self._turn)
        except (OSError, sqlite3.Error) as failed:
            unsure = Unsure(f"{self.path}: {failed}")
            return [(batch, unsure if error is None else error) for batch, error in done]
        return done

    def _catch_up(self, connection: sqlite3.Connection) -> None:
        last = last_row(connection)
        self._last_hash = last[1] if last else GENESIS

    def _write_down(self, connection: sqlite3.Connection, attempts: Iterable[Attempt | tuple[Attempt, str]]) -> None:
        opened = [told if isinstance(told, tuple) else (told, self.replica) for told in attempts]
        for name in {replica for _, replica in opened if replica}:
            if connection.execute("SELECT 1 FROM replicas WHERE id = ?", (name,)).fetchone() is None:
                raise Buried(f"no replica {name}")
        each(connection, _OPEN, [(attempt.id, short(attempt), replica) for attempt, replica in opened])

    def _append(self, connection: sqlite3.Connection, entries: Sequence[Entry]) -> dict[Account, int]:
        spend = super()._append(connection, entries)
        if self.replica:
            paid = [(nano, *key, self.replica) for key, nano in spend.items() if nano]
            connection.executemany(_SETTLED, paid)
        return spend
