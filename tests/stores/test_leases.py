"""The port `Leases`, on every adapter."""

import asyncio
import contextlib
import time
from contextlib import closing

import pytest
import redis
from fakes import PushedClock
from sqlite_rows import attempt, entry

from router.core.lease import GRACE_S, MICROS, TTL_S, WANTED_S, Ask, Lease
from router.stores import sqlleases
from router.stores.leaserows import LeaseRows
from router.stores.leases import Buried
from router.stores.ledgerfile import connect
from router.stores.memoryleases import MemoryLeases
from router.stores.opening import leases_of, ledger_of
from router.stores.place import Postgres
from router.stores.ports import StoreDown
from router.stores.redis import RedisLeases
from router.stores.sharedsqlite import SharedSqliteLedger, leases_in, turn_of

A, B = ("search|total|UTC|USD", 0), ("search|day|UTC|USD", 5)
LIMIT = 1000


class InMemory:
    """Leases in memory, with the ledger's part."""

    def __init__(self):
        self.clock = PushedClock()
        self.leases = MemoryLeases(lambda: int(self.clock.seconds() * MICROS) + 10**9)

    def push(self, seconds):
        self.clock.push(seconds)

    async def settle(self, replica, charges):
        self.leases.settle(replica, charges)

    async def bury(self, replica):
        self.leases.bury(replica, ())

    async def close(self):
        pass


class InSqlite:
    """Leases beside a ledger that several write, with a clock that is pushed."""

    def __init__(self, path, monkeypatch):
        self.clock = PushedClock()
        dialect = sqlleases.SQLITE._replace(now=lambda _: int(self.clock.seconds() * MICROS) + 10**9)
        monkeypatch.setattr("router.stores.sharedsqlite.SQLITE", dialect)
        self.ledger = SharedSqliteLedger(path)
        self.ledger.start()
        self.leases = leases_in(path)
        self.number = 0

    def push(self, seconds):
        self.clock.push(seconds)

    async def settle(self, replica, charges):
        self.number += 1
        self.ledger.replica = replica
        await self.ledger.open(attempt(self.number))
        await self.ledger.close(entry(self.number, charges=charges))

    async def bury(self, replica):
        await self.ledger.bury(replica)

    async def close(self):
        await self.leases.close()
        await self.ledger.stop()


class InPostgres(InSqlite):
    """The same in PostgreSQL, by its own clock: what was written down is older than it was."""

    def __init__(self, url, path):
        place = Postgres(url)
        self.ledger = ledger_of(place, path)
        self.ledger.start()
        self.leases = leases_of(place)
        self.number = 0

    def push(self, seconds):
        with self.leases._connect().raw as raw:
            raw.execute("UPDATE replicas SET until = until - %s", (int(seconds * MICROS),))
            raw.execute("UPDATE leases SET wanted = wanted - %s WHERE wanted > 0", (int(seconds * MICROS),))


class EachItsOwn:
    """Each replica's own connections: in Redis a replica remembers what it has said."""

    def __init__(self, make):
        self._make, self.made = make, {}

    def __getattr__(self, name):
        async def call(replica, *told, **more):
            if replica not in self.made:
                self.made[replica] = self._make()
            return await getattr(self.made[replica], name)(replica, *told, **more)

        return call

    async def buried(self, replica):
        """Whoever has buried it."""
        for leases in self.made.values():
            await leases.buried(replica)

    async def close(self):
        for leases in self.made.values():
            await leases.close()


class InRedis(InSqlite):
    """In Redis, beside a ledger in a file whose clock is pushed; Redis's own is not, but it is asked what it remembers."""

    def __init__(self, path, monkeypatch, server):
        super().__init__(path, monkeypatch)
        self.plain, self.server = self.leases, server
        dialect = sqlleases.SQLITE._replace(now=lambda _: int(self.clock.seconds() * MICROS) + 10**9)

        def make():
            rows = LeaseRows(lambda: connect(path, write=True), dialect, turn_of(path))
            return RedisLeases(server.url, rows, seconds=self.clock.seconds)

        self.leases = EachItsOwn(make)

    def push(self, seconds):
        super().push(seconds)
        script = "for _, k in ipairs(redis.call('KEYS', '*wanted*')) do for _, m in ipairs(redis.call('ZRANGE', k, 0, -1)) do redis.call('ZINCRBY', k, ARGV[1], m) end end"
        with closing(redis.Redis.from_url(self.server.url)) as client:
            client.eval(script, 0, -seconds)

    async def close(self):
        await self.plain.close()
        await super().close()


@pytest.fixture(params=["memory", "sqlite", "postgres", "redis"])
async def store(request, path, monkeypatch):
    if request.param == "memory":
        made = InMemory()
    elif request.param == "sqlite":
        made = InSqlite(path, monkeypatch)
    elif request.param == "redis":
        made = InRedis(path, monkeypatch, request.getfixturevalue("redis_server"))
    else:
        made = InPostgres(request.getfixturevalue("database"), path)
    yield made
    await made.close()


def ask(key=A, keep=0, need=0, want=0, limit=LIMIT, parts=1):
    return Ask(*key, limit, keep, need, want, parts)


async def test_one_gets_what_it_wants_and_the_other_what_is_left(store):
    leases = store.leases
    assert (await leases.join("one")).live == 1
    assert (await leases.join("two")).live == 2
    assert await leases.draw("one", [ask(need=100, want=700)]) == [Lease(700, 0, 0)]
    assert await leases.draw("two", [ask(need=100, want=700)]) == [Lease(300, 700, 0)]
    assert await leases.look("one", [A, B]) == [Lease(700, 300, 0), Lease(0, 0, 0)]


async def test_of_what_is_left_beyond_the_need_one_part_is_given(store):
    await store.leases.join("one")
    assert await store.leases.draw("one", [ask(need=200, want=700, parts=4)]) == [Lease(400, 0, 0)]


async def test_who_cannot_get_what_it_needs_gets_nothing_and_others_are_told(store):
    leases = store.leases
    for name in ("one", "two", "three"):
        await leases.join(name)
    await leases.draw("one", [ask(need=1, want=700)])
    await leases.draw("three", [ask(B, need=1, want=700)])
    assert await leases.draw("two", [ask(need=400, want=400)]) == [Lease(0, 700, 0)]
    assert (await leases.renew("one")).recalled == {A}
    assert (await leases.renew("two")).recalled == frozenset()
    assert (await leases.renew("three")).recalled == frozenset()
    assert await leases.draw("one", [ask(keep=10, need=10, want=10)]) == [Lease(10, 0, 0)]
    assert (await leases.renew("one")).recalled == {A}
    assert await leases.draw("two", [ask(need=400, want=400)]) == [Lease(400, 10, 0)]
    assert (await leases.renew("one")).recalled == frozenset()


async def test_a_wish_is_forgotten_after_a_while(store):
    await store.leases.join("one")
    await store.leases.join("two")
    await store.leases.draw("one", [ask(need=1, want=LIMIT)])
    await store.leases.draw("two", [ask(need=1, want=1)])
    store.push(WANTED_S + 1)
    assert (await store.leases.renew("one")).recalled == frozenset()


async def test_a_draw_can_be_repeated(store):
    await store.leases.join("one")
    for _ in range(3):
        assert await store.leases.draw("one", [ask(need=100, want=700)]) == [Lease(700, 0, 0)]


async def test_what_is_settled_is_within_the_lease_and_what_is_beyond_it_counts_too(store):
    leases = store.leases
    await leases.join("one")
    await leases.join("two")
    await leases.draw("one", [ask(need=1, want=500)])
    await store.settle("one", ((*A, 300),))
    assert await leases.look("two", [A]) == [Lease(0, 500, 300)]
    assert await leases.look("one", [A]) == [Lease(500, 0, 0)]
    await store.settle("one", ((*A, 300),))  # a vendor that ignores its cap
    assert await leases.look("two", [A]) == [Lease(0, 600, 600)]


async def test_what_was_settled_before_there_was_a_lease_is_everybodys(store):
    await store.leases.join("one")
    await store.settle("one", ((*A, 300),))
    assert await store.leases.draw("one", [ask(need=1, want=LIMIT)]) == [Lease(700, 300, 300)]


async def test_a_window_that_is_over_leaves_what_was_spent(store):
    leases = store.leases
    await leases.join("one")
    await leases.draw("one", [ask(need=1, want=500)])
    await store.settle("one", ((*A, 300),))
    assert await leases.draw("one", [], over=[A]) == []
    (lease,) = await leases.look("one", [A])
    assert lease in (Lease(0, 300, 300), Lease(0, 500, 300))  # in Redis it stays for a while, since nobody will want it


async def test_who_leaves_gives_everything_back(store):
    leases = store.leases
    await leases.join("one")
    await leases.join("two")
    await leases.draw("one", [ask(need=1, want=500)])
    await store.settle("one", ((*A, 300),))
    await leases.leave("one")
    assert await leases.look("two", [A]) == [Lease(0, 300, 300)]
    assert (await leases.renew("two")).live == 1
    with pytest.raises(Buried):
        await leases.draw("one", [ask(need=1, want=500)])


async def test_who_is_not_heard_of_is_dead_and_can_be_buried_but_not_sooner(store):
    leases = store.leases
    await leases.join("one")
    await leases.join("two")
    await leases.draw("one", [ask(need=1, want=500)])
    store.push(TTL_S - 1)
    renewed = await leases.renew("two")
    assert (renewed.live, renewed.dead) == (2, ())
    store.push(GRACE_S)
    renewed = await leases.renew("two")
    assert (renewed.live, renewed.dead) == (1, ())
    await store.bury("one")
    assert await leases.look("two", [A]) == [Lease(0, 500, 0)]
    store.push(1.1)
    assert (await leases.renew("two")).dead == ("one",)
    await store.bury("one")
    await leases.buried("one")
    assert await leases.look("two", [A]) == [Lease(0, 0, 0)]
    for call in (leases.renew("one"), leases.draw("one", [ask(need=1, want=1)])):
        with pytest.raises(Buried):
            await call


async def test_who_is_late_but_not_buried_lives_on(store):
    await store.leases.join("one")
    store.push(TTL_S + GRACE_S + 5)
    await store.leases.renew("one")
    await store.bury("one")
    await store.leases.renew("one")


async def test_nobody_can_begin_without_having_joined(store):
    with pytest.raises(Buried):
        await store.leases.renew("ghost")


# SQL only


async def test_an_operation_that_was_given_up_and_comes_late_changes_nothing(path, monkeypatch):
    store = InSqlite(path, monkeypatch)
    leases = store.leases
    await leases.join("one")
    await leases.draw("one", [ask(need=1, want=700)])
    late = leases._number
    await leases.draw("one", [ask(keep=700, need=700, want=800)])
    leases._number = late  # as if the next had been sent before the last
    with pytest.raises(Buried):
        await leases.draw("one", [ask(keep=10, need=10, want=10)])
    assert (await leases.look("one", [A]))[0].nano == 800
    await store.close()


async def test_a_store_that_does_not_answer_in_time_is_down(path, monkeypatch):
    monkeypatch.setattr(sqlleases, "ANSWER_S", 0.01)
    leases = sqlleases.SqlLeases(lambda: time.sleep(0.2))
    with pytest.raises(StoreDown):
        await leases.renew("one")


async def test_what_a_dead_replica_left_open_is_closed_once_and_its_lease_is_free(path, monkeypatch):
    store = InSqlite(path, monkeypatch)
    await store.leases.join("one")
    await store.leases.draw("one", [ask(need=1, want=500)])
    store.ledger.replica = "one"
    await store.ledger.open(attempt(7, holds=((*A, 200),)))
    await store.leases.join("two")
    store.push(TTL_S + GRACE_S + 1)
    assert [e.attempt.id for e in await store.ledger.bury("one")] == ["fb-000007.1"]
    assert await store.ledger.bury("one") == []
    assert await store.leases.look("two", [A]) == [Lease(0, 200, 200)]
    with pytest.raises(Buried):
        await store.ledger.open(attempt(8))
    await store.ledger.close(entry(7, charges=((*A, 90),)))  # it comes back, and is told nothing
    assert await store.leases.look("two", [A]) == [Lease(0, 200, 200)]
    await store.close()


async def test_what_a_journal_may_have_spent_stays_leased_until_the_journal_was_taken_in(place, path):
    ledger, leases = ledger_of(place, path, shared=True), leases_of(place)
    ledger.start()
    await ledger.recover()
    for name in ("journal-a-1", "journal-a-2", "journal-b-1", "two"):
        await leases.join(name)
        await leases.draw(name, [ask(need=1, want=100)])
    for name in ("journal-a-1", "journal-b-1", "two"):
        await ledger.bury(name, surely=True)
    assert await leases.look("x", [A]) == [Lease(0, 300, 0)]
    await ledger.open(attempt(9))  # what the journal knew
    await ledger.close(entry(9, charges=((*A, 70),)))
    assert await ledger.release("journal-a-") == ["journal-a-1"]
    assert await leases.look("x", [A]) == [Lease(0, 270, 70)]
    await leases.close()
    await ledger.stop()


async def test_one_replica_that_is_unknown_does_not_take_others_attempts_with_it(path, monkeypatch):
    store = InSqlite(path, monkeypatch)
    await store.leases.join("one")
    store.ledger.replica = "ghost"
    lost = store.ledger.open(attempt(1))
    told = asyncio.gather(lost, *(store.ledger.open(attempt(n)) for n in (2,)), return_exceptions=True)
    await asyncio.sleep(0)
    store.ledger.replica = "one"
    kept = await asyncio.gather(store.ledger.open(attempt(3)), return_exceptions=True)
    assert [type(one) for one in await told] == [Buried, Buried]
    assert kept == [None]
    assert [a.id for a in await store.ledger.open_attempts()] == ["fb-000003.1"]
    await store.close()


async def test_whoever_is_first_buries_everybody_and_the_others_share_the_file(path, monkeypatch):
    store = InSqlite(path, monkeypatch)
    await store.leases.join("one")
    store.ledger.replica = "one"
    await store.ledger.open(attempt(1))
    await store.close()
    first, second = SharedSqliteLedger(path), SharedSqliteLedger(path)
    first.start()
    assert len(await first.recover()) == 1
    second.start()
    assert await second.recover() == []
    leases = leases_in(path)
    assert (await leases.join("two")).live == 1
    for i in range(10):
        ledger = (first, second)[i % 2]
        ledger.replica = "two"
        await ledger.open(attempt(10 + i))
        await ledger.close(entry(10 + i))
    from router.stores.ledgerfile import connect, verify  # noqa: PLC0415

    with contextlib.closing(connect(path)) as connection:
        assert [fine for _, fine in verify(connection)] == [True] * 11
    await leases.close()
    await first.stop()
    await second.stop()
