"""The ledger in PostgreSQL: as many processes as there are write it, each on two connections.

Attempts are opened on one of them and closed on the other, so that no request waits for the chain. Reads have connections of
their own.
"""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import psycopg

from router.core.entry import Attempt, Entry
from router.stores.journal import short
from router.stores.leases import Buried
from router.stores.ledgerfile import migrate
from router.stores.pgappend import Appender
from router.stores.pgconnection import Pool, Raw, told
from router.stores.pglane import Lane
from router.stores.place import Connection, Postgres
from router.stores.reading import StoredLedger

T = TypeVar("T")
Opened = tuple[Attempt, str]
"""What is to be opened, and by which replica."""
Work = Callable[[Raw], None]

_OPEN = "INSERT INTO attempts (id, body) SELECT * FROM unnest(%s::text[], %s::bytea[]) ON CONFLICT (id) DO NOTHING"
# Nothing is opened by a replica that is not known any more: what it had open has been charged.
_OPEN_AS = """WITH living AS (SELECT id FROM replicas WHERE id = %s FOR KEY SHARE), opened AS (
    INSERT INTO attempts (id, body, replica) SELECT a.id, a.body, living.id
    FROM living CROSS JOIN unnest(%s::text[], %s::bytea[]) AS a(id, body) ON CONFLICT (id) DO NOTHING RETURNING 1)
    SELECT count(*) FROM living"""
_OPENS, _CLOSES = 1024, 4096  # that make a batch


class PostgresLedger(StoredLedger):
    """See the ports `Ledger` and `Burying`."""

    def __init__(self, place: Postgres, path: Path, replica: str = "") -> None:
        self.place: Postgres = place
        self.path, self.replica = path, replica
        self.shared = True
        self._pool = Pool(place)
        self._appender = Appender()
        self._opening: dict[str, asyncio.Future[None] | None] = {}  # until it is over, and who waits for that
        self._opens = Lane(place, "attempts", self._write_open, _OPENS, self._forget, self._opened)
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
        """Raises `Buried` where this replica was taken for dead: then what it held for the attempt is charged to nobody."""
        future = self._opens.submit((attempt, self.replica))
        self._opening[attempt.id] = None
        await future

    def _write_open(self, raw: Raw, items: list[Opened | str | None]) -> None:
        opened: dict[str, list[Attempt]] = {}
        for item in items:
            if isinstance(item, tuple):
                opened.setdefault(item[1], []).append(item[0])
        if None in items:
            raw.execute("SELECT 1")
        if back := [item for item in items if isinstance(item, str)]:
            raw.execute("DELETE FROM attempts WHERE id = ANY(%s)", (back,))
        for replica, attempts in opened.items():
            told = [attempt.id for attempt in attempts], [short(attempt) for attempt in attempts]
            if not replica:
                raw.execute(_OPEN, told)
            elif raw.execute(_OPEN_AS, (replica, *told)).fetchone() != (1,):
                raise Buried(f"no replica {replica}")

    def _forget(self, raw: Raw, unsure: list[Opened | str | None]) -> None:
        """On a new connection: attempts that may have been written down, of which their requests were told that they were
        not. Nobody was called.
        """
        if ids := [item if isinstance(item, str) else item[0].id for item in unsure if item is not None]:
            raw.execute("DELETE FROM attempts WHERE id = ANY(%s)", (ids,))

    def _opened(self, items: list[Opened | str | None], late: list[Opened | str | None]) -> None:
        """What was written down too late is taken back."""
        for item in items:
            if isinstance(item, tuple):
                waiter = self._opening.pop(item[0].id, None)
                if waiter is not None and not waiter.done():
                    waiter.set_result(None)
        for item in late:
            if isinstance(item, tuple):
                self._opens.submit(item[0].id).add_done_callback(lambda done: done.exception())

    # Closing

    async def close(self, entry: Entry) -> None:
        name = entry.attempt.id
        if name in self._opening:  # its request was cancelled meanwhile, or was told that nobody knows
            waiter = self._opening[name] = self._opening[name] or asyncio.get_running_loop().create_future()
            await asyncio.shield(waiter)
        await self._closes.submit(entry)

    def _begin(self, _raw: Raw, _unsure: list[Any]) -> None:
        """A new connection may be to another database than before."""
        self._appender = Appender()

    def _write_closed(self, raw: Raw, items: list[Entry | Work | None]) -> None:
        if entries := [item for item in items if isinstance(item, Entry)]:
            self._appender.write(raw, entries, self.replica)
        works = [item for item in items if item is not None and not isinstance(item, Entry)]
        for work in works:
            work(raw)
        if not entries and not works:
            raw.execute("UPDATE schema_version SET version = version")

    async def probe(self) -> None:
        await asyncio.gather(self._opens.submit(None), self._closes.submit(None))

    # What others left open

    async def recover(self) -> list[Entry]:
        """Close what nobody has open who lives."""
        entries: list[Entry] = []

        def work(raw: Raw) -> None:
            entries[:] = self._appender.bury(raw)

        await self._closes.submit(work)
        return entries

    async def bury(self, replica: str, *, surely: bool = False) -> list[Entry]:
        """See the port `Burying`."""
        entries: list[Entry] = []

        def work(raw: Raw) -> None:
            entries[:] = self._appender.bury(raw, replica, surely=surely)

        await self._closes.submit(work)
        return entries

    # Reading

    async def _read(self, query: Callable[[Connection], T]) -> T:
        return await self._change(query)

    async def _change(self, query: Callable[[Connection], T]) -> T:
        try:
            return await asyncio.to_thread(self._pool.run, query)
        except psycopg.Error as error:
            raise told(self.place, error) from None
