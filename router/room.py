"""How much may be in the process at once, and how long a client may keep it waiting.

Memory is given to a request in three places, and each has its bound: the request itself (`max_in_flight`), its body, which
is counted while it comes (`max_bodies_bytes`), and what a client does not take of its answer, which stops the reading of
the vendor's. What is beyond a bound is refused while refusing is still cheap: before the body is read.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from router.clock import Clock
from router.core.errors import Overloaded, SlowClient, TooLarge

SLOWEST = 10_000  # bytes a second of a body, once `client_timeout` is over: slower is not a network but an attack


class Bounds(Protocol):
    """What of `server` in the configuration is meant here."""

    max_in_flight: int
    max_body_bytes: int
    max_bodies_bytes: int
    client_timeout: float


class Body(Protocol):
    """A body that is still coming, as aiohttp has it. It keeps some 128 kB itself and then pauses the socket."""

    def read_nowait(self, n: int = -1) -> bytes: ...
    async def readany(self) -> bytes: ...
    def at_eof(self) -> bool: ...


class Writer(Protocol):
    """The way back to a client."""

    waits_since: float | None
    """Since when the last piece has not been taken; None while nothing waits."""

    def cut(self) -> None:
        """End the connection, whatever is still to be sent."""


@dataclass(slots=True, eq=False)
class Seat:
    """One request's place; what it has taken of the process is given back with it."""

    room: "Room"
    body_bytes: int = 0
    writer: Any = None

    def __enter__(self) -> Self:
        self.room.seats.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.room.seats.discard(self)
        self.room.body_bytes -= self.body_bytes

    async def read(self, body: Body, length: int | None, bounds: Bounds) -> bytes:
        """A body, piece by piece, within the bounds. `length` is what the client says of it, if it does.

        Raises:
            TooLarge: it is larger than any body may be.
            Overloaded: all bodies together would be.
            SlowClient: it does not come on.

        """
        self._allow(length or 0, bounds)
        pieces = [body.read_nowait()]
        size = self._count(len(pieces[0]), 0, bounds)
        if body.at_eof():  # all of it came with its head: the usual case
            return pieces[0]
        begun = asyncio.get_running_loop().time()
        while not body.at_eof():
            piece = body.read_nowait() or await _more(body, begun + bounds.client_timeout + size / SLOWEST)
            size = self._count(len(piece), size, bounds)
            pieces.append(piece)
        return b"".join(pieces)

    def _count(self, more: int, before: int, bounds: Bounds) -> int:
        """The size of a body with another piece, which is here from now on."""
        self._allow(before + more, bounds)
        self.body_bytes += more
        self.room.body_bytes += more
        return before + more

    def _allow(self, size: int, bounds: Bounds) -> None:
        if size > bounds.max_body_bytes:
            raise TooLarge(f"the body is larger than {bounds.max_body_bytes} bytes")
        most = bounds.max_bodies_bytes
        if self.room.parts > 1:  # one that may come at all must not be refused for ever
            most = max(bounds.max_body_bytes, most // self.room.parts)
        if self.room.body_bytes - self.body_bytes + size > most:
            raise Overloaded("the bodies of other requests fill the memory that is set aside for them", retry_after_s=1)


async def _more(body: Body, deadline: float) -> bytes:
    try:
        async with asyncio.timeout_at(deadline):
            return await body.readany()
    except TimeoutError:
        raise SlowClient("the body did not come in time") from None


@dataclass(slots=True)
class Room:
    """What is in the process now."""

    clock: Clock
    most: int | None = None
    """Requests that can be served at once with the files that the process may open; None is any number."""
    parts: int = 1  # processes that share what is configured, each with its part
    seats: set[Seat] = field(default_factory=set)
    body_bytes: int = 0
    cut: Counter[str] = field(default_factory=Counter)  # clients that were sent away, by why

    @property
    def in_flight(self) -> int:
        return len(self.seats)

    def enter(self, bounds: Bounds) -> Seat:
        """A place for one more request. Raises `Overloaded`."""
        most = -(-bounds.max_in_flight // self.parts)
        if self.most is not None:
            most = min(self.most, most)
        if len(self.seats) >= most:
            raise Overloaded(f"{most} requests are in flight, as many as may be", retry_after_s=1)
        return Seat(self)

    def turned_away(self) -> None:
        """A connection was not let in."""
        self.cut["turned_away"] += 1

    def cut_slow(self, bounds: Bounds) -> None:
        """End the connections of clients that have taken nothing for too long."""
        latest = self.clock.seconds() - bounds.client_timeout
        for seat in list(self.seats):
            writer: Writer | None = seat.writer
            if writer is not None and writer.waits_since is not None and writer.waits_since < latest:
                self.cut["reads_slowly"] += 1
                writer.cut()
