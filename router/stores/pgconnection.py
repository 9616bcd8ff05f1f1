"""Connections to PostgreSQL that take the SQL of `ledgerfile`, `spans`, `hours` and `outbox`; see `place`."""

import contextlib
import os
import re
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader

from router.stores.place import NO_LEDGER, Postgres
from router.stores.ports import StoreDown

T = TypeVar("T")
Raw = psycopg.Connection[tuple[Any, ...]]

# A server that does not answer must not keep requests waiting for as long as the system's defaults would. The URL may say
# otherwise.
_DEFAULTS: dict[str, Any] = {
    "application_name": "farebox", "connect_timeout": 5, "tcp_user_timeout": 10_000, "keepalives_idle": 10,
    "keepalives_interval": 5, "keepalives_count": 3,
}  # fmt: skip
NOW = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"  # the server's, in microseconds
# A transaction that is left alone for so long, as by a process that was stopped, is ended by the server: others may wait for it,
# and must not take the server for dead.
STUCK_MS = 3000
# What was promised to be written is, whatever the server's default; where it waits for others too it goes on to.
_BEGUN = f"""SELECT set_config('idle_in_transaction_session_timeout', '{STUCK_MS}', false),
    CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', false) END"""
_SPARE = 4  # connections for reads that are kept for the next


class _Whole(Loader):
    """Sums are `numeric` in PostgreSQL; all of ours are whole."""

    def load(self, data: Buffer) -> int:
        return int(bytes(data))


def open_raw(place: Postgres) -> Raw:
    """A connection as the driver has it. Raises `psycopg.Error`."""
    told = {name: value for name, value in _DEFAULTS.items() if f"{name}=" not in place.url}
    raw = psycopg.connect(place.url, autocommit=True, **told)
    raw.adapters.register_loader("numeric", _Whole)
    raw.execute(_BEGUN)
    return raw


def cut(raw: Raw) -> None:
    """Let whoever waits on a connection for a server that does not answer go on, with an error."""
    with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(raw.fileno())) as end:
        end.shutdown(socket.SHUT_RDWR)


def told(place: Postgres, error: psycopg.Error) -> StoreDown:
    """An error of the driver as the store's, without a password."""
    if isinstance(error, psycopg.errors.UndefinedTable):
        return StoreDown(f"{place}: {NO_LEDGER}")
    hint = "; run `farebox migrate`" if isinstance(error, psycopg.errors.UndefinedColumn) else ""
    return StoreDown(f"{place}: {place.scrub(error.diag.message_primary or error)}{hint}")


@lru_cache(maxsize=512)
def translated(sql: str) -> tuple[str, bool]:
    """SQL with `?`, or `?1` and so on, for values as the driver wants it; whether they are numbered."""
    sql, numbered = re.subn(r"\?(\d+)", r"%(_\1)s", sql.replace("%", "%%"))
    return sql.replace("?", "%s"), bool(numbered)


class PostgresConnection:
    """See `place.Connection`. Everything raises `StoreDown`."""

    def __init__(self, place: Postgres, raw: Raw) -> None:
        self.place, self.raw = place, raw

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> psycopg.Cursor[tuple[Any, ...]]:
        try:
            if sql == "BEGIN":
                return self.raw.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            if sql == "BEGIN IMMEDIATE":
                self.raw.execute("BEGIN")
                return self.raw.execute("SELECT seq FROM head FOR UPDATE")
            text, numbered = translated(sql)
            if numbered:
                return self.raw.execute(text, {f"_{number}": value for number, value in enumerate(parameters, 1)})
            return self.raw.execute(text, tuple(parameters))
        except psycopg.Error as error:
            raise told(self.place, error) from None

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> psycopg.Cursor[tuple[Any, ...]]:
        cursor = self.raw.cursor()
        try:
            cursor.executemany(translated(sql)[0], [tuple(one) for one in parameters])
        except psycopg.Error as error:
            raise told(self.place, error) from None
        return cursor

    def commit(self) -> None:
        try:
            self.raw.commit()
        except psycopg.Error as error:
            raise told(self.place, error) from None

    def rollback(self) -> None:
        try:
            self.raw.rollback()
        except psycopg.Error as error:
            raise told(self.place, error) from None

    def close(self) -> None:
        self.raw.close()


def connect(place: Postgres, *, write: bool = False) -> PostgresConnection:
    """A connection as the store uses it; read-only unless told otherwise. Raises `StoreDown`."""
    try:
        raw = open_raw(place)
        if not write:
            raw.execute("SET default_transaction_read_only = on")
    except psycopg.Error as error:
        raise told(place, error) from None
    return PostgresConnection(place, raw)


class Pool:
    """Connections that are kept for the next, since making one costs more than most reads."""

    def __init__(self, place: Postgres) -> None:
        self._place = place
        self._spare: list[PostgresConnection] = []
        self._asked: set[PostgresConnection] = set()  # that are in use
        self._lock = threading.Lock()

    def run(self, work: Callable[[PostgresConnection], T]) -> T:
        """Let something be done, which may be done twice: a connection that was kept may have been lost meanwhile. Raises
        `StoreDown`.
        """
        with self._lock:
            kept = self._spare.pop() if self._spare else None
        if kept is not None:
            try:
                return self._on(kept, work)
            except StoreDown:
                if not kept.raw.closed:
                    raise
        return self._on(connect(self._place, write=True), work)

    def _on(self, connection: PostgresConnection, work: Callable[[PostgresConnection], T]) -> T:
        with self._lock:
            self._asked.add(connection)
        try:
            out = work(connection)
        except BaseException:
            with contextlib.suppress(psycopg.Error):  # it is lost, and then not kept
                connection.raw.rollback()
            self._keep(connection)
            raise
        self._keep(connection)
        return out

    def _keep(self, connection: PostgresConnection) -> None:
        idle = connection.raw.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        with self._lock:
            self._asked.discard(connection)
            if idle and len(self._spare) < _SPARE:
                self._spare.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """What is still asked is not answered any more."""
        with self._lock:
            spare, self._spare = self._spare, []
            for connection in self._asked:
                cut(connection.raw)
        for connection in spare:
            connection.close()
