"""A call whose answer several clients get: one that asked first, and those who asked the same while it was on its way.

The relay writes into the flight as if it were a client; every client, the first one too, reads from it at its own pace.
So nobody's leaving, slowness or cancellation is anybody else's, and the call goes on while somebody is there.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from router.core.entry import Entry
from router.relay import ClientLeft
from router.tally import Ticket


@dataclass(slots=True, eq=False)
class Place:
    """How far one client has read."""

    at: int = 0  # pieces
    taken: int = 0  # bytes


@dataclass(slots=True, eq=False)
class Flight:
    """One call, as a `Reply` that keeps what it is given while it may still be wanted: `most` bytes, so that whoever comes
    later can begin at the beginning; beyond that only what somebody there has not read yet, and the vendor waits for the
    slowest.
    """

    ticket: Ticket
    most: int
    head: Mapping[str, str] | None = None
    status: int = 200
    streamed: bool = False
    pieces: list[bytes] = field(default_factory=list)
    dropped: int = 0  # pieces that nobody needs any more
    size: int = 0  # bytes so far
    forgotten: int = 0  # bytes of what was dropped
    ended: bool = False
    error: BaseException | None = None
    entry: "asyncio.Future[Entry | None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    places: set[Place] = field(default_factory=set)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _read: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def full(self) -> bool:
        """Whether it has become too large to be kept, or to be joined."""
        return self.size > self.most

    # What the relay writes

    async def send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.status, self.head = status, headers
        self._add(body)
        self._somebody()

    async def begin(self, headers: Mapping[str, str]) -> None:
        self.head, self.streamed = headers, True
        self._tell()
        self._somebody()

    async def write(self, data: bytes) -> None:
        """Waits while somebody has more than `most` bytes to read."""
        self._add(data)
        self._somebody()
        if self.full:
            self._drop()
            while self.places and self.size - min(place.taken for place in self.places) > self.most:
                self._read.clear()
                await self._read.wait()
                self._drop()
            self._somebody()

    def end(self, error: BaseException | None = None) -> None:
        """The call is over; `error` says why there is no answer."""
        self.ended, self.error = True, error
        self._tell()

    def _add(self, data: bytes) -> None:
        self.pieces.append(data)
        self.size += len(data)
        self._tell()

    def _somebody(self) -> None:
        if not self.places:
            self.ended = True  # nobody may join what is given up now
            raise ClientLeft

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _drop(self) -> None:
        """Forget what everybody has read."""
        until = min((place.at for place in self.places), default=self.dropped + len(self.pieces))
        if until > self.dropped:
            self.forgotten += sum(map(len, self.pieces[: until - self.dropped]))
            del self.pieces[: until - self.dropped]
            self.dropped = until

    # What clients read

    async def begun(self) -> bool:
        """Wait for the answer to begin; False if there is none."""
        while self.head is None and not self.ended:
            await self._news.wait()
        return self.head is not None

    async def next(self, place: Place) -> bytes | None:
        """The next piece; None after the last."""
        while place.at == self.dropped + len(self.pieces):
            if self.ended:
                return None
            await self._news.wait()
        piece = self.pieces[place.at - self.dropped]
        place.at += 1
        place.taken += len(piece)
        self._read.set()
        return piece

    def leave(self, place: Place) -> None:
        self.places.discard(place)
        self._read.set()
