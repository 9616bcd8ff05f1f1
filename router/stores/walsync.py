"""What processes that share a SQLite file have committed becomes durable while others commit.

With `synchronous=NORMAL` a commit writes the WAL and leaves it to the kernel: whoever comes next need not wait for the
disk, only the one who is to be told that his rows are durable does. That is the same promise:

- The WAL is one file, and what is synced of it is all that was written to it before, by whomever. A later row is never
  durable without those that it follows.
- The database never gets ahead: before SQLite copies pages from the WAL it syncs the WAL, and the database before the WAL
  is begun anew. What was copied is durable, so that it does not matter which round of the file is synced here.
- The WAL is deleted only when the last connection closes, and who syncs has one. Its name is looked at all the same, and
  the directory is synced where the file is new, as SQLite does when it syncs a WAL for the first time.
- A killed process loses nothing: what it wrote is the kernel's.
- Where the sync fails nobody is told that anything is durable, and what the disk has of the WAL is unknown from then on, for
  later rows too: a sync that succeeds afterwards proves nothing. So nothing is durable again before all is in the database
  and the WAL begins anew. Other processes learn of the failure by their own next sync, since the kernel tells each file
  that was open. Pages that the disk has refused must stay in memory until then, which the kernel does not promise; with
  `synchronous=FULL` they would not have been committed.

POSIX locks are no matter here: SQLite has none on the WAL, which closing a file of ours would take away.
"""

import os
import sqlite3
from contextlib import AbstractContextManager
from pathlib import Path


class WalSync:
    """Of one writer."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(f"{path.name}-wal")
        self._file: int | None = None
        self._sure = True  # that what was synced is on the disk

    def sync(self, connection: sqlite3.Connection, turn: AbstractContextManager[object]) -> None:
        """Make durable what was committed; takes the turn only after a failure. Raises `OSError` or `sqlite3.Error`."""
        if not self._sure:
            with turn:
                busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                raise OSError(f"{self._path} could not be begun anew after it could not be synced")
            self._sure = True
            return
        self._sure = False
        os.fdatasync(self._opened())
        self._sure = True

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _opened(self) -> int:
        there = self._path.stat()
        if self._file is not None:
            if os.path.samestat(there, os.fstat(self._file)):
                return self._file
            self.close()
        self._file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        return self._file
