"""The default HTTP client: connections of `http1`, kept alive and pooled.

It does what calls to LLM vendors need and no more, and costs a fraction of a general client: no redirect is followed, no
cookie kept, no encoding asked for. An exchange begins on an idle connection without a task and without a wait; only a new
connection needs one.

A connection carries one exchange at a time. It goes back to its pool when an answer is complete and both sides keep it
alive, and is dropped in every other case: there is never a byte of one answer in front of the next.
"""

import asyncio
import ssl
from collections import deque
from functools import lru_cache
from urllib.parse import urlsplit

from router import __version__
from router.core.failure import Failure, Fault
from router.http1 import Connection, LeanExchange
from router.upstream import Exchange, UpstreamCall

IDLE_S = 30.0  # how long a connection is kept unused: less than servers commonly keep theirs (60 s and more)
MAX_IDLE = 1024  # kept connections for each server

Place = tuple[str, int, bool]  # host, port, TLS


@lru_cache(maxsize=1024)
def _target(url: str, headers: tuple[tuple[str, str], ...]) -> tuple[Place, bytes]:
    """Where a URL is, and the head of a request to it but for its length. Raises `ValueError`: a header cannot be sent."""
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = {
        "host": ("Host", parts.netloc.rpartition("@")[2]),
        "user-agent": ("User-Agent", f"farebox/{__version__}"),
        "accept": ("Accept", "*/*"),
        "accept-encoding": ("Accept-Encoding", "identity"),
    }
    lines |= {name.lower(): (name, value) for name, value in headers}
    lines.pop("content-length", None)
    for name, value in lines.values():
        if any(char in f"{name}{value}" for char in "\r\n\0"):
            raise ValueError(f"the header {name!r} holds a line break")
    told = "".join([f"{name}: {value}\r\n" for name, value in lines.values()])
    place = (parts.hostname or "", parts.port or (443 if tls else 80), tls)
    return place, f"POST {path} HTTP/1.1\r\n{told}".encode()


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
        exchange = LeanExchange(self._loop, call)
        try:
            place, head = _target(call.url, tuple(call.headers.items()))
        except ValueError as error:
            exchange.fail(Failure(Fault.CONNECT, str(error)))
            return exchange
        request = b"%bContent-Length: %d\r\n\r\n%b" % (head, len(call.body), call.body)
        idle = self._idle.get(place)
        while idle:
            connection = idle.pop()  # the one used last: the others grow old and are swept
            if connection.usable:
                connection.send(exchange, request)
                return exchange
        task = self._loop.create_task(self._connect(place, exchange, request), name=f"connect {place[0]}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        exchange.connecting = task
        return exchange

    async def _connect(self, place: Place, exchange: LeanExchange, request: bytes) -> None:
        """Make a connection for an exchange and send its request."""
        host, port, tls = place
        if tls and self._tls is None:
            self._tls = ssl.create_default_context()
        loop = asyncio.get_running_loop()
        connection = Connection(self._all, lambda c: self._keep(place, c))
        try:
            async with asyncio.timeout(exchange.timeouts.connect):
                await loop.create_connection(
                    lambda: connection,
                    host,
                    port,
                    ssl=self._tls if tls else None,
                    server_hostname=host if tls else None,
                )
        except TimeoutError:
            connection.never_made()
            wait = exchange.timeouts.connect
            exchange.fail(Failure(Fault.CONNECT, f"no connection within {wait:g} s"))
        except (OSError, ssl.SSLError, UnicodeError) as error:
            exchange.fail(Failure(Fault.CONNECT, f"no connection: {error}"))
        except asyncio.CancelledError:
            connection.never_made()
            exchange.fail(Failure(Fault.CONNECT, "cancelled before it was connected"))
            raise
        else:
            if exchange.over:
                connection.abort()
            else:
                connection.send(exchange, request)
        finally:
            exchange.connecting = None  # as long as a stream lasts it would keep this task

    def _keep(self, place: Place, connection: Connection) -> None:
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
