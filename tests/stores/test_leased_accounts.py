"""Budgets that several replicas spend together, each by itself as far as its lease goes."""

import asyncio
import contextlib
from datetime import UTC

import pytest
from fakes import budget
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from leasing import World

from router.core.errors import Overloaded
from router.core.lease import GRACE_S, RENEW_S, TTL_S
from router.core.limits import Budget
from router.stores.ports import StoreDown

LIMIT = 10_000


def of(limit=LIMIT, per="total", **more):
    return Budget("search", limit, "USD", per, UTC, **more)


async def world(count=2, *budgets):
    return await World(count, budgets or (of(),)).begin()


async def test_one_budget_is_spent_by_two_and_no_nano_unit_more():
    w = await world()
    one, two = w.replicas
    taken = 0
    for i in range(300):
        w.push(0.1)
        if i % 20 == 0:
            await w.beat(one)
            await w.beat(two)
        replica = (one, two)[i % 2]
        if name := await w.reserve(replica, 50):
            await w.close(replica, name)
            taken += 50
        w.check()
    assert taken == LIMIT


async def test_a_hold_within_the_lease_asks_nobody():
    w = await world(2, of(10**9))
    one = w.replicas[0]
    for _ in range(40):
        for _ in range(100):
            await w.close(one, await w.reserve(one, 50))
        w.push(RENEW_S)
        await w.beat(one)
    before = one.store.asked
    holds = 0
    for _ in range(20):
        for _ in range(100):
            await w.close(one, await w.reserve(one, 50))
            holds += 1
        w.push(RENEW_S)
        await w.beat(one)
    assert (one.store.asked - before) / holds <= 0.02


async def test_nobody_is_buried_because_the_store_was_away_for_longer_than_a_lease():
    w = await world()
    one, two = w.replicas
    name = await w.reserve(two, 50)
    for replica in (one, two):
        replica.store.fails = ["before"]
        with pytest.raises(StoreDown):
            await w.beat(replica)
    w.past_burial()
    before = two.accounts.replica
    await w.beat(one)
    await w.beat(two)
    assert two.accounts.replica == before and two.accounts.is_valid
    await w.close(two, name)
    two.store.fails = ["before"] * 9
    for _ in range(9):
        w.push(RENEW_S)
        await w.beat(one)
        with pytest.raises(StoreDown):
            await w.beat(two)
    w.push(RENEW_S)
    await w.beat(one)
    assert before not in w.leases.until  # the store was there all the time


async def test_the_dead_are_buried_although_nothing_can_be_drawn():
    """In Redis nothing can be, until they are."""
    w = await world()
    one, two = w.replicas
    await w.reserve(one, 50)
    w.past_burial()
    one.store.fails = [None, "before"] * 100  # each renewal is answered, and nothing else
    buried = []

    async def bury(name):
        buried.append(name)
        tending.cancel()

    tending = asyncio.create_task(one.accounts.tend(bury, lambda: asyncio.sleep(0), every_s=0))
    await asyncio.wait([tending], timeout=5)
    tending.cancel()
    assert set(buried) == {two.accounts.replica}


async def test_many_who_wait_share_one_operation():
    w = await world(2, of(10**9))
    one = w.replicas[0]
    before = one.store.asked
    names = await asyncio.gather(*(w.reserve(one, 50) for _ in range(200)))
    assert all(names)
    assert one.store.asked - before <= 3


async def test_several_accounts_are_drawn_in_one_operation():
    both = (of(), of(LIMIT * 3, "day"))
    w = await world(2, *both)
    before = w.replicas[0].store.asked
    assert await w.reserve(w.replicas[0], 7)
    assert w.replicas[0].store.asked - before == 1


async def test_a_hold_is_taken_in_all_accounts_or_in_none():
    rich, poor = of(), of(10, "day")
    w = await world(2, rich, poor)
    one = w.replicas[0]
    assert not await w.reserve(one, 11)
    assert [state.held for state in one.accounts.look((rich, poor), w.clock.now())] == [0, 0]
    assert await w.reserve(one, 10)


async def test_what_others_have_leased_is_held_and_what_they_spent_is_settled():
    w = await world()
    one, two = w.replicas
    name = await w.reserve(one, 100)
    await w.close(one, name, 60)
    await two.accounts.refresh(w.budgets, w.clock.now())
    (state,) = await two.accounts.states(w.budgets, w.clock.now())
    assert state.settled == 60
    assert state.held == w.leases.taken((w.budgets[0].account, 0)) - 60
    assert state.free == LIMIT - w.leases.taken((w.budgets[0].account, 0))


async def test_a_budget_that_only_warns_needs_no_lease_and_shows_what_all_have_spent():
    soft = of(1, on_exceed="allow")
    w = await world(2, soft)
    one, two = w.replicas
    for replica in (one, two, one):
        await w.close(replica, await w.reserve(replica, 50))
    assert one.store.asked == 1  # to join
    for replica in (one, two):
        await w.beat(replica)
        assert replica.accounts.look([soft], w.clock.now())[0].settled == 150
    await w.close(one, await w.reserve(one, 50))
    assert one.accounts.look([soft], w.clock.now())[0].settled == 200


async def test_who_waits_for_money_gets_what_another_does_not_need():
    w = await world()
    one, two = w.replicas
    held = await w.reserve(one, LIMIT // 2)
    assert await w.reserve(two, LIMIT // 4)
    await w.close(one, held, 0)
    need = ((w.budgets[0].account, 0, LIMIT // 2),)
    assert not await two.accounts.reserve("x", w.budgets, need)  # one has it, and may need it
    waiting = asyncio.create_task(two.accounts.changed(5, w.budgets, need))
    w.push(1)
    await asyncio.sleep(0.01)  # for the draw that tells that it is wanted
    await w.beat(one)
    w.push(1)
    assert await waiting
    assert await two.accounts.reserve("x", w.budgets, need)
    w.check()


async def test_a_wish_that_nobody_has_any_more_is_forgotten():
    w = await world()
    one, two = w.replicas
    await w.reserve(one, 10)
    await two.accounts.reserve("x", w.budgets, ((w.budgets[0].account, 0, LIMIT),))
    w.push(1)
    await w.beat(one)
    spare = one.accounts._purses.find(w.budgets[0].account, 0).spare
    assert spare == 0
    w.push(11)
    await w.beat(one)
    await w.reserve(one, 10)
    assert one.accounts._purses.find(w.budgets[0].account, 0).spare > 0


async def test_a_replica_that_is_not_heard_of_makes_no_more_holds_and_its_lease_returns_after_its_burial():
    w = await world()
    one, two = w.replicas
    await w.reserve(one, LIMIT // 2)
    w.push(TTL_S - 0.1)
    assert await w.reserve(one, 1)
    w.push(0.2)
    with pytest.raises(Overloaded):
        await w.reserve(one, 1)
    await w.beat(two)
    assert one.accounts.replica in w.leases.until
    w.push(GRACE_S)
    await w.beat(two)
    assert one.accounts.replica not in w.leases.until
    assert w.billed == {(w.budgets[0].account, 0): LIMIT // 2 + 1}
    await w.beat(one)  # it starts over
    for name in list(one.attempts):
        await w.close(one, name, 3)  # what is charged already
    assert w.billed == {(w.budgets[0].account, 0): LIMIT // 2 + 1}
    assert await w.reserve(one, LIMIT // 4)
    w.check()


async def test_a_store_that_does_not_answer_is_not_needed_for_what_is_leased():
    w = await world()
    one = w.replicas[0]
    await w.close(one, await w.reserve(one, 100))
    spare = one.accounts._purses.find(w.budgets[0].account, 0).spare
    one.store.fails = ["before"] * 100
    assert spare >= 50
    assert await w.reserve(one, 50)
    with pytest.raises(Overloaded):
        await w.reserve(one, LIMIT // 2)


async def test_who_has_a_journal_spends_what_is_leased_however_long_the_store_is_down():
    w = await world()
    one = w.replicas[0]
    one.accounts.lasting = True
    await w.close(one, await w.reserve(one, 100))
    one.store.fails = ["before"] * 100
    w.push(TTL_S + GRACE_S + 1)
    assert await w.reserve(one, 50)
    with pytest.raises(Overloaded):
        await w.reserve(one, LIMIT // 2)


async def test_an_answer_that_is_lost_costs_nothing():
    w = await world()
    one, two = w.replicas
    one.store.fails = ["after"]
    with pytest.raises(Overloaded):
        await w.reserve(one, 100)
    w.check()
    assert await w.reserve(one, 100)
    one.store.fails = [None, "after"]
    for name in list(one.attempts):
        await w.close(one, name, 1)
    w.push(1)
    await two.accounts.reserve("x", w.budgets, ((w.budgets[0].account, 0, LIMIT),))
    with pytest.raises(StoreDown):
        await w.beat(one)  # it gave back, and does not know that it could
    w.check()
    assert await two.accounts.reserve("x", w.budgets, ((w.budgets[0].account, 0, LIMIT - 1),))
    assert not await w.reserve(one, 100)
    w.check()


async def test_leaving_gives_everything_back():
    w = await world()
    one, two = w.replicas
    await w.close(one, await w.reserve(one, 1000), 1000)
    await one.accounts.leave()
    assert await w.reserve(two, LIMIT - 1000)
    assert not await w.reserve(two, 1)


async def test_a_window_that_is_over_is_let_go_of_in_the_store():
    daily = of(LIMIT, "day")
    w = await world(2, daily)
    one = w.replicas[0]
    late = await w.reserve(one, 100)
    old = daily.window(w.clock.now())[0]
    w.push(86_400)
    await w.beat(one)
    await w.beat(one)
    assert await w.reserve(one, LIMIT)
    await w.close(one, late, 40)
    await w.beat(one)
    book = w.leases.books[daily.account, old]
    assert (book.rows, book.spend) == ({}, 40)
    w.check()


async def test_a_budget_is_usable_to_its_end_by_all_replicas():
    """Eight replicas with holds of twenty times what is charged."""
    w = await world(8, of(1_000_000))
    spent = 0
    for round_ in range(20_000):
        replica = w.replicas[round_ % 8]
        if round_ % 80 == 0:
            for each in w.replicas:
                await w.beat(each)
            w.push(RENEW_S)
        free = replica.accounts.look(w.budgets, w.clock.now())[0].free
        nano = min(2_000, free)
        if nano > 0 and (name := await w.reserve(replica, nano)):
            await w.close(replica, name, min(100, nano))
            spent += min(100, nano)
    w.check()
    assert spent >= 990_000


async def test_a_limit_that_was_lowered_is_not_spent_further():
    w = await world(1)
    one = w.replicas[0]
    await w.close(one, await w.reserve(one, 2_000))
    lower = of(2_100)
    await one.accounts.states([lower], w.clock.now())
    assert not await one.accounts.reserve("x", (lower,), ((lower.account, 0, 200),))
    assert await one.accounts.reserve("y", (lower,), ((lower.account, 0, 100),))


class Replicas(RuleBasedStateMachine):
    """Any order of holds, settlements, renewals, lost operations, pauses, deaths and burials keeps every cap."""

    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner()
        budgets = (of(3 * LIMIT), of(LIMIT, "day"), budget("0.000005", per="hour"))
        self.w = self.run(World(3, budgets).begin())

    def run(self, work):
        return self.runner.run(work)

    def teardown(self):
        self.runner.close()

    @rule(who=st.integers(0, 2), nano=st.integers(0, LIMIT // 4), which=st.integers(1, 7))
    def reserve(self, who, nano, which):
        chosen = tuple(b for i, b in enumerate(self.w.budgets) if which >> i & 1)
        with contextlib.suppress(Overloaded):
            self.run(self.w.reserve(self.w.replicas[who], nano, chosen))

    @rule(who=st.integers(0, 2), nanos=st.lists(st.integers(0, LIMIT // 8), min_size=2, max_size=6))
    def reserve_at_once(self, who, nanos):
        async def all_of_them():
            asked = (self.w.reserve(self.w.replicas[who], nano) for nano in nanos)
            for found in await asyncio.gather(*asked, return_exceptions=True):
                assert found is None or isinstance(found, str | Overloaded), found

        self.run(all_of_them())

    @precondition(lambda self: any(r.attempts for r in self.w.replicas))
    @rule(data=st.data(), share=st.floats(0, 1))
    def close(self, data, share):
        replica = data.draw(st.sampled_from([r for r in self.w.replicas if r.attempts]))
        name = data.draw(st.sampled_from(sorted(replica.attempts)))
        if name.startswith("left"):
            return
        nano = int(min(n for _, _, n in replica.attempts[name][1]) * share)
        self.run(self.w.close(replica, name, nano))

    @rule(who=st.integers(0, 2))
    def beat(self, who):
        with contextlib.suppress(StoreDown):
            self.run(self.w.beat(self.w.replicas[who]))

    @rule(who=st.integers(0, 2), fails=st.lists(st.sampled_from(["before", "after", None]), min_size=1, max_size=4))
    def operations_are_lost(self, who, fails):
        self.w.replicas[who].store.fails = list(fails)

    @rule(who=st.integers(0, 2))
    def wait_for_money(self, who):
        replica = self.w.replicas[who]
        needs = tuple((b.account, replica.accounts.window(b, self.w.clock.now()), 1000) for b in self.w.budgets)
        self.run(replica.accounts.changed(0.0001, self.w.budgets, needs))

    @rule(seconds=st.sampled_from([0.1, 1, 3, 14, 26, 3600, 86_400]))
    def time_goes_on(self, seconds):
        self.w.push(seconds)

    @rule(who=st.integers(0, 2))
    def killed(self, who):
        self.run(self.w.kill(self.w.replicas[who]))

    @invariant()
    def no_cap_is_passed(self):
        self.w.check()


TestReplicas = Replicas.TestCase
TestReplicas.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
