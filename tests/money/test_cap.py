"""Caps under a race, with the vendor's own bill as the judge."""

import asyncio
from decimal import Decimal

import aiohttp
import pytest
from support import KEY, FareboxProcess, samples, small_config

from router.mock import MockVendors

INPUT, OUTPUT = 12, 100
COST = Decimal(INPUT * 1 + OUTPUT * 2) / 10**6  # what one request comes to at 1 / 2 USD per million


@pytest.fixture
async def mock():
    vendors = MockVendors(pace=0)
    vendors.url = await vendors.start()
    yield vendors
    await vendors.stop()


def billed(mock):
    """What the vendor will invoice, in USD, at the prices of `small_config`."""
    prices = {"small": (1, 2), "large": (10, 40)}
    return sum(
        (
            Decimal(line.input_tokens * prices[line.model][0] + line.output_tokens * prices[line.model][1]) / 10**6
            for line in mock.bill
        ),
        Decimal(0),
    )


@pytest.mark.parametrize("payable", [37, 5])
async def test_200_requests_at_once_on_a_budget_that_pays_for_a_few(tmp_path, mock, payable):
    limit = payable * COST
    teams = {
        "search": {
            "keys": [{"name": "ci", "value": KEY}],
            "models": ["*"],
            "budgets": [{"limit": str(limit), "per": "day"}],
        }
    }
    config = small_config(tmp_path, f"{mock.url}/check/v1", teams=teams)
    refused, worst = [], Decimal(0)
    with FareboxProcess(config, tmp_path) as farebox:
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as http:

            async def one(i):
                text = f"n{i} out={OUTPUT} in={INPUT} delay={i % 7 * 20}"
                body = {
                    "model": "small",
                    "max_tokens": OUTPUT,
                    "stream": bool(i % 2),
                    "messages": [{"role": "user", "content": text}],
                }
                async with http.post(f"{farebox.url}/v1/chat/completions", json=body) as response:
                    if response.status == 402:
                        refused.append((await response.json())["error"])
                    else:
                        assert response.status == 200
                        await response.read()
                    return response.status

            async def watch():
                nonlocal worst
                while True:
                    text = await asyncio.to_thread(farebox.get, "/metrics")
                    both = samples(text, "farebox_budget_spent") + samples(text, "farebox_budget_held")
                    worst = max(worst, sum(Decimal(repr(value)) for value in both))
                    await asyncio.sleep(0.01)

            watching = asyncio.create_task(watch())
            codes = await asyncio.gather(*(one(i) for i in range(200)))
            codes += await asyncio.gather(*(one(i) for i in range(20)))
            watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        text = farebox.get("/metrics")
    assert set(codes) == {200, 402}
    assert billed(mock) <= limit
    assert worst <= limit
    assert {error["code"] for error in refused} == {"budget_exceeded"}
    # Nobody was refused while money that no one held could have paid for the whole request.
    assert max(Decimal(error["budget"]["remaining"]) for error in refused) < COST
    assert billed(mock) > limit - COST
    assert sum(samples(text, "farebox_cost_total")) == pytest.approx(float(billed(mock)), abs=1e-12)
    assert samples(text, "farebox_budget_held") == [0]


async def test_caps_of_a_key_a_team_and_everybody_hold_together(tmp_path, mock):
    keys = [
        {"name": "ci", "value": KEY, "budgets": [{"limit": str(3 * COST), "per": "hour"}]},
        {"name": "app", "value": "fb-another-key", "budgets": []},
    ]
    team = {"keys": keys, "models": ["*"], "budgets": [{"limit": str(5 * COST), "per": "day"}]}
    config = small_config(
        tmp_path, f"{mock.url}/check/v1", teams={"search": team}, budgets=[{"limit": str(4 * COST), "per": "month"}]
    )
    with FareboxProcess(config, tmp_path) as farebox:
        async with aiohttp.ClientSession() as http:

            async def one(key):
                text = f"out={OUTPUT} in={INPUT}"
                body = {"model": "small", "max_tokens": OUTPUT, "messages": [{"role": "user", "content": text}]}
                async with http.post(
                    f"{farebox.url}/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {key}"}
                ) as response:
                    told = await response.json()
                    return told.get("error", {}).get("budget", {}).get("owner", "served")

            first = await asyncio.gather(*(one(KEY) for _ in range(20)))
            second = await asyncio.gather(*(one("fb-another-key") for _ in range(20)))
    assert set(first) == {"served", "search/ci"}
    assert set(second) == {"served", "*"}
    assert billed(mock) <= 4 * COST
