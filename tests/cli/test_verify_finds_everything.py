"""Whatever is done to a ledger behind Farebox's back, `ledger verify` finds it: changes, removals, insertions, at both ends
too, and with a checkpoint also a chain that was made anew.
"""

import asyncio
import json
import sqlite3
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_ledger import entry
from support import until

from router.cli.verify import examine
from router.core.checkpoint import BadCheckpoint, Checkpoint, parse
from router.stores.ledgerfile import GENESIS, chain, last_row
from router.stores.schema import COLUMNS
from router.stores.sqlite import SqliteLedger

ROWS = 7


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A small ledger, to be copied for each example."""
    path = tmp_path_factory.mktemp("verify") / "farebox.db"

    async def write():
        ledger = SqliteLedger(path)
        ledger.start()
        for number in range(1, ROWS + 1):
            await ledger.close(entry(number, vendor_id=f"answer-{number}" if number % 2 else None))
        await ledger.stop()

    asyncio.run(write())
    with closing(sqlite3.connect(path)) as connection:
        yield connection


def copy(whole):
    connection = sqlite3.connect(":memory:")
    whole.backup(connection)
    return connection


def checkpoint_of(connection, seq):
    (digest,) = connection.execute("SELECT hash FROM ledger WHERE seq = ?", (seq,)).fetchone()
    return Checkpoint(seq, digest.hex(), "2026-11-22T00:00:00Z")


def dump(connection):
    rows = connection.execute("SELECT * FROM ledger ORDER BY seq").fetchall()
    return rows, connection.execute("SELECT * FROM spans JOIN names ON id = name").fetchall()


values = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.floats(allow_nan=False),
)
row_numbers = st.integers(1, ROWS)
changes = st.tuples(st.just("change"), row_numbers, st.sampled_from([*COLUMNS, "hash"]), values)
removals = st.tuples(st.just("remove"), st.sets(row_numbers, min_size=1))
insertions = st.tuples(st.just("insert"), st.integers(-2, ROWS + 3), row_numbers)
moves = st.tuples(st.just("swap"), row_numbers, row_numbers)
shifts = st.tuples(st.just("shift"), st.integers(-3, 3).filter(bool))
tampering = st.lists(st.one_of(changes, removals, insertions, moves, shifts), min_size=1, max_size=3)


def tamper(connection, deed):
    match deed:
        case ("change", seq, column, value):
            connection.execute(f"UPDATE ledger SET {column} = ? WHERE seq = ?", (value, seq))
        case ("remove", seqs):
            connection.executemany("DELETE FROM ledger WHERE seq = ?", [(seq,) for seq in seqs])
        case ("insert", at, like):
            names = ", ".join(COLUMNS[1:])
            connection.execute("UPDATE ledger SET seq = seq + 1000 WHERE seq >= ?", (at,))
            connection.execute("UPDATE ledger SET seq = seq - 999 WHERE seq >= 1000")
            connection.execute(
                f"INSERT INTO ledger (seq, id, {names}, hash) SELECT ?, 'made up', {names}, hash FROM ledger WHERE seq = ?",
                (at, like),
            )
        case ("swap", a, b):
            for old, new in ((a, 5000), (b, a), (5000, b)):
                connection.execute("UPDATE ledger SET seq = ? WHERE seq = ?", (new, old))
        case ("shift", by):
            connection.execute("UPDATE ledger SET seq = seq + 10000")
            connection.execute("UPDATE ledger SET seq = seq - 10000 + ?", (by,))


@settings(deadline=None, max_examples=400)
@given(tampering)
def test_whatever_is_changed_removed_or_inserted_is_found(whole, deeds):
    with closing(copy(whole)) as connection:
        before = dump(connection)
        try:
            for deed in deeds:
                tamper(connection, deed)
        except sqlite3.IntegrityError:
            return  # not even the file takes it
        same = dump(connection) == before
        _, _, problem = examine(connection, [])
        assert (problem == "") == same, (deeds, problem)


def made_anew(connection):
    """What somebody does who knows how it works: hashes, numbers and sums all anew."""
    found = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM ledger ORDER BY seq").fetchall()
    connection.execute("DELETE FROM ledger")
    connection.execute("DELETE FROM spans")
    last = GENESIS
    for seq, row in enumerate(found, 1):
        last = chain(last, row)
        places = ", ".join("?" * (len(COLUMNS) + 2))
        connection.execute(f"INSERT INTO ledger (seq, {', '.join(COLUMNS)}, hash) VALUES ({places})", (seq, *row, last))
    connection.execute("UPDATE folds SET seq = 0")
    connection.execute("UPDATE head SET seq = ?, hash = ?", (len(found), last))


@settings(deadline=None, max_examples=200)
@given(row_numbers, st.sampled_from(["change", "cut", "remove"]), row_numbers)
def test_a_ledger_that_was_made_anew_is_found_by_any_checkpoint_behind_the_row(whole, seq, deed, kept_at):
    with closing(copy(whole)) as connection:
        kept = checkpoint_of(connection, kept_at)
        if deed == "change":
            connection.execute("UPDATE ledger SET cost = cost + 1 WHERE seq = ?", (seq,))
        elif deed == "cut":
            connection.execute("DELETE FROM ledger WHERE seq >= ?", (seq,))
        else:
            connection.execute("DELETE FROM ledger WHERE seq = ?", (seq,))
        made_anew(connection)
        assert examine(connection, [])[2] == ""  # without a checkpoint nobody could tell
        assert bool(examine(connection, [kept])[2]) == (kept_at >= seq)


def test_a_sum_that_was_changed_is_found(whole):
    for name in ("cost", "vendor_cost", "requests", "estimated_cost", "saved", "output"):
        with closing(copy(whole)) as connection:
            connection.execute(f"UPDATE spans SET {name} = {name} + 1 WHERE length = 0")
            assert "do not add up" in examine(connection, [])[2]
        for length, kind in ((3_600_000_000, "hour"), (86_400_000_000, "day")):
            with closing(copy(whole)) as connection:
                connection.execute(f"UPDATE spans SET {name} = {name} + 1 WHERE length = {length}")
                assert examine(connection, [])[2].endswith(f"kept per {kind}.")


def test_a_checkpoint_is_printed_kept_and_held_against_the_ledger(run, ledger, tamper, tmp_path):
    ledger()
    line = run("ledger", "checkpoint").stdout
    told = json.loads(line)
    assert told["seq"] == 5 and "mac" not in told
    kept = tmp_path / "kept.jsonl"
    kept.write_text(line)
    assert "1 checkpoints agree, the last at row 5" in run("ledger", "verify", "--checkpoints", kept).stdout
    assert "agree" in run("ledger", "verify", "--checkpoints", "-", input=line).stdout
    tamper("DELETE FROM ledger WHERE seq = 5")
    tamper("DELETE FROM spans WHERE name IN (SELECT id FROM names WHERE outcome = 'left')")
    told = run("ledger", "verify", "--checkpoints", kept, code=1).stderr
    assert "ends with row 4, and a checkpoint of" in told or "its end is not as it was" in told


def test_lines_that_are_no_checkpoints_are_refused_and_named(run, ledger, tmp_path):
    ledger()
    kept = tmp_path / "kept.jsonl"
    for line in (
        "nonsense",
        "[]",
        '{"seq": "5"}',
        '{"seq": 5, "hash": 1, "at": "x"}',
        '{"seq": true, "hash": "", "at": ""}',
    ):
        kept.write_text(line)
        assert f"{kept}:1: this line is not" in run("ledger", "verify", "--checkpoints", kept, code=1).stderr
    assert "cannot be read" in run("ledger", "verify", "--checkpoints", tmp_path / "none", code=1).stderr


def test_a_signed_checkpoint_proves_who_made_it():
    kept = Checkpoint(5, "ab" * 32, "2026-11-22T00:00:00Z").signed("the-key")
    assert parse(kept.line(), "the-key") == kept
    assert parse(kept.line(), None) == kept
    forged = (
        kept.line().replace('"seq": 5', '"seq": 4'),
        kept.line().replace("00:00:00", "00:00:01"),
        kept.line().replace("abab", "abac", 1),
        kept.signed("another").line(),
        kept.signed(None).line(),
        kept.line().replace(kept.mac, "é"),
    )
    for line in forged:
        with pytest.raises(BadCheckpoint, match="not signed"):
            parse(line, "the-key")


async def test_the_server_keeps_checkpoints_while_it_runs_and_when_it_stops(running, demo, tmp_path):
    file = tmp_path / "elsewhere" / "checkpoints.jsonl"
    demo["checkpoints"] = {"file": str(file), "every": "10ms", "key": "signing-key"}
    on = await running(demo)
    async with on.post(
        key="fb-demo-search-key", json={"model": "auto", "messages": [{"role": "user", "content": "Why?"}]}
    ) as reply:
        assert reply.status == 200
    await on.rows()
    await asyncio.to_thread(until, file.exists, "a checkpoint is written")
    await on.farebox.stop()
    found = [parse(line, "signing-key") for line in file.read_text().splitlines()]
    assert {kept.seq for kept in found} == {1}
    assert file.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(on.farebox.ledger.path)) as connection:
        assert last_row(connection)[1].hex() == found[-1].hash


async def test_checkpoints_that_cannot_be_written_stop_nothing(running, demo, tmp_path, caplog):
    (tmp_path / "plain").write_text("")
    demo["checkpoints"] = {"file": str(tmp_path / "plain" / "checkpoints.jsonl")}
    on = await running(demo)
    async with on.post(
        key="fb-demo-search-key", json={"model": "auto", "messages": [{"role": "user", "content": "Why?"}]}
    ) as reply:
        assert reply.status == 200
    await on.rows()
    await on.farebox.stop()
    assert "a checkpoint could not be written" in caplog.text
