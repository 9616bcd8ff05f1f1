"""Replicas of one PostgreSQL as a real Prometheus has them: what dashboards and rules show of money is what all have written."""

import asyncio
import time
from decimal import Decimal

import aiohttp
import pytest
from postgresserver import PostgresServer
from support import KEY, FareboxProcess, open_attempts, rows, small_config, until
from watching import free_port, prometheus, series, shown, within

from router.mock import MockVendors

THIS_MONTH = next(one.expr for one in shown() if one.where == "farebox-spend: This month")
BY_TEAM = next(one.expr for one in shown() if one.where == "farebox-spend: By team")


@pytest.fixture
async def replica(tmp_path, database):
    """Starts a replica on a port: again, on one that had another."""
    vendors, running = MockVendors(pace=0), {}
    url = await vendors.start()

    async def start(port, store=database, workers=1):
        if old := running.pop(port, None):
            await asyncio.to_thread(old.stop)
        config = small_config(tmp_path, f"{url}/check/v1", store=store)
        config["server"] |= {"port": port, "workers": workers}
        (tmp_path / str(port)).mkdir(exist_ok=True)
        running[port] = await asyncio.to_thread(FareboxProcess(config, tmp_path / str(port)).__enter__)
        return running[port]

    yield start
    for one in running.values():
        await asyncio.to_thread(one.stop)
    await vendors.stop()


async def load(one, count):
    body = {"model": "small", "messages": [{"role": "user", "content": "in=10 out=5"}], "max_tokens": 50}
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as http:
        for _ in range(count):
            async with http.post(f"{one.url}/v1/chat/completions", json=body) as reply:
                assert reply.status == 200


async def spent(one):
    """What the ledger has, once nothing is open."""
    await asyncio.to_thread(until, lambda: not open_attempts(one.store), "all is closed")
    return sum(row["cost"] for row in await asyncio.to_thread(rows, one.store))


def nano(amount):
    return round(Decimal(amount) * 10**9)


async def of_each(replicas):
    """What each tells that all have written."""
    return [nano(sum(await asyncio.to_thread(one.metric, "farebox_ledger_cost"))) for one in replicas]


async def test_panels_are_exact_over_a_restart_of_a_replica(replica, tmp_path):
    ports = free_port(), free_port()
    first, second = await replica(ports[0]), await replica(ports[1], workers=2)
    async with aiohttp.ClientSession() as http, prometheus(tmp_path, [f"127.0.0.1:{port}" for port in ports]) as url:

        async def shows(query, wanted, since=None):
            """The panel's last value, once it is that."""

            async def look():
                span = {"start": since, "end": time.time(), "step": "1s"} if since else {}
                found = await series(http, url, query, **span) or []
                last = [one["values"][-1] if since else one["value"] for one in found]
                return True if [nano(value) for _, value in last] == [wanted] else None

            await within(30, look)

        await load(first, 4)
        await load(second, 6)
        before = await spent(first)
        await shows(BY_TEAM, before)
        since = time.time()
        await load(second, 5)
        await shows(THIS_MONTH, await spent(first) - before, since)
        second = await replica(ports[1], workers=2)
        await load(second, 3)
        now = await spent(first)
        assert nano(sum(await asyncio.to_thread(second.metric, "farebox_cost_total"))) < now - before
        await shows(THIS_MONTH, now - before, since)
        await shows(BY_TEAM, now)
        assert await of_each([first, second]) == [now, now]


async def test_while_the_store_is_away_a_scrape_tells_what_was_read_last_and_soon(replica, tmp_path):
    with PostgresServer(tmp_path / "own") as server:
        one = await replica(free_port(), server.database())
        await load(one, 4)
        now = await spent(one)
        assert await of_each([one]) == [now]
        server.kill()
        began = time.monotonic()
        assert await of_each([one]) == [now]
        assert time.monotonic() - began < 5
        server.start()
