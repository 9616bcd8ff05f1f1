"""A ledger that an earlier version wrote: it opens, its rows stay proven, and what is new is NULL in them."""

import asyncio
import contextlib
import hashlib
import sqlite3

import orjson
import pytest
from sqlite_rows import AT, all_rows, entry, opened

from router.core.usage import Usage
from router.stores.ledgerfile import GENESIS, connect, migrate, verify
from router.stores.schema import COLUMNS, STEPS, VERSION

# The columns of step 1 in the order in which version 1 hashed them.
FIRST = (
    "id", "request_id", "attempt", "at", "team", "key", "route", "model", "vendor", "tier", "outcome", "basis",
    "input_fresh", "cache_read", "cache_write_5m", "cache_write_1h", "output_text", "output_reasoning",
    "cost", "currency", "vendor_cost", "vendor_currency", "flagship_cost", "held", "price", "reason", "tags", "final",
    "first_byte_ms", "total_ms",
)  # fmt: skip
LATER = COLUMNS[len(FIRST) :]
STEP_1 = "8f7fdee9"  # the beginning of its SHA-256


def old_row(number, **over):
    told = {
        "id": f"fb-{number:06d}.1", "request_id": f"fb-{number:06d}", "attempt": 1, "at": AT, "team": "search",
        "key": "app", "route": "auto", "model": "small", "vendor": "check", "tier": "cheap", "outcome": "ok",
        "basis": "reported", "input_fresh": 10, "cache_read": 2, "cache_write_5m": None, "cache_write_1h": None,
        "output_text": 5, "output_reasoning": 1, "cost": 300, "currency": "USD", "vendor_cost": 2100,
        "vendor_currency": "CNY", "flagship_cost": 3000, "held": 500, "price": "USD 1/2", "reason": "cheapest of 1",
        "tags": "{}", "final": 1, "first_byte_ms": None, "total_ms": None,
    }  # fmt: skip
    return [(told | over)[name] for name in FIRST]


@pytest.fixture
def old(path):
    """A file as version 1 left it: three rows, their sums, one attempt still open."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"BEGIN; {STEPS[0]} PRAGMA user_version=1; COMMIT;")
        last = GENESIS
        for number in (1, 2, 3):
            values = old_row(number)
            last = hashlib.sha256(last + orjson.dumps(values)).digest()
            places = ", ".join("?" * (len(FIRST) + 1))
            connection.execute(f"INSERT INTO ledger ({', '.join(FIRST)}, hash) VALUES ({places})", (*values, last))
        sums = (
            "search",
            "auto",
            "small",
            "check",
            "cheap",
            "ok",
            "USD",
            "CNY",
            3,
            3,
            900,
            6300,
            0,
            8100,
            30,
            6,
            0,
            15,
            3,
        )
        connection.execute(f"INSERT INTO totals VALUES ({', '.join('?' * len(sums))})", sums)
        body = {
            "id": "fb-000004.1", "request_id": "fb-000004", "number": 1, "at": AT, "team": "search", "key": "app",
            "route": "auto", "model": "small", "vendor": "check", "tier": "cheap", "price": "USD 1/2",
            "currency": "USD", "vendor_currency": "CNY", "held": 500, "held_vendor": 3500, "held_flagship": 4500,
            "holds": [], "bound": {"input_fresh": 100, "cache_read": None, "output_text": 50}, "reason": "", "tags": {},
        }  # fmt: skip
        connection.execute("INSERT INTO attempts VALUES (?, ?)", ("fb-000004.1", orjson.dumps(body)))
        connection.commit()
    return path


def test_a_step_that_was_released_is_never_edited():
    assert hashlib.sha256(STEPS[0].encode()).hexdigest().startswith(STEP_1)
    assert COLUMNS[: len(FIRST)] == FIRST


def test_migrating_an_earlier_ledger_keeps_its_rows_proven(old):
    assert migrate(old) == (1, VERSION)
    with contextlib.closing(connect(old)) as connection:
        assert list(verify(connection)) == [(1, True), (2, True), (3, True)]


async def test_an_earlier_ledger_is_gone_on_with(old):
    usage = Usage(input_fresh=3, input_audio=4, output_text=5, output_rejected=6, searches=1)
    async with opened(old) as ledger:
        (abandoned,) = await ledger.recover()
        assert abandoned.usage == Usage(input_fresh=100, output_text=50) and abandoned.attempt.prompt_high is None
        await ledger.close(entry(5, usage=usage, list_cost=77, prompt_estimate=9, prompt_high=12))
        found = await all_rows(ledger)
        totals = await ledger.totals()
    assert [row["id"] for row in found] == [f"fb-{number:06d}.1" for number in (1, 2, 3, 4, 5)]
    assert {found[0][name] for name in ("list_cost", "service_tier", "free_tokens", "prompt_high")} == {None}
    assert found[4]["usage"] == usage.as_dict() and found[4]["list_cost"] == "0.000000077"
    assert (found[4]["prompt_estimate"], found[4]["prompt_high"]) == (9, 12)
    assert {total.outcome: (total.input, total.output) for total in totals} == {"ok": (37, 26), "abandoned": (100, 50)}
    with contextlib.closing(connect(old)) as connection:
        assert all(good for _, good in verify(connection))


@pytest.fixture
def mixed(old):
    """Three rows of version 1, one of this version that knows nothing new, one with everything that is new."""

    async def go_on():
        async with opened(old) as ledger:
            await ledger.close(entry(5))
            known = Usage(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
            more = {"list_cost": 1, "service_tier": "flex", "free_tokens": 2, "prompt_estimate": 3, "prompt_high": 4}
            more |= {"vendor_id": "answer-6", "fixed_cost": 5, "propensity": 0.02}
            await ledger.close(entry(6, usage=known, **more))

    asyncio.run(go_on())
    return old


def first_bad(file, *statements):
    with contextlib.closing(sqlite3.connect(file)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        return next((seq for seq, good in verify(connection) if not good), None)


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("row", [2, 4, 5])
def test_a_change_of_any_column_of_any_versions_row_is_found(mixed, row, column):
    assert first_bad(mixed) is None
    assert first_bad(mixed, f"UPDATE ledger SET {column} = 123456789 WHERE seq = {row}") == row


@pytest.mark.parametrize("column", LATER)
def test_a_new_column_that_was_emptied_is_found(mixed, column):
    assert first_bad(mixed, f"UPDATE ledger SET {column} = NULL WHERE seq = 5") == 5


def test_all_new_columns_emptied_at_once_or_values_moved_between_them_are_found(mixed):
    every = ", ".join(f"{column} = NULL" for column in LATER)
    assert first_bad(mixed, f"UPDATE ledger SET {every} WHERE seq = 5") == 5


def test_values_that_moved_between_new_columns_are_found(mixed):
    assert first_bad(mixed, "UPDATE ledger SET free_tokens = prompt_high, prompt_high = NULL WHERE seq = 5") == 5


@pytest.mark.parametrize("row", [1, 2, 3, 4, 5])
def test_a_removed_row_of_any_version_is_found_by_the_chain_or_by_its_end(mixed, row):
    found = first_bad(mixed, f"DELETE FROM ledger WHERE seq = {row}")
    assert found == (row + 1 if row < 5 else None)  # the end is what `farebox ledger verify` compares with the sums


@pytest.mark.parametrize("after", [1, 3, 4])
def test_an_inserted_row_is_found(mixed, after):
    names = ", ".join(COLUMNS[1:])
    assert first_bad(
        mixed,
        f"UPDATE ledger SET seq = seq + 100 WHERE seq > {after}",
        "UPDATE ledger SET seq = seq - 99 WHERE seq > 100",
        f"INSERT INTO ledger (seq, id, {names}, hash) SELECT {after} + 1, 'made up', {names}, hash FROM ledger WHERE seq = 1",
    ) == after + 1  # fmt: skip
