"""One process takes another's place under load: no request fails, no row is missing, no budget is passed.

`tests/bench/takeover.py` does the same at 500 requests a second.
"""

import asyncio
import contextlib
import itertools
import signal
import socket
import sys
from pathlib import Path

import aiohttp
import pytest
from hostile import Server, chunk, plain
from support import KEY, FareboxProcess, open_attempts, rows, small_config, write_config

from router.mock import MockVendors
from tests.fakes import stream

TAKEOVERS = 2
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
WORDS = stream("one", "two", usage=(100, 20))


@pytest.fixture
async def mock():
    vendors = MockVendors(pace=0)
    vendors.url = await vendors.start()
    yield vendors
    await vendors.stop()


@pytest.fixture
def config(tmp_path, mock):
    return small_config(tmp_path, f"{mock.url}/check/v1")


@pytest.fixture
async def gated(config):
    """A vendor that answers what it is told to, once its gate is open; its model is `gated`."""
    gate, answers = asyncio.Event(), []

    async def script(peer):
        await peer.request()
        first, *rest = answers
        await peer.send(first)
        await gate.wait()
        await peer.send(*rest)

    async with Server(script) as server:
        url = f"http://127.0.0.1:{server.port}/v1"
        config["vendors"]["gated"] = {"dialect": "openai", "base_url": url, "api_key": "sk-gated"}
        config["models"]["gated"] = {**config["models"]["small"], "vendor": "gated"}
        server.gate, server.answers = gate, answers
        answers[:] = [STREAM + chunk(WORDS[0]), *map(chunk, WORDS[1:]), chunk(b"")]
        yield server


@pytest.fixture
async def start(config, tmp_path):
    processes = []

    async def started(*arguments):
        process = await asyncio.to_thread(FareboxProcess(config, tmp_path, *arguments).__enter__)
        processes.append(process)
        return process

    yield started
    for process in processes:
        await asyncio.to_thread(process.stop)


async def ask(http, url, words, **more):
    body = {"model": "small", "messages": [{"role": "user", "content": words}], "max_tokens": 50, **more}
    async with http.post(f"{url}/v1/chat/completions", json=body) as reply:
        return reply.status, await reply.read()


def client(**more):
    return aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}, **more)


async def ended(process, timeout_s=20):
    """Its exit code, without having told it anything."""
    return await asyncio.to_thread(process.child.wait, timeout_s)


def agree(process, mock):
    """Ledger, metrics, budget and the vendor's bill say the same."""
    found = process.rows()
    billed = sum(line.input_tokens * 1000 + line.output_tokens * 2000 for line in mock.bill)
    assert len({row["id"] for row in found}) == len(found) == len(mock.bill)
    assert sum(row["cost"] for row in found) == billed
    assert round(sum(process.metric("farebox_cost_total")) * 1e9) == billed
    assert round(sum(process.metric("farebox_budget_spent")) * 1e9) == billed
    assert sum(process.metric("farebox_budget_held")) == 0


async def test_no_request_fails_while_one_process_after_the_other_takes_over(start, mock):
    process = await start()
    statuses, going, numbers = [], True, itertools.count()

    async def load(http):
        while going:
            n = next(numbers)
            status, raw = await ask(http, process.url, f"in=10 out=5 delay={n % 30}", stream=n % 3 == 0)
            statuses.append(status if b"[DONE]" in raw or b'"usage"' in raw else raw)

    async with client() as kept, client(connector=aiohttp.TCPConnector(force_close=True)) as fresh:
        loading = [asyncio.create_task(load(http)) for http in (kept, fresh) * 5]
        for _ in range(TAKEOVERS):
            before, process = process, await start("--takeover")
            assert process.url == before.url
            assert await ended(before) == 0
        going = False
        await asyncio.gather(*loading)
    assert set(statuses) == {200} and len(statuses) == len(mock.bill)
    await asyncio.to_thread(agree, process, mock)


async def test_a_stream_goes_on_in_the_old_process_while_the_new_one_serves_and_both_share_the_budget(
    start, config, gated, mock
):
    config["teams"]["search"]["budgets"] = [{"limit": "0.0006", "per": "total"}]
    config["server"]["budget_wait"] = "10ms"
    old = await start()
    async with client() as http:
        long = asyncio.create_task(ask(http, old.url, "hello", model="gated", stream=True))
        await gated.asked.wait()
        new = await start("--takeover")
        held = sum(new.metric("farebox_budget_held"))
        assert held > 0.0001, "what the old process has on its way is held in the new one"
        statuses = [(await ask(http, new.url, "in=100 out=5"))[0] for _ in range(8)]
        assert statuses[0] == 200 and statuses[-1] == 402
        gated.gate.set()
        status, raw = await long
        assert status == 200 and raw.endswith(b"[DONE]\n\n")
    assert await ended(old) == 0
    found = await asyncio.to_thread(new.rows)
    assert [row["cost"] for row in found if row["model"] == "gated"] == [140_000]
    billed = sum(line.input_tokens * 1000 + line.output_tokens * 2000 for line in mock.bill)
    assert sum(row["cost"] for row in found) == billed + 140_000 <= 600_000
    assert round(sum(new.metric("farebox_cost_total")) * 1e9) == billed + 140_000
    assert round(sum(new.metric("farebox_budget_spent")) * 1e9) == billed + 140_000


async def test_a_request_in_the_old_process_can_still_try_the_next_candidate(start, config, gated):
    config["routes"]["auto"] = {"models": ["gated"], "fallback": ["small"]}
    gated.answers[:] = [b"", plain(b"{}", status="500 Internal Server Error")]
    old = await start()
    async with client() as http:
        asking = asyncio.create_task(ask(http, old.url, "in=10 out=5", model="auto"))
        await gated.asked.wait()
        new = await start("--takeover")
        gated.gate.set()
        assert (await asking)[0] == 200
    assert await ended(old) == 0
    found = await asyncio.to_thread(new.rows)
    assert [(row["model"], row["outcome"]) for row in found] == [("gated", "error"), ("small", "ok")]


async def test_when_the_old_process_is_killed_after_the_takeover_the_new_one_closes_what_it_left(start, gated):
    old = await start()
    async with client() as http:
        long = asyncio.create_task(ask(http, old.url, "hello", model="gated", stream=True))
        await gated.asked.wait()
        new = await start("--takeover")
        await asyncio.to_thread(old.kill)
        with pytest.raises(aiohttp.ClientError):
            await long
        (row,) = await asyncio.to_thread(new.rows)
        assert (row["outcome"], row["cost"]) == ("abandoned", row["held"])
        assert round(sum(new.metric("farebox_budget_spent")) * 1e9) == row["held"]


async def test_a_takeover_that_does_not_come_to_its_end_leaves_the_old_process_serving(start, config, tmp_path, mock):
    old = await start()
    config["server"]["on_store_failure"] = "serve"
    journal = tmp_path / "farebox.db.journal"
    journal.mkdir()  # the new process takes the store and then fails
    with pytest.raises(pytest.fail.Exception, match="journal"):
        await start("--takeover")
    async with client() as http:
        for _ in range(3):
            assert (await ask(http, old.url, "in=10 out=5"))[0] == 200
    await asyncio.to_thread(agree, old, mock)
    journal.rmdir()
    new = await start("--takeover")
    assert await ended(old) == 0
    await asyncio.to_thread(agree, new, mock)


async def test_who_comes_while_the_old_process_drains_waits_for_it(start, mock):
    old = await start()
    async with client() as http:
        long = asyncio.create_task(ask(http, old.url, "in=10 out=10 gap=100", stream=True))
        while not open_attempts(old.store):
            await asyncio.sleep(0.01)
        old.child.send_signal(signal.SIGTERM)
        new = await start("--takeover")
        assert (await long)[0] == 200
        assert await ended(old) == 0
        assert (await ask(http, new.url, "in=10 out=5"))[0] == 200
    await asyncio.to_thread(agree, new, mock)


async def test_without_being_told_to_nobody_takes_over(start):
    await start()
    with pytest.raises(pytest.fail.Exception, match="in use by another Farebox"):
        await start()


async def test_with_takeover_and_nobody_there_it_is_a_start_like_any_other(start, tmp_path):
    process = await start("--takeover")
    assert (tmp_path / "farebox.db.sock").stat().st_mode & 0o777 == 0o600
    assert await asyncio.to_thread(process.stop) == 0
    assert not (tmp_path / "farebox.db.sock").exists()


async def test_a_drain_serves_what_comes_on_connections_that_are_open_and_asks_them_to_come_anew(start, config, mock):
    config["server"]["notice"] = "400ms"
    process = await start()
    async with client() as http:
        assert (await ask(http, process.url, "in=10 out=5"))[0] == 200
        process.child.send_signal(signal.SIGTERM)
        while await asyncio.to_thread(process.is_ready):
            await asyncio.sleep(0.01)
        async with http.post(
            f"{process.url}/v1/chat/completions",
            json={"model": "small", "messages": [{"role": "user", "content": "in=10 out=5"}]},
        ) as reply:
            assert reply.status == 200 and reply.headers["Connection"] == "close"
    with contextlib.suppress(aiohttp.ClientError):
        await ended(process)
    assert len(rows(process.store)) == 2


async def test_sockets_that_were_handed_over_at_the_start_are_served_with_what_waits_in_them(config, mock, tmp_path):
    with socket.create_server(("127.0.0.1", 0), backlog=64) as sock:
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        async with client() as http:
            waiting = [asyncio.create_task(ask(http, url, "in=10 out=5")) for _ in range(4)]
            command = (
                f"exec 3<&{sock.fileno()}; LISTEN_FDS=1 exec {Path(sys.executable).parent}/farebox serve --config $0"
            )
            child = await asyncio.create_subprocess_exec(
                "bash", "-c", command, write_config(config, tmp_path), pass_fds=[sock.fileno()],
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            assert [(await each)[0] for each in waiting] == [200] * 4
            assert url.encode() in await child.stdout.readline()
            child.terminate()
            await child.communicate()
            assert child.returncode == 0
