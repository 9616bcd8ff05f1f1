"""What a request leaves in the process: nothing that only the collector finds, which `server` has look seldom."""

import asyncio
import contextlib
import gc
import json
from collections import Counter

import pytest
from support import KEY, demo_config, serving, small_config

from router.core.catalog import Caller, Model, Route
from router.snapshot import Snapshot

SAY = [{"role": "user", "content": "Why do prices fall?"}]
TIMES = 10
CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"

CONVERSATIONS = {
    "plain": (CHAT, {"model": "auto"}, 200),
    "stream": (CHAT, {"model": "auto", "stream": True}, 200),
    "plain, another wire": (CHAT, {"model": "claude-sonnet-4-5", "max_tokens": 20}, 200),
    "stream, another wire": (CHAT, {"model": "claude-sonnet-4-5", "max_tokens": 20, "stream": True}, 200),
    "messages": (MESSAGES, {"model": "claude-sonnet-4-5", "max_tokens": 20}, 200),
    "messages, stream": (MESSAGES, {"model": "auto", "max_tokens": 20, "stream": True}, 200),
    "responses, stream": (RESPONSES, {"model": "auto", "input": "hello", "stream": True}, 200),
    "unknown model": (CHAT, {"model": "nobody"}, 404),
    "no such field": (CHAT, {"model": "auto", "max_tokens": "many"}, 400),
}


class Client(asyncio.Protocol):
    """One connection; what comes is one answer, until it is asked again."""

    def __init__(self, key):
        self.key = key

    def connection_made(self, transport):
        self.transport, self.got, self.came = transport, b"", asyncio.Event()

    def data_received(self, data):
        self.got += data
        self.came.set()

    async def ask(self, path, body):
        raw = json.dumps(body).encode()
        self.got = b""
        self.transport.write(
            f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.key}\r\nContent-Length: {len(raw)}\r\n\r\n".encode()
            + raw
        )
        while not self.whole():
            self.came.clear()
            await self.came.wait()
        return int(self.got.split(b" ", 2)[1])

    def whole(self):
        head, _, body = self.got.partition(b"\r\n\r\n")
        _, _, length = head.lower().partition(b"content-length: ")
        return len(body) == int(length.split(b"\r\n")[0]) if length else self.got.endswith(b"\r\n0\r\n\r\n")


@contextlib.contextmanager
def collected():
    """Counts of what the collector finds that was let go of inside, by class."""
    gc.collect()
    gc.disable()
    found = Counter()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found.update(f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


async def leftovers(farebox, key, path, body, expected, *, again=False):
    """What remains of each of several requests, by class, each on a connection of its own if `again`; one before them
    looks up what is looked up once.
    """
    host, port = farebox.url.removeprefix("http://").split(":")

    async def connect():
        return await asyncio.get_running_loop().create_connection(lambda: Client(key), host, int(port))

    transport, client = await connect()
    assert await client.ask(path, body) in expected
    await farebox.farebox.settlement.drain(5)
    with collected() as found:
        for _ in range(TIMES):
            if again:
                transport.abort()
                transport, client = await connect()
            assert await client.ask(path, body) in expected
        await farebox.farebox.settlement.drain(5)
    transport.abort()
    return {name: count for name, count in found.items() if count >= TIMES - 2 and name.startswith("router.")}


@pytest.mark.parametrize(("path", "body", "status"), CONVERSATIONS.values(), ids=CONVERSATIONS)
async def test_a_request_leaves_nothing_for_the_collector(tmp_path, path, body, status):
    body = body if "input" in body else {**body, "messages": SAY}
    async with serving(demo_config(tmp_path), tmp_path) as farebox:
        assert await leftovers(farebox, "fb-demo-search-key", path, body, {status}) == {}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("trouble", ["ill", "no answer", "not an answer"])
async def test_nor_does_one_that_fails(vendor, tmp_path, trouble, stream):
    """Nor do connections, of which each has its own here."""
    vendor.answers({"ill": b'{"error": {"message": "ill"}}', "no answer": b"", "not an answer": b"<html>"}[trouble])
    vendor.status = 500 if trouble == "ill" else 200
    async with serving(small_config(tmp_path, vendor.url), tmp_path) as farebox:
        body = {"model": "small", "messages": SAY, "stream": stream}
        assert await leftovers(farebox, KEY, CHAT, body, {502, 503}, again=True) == {}


def alive():
    """How many of what a configuration consists of there are in the process."""
    gc.collect()
    return Counter(type(one).__name__ for one in gc.get_objects() if isinstance(one, Snapshot | Route | Model | Caller))


async def test_a_configuration_that_was_replaced_is_let_go(tmp_path):
    """Requests have been decided by each: nothing that is remembered of them keeps it."""
    async with serving(demo_config(tmp_path), tmp_path) as farebox:
        seen = []
        for _ in range(4):
            for path, body in ((CHAT, {"model": "auto"}), (MESSAGES, {"model": "auto", "max_tokens": 20})):
                answer = await farebox.http.post(
                    f"{farebox.url}{path}",
                    json={**body, "messages": SAY},
                    headers={"Authorization": "Bearer fb-demo-search-key"},
                )
                assert answer.status == 200, await answer.text()
                await answer.read()
            await farebox.farebox.settlement.drain(5)
            assert await farebox.farebox.reload()
            farebox.farebox.kept.clear()  # the last thousand decisions can be asked about
            seen.append(alive())
        assert seen[1] == seen[3]
