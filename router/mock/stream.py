"""Server-sent events onto a socket, in the ways vendors write them and networks cut them."""

import asyncio
import random
from typing import Any

import orjson
from aiohttp import web

from router.mock.steer import Knobs


class Gone(ConnectionError):
    """The client left; nothing more is to be written."""


def check(request: web.Request) -> None:
    """Raises Gone when the client has left, so that nobody is billed for a token written to nobody."""
    if request.transport is None or request.transport.is_closing():
        raise Gone


async def wait(request: web.Request, seconds: float) -> None:
    """Sleep, in slices: without handler cancellation nothing else would tell that the client left."""
    while seconds > 0:
        check(request)
        await asyncio.sleep(min(seconds, 0.25))
        seconds -= 0.25


class EventStream:
    def __init__(self, request: web.Request, knobs: Knobs, rng: random.Random, headers: dict[str, str]) -> None:
        self.request, self._rng = request, rng
        self._drip = knobs.drip
        self._keepalive = knobs.keepalive
        self._end = b"\r\n\r\n" if knobs.crlf else b"\n\n"
        self.response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache", **headers}
        )

    async def open(self) -> None:
        check(self.request)
        await self.response.prepare(self.request)

    async def send(self, chunk: dict[str, Any]) -> None:
        await self.write(orjson.dumps(chunk))

    async def write(self, data: bytes) -> None:
        comment = b": keep-alive" + self._end if self._keepalive else b""
        raw = comment + b"data: " + data + self._end
        if not self._drip:
            await self.response.write(raw)
            return
        while raw:
            size = self._rng.randint(1, 7)
            await self.response.write(raw[:size])
            # One turn of the loop, else the kernel would see one large write.
            await asyncio.sleep(0)
            raw = raw[size:]

    def drop(self) -> None:
        drop(self.request)


def drop(request: web.Request) -> None:
    """End the connection in the middle of the body. What was written still arrives: it is on the bill."""
    if request.transport is not None:
        request.transport.close()
