"""`farebox report`: sums that equal the rows, to the last unit."""

import csv
import io
import json
from collections import Counter
from decimal import Decimal

import pytest
from small_ledger import both, entry

pytestmark = both
GROUPINGS = ["team", "model", "vendor", "tier", "key", "day", "route", "outcome", "team,model", "day,team,outcome"]


@pytest.mark.parametrize("by", GROUPINGS)
def test_a_report_adds_up_to_the_rows_however_it_is_grouped(run, ledger, by):
    ledger()
    rows = [json.loads(line) for line in run("ledger", "export").stdout.splitlines()]
    told = json.loads(run("report", "--by", by, "--format", "json").stdout)
    expected = Counter()
    for row in rows:
        usage, cost, flagship = row["usage"], Decimal(row["cost"]), Decimal(row["flagship_cost"])
        expected.update(
            attempts=1, requests=row["final"], cost=cost, input=usage.get("input_fresh", 0),
            cache_read=usage.get("cache_read", 0), cache_write=usage.get("cache_write_5m", 0),
            output=usage.get("output_text", 0), reasoning=usage.get("output_reasoning", 0),
            saved=max(0, flagship - cost) if row["outcome"] != "error" else 0,
            estimated_cost=cost if row["basis"] == "estimated" else 0,
        )  # fmt: skip
    for part in (told["rows"], told["totals"]):
        assert {name: sum(Decimal(row[name]) for row in part) for name in expected} == dict(expected)
    assert len({tuple(row[name] for name in by.split(",")) for row in told["rows"]}) == len(told["rows"])


def test_a_report_says_what_each_group_cost_and_saved(run, ledger):
    ledger()
    told = json.loads(run("report", "--by", "key,day", "--format", "json").stdout)
    assert [(row["key"], row["day"], row["requests"], row["cost"], row["saved"]) for row in told["rows"]] == [
        ("support/app", "2026-11-22", 1, "0.000015", "0"),
        ("search/app", "2026-11-22", 1, "0.000001", "0.000014"),
        ("search/ci", "2026-11-23", 1, "0.00002", "0"),
        ("search/app", "2026-11-23", 1, "0.000004", "0.000011"),
    ]
    assert told["totals"][0]["estimated_share"] == 0.6


def test_a_report_keeps_to_its_time_and_its_end_is_exclusive(run, ledger):
    ledger()

    def attempts(*options):
        return sum(row["attempts"] for row in json.loads(run("report", "--format", "json", *options).stdout)["rows"])

    assert attempts("--since", "2026-11-23") == 3
    assert attempts("--until", "2026-11-23") == 2
    assert attempts("--since", "2026-11-22T20:00:00.000002+08:00", "--until", "2026-11-23") == 1
    assert attempts("--since", "2027-01-01") == 0


def test_currencies_are_never_added_together(run, ledger):
    ledger([entry(1), entry(2, {"currency": "CNY"})])
    told = json.loads(run("report", "--format", "json").stdout)
    assert [(total["currency"], total["cost"]) for total in told["totals"]] == [
        ("CNY", "0.000002"),
        ("USD", "0.000001"),
    ]


def test_the_table_ends_in_a_total_and_csv_has_none(run, ledger):
    ledger()
    lines = run("report", "--by", "team").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["team", "search", "support", "total", "against", "against"]
    assert "0.00004" in lines[3]
    assert lines[4].startswith(
        "against always the flagship: 0.000025 USD saved, 38.5% (2 days: too few for an interval)"
    )
    found = list(csv.DictReader(io.StringIO(run("report", "--format", "csv").stdout)))
    assert [(row["team"], row["cost"]) for row in found] == [("search", "0.000025"), ("support", "0.000015")]


@pytest.mark.parametrize("options", [["--by", "colour"], ["--by", ""], ["--since", "yesterday"], ["--format", "xml"]])
def test_a_report_that_is_asked_wrongly_is_wrong_usage(run, ledger, options):
    ledger()
    run("report", *options, code=2)


def test_amounts_are_exact_beyond_what_a_float_holds(run, ledger):
    ledger([entry(1, cost=9_007_199_254_740_993), entry(2, cost=1)])
    told = json.loads(run("report", "--format", "json").stdout)
    assert told["totals"][0]["cost"] == "9007199.254740994"


def test_a_report_by_model_sets_the_estimates_against_what_was_billed(run, ledger):
    """Over the rows where a vendor said what the prompt came to, cached tokens too, and an estimate is known."""

    def estimated(number, tokens, **more):
        return entry(number, {"prompt_estimate": tokens, "prompt_high": 2 * tokens}, **more)

    ledger(
        [
            estimated(1, 12),
            estimated(2, 12, outcome="left", basis="vendor_cost"),
            estimated(3, 99, basis="estimated"),
            estimated(4, 99, outcome="error"),
            entry(5),
            entry(6, {"model": "large"}),
        ]
    )
    told = json.loads(run("report", "--by", "model", "--format", "json").stdout)
    shown = {row["model"]: (row["prompt_estimate"], row["prompt_billed"], row["prompt_error"]) for row in told["rows"]}
    assert shown == {"small": (24, 26, -0.0769), "large": (None, None, None)}
    assert told["totals"][0]["prompt_billed"] == 26
    assert "prompt billed" in run("report", "--by", "team,model").stdout
    assert "prompt" not in run("report", "--by", "team").stdout
