"""Sums per hour and day: whatever span of time is asked for, they are those of its rows."""

import contextlib
import itertools
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlite_rows import START, from_rows, made, opened

from router.stores.ledgerfile import GROUPS, connect, counted, migrate, sums, totals
from router.stores.schema import STEPS, VERSION
from router.stores.spans import DAY, HOUR, LABELS, SUMS, differing, pieces, summed

INSTANTS = st.one_of(
    st.none(),
    st.builds(lambda n, off: START + n * HOUR + off, st.integers(-2, 75), st.sampled_from([0, 0, -1, 1, 7_000_000])),
    st.integers(START, START + 3 * DAY),
)


@pytest.fixture(scope="module")
def whole(places):
    import asyncio  # noqa: PLC0415

    place = places()

    async def write():
        async with opened(place) as ledger:
            for number in range(1, 111):
                await ledger.close(made(number))

    asyncio.run(write())
    with contextlib.closing(connect(place)) as connection:
        yield connection


@settings(deadline=None, max_examples=150)
@given(INSTANTS, INSTANTS, st.sampled_from([("team",), ("day",), ("team", "day"), ("model", "key", "outcome"), ()]))
def test_a_report_over_any_span_is_that_of_its_rows(whole, since, until, by):
    assert sorted(sums(whole, by, since, until)) == from_rows(whole, by, since, until)


@settings(deadline=None)
@given(INSTANTS, INSTANTS)
def test_hours_add_up_to_the_span_and_each_begins_with_one(whole, since, until):
    hours = list(summed(whole, (), ("attempts", "cost"), since, until, "hour"))
    whole_span = next(summed(whole, (), ("attempts", "cost"), since, until), (None, None))
    assert all(start % HOUR == 0 for start, _, _ in hours)
    assert sum(row[1] for row in hours) == (whole_span[0] or 0)
    assert sum(row[2] for row in hours) == (whole_span[1] or 0)


@settings(deadline=None)
@given(INSTANTS, INSTANTS, st.sampled_from(["day", "hour"]))
def test_the_pieces_of_a_span_are_the_span_and_only_its_ends_are_rows(since, until, step):
    found = pieces(since, until, step)
    low, high = -(2**62) if since is None else since, 2**62 if until is None else until
    if low >= high:
        assert found == []
        return
    assert all(a.until == b.since for a, b in itertools.pairwise(found))
    assert (min(found[0].since, low), max(found[-1].until, high)) == (found[0].since, found[-1].until)
    assert sum(piece.until - piece.since for piece in found if piece.kind == "row") < 2 * HOUR


def test_totals_of_all_time_of_the_rows_and_of_a_span_that_holds_them_are_the_same(whole):
    def of(found):
        return {total.labels: total for total in found}

    assert of(totals(whole)) == of(counted(whole)) == of(totals(whole, START, START + 90 * DAY))
    assert differing(whole) == ""


def test_a_row_that_was_closed_twice_counts_once(place):
    import asyncio  # noqa: PLC0415

    async def write():
        async with opened(place) as ledger:
            await ledger.close(made(1))
            await ledger.close(made(1))

    asyncio.run(write())
    with contextlib.closing(connect(place)) as connection:
        assert next(summed(connection, (), ("attempts",)))[0] == 1


def test_a_ledger_of_an_earlier_schema_has_its_sums_counted_once(path, whole):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript("".join(STEPS[:3]) + "PRAGMA user_version=3;")
        columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(ledger)")]
        rows = whole.execute(f"SELECT {', '.join(columns)} FROM ledger").fetchall()
        connection.executemany(f"INSERT INTO ledger VALUES ({', '.join('?' * len(columns))})", rows)
        connection.commit()
    assert migrate(path) == (3, VERSION)
    with contextlib.closing(connect(path)) as connection:
        columns = ", ".join(("length", "start", *LABELS, *SUMS))
        query = f"SELECT {columns} FROM spans JOIN names ON id = name WHERE length > 0 ORDER BY {columns}"
        assert connection.execute(query).fetchall() == whole.execute(query).fetchall()


def test_every_group_of_a_report_has_its_sums(whole):
    for name in GROUPS:
        assert sum(found[2] for found in sums(whole, (name,))) == sum(found[1] for found in sums(whole, ()))
    assert set(SUMS) >= {"attempts", "cost", "vendor_cost", "prompt_billed"}
