"""Replicas that draw, settle and leave at the same time, each with connections of its own: no limit is passed at any moment."""

import asyncio
import contextlib
import random

import pytest
from sqlite_rows import attempt, entry

from router.core.lease import Ask
from router.stores.ledgerfile import connect
from router.stores.opening import leases_of, ledger_of

ACCOUNTS = [(f"team{i}|total|UTC|USD", 0) for i in range(4)]
LIMIT = 100_000
ROUNDS = 60
TAKEN = """SELECT spend.account, spend.nano + coalesce((
    SELECT sum(CASE WHEN leases.nano > settled THEN leases.nano - settled ELSE 0 END) FROM leases
    WHERE leases.account = spend.account AND leases.start = spend.start), 0) FROM spend"""


class Replica:
    """Draws at random, and spends no more than it has."""

    def __init__(self, name, place, path, dice):
        self.name, self.dice = name, dice
        self.leases, self.ledger = leases_of(place), ledger_of(place, path, shared=True)
        self.leased, self.settled = dict.fromkeys(ACCOUNTS, 0), dict.fromkeys(ACCOUNTS, 0)
        self.number = 0

    async def live(self):
        await self.leases.join(self.name)
        self.ledger.replica = self.name
        for _ in range(ROUNDS):
            await self.dice.choice((self.draw, self.draw, self.spend, self.give_back))()
        await self.leases.leave(self.name)

    async def draw(self):
        chosen = self.dice.sample(ACCOUNTS, self.dice.randint(1, len(ACCOUNTS)))
        asks = []
        for key in chosen:
            keep, more = self.leased[key], self.dice.randint(1, LIMIT // 8)
            asks.append(Ask(*key, LIMIT, keep, keep + more, keep + 3 * more, self.dice.choice((1, 8))))
        for key, lease in zip(chosen, await self.leases.draw(self.name, asks), strict=True):
            assert lease.nano >= self.leased[key]
            self.leased[key] = lease.nano

    async def spend(self):
        charges = []
        for key in ACCOUNTS:
            nano = self.dice.randint(0, self.leased[key] - self.settled[key]) // 4
            charges.append((*key, nano))
            self.settled[key] += nano
        self.number += 1
        name = {"id": f"{self.name}-{self.number}.1", "request_id": f"{self.name}-{self.number}"}
        await self.ledger.open(attempt(holds=tuple(charges), **name))
        await self.ledger.close(entry(charges=tuple(charges), **name))

    async def give_back(self):
        asks = []
        for key in ACCOUNTS:
            self.leased[key] = self.dice.randint(self.settled[key], self.leased[key])
            asks.append(Ask(*key, LIMIT, *[self.leased[key]] * 3))
        for key, lease in zip(ACCOUNTS, await self.leases.draw(self.name, asks), strict=True):
            assert lease.nano == self.leased[key]


@pytest.mark.parametrize("seed", range(3))
async def test_no_limit_is_passed_at_any_moment(place, path, seed):
    replicas = [Replica(f"r{i}", place, path, random.Random(seed * 10 + i)) for i in range(4)]
    for replica in replicas:
        replica.ledger.start()
        await replica.ledger.recover()
    over = asyncio.Event()

    def look():
        with contextlib.closing(connect(place)) as connection:
            return dict(connection.execute(TAKEN).fetchall())

    async def watch():
        while not over.is_set():
            taken = await asyncio.to_thread(look)
            assert all(nano <= LIMIT for nano in taken.values()), taken
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(replica.live() for replica in replicas))
    over.set()
    await watching
    spent = {account: sum(replica.settled[account, 0] for replica in replicas) for account, _ in ACCOUNTS}
    assert await asyncio.to_thread(look) == spent
    for replica in replicas:
        await replica.leases.close()
        await replica.ledger.stop()
