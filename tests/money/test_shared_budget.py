"""Real processes that share a SQLite file spend one budget together: to its end, and no further."""

import asyncio
import contextlib
import os
import random
import sys
from decimal import Decimal
from pathlib import Path

import aiohttp
import pytest
from support import KEY, FareboxProcess, open_attempts, rows, small_config

from router.mock import MockVendors
from router.stores.ledgerfile import connect, verify
from router.stores.place import Postgres

SHARER = [sys.executable, str(Path(__file__).parent.parent / "sharer.py")]
PROCESSES = int(os.environ.get("FAREBOX_PROCESSES", "3"))
KILLS = int(os.environ.get("FAREBOX_KILLS", "4"))
AT_ONCE = 16  # of each process
LIMIT = Decimal("0.02")


def config(folder, url, limit=LIMIT, **more):
    team = {"keys": [{"name": "ci", "value": KEY}], "models": ["*"], "budgets": [{"limit": str(limit), "per": "total"}]}
    told = small_config(folder, f"{url}/check/v1", teams={"search": team})
    told["server"] |= more
    return told


async def ask(http, url, text, *, most=200, stream=False):
    body = {"model": "small", "max_tokens": most, "stream": stream, "messages": [{"role": "user", "content": text}]}
    async with http.post(f"{url}/v1/chat/completions", json=body) as response:
        told = await response.read()
        assert response.status in {200, 402}, (response.status, told)
        return response.status


def billed(mock):
    return sum(Decimal(line.input_tokens + line.output_tokens * 2) / 10**6 for line in mock.bill)


async def spend(urls, until_refused, tag=""):
    """Ask all of them at once until each has refused so often: how many answers, and refusals while money was left."""
    answers, refusals = 0, 0

    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as http:

        async def client(url, number):
            nonlocal answers, refusals
            refused = n = 0
            while refused < until_refused:
                n += 1
                status = await ask(http, url, f"{tag}{number}.{n} out={random.randint(5, 30)} in=12", stream=n % 2 == 0)
                answers += status == 200
                refusals += status == 402
                refused += status == 402

        await asyncio.gather(*(client(url, f"{url[-2:]}-{i}") for url in urls for i in range(AT_ONCE)))
    return answers, refusals


@pytest.fixture(params=["sqlite", "postgres"])
def shared(request, tmp_path):
    """(the store, where it is, how a process is started that shares it)"""
    if request.param == "postgres":
        url = request.getfixturevalue("database")
        return url, Postgres(url), None
    return f"sqlite:///{tmp_path}/farebox.db", tmp_path / "farebox.db", SHARER


async def test_several_processes_spend_one_budget_to_its_end_and_no_further(tmp_path, shared):
    store, place, command = shared
    mock = MockVendors(pace=0)
    told = config(tmp_path, await mock.start(), budget_wait="5s") | {"store": store}
    with contextlib.ExitStack() as stack:
        processes = [
            await asyncio.to_thread(stack.enter_context, FareboxProcess(told, tmp_path, command=command))
            for _ in range(PROCESSES)
        ]
        answers, refusals = await spend([process.url for process in processes], 1)
        held = [sum(process.metric("farebox_budget_held")) for process in processes]
    bill = billed(mock)
    print(f"\n{answers} answers, {refusals} refusals, {bill / LIMIT:.2%} of the budget, held at the end {held}")
    await mock.stop()
    assert LIMIT * Decimal("0.99") <= bill <= LIMIT
    with contextlib.closing(connect(place)) as connection:
        assert connection.execute("SELECT sum(cost) FROM ledger").fetchone() == (bill * 10**9,)
        assert all(fine for _, fine in verify(connection))
        assert connection.execute("SELECT count(*) FROM leases").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM replicas").fetchone() == (0,)


async def test_processes_that_are_killed_leave_every_cap_and_every_row_as_it_must_be(tmp_path):
    """`FAREBOX_KILLS=50` makes the long run. What the dead had leased is free again when somebody starts alone."""
    seed = int(os.environ.get("FAREBOX_SEED", str(random.randrange(10**6))))
    dice = random.Random(seed)
    mock = MockVendors(pace=0)
    told = config(tmp_path, await mock.start(), LIMIT * 4, budget_wait="0.2s")
    asked, going = 0, True

    async def client(http, processes, number):
        nonlocal asked
        while going:
            asked += 1
            text = f"n{asked} out={dice.randint(1, 60)} in={dice.randint(1, 12)} delay={dice.randint(0, 40)}"
            try:
                await ask(http, processes[number % PROCESSES].url, text, stream=asked % 2 == 0)
            except aiohttp.ClientError:  # it is dead, and another is on its way
                await asyncio.sleep(0.05)

    processes = [FareboxProcess(told, tmp_path, command=SHARER) for _ in range(PROCESSES)]
    try:
        for process in processes:
            await asyncio.to_thread(process.__enter__)
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as http:
            clients = [asyncio.create_task(client(http, processes, i)) for i in range(PROCESSES * AT_ONCE)]
            for _ in range(KILLS):
                await asyncio.sleep(dice.uniform(0.1, 0.8))
                victim = dice.randrange(PROCESSES)
                await asyncio.to_thread(processes[victim].kill)
                processes[victim].child.stdout.close()
                fresh = FareboxProcess(told, tmp_path, command=SHARER)
                processes[victim] = await asyncio.to_thread(fresh.__enter__)
            going = False
            await asyncio.gather(*clients)
    finally:
        for process in processes:
            if process.child:
                await asyncio.to_thread(process.stop)
    stormed = billed(mock)
    with FareboxProcess(told, tmp_path, command=SHARER) as alone:
        await spend([alone.url], 1, "again")
    found = rows(told["store"])
    bill, spent = billed(mock), Decimal(sum(row["cost"] for row in found)) / 10**9
    left = sum(row["outcome"] == "abandoned" for row in found)
    print(
        f"\nseed {seed}: {asked} asked, {KILLS} killed, {left} abandoned, {stormed} then {bill} billed, {spent} charged of {LIMIT * 4}"
    )
    await mock.stop()
    assert bill <= spent <= LIMIT * 4
    assert spent >= LIMIT * 4 * Decimal("0.99")
    assert not open_attempts(told["store"])
    assert len(mock.bill) <= len(found)
    with contextlib.closing(connect(tmp_path / "farebox.db")) as connection:
        assert all(fine for _, fine in verify(connection))
