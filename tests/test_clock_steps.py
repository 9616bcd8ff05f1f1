"""A wall clock that is set back, across the end of a budget's window."""

import pytest
from fakes import PushedClock
from support import serving, small_config

HOUR = 3600


def spent(running):
    (state,) = running.farebox.budgets()
    return state.settled


@pytest.mark.parametrize("restart", [False, True], ids=["reload", "restart"])
async def test_what_an_hour_has_cost_is_known_when_it_comes_again(tmp_path, restart):
    config = small_config(tmp_path, "http://127.0.0.1:1/v1", mock={"pace": 0})
    config["teams"]["search"]["budgets"] = [{"limit": 1, "per": "hour"}]
    config["vendors"]["check"].pop("base_url")
    clock = PushedClock()
    clock.at -= clock.at % (HOUR * 1_000_000)

    async def ask(running, times):
        for _ in range(times):
            body = {"model": "small", "messages": [{"role": "user", "content": "in=10 out=5"}]}
            async with running.post(json=body) as response:
                assert response.status == 200
        await running.rows()

    async with serving(config, tmp_path, clock=clock) as running:
        await ask(running, 1)
        clock.push(HOUR)
        await ask(running, 2)
        two = spent(running)
        clock.push(-HOUR)
        if not restart:
            assert await running.farebox.reload()
            await ask(running, 1)  # still in the later hour's account
            assert spent(running) == 3 * two // 2
    if restart:
        async with serving(config, tmp_path, clock=clock) as running:
            assert spent(running) == two // 2
            clock.push(HOUR)
            assert spent(running) == two
