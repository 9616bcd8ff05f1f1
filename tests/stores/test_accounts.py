"""The port `Accounts`, on every adapter, with a clock that is pushed."""

import asyncio
from datetime import UTC

import pytest
from fakes import PushedClock, budget
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router.core.limits import Budget
from router.stores.memory import MemoryAccounts

ADAPTERS = [MemoryAccounts]
DAY = 86_400


@pytest.fixture(params=ADAPTERS, ids=lambda adapter: adapter.__name__)
def accounts(request):
    return request.param()


def holds(budgets, nano, now):
    return tuple((b.account, b.window(now)[0], nano) for b in budgets)


async def test_a_hold_is_taken_in_all_accounts_or_in_none(accounts):
    clock = PushedClock()
    rich, poor = budget(1), budget("0.00000001", per="hour")
    both = (rich, poor)
    assert not await accounts.reserve("a", both, holds(both, 11, clock.now()))
    assert [state.held for state in await accounts.states(both, clock.now())] == [0, 0]
    assert await accounts.reserve("b", both, holds(both, 10, clock.now()))
    assert [state.held for state in await accounts.states(both, clock.now())] == [10, 10]


async def test_reserving_twice_under_one_name_holds_once(accounts):
    clock, one = PushedClock(), (budget(1),)
    for _ in range(3):
        assert await accounts.reserve("a", one, holds(one, 7, clock.now()))
    assert (await accounts.states(one, clock.now()))[0].held == 7


async def test_settling_twice_charges_once(accounts):
    clock, one = PushedClock(), (budget(1),)
    await accounts.reserve("a", one, holds(one, 7, clock.now()))
    for _ in range(3):
        await accounts.settle("a", holds(one, 5, clock.now()))
    state = (await accounts.states(one, clock.now()))[0]
    assert (state.settled, state.held) == (5, 0)


async def test_settling_what_was_never_held_changes_nothing(accounts):
    clock, one = PushedClock(), (budget(1),)
    await accounts.settle("ghost", holds(one, 5, clock.now()))
    assert (await accounts.states(one, clock.now()))[0].settled == 0


async def test_a_new_window_begins_empty_and_a_late_charge_belongs_to_the_old_one(accounts):
    clock, one = PushedClock(), (budget(1),)
    old = holds(one, 7, clock.now())
    await accounts.reserve("a", one, old)
    clock.push(DAY)
    state = (await accounts.states(one, clock.now()))[0]
    assert (state.settled, state.held) == (0, 0)
    await accounts.settle("a", old)
    state = (await accounts.states(one, clock.now()))[0]
    assert (state.settled, state.held) == (0, 0)


async def test_a_limit_that_only_warns_lets_everything_through(accounts):
    clock, one = PushedClock(), (budget("0.000000001", on_exceed="allow"),)
    assert await accounts.reserve("a", one, holds(one, 10**9, clock.now()))


async def test_whoever_waits_is_told_when_a_hold_is_settled(accounts):
    clock, one = PushedClock(), (budget(1),)
    await accounts.reserve("a", one, holds(one, 7, clock.now()))
    waiting = asyncio.create_task(accounts.changed(10))
    await asyncio.sleep(0)
    await accounts.settle("a", ())
    assert await waiting


async def test_waiting_ends_at_its_time(accounts):
    assert not await accounts.changed(0.001)


LIMIT = 1000


class Schedule(RuleBasedStateMachine):
    """Any order of reserve, settle, cancel and turning windows keeps settled + held within every limit."""

    def __init__(self):
        super().__init__()
        self.clock = PushedClock()
        self.accounts = MemoryAccounts()
        self.budgets = (
            Budget("*", 3 * LIMIT, "USD", "total", UTC),
            Budget("search", LIMIT, "USD", "day", UTC),
            Budget("search/app", LIMIT // 2, "CNY", "hour", UTC),
        )
        self.open = {}
        self.number = 0
        self.settled = {}

    def run(self, work):
        return asyncio.run(work)

    @rule(nano=st.integers(0, LIMIT), which=st.integers(1, 7))
    def reserve(self, nano, which):
        chosen = tuple(b for i, b in enumerate(self.budgets) if which >> i & 1)
        taken = holds(chosen, nano, self.clock.now())
        before = self.run(self.accounts.states(chosen, self.clock.now()))
        self.number += 1
        granted = self.run(self.accounts.reserve(f"h{self.number}", chosen, taken))
        assert granted == all(state.free >= nano for state in before)
        if granted:
            self.open[f"h{self.number}"] = taken

    @precondition(lambda self: self.open)
    @rule(data=st.data(), share=st.floats(0, 1), again=st.booleans())
    def settle(self, data, share, again):
        name = data.draw(st.sampled_from(sorted(self.open)))
        charges = tuple((account, start, int(nano * share)) for account, start, nano in self.open.pop(name))
        for _ in range(1 + again):
            self.run(self.accounts.settle(name, charges))
        for account, start, nano in charges:
            self.settled[account, start] = self.settled.get((account, start), 0) + nano

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def cancel(self, data):
        name = data.draw(st.sampled_from(sorted(self.open)))
        del self.open[name]
        self.run(self.accounts.settle(name, ()))

    @rule(seconds=st.sampled_from([1, 1800, DAY]))
    def time_goes_on(self, seconds):
        self.clock.push(seconds)

    @rule()
    def crash(self):
        """The process dies and comes back: the ledger charged every open hold, and accounts are loaded from it."""
        for taken in self.open.values():
            for account, start, nano in taken:
                self.settled[account, start] = self.settled.get((account, start), 0) + nano
        self.open = {}
        self.accounts = MemoryAccounts()
        now = self.clock.now()
        for b in self.budgets:
            start = b.window(now)[0]
            self.accounts.load(b, start, self.settled.get((b.account, start), 0))

    @invariant()
    def caps_hold_and_the_books_agree(self):
        now = self.clock.now()
        for state in self.run(self.accounts.states(self.budgets, now)):
            account, start = state.budget.account, state.starts
            assert state.held >= 0 and state.settled >= 0
            assert state.settled + state.held <= state.budget.limit
            assert state.settled == self.settled.get((account, start), 0)
            open_here = sum(
                nano for taken in self.open.values() for name, begun, nano in taken if (name, begun) == (account, start)
            )
            assert state.held == open_here


TestSchedule = Schedule.TestCase
TestSchedule.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


async def test_a_window_that_has_begun_before_the_clock_was_set_back_knows_what_it_cost(accounts):
    clock, day = PushedClock(), budget(1)
    tomorrow = day.window(clock.now())[1]
    accounts.load(day, day.window(clock.now())[0], 3, {tomorrow: 7})
    assert [state.settled for state in await accounts.states([day], clock.now())] == [3]
    assert [state.settled for state in await accounts.states([day], tomorrow)] == [7]
    assert accounts.window(day, clock.now()) == tomorrow  # set back, it stays in the later window


async def test_a_window_that_turns_while_the_ledger_is_asked_is_not_taken_for_the_one_that_was_asked_for(accounts):
    clock, hour = PushedClock(), budget(1, per="hour")
    this, following = hour.window(clock.now())
    accounts.load(hour, this, 3, {following: 7})
    await accounts.states([hour], following)  # a scrape, when the clock has gone on, before the answer is here
    accounts.load(hour, this, 4, {following: 8})
    assert [(state.starts, state.settled) for state in await accounts.states([hour], following)] == [(following, 8)]
    accounts.load(hour, this, 4)
    assert [state.settled for state in await accounts.states([hour], following)] == [0]
