"""A request to a model as it comes in over HTTP/1.1: its head, parsed by llhttp through httptools, and its body by length."""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

import httptools
from multidict import CIMultiDict

from router.core.catalog import Endpoint

PATHS: Mapping[bytes, Endpoint] = {
    b"/v1/chat/completions": "chat/completions",
    b"/v1/completions": "completions",
    b"/v1/embeddings": "embeddings",
    b"/v1/messages": "messages",
    b"/v1/responses": "responses",
}
MAX_HEAD = 8190  # bytes: aiohttp allows as many in one line, and judges what is larger
UNREAD = 2**17  # bytes of a body, or of requests that come too soon, beyond which the socket is not read
_THEIRS = frozenset({b"transfer-encoding", b"content-encoding", b"expect", b"upgrade", b"trailer"})
_KEEPS: Mapping[bytes, bool] = {b"": True, b"keep-alive": True, b"close": False}


class Head(NamedTuple):
    """The head of a request to a model."""

    endpoint: Endpoint
    headers: CIMultiDict[str]
    length: int
    keeps: bool  # whether the client wants the connection to stay


class _Headers:
    """What the parser tells."""

    __slots__ = ("told",)

    def __init__(self) -> None:
        self.told: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.told.append((name, value))


def read_head(raw: bytes) -> Head | None:
    """A head, with the blank line that ends it; None if it is not for this server to judge."""
    method, _, rest = raw[: raw.find(b"\r\n")].partition(b" ")
    path, _, version = rest.partition(b" ")
    endpoint = PATHS.get(path)
    if method != b"POST" or endpoint is None or version != b"HTTP/1.1":
        return None
    found = _Headers()
    try:
        httptools.HttpRequestParser(found).feed_data(raw)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    length, connection = b"", b""
    for name, value in found.told:
        lower = name.lower()
        if lower in _THEIRS:
            return None
        if lower == b"content-length":
            length = value
        elif lower == b"connection":
            connection = value.lower() if not connection else b"several"
    keeps = _KEEPS.get(connection)
    if keeps is None or not length.isdigit() or len(length) > 18:
        return None
    told = [
        (name.decode("latin-1"), value.strip(b" \t").decode("utf-8", "surrogateescape")) for name, value in found.told
    ]
    return Head(endpoint, CIMultiDict(told), int(length), keeps)


class Incoming:
    """A request whose body is still coming; see `api.Incoming` and `room.Body`."""

    __slots__ = ("_here", "_left", "_pieces", "_transport", "_waiter", "content_length", "headers", "keeps")

    def __init__(self, head: Head, transport: asyncio.Transport) -> None:
        self.headers, self.content_length, self.keeps = head.headers, head.length, head.keeps
        self._transport = transport
        self._left = head.length
        self._pieces: list[bytes] = []
        self._here = 0
        self._waiter: asyncio.Future[None] | None = None

    @property
    def content(self) -> "Incoming":
        """Itself; kept as a field it would be a circle, and every request something for the collector to find."""
        return self

    @property
    def whole(self) -> bool:
        """Whether all of it has come."""
        return not self._left

    def take(self, data: bytes) -> bytes:
        """What comes on the connection; returns what is not this request's."""
        mine = data[: self._left]
        if mine:
            self._left -= len(mine)
            self._pieces.append(mine)
            self._here += len(mine)
            if self._here > UNREAD and self._left:
                self._transport.pause_reading()
            self.wake()
        return data[len(mine) :]

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def read_nowait(self, n: int = -1) -> bytes:  # noqa: ARG002 (as of aiohttp's reader; all is always taken)
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        if self._here > UNREAD:
            self._transport.resume_reading()
        self._here = 0
        return data

    async def readany(self) -> bytes:
        """Waits for more. Raises `ConnectionError`."""
        if not self._pieces and self._left:
            if self._transport.is_closing():
                raise ConnectionResetError("the client is gone")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if not self._pieces and self._left:
            raise ConnectionResetError("the client is gone")
        return self.read_nowait()

    def at_eof(self) -> bool:
        return not self._left and not self._pieces
