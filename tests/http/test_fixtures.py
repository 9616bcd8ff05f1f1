"""The fixtures that every test leans on do what they say."""

import asyncio
import socket

import aiohttp
import pytest
from support import NetworkUsed, stray_tasks

KEY = "fb-demo-search-key"


@pytest.mark.parametrize("address", ["192.0.2.1", "example.invalid"])
def test_a_socket_does_not_go_beyond_loopback(address):
    with socket.socket() as plain:
        with pytest.raises(NetworkUsed, match=address):
            plain.connect((address, 80))
        with pytest.raises(NetworkUsed, match=address):
            plain.connect_ex((address, 80))


async def test_a_client_does_not_go_beyond_loopback():
    async with aiohttp.ClientSession() as http:
        with pytest.raises(NetworkUsed):
            await http.get("http://192.0.2.1/")


async def test_a_task_of_ours_that_still_runs_is_seen(running, demo):
    farebox = (await running(demo)).farebox
    watching = [task.get_coro().__qualname__ for task in stray_tasks()]
    assert "Farebox._watch" in watching
    await farebox.stop()
    assert [task.get_coro().__qualname__ for task in stray_tasks()] == [
        "History.follow"
    ]  # the page's, which its server ends


@pytest.mark.parametrize("handler_cancellation", [False, True])
async def test_the_demo_runs_in_this_process_in_both_ways_of_aiohttp(running, demo, handler_cancellation):
    """A client that leaves cancels its handler, or does not; either way it is billed and nothing stays behind."""
    farebox = await running(demo, handler_cancellation=handler_cancellation)
    hello = [{"role": "user", "content": "hello out=50 gap=1"}]
    async with farebox.post(key=KEY, json={"model": "gpt-4o", "messages": hello, "stream": True}) as reply:
        assert await reply.content.readany()
    while farebox.farebox.room.in_flight:
        await asyncio.sleep(0)
    (row,) = await farebox.rows()
    assert (row["outcome"], row["basis"], row["output_text"]) == ("left", "reported", 50)
    assert len(farebox.mock.bill) == 1


def test_a_process_serves_the_demo_and_ends_when_it_is_told_to(farebox_process, demo):
    process = farebox_process(demo)
    assert process.get("/health/live") == "ok\n"
    assert process.rows() == []
    assert process.stop() == 0
    assert KEY in process.said
    assert "frames" not in process.log
