"""The ledger in each database: durable, idempotent, chained, and its sums always those of its rows."""

import asyncio
import contextlib
from dataclasses import replace

import orjson
import pytest
from fakes import budget
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlite_rows import AT, all_rows, attempt, entry, opened

from router.core.limits import micros, moment
from router.core.usage import INPUTS, KINDS, LEAVES, OUTPUTS, Usage
from router.stores.hours import HOUR
from router.stores.journal import attempt_of, short
from router.stores.ledgerfile import connect, migrate, rows, verify
from router.stores.outbox import Outbox
from router.stores.ports import SUMS, FreeSpan, StoredKey, StoreDown, Total, labels_of


async def test_a_row_is_exported_with_exactly_the_fields_of_the_contract(place):
    async with opened(place) as ledger:
        await ledger.open(attempt())
        await ledger.close(entry())
        (row,) = await all_rows(ledger)
    assert row == {
        "id": "fb-000001.1", "request_id": "fb-000001", "attempt": 1, "at": "2026-11-18T11:06:40.000000Z", "team": "search",
        "key": "app", "route": "auto", "model": "small", "vendor": "check", "tier": "cheap", "outcome": "ok",
        "basis": "reported", "usage": {"input_fresh": 10, "cache_read": 2, "output_text": 5, "output_reasoning": 1},
        "cost": "0.0000003", "currency": "USD", "vendor_cost": "0.0000021", "vendor_currency": "CNY",
        "flagship_cost": "0.000003", "held": "0.0000005", "price": "USD 1/2", "reason": "cheapest of 1", "tags": {},
        "final": True, "first_byte_ms": 12, "total_ms": 34, "prompt_estimate": None, "prompt_high": None, "vendor_id": None,
        "fixed_cost": None, "propensity": None,
        "service_tier": None, "free_tokens": None, "list_cost": None, "hash": row["hash"],
    }  # fmt: skip
    assert len(row["hash"]) == 64


async def test_a_row_that_is_closed_twice_is_there_once_and_counted_once(place):
    async with opened(place) as ledger:
        await asyncio.gather(*(ledger.close(entry()) for _ in range(5)))
        await ledger.close(entry(cost=999))
        assert len(await all_rows(ledger)) == 1
        (total,) = await ledger.totals()
        assert (total.attempts, total.cost) == (1, 300)


async def test_rows_of_attempts_that_are_over_wait_for_each_other_while_others_begin_and_none_is_lost(place):
    async with opened(place) as ledger:
        for first in range(0, 200, 40):
            numbers = range(first, first + 40)
            await asyncio.gather(*(ledger.open(attempt(number)) for number in numbers))
            ends = [asyncio.ensure_future(ledger.close(entry(number))) for number in numbers]
            await asyncio.gather(*(ledger.open(attempt(1000 + number)) for number in numbers))
            await asyncio.gather(*ends)
        assert sorted(row["id"] for row in await all_rows(ledger)) == [f"fb-{number:06d}.1" for number in range(200)]
        assert len(await ledger.open_attempts()) == 200
        (total,) = await ledger.totals()
        assert total.attempts == 200


async def test_an_attempt_that_a_dead_process_left_open_is_charged_at_its_hold(place):
    account = budget(1)
    start = account.window(AT)[0]
    holds = ((account.account, start, 500),)
    async with opened(place) as ledger:
        await ledger.spent([(account, start)])
        await ledger.open(attempt(holds=holds))
        await ledger.open(attempt(2, holds=holds))
        await ledger.close(entry(2, holds=holds, charges=((account.account, start, 300),)))
    async with opened(place) as ledger:
        (recovered,) = await ledger.recover()
        assert recovered.attempt.id == "fb-000001.1"
        assert await ledger.recover() == []
        found = {row["id"]: row for row in await all_rows(ledger)}
        assert found["fb-000001.1"]["outcome"] == "abandoned" and found["fb-000001.1"]["basis"] == "estimated"
        assert found["fb-000001.1"]["cost"] == found["fb-000001.1"]["held"] == "0.0000005"
        assert found["fb-000001.1"]["usage"] == {"input_fresh": 100, "output_text": 50}
        assert await ledger.spent([(account, start)]) == {account.account: 800}


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 30),
            st.integers(0, 10**9),
            st.sampled_from(["ok", "error", "cut"]),
            st.booleans(),
            st.builds(Usage, **dict.fromkeys(LEAVES, st.none() | st.integers(0, 10**9))),
        ),
        max_size=40,
    )
)
def test_the_sums_are_always_those_of_the_rows(places, closes):
    async def run():
        async with opened(places()) as ledger:
            entries = [
                entry(number, cost, outcome, "estimated" if e else "reported", usage=usage)
                for number, cost, outcome, e, usage in closes
            ]
            await asyncio.gather(*(ledger.close(item) for item in entries))
            expected = {}
            seen = set()
            for item in entries:
                if item.attempt.id not in seen:
                    seen.add(item.attempt.id)
                    expected.setdefault(labels_of(item), Total(*labels_of(item))).add(item)
            sums = {k: [getattr(t, n) for n in SUMS] for k, t in expected.items()}
            for found in (
                await ledger.totals(),
                await ledger.totals(since=0),
            ):  # those that are kept; counted from the rows
                assert {t.labels: [getattr(t, n) for n in SUMS] for t in found} == sums
            for days in (False, True):
                split = {}
                for part in await ledger.apart(days=days):
                    assert part.key.startswith(f"{part.team}/") and (part.day == "") is not days
                    before = split.get(part.labels, [0] * len(SUMS))
                    split[part.labels] = [a + getattr(part, n) for a, n in zip(before, SUMS, strict=True)]
                assert split == sums

    asyncio.run(run())


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE ledger SET cost = cost - 1 WHERE seq = 5",
        "UPDATE ledger SET team = 'other' WHERE seq = 5",
        "DELETE FROM ledger WHERE seq = 5",
        "DELETE FROM ledger WHERE seq = 1",
        "UPDATE ledger SET seq = 105 WHERE seq = 5",
    ],
)
async def test_a_changed_or_removed_row_is_found(place, damage):
    async with opened(place) as ledger:
        for number in range(1, 11):
            await ledger.close(entry(number))
    with contextlib.closing(connect(place)) as connection:
        assert all(good for _, good in verify(connection))
    with contextlib.closing(connect(place, write=True)) as connection:
        connection.execute(damage)
        assert not all(good for _, good in verify(connection))


def test_every_token_is_counted_under_one_kind():
    leaves = Usage(**{leaf: 2**place for place, leaf in enumerate(LEAVES)})
    total = Total(*labels_of(entry()))
    total.add(entry(usage=leaves))
    assert {kind: getattr(total, kind) for kind in KINDS} == {
        kind: sum(getattr(leaves, leaf) for leaf in parts) for kind, parts in KINDS.items()
    }
    assert sorted(leaf for parts in KINDS.values() for leaf in parts) == sorted({*INPUTS, *OUTPUTS})


async def test_a_budget_that_is_new_knows_what_its_window_has_cost(place):
    dollars, yuan, key = budget(1), budget(1, currency="CNY", per="month"), budget(1, owner="search/app")
    everybody, others = budget(1, owner="*"), budget(1, owner="other")
    start = dollars.window(AT)[0]
    async with opened(place) as ledger:
        await ledger.close(entry(1, cost=300))
        await ledger.close(entry(2, cost=500, at=start - 1))
        await ledger.close(entry(3, cost=50, key="ci"))
        accounts = [(b, b.window(AT)[0]) for b in (dollars, yuan, key, everybody, others)]
        found = await ledger.spent(accounts)
    assert found == {
        dollars.account: 350, yuan.account: 7 * 850, key.account: 300, everybody.account: 350, others.account: 0,
    }  # fmt: skip


async def test_a_budget_that_was_away_for_a_while_misses_nothing(place):
    day = budget(1)
    start = day.window(AT)[0]
    charges = ((day.account, start, 300),)
    async with opened(place) as ledger:
        await ledger.spent([(day, start)])
        await ledger.close(entry(1, cost=300, charges=charges))
        await ledger.spent([])  # the budget is taken out of the configuration
        await ledger.close(entry(2, cost=40))
        assert await ledger.spent([(day, start)]) == {day.account: 340}
        assert await ledger.spent([(day, start)]) == {day.account: 340}


async def test_a_row_that_cannot_be_written_does_not_take_others_with_it(place):
    async with opened(place) as ledger:
        bad = entry(2, cost=2**63)
        results = await asyncio.gather(
            ledger.close(entry(1)), ledger.close(bad), ledger.close(entry(3)), return_exceptions=True
        )
        assert [type(result) for result in results] == [type(None), StoreDown, type(None)]
        assert [row["id"] for row in await all_rows(ledger)] == ["fb-000001.1", "fb-000003.1"]
    with contextlib.closing(connect(place)) as connection:
        assert all(good for _, good in verify(connection))


def test_migrating_twice_changes_nothing(place):
    assert migrate(place)[0] == 0
    before, after = migrate(place)
    assert before == after


async def test_keys_are_stored_hashed_and_revoked_once(place):
    async with opened(place) as ledger:
        await ledger.add_key(StoredKey("k1", "search", "ci", "ab" * 32, AT))
        with pytest.raises(StoreDown):
            await ledger.add_key(StoredKey("k2", "search", "ci", "ab" * 32, AT))
        assert await ledger.revoke_key("k1", AT + 1)
        assert not await ledger.revoke_key("k1", AT + 2)
        assert [key.revoked for key in await ledger.keys()] == [AT + 1]


async def test_rows_are_paged_in_the_order_in_which_they_were_closed(place):
    async with opened(place) as ledger:
        for number in (3, 1, 2):
            await ledger.close(entry(number))
        first = [(seq, row["id"]) async for seq, row in ledger.entries(limit=2)]
        rest = [row["id"] async for _, row in ledger.entries(after=first[-1][0])]
    assert [row_id for _, row_id in first] + rest == ["fb-000003.1", "fb-000001.1", "fb-000002.1"]
    with contextlib.closing(connect(place)) as connection:
        assert len(list(rows(connection))) == 3


def test_an_attempt_is_written_in_few_bytes_and_read_whole_also_without_fields_of_a_later_version():
    one = attempt(holds=(("search|day|UTC|USD", AT, 500),), tags={"feature": "chat"}, propensity=0.5)
    assert attempt_of(orjson.loads(short(one))) == one
    assert attempt_of(orjson.loads(orjson.dumps(one))) == one
    assert attempt_of(orjson.loads(short(one))[:-3]) == replace(one, prompt_high=None, propensity=None, held_fixed=None)


def test_an_attempt_is_stored_whole():
    told = orjson.loads(orjson.dumps(attempt(holds=(("a", 1, 2),))))
    assert told["holds"] == [["a", 1, 2]] and told["bound"]["input_fresh"] == 100
    assert moment(AT) == moment(micros(moment(AT)))


async def test_what_is_shown_over_time_is_that_of_the_rows(place):
    async with opened(place) as ledger:
        begun = AT - AT % HOUR
        for number in range(1, 6):
            await ledger.close(entry(number, at=begun + number * HOUR // 2, free_tokens=number if number % 2 else None))
        assert await ledger.newest(3) == [f"fb-{number:06d}" for number in (5, 4, 3)]
        assert await ledger.newest(3, "nobody") == []
        last, hours, days = await ledger.past(begun, begun + 2 * HOUR)
        assert last == 5
        assert [(cell.at, cell.attempts, cell.first_count) for cell in sorted(hours, key=lambda cell: cell.at)] == [
            (begun, 1, 0), (begun + HOUR, 2, 0), (begun + 2 * HOUR, 2, 2),
        ]  # fmt: skip
        assert sum(cell.cost for cell in days) == 1500
        assert [(cell.at, cell.attempts) for cell in (await ledger.hours(3))[1]] == [(begun + 2 * HOUR, 2)]
        assert await ledger.hours(5) == (5, [])
        spans = [
            FreeSpan("check", ("small", "other"), begun, begun + 2 * HOUR),
            FreeSpan("check", ("large",), 0, AT * 2),
        ]
        assert await ledger.free_taken(spans) == [(2, 4), (0, 0)]
        found = await ledger.of_requests(["fb-000002", "fb-000002/", "fb-00000"])
        assert [len(rows) for rows in found.values()] == [1, 0, 0]
        alerts = Outbox(ledger.place).hours(begun + 3 * HOUR, "USD")
        assert sorted(alerts) == [("search", begun // HOUR + n, cost) for n, cost in ((0, 300), (1, 600), (2, 600))]
