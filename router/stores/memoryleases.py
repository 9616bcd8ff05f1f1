"""Leases in memory, shared by replicas in one process: for tests, models and simulations."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from router.core.entry import Charges
from router.core.lease import GRACE_S, MICROS, TTL_S, WANTED_S, Account, Ask, Lease, Renewed, granted
from router.stores.leases import Buried


@dataclass(slots=True)
class Row:
    """What one replica has of one account."""

    nano: int = 0
    settled: int = 0
    wanted: int = 0  # when it got less than it needed

    @property
    def taken(self) -> int:
        return max(self.nano, self.settled)


@dataclass(slots=True)
class Book:
    """One account in one window."""

    spend: int = 0
    taken: int = 0  # of the limit: base and what all have of it
    rows: dict[str, Row] = field(default_factory=dict)

    def change(self, row: Row, nano: int, settled: int = 0) -> None:
        """Set a lease, and add what was settled by its owner."""
        before = row.taken
        row.nano, row.settled = nano, row.settled + settled
        self.spend += settled
        self.taken += row.taken - before


@dataclass(slots=True)
class MemoryLeases:
    """See the port `Leases`; and the part of a ledger that leases are about."""

    now: Callable[[], int]  # the store's clock, in microseconds
    until: dict[str, int] = field(default_factory=dict)
    books: dict[Account, Book] = field(default_factory=lambda: defaultdict(Book))
    _leased: dict[str, set[Account]] = field(default_factory=lambda: defaultdict(set))  # by replica
    _wanted: set[Account] = field(default_factory=set)

    # The port

    async def join(self, replica: str) -> Renewed:
        self.until[replica] = 0
        return await self.renew(replica)

    async def renew(self, replica: str) -> Renewed:
        self._known(replica)
        now = self.now()
        self.until[replica] = max(self.until[replica], now + int(TTL_S * MICROS))
        live = sum(until >= now for until in self.until.values())
        dead = tuple(name for name in self.until if self.is_dead(name))
        recent = now - int(WANTED_S * MICROS)
        self._wanted = {
            key for key in self._wanted if any(row.wanted > recent for row in self.books[key].rows.values())
        }
        recalled = [key for key in self._wanted & self._leased[replica] if self._is_recalled(replica, key, recent)]
        return Renewed(live, frozenset(recalled), dead)

    def _is_recalled(self, replica: str, key: Account, recent: int) -> bool:
        rows = self.books[key].rows
        own = rows[replica]
        return own.nano > own.settled and any(row.wanted > recent for row in rows.values() if row is not own)

    async def draw(self, replica: str, asks: Sequence[Ask], over: Sequence[Account] = ()) -> list[Lease]:
        self._known(replica)
        for key in over:
            self._drop(replica, key)
        out = []
        for ask in asks:
            book = self.books[ask.key]
            row = book.rows.setdefault(replica, Row())
            self._leased[replica].add(ask.key)
            book.change(row, granted(ask, book.taken - row.taken))
            row.wanted = self.now() if row.nano < ask.need else 0
            if row.wanted:
                self._wanted.add(ask.key)
            out.append(self._stands(replica, ask.key))
        return out

    async def look(self, replica: str, accounts: Sequence[Account]) -> list[Lease]:
        return [self._stands(replica, key) for key in accounts]

    async def close(self) -> None:
        """There is none."""

    async def leave(self, replica: str) -> None:
        self._forget(replica)

    async def buried(self, replica: str) -> None:
        self._forget(replica)

    # What the ledger does

    def settle(self, replica: str, charges: Charges) -> None:
        """Rows were written: what they cost, by the replica that wrote them."""
        for account, start, nano in charges:
            book = self.books[account, start]
            if (row := book.rows.get(replica)) is not None:
                book.change(row, row.nano, nano)
            else:
                book.spend += nano
                book.taken += nano

    def bury(self, replica: str, holds: Charges) -> bool:
        """Charge what a dead replica had open, and forget it; False if it is not dead (or buried already)."""
        if not self.is_dead(replica):
            return False
        self.settle(replica, holds)
        self._forget(replica)
        return True

    def is_dead(self, replica: str) -> bool:
        """Whether nobody has heard of it for so long that it surely spends no more."""
        return replica in self.until and self.until[replica] + int(GRACE_S * MICROS) < self.now()

    def taken(self, key: Account) -> int:
        """What of the limit is spent or leased: the left side of the invariant."""
        return self.books[key].taken

    def _known(self, replica: str) -> None:
        if replica not in self.until:
            raise Buried(replica)

    def _stands(self, replica: str, key: Account) -> Lease:
        book = self.books[key]
        own = book.rows.get(replica, Row())
        return Lease(own.nano, book.taken - own.taken, book.spend - own.settled)

    def _drop(self, replica: str, key: Account) -> None:
        book = self.books[key]
        if (row := book.rows.pop(replica, None)) is not None:
            book.taken -= row.taken - row.settled
        self._leased[replica].discard(key)

    def _forget(self, replica: str) -> None:
        self.until.pop(replica, None)
        for key in list(self._leased[replica]):
            self._drop(replica, key)
        del self._leased[replica]
