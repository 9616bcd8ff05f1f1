"""The default HTTP client: HTTP/1.1 on asyncio protocols, parsed by llhttp (through httptools), kept alive, pooled.

It does what calls to LLM vendors need and no more, and costs a fraction of a general client: no redirect is followed, no
cookie kept, no encoding asked for. An exchange begins on an idle connection without a task and without a wait; only a new
connection needs one. What is received while nobody reads is bounded: past a mark the socket is not read any more.

A connection carries one exchange at a time. It goes back to its pool when an answer is complete and both sides keep it
alive, and is dropped in every other case: there is never a byte of one answer in front of the next.
"""

import asyncio
import ssl
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import httptools

from router import __version__
from router.core.failure import AttemptFailed, Failure, Fault
from router.upstream import MAX_REPLY, Exchange, UpstreamCall

IDLE_S = 30.0  # how long a connection is kept unused: less than servers commonly keep theirs (60 s and more)
MAX_IDLE = 1024  # kept connections for each server
HIGH_WATER = 2**18  # bytes received and not yet read, past which the socket is paused
MAX_HEAD = 2**17  # bytes of an answer's status line and headers

Place = tuple[str, int, bool]  # host, port, TLS


@lru_cache(maxsize=1024)
def _split(url: str) -> tuple[Place, bytes]:
    """Where a URL is, and the first lines of a request to it."""
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    host = parts.hostname or ""
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    port = parts.port or (443 if tls else 80)
    agent = f"User-Agent: farebox/{__version__}\r\nAccept: */*\r\nAccept-Encoding: identity\r\n"
    return (host, port, tls), f"POST {path} HTTP/1.1\r\nHost: {parts.netloc.rpartition('@')[2]}\r\n{agent}".encode()


def _request(call: UpstreamCall, head: bytes) -> bytes:
    lines = "".join([f"{name}: {value}\r\n" for name, value in call.headers.items()])
    return b"%b%bContent-Length: %d\r\n\r\n%b" % (head, lines.encode("utf-8"), len(call.body), call.body)


class LeanUpstream:
    """See `Upstream`."""

    def __init__(self) -> None:
        self._idle: dict[Place, deque[Connection]] = {}
        self._all: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._tls: ssl.SSLContext | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._sweep()

    async def stop(self) -> None:
        """End every call and close every connection."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        gone = [connection.gone for connection in self._all]
        for connection in list(self._all):
            connection.abort()
        await asyncio.gather(*gone)
        self._idle.clear()

    def open(self, call: UpstreamCall) -> Exchange:
        if self._loop is None:
            raise RuntimeError("the upstream is not started")
        place, head = _split(call.url)
        exchange = LeanExchange(self._loop, call)
        idle = self._idle.get(place)
        while idle:
            connection = idle.pop()  # the one used last: the others grow old and are swept
            if connection.usable:
                connection.send(exchange, _request(call, head))
                return exchange
        task = self._loop.create_task(self._connect(place, exchange, _request(call, head)), name=f"connect {place[0]}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        exchange.connecting = task
        return exchange

    async def _connect(self, place: Place, exchange: "LeanExchange", request: bytes) -> None:
        """Make a connection for an exchange and send its request."""
        host, port, tls = place
        if tls and self._tls is None:
            self._tls = ssl.create_default_context()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(exchange.call.timeouts.connect):
                _, connection = await loop.create_connection(
                    lambda: Connection(self._all, lambda c: self._keep(place, c)),
                    host,
                    port,
                    ssl=self._tls if tls else None,
                    server_hostname=host if tls else None,
                )
        except TimeoutError:
            wait = exchange.call.timeouts.connect
            exchange.fail(Failure(Fault.CONNECT, f"no connection within {wait:g} s"))
        except (OSError, ssl.SSLError, UnicodeError) as error:
            exchange.fail(Failure(Fault.CONNECT, f"no connection: {error}"))
        except asyncio.CancelledError:
            exchange.fail(Failure(Fault.CONNECT, "cancelled before it was connected"))
            raise
        else:
            if exchange.over:
                connection.abort()
            else:
                connection.send(exchange, request)

    def _keep(self, place: Place, connection: "Connection") -> None:
        idle = self._idle.setdefault(place, deque())
        if len(idle) >= MAX_IDLE:
            idle.popleft().abort()
        idle.append(connection)

    def _sweep(self) -> None:
        """Close what was not used for a while."""
        loop = asyncio.get_running_loop()
        for place, idle in list(self._idle.items()):
            while idle and (not idle[0].usable or loop.time() - idle[0].idle_since > IDLE_S):
                idle.popleft().abort()
            if not idle:
                del self._idle[place]
        self._sweeper = loop.call_later(IDLE_S / 3, self._sweep)


class Connection(asyncio.Protocol):
    """One socket to a server; a sequence of exchanges."""

    __slots__ = (
        "_all", "_exchange", "_headers", "_keep", "_parser", "_paused", "_seen", "_status", "_transport", "_until_eof",
        "_zip", "gone", "idle_since", "usable",
    )  # fmt: skip

    def __init__(self, every: "set[Connection]", keep: "Callable[[Connection], None]") -> None:
        self._all = every
        self._keep = keep
        self._transport: asyncio.Transport | None = None
        self._exchange: LeanExchange | None = None
        self._headers: dict[str, str] = {}
        self._seen = 0
        self._status = 0
        self._until_eof = False
        self._paused = False
        self._zip: Any = None
        self._parser = httptools.HttpResponseParser(self)
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.usable = False  # connected, idle and in step with the server
        self.idle_since = 0.0

    # What the exchange does

    def send(self, exchange: "LeanExchange", request: bytes) -> None:
        self.usable = False
        self._exchange = exchange
        self._seen = 0
        exchange.connection = self
        if self._transport is not None:
            self._transport.write(request)

    def abort(self) -> None:
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def resume(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    # What asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream's transport is a Transport
        self._all.add(self)

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:  # a server that speaks out of turn cannot be trusted with the next request
            self.abort()
            return
        self._seen += len(data)
        if not exchange.status and self._seen > MAX_HEAD:
            self._fail(Failure(Fault.GARBAGE, "the answer's head is too large"))
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(Failure(Fault.GARBAGE, "the server wants another protocol"))
        except httptools.HttpParserError as error:
            # what a callback raised is told as the parser's error with it as the context
            why = error.__context__ if isinstance(error.__context__, ValueError | zlib.error) else error
            self._fail(Failure(Fault.GARBAGE, f"the answer is not HTTP: {why}"))
        if exchange.waiting_bytes > HIGH_WATER and not self._paused and self._transport and self._exchange is exchange:
            self._paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        return False  # close our side too

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        self._all.discard(self)
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            if self._until_eof and exc is None:
                exchange.complete()
            else:
                when = "in the middle of the answer" if exchange.status else "before an answer"
                exchange.fail(Failure(Fault.RESET, f"the connection ended {when}"))
        if not self.gone.done():
            self.gone.set_result(None)

    # What the parser tells

    def on_message_begin(self) -> None:
        self._headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        key = name.decode("latin-1").lower()
        told = value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {told}" if key in self._headers else told

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200 or self._exchange is None:  # 100 Continue, 103 Early Hints: the answer is still to come
            return
        headers = self._headers
        self._until_eof = (
            "content-length" not in headers and "chunked" not in headers.get("transfer-encoding", "").lower()
            and status not in {204, 304}
        )  # fmt: skip
        encoding = headers.get("content-encoding", "identity").lower()
        if encoding in {"gzip", "deflate"}:
            self._zip = zlib.decompressobj(wbits=47)
        elif encoding not in {"identity", ""}:
            raise ValueError(f"encoded as {encoding}, which nobody asked for")
        self._exchange.begin(status, headers)

    def on_body(self, body: bytes) -> None:
        if self._exchange is None:
            return
        if self._zip is not None:
            body = self._zip.decompress(body, MAX_REPLY)
        if body:
            self._exchange.take(body)

    def on_message_complete(self) -> None:
        exchange = self._exchange
        if exchange is None or not exchange.status:
            return
        self._exchange, self._zip, self._until_eof = None, None, False
        keep = self._parser.should_keep_alive() and not exchange.closed
        exchange.complete()
        if keep:
            self.resume()
            self.usable = True
            self.idle_since = asyncio.get_running_loop().time()
            self._keep(self)
        else:
            self.abort()

    def _fail(self, failure: Failure) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.fail(failure)
        self.abort()


class LeanExchange:
    """See `Exchange`. Waiters may come and go; what arrives is kept."""

    __slots__ = (
        "_chunks", "_deadline", "_failure", "_loop", "_waiter", "call", "closed", "connecting", "connection", "headers",
        "over", "status", "waiting_bytes",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, call: UpstreamCall) -> None:
        self.call = call
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.connection: Connection | None = None
        self.connecting: asyncio.Task[None] | None = None
        self.over = False  # complete or failed: nothing more will come
        self.closed = False
        self.waiting_bytes = 0
        self._chunks: list[bytes] = []
        self._failure: Failure | None = None
        self._loop = loop
        self._waiter: asyncio.Future[object] | None = None
        self._deadline = loop.time() + call.timeouts.total

    # What the connection tells

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        self.status, self.headers = status, headers
        self._wake()

    def take(self, body: bytes) -> None:
        if self.closed:
            return
        self._chunks.append(body)
        self.waiting_bytes += len(body)
        self._wake()

    def complete(self) -> None:
        self.over = True
        self.connection = None
        self._wake()

    def fail(self, failure: Failure) -> None:
        if not self.over:
            self._failure = failure
            self.over = True
            self.connection = None
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What the relay asks

    async def _wait(self, seconds: float) -> bool:
        """Until something new has come; False if nothing did in time."""
        seconds = min(seconds, self._deadline - self._loop.time())
        waiter = self._waiter = self._loop.create_future()
        timer = self._loop.call_later(max(0.0, seconds), _time_is_up, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiter = None
        return waiter.result() is not _LATE

    async def response(self) -> None:
        timeouts = self.call.timeouts
        end = self._loop.time() + timeouts.connect + timeouts.first_byte
        while not self.status:
            if self._failure is not None:
                raise AttemptFailed(self._failure)
            if not await self._wait(min(timeouts.first_byte, end - self._loop.time())) and not self.status:
                self.close()
                raise AttemptFailed(Failure(Fault.TIMEOUT, f"no answer within {timeouts.first_byte:g} s"))

    async def read(self) -> bytes:
        pieces, size = [], 0
        while piece := await self.chunk():
            size += len(piece)
            if size > MAX_REPLY:
                self.close()
                raise AttemptFailed(Failure(Fault.GARBAGE, f"the reply is larger than {MAX_REPLY} bytes"))
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def chunk(self) -> bytes:
        if not self.status:
            await self.response()
        while not self._chunks:
            if self._failure is not None:
                raise AttemptFailed(self._failure)
            if self.over:
                return b""
            if not await self._wait(self.call.timeouts.idle) and not self._chunks and not self.over:
                self.close()
                raise AttemptFailed(Failure(Fault.TIMEOUT, f"nothing more within {self.call.timeouts.idle:g} s"))
        chunks, self._chunks = self._chunks, []
        self.waiting_bytes = 0
        if self.connection is not None:
            self.connection.resume()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def close(self) -> None:
        self.closed = True
        if self.connecting is not None and not self.connecting.done():
            self.connecting.cancel()
        if self.connection is not None:
            self.connection.abort()


_LATE = object()


def _time_is_up(waiter: "asyncio.Future[object]") -> None:
    if not waiter.done():
        waiter.set_result(_LATE)
