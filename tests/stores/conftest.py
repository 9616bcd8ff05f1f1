"""A file for a ledger, and places that are in each database in turn."""

import pytest
from redisserver import RedisServer

from router.stores.place import Postgres


@pytest.fixture
def path(tmp_path):
    return tmp_path / "farebox.db"


@pytest.fixture(params=["sqlite", "postgres"], scope="module")
def places(request, tmp_path_factory):
    """Makes a place that is new and empty."""
    if request.param == "postgres":
        server = request.getfixturevalue("postgres")
        return lambda: Postgres(server.database())
    return lambda: tmp_path_factory.mktemp("ledger") / "farebox.db"


@pytest.fixture
def place(places):
    return places()


@pytest.fixture(scope="session")
def _redis(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis"), "hunter2") as server:
        yield server


@pytest.fixture
def redis_server(_redis):
    """A Redis that is empty and runs; a test may kill it."""
    if _redis.child.poll() is not None:
        _redis.start()
    _redis.ask("FLUSHALL")
    return _redis
