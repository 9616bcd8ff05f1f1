"""Leases in a real Redis, which is emptied, killed and brought back old; who lives and what is settled is in a ledger's file."""

import asyncio
import random
import sqlite3
from contextlib import closing

import pytest
from fakes import PushedClock

from router.core.lease import TTL_S, Ask, granted
from router.stores.leaserows import LeaseRows
from router.stores.leases import Buried
from router.stores.ledgerfile import connect, migrate
from router.stores.ports import StoreDown
from router.stores.redis import RedisLeases

ACCOUNT = ("search|total|UTC|USD", 0)
LIMIT = 1_000


@pytest.fixture
def redis(redis_server):
    return redis_server


class World:
    """Replicas, each with connections of its own, over one Redis and one file."""

    def __init__(self, path, url):
        self.path, self.url, self.clock, self.made, self.number = path, url, PushedClock(), {}, 0
        migrate(path)

    async def replica(self, name=None):
        self.number += 1
        name = name or f"r{self.number}"
        rows = LeaseRows(lambda: connect(self.path, write=True))
        self.made[name] = leases = RedisLeases(self.url, rows, seconds=self.clock.seconds)
        await leases.join(name)
        return name

    async def draw(self, name, want, *, need=None, keep=0, limit=LIMIT, account=ACCOUNT, parts=1):
        ask = Ask(*account, limit, keep, want if need is None else need, want, parts)
        (lease,) = await self.made[name].draw(name, [ask])
        return lease

    def execute(self, sql, *told):
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            return connection.execute(sql, told).fetchall()

    def settle(self, name, nano, account=ACCOUNT):
        """As the ledger's transaction does."""
        self.execute(
            "INSERT INTO spend VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET nano = nano + excluded.nano", *account, nano
        )
        self.execute(
            "UPDATE leases SET settled = settled + ? WHERE (account, start, replica) = (?, ?, ?)", nano, *account, name
        )

    def bury(self, name):
        self.execute("DELETE FROM replicas WHERE id = ?", name)
        self.execute("DELETE FROM leases WHERE replica = ?", name)

    async def close(self):
        for leases in self.made.values():
            await leases.close()


@pytest.fixture
async def world(tmp_path, redis):
    world = World(tmp_path / "farebox.db", redis.url)
    yield world
    await world.close()


async def test_two_replicas_lease_the_whole_of_a_budget_and_no_more(world):
    a, b = await world.replica(), await world.replica()
    assert (await world.draw(a, 600))[:2] == (600, 0)
    assert (await world.draw(b, 600))[:2] == (0, 600)  # what it needs is not there: it gets nothing
    assert (await world.draw(b, 600, need=100))[:2] == (400, 600)
    assert (await world.draw(a, 200, keep=200))[:2] == (200, 400)
    assert (await world.draw(b, LIMIT, need=LIMIT - 200, keep=400))[:2] == (800, 200)


async def test_an_answer_is_that_of_the_core_to_the_last_nano_unit(world):
    """Amounts beyond 2^53 too, which a number of Lua's does not hold."""
    dice = random.Random(7)
    names = [await world.replica() for _ in range(3)]
    for turn in range(40):
        account = (f"team{turn}|total|UTC|USD", 0)
        limit = dice.choice([10**3, 2**53 + 1, 10**19, 3 * 10**9 + 1])
        have = dict.fromkeys(names, 0)
        for _ in range(6):
            name = dice.choice(names)
            need = dice.randint(0, limit // 2)
            keep = dice.choice([have[name], have[name] // 2])
            ask = Ask(
                *account,
                limit,
                keep,
                max(keep, need),
                max(keep, need + dice.randint(0, limit)),
                dice.choice([1, 2, 8, 2000]),
            )
            (lease,) = await world.made[name].draw(name, [ask])
            others = sum(have.values()) - have[name]
            assert (lease.nano, lease.others) == (granted(ask, others), others)
            have[name] = lease.nano
        assert sum(have.values()) <= limit


async def test_an_operation_that_was_given_up_and_comes_late_changes_nothing(world):
    a, b = await world.replica(), await world.replica()
    await world.draw(a, 100)
    leases = world.made[a]
    ask, number = Ask(*ACCOUNT, LIMIT, 10, 10, 10), leases._number + 1  # 90 are given back, and the message is held up
    await world.draw(a, 500, keep=100)
    leases._number, now = number - 1, leases._number
    late = await leases._ask("DRAW", [leases._wanted(), leases._hash(ACCOUNT)], [LIMIT, 10, 10, 10, 1, "x", 2**31])
    leases._number = now
    assert late[0][0] == "500" and ask.keep == 10
    assert (await world.draw(b, 600, need=1))[:2] == (500, 500)


async def test_what_was_settled_before_it_was_leased_is_counted(world):
    a = await world.replica()
    world.settle("nobody", 300)
    assert (await world.draw(a, LIMIT, need=1))[:2] == (700, 300)
    world.settle(a, 700)
    assert (await world.draw(a, 700, keep=700))[:2] == (700, 300)
    assert (await world.made[a].look(a, [ACCOUNT])) == [(700, 300, 300)]


async def test_the_lease_of_a_buried_replica_is_found_again_but_not_what_it_has_spent(world):
    a, b = await world.replica(), await world.replica()
    await world.draw(a, 900)
    world.settle(a, 250)
    assert (await world.draw(b, LIMIT, need=200))[:2] == (0, 900)
    world.bury(a)
    world.clock.push(2)
    assert (await world.draw(b, LIMIT, need=200))[:2] == (750, 250)
    with pytest.raises(Buried):
        await world.draw(a, 10, account=("new|total|UTC|USD", 0))


async def test_a_base_that_another_has_set_meanwhile_is_not_set_back(world):
    """One has read PostgreSQL before a replica was buried, and writes to Redis after another did so."""
    a, b, c = [await world.replica() for _ in range(3)]
    for name in (a, b, c):
        await world.draw(name, 100)
    slow, rows = world.made[b], world.made[b]._rows
    sums = rows.sums

    async def late(accounts):
        told = await sums(accounts)
        world.settle(a, 100)
        world.bury(a)
        await world.made[c]._set_bases([ACCOUNT])
        return told

    rows.sums = late
    await slow._set_bases([ACCOUNT])
    assert (await world.draw(c, LIMIT, need=1, keep=100))[:2] == (800, 200)  # 100 of the dead one, 100 of b


async def test_who_comes_between_the_two_looks_is_not_left_out(world):
    a, b = await world.replica(), await world.replica()
    await world.draw(a, 100)
    rows = world.made[a]._rows
    sums = rows.sums

    async def late(accounts):
        told = await sums(accounts)
        await world.draw(b, 400)
        world.made[b]._based.clear()
        return told

    rows.sums = late
    world.execute("UPDATE replicas SET until = until")
    await world.made[a]._set_bases([ACCOUNT])
    rows.sums = sums
    assert (await world.draw(a, LIMIT, need=1, keep=100))[:2] == (600, 400)


@pytest.mark.parametrize("loss", ["flushed", "killed", "old"])
async def test_after_redis_has_lost_everything_nobody_gets_more_until_all_have_said_what_they_have(world, redis, loss):
    a, b = await world.replica(), await world.replica()
    await world.draw(a, 100)
    await world.draw(b, 100)
    if loss == "old":
        redis.ask("SAVE")
    await world.draw(a, 500, keep=100)
    world.settle(a, 50)
    if loss == "flushed":
        redis.ask("FLUSHALL")
    else:
        redis.kill()
        redis.start()
    world.clock.push(1)
    drawing = asyncio.create_task(world.draw(b, LIMIT, need=101, keep=100))
    while not world.execute("SELECT 1 FROM replicas WHERE id = ? AND epoch = ?", b, world.made[b]._epoch or "-"):
        await asyncio.sleep(0.01)
    assert not drawing.done()  # the other has said nothing yet
    await world.made[a].renew(a)
    assert (await drawing)[:2] == (500, 500)
    assert (await world.draw(a, 501, keep=500))[:2] == (500, 500)


async def test_a_draw_waits_for_the_others_only_so_long(world, redis):
    a, b = await world.replica(), await world.replica()
    await world.draw(a, 100)
    redis.ask("FLUSHALL")
    drawing = asyncio.create_task(world.draw(b, 100))
    await asyncio.sleep(0.05)
    world.clock.push(5)
    with pytest.raises(StoreDown, match="not every replica has said"):
        await drawing
    world.bury(a)
    assert (await world.draw(b, 100))[0] == 100


async def test_while_redis_is_away_replicas_live_on_with_what_they_have(world, redis):
    a, b = await world.replica(), await world.replica()
    await world.draw(a, 100)
    redis.kill()
    for _ in range(3):
        world.clock.push(TTL_S)
        assert (await world.made[a].renew(a)).live == 2
    with pytest.raises(StoreDown, match="Redis"):
        await world.draw(a, 200, keep=100)
    redis.start()
    await world.made[b].renew(b)
    await world.made[a].renew(a)
    assert (await world.draw(b, LIMIT, need=1))[:2] == (900, 100)


async def test_who_cannot_reach_redis_gives_itself_up_when_the_others_wait_for_it(world, redis):
    a, b = await world.replica(), await world.replica()
    await world.draw(a, 100)
    cut_off = world.made[a]

    async def nothing(*_):
        raise StoreDown("no route")

    run, cut_off._run = cut_off._run, nothing
    world.clock.push(TTL_S)
    await cut_off.renew(a)  # the same epoch: nobody waits
    redis.ask("FLUSHALL")
    await world.made[b].renew(b)
    await cut_off.renew(a)
    world.clock.push(TTL_S + 1)
    with pytest.raises(StoreDown, match="others wait"):
        await cut_off.renew(a)
    cut_off._run = run
    await cut_off.renew(a)
    assert (await world.draw(b, LIMIT, need=1))[:2] == (900, 100)


async def test_what_one_lacks_the_others_are_asked_to_give_back(world):
    a, b = await world.replica(), await world.replica()
    await world.draw(a, 900)
    assert (await world.draw(b, 200))[0] == 0
    assert (await world.made[a].renew(a)).recalled == {ACCOUNT}
    await world.draw(a, 100, keep=100)
    assert (await world.draw(b, 200))[0] == 200
    assert (await world.made[a].renew(a)).recalled == set()


async def test_a_redis_that_may_evict_is_refused(world, redis):
    redis.ask("CONFIG SET maxmemory 100mb")
    redis.ask("CONFIG SET maxmemory-policy allkeys-lru")
    try:
        with pytest.raises(StoreDown, match="allkeys-lru and must be noeviction"):
            await world.replica()
        assert world.execute("SELECT * FROM replicas") == []
    finally:
        redis.ask("CONFIG SET maxmemory 0")
        redis.ask("CONFIG SET maxmemory-policy noeviction")


@pytest.mark.parametrize("url", ["redis://:s3cret@127.0.0.1:1/0", "rediss://app:s3cret@127.0.0.1:1/0"])
async def test_the_password_is_not_told(tmp_path, url):
    world = World(tmp_path / "farebox.db", url)
    with pytest.raises(StoreDown) as told:
        await world.replica()
    assert "s3cret" not in str(told.value) and "127.0.0.1:1" in str(told.value)
    await world.close()


async def test_a_wrong_password_is_said_to_be_wrong(tmp_path, redis):
    world = World(tmp_path / "farebox.db", redis.url.replace("hunter2", "guess77"))
    with pytest.raises(StoreDown, match=r"WRONGPASS|invalid username-password") as told:
        await world.replica()
    assert "guess77" not in str(told.value)
    await world.close()


async def test_what_a_journal_may_have_spent_stays_leased_over_a_burial_and_a_loss_of_redis(world, redis):
    a, b = await world.replica("journal-a"), await world.replica()
    await world.draw(a, 300)
    await world.draw(a, 200, keep=200)
    world.execute("DELETE FROM replicas WHERE id = ?", a)  # as a ledger buries it
    redis.ask("FLUSHALL")
    await world.made[b].renew(b)
    assert (await world.draw(b, LIMIT, need=1))[:2] == (800, 200)
    world.execute("DELETE FROM leases WHERE replica = ?", a)  # its journal has been taken in
    await world.made[b].buried(a)
    assert (await world.draw(b, LIMIT, need=1, keep=800))[:2] == (1000, 0)
