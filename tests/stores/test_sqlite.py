"""What is the SQLite ledger's own: one process serves from a file, which is its owner's."""

import contextlib
import sqlite3

import pytest
from sqlite_rows import attempt, opened

from router.stores.ledgerfile import migrate
from router.stores.ports import StoreDown
from router.stores.sqlite import SqliteLedger


async def test_two_processes_cannot_serve_from_one_file(path):
    async with opened(path):
        second = SqliteLedger(path)
        with pytest.raises(StoreDown, match="in use by another"):
            second.start()
        await second.stop()  # as a process does that could not start
    async with opened(path):
        pass


async def test_a_ledger_that_is_not_open_says_so(path):
    with pytest.raises(StoreDown):
        await SqliteLedger(path).open(attempt())


def test_a_file_of_a_newer_version_is_left_alone(path):
    migrate(path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=999")
    with pytest.raises(StoreDown, match="newer Farebox"):
        migrate(path)


async def test_the_file_is_only_its_owners(path):
    async with opened(path):
        assert path.stat().st_mode & 0o077 == 0
