"""Pretended vendors: they answer, stream, fail and bill like the real ones, in this process and without a network.

What `MockVendors.bill` says was served is the truth that tests hold the proxy's own accounts against.
"""

import time
from collections.abc import Callable

from aiohttp import web

from router.mock.bill import BillLine
from router.mock.server import Vendors

__all__ = ["BillLine", "MockVendors"]

# Hangs and streams still running when the mock stops are cut after this many seconds.
_STOP_SECONDS = 0.1


class MockVendors:
    """All vendors on one port, each under `/<vendor>/v1`. `pace` scales their believable slowness; 0 answers at once."""

    def __init__(self, *, seed: int = 0, clock: Callable[[], float] = time.time, pace: float = 1.0) -> None:
        self.bill: list[BillLine] = []
        self._vendors = Vendors(self.bill, seed, clock, pace)
        self._runner: web.AppRunner | None = None

    def app(self) -> web.Application:
        return self._vendors.app()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Serve, and return the base URL; port 0 takes a free one."""
        self._runner = web.AppRunner(
            self.app(), access_log=None, handler_cancellation=True, shutdown_timeout=_STOP_SECONDS
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port, backlog=4096).start()
        bound = self._runner.addresses[0]
        return f"http://{f'[{host}]' if ':' in host else host}:{bound[1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
