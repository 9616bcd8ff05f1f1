"""Streams onto a socket, in the ways vendors frame them and networks cut them."""

import asyncio
import random
from typing import Any

import orjson
from aiohttp import web

from router.mock.steer import Knobs
from router.mock.wires import Frame


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


def drop(request: web.Request) -> None:
    """End the connection in the middle of the body. What was written still arrives: it is on the bill."""
    if request.transport is not None:
        request.transport.close()


class Stream:
    """JSON lines, which is what Ollama sends; other framings say what is different."""

    content_type = "application/x-ndjson"

    def __init__(self, request: web.Request, knobs: Knobs, rng: random.Random, headers: dict[str, str]) -> None:
        self.request, self._knobs, self._rng = request, knobs, rng
        self.response: web.StreamResponse = web.StreamResponse(
            headers={"Content-Type": self.content_type, "Cache-Control": "no-cache", **headers}
        )

    async def open(self) -> None:
        check(self.request)
        await self.response.prepare(self.request)

    async def send(self, frame: Frame) -> None:
        await self.write(orjson.dumps(frame.data) + (b"\r\n" if self._knobs.crlf else b"\n"))

    async def finish(self, *, failed: bool = False) -> None:
        """What stands at the end of a stream that was not cut."""

    async def write(self, raw: bytes) -> None:
        if not self._knobs.drip:
            await self.response.write(raw)
            return
        while raw:
            size = self._rng.randint(1, 7)
            await self.response.write(raw[:size])
            # One turn of the loop, else the kernel would see one large write.
            await asyncio.sleep(0)
            raw = raw[size:]


class Events(Stream):
    """Server-sent events."""

    content_type = "text/event-stream; charset=utf-8"

    async def send(self, frame: Frame) -> None:
        await self._event(orjson.dumps(frame.data), frame.event)

    async def _event(self, data: bytes, name: str = "") -> None:
        end = b"\r\n" if self._knobs.crlf else b"\n"
        comment = b": keep-alive" + end + end if self._knobs.keepalive else b""
        named = b"event: " + name.encode() + end if name else b""
        await self.write(comment + named + b"data: " + data + end + end)


class EventsUntilDone(Events):
    """Server-sent events as OpenAI ends them."""

    async def finish(self, *, failed: bool = False) -> None:
        if not failed:
            await self._event(b"[DONE]")


class Array(Stream):
    """One JSON array, written item by item, as Gemini does without `alt=sse`."""

    content_type = "application/json; charset=UTF-8"

    def __init__(self, request: web.Request, knobs: Knobs, rng: random.Random, headers: dict[str, str]) -> None:
        super().__init__(request, knobs, rng, headers)
        self._begun = False

    async def send(self, frame: Frame) -> None:
        between, self._begun = (b",\r\n" if self._begun else b"["), True
        await self.write(between + orjson.dumps(frame.data))

    async def finish(self, *, failed: bool = False) -> None:  # noqa: ARG002 (an array is closed in any case)
        await self.write(b"]" if self._begun else b"[]")


class Socket(Stream):
    """Text messages on a WebSocket that is open."""

    def __init__(self, request: web.Request, knobs: Knobs, socket: web.WebSocketResponse) -> None:
        self.request, self._knobs = request, knobs
        self.response = self._socket = socket

    async def open(self) -> None:
        check(self.request)

    async def send(self, frame: Frame) -> None:
        await self._socket.send_str(orjson.dumps(frame.data).decode())

    async def finish(self, *, failed: bool = False) -> None:  # noqa: ARG002 (so is a socket)
        await self._socket.close()


_FRAMINGS: dict[str, type[Stream]] = {"lines": Stream, "sse": Events, "sse-done": EventsUntilDone, "array": Array}


def stream(framing: str, request: web.Request, knobs: Knobs, rng: random.Random, headers: dict[str, Any]) -> Stream:
    return _FRAMINGS[framing](request, knobs, rng, headers)
