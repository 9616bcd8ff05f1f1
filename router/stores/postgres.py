"""The ledger in PostgreSQL: as many processes as there are write it, each on two connections.

Attempts are opened on one of them and closed on the other, so that no request waits for the chain. Reads have connections of
their own.
"""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import orjson
import psycopg

from router.core.entry import Attempt, Entry
from router.stores.ledgerfile import closed, migrate
from router.stores.pgappend import Appender
from router.stores.pgconnection import Pool, Raw, told
from router.stores.pglane import Lane
from router.stores.place import Connection, Postgres
from router.stores.ports import StoreDown
from router.stores.reading import StoredLedger

T = TypeVar("T")

_OPEN = "INSERT INTO attempts (id, body) SELECT * FROM unnest(%s::text[], %s::bytea[]) ON CONFLICT (id) DO NOTHING"
# Nothing is opened by a replica that is not known any more: what it had open has been charged.
_OPEN_AS = """WITH living AS (SELECT id FROM replicas WHERE id = %s FOR KEY SHARE), opened AS (
    INSERT INTO attempts (id, body, replica) SELECT a.id, a.body, living.id
    FROM living CROSS JOIN unnest(%s::text[], %s::bytea[]) AS a(id, body) ON CONFLICT (id) DO NOTHING RETURNING 1)
    SELECT count(*) FROM living"""
_OPENS, _CLOSES = 1024, 4096  # that make a batch


class PostgresLedger(StoredLedger):
    """See the port `Ledger`."""

    def __init__(self, place: Postgres, path: Path, replica: str = "") -> None:
        self.place: Postgres = place
        self.path, self.replica = path, replica
        self.shared = True
        self._pool = Pool(place)
        self._appender = Appender()
        self._opening: dict[str, asyncio.Future[None]] = {}
        self._opens = Lane(place, "attempts", self._write_open, _OPENS, self._forget)
        self._closes = Lane(place, "ledger", self._write_closed, _CLOSES, self._begin)

    def start(self) -> None:
        """Begin to write; makes the schema if there is none. Raises `StoreDown`."""
        migrate(self.place)
        with contextlib.suppress(OSError):  # who writes beside it says what is wrong
            self.path.parent.mkdir(parents=True, exist_ok=True)
        self._opens.start()
        self._closes.start()

    async def stop(self) -> None:
        await self._opens.stop()
        await self._closes.stop()
        self._pool.close()

    def lag(self, now: float) -> float:
        return max(self._opens.lag(now), self._closes.lag(now))

    # Opening

    async def open(self, attempt: Attempt) -> None:
        future = self._opens.submit(attempt)
        self._opening[attempt.id] = future
        future.add_done_callback(lambda _: self._opening.pop(attempt.id, None))
        await asyncio.shield(future)  # it is written whether anybody waits or not

    def _write_open(self, raw: Raw, items: list[Attempt | None]) -> None:
        attempts = [item for item in items if item is not None]
        if not attempts:
            raw.execute("SELECT 1")
            return
        ids, bodies = [attempt.id for attempt in attempts], [orjson.dumps(attempt) for attempt in attempts]
        if not self.replica:
            raw.execute(_OPEN, (ids, bodies))
            return
        found = raw.execute(_OPEN_AS, (self.replica, ids, bodies)).fetchone()
        if found != (1,):
            raise StoreDown(f"{self.place} does not know this replica any more")

    def _forget(self, raw: Raw, unsure: list[Attempt | None]) -> None:
        """On a new connection: attempts that may have been written down, of which their requests were told that they were
        not. Nobody was called.
        """
        if ids := [attempt.id for attempt in unsure if attempt is not None]:
            raw.execute("DELETE FROM attempts WHERE id = ANY(%s)", (ids,))

    # Closing

    async def close(self, entry: Entry) -> None:
        if (opening := self._opening.get(entry.attempt.id)) is not None:
            await asyncio.wait([opening])  # its request was cancelled meanwhile
        await self._closes.submit(entry)

    def _begin(self, _raw: Raw, _unsure: list[Any]) -> None:
        """A new connection may be to another database than before."""
        self._appender = Appender()

    def _write_closed(self, raw: Raw, items: list[Entry | None]) -> None:
        if entries := [item for item in items if item is not None]:
            self._appender.write(raw, entries, self.replica)
        else:
            raw.execute("UPDATE schema_version SET version = version")

    async def probe(self) -> None:
        await asyncio.gather(self._opens.submit(None), self._closes.submit(None))

    async def recover(self) -> list[Entry]:
        """Close what was left open under this replica's own name: only where there is one process, as it has none."""

        def own(connection: Connection) -> list[Entry]:
            query = "SELECT body FROM attempts WHERE replica = ? ORDER BY id"
            return [closed(body) for (body,) in connection.execute(query, (self.replica,))]

        entries = await self._read(own)
        for entry in entries:
            await self.close(entry)
        return entries

    # Reading

    async def _read(self, query: Callable[[Connection], T]) -> T:
        return await self._change(query)

    async def _change(self, query: Callable[[Connection], T]) -> T:
        try:
            return await asyncio.to_thread(self._pool.run, query)
        except psycopg.Error as error:
            raise told(self.place, error) from None
