"""Replicas whose budgets are not the same: a new budget has counted every row once all of them have it."""

from fakes import budget
from sqlite_rows import AT, attempt, entry

from router.stores.opening import leases_of, ledger_of


async def test_a_budget_that_replicas_get_one_after_another_counts_what_all_have_spent(place, path):
    old, new = budget(1, per="day"), budget(2, per="total")
    known = [(old, old.window(AT)[0])]
    wanted = [*known, (new, new.window(AT)[0])]
    leases = leases_of(place)
    one, two = (ledger_of(place, path, shared=True) for _ in range(2))
    for ledger, name in ((one, "one"), (two, "two")):
        ledger.start()
        await ledger.recover()
        await leases.join(name)
        ledger.replica = name

    async def spend(ledger, number, accounts):
        charges = tuple((b.account, start, 300) for b, start in accounts)
        await ledger.open(attempt(number))
        await ledger.close(entry(number, charges=charges))

    await one.spent(known)
    await two.spent(known)
    assert await one.is_even_again()  # it had asked before the other had said anything
    await one.spent(known)
    assert not await one.is_even_again()
    await spend(one, 1, known)
    assert (await two.spent(wanted))[new.account] == 300
    assert not await two.is_even_again()
    await spend(one, 2, known)  # which does not know of it yet
    await spend(two, 3, wanted)
    assert (await one.spent(wanted))[new.account] == 900
    assert not await one.is_even_again()
    assert await two.is_even_again()
    await spend(one, 4, wanted)
    assert await two.spent(wanted) == {old.account: 1200, new.account: 1200}
    assert not await two.is_even_again()
    await leases.close()
    for ledger in (one, two):
        await ledger.stop()
