"""Everything at once: many teams with tight budgets in two currencies, vendors of several wires with faults of every kind,
clients that leave, reloads, a wall clock that is set, SIGKILLs and restarts.

At every sampled instant each budget's spent and held are within its limit. At the end the ledger, the metrics and the
vendors' own bills agree to the last nano-unit: each reported row with one line of a bill, and what no row reports with a
row that is marked as estimated. `FAREBOX_TORTURE_S=600` makes the long run, `FAREBOX_SEED` repeats one.
"""

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections import Counter, defaultdict
from fractions import Fraction
from pathlib import Path

import aiohttp
import pytest
import yaml
from support import FareboxProcess, open_attempts, rows, samples

from router.mock import MockVendors

SECONDS = float(os.environ.get("FAREBOX_TORTURE_S", "10"))
TEAMS = 200
AT_ONCE = 48
LONGEST = 300  # prompt tokens: the number that a prompt is told from others by
MODELS = {  # name → (vendor, currency, input, output): nano-units per token
    "plain": ("openai", "USD", 1_000, 2_000),
    "dear": ("openai", "USD", 10_000, 40_000),
    "claude": ("anthropic", "USD", 3_000, 15_000),
    "gem": ("google", "USD", 500, 3_000),
    "yuan": ("alibaba", "CNY", 800, 2_000),
}
CNY = Fraction(139, 1000)
FAULTS = (
    "status=429", "status=500", "status=503", "status=529", "status=400", "status=404", "code=context_length_exceeded status=400",
    "garbage=1", "error200=1", "cut=3", "error_at=2", "nousage=1", "drip=1", "crlf=1", "split=1", "keepalive=1", "cached=7",
    "reasoning=3", "filtered=2", "hang=1", "status=402", "status=401",
)  # fmt: skip
OFTEN = 0.35  # of the requests have a fault
RARE = {"hang=1": 0.1, "status=401": 0.1, "status=402": 0.1}


class Storm:
    """One run: its dice, its vendors, its Farebox, and what was seen."""

    def __init__(self, folder, seed):
        self.folder, self.dice = folder, random.Random(seed)
        self.mock = MockVendors(pace=0)
        self.offset = folder / "offset"
        self.offset.write_text("0")
        self.asked = self.kills = self.reloads = self.steps = self.sampled = 0
        self.codes = Counter()
        self.worst = []
        self.process = None
        self.up = asyncio.Event()
        self.over = False

    async def config(self):
        url = await self.mock.start()
        quick = {"first_byte": "700ms", "idle": "700ms", "total": "5s"}
        places = {"openai": "/v1", "alibaba": "/v1", "anthropic": "", "google": ""}
        vendors = {
            name: {"api_keys": ["a", "b"], "base_url": f"{url}/{name}{tail}", "timeout": quick}
            for name, tail in places.items()
        }
        models = {
            name: {"vendor": vendor, "tier": "flagship" if name == "dear" else "cheap", "quality": 0.9, "lacks": [],
                   "price": {"currency": currency, "input": str(Fraction(i, 1000)), "output": str(Fraction(o, 1000))}}
            for name, (vendor, currency, i, o) in MODELS.items()
        }  # fmt: skip
        for told in models.values():
            told["price"] |= {kind: str(float(Fraction(told["price"][kind]))) for kind in ("input", "output")}
        return {
            "server": {"port": 0, "budget_wait": "200ms", "drain": "2s"},
            "store": f"sqlite:///{self.folder}/farebox.db",
            "exchange_rates": {"CNY": [{"from": "2020-01-01", "rate": "0.139"}]},
            "vendors": vendors,
            "models": models,
            "routes": {"auto": {"models": [*MODELS]}, "cheap": {"tiers": ["cheap"]}},
            "teams": {f"team{i}": self.team(i) for i in range(TEAMS)},
            "budgets": [{"limit": "50", "per": "month"}],
        }

    def team(self, i):
        dice = self.dice
        budgets = {
            (per, currency): {"limit": f"{dice.uniform(0.002, 0.08):.6f}", "per": per, "currency": currency}
            for per, currency in [
                (dice.choice(["hour", "day", "total"]), dice.choice(["USD", "CNY"])) for _ in range(2)
            ]
        }
        return {
            "keys": [{"name": "app", "value": f"fb-key-of-team-{i}"}],
            "models": ["*"],
            "budgets": list(budgets.values()),
        }

    def body(self):
        dice = self.dice
        n = dice.randint(1, LONGEST)
        words = [f"in={n} out={dice.randint(1, 60)}"]
        if dice.random() < OFTEN and dice.random() < RARE.get(fault := dice.choice(FAULTS), 1):
            words.append(fault)
        if dice.random() < 0.3:
            words.append(f"delay={dice.randint(0, 60)} gap={dice.randint(0, 3)}")
        body = {
            "model": dice.choice([*MODELS, "auto", "auto", "cheap"]),
            "stream": dice.random() < 0.5,
            "messages": [{"role": "user", "content": " ".join(words) + " word" * n}],
        }
        if dice.random() < 0.8:
            body["max_tokens"] = dice.choice([30, 80, 600])
        return body

    async def client(self, http):
        """Asks again and again; leaves in the middle of some answers."""
        dice = self.dice
        while True:
            body, path = self.body(), dice.choice(["chat/completions", "chat/completions", "messages"])
            if path == "messages":
                body.setdefault("max_tokens", 50)
            leaves = dice.random() < 0.1
            await self.up.wait()
            self.asked += 1
            headers = {"Authorization": f"Bearer fb-key-of-team-{dice.randrange(TEAMS)}"}
            try:
                async with asyncio.timeout(dice.uniform(0.01, 0.1) if leaves else 20):
                    async with http.post(f"{self.process.url}/v1/{path}", json=body, headers=headers) as response:
                        await response.read()
                        self.codes[response.status] += 1
                        assert response.status != 500, await response.text()
            except TimeoutError:
                assert leaves, "nobody waits for 20 s"
            except aiohttp.ClientError:  # it was killed, or the vendor cut the stream
                await asyncio.sleep(0.01)

    async def watch(self):
        """Samples the caps."""
        while True:
            await self.up.wait()
            with contextlib.suppress(OSError):
                self.look(await asyncio.to_thread(self.process.get, "/metrics"))
            await asyncio.sleep(0.05)

    def look(self, text):
        self.sampled += 1
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("farebox_budget_")]
        sums = [
            [float(value) for name, value in lines if name.startswith(f"farebox_budget_{what}{{")]
            for what in ("limit", "spent", "held")
        ]
        assert len(sums[0]) == len(sums[1]) == len(sums[2]) > TEAMS
        self.worst += [told for told in zip(*sums, strict=True) if round((told[1] + told[2] - told[0]) * 1e9) > 0]

    def start(self):
        command = [sys.executable, Path(__file__).with_name("stepped.py")]
        process = FareboxProcess(self.told, self.folder, command=command, STEPPED_BY=str(self.offset))
        self.process = process.__enter__()

    async def trouble(self):
        """Reloads with higher limits, sets the clock, kills and starts anew."""
        dice = self.dice
        while not self.over:  # and not until it is cancelled: a start goes on in its thread
            await asyncio.sleep(dice.uniform(0.2, 0.8))
            what = dice.choice(["reload", "step", "kill", "nothing"])
            if what == "reload":
                for team in dice.sample(sorted(self.told["teams"]), 20):
                    for budget in self.told["teams"][team]["budgets"]:
                        budget["limit"] = f"{float(budget['limit']) * dice.uniform(1, 1.2):.6f}"
                self.process.file.write_text(yaml.safe_dump(self.told, sort_keys=False))
                self.process.child.send_signal(signal.SIGHUP)
                self.reloads += 1
            elif what == "step":
                self.offset.write_text(str(dice.randint(-3000, 6000)))
                self.steps += 1
            elif what == "kill":
                await asyncio.to_thread(self.process.kill)
                self.up.clear()
                self.process.child.stdout.close()
                self.kills += 1
                await asyncio.to_thread(self.start)
                self.up.set()

    async def run(self):
        self.told = await self.config()
        await asyncio.to_thread(self.start)
        self.up.set()
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            work = [self.client(http) for _ in range(AT_ONCE)]
            trouble = asyncio.create_task(self.trouble())
            tasks = [trouble, *(asyncio.create_task(one) for one in [*work, self.watch()])]
            done, _ = await asyncio.wait(tasks, timeout=SECONDS, return_when=asyncio.FIRST_EXCEPTION)
            self.over = True
            await asyncio.wait([trouble])
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for task in done:
                task.result()
        await asyncio.to_thread(self.process.kill)
        self.process.child.stdout.close()
        await asyncio.to_thread(self.start)
        try:
            assert open_attempts(self.told["store"]) == []
            metrics = await asyncio.to_thread(self.process.get, "/metrics")
            self.look(metrics)
        finally:
            self.process.stop()
            await self.mock.stop()
        return metrics


def nano(model, line_input, output):
    """(in the vendor's currency, in USD), each rounded up once."""
    _, currency, per_input, per_output = MODELS[model]
    vendor = line_input * per_input + output * per_output
    return vendor, -(-vendor * CNY.numerator // CNY.denominator) if currency == "CNY" else vendor


@pytest.mark.timeout(SECONDS + 120)
async def test_ledger_metrics_and_bills_agree_and_no_cap_is_passed(tmp_path):
    seed = int(os.environ.get("FAREBOX_SEED", str(random.randrange(10**6))))
    print(f"FAREBOX_SEED={seed}")
    storm = Storm(tmp_path, seed)
    metrics = await storm.run()
    found = rows(storm.told["store"])
    assert storm.worst == []

    reported, estimated = defaultdict(Counter), Counter()
    for row in found:
        prompt = (row["input_fresh"] or 0) + (row["cache_read"] or 0)
        output = (row["output_text"] or 0) + (row["output_reasoning"] or 0)
        if row["basis"] == "estimated":
            estimated[row["model"]] += 1
            assert row["cost"] <= row["held"] or row["outcome"] == "cut", dict(row)
        elif prompt or output:
            reported[row["model"]][prompt, output] += 1
            assert (row["vendor_cost"], row["cost"]) == nano(row["model"], prompt, output), dict(row)
    billed = defaultdict(Counter)
    for line in storm.mock.bill:
        billed[line.model][line.input_tokens, line.output_tokens] += 1
    for model in MODELS:
        assert not reported[model] - billed[model], "a row that no vendor bills"
        unreported = (billed[model] - reported[model]).total()
        assert unreported <= estimated[model], "a vendor bills what no row has"

    spent = sum(row["cost"] for row in found)
    assert round(sum(samples(metrics, "farebox_cost_total")) * 1e9) == spent
    assert sum(samples(metrics, "farebox_attempts_total")) == 0  # of this process, which made none
    assert len({row["id"] for row in found}) == len(found)
    print(
        f"{storm.asked} requests of {TEAMS} teams, {len(found)} attempts ({sum(estimated.values())} estimated), "
        f"{len(storm.mock.bill)} billed, {storm.kills} kills, {storm.reloads} reloads, {storm.steps} clock steps, "
        f"{storm.sampled} samples; {dict(storm.codes.most_common())}"
    )
