"""`farebox ledger` and `farebox migrate`: over a small ledger of real entries."""

import asyncio
import csv
import io
import json
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from small_ledger import both, entry

from router.core.entry import row as as_exported
from router.stores.schema import COLUMNS, STEPS, VERSION
from router.stores.sqlite import SqliteLedger

CONTRACT = {
    "id", "request_id", "attempt", "at", "team", "key", "route", "model", "vendor", "tier", "outcome", "basis", "usage",
    "cost", "currency", "vendor_cost", "vendor_currency", "held", "price", "reason", "tags", "first_byte_ms",
    "total_ms", "hash",
}  # fmt: skip


def exported(run, *options):
    return [json.loads(line) for line in run("ledger", "export", *options).stdout.splitlines()]


MORE = {
    "flagship_cost", "final", "list_cost", "service_tier", "free_tokens", "prompt_estimate", "prompt_high",
    "vendor_id", "fixed_cost", "propensity",
}  # fmt: skip


@both
def test_an_exported_row_has_exactly_the_contracts_fields_and_some_more(run, ledger):
    ledger()
    assert {frozenset(row) for row in exported(run)} == {frozenset(CONTRACT | MORE)}


@both
def test_exported_rows_are_the_entries_as_they_were_closed(run, ledger):
    entries = ledger()
    rows = exported(run)
    assert all(len(bytes.fromhex(found.pop("hash"))) == 32 for found in rows)
    assert rows == [as_exported(entry) for entry in entries]


@both
def test_an_export_begins_after_a_row_and_keeps_to_a_time(run, ledger):
    ledger()
    ids = [row["id"] for row in exported(run)]
    assert [row["id"] for row in exported(run, "--after", 3)] == ids[3:]
    assert [row["id"] for row in exported(run, "--since", "2026-11-23")] == ids[2:]
    assert [row["id"] for row in exported(run, "--until", "2026-11-23T00:00:00+00:00")] == ids[:2]
    assert [row["id"] for row in exported(run, "--after", 1, "--until", "2026-11-23")] == ids[1:2]
    assert exported(run, "--since", "2026-11-25") == exported(run, "--after", 99) == []


@both
def test_a_long_ledger_is_exported_over_several_reads_without_loss(run, ledger, many):
    ledger(many(2345))
    assert [row["attempt"] for row in exported(run)] == [1] * 2345
    assert len({row["id"] for row in exported(run, "--since", "2026-01-01")}) == 2345


@both
def test_csv_has_the_same_columns_and_values(run, ledger):
    ledger()
    found = list(csv.DictReader(io.StringIO(run("ledger", "export", "--format", "csv").stdout)))
    rows = exported(run)
    assert [row["cost"] for row in found] == [row["cost"] for row in rows]
    assert set(found[0]) == set(rows[0])
    assert json.loads(found[0]["usage"]) == rows[0]["usage"]


@both
def test_a_reader_that_stops_early_is_no_error(config, ledger, many):
    ledger(many(3000))
    call = f"{sys.executable} -m router ledger export --config {config} | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", call], capture_output=True, text=True, timeout=60, check=False)
    assert json.loads(done.stdout)["id"] == "fb-0001.1"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [["ledger", "export"], ["ledger", "verify"], ["report"]])
def test_a_missing_store_is_said_and_is_a_no(run, store, words):
    told = run(*words, code=1).stderr
    assert str(store) in told
    assert "farebox migrate" in told
    assert not store.exists()


@pytest.mark.parametrize("words", [["ledger", "export"], ["ledger", "verify"], ["report"], ["keys", "list"]])
def test_a_store_that_is_none_is_said_and_is_a_no(run, store, words):
    store.write_text("this is no database, and long enough to be taken for a file with a header of its own")
    assert str(store) in run(*words, code=1).stderr


@both
def test_verify_says_how_many_rows_are_as_they_were_written(run, ledger):
    ledger()
    assert run("ledger", "verify").stdout.startswith("all 5 rows are as they were written; the last is 5, hash ")


@both
def test_verify_of_an_empty_ledger_is_a_yes(run):
    run("migrate")
    assert run("ledger", "verify").stdout == "the ledger is empty\n"


@pytest.mark.parametrize("column", COLUMNS)
def test_verify_finds_a_change_of_any_column(run, ledger, tamper, column):
    ledger()
    tamper(f"UPDATE ledger SET {column} = 'other' WHERE seq = 3")
    assert "4 of 5 rows are as they were written. Row 3 (" in run("ledger", "verify", code=1).stderr


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE ledger SET cost = cost - 1 WHERE seq = 2", "Row 2 (fb-0002.1) was changed, inserted or moved"),
        ("UPDATE ledger SET cost = x'00' WHERE seq = 2", "Row 2 (fb-0002.1) was changed, inserted or moved"),
        ("UPDATE ledger SET hash = 'text' WHERE seq = 4", "Row 4 (fb-0004.1) was changed, inserted or moved"),
        ("UPDATE ledger SET hash = x'00' WHERE seq = 5", "Row 5 (fb-0005.1) was changed, inserted or moved"),
        ("DELETE FROM ledger WHERE seq = 3", "Row 3 is missing: it goes on with row 4"),
        ("DELETE FROM ledger WHERE seq < 4", "Rows 1 to 3 are missing: it goes on with row 4"),
        ("DELETE FROM ledger WHERE seq = 5", "5 rows were written and 4 are here"),
        ("DELETE FROM ledger", "5 rows were written and 0 are here"),
    ],
)
def test_verify_finds_what_was_changed_or_removed(run, ledger, tamper, statement, told):
    ledger()
    tamper(statement)
    assert told in run("ledger", "verify", code=1).stderr


@both
def test_verify_says_that_a_newer_schema_may_have_columns_that_it_does_not_know(run, ledger, tamper, kind):
    ledger()
    tamper("UPDATE schema_version SET version = 99" if kind == "postgres" else "PRAGMA user_version = 99")
    assert run("ledger", "verify").stdout.startswith("all 5 rows")
    tamper("UPDATE ledger SET fixed_cost = 7 WHERE seq = 3")
    assert "schema is of a newer Farebox" in run("ledger", "verify", code=1).stderr


def test_verify_finds_an_inserted_row(run, ledger, tamper):
    ledger()
    names = ", ".join(COLUMNS)
    values = names.replace("id, request_id", "'made up', request_id", 1)
    tamper(f"INSERT INTO ledger ({names}, hash) SELECT {values}, hash FROM ledger WHERE seq = 5")
    assert "5 of 6 rows are as they were written. Row 6 (made up)" in run("ledger", "verify", code=1).stderr


@both
def test_verify_finds_rows_that_have_changed_places(run, ledger, tamper):
    ledger()
    for old, new in ((2, 99), (3, 2), (99, 3)):
        tamper(f"UPDATE ledger SET seq = {new} WHERE seq = {old}")
    assert "Row 2 (fb-0003.1)" in run("ledger", "verify", code=1).stderr


def test_migrate_makes_the_store_and_then_has_nothing_to_do(run, store):
    assert "was empty" in run("migrate").stdout
    assert store.stat().st_mode & 0o777 == 0o600
    assert "already" in run("migrate").stdout


def test_an_earlier_store_is_to_be_migrated_first_and_then_is_read(run, store):
    with closing(sqlite3.connect(store)) as connection:
        connection.executescript(f"BEGIN; {STEPS[0]} PRAGMA user_version=1; COMMIT;")
    for words in (["ledger", "export"], ["ledger", "verify"], ["report"]):
        assert "farebox migrate" in run(*words, code=1).stderr
    assert run("migrate").stdout.endswith(f"schema {VERSION}, was 1\n")
    assert run("ledger", "verify").stdout == "the ledger is empty\n"


def test_migrate_leaves_a_newer_store_alone(run, store):
    run("migrate")
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("PRAGMA user_version=99")
    assert "newer Farebox" in run("migrate", code=1).stderr


def test_an_export_beside_an_open_ledger_has_what_was_closed_so_far(config, store):
    async def beside():
        ledger = SqliteLedger(store)
        ledger.start()
        try:
            await ledger.open(entry(1).attempt)
            await ledger.close(entry(1))
            await ledger.open(entry(2).attempt)
            call = (sys.executable, "-m", "router", "ledger", "export", "--config", config)
            process = await asyncio.create_subprocess_exec(*call, stdout=subprocess.PIPE)
            told, _ = await process.communicate()
            return process.returncode, told
        finally:
            await ledger.stop()

    code, told = asyncio.run(beside())
    assert code == 0
    assert [json.loads(line)["id"] for line in told.splitlines()] == ["fb-0001.1"]
