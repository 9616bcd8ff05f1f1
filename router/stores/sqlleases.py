"""Leases in SQL: beside the ledger in SQLite, for several processes on one machine, or in PostgreSQL.

Each operation is one transaction, on a connection and a thread of their own. It begins by taking the next turn of the
replica that asks, so that an operation that was given up and comes late changes nothing. A draw then locks the row of
`spend` of each account, always in the same order, before it reads what all have leased: the ledger changes that row in the
transaction in which it changes `leases.settled`, so that both are seen together or not at all.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, Protocol, TypeVar

from router.core.lease import GRACE_S, MICROS, TTL_S, WANTED_S, Account, Ask, Lease, Renewed, granted
from router.stores.leases import Buried
from router.stores.ports import StoreDown

T = TypeVar("T")
ANSWER_S = 5.0  # how long anybody waits for an operation
AGAIN_S = 1.0  # an operation that failed sooner is tried once more: it may have met another
_MOST = 500  # accounts to one statement
_MOST_DEAD = 20  # that are told at a time


class Connection(Protocol):
    """What is needed of a connection; `?` stands for a value."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Any: ...

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Any: ...

    def close(self) -> None: ...


class Dialect(NamedTuple):
    """Where databases differ."""

    begin: str
    lock: str  # behind a SELECT of rows of `spend` that nobody else may change meanwhile
    now: Callable[[Connection], int]  # the store's clock, in microseconds


def _monotonic(_: Connection) -> int:
    """All processes of a machine have it in common, and nobody can set it. It begins anew with the machine: whoever is
    first to serve from a file buries everybody.
    """
    return time.monotonic_ns() // 1000


def _of_the_server(connection: Connection) -> int:
    now: int = connection.execute("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)").fetchone()[
        0
    ]
    return now


SQLITE = Dialect("BEGIN IMMEDIATE", "", _monotonic)
POSTGRES = Dialect(
    "BEGIN ISOLATION LEVEL READ COMMITTED", ' ORDER BY account COLLATE "C", start FOR UPDATE', _of_the_server
)

_TAKEN = "CASE WHEN nano > settled THEN nano ELSE settled END"
_STANDS = f"""SELECT account, start, CAST(sum(settled) AS BIGINT),
    CAST(sum(CASE WHEN replica = ? THEN 0 ELSE {_TAKEN} END) AS BIGINT),
    CAST(sum(CASE WHEN replica = ? THEN nano ELSE 0 END) AS BIGINT),
    CAST(sum(CASE WHEN replica = ? THEN settled ELSE 0 END) AS BIGINT),
    CAST(sum(CASE WHEN replica = ? THEN wanted ELSE 0 END) AS BIGINT),
    max(CASE WHEN replica = ? THEN 1 ELSE 0 END)
    FROM leases WHERE (account, start) IN (VALUES {{0}}) GROUP BY account, start"""  # noqa: S608 (names of ours)
_LEASE = """INSERT INTO leases (account, start, replica, nano, settled, wanted) VALUES (?, ?, ?, ?, 0, ?)
    ON CONFLICT (account, start, replica) DO UPDATE SET nano = excluded.nano, wanted = excluded.wanted"""
_RECALLED = """SELECT DISTINCT own.account, own.start FROM leases AS own JOIN leases AS other
    ON other.account = own.account AND other.start = own.start
    WHERE other.wanted > ? AND other.replica <> ? AND own.replica = ? AND own.nano > own.settled"""


class _Stand(NamedTuple):
    """How an account stands for one replica, and what its row says."""

    lease: Lease
    wanted: int = 0
    there: bool = False


class SqlLeases:
    """See the port `Leases`."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        dialect: Dialect = SQLITE,
        turn: AbstractContextManager[object] | None = None,
    ) -> None:
        """Nothing is opened before it is needed.

        Args:
            connect: makes a connection that is in no transaction; it may raise `StoreDown`.
            dialect: of its database.
            turn: what to hold while a transaction runs.

        """
        self._connect, self._dialect, self._turn = connect, dialect, turn or nullcontext()
        self._connection: Connection | None = None
        self._thread = ThreadPoolExecutor(1, "leases")
        self._number = 0
        self._closed = False
        self._known: set[Account] = set()  # that have a row in `spend`

    async def join(self, replica: str) -> Renewed:
        def work(connection: Connection) -> Renewed:
            connection.execute("INSERT INTO replicas (id, until) VALUES (?, 0) ON CONFLICT (id) DO NOTHING", (replica,))
            return self._renew(connection, replica)

        return await self._run(work, again=False)  # under another name, or one that comes late gives life to the dead

    async def renew(self, replica: str) -> Renewed:
        return await self._run(lambda connection: self._renew(connection, replica))

    async def draw(self, replica: str, asks: Sequence[Ask], over: Sequence[Account] = ()) -> list[Lease]:
        if not asks and not over:
            return []
        return await self._run(
            lambda connection: self._draw(connection, replica, asks, over), [ask.key for ask in asks]
        )

    async def look(self, replica: str, accounts: Sequence[Account]) -> list[Lease]:
        def work(connection: Connection) -> list[Lease]:
            found = self._stand(connection, replica, sorted(accounts), "")
            return [found[key].lease for key in accounts]

        return await self._run(work) if accounts else []

    async def leave(self, replica: str) -> None:
        def work(connection: Connection) -> None:
            connection.execute(
                "DELETE FROM replicas WHERE id = ?", (replica,)
            )  # nothing is opened or drawn from here on
            connection.execute("DELETE FROM leases WHERE replica = ?", (replica,))

        await self._run(work)

    async def buried(self, replica: str) -> None:
        """Nothing is kept elsewhere."""

    async def close(self) -> None:
        """Let the connection go. It may be asked for again."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(StoreDown):
            await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(self._thread, self._drop), ANSWER_S)
        self._thread.shutdown(wait=False)

    # In the thread

    async def _run(self, work: Callable[[Connection], T], keys: Sequence[Account] = (), *, again: bool = True) -> T:
        """One operation. Those of a replica run one after another, so one that is waited for no longer is over before the
        next begins.
        """
        running = asyncio.get_running_loop().run_in_executor(self._thread, self._try, work, keys, again)
        running.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            return await asyncio.wait_for(asyncio.shield(running), ANSWER_S)
        except TimeoutError:
            raise StoreDown(f"leases are not answered within {ANSWER_S:g} s") from None

    def _try(self, work: Callable[[Connection], T], keys: Sequence[Account], again: bool) -> T:  # noqa: FBT001 (of `_run`)
        began = time.monotonic()
        try:
            return self._once(work, keys)
        except Buried:
            raise
        except StoreDown:
            if not again or time.monotonic() - began > AGAIN_S:
                raise
        return self._once(work, keys)

    def _once(self, work: Callable[[Connection], T], keys: Sequence[Account]) -> T:
        try:
            if self._connection is None:
                self._connection = self._connect()
            with self._turn:
                self._know(self._connection, keys)
                self._connection.execute(self._dialect.begin)
                out = work(self._connection)
                self._connection.execute("COMMIT")
                return out
        except BaseException as error:
            self._drop()
            if isinstance(error, sqlite3.Error):
                raise StoreDown(str(error)) from None
            raise

    def _drop(self) -> None:
        """Whatever was begun on the connection is undone."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error, StoreDown):
                self._connection.close()
            self._connection = None

    def _know(self, connection: Connection, keys: Iterable[Account]) -> None:
        """See that there are rows to lock, before anything is locked."""
        new = sorted({key for key in keys if key not in self._known})
        if new:
            query = "INSERT INTO spend (account, start, nano) VALUES (?, ?, 0) ON CONFLICT (account, start) DO NOTHING"
            connection.executemany(query, new)
            self._known.update(new)

    def _take_turn(self, connection: Connection, replica: str, until: int = 0) -> None:
        """Raises `Buried`."""
        self._number += 1
        query = """UPDATE replicas SET turn = ?, until = CASE WHEN until > ? THEN until ELSE ? END
            WHERE id = ? AND turn < ?"""
        if connection.execute(query, (self._number, until, until, replica, self._number)).rowcount != 1:
            raise Buried(f"no replica {replica}")

    def _renew(self, connection: Connection, replica: str) -> Renewed:
        now = self._dialect.now(connection)
        self._take_turn(connection, replica, now + int(TTL_S * MICROS))
        live = connection.execute("SELECT count(*) FROM replicas WHERE until >= ?", (now,)).fetchone()[0]
        dead = connection.execute(
            "SELECT id FROM replicas WHERE until < ? ORDER BY until LIMIT ?", (now - int(GRACE_S * MICROS), _MOST_DEAD)
        )
        names = tuple(name for (name,) in dead.fetchall())
        recalled = connection.execute(_RECALLED, (now - int(WANTED_S * MICROS), replica, replica)).fetchall()
        return Renewed(live, frozenset((account, start) for account, start in recalled), names)

    def _draw(self, connection: Connection, replica: str, asks: Sequence[Ask], over: Sequence[Account]) -> list[Lease]:
        self._take_turn(connection, replica)
        found = self._stand(connection, replica, sorted(ask.key for ask in asks), self._dialect.lock)
        leases, changed = [], []
        for ask in asks:
            stand = found[ask.key]
            nano = granted(ask, stand.lease.others)
            wanted = self._dialect.now(connection) if nano < ask.need else 0
            if (nano, wanted) != (stand.lease.nano, stand.wanted) or not stand.there:
                changed.append((*ask.key, replica, nano, wanted))
            leases.append(stand.lease._replace(nano=nano))
        if over:
            connection.executemany(
                "DELETE FROM leases WHERE account = ? AND start = ? AND replica = ?", [(*key, replica) for key in over]
            )
        if changed:
            connection.executemany(_LEASE, sorted(changed))
        return leases

    def _stand(self, connection: Connection, replica: str, keys: Sequence[Account], lock: str) -> dict[Account, _Stand]:
        out = {}
        for part in _parts(keys):
            places, values = ", ".join(["(?, ?)"] * len(part)), [value for key in part for value in key]
            query = f"SELECT account, start, nano FROM spend WHERE (account, start) IN (VALUES {places}){lock}"  # noqa: S608 (fixed text)
            spent = {(account, start): nano for account, start, nano in connection.execute(query, values).fetchall()}
            rows = connection.execute(_STANDS.format(places), (*[replica] * 5, *values)).fetchall()
            for account, start, settled, others, own, own_settled, wanted, there in rows:
                spend = spent.get((account, start), 0)
                lease = Lease(own, spend - settled + others, spend - own_settled)
                out[account, start] = _Stand(lease, wanted, bool(there))
            for key in part:
                if key not in out:
                    nano = spent.get(key, 0)
                    out[key] = _Stand(Lease(0, nano, nano))
        return out


def _parts(keys: Sequence[Account]) -> Iterator[Sequence[Account]]:
    for i in range(0, len(keys), _MOST):
        yield keys[i : i + _MOST]
