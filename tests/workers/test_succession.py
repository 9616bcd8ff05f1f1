"""Workers take over from workers, from a process that serves alone, and hand over to one."""

import asyncio
import itertools

import aiohttp
import pytest

from tests.workers.test_workers import agree

PAIRS = {
    "workers of workers": (2, 2),
    "more of fewer": (2, 3),
    "workers of one alone": (1, 2),
    "one alone of workers": (2, 1),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
async def test_no_request_fails_while_others_take_over(start, ask, mock, pair):
    before, after = pair
    old = await start("--workers", str(before))
    statuses, going, numbers = [], True, itertools.count()

    async def load(http):
        while going:
            n = next(numbers)
            status, _, raw = await ask(http, old.url, f"in=10 out=5 delay={n % 30}", stream=n % 3 == 0)
            statuses.append(status if b"[DONE]" in raw or b'"usage"' in raw else raw)

    async with aiohttp.ClientSession() as http:
        loading = [asyncio.create_task(load(http)) for _ in range(8)]
        new = await start("--workers", str(after), "--takeover")
        assert new.url == old.url
        assert await asyncio.to_thread(old.child.wait, 30) == 0
        going = False
        await asyncio.gather(*loading)
    assert set(statuses) == {200} and len(statuses) == len(mock.bill)
    await asyncio.to_thread(agree, new, mock)


async def test_workers_that_cannot_take_over_leave_the_others_serving(start, config, ask, mock):
    old = await start()
    config["routes"]["auto"] = {"models": ["nobody"]}
    with pytest.raises(pytest.fail.Exception):
        await start("--takeover")
    async with aiohttp.ClientSession() as http:
        assert {(await ask(http, old.url))[0] for _ in range(8)} == {200}
    await asyncio.to_thread(agree, old, mock)
