"""The only HTTP client: a call to a vendor becomes an `Exchange`.

An exchange lives on its own. Whoever waits for it may be cancelled (the client left, the server drains) and the
exchange goes on, so that the settlement can still read what the vendor reports.
"""

import asyncio
import io
import ssl
import weakref
from collections.abc import Callable, Mapping
from typing import Protocol

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict

from router import __version__
from router.core.catalog import Timeouts
from router.core.failure import AttemptFailed, Failure, Fault
from router.core.sse import MAX_PLAIN
from router.core.value import value

LARGE = 2**20  # aiohttp wants a file for bodies from here on, and writes it in pieces
MAX_REPLY = MAX_PLAIN  # bytes of one plain reply
PEEKED = 6  # bytes by which a stream of events is told from a plain reply
BLANKS = 64  # bytes of blanks before it, behind which nobody looks


@value(repr=False)  # as of `Sent`: its address and headers hold credentials
class UpstreamCall:
    """One request to a vendor, complete."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    timeouts: Timeouts
    last: Callable[[bytes], bool] | None = None
    """Whether a message on a WebSocket is the last one of the answer; None: the server closes it."""


class Exchange(Protocol):
    """A call on its way. Methods raise `AttemptFailed` with what went wrong."""

    status: int
    headers: Mapping[str, str]

    async def response(self) -> None:
        """Wait for the status and the headers; may be awaited again after a cancellation."""

    async def read(self) -> bytes:
        """The whole body, or the rest of it."""

    async def chunk(self) -> bytes:
        """The next piece of the body; b"" at its end."""

    def close(self) -> None:
        """Give the connection up or back; safe to call twice."""


async def read_whole(exchange: Exchange, idle_s: float) -> bytes:
    """The rest of a body in one piece, bounded. Blank lines, with which some vendors keep a connection open while they
    work, are not taken for progress. Raises `AttemptFailed`.
    """
    loop = asyncio.get_running_loop()
    pieces: list[bytes] = []
    size, since = 0, loop.time()
    while piece := await exchange.chunk():
        size += len(piece)
        if size > MAX_REPLY:
            exchange.close()
            raise AttemptFailed(Failure(Fault.GARBAGE, f"the reply is larger than {MAX_REPLY} bytes"))
        if not piece.isspace():
            since = loop.time()
        elif loop.time() - since > idle_s:
            exchange.close()
            raise AttemptFailed(Failure(Fault.TIMEOUT, f"nothing but keep-alives within {idle_s:g} s"))
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class Peeked:
    """An exchange whose beginning has been looked at: it is read as if nobody had."""

    __slots__ = ("_exchange", "_seen", "headers", "status")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._seen = b""
        self.status = exchange.status
        self.headers = exchange.headers

    async def peek(self) -> bytes:
        """The beginning of the body: enough to tell what it is, unless there is no more or it begins with many blanks."""
        while len(self._seen.lstrip()) < PEEKED and len(self._seen) < BLANKS and (more := await self._exchange.chunk()):
            self._seen += more
        return self._seen

    async def response(self) -> None:
        await self._exchange.response()

    async def read(self) -> bytes:
        seen, self._seen = self._seen, b""
        return seen + await self._exchange.read()

    async def chunk(self) -> bytes:
        if self._seen:
            seen, self._seen = self._seen, b""
            return seen
        return await self._exchange.chunk()

    def close(self) -> None:
        self._exchange.close()


class Upstream(Protocol):
    async def start(self) -> None:
        """Get ready, on the running loop."""

    async def stop(self) -> None:
        """End every call and close every connection."""

    def open(self, call: UpstreamCall) -> Exchange:
        """Begin a call; it does not depend on whoever awaits it."""


class AiohttpUpstream:
    """`Upstream` on aiohttp's client: kept-alive connections without a limit of their own, TLS verified, no redirect
    followed, no cookie kept, no proxy from the environment.
    """

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._exchanges: weakref.WeakSet[AiohttpExchange] = weakref.WeakSet()

    async def start(self) -> None:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=55, ttl_dns_cache=30, enable_cleanup_closed=False)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"farebox/{__version__}", "Accept-Encoding": "identity"},
            auto_decompress=True,
            read_bufsize=2**17,
        )

    async def stop(self) -> None:
        for exchange in list(self._exchanges):
            exchange.close()
        if self._session is not None:
            await self._session.close()
            self._session = None

    def open(self, call: UpstreamCall) -> Exchange:
        if self._session is None:
            raise RuntimeError("the upstream is not started")
        exchange = AiohttpExchange(self._session, call)
        self._exchanges.add(exchange)
        return exchange


class AiohttpExchange:
    """See `Exchange`."""

    __slots__ = ("__weakref__", "_call", "_deadline", "_loop", "_reply", "_task", "headers", "status")

    def __init__(self, session: aiohttp.ClientSession, call: UpstreamCall) -> None:
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + call.timeouts.total
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self._reply: aiohttp.ClientResponse | None = None
        # A task, so that the call survives its waiter. The name shows in a task dump.
        self._task = self._loop.create_task(self._send(session), name=f"upstream {call.url.partition('?')[0]}")

    async def _send(self, session: aiohttp.ClientSession) -> aiohttp.ClientResponse:
        timeouts = self._call.timeouts
        return await session.post(
            self._call.url,
            data=self._call.body if len(self._call.body) < LARGE else io.BytesIO(self._call.body),
            headers=CIMultiDict(self._call.headers),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect, sock_read=None),
        )

    async def response(self) -> None:
        if self._reply is not None:
            return
        wait = min(self._call.timeouts.first_byte, self._deadline - self._loop.time())
        timer = self._loop.call_later(wait, self._task.cancel)
        try:
            # Shielded: whoever waits may be cancelled, the call goes on.
            self._reply = await asyncio.shield(self._task)
        except asyncio.CancelledError:
            if not self._task.cancelled():
                raise  # it was the waiter that was cancelled
            raise AttemptFailed(
                Failure(Fault.TIMEOUT, f"no answer within {self._call.timeouts.first_byte:g} s")
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            raise AttemptFailed(failure_of(error)) from None
        finally:
            timer.cancel()
        if self._reply.headers.get("Content-Encoding", "identity").lower() not in {"identity", "gzip", "deflate", ""}:
            self.close()
            raise AttemptFailed(Failure(Fault.GARBAGE, "the answer has an encoding that nobody asked for"))
        self.status = self._reply.status
        self.headers = self._reply.headers

    async def read(self) -> bytes:
        return await read_whole(self, self._call.timeouts.idle)

    async def chunk(self) -> bytes:
        if self._reply is None:
            await self.response()
        reply = self._reply
        if reply is None:
            raise RuntimeError("a reply is read before it is there")
        content = reply.content
        wait = min(self._call.timeouts.idle, self._deadline - self._loop.time())
        try:
            if (ready := content.read_nowait()) or content.at_eof():
                return ready  # it is here already: no timer is needed
            async with asyncio.timeout(wait):
                return await content.readany()
        except TimeoutError:
            self.close()
            raise AttemptFailed(Failure(Fault.TIMEOUT, f"nothing more within {self._call.timeouts.idle:g} s")) from None
        except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
            raise AttemptFailed(failure_of(error, begun=True)) from None

    def close(self) -> None:
        if self._reply is not None:
            if self._reply.content.at_eof():
                self._reply.release()
            else:
                self._reply.close()
        elif not self._task.done():
            self._task.cancel()
        elif not self._task.cancelled() and self._task.exception() is None:
            self._task.result().close()


def failure_of(error: Exception, *, begun: bool = False) -> Failure:
    """Foreign exceptions become one of ours, in this one place. A connection that was never made cost nothing."""
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | ssl.SSLError):
        return Failure(Fault.CONNECT, f"no connection: {error}")
    if isinstance(error, TimeoutError):
        return Failure(Fault.TIMEOUT, "timed out")
    if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ClientConnectionError | OSError):
        return Failure(
            Fault.RESET,
            "the connection ended in the middle of the answer" if begun else "the connection ended before an answer",
        )
    return Failure(Fault.GARBAGE, f"the answer cannot be read: {type(error).__name__}")
