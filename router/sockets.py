"""Calls to vendors that answer over a WebSocket, by aiohttp's client, beside an HTTP client of either kind.

A call sends its body as one text message. Each message that comes back is a chunk that ends with a line's end, so that an
answer is a row of JSON lines. A handshake that is refused is an answer too, with its status and body.
"""

import asyncio
import weakref
from collections.abc import Mapping
from typing import Any

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from router import __version__
from router.core.failure import AttemptFailed, Failure, Fault
from router.upstream import Exchange, Upstream, UpstreamCall, failure_of, read_whole

MAX_MESSAGE = 4 * 2**20  # bytes: one holds a few tokens, or the arguments of a call
MAX_REFUSAL = 2**16  # bytes of the body of a handshake that is refused
GOODBYE_S = 1.0  # how long a server may take to close its end too
POLITE = {aiohttp.WSCloseCode.OK, 1005}  # codes by which a server says that this is all; 1005 stands for none
GIVEN_UP = Failure(Fault.RESET, "the call was given up")
HEADERS = {"User-Agent": f"farebox/{__version__}", "Accept-Encoding": "identity"}


class Sockets:
    """`Upstream` for both: a `ws(s)://` call here, any other by the HTTP client."""

    def __init__(self, http: Upstream) -> None:
        self._http = http
        self._connector: aiohttp.TCPConnector | None = None
        self._exchanges: weakref.WeakSet[SocketExchange] = weakref.WeakSet()
        self._goodbyes: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        await self._http.start()
        self._connector = aiohttp.TCPConnector(limit=0, force_close=True, ttl_dns_cache=30)

    async def stop(self) -> None:
        """End every call and close every connection."""
        for exchange in list(self._exchanges):
            exchange.close()
        await asyncio.gather(*(exchange.over() for exchange in list(self._exchanges)))
        await asyncio.gather(*self._goodbyes, return_exceptions=True)
        if self._connector is not None:
            await self._connector.close()
            self._connector = None
        await self._http.stop()

    def open(self, call: UpstreamCall) -> Exchange:
        if not call.url.startswith("ws"):
            return self._http.open(call)
        if self._connector is None:
            raise RuntimeError("the upstream is not started")
        exchange = SocketExchange(self, self._connector, call)
        self._exchanges.add(exchange)
        return exchange

    def part(self, socket: "Socket") -> None:
        """Close politely; nobody waits for it."""
        task = asyncio.get_running_loop().create_task(socket.goodbye(), name="goodbye")
        self._goodbyes.add(task)
        task.add_done_callback(self._goodbyes.discard)


class Socket(aiohttp.ClientWebSocketResponse):
    """aiohttp's socket, which can also be dropped at once."""

    def drop(self) -> None:
        self._response.close()

    async def goodbye(self) -> None:
        """Say that this is all; a server that goes on talking is not listened to."""
        try:
            async with asyncio.timeout(GOODBYE_S):
                await self.close()
        except TimeoutError:
            pass
        finally:
            self.drop()


class _Refused(Exception):
    """The server has answered the handshake, but not with a WebSocket."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(status)
        self.status, self.headers, self.body = status, headers, body


async def _only_sockets(request: aiohttp.ClientRequest, go: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keeps what a refusal says, which aiohttp would not; it is also no redirect that could be followed."""
    reply = await go(request)
    if reply.status == 101:
        return reply
    try:
        body, content = b"", reply.content
        while len(body) < MAX_REFUSAL and (piece := await content.read(MAX_REFUSAL - len(body))):
            body += piece
    finally:
        reply.close()
    raise _Refused(reply.status, reply.headers, body)


class SocketExchange:
    """See `Exchange`. What waits for the server is a task of its own, so that it survives its waiter."""

    __slots__ = (
        "__weakref__", "_begun", "_call", "_closed", "_deadline", "_ended", "_loop", "_opening", "_owner", "_reading", "_refusal",
        "_socket", "headers", "status",
    )  # fmt: skip

    def __init__(self, owner: Sockets, connector: aiohttp.BaseConnector, call: UpstreamCall) -> None:
        self._owner = owner
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + call.timeouts.total
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self._socket: Socket | None = None
        self._refusal = b""
        self._begun = False  # a message has come
        self._ended = False  # the last message has come
        self._closed = False
        self._reading: asyncio.Task[bytes | Failure] | None = None
        # The name shows in a task dump; the query of the address holds who asks.
        name = f"socket {call.url.partition('?')[0]}"
        self._opening: asyncio.Task[Failure | None] = self._loop.create_task(self._open(connector), name=name)

    async def _open(self, connector: aiohttp.BaseConnector) -> Failure | None:
        """Shake hands and ask. What goes wrong is returned, as nobody may be there to catch it."""
        session = aiohttp.ClientSession(
            connector=connector,
            connector_owner=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=HEADERS,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._call.timeouts.connect),
            middlewares=(_only_sockets,),
            ws_response_class=Socket,
        )
        # The call's own type is that of a body, which a handshake has not.
        headers = {name: value for name, value in self._call.headers.items() if name.lower() != "content-type"}
        try:
            how: dict[str, Any] = {"max_msg_size": MAX_MESSAGE, "timeout": aiohttp.ClientWSTimeout(ws_close=GOODBYE_S)}
            self._socket = await session.ws_connect(self._call.url, headers=headers, **how)
            await self._socket.send_str(self._call.body.decode())
        except _Refused as refused:
            if 200 <= refused.status < 300:
                return Failure(Fault.GARBAGE, "the server does not speak WebSocket", refused.status)
            self._refusal = refused.body
            self.headers, self.status = refused.headers, refused.status
        except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
            return failure_of(error)
        except ValueError as error:
            return Failure(Fault.CONNECT, f"the call cannot be made: {type(error).__name__}")
        else:
            self.headers, self.status = {"content-type": "application/x-ndjson"}, 200
        finally:
            session.detach()
        return None

    async def response(self) -> None:
        if self.status:
            return
        await self._within(self._opening, self._call.timeouts.first_byte, "no answer")
        failure = GIVEN_UP if self._closed else self._opening.result()
        if failure is not None:
            self.close()
            raise AttemptFailed(failure)

    async def _within(self, task: "asyncio.Task[Any]", seconds: float, what: str) -> None:
        """Until a task is done; the waiter may be cancelled, the task goes on."""
        wait = min(seconds, self._deadline - self._loop.time())
        done, _ = await asyncio.wait({task}, timeout=max(0.0, wait))
        if not done:
            self.close()
            raise AttemptFailed(Failure(Fault.TIMEOUT, f"{what} within {seconds:g} s"))

    async def read(self) -> bytes:
        return await read_whole(self, self._call.timeouts.idle)

    async def chunk(self) -> bytes:
        await self.response()
        if self._ended:
            return b""
        if self._closed:
            raise AttemptFailed(GIVEN_UP)
        if self._socket is None:
            self._ended = True
            return self._refusal
        if self._reading is None:
            self._reading = self._loop.create_task(self._receive(self._socket))
        timeouts = self._call.timeouts
        if self._begun:
            await self._within(self._reading, timeouts.idle, "nothing more")
        else:
            await self._within(self._reading, timeouts.first_byte, "no answer")
        task, self._reading = self._reading, None
        said = GIVEN_UP if self._closed else task.result()
        if isinstance(said, Failure):
            self.close()
            raise AttemptFailed(said)
        self._begun = True
        self._ended = not said or (self._call.last is not None and self._call.last(said))
        if self._ended and said:
            self._owner.part(self._socket)
        return said

    async def _receive(self, socket: Socket) -> bytes | Failure:
        """The next message as a line; b"" where the server says that this is all."""
        try:
            message = await socket.receive()
        except (aiohttp.ClientError, OSError) as error:
            return failure_of(error, begun=True)
        match message.type:
            case aiohttp.WSMsgType.TEXT:
                return str(message.data).replace("\r", " ").replace("\n", " ").encode() + b"\n"
            case aiohttp.WSMsgType.CLOSE if (message.data or 1005) in POLITE:
                return b""
            case aiohttp.WSMsgType.CLOSE:
                reason = f": {message.extra}" if message.extra else ""
                return Failure(Fault.RESET, f"the server closed the connection with {message.data}{reason}")
            case aiohttp.WSMsgType.CLOSED | aiohttp.WSMsgType.CLOSING:
                return Failure(Fault.RESET, "the connection ended in the middle of the answer")
            case aiohttp.WSMsgType.ERROR:
                return Failure(Fault.GARBAGE, f"the answer cannot be read: {message.data}")
        return Failure(Fault.GARBAGE, "a message that is no text")

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._opening.cancel()
        if self._reading is not None:
            self._reading.cancel()
        if self._socket is not None and not self._ended:
            self._socket.drop()

    async def over(self) -> None:
        """Until nothing of it runs."""
        await asyncio.wait([task for task in (self._opening, self._reading) if task is not None])
