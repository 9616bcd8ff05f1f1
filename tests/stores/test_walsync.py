"""Processes that share a SQLite file: nobody is told that a row is durable before it is, and nobody waits for another's disk."""

import asyncio
import contextlib
import errno
import os
import shutil
import sqlite3
import threading

import pytest
from sqlite_rows import attempt, entry

from router.stores.ledgerfile import connect, migrate, verify
from router.stores.ports import Unsure
from router.stores.sharedsqlite import SharedSqliteLedger
from router.stores.walsync import WalSync

SYNC = os.fdatasync


@contextlib.asynccontextmanager
async def processes(path, count=2):
    ledgers = [SharedSqliteLedger(path) for _ in range(count)]
    ledgers[0].start()
    await ledgers[0].recover()
    for ledger in ledgers[1:]:
        ledger.start()
    try:
        yield ledgers
    finally:
        for ledger in ledgers:
            await ledger.stop()


async def test_others_commit_while_one_waits_for_the_disk(path, monkeypatch):
    asked, goes_on = threading.Event(), threading.Event()

    def slow(file):
        if not asked.is_set():
            asked.set()
            assert goes_on.wait(10)
        SYNC(file)

    async with processes(path) as (one, other):
        monkeypatch.setattr(os, "fdatasync", slow)
        waiting = asyncio.ensure_future(one.open(attempt(1)))
        assert await asyncio.to_thread(asked.wait, 10)
        async with asyncio.timeout(5):
            await other.open(attempt(2))
            await other.close(entry(2))
        assert not waiting.done()
        assert {found.id for found in await other.open_attempts()} == {"fb-000001.1"}  # committed, not yet promised
        goes_on.set()
        await waiting


async def test_what_was_promised_is_in_what_was_synced(path, tmp_path, monkeypatch):
    """What the disk has at least, as files beside it; checkpoints are made meanwhile."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def kept(file):
        SYNC(file)
        for end in ("", "-wal"):
            shutil.copyfile(f"{path}{end}", disk / f"{path.name}{end}")

    async with processes(path) as (one, other):
        monkeypatch.setattr(os, "fdatasync", kept)
        for number in range(1, 60, 2):
            for ledger, own in ((one, number), (other, number + 1)):
                await ledger.open(attempt(own))
                await ledger.close(entry(own))
                (disk / f"{path.name}-shm").unlink(missing_ok=True)
                with contextlib.closing(sqlite3.connect(disk / path.name)) as after:
                    assert after.execute("SELECT max(seq) FROM ledger").fetchone() == (own,)
                    assert after.execute("SELECT count(*) FROM attempts").fetchone() == (0,)
            if number % 20 == 1:
                with contextlib.closing(sqlite3.connect(path)) as checkpoint:
                    checkpoint.execute(f"PRAGMA wal_checkpoint({('PASSIVE', 'RESTART', 'TRUNCATE')[number // 20]})")


async def test_after_a_failure_nothing_is_durable_until_the_wal_begins_anew(path, monkeypatch):
    calls = []

    def fails(_):
        calls.append("failed")
        raise OSError(errno.EIO, "Input/output error")

    def works(file):
        calls.append("synced")
        SYNC(file)

    async with processes(path) as (one, other):
        await one.open(attempt(1))
        monkeypatch.setattr(os, "fdatasync", fails)
        with pytest.raises(Unsure, match="Input/output error"):
            await one.close(entry(1))
        monkeypatch.setattr(os, "fdatasync", works)
        with contextlib.closing(sqlite3.connect(path)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM ledger").fetchone()
            probing = asyncio.ensure_future(one.probe())
            await asyncio.sleep(0.2)
            assert not probing.done()  # the WAL cannot begin anew while somebody reads from it
            reader.rollback()
            await probing
        assert calls == ["failed"]
        assert path.with_name(f"{path.name}-wal").stat().st_size == 0
        await one.close(entry(1))  # as the journal does: once
        await other.close(entry(2))
        assert calls == ["failed", "synced", "synced"]
    with contextlib.closing(connect(path)) as connection:
        assert list(verify(connection)) == [(1, True), (2, True)]


def full(_):
    raise OSError(errno.ENOSPC, "No space")


class Turn(contextlib.nullcontext):
    """Nobody else has it."""


def test_while_the_wal_cannot_begin_anew_nothing_is_promised(path, monkeypatch):
    migrate(path)
    wal = WalSync(path)
    with contextlib.closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as writer:
        writer.execute("UPDATE head SET seq = seq + 1")
        monkeypatch.setattr(os, "fdatasync", full)
        with pytest.raises(OSError, match="No space"):
            wal.sync(writer, Turn())
        monkeypatch.undo()
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM head").fetchall()
            writer.execute("UPDATE head SET seq = seq + 1")
            for _ in range(2):
                with pytest.raises((OSError, sqlite3.OperationalError)):
                    wal.sync(writer, Turn())
        wal.sync(writer, Turn())
        wal.sync(writer, Turn())
    wal.close()


def test_a_wal_that_was_made_anew_is_the_one_that_is_synced(path, monkeypatch):
    migrate(path)
    wal, synced = WalSync(path), []
    monkeypatch.setattr(os, "fdatasync", lambda file: synced.append(os.fstat(file).st_ino))
    keep = []
    for _ in range(2):
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as writer:
            writer.execute("UPDATE head SET seq = seq + 1")
            there = path.with_name(f"{path.name}-wal")
            wal.sync(writer, Turn())
            wal.sync(writer, Turn())
            assert synced[-2:] == [there.stat().st_ino] * 2
            keep.append(there.open("rb"))  # so that its number is not given again
    assert len(set(synced)) == 2
    wal.close()
    for file in keep:
        file.close()
