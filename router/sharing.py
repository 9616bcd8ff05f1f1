"""What a process does that has its store together with others: it lives, buries who does not, and leaves."""

import hashlib
import logging
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from router.core.entry import Entry
from router.core.lease import RENEW_S
from router.core.limits import Budget
from router.quotas import Quotas
from router.settlement import Settlement
from router.stores.leased import LeasedAccounts
from router.stores.leases import JOURNAL, Leases
from router.stores.memory import MemoryAccounts
from router.stores.opening import leases_of
from router.stores.ports import Burying, StoreDown
from router.stores.recorder import Recorder

log = logging.getLogger("farebox.sharing")


def names_beside(journal: Path) -> str:
    """How the names of replicas begin that have written this journal."""
    place = f"{socket.gethostname()}:{journal.absolute()}"
    return f"{JOURNAL}{hashlib.sha256(place.encode()).hexdigest()[:12]}-"


@dataclass(slots=True)
class Alone:
    """The same where one process has its store for itself."""

    accounts: MemoryAccounts = field(default_factory=MemoryAccounts)
    operations: Mapping[str, int] = field(default_factory=dict)
    named: list[Callable[[str], None]] = field(default_factory=list)
    heard: list[Callable[[int], None]] = field(default_factory=list)

    def serve(self, settlement: Settlement, now: Callable[[], int]) -> None:
        """It is told by its ledger what it has to know."""

    async def begin(self) -> None:
        """Nobody need know."""

    async def know(self, budgets: Iterable[Budget], now: int) -> None:
        """It is known."""

    async def run(self, count_again: Callable[[], Awaitable[object]]) -> None:
        """There is nothing to do."""

    async def end(self) -> None:
        """What is open is closed at the next start."""

    async def close(self) -> None:
        """Nothing was opened."""

    async def bury(self, replica: str, *, surely: bool = False) -> None:
        """Nobody else lives."""


@dataclass(slots=True)
class Sharing:
    """One replica's part in a store."""

    ledger: Burying
    recorder: Recorder
    leases: Leases
    accounts: LeasedAccounts
    quotas: Quotas | None = None  # free ones, lent as budgets are
    observers: Sequence[Callable[[Entry], None]] = ()  # told of what is closed for a dead replica
    named: list[Callable[[str], None]] = field(default_factory=list)  # told this replica's name, each time it gets one
    heard: list[Callable[[int], None]] = field(default_factory=list)  # told how many replicas live, each time it renews

    @classmethod
    def of(cls, recorder: Recorder, seconds: Callable[[], float], redis: str | None = None) -> "Sharing | Alone":
        """As the ledger is shared or is not."""
        ledger = recorder.ledger
        if not isinstance(ledger, Burying):
            return Alone()
        leases = leases_of(ledger.place, redis)
        named: list[Callable[[str], None]] = []

        def become(name: str) -> None:
            ledger.replica = name
            for tell in named:
                tell(name)

        begins = names_beside(recorder.journal.path) if recorder.on_failure == "serve" else ""
        accounts = LeasedAccounts(leases, seconds, lambda: begins + secrets.token_hex(8), become)
        accounts.lasting = bool(begins)
        return cls(ledger, recorder, leases, accounts, named=named)

    @property
    def operations(self) -> Mapping[str, int]:
        """Of the store, that budgets took so far, by what was asked."""
        return self.accounts.operations

    def serve(self, settlement: Settlement, now: Callable[[], int]) -> None:
        """Lend it free quotas too, and tell those who watch it what is closed for a dead replica."""
        self.observers = settlement.observers
        self.quotas = settlement.quotas
        self.heard.append(lambda _: settlement.quotas.prepare(now()))

    async def begin(self) -> None:
        """Live. Raises `StoreDown`."""
        for journal in (self.recorder.journal, *self.recorder.left):  # they have been taken in
            for name in await self.ledger.release(names_beside(journal.path)):
                await self.leases.buried(name)
        await self.accounts.join()
        if self.quotas is not None:
            self.quotas.lent = self.accounts
        self._tell()

    async def know(self, budgets: Iterable[Budget], now: int) -> None:
        """See how budgets stand. Raises `StoreDown`."""
        await self.accounts.refresh(budgets, now)

    async def run(self, count_again: Callable[[], Awaitable[object]], every_s: float = RENEW_S) -> None:
        """Live on. Accounts are to be counted again when those who had others have the same."""

        async def told() -> None:
            self._tell()
            if await self.ledger.is_even_again():
                await count_again()

        await self.accounts.tend(self.bury, told, every_s)

    async def end(self) -> None:
        """Close at its holds what is still open, and leave. If that fails the others will do it."""
        try:
            await self.bury(self.accounts.replica, surely=True)
            if not self.recorder.journal:
                await self.accounts.leave()
        except StoreDown as error:
            log.error("the store could not be left", extra={"error": str(error)})  # noqa: TRY400 (the cause is in the message)

    async def close(self) -> None:
        await self.leases.close()

    def _tell(self) -> None:
        for tell in self.heard:
            tell(self.accounts.live)

    async def bury(self, replica: str, *, surely: bool = False) -> None:
        """Close what a dead replica has left open, and tell those who watch. Raises `StoreDown`."""
        entries = await self.ledger.bury(replica, surely=surely)
        if not replica.startswith(JOURNAL):
            await self.leases.buried(replica)
        if entries or not surely:
            log.warning("a replica was buried", extra={"id": replica, "count": len(entries)})
        for entry in entries:
            for observe in self.observers:
                observe(entry)
