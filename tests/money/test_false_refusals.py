"""Requests whose true cost a budget can pay, though the sum of their worst cases is far beyond it, are not refused."""

import asyncio
import os
import random
from decimal import Decimal

import aiohttp
import pytest
from support import KEY, FareboxProcess, samples, small_config

from router.mock import MockVendors

REQUESTS = int(os.environ.get("FAREBOX_REQUESTS", "500"))
AT_ONCE = 64
INPUT, MEAN = 12, 60


def lengths(shape, random_):
    """True output tokens of each answer: alike, or with a long tail."""
    drawn = {
        "alike": lambda: random_.randint(MEAN // 2, 3 * MEAN // 2),
        "long tail": lambda: round(random_.expovariate(1 / MEAN)),
    }[shape]
    return [max(1, drawn()) for _ in range(REQUESTS)]


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("shape", ["alike", "long tail"])
async def test_95_per_cent_of_a_budget_is_spent_with_hardly_a_refusal(tmp_path, shape, stream):
    seed = int(os.environ.get("FAREBOX_SEED", random.SystemRandom().randrange(10**6)))
    random_ = random.Random(seed)
    outputs = lengths(shape, random_)
    cost = sum(Decimal(INPUT + output * 2) / 10**6 for output in outputs)
    limit = (cost / Decimal("0.95")).quantize(Decimal("1e-9"))
    most = round((limit * 20 / REQUESTS * 10**6 - INPUT) / 2)  # so that worst cases sum to 20 times the budget
    mock = MockVendors(pace=0)
    url = await mock.start()
    teams = {
        "search": {
            "keys": [{"name": "ci", "value": KEY}],
            "models": ["*"],
            "budgets": [{"limit": str(limit), "per": "total"}],
        }
    }
    config = small_config(tmp_path, f"{url}/check/v1", teams=teams)
    refused, shortened, gate = [], [], asyncio.Semaphore(AT_ONCE)
    with FareboxProcess(config, tmp_path) as farebox:
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as http:

            async def one(i, output):
                text = f"n{i} out={output} in={INPUT} delay={random_.randint(5, 50)}"
                body = {
                    "model": "small",
                    "max_tokens": most,
                    "stream": stream,
                    "messages": [{"role": "user", "content": text}],
                }
                async with gate, http.post(f"{farebox.url}/v1/chat/completions", json=body) as response:
                    told = await response.read()
                    if response.status != 200:
                        assert response.status == 402, told
                        refused.append(i)
                    elif b'"length"' in told:
                        shortened.append(i)

            await asyncio.gather(*(one(i, output) for i, output in enumerate(outputs)))
        farebox.rows()
        text = farebox.get("/metrics")
    bill = sum(Decimal(line.input_tokens + line.output_tokens * 2) / 10**6 for line in mock.bill)
    await mock.stop()
    print(
        f"\n{REQUESTS} requests, {AT_ONCE} at a time, {shape}, {'streams' if stream else 'plain'}, seed {seed}: "
        f"{len(refused)} refused, {len(shortened)} shortened, {bill / limit:.1%} of the budget spent"
    )
    assert len(refused) <= REQUESTS / 100
    assert len(shortened) <= REQUESTS / 50
    assert bill <= limit
    assert sum(samples(text, "farebox_cost_total")) == pytest.approx(float(bill), abs=1e-12)
