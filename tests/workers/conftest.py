"""A vendor that keeps its bill, and `farebox serve` with two workers in front of it."""

import asyncio
from pathlib import Path

import pytest
from support import KEY, FareboxProcess, small_config

from router.mock import MockVendors

ADMIN = "the-admin-key-of-the-test"


@pytest.fixture
async def mock():
    vendors = MockVendors(pace=0)
    vendors.url = await vendors.start()
    yield vendors
    await vendors.stop()


@pytest.fixture
def config(tmp_path, mock):
    made = small_config(tmp_path, f"{mock.url}/check/v1")
    made["server"] |= {"workers": 2, "admin_key": ADMIN}
    return made


@pytest.fixture
async def start(config, tmp_path):
    processes = []

    async def started(*arguments, command=None):
        process = await asyncio.to_thread(FareboxProcess(config, tmp_path, *arguments, command=command).__enter__)
        processes.append(process)
        return process

    yield started
    for process in processes:
        await asyncio.to_thread(process.stop)


@pytest.fixture
def workers():
    """The processes of a parent's workers."""

    def look(process):
        told = Path(f"/proc/{process.child.pid}/task/{process.child.pid}/children")
        return [int(pid) for pid in told.read_text().split()]

    return look


@pytest.fixture
def ask():
    """A request on a connection of its own, so that it may reach any worker: (status, headers, body)."""

    async def call(http, url, words="in=10 out=5", key=KEY, **more):
        body = {"model": "small", "messages": [{"role": "user", "content": words}], "max_tokens": 50, **more}
        headers = {"Authorization": f"Bearer {key}", "Connection": "close"}
        async with http.post(f"{url}/v1/chat/completions", json=body, headers=headers) as reply:
            return reply.status, reply.headers, await reply.read()

    return call


@pytest.fixture
def admin():
    """A call of the admin API on a connection of its own: (status, JSON)."""

    async def call(http, url, path, method="GET", **how):
        headers = {"Authorization": f"Bearer {ADMIN}", "Connection": "close"}
        async with http.request(method, f"{url}/admin/v1/{path}", headers=headers, **how) as reply:
            return reply.status, await reply.json()

    return call
