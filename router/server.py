"""The process: an aiohttp application around a Farebox, its signals, and its orderly end."""

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Callable, Sequence

from aiohttp import web

from router import api, openapi
from router.admin import routes as admin_routes
from router.admin.access import LOGINS
from router.admin.history import HISTORY, History, following
from router.admin.logins import Logins
from router.app import Farebox
from router.front import Front, close_all
from router.handover import Offer, Taken
from router.inside import HOW, inside
from router.listening import BACKLOG, SPARE_FILES, Door, files, give_up_on
from router.workers.station import Station

log = logging.getLogger("farebox.server")

LINGER_S = 5.0  # how long kept-alive connections are waited for: one that is not used for so long is hardly used in the next instant
CUT_S = 0.5  # for what is still there after `drain`
SMALL_BODY = 2**16  # bytes of what is no request to a model: the page's and the admin API's


def application(farebox: Farebox) -> web.Application:
    """Every route, on one Farebox that somebody else starts and stops."""
    app = web.Application(client_max_size=SMALL_BODY)
    app[api.FAREBOX] = farebox
    app[LOGINS] = Logins()
    app[HISTORY] = History(farebox.ledger, farebox.clock)
    app.cleanup_ctx.append(following)
    app.on_response_prepare.append(_part)
    app.add_routes([*api.routes(), *admin_routes(), *openapi.routes()])
    return app


async def run(
    farebox: Farebox,
    sockets: Sequence[socket.socket],
    announce: Callable[[str], None],
    taken: Taken | None = None,
    *,
    patient: bool = False,
    station: Station | None = None,
) -> None:
    """Serve on sockets that listen already until SIGTERM or SIGINT, or until another process takes over; SIGHUP reloads.

    `taken` is what another process hands over; `patient` says to wait for one that ends; `station` is a worker's place,
    whose parent hands over for it.
    """
    # A handler goes on when its client leaves (aiohttp's default, pinned here), so an answer that is being paid for is
    # read to its end; its next write tells that nobody listens.
    app = application(farebox)
    runner = web.AppRunner(
        app,
        handler_cancellation=False,
        handle_signals=False,
        shutdown_timeout=CUT_S,
        **HOW,
    )
    leave = asyncio.Event()
    loop = asyncio.get_running_loop()
    offer = Offer(farebox, sockets, leave.set) if station is None else None
    offering: asyncio.Task[None] | None = None
    listeners: list[asyncio.AbstractServer] = []
    fronts: set[Front] = set()
    try:
        await farebox.start(taken, patient=patient)
        await runner.setup()
        if station is not None:
            await station.begin(farebox, app[LOGINS], lambda sock: _listen(farebox, runner, fronts, sock), leave.set)
        listeners = [await _listen(farebox, runner, fronts, sock) for sock in sockets]
        if taken is not None:
            farebox.lend(taken)
        if offer is not None and not farebox.ledger.shared:  # else another can serve beside this one
            offer.open()
            offering = loop.create_task(offer.wait())
        for number in (signal.SIGTERM, signal.SIGINT) if station is None else (signal.SIGTERM,):
            loop.add_signal_handler(number, leave.set)
        loop.add_signal_handler(signal.SIGHUP, farebox.reload_soon)
        # What is loaded by now stays; the collector need not walk it again on every request.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)  # a request makes some hundred objects and hardly a cycle
        announce(url_of(sockets[0]))
        await leave.wait()
        log.info("draining", extra={"count": farebox.room.in_flight})
        farebox.leaving = True
        await asyncio.sleep(farebox.snapshot.settings.server.notice)
    finally:
        if station is not None:
            station.close()
        for listener in listeners:
            listener.close()
        await _empty(farebox, runner, fronts)
        await close_all(fronts, CUT_S)
        await runner.cleanup()
        await farebox.stop()
        if station is not None:
            await station.end()
        if offering is not None:
            offering.cancel()
            await asyncio.gather(offering, return_exceptions=True)
        if offer is not None:
            offer.close()
        if taken is not None:
            taken.close()
        for sock in sockets:
            sock.close()


async def _empty(farebox: Farebox, runner: web.AppRunner, fronts: set[Front]) -> None:
    """Until the last request has ended, and connections that are kept alive were told so or have been idle for a while: a
    request that comes on one of them is served, since its client cannot know.
    """
    loop, server = asyncio.get_running_loop(), runner.server
    began, drain = loop.time(), farebox.snapshot.settings.server.drain
    while server is not None and (server.connections or fronts) and (passed := loop.time() - began) < drain:
        if not farebox.room.in_flight and passed > LINGER_S:
            break
        await asyncio.sleep(0.01)
    farebox.ready = False


async def _part(request: web.Request, response: web.StreamResponse) -> None:
    """Whoever is answered while we leave is to come back on a connection of its own."""
    if request.app[api.FAREBOX].leaving:
        response.force_close()
        response.headers["Connection"] = "close"


async def _listen(
    farebox: Farebox, runner: web.AppRunner, fronts: set[Front], sock: socket.socket
) -> asyncio.AbstractServer:
    """Let connections in, as many as there are files for: two for each request in flight, and some for ourselves."""
    settings, server = farebox.snapshot.settings.server, runner.server
    if server is None:
        raise RuntimeError("the runner is not set up")
    most = farebox.room.most = max(16, (files() - SPARE_FILES) // 2)
    wanted = -(-settings.max_in_flight // farebox.room.parts)
    if most < wanted:
        log.warning(
            "this process may not open enough files for server.max_in_flight; raise `ulimit -n`", extra={"count": most}
        )
    handed = inside(farebox, server)
    door = Door(
        lambda: Front(farebox, handed, fronts),
        lambda: len(server.connections) + len(fronts),
        files() - SPARE_FILES - min(most, wanted),
        farebox.room.turned_away,
    )
    give_up_on(sock, settings.client_timeout)
    return await asyncio.get_running_loop().create_server(door, sock=sock, backlog=BACKLOG)


def url_of(sock: socket.socket) -> str:
    """What a socket is reached by."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"unix:{name}"
    host, port = name[:2]
    return f"http://{host if ':' not in host else f'[{host}]'}:{port}"
