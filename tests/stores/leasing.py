"""Several replicas over one store in memory, step by step, with clocks that are pushed and a store that can fail."""

from dataclasses import dataclass, field

from fakes import PushedClock

from router.core.lease import GRACE_S, MICROS, TTL_S
from router.stores.leased import LeasedAccounts
from router.stores.memoryleases import MemoryLeases
from router.stores.ports import StoreDown


@dataclass
class Shaky:
    """Leases of which an operation may be lost on its way there, or its answer on the way back."""

    leases: MemoryLeases
    fails: list = field(default_factory=list)  # "before" or "after", or None, for the operations to come
    asked: int = 0

    def __getattr__(self, name):
        work = getattr(self.leases, name)

        async def call(*told):
            self.asked += 1
            fails = self.fails.pop(0) if self.fails else None
            if fails == "before":
                raise StoreDown("lost on the way there")
            out = await work(*told)
            if fails == "after":
                raise StoreDown("lost on the way back")
            return out

        return call


@dataclass
class Replica:
    accounts: LeasedAccounts
    store: Shaky
    attempts: dict = field(
        default_factory=dict
    )  # open ones: hold id → (the replica that it was written down by, holds)


class World:
    """Replicas, their ledger and their vendor's bill."""

    def __init__(self, count, budgets):
        self.clock = PushedClock()
        self.leases = MemoryLeases(lambda: int(self.clock.seconds() * MICROS) + 10**12)
        self.budgets = budgets
        self.replicas = []
        self.number = 0
        self.billed = {}  # by account and window: what attempts have cost that are over, whoever closed them
        self.refused = 0
        self.count = count

    async def begin(self):
        for _ in range(self.count):
            self.replicas.append(await self.new())
        return self

    async def new(self):
        store = Shaky(self.leases)
        accounts = LeasedAccounts(store, self.clock.seconds, self._name)
        await accounts.join()
        return Replica(accounts, store)

    def _name(self):
        self.number += 1
        return f"r{self.number}"

    async def reserve(self, replica, nano, budgets=None):
        """Set something aside for an attempt and write it down, as a settlement does: its name, or None."""
        budgets = budgets or self.budgets
        now = self.clock.now()
        holds = tuple((b.account, replica.accounts.window(b, now), nano) for b in budgets)
        self.number += 1
        name = f"a{self.number}"
        if not await replica.accounts.reserve(name, budgets, holds):
            self.refused += 1
            return None
        if replica.accounts.replica not in self.leases.until:  # the ledger does not know who this is
            await replica.accounts.settle(name, ())
            return None
        replica.attempts[name] = (replica.accounts.replica, holds)
        return name

    async def close(self, replica, name, nano=None):
        """What an attempt came to: written to the ledger, unless it was closed there already, then settled."""
        owner, holds = replica.attempts.pop(name)
        charges = tuple((account, start, held if nano is None else nano) for account, start, held in holds)
        if owner in self.leases.until:
            self.leases.settle(owner, charges)
            self._bill(charges)
        await replica.accounts.settle(name, charges)

    async def beat(self, replica):
        for dead in await replica.accounts.beat():
            self.bury(dead)
            await self.leases.buried(dead)

    def bury(self, name):
        if not self.leases.is_dead(name):
            return
        open_ = [holds for r in self.replicas for owner, holds in r.attempts.values() if owner == name]
        charges = tuple(hold for holds in open_ for hold in holds)
        self.leases.bury(name, charges)
        self._bill(charges)

    async def kill(self, replica):
        """It ends without a word, and another comes in its place; what it had open is closed when it is buried."""
        i = self.replicas.index(replica)
        fresh = await self.new()
        for owner, holds in replica.attempts.values():
            self.number += 1
            fresh.attempts[f"left{self.number}"] = (owner, holds)
        fresh.orphans = True
        self.replicas[i] = fresh

    def push(self, seconds):
        self.clock.push(seconds)

    def past_burial(self):
        self.push(TTL_S + GRACE_S + 1)

    def _bill(self, charges):
        for account, start, nano in charges:
            self.billed[account, start] = self.billed.get((account, start), 0) + nano

    def check(self):
        """No budget can be overspent, whatever happens next."""
        limits = {b.account: b.limit for b in self.budgets}
        owed = dict(self.billed)
        for replica in self.replicas:
            for owner, holds in replica.attempts.values():
                if owner in self.leases.until:
                    for account, start, nano in holds:
                        owed[account, start] = owed.get((account, start), 0) + nano
        for key, book in self.leases.books.items():
            assert book.taken <= limits[key[0]], (key, book)
            base = book.spend - sum(row.settled for row in book.rows.values())
            assert book.taken == base + sum(row.taken for row in book.rows.values())
        for key, nano in owed.items():
            assert nano <= limits[key[0]], (key, owed)
