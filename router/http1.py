"""One HTTP/1.1 connection to a vendor and the exchange that it carries; `lean` pools them.

The parser is llhttp, through httptools. What arrives is kept until somebody asks for it, within a bound: past a mark the
socket is not read any more. Waiters may come and go.
"""

import asyncio
import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import httptools

from router.core.failure import AttemptFailed, Failure, Fault
from router.upstream import UpstreamCall, read_whole

HIGH_WATER = 2**18  # bytes received and not yet read, past which the socket is paused
MAX_UNPACKED = (
    2**24
)  # bytes that one piece of an encoded body may become, and that may wait then: packed text is ten times as long
MAX_HEAD = 2**17  # bytes of an answer that are not its body: status line, headers, what stands between chunks


class Connection(asyncio.Protocol):
    """One socket to a server; a sequence of exchanges."""

    __slots__ = (
        "_all", "_astray", "_exchange", "_headers", "_keep", "_parser", "_paused", "_seen", "_transport", "_until_eof",
        "_zip", "gone", "idle_since", "usable",
    )  # fmt: skip

    def __init__(self, every: "set[Connection]", keep: "Callable[[Connection], None]") -> None:
        self._all = every
        self._keep = keep
        self._transport: asyncio.Transport | None = None
        self._exchange: LeanExchange | None = None
        self._headers: dict[str, str] = {}
        self._seen = 0  # bytes since the last piece of a body
        self._astray = False
        self._until_eof = False
        self._paused = False
        self._zip: Any = None
        self._parser: Any = httptools.HttpResponseParser(self)
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

    def never_made(self) -> None:
        """Connecting was given up. uvloop (0.23) may have told of a connection by then, and never tells of its end."""
        self.abort()
        self.connection_lost(None)

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
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(Failure(Fault.GARBAGE, "the server wants another protocol"))
        except httptools.HttpParserError as error:
            # what a callback raised is told as the parser's error with it as the context
            why = error.__context__ if isinstance(error.__context__, ValueError | zlib.error) else error
            self._fail(Failure(Fault.GARBAGE, f"the answer is not HTTP: {why}"))
        if self._seen > MAX_HEAD:
            self._fail(Failure(Fault.GARBAGE, "an answer of which only the head does not end"))
        if self._astray:
            self.abort()
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
        self._parser = None  # which calls us: a circle, and what is in it would wait for the collector

    # What the parser tells

    def on_message_begin(self) -> None:
        self._headers = {}
        self._astray = self._exchange is None  # an answer to nothing: what follows cannot be told from the next answer

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._exchange is None or self._exchange.status:  # a trailer: the head has been read already
            return
        key = _header(name)
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
        self._seen = 0
        if self._zip is not None:
            body = self._zip.decompress(body, MAX_UNPACKED)
            if self._zip.unconsumed_tail:
                raise ValueError("the encoded body unpacks to too much at once")
            if self._exchange.waiting_bytes > MAX_UNPACKED:
                raise ValueError("the encoded body unpacks faster than it is read")
        if body:
            self._exchange.take(body)

    def on_message_complete(self) -> None:
        exchange = self._exchange
        if exchange is None or not exchange.status:
            return
        if self._zip is not None and not self._zip.eof:
            raise ValueError("the encoded body is not whole")
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
        "_chunks", "_deadline", "_failure", "_loop", "_waiter", "closed", "connecting", "connection", "headers",
        "over", "status", "timeouts", "waiting_bytes",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, call: UpstreamCall) -> None:
        self.timeouts = call.timeouts  # and not the call itself, whose body is large and needed no more
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
        timeouts = self.timeouts
        end = self._loop.time() + timeouts.connect + timeouts.first_byte
        while not self.status:
            if self._failure is not None:
                raise AttemptFailed(self._failure)
            if not await self._wait(min(timeouts.first_byte, end - self._loop.time())) and not self.status:
                self.close()
                raise AttemptFailed(Failure(Fault.TIMEOUT, f"no answer within {timeouts.first_byte:g} s"))

    async def read(self) -> bytes:
        if self.over and self._failure is None:  # all of it is here: the usual case
            return self._taken()
        return await read_whole(self, self.timeouts.idle)

    async def chunk(self) -> bytes:
        if not self.status:
            await self.response()
        while not self._chunks:
            if self._failure is not None:
                raise AttemptFailed(self._failure)
            if self.over:
                return b""
            if not await self._wait(self.timeouts.idle) and not self._chunks and not self.over:
                self.close()
                raise AttemptFailed(Failure(Fault.TIMEOUT, f"nothing more within {self.timeouts.idle:g} s"))
        return self._taken()

    def _taken(self) -> bytes:
        """What is here, which is the caller's from now on."""
        chunks, self._chunks = self._chunks, []
        self.waiting_bytes = 0
        if self.connection is not None:
            self.connection.resume()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def close(self) -> None:
        self.closed = True
        connection = self.connection
        if self.connecting is not None:
            self.connecting.cancel()
        self.fail(Failure(Fault.RESET, "the call was given up"))
        if connection is not None:
            connection.abort()


@lru_cache(maxsize=1024)
def _header(name: bytes) -> str:
    return name.decode("latin-1").lower()


_LATE = object()


def _time_is_up(waiter: "asyncio.Future[object]") -> None:
    if not waiter.done():
        waiter.set_result(_LATE)
