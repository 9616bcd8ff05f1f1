"""The process: an aiohttp application around a Farebox, its signals, and its orderly end."""

import asyncio
import gc
import logging
import signal
from collections.abc import Callable

from aiohttp import web

from router import api, openapi
from router.admin import routes as admin_routes
from router.admin.access import LOGINS
from router.admin.logins import Logins
from router.app import Farebox

log = logging.getLogger("farebox.server")


def application(farebox: Farebox) -> web.Application:
    """Every route, on one Farebox that somebody else starts and stops."""
    limit = farebox.snapshot.settings.server.max_body_bytes
    app = web.Application(client_max_size=limit)
    app[api.FAREBOX] = farebox
    app[LOGINS] = Logins()
    app.add_routes([*api.routes(), *admin_routes(), *openapi.routes()])
    return app


async def run(farebox: Farebox, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP reloads. Raises `OSError` if the port is taken."""
    # A handler goes on when its client leaves (aiohttp's default, pinned here), so an answer that is being paid for is
    # read to its end; its next write tells that nobody listens.
    runner = web.AppRunner(
        application(farebox),
        access_log=None,
        handler_cancellation=False,
        handle_signals=False,
        keepalive_timeout=75,
        shutdown_timeout=farebox.snapshot.settings.server.drain,
    )
    await farebox.start()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    try:
        await runner.setup()
        site = web.TCPSite(runner, host, port, backlog=4096)
        await site.start()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, farebox.reload_soon)
        # What is loaded by now stays; the collector need not walk it again on every request.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)  # a request makes some hundred objects and hardly a cycle
        addresses = runner.addresses
        announce(f"http://{host if ':' not in host else f'[{host}]'}:{addresses[0][1]}")
        await stop.wait()
        log.info("draining", extra={"count": farebox.in_flight})
        farebox.ready = False
    finally:
        await runner.cleanup()
        await farebox.stop()
