"""The HTTP surface for applications: one handler per endpoint, and errors in the caller's dialect."""

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from math import ceil
from typing import Any, NamedTuple, Protocol

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError
from prometheus_client import generate_latest

from router.app import Farebox
from router.auth import identify
from router.clock import Clock
from router.core import jsonio
from router.core.catalog import Caller, Catalog, Endpoint
from router.core.errors import InvalidRequest, NoSuchModel, NoSuchPath, NotAllowed, Overloaded, RouterError, SlowClient
from router.dialects import anthropic, openai, show_error
from router.pipeline import Inbound, count, serve
from router.relay import ClientLeft, Reply
from router.room import Body, Seat, Writer
from router.tally import new_request_id
from router.workers import answers as together
from router.workers.scrape import Families

log = logging.getLogger("farebox.api")

FAREBOX = web.AppKey("farebox", Farebox)
JSON = {"Content-Type": "application/json", "Server": "farebox"}
STREAM = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""Beside what a stream's head says: neither caches nor balancers are to keep it back."""


PACKED = frozenset({"", "identity", "gzip", "deflate"})
UNPACKED = "the body's Content-Encoding is not read here; send it as it is, or as gzip or deflate"


class Incoming(Protocol):
    """A request as it comes in; aiohttp's is one."""

    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def content(self) -> Body: ...
    @property
    def content_length(self) -> int | None: ...


class Way(Reply, Writer, Protocol):
    """The way back to one client."""

    @property
    def begun(self) -> bool:
        """Whether an answer has begun, so that there is no status to be told any more."""


class Refusal(NamedTuple):
    """An answer before the first byte that is no vendor's."""

    status: int
    body: bytes
    headers: Mapping[str, str]


class HttpReply:
    """See `Way`; by aiohttp."""

    __slots__ = ("_clock", "_is_cut", "_request", "response", "waits_since")

    def __init__(self, request: web.Request, clock: Clock) -> None:
        self._request = request
        self._clock = clock
        self.response: web.StreamResponse | None = None
        self._is_cut = False
        self.waits_since: float | None = None

    @property
    def begun(self) -> bool:
        return self.response is not None and self.response.prepared

    def _here(self) -> None:
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ClientLeft

    async def send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        """Written here and not by aiohttp after the handler, so that a slow client is still one of those in flight."""
        self._here()
        response = self.response = web.Response(status=status, body=body, headers=headers)
        await self._taken(response.prepare(self._request))
        await self._taken(response.write_eof())

    async def begin(self, headers: Mapping[str, str]) -> None:
        self._here()
        response = web.StreamResponse(headers={**headers, **STREAM})
        self.response = response
        await self._taken(response.prepare(self._request))

    async def write(self, data: bytes) -> None:
        """Waits while more than about 128 kB have not been taken: some in aiohttp, the rest in its transport."""
        if self.response is None:
            raise RuntimeError("a stream is written before it has begun")
        await self._taken(self.response.write(data))

    async def _taken(self, writing: Awaitable[object]) -> None:
        self.waits_since = self._clock.seconds()
        try:
            await writing
        except (ConnectionError, RuntimeError):
            raise ClientLeft from None
        finally:
            self.waits_since = None
        if self._is_cut:  # aiohttp ends the wait as if all had been taken
            raise ClientLeft

    def cut(self) -> None:
        self._is_cut = True
        if self._request.transport is not None:
            self._request.transport.abort()


async def respond(farebox: Farebox, name: Endpoint, request: Incoming, reply: Way) -> Refusal | None:
    """Answer one request to a model. Returns the refusal that is to be sent; None: it was answered, or its client is gone."""
    began = farebox.clock.seconds()
    team = ""
    request_id = new_request_id(farebox.clock.now())
    try:
        if not farebox.ready:
            raise Overloaded("shutting down", retry_after_s=1)
        caller = identify(request.headers, farebox.callers, farebox.clock.now())
        team = caller.team
        with farebox.room.enter(farebox.snapshot.settings.server) as seat:
            seat.writer = reply
            farebox.telemetry.came(request_id, request.headers.get("traceparent"))
            came = farebox.clock.seconds()
            raw = await _body(farebox, request, seat)
            began += farebox.clock.seconds() - came  # its client's time
            await serve(
                Inbound(request_id, name, raw, request.headers, caller, began),
                reply,
                farebox.snapshot,
                farebox.services,
            )
    except RouterError as error:
        if "attempts" not in error.details:
            farebox.metrics.refused[team or "other", error.code] += 1
        return refusal(error, request_id, name)
    except ClientLeft:
        pass
    except asyncio.CancelledError:
        raise
    except Exception:
        log.exception(
            "a request failed in a way that is a bug", extra={"path": f"/v1/{name}", "request_id": request_id}
        )
        if not reply.begun:
            return refusal(RouterError("an internal error; its traceback is in the log"), request_id, name)
    return None


def endpoint(name: Endpoint) -> Any:
    """The handler of one endpoint that vendors answer, for what `front` does not answer itself."""

    async def handle(request: web.Request) -> web.StreamResponse:
        farebox = request.app[FAREBOX]
        reply = HttpReply(request, farebox.clock)
        refused = await respond(farebox, name, request, reply)
        if refused is not None:
            return web.Response(status=refused.status, body=refused.body, headers=refused.headers)
        if reply.response is None:  # the client is gone: nobody reads this
            return web.Response(status=499)
        return reply.response

    return handle


async def _body(farebox: Farebox, request: Incoming, seat: Seat) -> bytes:
    if request.headers.get("content-encoding", "").strip().lower() not in PACKED:
        raise InvalidRequest(UNPACKED)
    try:
        return await seat.read(request.content, request.content_length, farebox.snapshot.settings.server)
    except SlowClient:
        farebox.room.cut["sends_slowly"] += 1
        raise
    except ConnectionError:
        raise ClientLeft from None
    except (RequestPayloadError, HttpProcessingError):
        raise InvalidRequest("the body cannot be decoded") from None


def refusal(error: RouterError, request_id: str | None = None, name: Endpoint = "chat/completions") -> Refusal:
    """An error before the first byte, in the dialect of the endpoint."""
    headers = dict(JSON)
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, ceil(error.retry_after_s - 1e-6)))  # up, so that it is true
    if request_id is not None:
        headers["x-farebox-request-id"] = request_id
        headers["request-id" if name == "messages" else "x-request-id"] = request_id  # where SDKs look for it
    return Refusal(error.status, show_error(name, error, request_id), headers)


def show(error: RouterError, request_id: str | None = None, name: Endpoint = "chat/completions") -> web.Response:
    """The same for aiohttp."""
    told = refusal(error, request_id, name)
    return web.Response(status=told.status, body=told.body, headers=told.headers)


def json(value: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=jsonio.dumps(value), headers=JSON)


def _caller(request: web.Request) -> Caller:
    farebox = request.app[FAREBOX]
    return identify(request.headers, farebox.callers, farebox.clock.now())


async def models(request: web.Request) -> web.Response:
    """What this key may ask for."""
    try:
        caller = _caller(request)
    except RouterError as error:
        return show(error, None, _spoken(request))
    farebox = request.app[FAREBOX]
    return json(openai.show_models(farebox.snapshot.catalog.allowed(caller), farebox.snapshot.loaded_at))


async def model(request: web.Request) -> web.Response:
    """One name that this key may ask for."""
    name = request.match_info["name"]
    try:
        caller = _caller(request)
        farebox = request.app[FAREBOX]
        _look_up(name, caller, farebox.snapshot.catalog)
    except RouterError as error:
        return show(error, None, _spoken(request))
    return json(openai.show_model(name, farebox.snapshot.loaded_at))


def _look_up(name: str, caller: Caller, catalog: Catalog) -> None:
    """Raises `NoSuchModel` for what a key may not name, as if it were not there."""
    try:
        catalog.route(name, caller)
    except NotAllowed:
        told = f"no route or model {name!r} for this key, which may use {catalog.names(caller)}"
        raise NoSuchModel(told, param="model") from None


async def count_tokens(request: web.Request) -> web.Response:
    """What a message's prompt comes to, as Farebox itself counts it for the cheapest model that could serve it."""
    farebox = request.app[FAREBOX]
    request_id = new_request_id(farebox.clock.now())
    try:
        caller = _caller(request)
        with farebox.room.enter(farebox.snapshot.settings.server) as seat:
            raw = await _body(farebox, request, seat)
            tokens = await count(raw, request.headers, caller, farebox.snapshot, farebox.services)
    except RouterError as error:
        return show(error, request_id, "messages")
    except ClientLeft:
        return web.Response(status=499)
    headers = {**JSON, "x-farebox-request-id": request_id}
    return web.Response(body=jsonio.dumps(anthropic.show_count(tokens)), headers=headers)


async def live(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


async def ready(request: web.Request) -> web.Response:
    if await together.ready(request.app[FAREBOX]):
        return web.Response(text="ok\n")
    return web.Response(status=503, text="not ready\n")


async def metrics(request: web.Request) -> web.Response:
    found = Families(await together.families(request.app[FAREBOX]))
    body = generate_latest(found)
    return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


async def unknown(request: web.Request) -> web.Response:
    """A path or a method that is none of the API's, in the caller's dialect."""
    error = NoSuchPath(f"{request.method} {request.path} is not an endpoint of Farebox")
    return show(error, None, _spoken(request))


def _spoken(request: web.Request) -> Endpoint:
    """An endpoint whose dialect the client speaks, where the path is none or that of several dialects."""
    anthropics = "anthropic-version" in request.headers or request.path.startswith("/v1/messages")
    return "messages" if anthropics else "chat/completions"


def routes() -> list[web.RouteDef]:
    return [
        web.post("/v1/chat/completions", endpoint("chat/completions")),
        web.post("/v1/completions", endpoint("completions")),
        web.post("/v1/embeddings", endpoint("embeddings")),
        web.post("/v1/messages", endpoint("messages")),
        web.post("/v1/responses", endpoint("responses")),
        web.post("/v1/messages/count_tokens", count_tokens),
        web.get("/v1/models", models),
        web.get("/v1/models/{name:(?s:.+)}", model),
        web.get("/health/live", live),
        web.get("/health/ready", ready),
        web.get("/metrics", metrics),
        web.route("*", "/v1/{path:(?s:.*)}", unknown),
    ]
