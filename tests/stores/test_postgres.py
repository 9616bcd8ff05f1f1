"""What is the PostgreSQL ledger's own: many write one chain, a server that goes and comes back, parts by the month."""

import asyncio
import contextlib
import signal
import time
from pathlib import Path

import psycopg
import pytest
from fakes import budget
from sqlite_rows import AT, all_rows, attempt, entry, opened

from router.core.limits import micros, moment
from router.stores import pgappend, pgconnection, pglane, pgschema
from router.stores.leases import Buried
from router.stores.ledgerfile import connect, verify
from router.stores.place import Postgres
from router.stores.ports import StoreDown, Unsure
from router.stores.postgres import PostgresLedger
from router.stores.spans import differing

DAY = 86_400_000_000


@pytest.fixture
def place(database):
    return Postgres(database)


@pytest.fixture
def raw(database):
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


def proven(place):
    with contextlib.closing(connect(place)) as connection:
        return all(good for _, good in verify(connection)) and differing(connection) == ""


@contextlib.asynccontextmanager
async def replica(place, raw, name, until="9e15"):
    """A ledger that writes under a name, which lives."""
    pgschema.migrate(place)
    raw.execute("INSERT INTO replicas (id, until) VALUES (%s, %s::float8)", (name, until))
    async with opened(place) as ledger:
        ledger.replica = name
        yield ledger


async def test_many_that_write_at_once_go_on_with_one_chain_without_gaps(place):
    async with contextlib.AsyncExitStack() as stack:
        ledgers = [await stack.enter_async_context(opened(place)) for _ in range(4)]
        charges = ((("a|day", AT, 300)), (("b|day", AT, 300)))
        work = [
            ledger.close(entry(100 * which + number, charges=charges))
            for number in range(50)
            for which, ledger in enumerate(ledgers)
        ]
        await asyncio.gather(*work, *(ledgers[n].close(entry(105, charges=charges)) for n in (0, 1, 2)))
        found = [seq async for seq, _ in ledgers[0].entries(limit=-1)]
        assert found == list(range(1, 201))
        (total,) = await ledgers[3].totals()
        assert (total.attempts, total.cost) == (200, 60_000)
    assert proven(place)
    with contextlib.closing(connect(place)) as connection:
        spent = connection.execute("SELECT account, nano FROM spend ORDER BY account").fetchall()
    assert spent == [("a|day", 60_000), ("b|day", 60_000)]


async def test_a_row_whose_commits_answer_was_lost_is_there_once(place, monkeypatch):
    lost = 2

    class Lossy(pgappend.Appender):
        def _transact(self, raw, *args, **how):
            nonlocal lost
            super()._transact(raw, *args, **how)
            if lost:
                lost -= 1
                raw.close()
                raise psycopg.OperationalError("the connection is lost")

    monkeypatch.setattr("router.stores.postgres.Appender", Lossy)
    monkeypatch.setattr(pglane, "REST_S", 0.0)
    async with opened(place) as ledger:
        with pytest.raises(StoreDown, match="lost"):
            await ledger.close(entry(1))
        await ledger.close(entry(1))
        await asyncio.gather(ledger.close(entry(1)), ledger.close(entry(2)))
        assert [row["id"] for row in await all_rows(ledger)] == ["fb-000001.1", "fb-000002.1"]
        (total,) = await ledger.totals()
        assert total.attempts == 2
    assert proven(place)


async def test_an_attempt_whose_answer_was_lost_is_not_left_open(place, raw, monkeypatch):
    monkeypatch.setattr(pglane, "REST_S", 0.0)
    async with opened(place) as ledger:
        write = ledger._opens._write

        def lossy(connection, items):
            write(connection, items)
            connection.close()
            raise psycopg.OperationalError("the connection is lost")

        ledger._opens._write = lossy
        with pytest.raises(StoreDown, match="lost"):
            await ledger.open(attempt(1))
        assert raw.execute("SELECT count(*) FROM attempts").fetchone() == (1,)
        ledger._opens._write = write
        await ledger.open(attempt(2))
        assert [one.id for one in await ledger.open_attempts()] == ["fb-000002.1"]


async def test_a_connection_that_was_ended_while_nothing_was_written_is_made_again_unnoticed(place, raw):
    async with opened(place) as ledger:
        await ledger.close(entry(1))
        await ledger.open(attempt(2))
        assert len(await ledger.keys()) == 0
        raw.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'farebox'")
        await ledger.open(attempt(3))
        await ledger.close(entry(2))
        assert len(await ledger.keys()) == 0
        assert [row["id"] for row in await all_rows(ledger)] == ["fb-000001.1", "fb-000002.1"]


async def test_a_server_that_falls_silent_is_given_up_and_what_it_wrote_later_is_taken_back(
    place, raw, postgres, monkeypatch
):
    monkeypatch.setattr(pglane, "ANSWER_S", 0.2)
    async with opened(place) as ledger:
        await asyncio.gather(ledger.open(attempt(1)), ledger.open(attempt(2)))
        postgres.signal(signal.SIGSTOP)
        try:
            told = await asyncio.gather(ledger.open(attempt(3)), ledger.close(entry(1)), return_exceptions=True)
            assert [type(one) for one in told] == [Unsure, Unsure]
            for writes in (ledger.open(attempt(4)), ledger.close(entry(2)), ledger.probe()):  # at once
                with pytest.raises(StoreDown, match="does not answer"):
                    await writes
        finally:
            postgres.signal(signal.SIGCONT)
        async with asyncio.timeout(10):
            while ledger.lag(time.perf_counter()):
                await asyncio.sleep(0)
        await ledger.close(entry(2))
        assert await ledger.open_attempts() == []
        assert [row["id"] for row in await all_rows(ledger)] == ["fb-000001.1", "fb-000002.1"]
    assert proven(place)


async def test_a_server_that_is_silent_keeps_nobody_from_ending(place, postgres, monkeypatch):
    monkeypatch.setattr(pglane, "ANSWER_S", 0.2)
    monkeypatch.setitem(pgconnection._DEFAULTS, "connect_timeout", 2)  # the shortest there is
    try:
        async with opened(place) as ledger:
            await ledger.open(attempt(1))
            postgres.signal(signal.SIGSTOP)
            reading = asyncio.create_task(ledger.keys())
            with pytest.raises(Unsure):
                await ledger.open(attempt(2))
        with pytest.raises(StoreDown):
            await reading
    finally:
        postgres.signal(signal.SIGCONT)


async def test_a_process_that_is_stopped_while_it_writes_does_not_keep_the_others_waiting_for_long(place):
    assert pgconnection.STUCK_MS < pglane.ANSWER_S * 1000
    async with opened(place) as ledger:
        with contextlib.closing(pgconnection.open_raw(place)) as stopped:
            stopped.execute("BEGIN")
            pgappend.lock_head(stopped)
            async with asyncio.timeout(pglane.ANSWER_S):
                await ledger.close(entry(1))
            with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
                stopped.execute("COMMIT")


async def test_a_request_that_is_cancelled_while_its_attempt_is_written_leaves_nothing_open(place):
    async with opened(place) as ledger:
        opening = asyncio.create_task(ledger.open(attempt(1)))
        await asyncio.sleep(0)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        await ledger.close(entry(1))
        assert await ledger.open_attempts() == []


async def test_text_that_no_database_keeps_is_written_as_something_like_it(place):
    async with opened(place) as ledger:
        await ledger.close(entry(1, vendor_id="a\0b", reason="tab\t, \\N, line\n, \\x00 and 汉字"))
        (row,) = await all_rows(ledger)
        assert row["vendor_id"] == "a\ufffdb" and row["reason"] == "tab\t, \\N, line\n, \\x00 and 汉字"
    assert proven(place)


# Parts


def parts(raw):
    query = "SELECT c.relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = 'ledger'::regclass"
    return sorted(name for (name,) in raw.execute(query) if name.startswith("ledger_2"))


async def test_each_month_has_a_part_of_its_own_and_the_next_is_made_ahead(place, raw):
    async with opened(place) as ledger:
        last = micros(moment(AT).replace(month=12, day=31))
        await ledger.close(entry(1, at=last - 400 * DAY))
        assert parts(raw) == ["ledger_2025_11", "ledger_2025_12"]
        await asyncio.gather(ledger.close(entry(2, at=last)), ledger.close(entry(3, at=last + DAY)))
        assert parts(raw) == ["ledger_2025_11", "ledger_2025_12", "ledger_2026_12", "ledger_2027_01", "ledger_2027_02"]
        assert [len(rows) for rows in (await ledger.of_requests(["fb-000001", "fb-000003"])).values()] == [1, 1]
    assert raw.execute("SELECT count(*) FROM ledger_2026_12").fetchone() == (1,)
    assert proven(place)


async def test_a_part_that_somebody_has_taken_away_is_made_again(place, raw):
    async with opened(place) as ledger:
        await ledger.close(entry(1))
        raw.execute("ALTER TABLE ledger DETACH PARTITION ledger_2026_11")
        raw.execute("ALTER TABLE ledger_2026_11 RENAME TO kept_elsewhere")
        await asyncio.gather(ledger.close(entry(2)), ledger.close(entry(3)))
        assert [row["id"] for row in await all_rows(ledger)] == ["fb-000002.1", "fb-000003.1"]


async def test_many_that_begin_a_month_at_once_make_its_part_once(place, raw):
    async with contextlib.AsyncExitStack() as stack:
        ledgers = [await stack.enter_async_context(opened(place)) for _ in range(6)]
        await asyncio.gather(*(ledger.close(entry(number)) for number, ledger in enumerate(ledgers)))
    assert parts(raw) == ["ledger_2026_11", "ledger_2026_12"]
    assert proven(place)


async def test_a_server_that_knows_no_parts_has_the_ledger_in_one_piece(place, raw, monkeypatch):
    unknown = " PARTITION BY SOMETHING ELSE"
    steps = tuple(
        step._replace(statements=tuple(one.replace(pgschema.BY_MONTH, unknown) for one in step.statements))
        for step in pgschema.STEPS
    )
    monkeypatch.setattr(pgschema, "STEPS", steps)
    monkeypatch.setattr(pgschema, "BY_MONTH", unknown)
    async with opened(place) as ledger:
        await ledger.close(entry(1))
        await ledger.close(entry(1))
        await ledger.close(entry(2, at=AT + 90 * DAY))
        assert len(await all_rows(ledger)) == 2
    assert parts(raw) == []
    assert proven(place)


# Replicas that die


async def test_a_dead_replica_is_buried_once_and_charged_at_its_holds(place, raw):
    day = budget(1)
    start = day.window(AT)[0]
    holds = ((day.account, start, 500),)
    async with opened(place) as ledger:
        await ledger.spent([(day, start)])
        async with replica(place, raw, "dead", until="0") as other:
            raw.execute(
                "INSERT INTO leases VALUES (%s, %s, 'dead', 900, 0), (%s, %s, 'live', 100, 0)", holds[0][:2] * 2
            )
            await other.open(attempt(1, holds=holds))
            await other.open(attempt(2, holds=holds))
            await other.close(entry(2, holds=holds, charges=((day.account, start, 300),)))
            assert raw.execute("SELECT replica, settled FROM leases ORDER BY 1").fetchall() == [
                ("dead", 300),
                ("live", 0),
            ]
            (closed,) = await ledger.bury("dead")
            assert (closed.attempt.id, closed.outcome, closed.cost) == ("fb-000001.1", "abandoned", 500)
            assert await ledger.bury("dead") == []
            with pytest.raises(Buried):
                await other.open(attempt(3, holds=holds))
            await other.close(entry(1, cost=10, charges=((day.account, start, 10),)))  # it woke up, too late
        assert await ledger.spent([(day, start)]) == {day.account: 800}
        assert raw.execute("SELECT replica FROM leases").fetchall() == [("live",)]
        assert await ledger.open_attempts() == []
    assert proven(place)


async def test_a_replica_that_lives_is_not_buried_unless_somebody_knows_better(place, raw):
    async with opened(place) as ledger, replica(place, raw, "other") as other:
        await other.open(attempt(1))
        assert await ledger.bury("other") == []
        assert await ledger.recover() == []
        assert [one.attempt.id for one in await ledger.bury("other", surely=True)] == ["fb-000001.1"]


async def test_what_nobody_has_open_who_lives_is_closed_at_the_start(place, raw):
    async with replica(place, raw, "a") as a, replica(place, raw, "b") as b:
        await a.open(attempt(1))
        await b.open(attempt(2))
        raw.execute("DELETE FROM replicas WHERE id = 'a'")
        assert [one.attempt.id for one in await b.recover()] == ["fb-000001.1"]
        assert [one.id for one in await b.open_attempts()] == ["fb-000002.1"]


# The connection


def test_a_password_is_in_no_text(tmp_path):
    for url in (
        "postgresql://farebox:s3cret%2Fword@127.0.0.1:1/db",
        "postgresql://127.0.0.1:1/db?user=farebox&password=s3cret%2Fword",
        "postgresql://farebox:s3cret%2Fword@127.0.0.1:none/db?wrong=1",
    ):
        place = Postgres(url)
        with pytest.raises(StoreDown) as told:
            connect(place)
        for text in (
            str(told.value),
            repr(place),
            str(place),
            place.scrub(url),
            repr(PostgresLedger(place, Path("x")).place),
        ):
            assert "s3cret" not in text, text


@pytest.mark.parametrize(("theirs", "ours"), [("off", "on"), ("on", "on"), ("remote_write", "remote_write")])
def test_a_commit_is_durable_whatever_the_servers_default_is(database, theirs, ours):
    with contextlib.closing(connect(Postgres(f"{database}%20-csynchronous_commit%3D{theirs}"))) as connection:
        assert connection.execute("SHOW synchronous_commit").fetchone() == (ours,)


def test_a_connection_that_only_reads_cannot_write(place):
    pgschema.migrate(place)
    with contextlib.closing(connect(place)) as connection, pytest.raises(StoreDown, match="read-only"):
        connection.execute("DELETE FROM ledger")


async def test_who_cannot_be_reached_is_not_asked_again_at_once(monkeypatch):
    monkeypatch.setattr(pglane, "REST_S", 1000.0)
    made = []
    monkeypatch.setattr(
        pglane, "open_raw", lambda place: made.append(place) or pglane.psycopg.connect("host=127.0.0.1 port=1")
    )
    lane = pglane.Lane(Postgres("postgresql://127.0.0.1:1/db"), "test", lambda raw, items: None, 10)
    for _ in range(3):
        with pytest.raises(StoreDown):
            lane.start()
    assert len(made) == 1
