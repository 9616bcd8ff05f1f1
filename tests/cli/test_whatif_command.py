"""`farebox whatif`, as it is called: what it prints, in each form."""

import csv
import io
import json
from decimal import Decimal

import pytest
import yaml


@pytest.fixture
def traffic(run, tmp_path, config):
    """A month of demo traffic of the summer of 2024, in its own file."""
    from router.resources import config_folder  # noqa: PLC0415

    war, file = config_folder() / "price-war.yaml", tmp_path / "war.db"
    run("ledger", "demo", "--config", war, "--rows", 1500, file)

    def call(*words, code=0):
        return run("whatif", "--config", war, "--ledger", file, *words, code=code)

    return call


def told(result):
    return json.loads(result.stdout)


def test_nothing_changed_changes_nothing(traffic):
    found = told(traffic("--format", "json"))
    assert found["total"]["moved"] == 0 and found["total"]["change"] == "0" and not found["left_out"]
    assert {team["before"] for team in found["teams"]} == {team["after"] for team in found["teams"]}
    assert found["total"]["quality_bound"] is None  # there is no quality model that could say


def test_the_cuts_of_2024_move_traffic_and_save_money(traffic):
    stayed = told(traffic("--at", "2024-09-20", "--stay", "--format", "json"))
    moved = told(traffic("--at", "2024-09-20", "--format", "json"))
    assert stayed["total"]["moved"] == 0 and moved["total"]["moved"] > 0
    pairs = {(move["from"], move["to"]) for move in moved["moves"] if move["from"] != move["to"]}
    assert ("deepseek/deepseek-chat", "alibaba/qwen-plus") in pairs
    assert all(Decimal(team["after"]) < Decimal(team["before"]) for team in moved["teams"])
    # deepseek-chat had no known price that day: named, and in no sum
    assert {left["model"] for left in stayed["left_out"]} == {"deepseek/deepseek-chat"}
    assert sum(team["requests"] for team in moved["teams"]) == moved["total"]["requests"]


def test_a_vendor_ten_times_as_dear_costs_less_to_leave_than_to_keep(traffic):
    kept = told(traffic("--times", "deepseek=10", "--stay", "--format", "json"))["total"]
    left = told(traffic("--times", "deepseek=10", "--format", "json"))["total"]
    without = told(traffic("--without", "deepseek", "--format", "json"))["total"]
    assert Decimal(kept["before"]) < Decimal(left["after"]) < Decimal(kept["after"])
    assert without["after"] == left["after"] and without["moved"] == left["moved"]


def test_tenfold_is_exactly_tenfold(traffic):
    once = {m["from"]: m for m in told(traffic("--stay", "--format", "json"))["moves"]}
    tenfold = {m["from"]: m for m in told(traffic("--stay", "--times", "openai=10", "--format", "json"))["moves"]}
    name = "openai/gpt-4o"
    assert Decimal(tenfold[name]["after"]) == 10 * Decimal(once[name]["after"])
    assert tenfold["bytedance/doubao-pro-32k"] == once["bytedance/doubao-pro-32k"]


def test_a_higher_need_of_quality_is_dearer_and_a_book_wins_over_the_configured_ones(traffic, tmp_path):
    best = told(traffic("--quality", "1", "--format", "json"))
    assert {move["to"] for move in best["moves"] if move["route"] == "auto"} == {"openai/gpt-4o"}
    assert Decimal(best["total"]["after"]) > Decimal(best["total"]["before"])
    book = tmp_path / "mine.yaml"
    book.write_text(
        "vendor: openai\nmodels: {gpt-4o: {tier: flagship, prices: [{currency: USD, input: 0.001, output: 0.001}]}}\n"
    )
    cheap = told(traffic("--prices", book, "--format", "json"))
    assert {move["to"] for move in cheap["moves"] if move["route"] != "bulk"} == {"openai/gpt-4o"}


def test_tables_csv_and_wrong_usage(traffic, run, tmp_path):
    lines = traffic("--times", "deepseek=10").stdout
    assert lines.startswith("team") and "what moves" in lines and "\ntotal" in lines
    rows = list(csv.DictReader(io.StringIO(traffic("--format", "csv").stdout)))
    assert {row["team"] for row in rows} == {"search", "support", "batch"}
    assert "no rows in this time" in traffic("--since", "2030-01-01").stdout
    for words in (["--times", "openai"], ["--times", "openai=-1"], ["--without", "nobody"], ["--quality", "2"]):
        traffic(*words, code=2)
    assert "more than 6 decimal places" in traffic("--times", "deepseek=0.00000001", code=1).stderr
    run("whatif", code=1)  # there is no ledger
    run("ledger", "demo", tmp_path / "war.db", code=1)  # never into a file that is there
    run("ledger", "demo", "--month", "June", tmp_path / "new.db", code=2)


def test_demo_traffic_is_a_ledger_like_any_other(run, tmp_path, config):
    told_config = yaml.safe_load(config.read_text())
    told_config["store"] = f"sqlite:///{tmp_path}/demo.db"
    config.write_text(yaml.safe_dump(told_config))
    run("ledger", "demo", "--month", "2026-10", "--rows", 500, tmp_path / "demo.db")
    assert "all 500 rows are as they were written" in run("ledger", "verify").stdout
    report = json.loads(run("report", "--by", "day", "--format", "json").stdout)
    assert report["totals"][0]["attempts"] == 500
    assert {row["day"][:7] for row in report["rows"]} == {"2026-10"}
