"""SIGKILL at random instants under load: no attempt is missing from the ledger, none is there twice.

Every request reports a number of prompt tokens of its own, so a row can be told from every other, and has a prompt at
least that long, so that what is held for it covers what the vendor bills.
`FAREBOX_KILLS=50` makes the long run.
"""

import asyncio
import os
import random
from collections import Counter

import aiohttp
from support import KEY, FareboxProcess, open_attempts, rows, small_config

from router.mock import MockVendors

KILLS = int(os.environ.get("FAREBOX_KILLS", "6"))
AT_ONCE = 16


async def test_nothing_is_lost_and_nothing_is_counted_twice(tmp_path):
    seed = int(os.environ.get("FAREBOX_SEED", str(random.randrange(10**6))))
    print(f"FAREBOX_SEED={seed}")
    dice = random.Random(seed)
    mock = MockVendors(pace=0)
    config = small_config(tmp_path, f"{await mock.start()}/check/v1")
    config["server"]["port"] = 0
    asked = 0

    async def one(http, url):
        nonlocal asked
        asked += 1
        n = asked
        text = f"in={n} out={dice.randint(1, 40)} delay={dice.randint(0, 60)} gap={dice.randint(0, 2)}" + " word" * n
        body = {
            "model": "small",
            "stream": n % 3 == 0,
            "max_tokens": 50,
            "messages": [{"role": "user", "content": text}],
        }
        try:
            async with http.post(f"{url}/v1/chat/completions", json=body) as response:
                await response.read()
        except aiohttp.ClientError:
            pass

    async def load(url):
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as http:
            while True:
                await asyncio.gather(*(one(http, url) for _ in range(AT_ONCE)))

    for _ in range(KILLS):
        process = FareboxProcess(config, tmp_path)
        await asyncio.to_thread(process.__enter__)
        loading = asyncio.create_task(load(process.url))
        await asyncio.sleep(dice.uniform(0.05, 0.6))
        await asyncio.to_thread(process.kill)
        process.child.stdout.close()
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
    await mock.stop()
    left_open = len(open_attempts(config["store"]))
    last = FareboxProcess(config, tmp_path)
    await asyncio.to_thread(last.__enter__)
    try:
        assert open_attempts(config["store"]) == []
        metrics = last.get("/metrics")
    finally:
        last.stop()
    found = rows(config["store"])
    reported = Counter(row["input_fresh"] for row in found if row["basis"] == "reported" and row["outcome"] == "ok")
    abandoned = [row for row in found if row["outcome"] == "abandoned"]
    billed = Counter(line.input_tokens for line in mock.bill)
    assert len(mock.bill) > KILLS
    assert set(billed.values()) == {1}
    assert set(reported.values()) <= {1}, "an attempt is there twice"
    assert len({row["id"] for row in found}) == len(found)
    assert reported.keys() <= billed.keys()
    missing = billed.keys() - reported.keys()
    others = [row for row in found if row["outcome"] not in {"ok", "abandoned"}]
    assert len(missing) <= len(abandoned) + len(others), "an attempt is missing"
    assert left_open <= len(abandoned) <= KILLS * AT_ONCE
    charged = sum(row["cost"] for row in found)
    invoice = sum(line.input_tokens * 1000 + line.output_tokens * 2000 for line in mock.bill)
    assert charged >= invoice, "the vendor bills more than was written down"
    total = sum(
        float(line.rsplit(" ", 1)[1]) for line in metrics.splitlines() if line.startswith("farebox_cost_total{")
    )
    assert round(total * 1e9) == charged, "metrics are those of the ledger, also after a crash"
    print(f"{KILLS} kills: {len(mock.bill)} billed, {len(found)} rows, {len(abandoned)} abandoned")
