"""`farebox whatif`, as it is called: what it prints, in each form."""

import csv
import io
import json
from decimal import Decimal

import pytest
import yaml
from small_ledger import both, entry

from router.core.labels import Labelled
from router.promises import Promises
from router.quality import Certificate, train
from router.quality.certificate import save
from router.snapshot import load


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


@both
def test_nothing_changed_changes_nothing(traffic):
    found = told(traffic("--format", "json"))
    assert found["total"]["moved"] == 0 and found["total"]["change"] == "0" and not found["left_out"]
    assert {team["before"] for team in found["teams"]} == {team["after"] for team in found["teams"]}
    assert found["total"]["quality_bound"] is None  # there is no quality model that could say


@both
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


@both
def test_a_vendor_ten_times_as_dear_costs_less_to_leave_than_to_keep(traffic):
    kept = told(traffic("--times", "deepseek=10", "--stay", "--format", "json"))["total"]
    left = told(traffic("--times", "deepseek=10", "--format", "json"))["total"]
    without = told(traffic("--without", "deepseek", "--format", "json"))["total"]
    assert Decimal(kept["before"]) < Decimal(left["after"]) < Decimal(kept["after"])
    assert without["after"] == left["after"] and without["moved"] == left["moved"]


@both
def test_tenfold_is_exactly_tenfold(traffic):
    once = {m["from"]: m for m in told(traffic("--stay", "--format", "json"))["moves"]}
    tenfold = {m["from"]: m for m in told(traffic("--stay", "--times", "openai=10", "--format", "json"))["moves"]}
    name = "openai/gpt-4o"
    assert Decimal(tenfold[name]["after"]) == 10 * Decimal(once[name]["after"])
    assert tenfold["bytedance/doubao-pro-32k"] == once["bytedance/doubao-pro-32k"]


@both
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


@both
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


# What is certified

PROMISE = "certified: 95% with 95% confidence"


@pytest.fixture
def promised(config, ledger, tmp_path):
    """A certificate for route auto in force, and what was sent by it: two to small, one to large, one for its own need."""
    rows = [{"prompt": f"question {n} of the price", "scores": {"large": 1.0, "small": n % 2}} for n in range(40)]
    model = train(rows, flagship="large")
    model.save(tmp_path / "quality.model")
    certificate = Certificate(
        "two-tier", "large", ("small",), 0.05, 0.05, 600, "fixed sequence", basis="share", threshold=0.1, route="auto",
        artefact=model.hash,
    )  # fmt: skip
    save([certificate], tmp_path / "quality.json")
    told_config = yaml.safe_load(config.read_text())
    told_config["quality"] = {"model": "quality.model", "certificates": "quality.json"}
    config.write_text(yaml.safe_dump(told_config))
    large = {"model": "large", "tier": "flagship"}
    ledger([
        entry(1, {"reason": f"{PROMISE}, small will do"}),
        entry(2, {"reason": f"{PROMISE}, small will do; passing over large, which is unwell"}),
        entry(3, {"reason": f"{PROMISE}, large will do", **large}),
        entry(4, {"reason": "flagship: none is known to meet 0.99", **large}),
        entry(5, {"reason": "cheapest of 1", "route": "best", **large}),
    ])  # fmt: skip
    return certificate


def bounds_of(run, *words):
    found = told(run("whatif", *words, "--format", "json"))
    return {bound.pop("route"): bound for bound in found["quality_bounds"]}, found["total"]["quality_bound"]


@both
def test_a_route_keeps_to_its_bound_where_requests_stay_or_go_to_a_flagship(run, promised):
    kept = {"requests": 4, "quality_bound": 0.95, "confidence": 0.95, "beyond": 0, "kept": True}
    nothing = {"requests": 1, "quality_bound": None, "confidence": None, "beyond": None, "kept": None}
    assert bounds_of(run, "--stay") == ({"auto": kept, "best": nothing}, None)  # nothing is certified of best
    assert bounds_of(run, "--quality", "0.9")[0]["auto"] == kept  # all at the flagship
    assert bounds_of(run, "--stay", "--until", "2026-11-22T12:00:00.000005Z") == ({"auto": kept}, 0.95)


@both
def test_what_moves_to_a_model_that_the_certificate_has_not_chosen_is_beyond_the_bound(run, promised):
    found, total = bounds_of(run)  # the configured need of 0.7 sends everything to small
    assert (found["auto"]["beyond"], found["auto"]["kept"], total) == (2, False, None)
    assert "auto          4           0.95        0.95       2  no" in run("whatif").stdout
    rows = run("whatif", "--format", "csv").stdout.split("\n\n")[1]
    assert [(row["route"], row["quality_bound"], row["beyond"], row["kept"]) for row in csv.DictReader(io.StringIO(rows))] == [
        ("auto", "0.95", "2", "no"), ("best", "", "", ""),
    ]  # fmt: skip


@both
def test_what_a_cascade_or_another_promise_has_sent_is_not_this_ones(run, promised, ledger):
    ledger([
        entry(6, {"reason": f"{PROMISE}, large will do; cascade: small is tried first"}),
        entry(7, {"reason": "certified: 90% with 95% confidence, small will do"}),
        entry(8, {"reason": "cheapest of 2 that meet 0.7"}),
    ])  # fmt: skip
    found, _ = bounds_of(run, "--stay")
    assert (found["auto"]["beyond"], found["auto"]["kept"]) == (3, False)


def test_no_bound_is_told_of_a_promise_that_is_broken_or_below_what_is_needed(run, promised, store, config):
    assert bounds_of(run, "--stay", "--quality", "0.99")[0]["auto"]["quality_bound"] is None
    assert "beyond" not in run("whatif", "--stay", "--quality", "0.99").stdout
    snapshot, promises = load(config), Promises.beside(store)
    for number in range(60):
        promises.observe(snapshot.promised, Labelled(str(number), "auto", "small", "checker", 0.0, 1.0, served=True))
    assert bounds_of(run, "--stay")[0]["auto"]["quality_bound"] is None
