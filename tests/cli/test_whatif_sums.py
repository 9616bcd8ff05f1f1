"""`farebox whatif`: the sums are those of deciding and pricing every row on its own."""

import asyncio
import random
from contextlib import closing
from datetime import UTC, datetime
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
from router.stores.opening import ledger_of
from router.stores.place import Postgres
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
        "twin": {"vendor": "one", "tier": "cheap", "quality": 0.8, "context_window": 9000,
                 "price": [{"currency": "CNY", "input": "4", "cache_read": "1", "output": "12"},
                           {"from": "2026-10-06", "currency": "CNY", "input": "0.8", "output": "2"}]},
        "flat": {"vendor": "one", "tier": "mid", "price": {"currency": "CNY", "input": "0.1", "output": "0.3"}},
        "near": {"vendor": "one", "tier": "mid", "price": {"currency": "CNY", "input": "0.1001", "output": "0.299"}},
        "late": {"vendor": "two", "tier": "mid", "quality": 0.95, "price": {
            "currency": "USD", "evaluated": "completion", "rates": [
                {"when": {"hours": "09:00-09:30"}, "input": "1", "output": "1"}, {"input": "3", "output": "3"}]}},
    },
    "routes": {
        "auto": {"tiers": ["cheap", "mid", "flagship"], "quality": 0.82},
        "best": {"models": ["thinker", "tiered"], "quality": 0.99, "fallback": ["plain"]},
        "embed": {"models": ["dry"]},
        "bulk": {"models": ["plain", "clocked"], "max_output_tokens": 300},
        "twins": {"models": ["plain", "twin"]},
        "close": {"models": ["flat", "near"]},
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
        st.sampled_from(
            [
                "auto",
                "auto",
                "best",
                "bulk",
                "embed",
                "twins",
                "close",
                model,
                f"{MODELS.get(model, 'two')}/{model}",
                "gone",
            ]
        )
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


@pytest.mark.parametrize("stay", [True, False])
def test_so_are_those_of_rows_in_another_database(snapshot, places_of_rows, stay, monkeypatch):
    monkeypatch.setattr(module, "ANSWER", 70)
    path, place = places_of_rows
    change, catalog = Change(stay=stay), altered(snapshot.catalog, lambda model: told_by(model, snapshot, clocks=True))
    assert sums_of(snapshot, catalog, place, change, lambda _: 200) == one_by_one(
        snapshot, catalog, path, change, lambda _: 200
    )


@pytest.fixture(scope="module")
def places_of_rows(tmp_path_factory, postgres):
    """The same rows in a file and in PostgreSQL."""
    draw, path, place = random.Random(5), tmp_path_factory.mktemp("rows") / "farebox.db", Postgres(postgres.database())
    rows = []
    for number in range(1, 300):
        model = draw.choice(list(MODELS))
        over = {"at": OCTOBER + number * 300_000_000, "model": model, "vendor": MODELS[model], "currency": "USD", "vendor_currency": "CNY",
                "route": draw.choice(["auto", "best", "bulk"])}  # fmt: skip
        usage = Usage(
            draw.randint(1, 9000),
            draw.choice([None, 500]),
            output_text=draw.randint(0, 900),
            images=draw.choice([None, 0, 1]),
        )
        more = {"service_tier": draw.choice([None, "default", "FLEX"]), "free_tokens": draw.choice([None, None, 9])}
        rows.append(entry(number, over, usage=usage, cost=number, **more))
    fill(path, rows)

    async def write():
        ledger = ledger_of(place, path)
        ledger.start()
        await asyncio.gather(*(ledger.close(row) for row in rows))
        await ledger.stop()

    asyncio.run(write())
    return path, place


def looked_at(monkeypatch):
    """How many rows are decided one by one, as they come."""
    counted, add = [0], Replay.add

    def count(replay, rows):
        rows = list(rows)
        counted[0] += len(rows)
        add(replay, rows)

    monkeypatch.setattr(Replay, "add", count)
    return counted


@pytest.mark.parametrize(("route", "most"), [("twins", 0), ("close", 400)])
def test_few_rows_are_looked_at_where_models_cost_the_same(snapshot, tmp_path, monkeypatch, route, most):
    """Two of one price are as settled as two that differ; where two lines cross, only what is near the crossing is not."""
    path, counted = tmp_path / "farebox.db", looked_at(monkeypatch)
    over = {
        "route": route,
        "model": "plain",
        "vendor": "one",
        "currency": "USD",
        "vendor_currency": "CNY",
        "at": OCTOBER,
    }
    fill(path, [entry(n, over, usage=Usage(input_fresh=n, output_text=9), cost=n) for n in range(1, 4000)])
    catalog = altered(snapshot.catalog, lambda model: told_by(model, snapshot, False))
    found = sums_of(snapshot, catalog, path, Change(), lambda _: 200)
    assert found == one_by_one(snapshot, catalog, path, Change(), lambda _: 200)
    assert counted[0] <= most
    moved = {target for *_, target in found[0]}
    assert moved == ({"one/plain"} if route == "twins" else {"one/flat", "one/near"})


@pytest.mark.parametrize("query", [module._PRICED, module._ALL, module._REST, module._TIMES])
def test_a_chunk_is_read_by_its_numbers_and_not_by_walking_an_index(snapshot, tmp_path, query):
    path = tmp_path / "farebox.db"
    fill(path, [entry(n) for n in range(1, 4)])
    with closing(connect(path)) as connection:
        list(everything(connection, replay_of(snapshot, connection), -FOREVER, FOREVER))
        args = (0, 1, -FOREVER, FOREVER, "USD")[: 5 if "?5" in query else 4]
        plan = [step for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {query}", args)]
    assert [step for step in plan if "ledger" in step] == [
        "SEARCH ledger USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"
    ]


def test_bounds_of_time_are_kept_where_rows_are_out_of_order(snapshot, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 3)
    path, times_ = tmp_path / "farebox.db", [5, 1, 9, 30, 2, 28, 7, 40, 3, 26]  # hours, over a change of prices
    over = {"route": "bulk", "model": "plain", "vendor": "one", "currency": "USD", "vendor_currency": "CNY"}
    fill(path, [entry(n, {**over, "at": OCTOBER + hour * HOUR}, usage=Usage(input_fresh=99, output_text=9)) for n, hour in enumerate(times_, 1)])  # fmt: skip
    for low, high in [(2, 30), (0, 3), (27, 41), (10, 11)]:
        with closing(connect(path)) as connection:
            replay = replay_of(snapshot, connection)
            done = sum(everything(connection, replay, OCTOBER + low * HOUR, OCTOBER + high * HOUR))
            assert done == sum(low <= hour < high for hour in times_)
            assert sum(tally[0] for tally in replay.tallies.values()) == done


def replay_of(snapshot, connection):
    return Replay(snapshot.catalog, snapshot.teams, snapshot.rates, lambda *_: None, lambda _: 50, reader(connection), Change(stay=True))  # fmt: skip


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
