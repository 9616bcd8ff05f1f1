"""What replicas that share a store ask of it, so that their budgets hold for all of them together."""

from collections.abc import Sequence
from typing import Protocol

from router.core.lease import Account, Ask, Lease, Renewed
from router.stores.ports import StoreDown

JOURNAL = "journal-"
"""How the name of a replica begins that goes on with its journal while the store cannot be written. What it has leased may
have been spent though the ledger does not know of it: so it stays leased when the replica is buried, until the journal has
been taken in.
"""


class Buried(StoreDown):
    """The store does not know this replica (any more): whatever it had open has been charged, and its leases are gone. It
    may start over under a new name.
    """


class Leases(Protocol):
    """Parts of budgets, lent to replicas. See `core.lease` for what holds.

    Every call is one atomic operation and can be repeated. Calls of one replica take effect in the order in which they
    were made, or not at all: one that was given up must never take effect after a later one. All raise `StoreDown`, after
    which nobody knows whether the call took effect.
    """

    async def join(self, replica: str) -> Renewed:
        """A replica begins to live, under a name that was never used before."""

    async def renew(self, replica: str) -> Renewed:
        """It lives still: nobody buries it for `TTL_S + GRACE_S` by the store's clock. Raises `Buried`."""

    async def draw(self, replica: str, asks: Sequence[Ask], over: Sequence[Account] = ()) -> list[Lease]:
        """Set the replica's leases to what `granted` says, and tell how the accounts stand then. Who gets less than it needs
        is remembered as wanting more for `WANTED_S`, until it asks again. Raises `Buried`.

        Args:
            replica: who asks.
            asks: at most one for an account and window, in any order.
            over: of these the replica will ask and settle no more; what it has settled becomes everybody's.

        """

    async def look(self, replica: str, accounts: Sequence[Account]) -> list[Lease]:
        """How accounts stand, without asking for anything."""

    async def close(self) -> None:
        """Let the connection go."""

    async def leave(self, replica: str) -> None:
        """It has nothing open and spends no more: its leases are given back, and nobody need bury it."""

    async def buried(self, replica: str) -> None:
        """The ledger has closed what this replica had left open, and let go of what it kept of it in one transaction (see
        `Burying`): let go of what is kept elsewhere. Idempotent.
        """
