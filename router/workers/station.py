"""A worker's own side of it: how it tells the parent, does what the parent says, and serves the queues of siblings that have died."""

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from router.stores.memory import MemoryAccounts
from router.stores.ports import StoreDown
from router.workers import supervisor
from router.workers.answers import together
from router.workers.siblings import Siblings

if TYPE_CHECKING:
    from router.admin.logins import Logins
    from router.app import Farebox

log = logging.getLogger("farebox.workers")

Listen = Callable[[socket.socket], Awaitable[asyncio.AbstractServer]]


@dataclass(slots=True)
class Station:
    """Where a worker serves."""

    number: int
    sockets: Sequence[Sequence[socket.socket]]  # of each worker, by number
    channel: socket.socket
    _siblings: Siblings | None = None
    _writer: asyncio.StreamWriter | None = None
    _listens: Listen | None = None
    _covered: dict[int, list[asyncio.AbstractServer]] = field(default_factory=dict)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def begin(self, farebox: "Farebox", logins: "Logins", listen: Listen, leave: Callable[[], Any]) -> None:
        """Answer siblings, and do what the parent says until it ends."""
        await together(farebox, logins)
        self._siblings = farebox.siblings
        reader, self._writer = await asyncio.open_connection(sock=self.channel)
        self._listens = listen
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._obey(reader, farebox, leave)), loop.create_task(self._beat())]
        farebox.siblings.say = self.say
        farebox.sharing.named.append(lambda name: self.say(replica=name))
        if not isinstance(farebox.accounts, MemoryAccounts):
            self.say(replica=farebox.accounts.replica)

    def say(self, **what: Any) -> None:
        if self._writer is not None:
            self._writer.write(orjson.dumps(what) + b"\n")

    async def _beat(self) -> None:
        """Tell the parent that the loop turns."""
        while True:
            self.say(alive=True)
            await asyncio.sleep(supervisor.BEAT_S)

    async def _obey(self, reader: asyncio.StreamReader, farebox: "Farebox", leave: Callable[[], Any]) -> None:
        while line := await reader.readline():
            told = orjson.loads(line)
            try:
                await self._do(told, farebox)
            except Exception:
                log.exception("what the parent said could not be done")
        leave()  # there is no parent any more

    async def _do(self, told: dict[str, Any], farebox: "Farebox") -> None:
        if told["do"] == "complete":
            farebox.siblings.complete = True
        elif told["do"] == "cover":
            await self._cover(told["number"])
        elif told["do"] == "uncover":
            self._uncover(told["number"])
        elif told["do"] == "bury":
            await self._bury(farebox, told["replica"])

    async def _cover(self, number: int) -> None:
        """Serve the queue of one that has died, where it has one of its own."""
        mine = {sock.fileno() for sock in self.sockets[self.number]}
        if self._listens is None or number in self._covered:
            return
        copies = [socket.socket(fileno=os.dup(s.fileno())) for s in self.sockets[number] if s.fileno() not in mine]
        self._covered[number] = [await self._listens(sock) for sock in copies]

    def _uncover(self, number: int) -> None:
        for listener in self._covered.pop(number, ()):
            listener.close()

    async def _bury(self, farebox: "Farebox", replica: str) -> None:
        """Close what a dead sibling has left open, at once; if that fails it is closed once its time in the store is over."""
        try:
            await farebox.sharing.bury(replica, surely=True)
        except StoreDown as error:
            log.error("a dead worker's attempts could not be closed yet", extra={"error": str(error)})  # noqa: TRY400 (the cause is in the message)
        self.say(buried=replica)

    def close(self) -> None:
        """Take nothing more from anybody."""
        for number in tuple(self._covered):
            self._uncover(number)

    async def end(self) -> None:
        """The worker has nothing on its way any more."""
        if self._siblings is not None:
            await self._siblings.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.say(ends=True)
        if self._writer is not None:
            self._writer.close()
