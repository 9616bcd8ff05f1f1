"""What a ledger in a database answers, whichever database it is. Reads never wait for the writer."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from router.core.entry import Attempt, Entry
from router.core.limits import Budget
from router.core.money import Rate
from router.stores.hours import Cell, hours, newest, past
from router.stores.ledgerfile import (
    add_key,
    apart,
    config_of,
    count_free,
    free_taken,
    is_even,
    last_row,
    open_attempts,
    read_keys,
    revoke_key,
    rows,
    rows_of,
    spent,
    spent_later,
    totals,
)
from router.stores.place import Connection, Place
from router.stores.ports import Apart, FreeSpan, FreeTaken, StoredKey, Total

T = TypeVar("T")


class StoredLedger(ABC):
    """See the port `Ledger`. Everything raises `StoreDown`."""

    place: Place  # where it is
    path: Path  # beside which files of this process alone are kept
    shared: bool  # whether other processes write it too
    replica: str = ""  # which of them this is
    _uneven: str = ""  # the accounts that were asked for when others had others

    @abstractmethod
    def start(self) -> None:
        """Begin to write."""

    @abstractmethod
    async def stop(self) -> None:
        """Write what waits and let it go."""

    @abstractmethod
    def lag(self, now: float) -> float:
        """Seconds for which something has waited to be durable, at most."""

    @abstractmethod
    async def open(self, attempt: Attempt) -> None:
        """See the port `Recording`."""

    @abstractmethod
    async def close(self, entry: Entry) -> None:
        """See the port `Recording`."""

    @abstractmethod
    async def probe(self) -> None:
        """Write something that changes nothing."""

    @abstractmethod
    async def recover(self) -> list[Entry]:
        """See the port `Ledger`."""

    @abstractmethod
    async def _read(self, query: Callable[[Connection], T]) -> T:
        """Ask something."""

    @abstractmethod
    async def _change(self, query: Callable[[Connection], T]) -> T:
        """Change something beside the writer."""

    async def open_attempts(self) -> list[Attempt]:
        """What was written down as begun and is not closed."""
        return [entry.attempt for entry in await self._read(open_attempts)]

    async def entries(self, after: int = 0, limit: int = 1000) -> AsyncIterator[tuple[int, dict[str, Any]]]:
        for item in await self._read(lambda connection: list(rows(connection, after, limit))):
            yield item

    async def last(self) -> tuple[int, bytes] | None:
        """The number and the hash of the newest row; None while there is none."""
        return await self._read(last_row)

    async def totals(self, since: int | None = None, until: int | None = None) -> list[Total]:
        return await self._read(lambda connection: totals(connection, since, until))

    async def apart(self, since: int | None = None, until: int | None = None, *, days: bool = False) -> list[Apart]:
        return await self._read(lambda connection: apart(connection, since, until, days=days))

    async def past(self, since: int, recent: int) -> tuple[int, list[Cell], list[Cell]]:
        """(last number there is, sums by the hour from `since` on, sums by the day): see `stores.hours`."""
        return await self._read(lambda connection: past(connection, since, recent))

    async def hours(self, after: int) -> tuple[int, list[Cell]]:
        """(last number there is, sums by the hour) of the rows behind `after`."""
        return await self._read(lambda connection: hours(connection, after))

    async def newest(self, limit: int, team: str | None = None) -> list[str]:
        """The requests that ended last, newest first."""
        return await self._read(lambda connection: newest(connection, limit, team))

    async def of_requests(self, ids: Iterable[str]) -> Mapping[str, list[dict[str, Any]]]:
        """The rows of each of these requests, first attempt first; none for one that is not in the ledger."""
        return await self._read(lambda connection: {name: list(rows_of(connection, name)) for name in ids})

    async def spent(
        self, accounts: Iterable[tuple[Budget, int]], rates: Mapping[str, Rate] | None = None
    ) -> Mapping[str, int]:
        wanted, replica = list(accounts), self.replica
        out, even = await self._change(lambda connection: spent(connection, wanted, rates or {}, replica))
        self._uneven = "" if even else config_of(wanted)
        return out

    async def release(self, names: str) -> list[str]:
        """Let go of the leases of replicas that are buried and whose names begin so."""
        return await self._change(lambda connection: _release(connection, names))

    async def is_even_again(self) -> bool:
        """Whether others, who had other accounts when `spent` was asked last, have the same now: then ask again."""
        return bool(self._uneven) and await self._read(lambda connection: is_even(connection, self._uneven))

    async def spent_later(self, accounts: Sequence[tuple[Budget, int]]) -> Mapping[str, Mapping[int, int]]:
        return await self._read(lambda connection: spent_later(connection, accounts))

    async def free_taken(self, spans: Sequence[FreeSpan]) -> list[FreeTaken]:
        return await self._read(lambda connection: [free_taken(connection, span) for span in spans])

    async def count_free(self, accounts: Sequence[tuple[FreeSpan, str, int, str]]) -> None:
        await self._change(lambda connection: count_free(connection, accounts))

    # Keys

    async def keys(self) -> list[StoredKey]:
        return await self._read(read_keys)

    async def add_key(self, key: StoredKey) -> None:
        await asyncio.to_thread(add_key, self.place, key)

    async def revoke_key(self, key_id: str, now: int) -> bool:
        return await asyncio.to_thread(revoke_key, self.place, key_id, now)


def _release(connection: Connection, names: str) -> list[str]:
    connection.execute("BEGIN IMMEDIATE")
    query = "SELECT DISTINCT replica FROM leases WHERE replica LIKE ? AND replica NOT IN (SELECT id FROM replicas)"
    found = sorted(name for (name,) in connection.execute(query, (f"{names}%",)).fetchall())
    connection.executemany("DELETE FROM leases WHERE replica = ?", [(name,) for name in found])
    connection.execute("COMMIT")
    return found
