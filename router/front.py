"""The HTTP/1.1 server in front: requests to models are read and answered here, every other is handed to aiohttp.

What a model is asked comes as one plain POST with a length: its head is parsed, its body is counted (see `incoming`), and
its answer is written as it comes, at a fraction of what a general server costs. Whatever else is in a head (another path
or method, a body in chunks or packed, an expectation, an upgrade, something that cannot be parsed) is not judged here: the
connection, with every byte that has come of that request, is aiohttp's from then on, and the same endpoints are there too.
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from router.api import STREAM, respond
from router.app import Farebox
from router.clock import Clock
from router.core.catalog import Endpoint
from router.incoming import MAX_HEAD, UNREAD, Incoming, read_head
from router.relay import ClientLeft

UNTAKEN = 2**17  # bytes of an answer that a client has not taken beyond which writing waits
KEPT_S = 75.0  # how long a connection is kept that nobody uses
LINGER_S = 10.0  # how long the rest of a refused body is read, so that its sender gets the answer and no reset
_START = b"POST /v1/"
_NOT_IN_A_HEADER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class FrontReply:
    """The way back to one client; see `relay.Reply` and `room.Writer`."""

    __slots__ = ("_clock", "_front", "_transport", "begun", "keeps", "streams", "waits_since")

    def __init__(self, front: "Front", transport: asyncio.Transport, clock: Clock, *, keeps: bool) -> None:
        self._front, self._transport, self._clock = front, transport, clock
        self.keeps = keeps  # whether the connection may be used again; once the head is out, what it has told
        self.begun = False
        self.streams = False  # the last piece is still to come
        self.waits_since: float | None = None

    async def send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self._start(status, headers, f"Content-Length: {len(body)}\r\n", body)
        if self._front.flowing is not None:
            await self._taken()

    async def begin(self, headers: Mapping[str, str]) -> None:
        self._start(200, {**headers, **STREAM}, "Transfer-Encoding: chunked\r\n")
        self.streams = True
        if self._front.flowing is not None:
            await self._taken()

    async def write(self, data: bytes) -> None:
        """Waits while more than about 128 kB have not been taken."""
        if not self.streams:
            raise RuntimeError("a stream is written before it has begun")
        if self._transport.is_closing():
            raise ClientLeft
        if data:  # a piece of nothing would be the end
            self._transport.writelines((b"%x\r\n" % len(data), data, b"\r\n"))
        if self._front.flowing is not None:
            await self._taken()

    def end(self) -> None:
        """The last piece, where there is a stream."""
        if self.streams and not self._transport.is_closing():
            self._transport.write(b"0\r\n\r\n")

    def _start(self, status: int, headers: Mapping[str, str], more: str, body: bytes = b"") -> None:
        if self._transport.is_closing():
            raise ClientLeft
        self.keeps = self.keeps and not self._front.leaving
        head = _head(status, headers, more, keeps=self.keeps)
        self.begun = True
        self._transport.write(head + body if len(body) < UNTAKEN else head)
        if len(body) >= UNTAKEN:
            self._transport.write(body)

    async def _taken(self) -> None:
        if (flowing := self._front.flowing) is None:
            return
        self.waits_since = self._clock.seconds()
        try:
            await asyncio.shield(flowing)
        finally:
            self.waits_since = None
        if self._transport.is_closing():
            raise ClientLeft

    def cut(self) -> None:
        self._transport.abort()


class Front(asyncio.Protocol):
    """One connection, until it is aiohttp's."""

    __slots__ = (
        "_all",
        "_ends",
        "_farebox",
        "_idle_since",
        "_inside",
        "_loop",
        "_request",
        "_rest",
        "_transport",
        "flowing",
        "task",
    )

    def __init__(self, farebox: Farebox, inside: Callable[[], asyncio.BaseProtocol], every: "set[Front]") -> None:
        self._farebox, self._inside, self._all = farebox, inside, every
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._rest = b""  # of what has come, what no request has taken
        self._request: Incoming | None = None
        self.task: asyncio.Task[None] | None = None
        self._ends: asyncio.TimerHandle | None = None
        self._idle_since = 0.0
        self.flowing: asyncio.Future[None] | None = None  # done once the client takes more; None: it does

    @property
    def leaving(self) -> bool:
        """Whether connections are not to be used again."""
        return self._farebox.leaving

    # What asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream's transport is a Transport
        transport.set_write_buffer_limits(UNTAKEN)  # type: ignore[attr-defined]
        self._all.add(self)
        self._idle_since = self._loop.time()
        self._ends = self._loop.call_later(KEPT_S, self._close_idle)

    def data_received(self, data: bytes) -> None:
        request = self._request
        if request is None:
            self._rest += data
            self._next()
        elif data := request.take(data):
            self._rest += data
            if len(self._rest) > UNREAD and self._transport is not None:
                self._transport.pause_reading()

    def pause_writing(self) -> None:
        self.flowing = self._loop.create_future()

    def resume_writing(self) -> None:
        flowing, self.flowing = self.flowing, None
        if flowing is not None and not flowing.done():
            flowing.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (who has left has left)
        self._all.discard(self)
        if self._ends is not None:
            self._ends.cancel()
        self.resume_writing()
        if self._request is not None:
            self._request.wake()

    # One request after the other

    def _next(self) -> None:
        """Begin the request whose head has come, or hand the connection over."""
        raw, transport = self._rest, self._transport
        if transport is None:
            return
        end = raw.find(b"\r\n\r\n", 0, MAX_HEAD) + 4
        head = None
        if end > 3:
            head = read_head(raw[:end])
        elif len(raw) < MAX_HEAD and raw[: len(_START)] == _START[: len(raw)]:
            return  # there is more to come
        if head is None:
            self._hand_over(transport)
            return
        request = self._request = Incoming(head, transport)
        self._rest = request.take(raw[end:])
        self.task = self._loop.create_task(self._serve(head.endpoint, request, transport))

    def _hand_over(self, transport: asyncio.Transport) -> None:
        self._all.discard(self)
        if self._ends is not None:
            self._ends.cancel()
        inside, raw = self._inside(), self._rest
        self._rest = b""
        transport.set_write_buffer_limits()
        transport.set_protocol(inside)
        inside.connection_made(transport)
        inside.data_received(raw)  # type: ignore[attr-defined]  # it is a Protocol

    async def _serve(self, endpoint: Endpoint, request: Incoming, transport: asyncio.Transport) -> None:
        reply = FrontReply(self, transport, self._farebox.clock, keeps=request.keeps)
        try:
            refusal = await respond(self._farebox, endpoint, request, reply)
            if refusal is not None:
                await reply.send(*refusal)
            reply.end()
        except ClientLeft:
            transport.abort()
        except BaseException:
            transport.abort()
            raise
        else:
            self._done(request, reply, transport)

    def _done(self, request: Incoming, reply: FrontReply, transport: asyncio.Transport) -> None:
        """The answer is out; the connection is free for the next request, or ends."""
        if not request.whole:
            transport.resume_reading()
            self.task = self._loop.create_task(self._drop(request, reply, transport))
            return
        self._request = self.task = None
        if not reply.keeps:  # only if its client was told: the next request may be on its way
            transport.close()
            return
        self._idle_since = self._loop.time()
        if self._rest and not transport.is_closing():
            transport.resume_reading()
            self._next()

    async def _drop(self, request: Incoming, reply: FrontReply, transport: asyncio.Transport) -> None:
        """Read what is left of a body that nobody wants, for a while."""
        late = self._loop.call_later(LINGER_S, transport.close)
        try:
            while not request.at_eof():
                await request.readany()
        except ConnectionError:
            return
        finally:
            late.cancel()
        self._done(request, reply, transport)

    def _close_idle(self) -> None:
        wait = self._idle_since + KEPT_S - self._loop.time()
        if self._request is None and wait <= 0:
            if self._transport is not None:
                self._transport.close()
            return
        self._ends = self._loop.call_later(max(wait, 1.0) if self._request is None else KEPT_S, self._close_idle)

    def close(self) -> None:
        """End it, whatever is under way."""
        if self.task is not None:
            self.task.cancel()
        if self._transport is not None:
            self._transport.close()


async def close_all(fronts: Iterable[Front], grace_s: float) -> None:
    """End every connection; what is under way may go on for a moment, and is cancelled then."""
    here = list(fronts)
    tasks = [front.task for front in here if front.task is not None]
    if tasks:
        await asyncio.wait(tasks, timeout=grace_s)
    for front in here:
        front.close()
    await asyncio.gather(*tasks, return_exceptions=True)


def _head(status: int, headers: Mapping[str, str], more: str, *, keeps: bool) -> bytes:
    """The head of an answer. Raises `ValueError`: a header holds what would end it."""
    if _NOT_IN_A_HEADER.search("".join(headers.values())):
        raise ValueError("a header of the answer holds control characters")
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    parting = "" if keeps else "Connection: close\r\n"
    text = f"{_status_line(status)}{lines}{more}Date: {_date(int(time.time()))}\r\n{parting}\r\n"
    return text.encode("utf-8", "surrogateescape")


@lru_cache(maxsize=64)
def _status_line(status: int) -> str:
    try:
        return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
    except ValueError:
        return f"HTTP/1.1 {status} \r\n"


@lru_cache(maxsize=2)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
