"""One process takes the place of another, and no connection is lost.

Who serves listens on a socket beside its store (`NAME.sock`, only for its own user). A process that is started with
`--takeover` connects to it and is given

1. the listening sockets themselves: both then accept from one queue, and closing them in one process loses nothing of it,
   as it would where each has a socket of its own on the port (`SO_REUSEPORT`);
2. once it has read its configuration, the store: the ledger is written out and let go, and whatever is on its way is told;
3. when it serves, the old process stops accepting, answers what comes on its connections with `Connection: close`, and ends
   with its last request. For what these requests still need it asks the new one (see `lending`).

Where the two are of different versions the old one ends first, as after SIGTERM, and the new one waits for the store;
connections wait in the queue meanwhile.
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from router import __version__
from router.core.entry import Charges
from router.lending import Borrowed
from router.stores.ports import StoreDown

if TYPE_CHECKING:
    from router.app import Farebox

log = logging.getLogger("farebox.handover")

PATIENCE_S = 60.0  # for the other process, which may have a large ledger to sum up
MOST_SOCKETS = 250  # the kernel takes 253 in a message
LINE = 2**26  # bytes of a message: holds of ten thousand requests are some three megabytes


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name of the path that fits a socket's 108 bytes, whatever its folder."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}" if Path("/proc/self/fd").exists() else str(path)
    finally:
        os.close(folder)


def listen_at(path: Path) -> socket.socket:
    """A socket at a path, for its own user alone; whatever was there goes. Raises `OSError`."""
    listener = socket.socket(socket.AF_UNIX)
    with _short(path) as name:
        path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            listener.bind(name)
        finally:
            os.umask(before)
    listener.listen(4)
    return listener


# The process that comes


@dataclass(slots=True)
class Taken:
    """What the process that goes has handed over so far."""

    sockets: list[socket.socket]
    same_version: bool
    workers: bool = False  # several of them, whose store can be shared
    lent: bool = False  # the other process borrows the store from now on
    holds: Mapping[str, Charges] = field(default_factory=dict)  # what it has set aside
    _connection: socket.socket | None = None
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def store(self) -> bool:
        """Ask for the store: True if the other lets it go at once, False if it has to end first."""
        if self._connection is None:
            raise RuntimeError("the store was asked for already")
        self._connection.setblocking(False)
        reader, writer = self.streams = await asyncio.open_connection(sock=self._connection, limit=LINE)
        self._connection = None
        writer.write(b'{"want":"store"}\n' if self.same_version else b'{"want":"end"}\n')
        try:
            async with asyncio.timeout(PATIENCE_S):
                line = await reader.readline()
        except (TimeoutError, ConnectionError):
            line = b""
        if not line:
            return False
        self.lent = True
        self.holds = {name: tuple(map(tuple, holds)) for name, holds in orjson.loads(line)["holds"].items()}
        return True

    def say(self, **what: Any) -> None:
        """Tell it something, for a process that has no event loop."""
        if self._connection is not None:
            with contextlib.suppress(OSError):  # it has ended already
                self._connection.sendall(orjson.dumps(what) + b"\n")

    def ready(self) -> None:
        """Requests are served here: the other may leave."""
        if self.streams is not None:
            self.streams[1].write(b'{"ready":true}\n')

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self.streams is not None:
            self.streams[1].close()


def place_of(store: Path) -> Path:
    """Where the process that has a store is asked for it."""
    return store.with_name(f"{store.name}.sock")


def ask(store: Path) -> Taken | None:
    """The listening sockets of whoever serves from this store; None if nobody does. Blocks."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        with _short(place_of(store)) as name:
            connection.settimeout(PATIENCE_S)
            connection.connect(name)
        told, files, _, _ = socket.recv_fds(connection, 4096, MOST_SOCKETS)
    except OSError:
        connection.close()
        return None
    if not told:
        connection.close()
        return None
    sockets = [socket.socket(fileno=number) for number in files]
    said = orjson.loads(told)
    return Taken(sockets, said["version"] == __version__, bool(said.get("workers")), _connection=connection)


def chosen(taken: Taken, host: str, port: int) -> list[socket.socket]:
    """Of the sockets that were handed over those that listen where the configuration says; others are closed."""
    kept = [s for s in taken.sockets if s.family != socket.AF_UNIX and port in {0, s.getsockname()[1]} and _is(s, host)]
    for sock in set(taken.sockets) - set(kept):
        sock.close()
    return kept


def _is(sock: socket.socket, host: str) -> bool:
    found = socket.getaddrinfo(host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return sock.getsockname()[0] in {address[0] for *_, address in found}


# The process that goes


class Offer:
    """Waits for a process that takes over, and hands over to it."""

    def __init__(self, farebox: "Farebox", sockets: Sequence[socket.socket], leave: Callable[[], Any]) -> None:
        self._farebox = farebox
        self._path = place_of(farebox.ledger.path)
        self._sockets = sockets
        self._leave = leave
        self._listener: socket.socket | None = None

    def open(self) -> None:
        """Take the place beside the store. Raises `OSError`."""
        self._listener = listen_at(self._path)
        self._listener.setblocking(False)

    async def wait(self) -> None:
        """Hand over to the first that comes and stays."""
        if self._listener is None:
            raise RuntimeError("nothing is offered yet")
        loop, borrowed = asyncio.get_running_loop(), None
        while borrowed is None:
            connection, _ = await loop.sock_accept(self._listener)
            borrowed = await self._hand_over(connection)
        self._listener.close()  # its place is the other's now
        await borrowed.answers()

    async def _hand_over(self, connection: socket.socket) -> Borrowed | None:
        """The store as it is borrowed back; None if the other did not stay, or is to wait."""
        connection.setblocking(False)
        told = orjson.dumps({"version": __version__})
        try:
            socket.send_fds(connection, [told], [sock.fileno() for sock in self._sockets])
            reader, writer = await asyncio.open_connection(sock=connection, limit=LINE)
            line = await reader.readline()
        except OSError:
            connection.close()
            return None
        wants = line and orjson.loads(line)["want"]
        if wants == "end":
            self._leave()
        borrowed = await self._lend(reader, writer) if wants == "store" else None
        if borrowed is None:
            writer.close()
        return borrowed

    async def _lend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Borrowed | None:
        borrowed, line = Borrowed(reader, writer), b""
        async with self._farebox.giving(borrowed) as holds:
            writer.write(orjson.dumps({"holds": holds}) + b"\n")
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(PATIENCE_S):
                    line = await reader.readline()
            if not line:
                log.error("the process that was to take over did not; this one goes on")
                borrowed.end()
                try:
                    await self._farebox.take_back()
                except StoreDown as error:
                    log.error("and cannot, so it ends", extra={"error": str(error)})  # noqa: TRY400 (the cause is in the message)
                    self._leave()
                return None
        log.info("another process has taken over")
        self._leave()
        return borrowed

    def close(self) -> None:
        """Nobody can take over any more."""
        if self._listener is not None and self._listener.fileno() >= 0:
            self._listener.close()
            self._path.unlink(missing_ok=True)


async def store_let_go(start: Callable[[], None]) -> None:
    """Take a store as soon as the process that ends has let it go. Raises `StoreDown` when it does not."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while True:
        try:
            start()
        except StoreDown:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.05)
        else:
            return
