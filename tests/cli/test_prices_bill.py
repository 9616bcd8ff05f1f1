"""What a change of prices does to last month's bill: the ledger's rows priced again under both sides."""

import csv
import io
import json
import random
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal

import pytest
import yaml
from small_ledger import both, entry

from router.cli.bill import last_month
from router.core.limits import micros
from router.core.usage import Usage

pytestmark = both
BOOK = """\
vendor: check
timezone: UTC
models:
  plain:
    tier: cheap
    aliases: [plain-latest]
    prices:
      - {currency: CNY, input: "4", output: "12", cache_read: "1"}
      - {from: 2024-09-19, currency: CNY, input: "0.8", output: "2"}
  tiered:
    tier: mid
    prices:
      - currency: CNY
        rates:
          - {when: {input_tokens: {to: 1000}}, input: "1", output: "2"}
          - {input: "2", output: "4"}
  clocked:
    tier: mid
    prices:
      - currency: CNY
        evaluated: completion
        rates: [{when: {hours: "09:00-12:00"}, input: "2", output: "2"}, {input: "1", output: "1"}]
  thinker:
    tier: mid
    prices: [{currency: CNY, rates: [{when: {thinking: true}, input: "1", output: "9"}, {input: "1", output: "3"}]}]
  doubted: {tier: cheap, prices: [{currency: CNY, input: "6", output: "7", confidence: doubtful}]}
  gone: {tier: cheap, prices: [{currency: CNY, input: "6", output: "7"}]}
  flex: {tier: cheap, prices: [{currency: CNY, input: "6", output: "7", tiers: {flex: "0.5"}}]}
  gift: {tier: cheap, prices: [{currency: CNY, input: "6", output: "7", free_quota: {tokens: 1000, per: day}}]}
"""
CHEAPER = BOOK.replace('"0.8", output: "2"', '"0.4", output: "1"')
OCTOBER = micros(datetime(2026, 10, 5, 8, tzinfo=UTC))
SPAN = ("--since", "2026-10-01", "--until", "2026-11-01")
RATE = Decimal("0.14")


@pytest.fixture
def books(config):
    """Two books beside a configuration whose models are named otherwise than in the book."""
    told = yaml.safe_load(config.read_text())
    told |= {
        "prices": ["builtin", "book.yaml"],
        "exchange_rates": {"CNY": [{"from": "2020-01-01", "rate": str(RATE)}]},
        "vendors": {"check": {"dialect": "openai", "base_url": "http://127.0.0.1:9/v1"}},
        "models": {
            "ours": {"vendor": "check", "name": "plain-latest"},
            "contract": {"vendor": "check", "tier": "mid", "price": {"currency": "CNY", "input": 5, "output": 5}},
            **{name: {"vendor": "check"} for name in ("plain", "tiered", "clocked", "thinker", "flex", "gift")},
        },
    }
    config.write_text(yaml.safe_dump(told))
    (config.parent / "book.yaml").write_text(BOOK)
    (config.parent / "new.yaml").write_text(CHEAPER)
    return config.parent


def row(number, model="plain", usage=None, *, at=OCTOBER, team="search", **more):
    over = {"model": model, "at": at, "team": team, "currency": "USD", "vendor_currency": "CNY"}
    usage = usage or Usage(input_fresh=1000, output_text=500)
    return entry(number, over, **{"usage": usage, "vendor_cost": 1_000_000, "cost": 140_000, "total_ms": 10, **more})


@pytest.fixture
def bill(run, books):
    def call(*words):
        return json.loads(run("prices", "diff", *words, *SPAN, "--format", "json").stdout)["bill"]

    return call


def by_model(bill):
    return {told["model"].partition("/")[2]: (told["before"], told["after"]) for told in bill["models"]}


def test_two_days_price_the_same_traffic_twice(bill, ledger):
    ledger([row(1), row(2, "ours"), row(3, team="support")])
    told = bill("2024-09-18", "2024-09-20")
    # 1000 at 4 and 500 at 12; then 1000 at 0.8 and 500 at 2
    assert by_model(told) == {"plain": ("0.02", "0.0036"), "ours": ("0.01", "0.0018")}
    plain = told["models"][0]
    assert (plain["attempts"], plain["billed"], plain["percent"]) == (2, "0.002", -82.0)
    assert (plain["cost_before"], plain["cost_after"], plain["change"]) == ("0.0028", "0.000504", "-0.002296")
    assert {(t["team"], t["attempts"], t["change"]) for t in told["teams"]} == {
        ("search", 2, "-0.002296"), ("support", 1, "-0.001148"),
    }  # fmt: skip
    assert (told["total"]["cost_before"], told["total"]["cost_after"]) == ("0.0042", "0.000756")
    assert (told["since"], told["until"], told["unpriced"]) == ("2026-10-01", "2026-11-01", [])


def test_two_books_are_compared_at_their_prices_of_one_day(bill, ledger):
    ledger([row(1)])
    assert by_model(bill("book.yaml", "new.yaml")) == {"plain": ("0.0018", "0.0009")}
    assert by_model(bill("book.yaml", "new.yaml", "--at", "2024-09-01")) == {"plain": ("0.01", "0.01")}
    assert by_model(bill("now", "new.yaml")) == {"plain": ("0.0018", "0.0009")}


def test_each_row_is_priced_by_its_own_length_clock_tier_thought_and_free_tokens(bill, ledger):
    noon = micros(datetime(2026, 10, 5, 11, 59, 59, tzinfo=UTC))
    ledger(
        [
            row(1, "tiered", Usage(input_fresh=1000, output_text=10)),  # 1020
            row(2, "tiered", Usage(input_fresh=900, cache_read=101, output_text=10)),  # 2042
            row(3, "clocked", Usage(input_fresh=100), at=noon, total_ms=500),  # 200
            row(4, "clocked", Usage(input_fresh=100), at=noon, total_ms=1500),  # 100: complete past twelve
            row(5, "thinker", Usage(input_fresh=100, output_text=5, output_reasoning=5)),  # 190
            row(6, "thinker", Usage(input_fresh=100, output_text=10, output_reasoning=0)),  # 130
            row(7, "flex", Usage(input_fresh=100), service_tier="flex"),  # 300
            row(8, "flex", Usage(input_fresh=100), service_tier="default"),  # 600
            row(9, "gift", Usage(input_fresh=100, output_text=10), free_tokens=105),  # 5 of the answer at 7
        ]
    )
    told = by_model(bill("now", "now"))
    assert {name: before for name, (before, _) in told.items()} == {
        "tiered": "0.003062", "clocked": "0.0003", "thinker": "0.00032", "flex": "0.0009", "gift": "0.000035",
    }  # fmt: skip
    assert all(before == after for before, after in told.values())


def test_what_a_side_has_no_price_for_is_named_and_in_no_sum(bill, books, ledger):
    (books / "new.yaml").write_text(CHEAPER.replace("  gone:", "  other:"))
    ledger(
        [
            row(1),
            row(2, "doubted"),
            row(3, "gone"),
            row(4, "gone"),
            row(5, "flex", service_tier="priority"),
            row(6, "nobody-has-it"),
            row(7, "gone", Usage(), cost=0, vendor_cost=0, outcome="error"),  # costs nothing at any price
        ]
    )
    told = bill("book.yaml", "new.yaml")
    found = {t["model"]: (t["attempts"], t["billed"], t["why"]) for t in told["unpriced"]}
    assert found["check/gone"] == (2, "0.002", "B: no price book has check/gone")
    assert found["check/doubted"][2].startswith("A: check/doubted: CNY 6/7 is doubtful")
    assert found["check/flex"][2] == "CNY 6/7: no price for the service tier 'priority'"
    assert found["check/nobody-has-it"][2] == "A: no price book has check/nobody-has-it"
    assert by_model(told) == {"plain": ("0.0018", "0.0009"), "gone": ("0", "0")}
    assert told["total"]["attempts"] == 2


def test_a_price_of_the_configuration_and_other_vendors_models_are_not_touched_by_a_book(bill, books, ledger):
    (books / "small.yaml").write_text("vendor: check\nmodels: {tiered: {tier: mid, prices: [{currency: CNY, input: 9, output: 9}]}}\n")  # fmt: skip
    ledger([row(1, "contract"), row(2, "plain"), row(3, "tiered", Usage(input_fresh=100, output_text=0))])
    assert by_model(bill("now", "small.yaml")) == {
        "contract": ("0.001", "0.001"), "plain": ("0.0018", "0.0018"), "tiered": ("0.0001", "0.0009"),
    }  # fmt: skip
    of_two_books = bill("small.yaml", "new.yaml")["unpriced"]
    assert [(t["model"], t["why"]) for t in of_two_books] == [("check/plain", "A: no price book has check/plain")]


def test_only_rows_of_the_span_count_and_last_month_is_the_calendar_month_before(bill, run, ledger):
    ledger([row(1), row(2, at=micros(datetime(2026, 11, 1, tzinfo=UTC))), row(3, at=micros(datetime(2026, 9, 30, tzinfo=UTC)))])  # fmt: skip
    assert bill("now", "now")["total"]["attempts"] == 1
    for now, since, until in (
        ("2026-11-25T04:00", "2026-10-01", "2026-11-01"),
        ("2026-01-01T00:00", "2025-12-01", "2026-01-01"),
        ("2026-03-31T23:59", "2026-02-01", "2026-03-01"),
    ):
        whole = [micros(datetime.fromisoformat(day).replace(tzinfo=UTC)) for day in (now, since, until)]
        assert last_month(whole[0]) == (whole[1], whole[2])
    told = json.loads(run("prices", "diff", "now", "now", "--since", "2026-10-05", "--format", "json").stdout)["bill"]
    assert (told["total"]["attempts"], told["since"], told["until"]) == (2, "2026-10-05", None)


def test_without_a_ledger_or_rows_it_says_so_and_still_tells_the_changes(run, books, ledger):
    said = run("prices", "diff", "2024-09-18", "2024-09-20").stdout
    assert "check/plain" in said and "no bill to price again" in said and "there is no ledger yet" in said
    told = json.loads(run("prices", "diff", "2024-09-18", "2024-09-20", "--format", "json").stdout)
    assert told["changes"] and told["bill"] is None and "no ledger" in told["why"]
    run("prices", "diff", "2024-09-18", "2024-09-20", "--only", "bill", "--format", "csv", code=1)
    ledger([row(1)])
    assert "no rows in this time" in run("prices", "diff", "now", "now", "--since", "2030-01-01").stdout


def test_the_tables_tell_models_teams_and_what_is_missing(run, books, ledger):
    ledger([row(1), row(2, "ours", team="support"), row(3, "nobody-has-it")])
    said = run("prices", "diff", "2024-09-18", "2024-09-20", *SPAN).stdout
    assert "the bill from 2026-10-01 to 2026-11-01, at the prices of A (before) and of B (after)" in said
    for line in ("check/plain", "check/ours", "total", "search", "support", "not in it"):
        assert any(told.startswith(line) for told in said.splitlines()), line
    only = run("prices", "diff", "2024-09-18", "2024-09-20", *SPAN, "--only", "bill").stdout
    assert only.startswith("the bill from") and "percent" in only
    rows = list(csv.DictReader(io.StringIO(run("prices", "diff", "2024-09-18", "2024-09-20", *SPAN, "--only", "bill", "--format", "csv").stdout)))  # fmt: skip
    assert [(row["model"], row["after"]) for row in rows] == [("check/ours", "0.0018"), ("check/plain", "0.0018")]
    changes = run("prices", "diff", "2024-09-18", "2024-09-20", "--format", "csv").stdout
    assert changes.startswith("model,currency,kind")


def test_a_row_from_before_the_first_exchange_rate_has_no_cost_in_the_reporting_currency(bill, books, config, ledger):
    told = yaml.safe_load(config.read_text())
    told["exchange_rates"]["CNY"][0]["from"] = "2026-10-10"
    config.write_text(yaml.safe_dump(told))
    ledger([row(1)])
    (found,) = bill("book.yaml", "new.yaml")["models"]
    assert (found["before"], found["after"], found["cost_before"], found["change"]) == ("0.0018", "0.0009", None, None)


def test_many_rows_add_up_to_what_finance_works_out_in_decimals(bill, ledger):
    """More than a page of them; each row is rounded up once in each currency."""
    draw = random.Random(7)
    usages = [Usage(input_fresh=draw.randint(0, 5000), cache_read=draw.randint(0, 900), output_text=draw.randint(1, 3000)) for _ in range(6000)]  # fmt: skip
    ledger([row(i, usage=usage, team=draw.choice("ab")) for i, usage in enumerate(usages, 1)])
    told = bill("2024-09-18", "2024-09-20")

    def up(amount):
        return amount.quantize(Decimal("1e-9"), ROUND_CEILING)

    for side, (fresh, read, out) in (("before", ("4", "1", "12")), ("after", ("0.8", "0.8", "2"))):
        costs = [
            (u.input_fresh * Decimal(fresh) + u.cache_read * Decimal(read) + u.output_text * Decimal(out)) / 10**6
            for u in usages
        ]
        assert Decimal(told["models"][0][side]) == sum(map(up, costs))
        assert Decimal(told["total"][f"cost_{side}"]) == sum(up(cost * RATE) for cost in costs)
    assert told["total"]["attempts"] == 6000
    assert sum(team["attempts"] for team in told["teams"]) == 6000
