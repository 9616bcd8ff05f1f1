"""`farebox whatif`: the sums are those of deciding and pricing every row on its own."""

import csv
import io
import json
import random
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_ledger import entry

from router.core.altered import altered, fixed, times
from router.core.catalog import Caller, Candidate, ChatRequest, Wishes
from router.core.errors import RouterError
from router.core.limits import micros
from router.core.money import Rate, nano_from_pico
from router.core.policy import Market, decide
from router.core.prices import Unpriced
from router.core.replay import Replay
from router.core.tokens import Learnt, Measure, Prompt
from router.core.usage import Usage
from router.core.whom import Change, Chooser
from router.snapshot import load
from router.stores import traffic as module
from router.stores.ledgerfile import connect, consumed
from router.stores.sqlite import fill
from router.stores.traffic import reader
from router.stores.traffic import replayed as everything

OCTOBER = micros(datetime(2026, 10, 5, 8, tzinfo=UTC))
HOUR = 3_600_000_000
FOREVER = 2**62
CONFIG = {
    "currency": "USD",
    "exchange_rates": {"CNY": [{"from": "2020-01-01", "rate": "0.14"}, {"from": "2026-10-06", "rate": "0.1389"}]},
    "vendors": {
        "one": {"dialect": "openai", "base_url": "http://127.0.0.1:9/v1", "currency": "CNY"},
        "two": {"dialect": "openai", "base_url": "http://127.0.0.1:9/v1"},
    },
    "models": {
        "plain": {"vendor": "one", "tier": "cheap", "quality": 0.8, "context_window": 6000,
                  "price": [{"currency": "CNY", "input": "4", "cache_read": "1", "output": "12"},
                            {"from": "2026-10-06", "currency": "CNY", "input": "0.8", "output": "2"}]},
        "tiered": {"vendor": "one", "tier": "mid", "quality": 0.9, "price": {"currency": "CNY", "rates": [
            {"when": {"input_tokens": {"to": 1000}}, "input": "1", "output": "2"}, {"input": "9", "output": "4"}]}},
        "clocked": {"vendor": "two", "tier": "cheap", "quality": 0.85, "price": {"currency": "USD", "rates": [
            {"when": {"hours": "09:00-12:00"}, "input": "0.9", "output": "3"}, {"input": "0.1", "output": "0.3"}]}},
        "ended": {"vendor": "two", "tier": "cheap", "quality": 0.86, "price": {
            "currency": "USD", "rates": [{"when": {"output_tokens": {"to": 100}}, "input": "0.3", "output": "0.5"},
                                         {"input": "0.3", "output": "2"}]}},
        "thinker": {"vendor": "two", "tier": "flagship", "price": {"currency": "USD", "rates": [
            {"when": {"thinking": True}, "input": "2", "output": "9"}, {"input": "2.5", "output": "10"}]}},
        "dry": {"vendor": "one", "tier": "mid", "kind": "embedding", "price": {"currency": "CNY", "input": "1"}},
        "late": {"vendor": "two", "tier": "mid", "quality": 0.95, "price": {
            "currency": "USD", "evaluated": "completion", "rates": [
                {"when": {"hours": "09:00-09:30"}, "input": "1", "output": "1"}, {"input": "3", "output": "3"}]}},
    },
    "routes": {
        "auto": {"tiers": ["cheap", "mid", "flagship"], "quality": 0.82},
        "best": {"models": ["thinker", "tiered"], "quality": 0.99, "fallback": ["plain"]},
        "embed": {"models": ["dry"]},
        "bulk": {"models": ["plain", "clocked"], "max_output_tokens": 300},
    },
    "teams": {"search": {"budgets": []}, "support": {"quality": 0.9, "budgets": []}},
}  # fmt: skip
MODELS = {name: told["vendor"] for name, told in CONFIG["models"].items()}


@cache
def loaded():
    with TemporaryDirectory() as folder:
        path = Path(folder) / "farebox.yaml"
        path.write_text(yaml.safe_dump(CONFIG, sort_keys=False))
        return load(path, "http://mock.invalid")


@pytest.fixture
def snapshot():
    return loaded()


leaves = st.one_of(st.none(), st.just(0), st.integers(1, 8000))
usages = st.builds(
    Usage, input_fresh=leaves, cache_read=leaves, cache_write_5m=leaves, output_text=leaves, output_reasoning=leaves,
    input_audio=st.sampled_from([None, None, None, 3]), searches=st.sampled_from([None, None, None, None, 1]),
)  # fmt: skip


@st.composite
def recorded(draw):
    """A row as the ledger may hold it, not always one that the configuration would have led to."""
    model = draw(st.sampled_from([*MODELS, "gone"]))
    route = draw(
        st.sampled_from(["auto", "auto", "best", "bulk", "embed", model, f"{MODELS.get(model, 'two')}/{model}", "gone"])
    )
    at = OCTOBER + draw(st.integers(0, 40)) * HOUR // 2 + draw(st.sampled_from([0, -1, 59_999_999, 12_345_678]))
    return {
        "over": {
            "at": at, "model": model, "vendor": MODELS.get(model, "two"), "route": route,
            "team": draw(st.sampled_from(["search", "support", "other"])),
            "currency": draw(st.sampled_from(["USD", "USD", "USD", "EUR"])),
            "vendor_currency": draw(st.sampled_from(["USD", "CNY"])),
        },
        "usage": draw(usages), "cost": draw(st.integers(0, 10**7)), "vendor_cost": draw(st.integers(0, 10**7)),
        "final": draw(st.booleans()), "total_ms": draw(st.sampled_from([None, 5, 2_000_000])),
        "service_tier": draw(st.sampled_from([None, "default", "Auto", "flex"])),
        "free_tokens": draw(st.sampled_from([None, None, None, 7])),
    }  # fmt: skip


changes = st.builds(
    Change,
    stay=st.booleans(),
    quality=st.sampled_from([None, None, 0.0, 0.9, 1.0]),
    vendors=st.sampled_from([lambda _: True, lambda vendor: vendor != "one"]),
)
alterations = st.sampled_from(
    [lambda t, _: t, lambda t, _: fixed(t, OCTOBER), lambda t, vendor: times(t, Rate(10)) if vendor == "two" else t]
)


def whom(catalog, snapshot, row, route_name, change, expected):
    """The server's own decision for one row, with nothing remembered."""
    caller = snapshot.teams.get(row.team) or Caller(row.team, "")
    route = catalog.routes.get(route_name)
    if route is None:
        from router.core.catalog import Route  # noqa: PLC0415

        model = catalog.models.get(route_name) or catalog.by_vendor.get(route_name)
        if model is None or (model.name, model.vendor) != (row.model, row.vendor):
            return None
        route = Route(route_name, (model,), pinned=True)
    tokens = row.usage.input_total
    wishes = Wishes(quality=change.quality)
    prompt = Prompt(tokens=tokens)
    embeds = all(model.kind == "embedding" for model in route.models)
    chat = ChatRequest(
        "embeddings" if embeds else "chat/completions",
        {},
        route.name,
        prompt,
        thinking=bool(row.usage.output_reasoning),
        wishes=wishes,
    )
    models = dict.fromkeys((*route.models, *route.fallback))
    considered = tuple(
        Candidate(model, "" if change.vendors(model.vendor) and (embeds or model.kind == "chat") else "no")
        for model in models
    )
    market = Market(
        row.at,
        snapshot.rates.at(row.at),
        expected,
        lambda model, *_: Learnt(1.0, -model.counting.per_request, over=0.0),
    )
    measure = Measure(prompt, dict.fromkeys(snapshot.encodings, 0))
    try:
        return decide(chat, route, caller, considered, measure, market).plans[0].model
    except RouterError:
        return None


def one_by_one(snapshot, catalog, path, change, expected):
    """Every row decided and priced by itself: the sums that have to come out."""
    from dataclasses import replace  # noqa: PLC0415

    tallies, left = {}, [0, 0, 0]
    with closing(connect(path)) as connection:
        routes = [(route, final) for route, final in connection.execute("SELECT route, final FROM ledger ORDER BY seq")]
        for row, (route, final) in zip(consumed(connection, -FOREVER, FOREVER), routes, strict=True):
            billed = row.cost
            if row.currency != "USD":
                billed = nano_from_pico(row.vendor_cost * 1000, snapshot.rates.at(row.at)[row.vendor_currency])
            name = f"{row.vendor}/{row.model}"
            if change.stay:
                model = catalog.models.get(row.model) if change.vendors(row.vendor) else None
            else:
                model = whom(catalog, snapshot, row, route, change, expected)
            target, cost = None, None
            if model is not None:
                target = f"{model.vendor}/{model.name}"
                priced = row if target == name else replace(row, service_tier=None, free_tokens=None)
                try:
                    price = model.timeline.at(row.at)
                    cost = nano_from_pico(priced.pico_at(price), snapshot.rates.at(row.at)[price.currency])
                except Unpriced:
                    cost = None
            if cost is None:
                if row.vendor_cost or any(row.usage.as_dict().values()):
                    left = [a + b for a, b in zip(left, (1, final, billed), strict=True)]
                    continue
                target, cost = name, 0
            tally = tallies.setdefault((row.team, route, name, target), [0, 0, 0, 0])
            for i, amount in enumerate((1, final, billed, cost)):
                tally[i] += amount
    return tallies, left


def told_by(model, snapshot, clocks):
    """A model's prices; without clocks, where SQLite does most of it, others in place of those that have one."""
    plain = snapshot.catalog.models["thinker"].timeline
    return model.timeline if clocks or model.name not in {"clocked", "late"} else plain


def rows_in(connection):
    return connection.execute("SELECT count(*) FROM ledger").fetchone()[0]


def sums_of(snapshot, catalog, path, change, expected, *, bulk=True):
    with closing(connect(path)) as connection:
        replay = Replay(catalog, snapshot.teams, snapshot.rates, lambda *_: None, expected, reader(connection), change)
        if bulk:
            assert sum(everything(connection, replay, -FOREVER, FOREVER)) == rows_in(connection)
        else:
            replay.add(connection.execute(module._ALL, (0, FOREVER, -FOREVER, FOREVER, "USD")))
    tallies = {key: tally for key, tally in replay.tallies.items() if any(tally)}
    left = [sum(column) for column in zip([0, 0, 0, 0], *replay.unserved.values(), strict=True)][:3]
    return tallies, left


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    st.lists(recorded(), min_size=1, max_size=25),
    changes,
    alterations,
    st.sampled_from([None, 1, 220, 5000]),
    st.booleans(),
)
def test_the_sums_are_those_of_every_row_decided_and_priced_alone(tmp_path_factory, told, change, alter, habit, clocks):
    snapshot, path = loaded(), tmp_path_factory.mktemp("rows") / "farebox.db"
    fill(path, [entry(number, one.pop("over"), **one) for number, one in enumerate(map(dict, told), 1)])
    catalog = altered(snapshot.catalog, lambda model: alter(told_by(model, snapshot, clocks), model.vendor))
    assert sums_of(snapshot, catalog, path, change, lambda _: habit) == one_by_one(
        snapshot, catalog, path, change, lambda _: habit
    )


@pytest.mark.parametrize("clocks", [True, False])
@pytest.mark.parametrize("stay", [True, False])
def test_so_are_those_of_many_rows_of_every_length(snapshot, tmp_path, stay, clocks, monkeypatch):
    """Where decisions are remembered, and lie between others."""
    draw, path, rows = random.Random(3), tmp_path / "farebox.db", []
    for number in range(1, 2500):
        model = draw.choice(list(MODELS))
        over = {"at": OCTOBER + number * 30_000_000, "model": model, "vendor": MODELS[model], "team": draw.choice(["search", "support"]),
                "route": draw.choice(["auto", "best", "bulk"]), "currency": "USD", "vendor_currency": "CNY"}  # fmt: skip
        usage = Usage(draw.randint(1, 9000), draw.choice([None, 500]), output_text=draw.randint(0, 900), output_reasoning=draw.choice([None, None, 9]))  # fmt: skip
        rows.append(entry(number, over, usage=usage, cost=number, service_tier=draw.choice([None, "default"])))
    fill(path, rows)
    change = Change(stay=stay)
    monkeypatch.setattr(module, "CHUNK", 700)
    catalog = altered(snapshot.catalog, lambda model: told_by(model, snapshot, clocks))
    wanted = one_by_one(snapshot, catalog, path, change, lambda _: 200)
    assert sums_of(snapshot, catalog, path, change, lambda _: 200) == wanted
    assert sums_of(snapshot, catalog, path, change, lambda _: 200, bulk=False) == wanted


def test_few_decisions_settle_many_rows(snapshot, tmp_path):
    path, over = tmp_path / "farebox.db", {"route": "bulk", "currency": "USD", "at": OCTOBER}
    fill(path, [entry(n, over, usage=Usage(input_fresh=n, output_text=9)) for n in range(1, 5000)])
    with closing(connect(path)) as connection:
        replay = Replay(
            snapshot.catalog,
            snapshot.teams,
            snapshot.rates,
            lambda *_: None,
            lambda _: 50,
            reader(connection),
            Change(),
        )
        replay.add(connection.execute(module._ALL, (0, FOREVER, -FOREVER, FOREVER, "USD")))
    assert sum(tally[0] for tally in replay.tallies.values()) == 4999
    # rows in the order of their size are the worst case: each is the newest end
    shuffled = Chooser(snapshot.rates, lambda _: 50, Change())
    route, caller = snapshot.catalog.routes["bulk"], snapshot.teams["search"]
    known, sizes = shuffled.known(route), list(range(1, 5000))
    random.Random(1).shuffle(sizes)
    for size in sizes:
        shuffled.whom(known, route, caller, OCTOBER, size, thinking=False)
    assert shuffled.decided < 100


# The command


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
