"""`GET /admin/v1/spend`, and what every admin call says to a query it cannot read."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest


@pytest.mark.parametrize("by", ["team", "route", "model", "vendor", "tier", "team,model", "vendor,tier,route"])
async def test_spend_by_any_names_adds_up_to_the_ledger(seen, ask, by):
    rows = await seen.rows()
    _, told = await ask(seen, f"spend?by={by}")
    assert told["by"] == by.split(",")
    expected = {}
    for row in rows:
        names = tuple(row[name] for name in by.split(","))
        expected[names] = expected.get(names, 0) + row["cost"]
    assert {
        tuple(one[name] for name in told["by"]): int(Decimal(one["cost"]) * 10**9) for one in told["data"]
    } == expected
    (total,) = told["total"]
    assert total["currency"] == "USD"
    assert Decimal(total["cost"]) * 10**9 == sum(row["cost"] for row in rows)
    assert total["attempts"] == len(rows) == total["requests"] + 1  # one request needed two attempts
    assert Decimal(total["saved"]) > 0
    assert Decimal(total["estimated_cost"]) > 0
    assert set(total["vendor_costs"]) == {"USD", "CNY"}


@pytest.mark.parametrize("by", ["key", "day", "key,day", "day,team", "model,key"])
@pytest.mark.parametrize("span", ["", "&since=2020-01-01", "&since=2020-01-01T00:30:00Z&until=2100-01-01"])
async def test_spend_by_key_and_by_day_adds_up_to_the_ledger(seen, ask, by, span):
    expected = {}
    for row in await seen.rows():
        told = {
            **row,
            "key": f"{row['team']}/{row['key']}",
            "day": datetime.fromtimestamp(row["at"] // 10**6, UTC).date().isoformat(),
        }
        names = tuple(told[name] for name in by.split(","))
        cost, attempts = expected.get(names, (0, 0))
        expected[names] = cost + row["cost"], attempts + 1
    _, told = await ask(seen, f"spend?by={by}{span}")
    assert {
        tuple(one[name] for name in told["by"]): (int(Decimal(one["cost"]) * 10**9), one["attempts"])
        for one in told["data"]
    } == expected
    _, total = await ask(seen, f"spend?by=team{span}")
    assert told["total"] == total["total"]


async def test_spend_of_a_span_of_time_that_holds_everything_equals_the_kept_sums(seen, ask):
    by = "team,route,model,vendor,tier"
    _, kept = await ask(seen, f"spend?by={by}")
    _, counted = await ask(seen, f"spend?by={by}&since=2020-01-01&until=2100-01-01T00:00:00%2B08:00")
    assert counted["data"] == kept["data"]
    assert counted["total"] == kept["total"]
    assert (counted["since"], counted["until"]) == ("2020-01-01T00:00:00Z", "2099-12-31T16:00:00Z")


async def test_spend_is_counted_from_since_until_just_before_until(seen, ask):
    rows = await seen.rows()
    third = _iso(rows[2]["at"])
    _, before = await ask(seen, f"spend?until={third}")
    _, after = await ask(seen, f"spend?since={third}")
    assert before["total"][0]["attempts"] == 2
    assert after["total"][0]["attempts"] == len(rows) - 2


async def test_spend_of_a_span_without_traffic_is_empty(seen, ask):
    assert await ask(seen, "spend?since=2100-01-01") == (
        200,
        {"object": "list", "by": ["team"], "since": "2100-01-01T00:00:00Z", "until": None, "data": [], "total": []},
    )


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("spend?by=colour", "by"),
        ("spend?by=", "by"),
        ("spend?by=team,team", "by"),
        ("spend?by=team&by=model", "by"),
        ("spend?since=yesterday", "since"),
        ("spend?since=2026-13-01", "since"),
        ("spend?until=2026-01-01T25:00", "until"),
        ("spend?until=", "until"),
        ("spend?since=9999-12-31T23:59:59-23:59", "since"),
        ("spend?since=2026-02-01&until=2026-02-01", "until"),
        ("spend?team=search", "team"),
        ("ledger?after=-1", "after"),
        ("ledger?after=x", "after"),
        ("ledger?after=99999999999999999999", "after"),
        ("ledger?limit=0", "limit"),
        ("ledger?limit=10001", "limit"),
        ("ledger?limit=٣", "limit"),
        ("budgets?team=search", "team"),
        ("prices?model=gpt-4o", "model"),
        ("keys?team=search", "team"),
    ],
)
async def test_a_query_that_cannot_be_read_is_an_error_that_names_the_parameter(running, demo, ask, path, name):
    status, told = await ask(await running(demo), path)
    assert (status, told["error"]["code"], told["error"]["param"]) == (400, "invalid_request", name)
    assert name in told["error"]["message"]


def _iso(at):
    return datetime.fromtimestamp(at / 10**6, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
