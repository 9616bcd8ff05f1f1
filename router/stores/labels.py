"""Who writes labels: one thread behind a queue that has an end, so that no request ever waits for it.

A request that finds the queue full is not kept, and counted; a label waits for its commit, or is refused. Features are
worked out on the thread too. The file is made with the first thing that is written.
"""

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from router.core.catalog import ChatRequest
from router.core.labels import Asked, Label, Labelled, text_of, told
from router.stores import labelfile
from router.stores.ports import StoreDown

log = logging.getLogger("farebox.labels")

WAITING = 1000  # requests
WAITING_BYTES = 32 * 2**20  # of their prompts
BATCH = 256
PRUNE_S = 300.0  # how often what is too old is looked for; what is too much, with each batch


@dataclass(frozen=True, slots=True)
class Keep:
    """How long and how much is kept."""

    days: int = 90
    max_bytes: int = 256 * 2**20
    prompt_days: Mapping[str, int] = field(default_factory=dict)  # team → days, of those that store prompts


@dataclass(slots=True)
class _Operation:
    work: Callable[[sqlite3.Connection], Any]
    size: int = 0
    route: str = ""
    future: "asyncio.Future[Any] | None" = None
    loop: asyncio.AbstractEventLoop | None = None


Features = Callable[[Mapping[str, Any]], tuple[bytes, list[float]]]


class LabelStore:
    """One file of labels.

    Args:
        path: where it is, or will be.
        now: microseconds since 1970.
        features: of a request in the hub's words the hashed pieces of its text, little-endian 32-bit numbers that ascend,
            and the figures of its shape, as a quality model takes them.
        text: what of a request is scored.

    """

    def __init__(
        self,
        path: Path,
        now: Callable[[], int],
        features: Features = lambda _: (b"", []),
        text: Callable[[ChatRequest], str] = text_of,
        keep: Keep | None = None,
    ) -> None:
        self.path = path
        self.features = features
        self.keep = keep or Keep()
        self.dropped: Counter[str] = Counter()  # requests that were not kept, by route
        self._text = text
        self._now = now
        self._queue: queue.Queue[_Operation | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._waiting = self._bytes = 0
        self._pruned = 0

    # What is written

    def offer(self, asked: Asked, chat: ChatRequest) -> bool:
        """Keep a request, if there is room; its words only where its team says so."""
        stored = asked.team in self.keep.prompt_days

        def work(connection: sqlite3.Connection) -> None:
            text = self._text(chat)
            pieces, figures = self.features(chat.said)
            seen = asked if asked.shape is None else replace(asked, shape={**asked.shape, "figures": figures})
            labelfile.write_asked(connection, seen, pieces, text if stored else None)

        return self._offer(_Operation(work, chat.prompt.size, asked.route))

    def offer_cost(self, request_id: str, model: str, nano: int, route: str) -> bool:
        """Keep what a model's answer to a request has cost, if there is room."""
        return self._offer(_Operation(lambda c: labelfile.write_cost(c, request_id, model, nano), 0, route))

    async def label(self, labels: Sequence[Label], bare: Sequence[Asked] = ()) -> list[Labelled]:
        """Keep labels, and of the requests that they are of what the ledger knows, where nothing more is known.

        Raises:
            StoreDown: they are not kept.

        """

        def work(connection: sqlite3.Connection) -> list[Labelled]:
            for asked in bare:
                labelfile.write_asked(connection, asked, b"", None)
            return [one for name in dict.fromkeys(label.request_id for label in labels) for one in of(connection, name)]

        def of(connection: sqlite3.Connection, name: str) -> list[Labelled]:
            before = frozenset((one.model, one.source) for one in labelfile.labels_of(connection, name))
            new = {(label.model, label.source): label for label in labels if label.request_id == name}
            for label in new.values():
                labelfile.write_label(connection, label)
            known = labelfile.labels_of(connection, name)
            route, served = labelfile.route_of(connection, name)
            return told(route, list(new.values()), known, before, served)

        found: list[Labelled] = await self._wait(work)
        return found

    async def prune(self) -> None:
        """Delete what is beyond the bounds. Raises `StoreDown`."""
        self._pruned = 0
        await self._wait(lambda _: None)

    async def flush(self) -> None:
        """Wait until what was offered is written. Raises `StoreDown`."""
        if self._thread is not None:
            await self._wait(lambda _: None)

    async def _wait(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        if not self._offer(_Operation(work, 0, "", future, loop)):
            raise StoreDown("too much waits to be written to the labels")
        return await future

    def _offer(self, operation: _Operation) -> bool:
        with self._lock:
            full = self._waiting >= WAITING or self._bytes + operation.size > WAITING_BYTES
            if not full:
                self._waiting += 1
                self._bytes += operation.size
                self._queue.put(operation)
        if full:
            if operation.future is None:
                self.dropped[operation.route] += 1
            return False
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="labels", daemon=True)
            self._thread.start()
        return True

    async def stop(self) -> None:
        """Write what waits, and let the file go."""
        if self._thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None

    # The thread

    def _write(self) -> None:
        connection: sqlite3.Connection | None = None
        stopping = False
        while not stopping:
            batch, stopping = self._batch()
            if not batch:
                continue
            try:
                connection = connection or labelfile.open_to_write(self.path)
                answers = self._commit(connection, batch)
                self._bound(connection)
            except (sqlite3.Error, StoreDown) as error:
                log.error("labels could not be written", extra={"error": str(error), "count": len(batch)})  # noqa: TRY400 (the cause is in the message)
                self._fail(batch, StoreDown(f"{self.path}: {error}"))
                if connection is not None:
                    connection.close()
                    connection = None
            else:
                self._answer(batch, answers)
        if connection is not None:
            connection.close()

    def _batch(self) -> tuple[list[_Operation], bool]:
        """What waits, and whether it is the last."""
        out, first = list[_Operation](), self._queue.get()
        while first is not None:
            out.append(first)
            if len(out) >= BATCH or self._queue.empty():
                break
            first = self._queue.get_nowait()
        with self._lock:
            self._waiting -= len(out)
            self._bytes -= sum(operation.size for operation in out)
        return out, first is None

    def _commit(self, connection: sqlite3.Connection, batch: list[_Operation]) -> list[Any]:
        """Everything in one transaction; one that fails by itself, as on features that cannot be made, is left out."""
        answers: list[Any] = []
        connection.execute("BEGIN IMMEDIATE")
        try:
            for operation in batch:
                connection.execute("SAVEPOINT one")
                try:
                    answers.append(operation.work(connection))
                except sqlite3.OperationalError:
                    raise
                except Exception as error:
                    log.exception("a request could not be kept for its labels, which is a bug")
                    connection.execute("ROLLBACK TO one")
                    answers.append(StoreDown(f"{self.path}: {type(error).__name__}"))
                connection.execute("RELEASE one")
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
        return answers

    def _bound(self, connection: sqlite3.Connection) -> None:
        now, keep = self._now(), self.keep
        if now - self._pruned >= PRUNE_S * 1_000_000 or labelfile.size(connection) > keep.max_bytes:
            labelfile.prune(connection, now, keep.days, keep.max_bytes, keep.prompt_days)
            self._pruned = now

    def _fail(self, batch: list[_Operation], error: StoreDown) -> None:
        self._answer(batch, [error] * len(batch))

    def _answer(self, batch: list[_Operation], answers: list[Any]) -> None:
        for operation, answer in zip(batch, answers, strict=True):
            if operation.future is not None and operation.loop is not None:
                with contextlib.suppress(RuntimeError):  # the loop has ended; nobody waits any more
                    operation.loop.call_soon_threadsafe(_set, operation.future, answer)
            elif isinstance(answer, StoreDown):
                self.dropped[operation.route] += 1


def _set(future: "asyncio.Future[Any]", answer: Any) -> None:
    if future.done():
        return
    if isinstance(answer, StoreDown):
        future.set_exception(answer)
    else:
        future.set_result(answer)
