"""Rows that get into the sums later: whoever reads finds them right at any moment, and what was done to them is found."""

import asyncio
import contextlib
import sqlite3

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlite_rows import START, attempt, entry, from_rows, made, opened

from router.cli.verify import examine
from router.stores import folding
from router.stores.folding import Folding
from router.stores.hours import past
from router.stores.ledgerfile import GENESIS, connect, counted, last_row, migrate, sums, totals
from router.stores.ports import StoreDown
from router.stores.schema import STEPS, VERSION
from router.stores.sharedsqlite import SharedSqliteLedger
from router.stores.spans import DAY, HOUR, differing
from router.stores.sqlite import SqliteLedger, fill
from router.stores.sqlitefile import connect_file

INSTANTS = (None, START, START + 1, START + HOUR, START + DAY, START + DAY - 1, START + 2 * DAY + 7)
GROUPS = (("team",), ("day",), ("model", "outcome", "day"), ())


def check(connection, since=None, until=None):
    """Whatever is asked of the sums is what the rows add up to."""
    for by in GROUPS:
        assert sorted(sums(connection, by, since, until)) == from_rows(connection, by, since, until)
    assert {total.labels: total for total in totals(connection)} == {
        total.labels: total for total in counted(connection)
    }
    assert differing(connection) == ""
    last, _, days = past(connection, START - DAY, START + DAY)
    assert last == (last_row(connection) or (0,))[0]
    assert sum(cell.cost for cell in days) == sum(total.cost for total in counted(connection))


class Writer:
    """A process that has the file."""

    def __init__(self, path):
        self.ledger, self.connection = SqliteLedger(path), connect_file(path, write=True)
        self.folding = Folding()

    def append(self, entries):
        last = last_row(self.connection)
        self.ledger._last_hash = last[1] if last else GENESIS
        self.connection.execute("BEGIN IMMEDIATE")
        self.ledger._append(self.connection, entries)
        self.connection.execute("COMMIT")
        self.folding.add(len(entries))


class Folds(RuleBasedStateMachine):
    """Two processes write and fold in any order, are killed and start again; the file is read after each step."""

    @initialize(version=st.integers(1, VERSION))
    def begin(self, version):
        self.stack = contextlib.ExitStack()
        name = f"file:folds{id(self)}?mode=memory&cache=shared"
        self.path = _Memory(name)
        self.keep = self.stack.enter_context(contextlib.closing(self.path.connect()))
        self.keep.executescript(f"{''.join(STEPS[:version])} PRAGMA user_version={version};")
        self.number = 0
        for number, step in enumerate(STEPS[version:], version + 1):
            self.keep.executescript(f"BEGIN; {step} PRAGMA user_version={number}; COMMIT;")
        self.writers = [_writer(self.path), _writer(self.path)]

    @rule(which=st.integers(0, 1), count=st.integers(1, 7))
    def write(self, which, count):
        self.writers[which].append([made(self.number + i) for i in range(1, count + 1)])
        self.number += count

    @rule(which=st.integers(0, 1), most=st.integers(1, 9))
    def step(self, which, most):
        self.writers[which].folding.step(self.writers[which].connection, most)

    @rule(which=st.integers(0, 1))
    def fail(self, which):
        """What cannot be written leaves all as it was."""
        writer = self.writers[which]
        self.keep.execute("CREATE TRIGGER full BEFORE INSERT ON spans BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        with contextlib.suppress(sqlite3.Error):
            writer.folding.step(writer.connection, 5)
        self.keep.execute("DROP TRIGGER full")

    @rule(which=st.integers(0, 1))
    def kill(self, which):
        self.writers[which].connection.close()
        self.writers[which] = _writer(self.path)

    @precondition(lambda self: self.number)
    @rule(since=st.sampled_from(INSTANTS), until=st.sampled_from(INSTANTS))
    def read(self, since, until):
        check(self.keep, since, until)

    @invariant()
    def exact(self):
        if hasattr(self, "keep"):
            check(self.keep)

    def teardown(self):
        for writer in getattr(self, "writers", ()):
            writer.connection.close()
        if hasattr(self, "stack"):
            self.stack.close()


class _Memory:
    """A database in memory that several connections have."""

    def __init__(self, name):
        self.name = name

    def connect(self):
        return sqlite3.connect(self.name, uri=True, isolation_level=None)


def _writer(place):
    made_now = Writer.__new__(Writer)
    made_now.ledger, made_now.connection, made_now.folding = SqliteLedger(None), place.connect(), Folding()
    return made_now


TestFolds = Folds.TestCase
TestFolds.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)


@pytest.fixture
def small(monkeypatch):
    """Folds begin with five rows."""
    monkeypatch.setattr(folding, "ROWS", 5)
    monkeypatch.setattr(folding, "MOST", 20)


def marks(path):
    with contextlib.closing(connect(path)) as connection:
        return {seq for (seq,) in connection.execute("SELECT seq FROM folds")}


async def write(ledger, numbers):
    await asyncio.gather(*(ledger.close(made(number)) for number in numbers))


async def test_an_idle_writer_folds_and_a_file_that_is_let_go_is_folded(path, small):
    async with opened(path) as ledger:
        for number in range(1, 31):
            await ledger.close(made(number))
        assert max(marks(path)) > 0
        with contextlib.closing(connect(path)) as connection:
            check(connection)
    assert marks(path) == {30}
    with contextlib.closing(connect(path)) as connection:
        check(connection)


async def test_rows_that_a_killed_process_left_unfolded_are_folded_by_the_next(path, small):
    fill(path, map(made, range(1, 4)))
    with contextlib.closing(connect_file(path, write=True)) as connection:
        connection.execute("UPDATE folds SET seq = 0")
        connection.execute("DELETE FROM spans")
        check(connection)
    async with opened(path) as ledger:
        for number in range(4, 20):
            await ledger.close(made(number))
        await asyncio.sleep(0.05)
        assert max(marks(path)) >= 3
    assert marks(path) == {19}
    with contextlib.closing(connect(path)) as connection:
        check(connection)


async def test_a_fold_that_fails_is_logged_and_tried_again_and_rows_are_written_meanwhile(path, small, caplog):
    async with opened(path) as ledger:
        with contextlib.closing(connect_file(path, write=True)) as other:
            other.execute("CREATE TRIGGER full BEFORE INSERT ON spans BEGIN SELECT RAISE(ABORT, 'disk full'); END")
            await write(ledger, range(1, 10))
            for number in range(10, 20):
                await ledger.close(made(number))
            await ledger.open(attempt(99))
            while (
                "rows could not be added to the sums" not in caplog.text
            ):  # the writer tells those who wait, then folds
                await ledger.open(attempt(99))
            assert "disk full" in caplog.text
            check(other)
            assert marks(path) == {0}
            other.execute("DROP TRIGGER full")
        await write(ledger, range(20, 31))
    assert marks(path) == {30}


async def test_several_processes_fold_what_each_of_them_writes_once(path, small):
    ledgers = [SharedSqliteLedger(path) for _ in range(3)]
    ledgers[0].start()
    await ledgers[0].recover()
    for ledger in ledgers[1:]:
        ledger.start()
    try:
        for begin in range(1, 90, 30):
            parts = [range(begin + 10 * i, begin + 10 * (i + 1)) for i in range(3)]
            await asyncio.gather(*(write(ledger, part) for ledger, part in zip(ledgers, parts, strict=True)))
            with contextlib.closing(connect(path)) as connection:
                check(connection)
    finally:
        for ledger in ledgers:
            await ledger.stop()
    assert marks(path) == {90}
    with contextlib.closing(connect(path)) as connection:
        check(connection)
        assert examine(connection, [])[2] == ""


@pytest.mark.parametrize("version", range(1, VERSION))
async def test_the_sums_of_every_earlier_schema_are_gone_on_with(path, version):
    at_last = path.with_name("last.db")
    fill(at_last, map(made, range(1, 60)))
    with contextlib.closing(sqlite3.connect(path)) as connection, contextlib.closing(connect(at_last)) as newest:
        connection.executescript(f"{''.join(STEPS[:version])} PRAGMA user_version={version};")
        columns = ", ".join(name for _, name, *_ in connection.execute("PRAGMA table_info(ledger)"))
        rows = newest.execute(f"SELECT {columns} FROM ledger").fetchall()
        connection.executemany(f"INSERT INTO ledger ({columns}) VALUES ({', '.join('?' * len(rows[0]))})", rows)
        connection.commit()
    assert migrate(path) == (version, VERSION)
    assert marks(path) == {59}
    async with opened(path) as ledger:
        await write(ledger, range(60, 71))
        with contextlib.closing(connect(path)) as connection:
            check(connection)
            check(connection, START + HOUR, START + DAY + 5)
    assert marks(path) == {70}
    with contextlib.closing(connect(path)) as connection:
        check(connection)


def test_a_writer_of_the_schema_before_can_write_nothing_that_would_count_twice(path):
    migrate(path)
    with (
        contextlib.closing(connect_file(path, write=True)) as connection,
        pytest.raises(sqlite3.OperationalError, match="no such table: totals"),
    ):
        connection.execute(f"INSERT INTO totals VALUES ({', '.join('?' * 20)})", range(20))


async def test_a_file_that_others_have_at_an_earlier_schema_is_not_shared(path):
    first = SharedSqliteLedger(path)
    first.start()
    await first.recover()
    try:
        with contextlib.closing(connect_file(path, write=True)) as connection:
            connection.execute(f"PRAGMA user_version={VERSION - 1}")
        second = SharedSqliteLedger(path)
        with pytest.raises(StoreDown, match="in use by an older Farebox"):
            second.start()
        await second.stop()
    finally:
        await first.stop()


# What was done to it


@pytest.fixture
def half(path):
    """Ten rows, of which six are in the sums."""
    fill(path, map(made, range(1, 7)))
    writer = Writer(path)
    with contextlib.closing(writer.connection) as connection:
        writer.append([made(number) for number in range(7, 11)])
        assert examine(connection, [])[2] == ""
        yield connection


@pytest.mark.parametrize("length", [0, HOUR, DAY])
@pytest.mark.parametrize("to", ["seq - 1", "seq + 1", "10", "11", "0", "-1"])
def test_a_mark_that_was_moved_is_found(half, length, to):
    half.execute(f"UPDATE folds SET seq = {to} WHERE length = ?", (length,))
    assert "do not add up" in examine(half, [])[2] or "end is not as it was" in examine(half, [])[2]


@pytest.mark.parametrize("length", [0, HOUR, DAY])
def test_a_mark_that_is_missing_is_found(half, length):
    half.execute("DELETE FROM folds WHERE length = ?", (length,))
    assert examine(half, [])[2]


@pytest.mark.parametrize("cut", range(1, 11))
def test_an_end_that_was_cut_off_is_found_also_after_more_was_written(half, path, cut):
    half.execute("DELETE FROM ledger WHERE seq >= ?", (cut,))
    assert "its end is not as it was" in examine(half, [])[2]
    writer = Writer(path)
    with contextlib.closing(writer.connection):
        writer.append([made(number) for number in range(20, 35)])
        for _ in range(20):
            writer.folding.step(writer.connection)
    assert "was" in examine(half, [])[2]


def test_a_last_row_that_was_made_anew_with_its_hash_is_found_also_after_more_was_written(half, path):
    half.execute("DELETE FROM ledger WHERE seq = 10")
    writer = Writer(path)
    with contextlib.closing(writer.connection):
        writer.append([entry(10, cost=1)])
        assert "row 10 is not the one that was written" in examine(half, [])[2]
        writer.append([made(11), made(12)])
    assert examine(half, [])[2]
