"""Fixtures for every test; see `support` for what they hand out.

- `farebox_process(config)`: a `farebox serve` child; `running(config, handler_cancellation=…)`: the same in this process.
- `demo`: the configuration of `make run`; `vendor`: a `RawVendor`, started.
- `postgres`: a PostgreSQL server for the whole run; `database`: the URL of an empty database in it.
- Always: no network beyond loopback, and no task of ours outlives its test.
"""

import asyncio
import contextlib
import inspect
import socket

import pytest
from postgresserver import PostgresServer
from support import FareboxProcess, RawVendor, demo_config, guarded, serving, stray_tasks


@pytest.fixture(scope="session", autouse=True)
def _loopback_only():
    """Python code of this process has no network beyond loopback."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded(socket.socket.connect))
        patch.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex))
        yield


@pytest.fixture(autouse=True)
def _tasks_end_with_their_test(request):
    """Only a test with a loop is watched; it is first in and last out, so that all other fixtures are gone by then."""
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("_no_stray_tasks")


@pytest.fixture
async def _no_stray_tasks():
    yield
    if tasks := stray_tasks():
        _, tasks = await asyncio.wait(tasks, timeout=1)  # those that are about to end may
    assert not tasks, f"tasks that outlive their test: {tasks}"


@pytest.fixture
def demo(tmp_path):
    return demo_config(tmp_path)


@pytest.fixture
def farebox_process(tmp_path):
    with contextlib.ExitStack() as stack:
        yield lambda config: stack.enter_context(FareboxProcess(config, tmp_path))


@pytest.fixture
async def running(tmp_path):
    async with contextlib.AsyncExitStack() as stack:

        async def start(config, **how):
            return await stack.enter_async_context(serving(config, tmp_path, **how))

        yield start


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    with PostgresServer(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture
def database(postgres):
    return postgres.database()


@pytest.fixture
async def vendor():
    raw = RawVendor()
    await raw.start()
    yield raw
    await raw.stop()
