"""How workers ask one another: a socket for each, in a folder that is only for their own user.

A question is a line of JSON, `{"do": NAME, ...}`, its answer another; a connection is for one question. Whoever does not
answer in time is taken for dead, and the others answer without it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from prometheus_client.core import Metric

from router.workers.scrape import Counted

log = logging.getLogger("farebox.workers")

ASK_S = 2.0
LINE = 2**26  # bytes of an answer: two thousand decisions are some megabytes

Answer = Callable[[Mapping[str, Any]], Awaitable[Any]]


class Gone(Exception):
    """A sibling does not answer."""


@dataclass(slots=True)
class Siblings:
    """The workers beside this one; none where one process serves alone."""

    folder: Path | None = None
    number: int = 0
    count: int = 1
    complete: bool = True  # all of them have been ready
    counted: Counted | None = None
    say: Callable[..., None] = lambda **_: None  # something to the parent
    answers: dict[str, Answer] = field(default_factory=dict)
    _server: asyncio.AbstractServer | None = None
    _telling: set[asyncio.Task[Any]] = field(default_factory=set)
    _answering: set[asyncio.Task[Any]] = field(default_factory=set)

    @property
    def alone(self) -> bool:
        return self.count == 1

    @property
    def first(self) -> bool:
        """Whether this is the one that does what is to be done once for all: alerts, checkpoints, export."""
        return self.number == 0

    @property
    def others(self) -> list[int]:
        return [number for number in range(self.count) if number != self.number]

    def place(self, number: int, kind: str = "sock") -> Path:
        if self.folder is None:
            raise RuntimeError("a process that serves alone has no place")
        return self.folder / f"{number}.{kind}"

    def tells(self, own: Sequence[Metric]) -> Sequence[Metric]:
        """What this worker tells at a scrape, of itself and of those that had its place before it."""
        return own if self.counted is None else self.counted.tell(own)

    # Asking

    async def ask(self, number: int, do: str, **told: Any) -> Any:
        """Raises `Gone`."""
        try:
            async with asyncio.timeout(ASK_S):
                line = await self._asked(number, orjson.dumps({"do": do, **told}) + b"\n")
        except (OSError, TimeoutError, ValueError):
            raise Gone(f"worker {number} does not answer") from None
        found = orjson.loads(line or b'{"error":"it has ended"}')
        if "error" in found:
            raise Gone(f"worker {number}: {found['error']}")
        return found["found"]

    async def _asked(self, number: int, line: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(self.place(number), limit=LINE)
        try:
            writer.write(line)
            return await reader.readline()
        finally:
            writer.close()

    async def ask_all(self, do: str, **told: Any) -> dict[int, Any]:
        """The answers of those that answer, by their numbers."""
        found = await asyncio.gather(*(self._ask_or_gone(number, do, told) for number in self.others))
        return {
            number: answer for number, answer in zip(self.others, found, strict=True) if not isinstance(answer, Gone)
        }

    async def _ask_or_gone(self, number: int, do: str, told: Mapping[str, Any]) -> Any:
        try:
            return await self.ask(number, do, **told)
        except Gone as gone:
            return gone

    def tell_all(self, do: str, **told: Any) -> None:
        """The same without waiting for it; whoever does not hear it is dead, or asks when it begins."""
        if not self.alone:
            self._later(self.ask_all(do, **told))

    def tell_first(self, do: str, **told: Any) -> None:
        self._later(self._ask_or_gone(0, do, told))

    def _later(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    # Answering

    async def listen(self) -> None:
        """Answer from now on."""
        if self.alone:
            return
        place = self.place(self.number)
        place.unlink(missing_ok=True)  # of whoever was here before
        self._server = await asyncio.start_unix_server(self._serve, place, limit=LINE)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        try:
            # a sibling that has died meanwhile; or this one ends, which `asyncio.streams` could not be told by a cancelled task
            with contextlib.suppress(ConnectionError, ValueError, asyncio.CancelledError):
                if line := await reader.readline():
                    writer.write(orjson.dumps(await self._answer(orjson.loads(line))) + b"\n")
                    await writer.drain()
        finally:
            writer.close()

    async def _answer(self, told: Mapping[str, Any]) -> dict[str, Any]:
        answer = self.answers.get(told["do"])
        if answer is None:
            return {"error": f"it cannot answer {told['do']!r}"}
        try:
            return {"found": await answer(told)}
        except Exception as error:  # whatever it is, who asks is told
            log.exception("a sibling could not be answered")
            return {"error": f"{type(error).__name__}: {error}"}

    async def stop(self) -> None:
        """Answer nobody any more, once what was to be told is told."""
        if self._telling:
            await asyncio.wait(set(self._telling), timeout=ASK_S)
        if self._server is not None:
            self._server.close()
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)
