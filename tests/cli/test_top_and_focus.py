"""`farebox top --once`, `farebox report --format focus`, and what a terminal sees."""

import csv
import io
import json
import os
import pty
import sqlite3
import subprocess
import sys
from contextlib import closing
from decimal import Decimal

import pytest
from small_ledger import DAY, NOON, both, entry

from router.cli import top
from router.cli.focus import COLUMNS, MANDATORY


@pytest.fixture
def noon(monkeypatch):
    monkeypatch.setattr(top, "now_micros", lambda: NOON + DAY + 60_000_000)


@both
def test_top_shows_groups_budgets_and_the_newest_attempts(run, ledger, noon):
    ledger()
    said = run("top", "--once").stdout
    assert said.startswith("the last day, by team, at 2026-11-23T12:01:00Z\n")
    lines = said.splitlines()
    # the last 24 hours: rows 3 to 5, of which 3 is no final attempt
    assert next(line for line in lines if line.startswith("search")).split() == [
        "search", "2", "0", "32", "0.000024", "100.0%", "0.000011", "USD",
    ]  # fmt: skip
    assert next(line for line in lines if line.startswith("total")).split()[1] == "2"
    assert any(line.startswith("the total budget of team support") for line in lines)
    assert next(line for line in lines if " auto " in line).startswith("2026-11-23T12:00:00  search")


@both
def test_top_looks_back_as_far_as_it_is_told_and_groups_by_any_name(run, ledger, noon):
    ledger()
    said = run("top", "--once", "--span", "week", "--by", "model").stdout
    assert "large" in said and "small" in said and "0.00004" in said
    run("top", "--by", "colour", code=2)


@both
def test_top_without_a_ledger_is_a_no(run, config):
    assert "no ledger yet" in run("top", "--once", code=1).stderr


@both
def test_top_into_a_pipe_looks_once_by_itself(run, ledger, noon):
    ledger()
    assert run("top").stdout == run("top", "--once").stdout


def test_top_writes_nothing(run, ledger, noon, store):
    ledger()
    before = store.read_bytes()
    run("top", "--once")
    assert store.read_bytes() == before


def test_a_terminal_sees_it_live_until_it_is_interrupted(config, ledger, store):
    ledger()
    mine, theirs = pty.openpty()
    words = [sys.executable, "-m", "router", "top", "--span", "month", "--every", "0.2", "--config", str(config)]
    child = subprocess.Popen(words, stdout=theirs, stderr=theirs, stdin=theirs, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    seen = b""
    try:
        while seen.count(b"newest attempts") < 2:  # it was drawn anew
            seen += os.read(mine, 65536)
        child.send_signal(2)
        while True:
            try:
                if not (more := os.read(mine, 65536)):
                    break
            except OSError:  # the other end is closed
                break
            seen += more
        assert child.wait(20) == 0
    finally:
        child.kill()
        os.close(mine)
    assert b"\x1b[?1049h" in seen and b"\x1b[?1049l" in seen  # the screen is given back as it was


# FOCUS


def rows_of(run, *words):
    return list(csv.DictReader(io.StringIO(run("report", "--format", "focus", *words).stdout)))


@both
def test_focus_has_every_mandatory_column_in_the_order_of_the_specification(run, ledger):
    ledger()
    found = rows_of(run)
    assert tuple(found[0]) == COLUMNS and set(MANDATORY) <= set(COLUMNS) and len(MANDATORY) == 21
    named = [column for column in COLUMNS if not column.startswith("x_")]
    assert named == sorted(named) and all(column.startswith("x_") for column in COLUMNS[len(named) :])
    nullable = {"ChargeClass", "BillingAccountName"}  # null: no correction; an account has no name of its own
    assert all(row[column] for row in found for column in set(MANDATORY) - nullable)


@both
def test_focus_adds_up_to_the_ledger_in_both_currencies(run, ledger):
    ledger()
    rows = [json.loads(line) for line in run("ledger", "export").stdout.splitlines()]
    found = rows_of(run)
    for column, name in (("BilledCost", "vendor_cost"), ("EffectiveCost", "vendor_cost"), ("x_ReportingCost", "cost")):
        assert sum(Decimal(row[column]) for row in found) == sum(Decimal(row[name]) for row in rows)
    assert sum(int(row["ConsumedQuantity"]) for row in found) == sum(sum(row["usage"].values()) for row in rows)
    assert sum(int(row["x_Attempts"]) for row in found) == len(rows)


@both
def test_focus_rows_are_days_of_a_month_that_is_billed(run, ledger):
    ledger([entry(1, {"at": NOON + 30 * DAY})])  # 2026-12-22
    (row,) = rows_of(run)
    assert (row["ChargePeriodStart"], row["ChargePeriodEnd"]) == ("2026-12-22T00:00:00Z", "2026-12-23T00:00:00Z")
    assert (row["BillingPeriodStart"], row["BillingPeriodEnd"]) == ("2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z")
    assert (row["BillingCurrency"], row["BilledCost"], row["x_ReportingCurrency"]) == ("CNY", "0.000007", "USD")
    assert (row["ChargeCategory"], row["ServiceCategory"]) == ("Usage", "AI and Machine Learning")
    assert json.loads(row["Tags"]) == {"farebox/key": "app", "farebox/route": "auto", "farebox/tier": "cheap"}
    assert (row["SubAccountId"], row["ResourceId"]) == ("search", "check/small")


@both
def test_focus_of_no_rows_is_the_header_and_a_span_is_kept(run, ledger):
    ledger()
    assert rows_of(run, "--since", "2030-01-01") == []
    assert sum(int(row["x_Attempts"]) for row in rows_of(run, "--until", "2026-11-23")) == 2


def test_a_report_reads_no_row_where_its_ends_are_days(run, ledger, store):
    """The rows may be gone: the sums of the days answer."""
    ledger()
    whole = run("report", "--by", "team,day", "--format", "json").stdout
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("DELETE FROM ledger")
        connection.commit()
    assert run("report", "--by", "team,day", "--format", "json").stdout == whole
    run("ledger", "verify", code=1)
