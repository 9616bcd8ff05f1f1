"""Leases in memory, shared by replicas in one process: for tests, models and simulations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from router.core.entry import Charges
from router.core.lease import GRACE_S, MICROS, TTL_S, WANTED_S, Account, Ask, Lease, Renewed, granted
from router.stores.leases import Buried


@dataclass(slots=True)
class _Row:
    nano: int = 0
    settled: int = 0
    wanted: int = 0  # when it got less than it needed


@dataclass(slots=True)
class MemoryLeases:
    """See the port `Leases`; and the part of a ledger that leases are about."""

    now: Callable[[], int]  # the store's clock, in microseconds
    spend: dict[Account, int] = field(default_factory=dict)
    until: dict[str, int] = field(default_factory=dict)
    rows: dict[Account, dict[str, _Row]] = field(default_factory=dict)

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
        recalled = {
            key
            for key, rows in self.rows.items()
            if (own := rows.get(replica)) is not None
            and own.nano > own.settled
            and any(row.wanted > recent for name, row in rows.items() if name != replica)
        }
        return Renewed(live, frozenset(recalled), dead)

    async def draw(self, replica: str, asks: Sequence[Ask], over: Sequence[Account] = ()) -> list[Lease]:
        self._known(replica)
        for key in over:
            self.rows.get(key, {}).pop(replica, None)
        out = []
        for ask in asks:
            row = self.rows.setdefault(ask.key, {}).setdefault(replica, _Row())
            row.nano = granted(ask, self._others(replica, ask.key).others)
            row.wanted = self.now() if row.nano < ask.need else 0
            out.append(self._others(replica, ask.key))
        return out

    async def look(self, replica: str, accounts: Sequence[Account]) -> list[Lease]:
        return [self._others(replica, key) for key in accounts]

    async def leave(self, replica: str) -> None:
        self._forget(replica)

    async def buried(self, replica: str) -> None:
        self._forget(replica)

    # What the ledger does

    def settle(self, replica: str, charges: Charges) -> None:
        """Rows were written: what they cost, by the replica that wrote them."""
        for account, start, nano in charges:
            key = account, start
            self.spend[key] = self.spend.get(key, 0) + nano
            if (row := self.rows.get(key, {}).get(replica)) is not None:
                row.settled += nano

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
        rows = self.rows.get(key, {}).values()
        base = self.spend.get(key, 0) - sum(row.settled for row in rows)
        return base + sum(max(row.nano, row.settled) for row in rows)

    def _known(self, replica: str) -> None:
        if replica not in self.until:
            raise Buried(replica)

    def _others(self, replica: str, key: Account) -> Lease:
        own = self.rows.get(key, {}).get(replica, _Row())
        taken = self.taken(key)
        return Lease(own.nano, taken - max(own.nano, own.settled), self.spend.get(key, 0) - own.settled)

    def _forget(self, replica: str) -> None:
        self.until.pop(replica, None)
        for rows in self.rows.values():
            rows.pop(replica, None)
