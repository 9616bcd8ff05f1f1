"""One connection to PostgreSQL and the thread that writes on it: whatever waits when it comes round is one batch.

A connection that was lost is made again at the next batch. What is written is written so that it can be written twice, since
nobody knows whether a commit whose answer was lost has happened.
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg

from router.stores.pgconnection import Raw, cut, open_raw, told
from router.stores.place import Postgres
from router.stores.ports import StoreDown, Unsure

ANSWER_S = 5.0  # nothing is written for so long: whoever waits is told, and nobody need wait until something is
REST_S = 0.5  # after a connection could not be made, before it is tried again: what comes meanwhile fails at once
_TRIES = 5
# Two transactions were in each other's way, or the server has taken this one for lost: it has not happened.
_AGAIN = (
    psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected, psycopg.errors.LockNotAvailable,
)  # fmt: skip

Waiting = tuple[Any, "asyncio.Future[None]"]


class Lane:
    """See the module.

    Args:
        place: the database.
        name: the thread's.
        write: does one batch in a transaction of its own; raises `psycopg.Error` or whatever a bad item does.
        most: items of a batch.
        fresh: told of each new connection before anything is written on it, and of the items of which nobody knows
            whether they were written.
        done: told, in the loop, of the items of each batch, written or not; and of those that were written after whoever
            waited had been told that they may not be.

    """

    def __init__(
        self, place: Postgres, name: str, write: Callable[[Raw, list[Any]], None], most: int,
        fresh: Callable[[Raw, list[Any]], None] = lambda _raw, _unsure: None, done: Callable[[list[Any], list[Any]], None] = lambda _items, _late: None,
    ) -> None:  # fmt: skip
        self._place, self._name, self._write, self._most = place, name, write, most
        self._fresh, self._tell = fresh, done
        self._queue: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._raw: Raw | None = None
        self._used = False  # whether anything has been written on this connection
        self._unsure: list[Any] = []
        self._refused: tuple[float, StoreDown] | None = None  # until when a connection is not tried again, and why
        self._since: float | None = None  # when nothing waited last
        self._waiting = 0
        self._pending: set[asyncio.Future[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._stuck = False  # the server does not answer

    def start(self) -> None:
        """Connect, and begin to write. Raises `StoreDown`."""
        try:
            self._connection()
        except psycopg.Error as error:
            raise told(self._place, error) from None
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Write what waits and disconnect. A server that does not answer is not waited for."""
        if self._thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join, ANSWER_S)
            if self._thread.is_alive() and self._raw is not None:
                cut(self._raw)
                await asyncio.to_thread(self._thread.join, 2 * ANSWER_S)
            self._thread = None
        else:
            self._let_go()
        if self._timer is not None:
            self._timer.cancel()

    def submit(self, item: Any) -> "asyncio.Future[None]":
        """Done when it is durable; fails with `StoreDown`."""
        if self._loop is None or self._thread is None:
            raise StoreDown("the ledger is not open")
        if self._stuck:
            raise StoreDown(self._silent())
        future = self._loop.create_future()
        self._pending.add(future)
        if self._timer is None:
            self._timer = self._loop.call_later(ANSWER_S, self._watch)
        if not self._waiting:
            self._since = time.perf_counter()
        self._waiting += 1
        self._queue.put((item, future))
        return future

    def _watch(self) -> None:
        """See whether anything has been written meanwhile."""
        self._timer = None
        if self._loop is None or self._since is None:
            return
        rest = self._since + ANSWER_S - time.perf_counter()
        if rest > 0:
            self._timer = self._loop.call_later(rest, self._watch)
            return
        self._stuck = True
        pending, self._pending = self._pending, set()
        for future in pending:
            if not future.done():
                future.set_exception(Unsure(self._silent()))

    def _silent(self) -> str:
        return f"{self._place} does not answer"

    def lag(self, now: float) -> float:
        """Seconds for which something has waited, at most."""
        return 0.0 if self._since is None else max(0.0, now - self._since)

    def _run(self) -> None:
        try:
            self._write_what_comes()
        finally:
            self._let_go()

    def _write_what_comes(self) -> None:
        while (first := self._queue.get()) is not None:
            batch = [first]
            while len(batch) < self._most and not self._queue.empty():
                following = self._queue.get_nowait()
                if following is None:
                    self._commit(batch)
                    return
                batch.append(following)
            self._commit(batch)

    def _commit(self, batch: list[Waiting]) -> None:
        """Write a batch; if an item is bad, each alone, so that it does not take the others with it."""
        error = self._apply([item for item, _ in batch])
        if error is not None and len(batch) > 1 and not isinstance(error, StoreDown | psycopg.OperationalError):
            for one in batch:
                self._commit([one])
            return
        if isinstance(error, psycopg.Error):
            error = told(self._place, error)
        with contextlib.suppress(RuntimeError):  # the loop has ended; nobody waits any more
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._done, batch, error)

    def _done(self, batch: list[Waiting], error: Exception | None) -> None:
        self._waiting -= len(batch)
        self._since = time.perf_counter() if self._waiting else None
        self._stuck = False
        late = []
        for item, future in batch:
            self._pending.discard(future)
            if future.done():
                if error is None and not future.cancelled():
                    late.append(item)
            elif error is None:
                future.set_result(None)
            else:
                future.set_exception(error if isinstance(error, StoreDown) else StoreDown(str(error)))
        self._tell([item for item, _ in batch], late)

    def _apply(self, items: list[Any]) -> Exception | None:
        """Why a batch could not be written; None if it was."""
        unsure = False
        for tried in range(1, _TRIES + 1):
            kept = self._used
            try:
                raw = self._connection()
                self._used = True
                self._write(raw, items)
            except Exception as error:  # noqa: BLE001 (whatever it is, those who wait are told and the writer goes on)
                lost = self._after(error, items)
                unsure |= lost
                if isinstance(error, _AGAIN) and tried < _TRIES:
                    continue
                if lost and kept and tried == 1:  # it may have been lost long before
                    continue
                return Unsure(str(told(self._place, error))) if unsure and isinstance(error, psycopg.Error) else error
            return None
        raise AssertionError("unreachable")

    def _after(self, error: Exception, items: list[Any]) -> bool:
        """Clear up after something failed; whether the connection is gone."""
        raw = self._raw
        if raw is None:  # it could not be made
            return False
        usable = not raw.broken and not raw.closed and not isinstance(error, psycopg.errors.ReadOnlySqlTransaction)
        if usable:
            try:
                raw.execute("ROLLBACK")
            except psycopg.Error:
                usable = False
        if not usable:
            self._unsure += items
            self._let_go()
        return not usable

    def _connection(self) -> Raw:
        if self._raw is None:
            if self._refused is not None and time.monotonic() < self._refused[0]:
                raise self._refused[1]
            try:
                self._raw, self._used = open_raw(self._place), False
                unsure, self._unsure = self._unsure, []
                try:
                    self._fresh(self._raw, unsure)
                except BaseException:
                    self._unsure = unsure + self._unsure
                    self._let_go()
                    raise
            except psycopg.Error as error:
                self._refused = time.monotonic() + REST_S, told(self._place, error)
                raise
            self._refused = None
        return self._raw

    def _let_go(self) -> None:
        if self._raw is not None:
            self._raw.close()
            self._raw = None
