"""One request on any wire: read, steered, composed (all pure) and then served in time, while the bill line grows."""

import asyncio
import dataclasses
import hashlib
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import WSMsgType, web

from router.mock import errors, reply, steer
from router.mock.ask import Ask
from router.mock.bill import BillLine
from router.mock.cache import PromptCache
from router.mock.errors import Refused
from router.mock.incoming import Incoming
from router.mock.reply import Reply
from router.mock.steer import Knobs
from router.mock.stream import Socket, Stream, check, drop, stream, wait
from router.mock.wires import Told, Wire

_HANG_SECONDS = 600
_LONGEST_PLAIN = 5.0  # seconds a plain answer of any length is pretended to take
_GARBAGE = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>upstream sent too big header</body>\r\n</html>\r\n"
)
# A schema written by a client can be wrong in any way; what it then breaks is one of these.
_BAD_SCHEMA = (TypeError, ValueError, LookupError, AttributeError, RecursionError)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclasses.dataclass(frozen=True, slots=True)
class _Served:
    """One request that gets an answer."""

    request: web.Request
    wire: Wire
    ask: Ask
    knobs: Knobs
    answer: Reply
    line: BillLine


class Serving:
    """What outlives a request: the bill, the counters of `fail=N`, the prompt cache, and time."""

    def __init__(self, bill: list[BillLine], seed: int, clock: Callable[[], float], pace: float) -> None:
        self._bill, self._seed, self._clock, self._pace = bill, seed, clock, pace
        self._rng = random.Random(seed)  # noqa: S311 - timing, not secrets
        self._serials = itertools.count(1)
        self._seen: Counter[str] = Counter()
        self._cache = PromptCache()

    def handler(self, wire_of: Callable[[Incoming], Wire]) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                incoming = await self.incoming(request)
                return await self._handle(request, incoming, wire_of(incoming))
            except ConnectionError:
                # Nobody reads this; aiohttp only wants an answer object. The bill line stays as it is.
                return web.Response(status=499)

        return handle

    async def _handle(self, request: web.Request, incoming: Incoming, wire: Wire) -> web.StreamResponse:
        serial = self.serial()
        headers = {wire.request_id: f"req_{serial}"}
        try:
            wire.authorise(incoming)
            served = await self._answer(request, wire, wire.read(incoming), serial)
        except Refused as refused:
            status, body, more = wire.refuse(refused, serial)
            return as_json(body, headers, 200) if refused.ok else as_json(body, headers | more, status)
        headers |= wire.headers(served.ask, served.answer)
        if served.ask.stream and not served.knobs.garbage:
            return await self._stream(stream(wire.framing, request, served.knobs, self._rng, headers), served)
        return await self._plain(served, headers)

    def socket_handler(self, wire: Wire, unwelcome: Callable[[Refused], Told]) -> Handler:
        """The same over a WebSocket: who calls is in the URL, what is asked in the first message, and errors are messages too, but for
        the handshake's, which `unwelcome` writes.
        """

        async def handle(request: web.Request) -> web.StreamResponse:
            incoming = await self.incoming(request)
            try:
                wire.authorise(incoming)
            except Refused as refused:
                status, body, headers = unwelcome(refused)
                return as_json(body, headers, status)
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            message = await socket.receive()
            if message.type is WSMsgType.TEXT:
                asked = dataclasses.replace(incoming, body=message.data.encode())
                await self._converse(request, wire, asked, socket)
            return socket

        return handle

    async def _converse(self, request: web.Request, wire: Wire, asked: Incoming, socket: web.WebSocketResponse) -> None:
        serial = self.serial()
        try:
            served = await self._answer(request, wire, wire.read(asked), serial)
            if served.knobs.garbage:
                await socket.send_str(_GARBAGE.decode())
                await socket.close()
            else:
                await self._stream(Socket(request, served.knobs, socket), served)
        except Refused as refused:
            await socket.send_json(wire.refuse(refused, serial)[1])
            await socket.close()
        except ConnectionError:
            return

    def serial(self) -> str:
        return hashlib.blake2b(f"{self._seed}-{next(self._serials)}".encode(), digest_size=12).hexdigest()

    async def incoming(self, request: web.Request) -> Incoming:
        vendor = request.match_info.get("vendor", "")
        return Incoming(
            method=request.method,
            path=request.path,
            vendor=vendor,
            rest=request.path.removeprefix(f"/{vendor}"),
            query=request.query,
            headers={name.lower(): value for name, value in request.headers.items()},
            body=await request.read(),
            now=self._clock(),
        )

    def _knobs(self, request: web.Request, ask: Ask) -> Knobs:
        try:
            knobs = steer.parse(ask.texts[-1], request.headers.get("x-mock"))
        except ValueError as wrong:
            raise errors.invalid(str(wrong), "x-mock", "bad_steering") from None
        if knobs.fail is None:
            return knobs
        seen = self._seen[knobs.id]
        self._seen[knobs.id] += 1
        return steer.failing(knobs, seen)

    async def _answer(self, request: web.Request, wire: Wire, ask: Ask, serial: str) -> _Served:
        """Fault or answer. The bill line is opened before the first byte: a client that leaves earlier has used its prompt."""
        knobs = self._knobs(request, ask)
        if knobs.hang:
            await wait(request, _HANG_SECONDS)
            drop(request)
            raise ConnectionResetError
        fault = _fault(ask, knobs)
        if fault is not None and fault.kind == "filter" and wire.blocks:
            fault, knobs = None, dataclasses.replace(knobs, filtered=0)
        if fault is not None:
            await self._first_byte(request, knobs)
            raise fault
        now, vendor = self._clock(), request.match_info["vendor"]
        cached = self._cache.use(f"{vendor}\0{ask.model}", ask.prefix, now)
        try:
            answer = reply.compose(ask, knobs, self._seed, serial, int(now), cached)
        except _BAD_SCHEMA as wrong:
            raise errors.invalid(f"Invalid schema: {wrong}", "response_format") from None
        line = _line(vendor, ask, answer, now)
        if wire.billed:
            self._bill.append(line)
        await self._first_byte(request, knobs)
        return _Served(request, wire, ask, knobs, answer, line)

    async def _plain(self, served: _Served, headers: dict[str, str]) -> web.StreamResponse:
        answer, line = served.answer, served.line
        if served.ask.n and self._pace:
            await wait(served.request, self._pace * min(_LONGEST_PLAIN, 0.010 * answer.output))
        line.output_tokens, line.reasoning_tokens = answer.output, answer.reasoning
        if served.knobs.garbage:
            return web.Response(body=_GARBAGE, content_type="text/html", headers=headers)
        body = served.wire.plain(served.ask, answer, served.knobs)
        if served.knobs.cut is not None:
            return await _half(served.request, body, headers)
        return as_json(body, headers)

    async def _stream(self, stream: Stream, served: _Served) -> web.StreamResponse:
        knobs, answer, line = served.knobs, served.answer, served.line
        await stream.open()
        line.output_tokens = line.reasoning_tokens = answer.hidden  # thought before the first word
        written = 0
        for sent, frame in enumerate(served.wire.events(served.ask, answer, knobs)):
            if knobs.cut is not None and written >= knobs.cut:
                drop(stream.request)
                return stream.response
            if knobs.error_at is not None and written >= knobs.error_at:
                for told in served.wire.midway(_order(served.ask, knobs), served.ask, answer, sent):
                    await stream.send(told)
                await stream.finish(failed=True)
                return stream.response
            await self._between(stream.request, knobs, frame.tokens)
            check(stream.request)
            written += frame.tokens
            # Counted before the write, which hands the bytes over at once and may then be cancelled while it waits.
            line.output_tokens += frame.tokens
            line.reasoning_tokens += frame.tokens if frame.thought else 0
            await stream.send(frame)
        await stream.finish()
        return stream.response

    async def _first_byte(self, request: web.Request, knobs: Knobs) -> None:
        """An ordered delay is real time at any pace; a believable one is scaled."""
        if knobs.delay is not None:
            await wait(request, knobs.delay / 1000)
        elif self._pace:
            await wait(request, self._pace * self._rng.uniform(0.030, 0.120))

    async def _between(self, request: web.Request, knobs: Knobs, tokens: int) -> None:
        if tokens and knobs.gap is not None:
            await wait(request, knobs.gap / 1000)
        elif tokens and self._pace:
            await asyncio.sleep(self._pace * self._rng.uniform(0.005, 0.015))
        else:
            await asyncio.sleep(0)  # a long stream at pace 0 must not keep others from being served


def _fault(ask: Ask, knobs: Knobs) -> Refused | None:
    """The error to answer instead; under `error_at` the status only says what the event inside the stream looks like."""
    in_stream = knobs.error_at is not None and ask.stream
    if not knobs.error200 and (not knobs.status or in_stream):
        return None
    return _order(ask, knobs)


def _order(ask: Ask, knobs: Knobs) -> Refused:
    """The error that the knobs order."""
    prompt = ask.prompt_tokens if knobs.input is None else knobs.input
    status = knobs.status or 500
    return Refused(status, knobs.code, model=ask.model, prompt=prompt, key="sk-mock", ok=knobs.error200)


def _line(vendor: str, ask: Ask, answer: Reply, now: float) -> BillLine:
    return BillLine(
        vendor=vendor,
        model=ask.model,
        endpoint=ask.endpoint,
        input_tokens=answer.input,
        cached_tokens=answer.cached,
        output_tokens=0,
        reasoning_tokens=0,
        status=200,
        at=now,
        request_id=f"req_{answer.id}",
        cache_written_tokens=answer.written_5m + answer.written_1h,
        cache_written_1h_tokens=answer.written_1h,
    )


def as_json(body: Any, headers: dict[str, str], status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json", headers=headers)


async def _half(request: web.Request, body: Any, headers: dict[str, str]) -> web.StreamResponse:
    raw = orjson.dumps(body)
    response = web.StreamResponse(headers={"Content-Type": "application/json", **headers})
    response.content_length = len(raw)
    await response.prepare(request)
    await response.write(raw[: len(raw) // 2])
    drop(request)
    return response
