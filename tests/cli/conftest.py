"""A configuration of two models, `run` to call a command with it, and `ledger` to fill the store with entries."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace

import psycopg
import pytest
import yaml
from click.testing import CliRunner
from small_ledger import CONFIG, ENTRIES, entry

from router.cli import cli
from router.stores.opening import ledger_of
from router.stores.place import Postgres


@pytest.fixture
def config(store, tmp_path, monkeypatch):
    """The configuration's path; `store` is beside it. The demo and the environment play no part."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FAREBOX_CONFIG", raising=False)
    path = tmp_path / "farebox.yaml"
    url = store.url if isinstance(store, Postgres) else f"sqlite:///{store}"
    path.write_text(yaml.safe_dump({"store": url, **CONFIG}, sort_keys=False))
    return path


def pytest_generate_tests(metafunc):
    if "kind" in metafunc.fixturenames and metafunc.definition.get_closest_marker("both_stores"):
        metafunc.parametrize("kind", ["sqlite", "postgres"])


@pytest.fixture
def kind():
    """Which database the store is in; `@both` lets a test run over each."""
    return "sqlite"


@pytest.fixture
def store(kind, tmp_path, request):
    """Where it is."""
    return Postgres(request.getfixturevalue("database")) if kind == "postgres" else tmp_path / "farebox.db"


@pytest.fixture
def run(config):
    """Call a command in this process: `.exit_code`, `.stdout`, `.stderr`."""

    def call(*words, code=0, **more):
        result = CliRunner().invoke(cli, [str(word) for word in words], **more)
        assert result.exit_code == code, (result.output, result.exception)
        assert "\x1b" not in result.output  # plain where it is no terminal
        return result

    return call


@pytest.fixture
def ledger(store, tmp_path):
    """Append entries to the store as the server does; five by default."""

    def fill(entries=ENTRIES):
        async def write():
            ledger = ledger_of(store, tmp_path / "postgresql")
            ledger.start()
            for item in entries:
                await ledger.open(item.attempt)
                await ledger.close(item)
            await ledger.stop()

        asyncio.run(write())
        return entries

    return fill


@pytest.fixture
def many():
    """As many entries as are wanted."""
    return lambda count: [replace(entry(n), cost=n) for n in range(1, count + 1)]


@pytest.fixture
def tamper(store):
    """Change the store's file behind Farebox's back."""

    def execute(statement):
        with closing(
            psycopg.connect(store.url) if isinstance(store, Postgres) else sqlite3.connect(store)
        ) as connection:
            connection.execute(statement)
            connection.commit()

    return execute
