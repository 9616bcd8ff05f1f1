"""A configuration of two models, `run` to call a command with it, and `ledger` to fill the store with entries."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
import yaml
from click.testing import CliRunner
from small_ledger import CONFIG, ENTRIES, entry

from router.cli import cli
from router.stores.sqlite import SqliteLedger


@pytest.fixture
def config(tmp_path, monkeypatch):
    """The configuration's path; `store` is beside it. The demo and the environment play no part."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FAREBOX_CONFIG", raising=False)
    path = tmp_path / "farebox.yaml"
    path.write_text(yaml.safe_dump({"store": f"sqlite:///{tmp_path}/farebox.db", **CONFIG}, sort_keys=False))
    return path


@pytest.fixture
def store(config):
    return config.parent / "farebox.db"


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
def ledger(store):
    """Append entries to the store as the server does; five by default."""

    def fill(entries=ENTRIES):
        async def write():
            ledger = SqliteLedger(store)
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
        with closing(sqlite3.connect(store)) as connection:
            connection.execute(statement)
            connection.commit()

    return execute
