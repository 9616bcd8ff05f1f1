"""PostgreSQL's schema goes forward from every earlier version, once however many start, and two versions run side by side."""

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from sqlite_rows import all_rows, entry, opened

from router.stores import pgschema
from router.stores.ledgerfile import connect, verify
from router.stores.pgschema import STEPS, Step, migrate
from router.stores.place import Postgres
from router.stores.ports import StoreDown

# What a later version may do: it adds, with a value for those who do not know it, and the earlier goes on.
LATER = (
    *STEPS,
    Step(1, ("ALTER TABLE ledger ADD COLUMN region TEXT", "ALTER TABLE keys ADD COLUMN note TEXT NOT NULL DEFAULT ''")),
    Step(1, ("CREATE TABLE regions (name TEXT PRIMARY KEY)", "ALTER TABLE spend ADD COLUMN seen BIGINT NOT NULL DEFAULT 0",
             "ALTER TABLE totals ADD COLUMN seen BIGINT NOT NULL DEFAULT 0",
             "ALTER TABLE attempts ADD COLUMN region TEXT NOT NULL DEFAULT ''")),
)  # fmt: skip


@pytest.fixture
def place(database):
    return Postgres(database)


def proven(place):
    with contextlib.closing(connect(place)) as connection:
        return [good for _, good in verify(connection)]


def test_of_many_that_start_at_once_one_makes_the_schema_and_all_find_it(place):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: migrate(place, LATER), range(8)))
    assert {after for _, after in found} == {len(LATER)}
    assert migrate(place, LATER) == (len(LATER), len(LATER))


@pytest.mark.parametrize("known", range(1, len(LATER)))
async def test_every_earlier_schema_goes_forward_and_keeps_its_rows_proven(place, known, monkeypatch):
    assert migrate(place, LATER[:known]) == (0, known)
    monkeypatch.setattr(pgschema, "STEPS", LATER[:known])
    async with opened(place) as ledger:
        await ledger.close(entry(1))
    monkeypatch.setattr(pgschema, "STEPS", LATER)
    async with opened(place) as ledger:
        await ledger.close(entry(2))
        assert [row["id"] for row in await all_rows(ledger)] == ["fb-000001.1", "fb-000002.1"]
    assert proven(place) == [True, True]


async def test_an_earlier_version_goes_on_writing_while_a_later_one_changes_the_schema(place, monkeypatch):
    async with opened(place) as earlier:
        done = asyncio.Event()

        async def load(first):
            number = first
            while not done.is_set():
                await earlier.open(entry(number).attempt)
                await earlier.close(entry(number, charges=(("a|day", 0, 1),)))
                number += 1
            return number - first

        loading = [asyncio.create_task(load(1000 * which)) for which in range(8)]
        while not (await earlier.last() or (0,))[0] > 50:
            await asyncio.sleep(0)
        assert await asyncio.to_thread(migrate, place, LATER) == (len(STEPS), len(LATER))
        monkeypatch.setattr(pgschema, "STEPS", LATER)
        async with opened(place) as later:
            await asyncio.gather(*(later.close(entry(900_000 + number)) for number in range(50)))
        monkeypatch.undo()
        async with opened(place) as again:  # an earlier version may also start where a later one has been
            await again.close(entry(999_999))
        done.set()
        written = sum(await asyncio.gather(*loading)) + 51
        assert await earlier.open_attempts() == []
    assert proven(place) == [True] * written


def test_a_version_that_is_too_old_for_the_schema_does_not_start(place):
    migrate(place, (*STEPS, Step(len(STEPS) + 1, ())))
    with pytest.raises(StoreDown, match="newer Farebox"):
        migrate(place)


def test_a_step_that_fails_leaves_the_schema_as_it_was(place, database):
    with pytest.raises(StoreDown, match=r"migration \d+ failed"):
        migrate(place, (*STEPS, Step(1, ("CREATE TABLE half (id INTEGER)", "CREATE TABLE wrong wrong"))))
    assert migrate(place) == (len(STEPS), len(STEPS))
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT to_regclass('half')").fetchone() == (None,)


def test_a_step_does_not_make_everybody_wait_behind_whoever_reads(place, database, monkeypatch):
    migrate(place)
    monkeypatch.setattr(pgschema, "_LOCK_MS", 20)
    monkeypatch.setattr(pgschema, "PATIENCE_S", 0.0)
    with psycopg.connect(database) as reader:
        reader.execute("SELECT count(*) FROM ledger")  # in a transaction that goes on
        with pytest.raises(StoreDown, match="lock timeout"):
            migrate(place, LATER)
    assert migrate(place, LATER) == (len(STEPS), len(LATER))
