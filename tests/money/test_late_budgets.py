"""A budget that a reload adds while attempts are in flight: it counts each of them exactly once, whenever they end."""

import asyncio
import json

import pytest
import yaml
from support import small_config

USAGE = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
ANSWER = {"choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}], "usage": USAGE}


async def in_flight(running, vendor, tmp_path, **team):
    """(Farebox, its configuration, the task of a request whose vendor has not answered, what lets it)."""
    config = small_config(tmp_path, vendor.url)
    config["server"]["reload_every"] = "1h"
    config["teams"]["search"] |= team
    gate = asyncio.Event()
    body = json.dumps(ANSWER).encode()
    vendor.pieces, vendor.whole, vendor.between = [body[:20], body[20:]], True, gate.wait
    on = await running(config)

    async def ask():
        async with on.post(json={"model": "small", "messages": [{"role": "user", "content": "hi"}]}) as reply:
            return reply.status, await reply.read()

    task = asyncio.create_task(ask())
    while not vendor.calls:
        await asyncio.sleep(0.01)
    return on, config, task, gate


async def reload(on, config):
    config["teams"]["search"]["budgets"] = [*config["teams"]["search"]["budgets"], {"limit": 1, "per": "year"}]
    on.farebox.snapshot.path.write_text(yaml.safe_dump(config, sort_keys=False))
    return await on.farebox.reload()


def spent(on):
    return {state.budget.per: (state.settled, state.held) for state in on.farebox.budgets()}


@pytest.mark.parametrize("budgets", [[], [{"limit": 100, "per": "total"}]], ids=["the first", "one more"])
async def test_an_attempt_that_ends_after_the_reload_is_charged_to_it(running, vendor, tmp_path, budgets):
    on, config, task, gate = await in_flight(running, vendor, tmp_path, budgets=budgets)
    assert await reload(on, config)
    gate.set()
    assert (await task)[0] == 200
    (row,) = await on.rows()
    assert spent(on) == {budget["per"]: (row["cost"], 0) for budget in [*budgets, {"per": "year"}]}


@pytest.mark.parametrize("budgets", [[], [{"limit": 100, "per": "total"}]], ids=["the first", "one more"])
async def test_an_attempt_that_ends_while_it_is_added_is_charged_to_it(running, vendor, tmp_path, budgets):
    """It has ended, and is worked out, before the new budgets are there, and is written down after they were counted."""
    on, config, task, gate = await in_flight(running, vendor, tmp_path, budgets=budgets)
    counted, go = asyncio.Event(), asyncio.Event()
    count = on.farebox.ledger.spent

    async def slow(*told):
        counted.set()
        await go.wait()
        return await count(*told)

    on.farebox.ledger.spent = slow
    reloading = asyncio.create_task(reload(on, config))
    await counted.wait()
    gate.set()
    await task
    await asyncio.sleep(0.05)  # its closing task waits for the reload now
    go.set()
    assert await reloading
    (row,) = await on.rows()
    assert spent(on) == {budget["per"]: (row["cost"], 0) for budget in [*budgets, {"per": "year"}]}
