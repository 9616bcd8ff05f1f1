"""Answers that outlive the process: a SQLite file beside the store, which may be removed at any time.

It is no part of the ledger: it holds what models have written, is not durable against power loss and nothing is lost with
it but money. A file that fails is logged once for each failure and is as if nothing were in it.
"""

import asyncio
import logging
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from router.core.answers import Answer, loads

log = logging.getLogger("farebox.cache")

T = TypeVar("T")
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, route TEXT NOT NULL, at INTEGER NOT NULL, size INTEGER NOT NULL,
        answer BLOB NOT NULL) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS answers_route ON answers (route, at, size);
"""


LEFT = 0.9  # of what a route may keep, after it was trimmed: so that not each new answer has to


def _size(connection: sqlite3.Connection, route: str) -> int:
    query = "SELECT ifnull(sum(size), 0) FROM answers WHERE route = ?"
    found: int = connection.execute(query, (route,)).fetchone()[0]
    return found


def _trim(connection: sqlite3.Connection, route: str, oldest: int, most: int) -> None:
    """Remove what is too old, and of the rest the oldest, until a route has not more than so many bytes."""
    size, until = 0, oldest
    for at, one in connection.execute(
        "SELECT at, size FROM answers WHERE route = ? AND at > ? ORDER BY at DESC", (route, oldest)
    ):
        size += one
        if size > most:
            until = at
            break
    connection.execute("DELETE FROM answers WHERE route = ? AND at <= ?", (route, until))


class AnswerFile:
    """See the port `Answers`. The file is made when it is first needed; every call runs in a thread, one at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._turn = threading.Lock()
        self._sizes: dict[str, int] = {}  # bytes by route, as far as they are known here

    async def get(self, key: bytes, oldest: int) -> Answer | None:
        def run(connection: sqlite3.Connection) -> Answer | None:
            query = "SELECT answer FROM answers WHERE key = ? AND at > ?"
            found = connection.execute(query, (key, oldest)).fetchone()
            return loads(found[0]) if found else None

        return await asyncio.to_thread(self._do, run)

    async def put(self, key: bytes, route: str, answer: Answer, most: int, oldest: int) -> None:
        def run(connection: sqlite3.Connection) -> None:
            with connection:
                values = (key, route, answer.at, answer.size, answer.dumps())
                connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)", values)
                if route in self._sizes:
                    self._sizes[route] += answer.size
                else:
                    connection.execute("DELETE FROM answers WHERE route = ? AND at <= ?", (route, oldest))
                    self._sizes[route] = _size(connection, route)
                if self._sizes[route] > most:
                    _trim(connection, route, oldest, int(most * LEFT))
                    self._sizes[route] = _size(connection, route)

        await asyncio.to_thread(self._do, run)

    async def close(self) -> None:
        with self._turn:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        with self._turn:
            try:
                return work(self._opened())
            except (sqlite3.Error, OSError, ValueError, TypeError) as error:
                log.warning("the file of answers cannot be used", extra={"error": str(error)})
                return None

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            connection = sqlite3.connect(self.path, timeout=1, check_same_thread=False)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.executescript(_SCHEMA)
            self._connection = connection
        return self._connection
