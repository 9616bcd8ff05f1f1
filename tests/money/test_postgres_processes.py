"""Real processes on a real PostgreSQL: what they charge is in the ledger, whoever of them is killed, and when.

Each request reports a number of prompt tokens of its own, so that a row can be told from every other.
"""

import asyncio
import json
import random
import subprocess
import sys
from collections import Counter

import aiohttp
import pytest
from support import KEY, FareboxProcess, open_attempts, rows, small_config, until

from router.mock import MockVendors

AT_ONCE = 16
CLOSED_S = 60.0  # a dead process is buried when it has surely spent its last


class Load:
    """Requests without end, `AT_ONCE` at a time; how each was answered."""

    def __init__(self, seed=0):
        self.dice = random.Random(seed)
        self.asked = 0
        self.answers = Counter()

    async def one(self, http, url):
        self.asked += 1
        n = self.asked
        text = f"in={n} out={self.dice.randint(1, 40)} delay={self.dice.randint(0, 30)} gap=1" + " word" * n
        body = {
            "model": "small",
            "stream": n % 3 == 0,
            "max_tokens": 50,
            "messages": [{"role": "user", "content": text}],
        }
        try:
            async with http.post(f"{url}/v1/chat/completions", json=body) as response:
                await response.read()
                self.answers[response.status] += 1
        except aiohttp.ClientError:
            self.answers["gone"] += 1

    async def run(self, urls):
        """Until cancelled; the list may change meanwhile."""

        async def line(which):
            async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as http:
                while True:
                    await self.one(http, urls[which % len(urls)])

        await asyncio.gather(*(line(which) for which in range(AT_ONCE)))

    async def more(self, count=40):
        """Until so many more have been answered well."""
        served = self.answers[200]
        async with asyncio.timeout(60):
            while self.answers[200] < served + count:
                await asyncio.sleep(0.01)


@pytest.fixture
async def mock():
    vendors = MockVendors(pace=0)
    vendors.url = await vendors.start()
    yield vendors
    await vendors.stop()


@pytest.fixture
def config(tmp_path, mock, database):
    found = small_config(tmp_path, f"{mock.url}/check/v1", store=database)
    found["teams"]["search"]["budgets"] = [{"limit": 100, "per": "total"}]
    return found


def command(process, *words, code=0):
    """What a command prints."""
    call = [sys.executable, "-m", "router", *words, "--config", process.file]
    done = subprocess.run(call, capture_output=True, text=True, check=False, cwd=process.file.parent, timeout=60)
    assert done.returncode == code, done.stderr
    return done.stdout


def nothing_is_open(config):
    until(lambda: not open_attempts(config["store"]), "everything that was begun is closed", CLOSED_S)


def accounts_for(found, mock):
    """Whether the ledger has what the vendor bills: each call once, and what was abandoned at its hold."""
    assert len({row["id"] for row in found}) == len(found)
    reported = Counter(row["input_fresh"] for row in found if row["basis"] == "reported" and row["outcome"] == "ok")
    billed = Counter(line.input_tokens for line in mock.bill)
    assert set(reported.values()) <= {1}, "an attempt is there twice"
    assert reported.keys() <= billed.keys()
    others = [row for row in found if row["outcome"] != "ok"]
    assert len(billed.keys() - reported.keys()) <= len(others), "an attempt is missing"
    assert sum(row["cost"] for row in found) >= sum(
        line.input_tokens * 1000 + line.output_tokens * 2000 for line in mock.bill
    )


async def test_what_was_served_is_told_by_every_command(tmp_path, config, mock):
    config["server"]["open_page"] = True
    process = await asyncio.to_thread(FareboxProcess(config, tmp_path).__enter__)
    try:
        load = Load()
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as http:
            for _ in range(12):
                await load.one(http, process.url)
        found = await asyncio.to_thread(process.rows)
        assert load.answers == {200: 12} and len(found) == 12
        assert sum(process.metric("farebox_cost_total")) == pytest.approx(sum(row["cost"] for row in found) / 1e9)
        exported = [json.loads(line) for line in command(process, "ledger", "export").splitlines()]
        assert [row["id"] for row in exported] == [row["id"] for row in found]
        (row,) = json.loads(command(process, "report", "--format", "json", "--by", "team"))["rows"]
        assert (row["team"], row["attempts"]) == ("search", 12)
        assert command(process, "ledger", "verify").startswith("all 12 rows are as they were written")
        assert "search" in command(process, "top", "--once")
        assert "search" in await asyncio.to_thread(process.get, "/")
        assert "already" in command(process, "migrate")
        told = json.loads(command(process, "whatif", "--format", "json"))
        assert [team["requests"] for team in told["teams"]] == [12]
        key = command(process, "keys", "create", "--team", "search", "--name", "second").strip()
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as http:
            async with asyncio.timeout(10):
                while (await http.get(f"{process.url}/v1/models")).status != 200:
                    await asyncio.sleep(0.1)
        assert "postgresql" in command(process, "migrate") and "Traceback" not in process.log
    finally:
        await asyncio.to_thread(process.stop)


async def test_a_killed_process_loses_nothing_and_counts_nothing_twice(tmp_path, config, mock):
    load, dice = Load(1), random.Random(1)
    for _ in range(3):
        process = await asyncio.to_thread(FareboxProcess(config, tmp_path).__enter__)
        loading = asyncio.create_task(load.run([process.url]))
        await asyncio.sleep(dice.uniform(0.2, 0.6))
        await asyncio.to_thread(process.kill)
        process.child.stdout.close()
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
    last = await asyncio.to_thread(FareboxProcess(config, tmp_path).__enter__)
    try:
        await asyncio.to_thread(nothing_is_open, config)
        found = rows(config["store"])
        accounts_for(found, mock)
        assert any(row["outcome"] == "abandoned" for row in found)
        assert command(last, "ledger", "verify").startswith(f"all {len(found)} rows")
    finally:
        await asyncio.to_thread(last.stop)


async def test_a_server_that_is_killed_and_started_again_under_load_costs_refusals_and_no_row(
    tmp_path, config, mock, postgres
):
    load = Load(2)
    process = await asyncio.to_thread(FareboxProcess(config, tmp_path).__enter__)
    loading = asyncio.create_task(load.run([process.url]))
    try:
        for _ in range(3):
            await load.more()
            await asyncio.to_thread(postgres.kill)
            await asyncio.sleep(0.3)
            await asyncio.to_thread(postgres.start)
        await load.more()
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
        await asyncio.to_thread(
            until, lambda: process.metric("farebox_in_flight") == [0], "what was asked last is over"
        )
        await asyncio.to_thread(nothing_is_open, config)
        found = rows(config["store"])
        accounts_for(found, mock)
        assert not [row for row in found if row["outcome"] == "abandoned"]
        assert set(load.answers) <= {200, 503}, load.answers
        assert command(process, "ledger", "verify").startswith(f"all {len(found)} rows")
    finally:
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
        await asyncio.to_thread(process.stop)


# A later version of Farebox, as far as the store is concerned: its schema is two steps on.
LATER = """
import sys
from router.stores import pgschema
pgschema.STEPS = (*pgschema.STEPS,
    pgschema.Step(1, ("ALTER TABLE ledger ADD COLUMN region TEXT", "CREATE INDEX ledger_region ON ledger (region)")),
    pgschema.Step(1, ("ALTER TABLE attempts ADD COLUMN region TEXT NOT NULL DEFAULT ''",
                      "ALTER TABLE spend ADD COLUMN seen BIGINT NOT NULL DEFAULT 0",
                      "ALTER TABLE leases ADD COLUMN seen BIGINT NOT NULL DEFAULT 0")))
sys.argv[0] = "farebox"
from router.cli import main
main()
"""


async def test_an_upgrade_with_another_schema_and_back_under_load_fails_no_request(tmp_path, config, mock):
    running, load, urls = [], Load(3), []

    async def start(name, command=None):
        (tmp_path / name).mkdir()
        process = FareboxProcess(config, tmp_path / name, command=command)
        running.append(await asyncio.to_thread(process.__enter__))
        urls.append(process.url)
        return process

    async def take_out(process):
        """As a balancer does: no more requests, and then its end."""
        urls.remove(process.url)
        await load.more(3 * AT_ONCE)
        assert await asyncio.to_thread(process.stop) == 0

    later = [sys.executable, "-c", LATER]
    loading = None
    try:
        first, second = await start("first"), await start("second")
        loading = asyncio.create_task(load.run(urls))
        await load.more()
        third = await start("third", later)
        await load.more()
        await take_out(first)
        await start("fourth", later)
        await take_out(second)
        await load.more()
        await start("back")  # the earlier version starts beside the later
        await take_out(third)
        await load.more()
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
        assert set(load.answers) == {200}, load.answers
        await asyncio.to_thread(nothing_is_open, config)
        found = rows(config["store"])
        accounts_for(found, mock)
        assert "region" in found[0]
        assert command(running[-1], "ledger", "verify").startswith(f"all {len(found)} rows")
        assert "schema 3 already" in command(running[-1], "migrate")
    finally:
        if loading is not None:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
        for process in running:
            await asyncio.to_thread(process.stop)


async def test_a_password_is_told_nowhere(tmp_path, config, mock):
    config["store"] = config["store"].replace("farebox@", "farebox:s3cret-of-the-store@")
    with FareboxProcess(config, tmp_path) as process:
        url = process.url
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as http:
            await Load().one(http, url)
            for path in ("/", "/metrics", "/openapi.json", "/health/ready"):
                async with http.get(url + path) as response:
                    assert "s3cret" not in await response.text()
        said = command(process, "migrate") + command(process, "report") + command(process, "check")
    assert "s3cret" not in process.said + process.log + said
    config["store"] = "postgresql://farebox:s3cret-of-the-store@127.0.0.1:1/db"
    process.file.write_text(json.dumps(config))
    call = [sys.executable, "-m", "router", "serve", "--config", process.file]
    done = subprocess.run(call, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60)
    assert done.returncode == 1 and "farebox cannot serve" in done.stderr
    assert "s3cret" not in done.stdout + done.stderr
