"""A real receiver of webhooks on loopback, which answers as it is told and keeps what came."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class Heard:
    path: str
    query: dict[str, str]
    headers: Any
    body: bytes
    json: Any


@dataclass
class Receiver:
    url: str = ""
    heard: list[Heard] = field(default_factory=list)
    answers: list[tuple[int, dict, dict]] = field(
        default_factory=list
    )  # (status, body, headers), first come first served
    usual: tuple[int, dict, dict] = (200, {"code": 0, "errcode": 0}, {})
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    async def _take(self, request):
        body = await request.read()
        self.heard.append(Heard(request.path, dict(request.query), request.headers, body, await request.json()))
        status, told, headers = self.answers.pop(0) if self.answers else self.usual
        self._more.set()
        return web.json_response(told, status=status, headers=headers)

    async def until(self, count):
        """Wait until so many have come."""
        async with asyncio.timeout(10):
            while len(self.heard) < count:
                self._more.clear()
                await self._more.wait()
        return self.heard


@contextlib.asynccontextmanager
async def receiving():
    receiver, app = Receiver(), web.Application()
    app.router.add_post("/{path:.*}", receiver._take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield receiver
    finally:
        await runner.cleanup()
