"""The handlers: what comes in is read, steered, composed (all pure) and then served in time, while the bill line grows."""

import asyncio
import hashlib
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import web

from router.mock import ask as asks
from router.mock import errors, models, page, reply, steer, wire
from router.mock.ask import Ask
from router.mock.bill import BillLine, invoice
from router.mock.errors import Refused
from router.mock.reply import Reply
from router.mock.steer import Knobs
from router.mock.stream import EventStream, check, drop, wait

_HANG_SECONDS = 600
_LONGEST_PLAIN = 5.0  # seconds a plain answer of any length is pretended to take
_GARBAGE = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>upstream sent too big header</body>\r\n</html>\r\n"
)
# A schema written by a client can be wrong in any way; what it then breaks is one of these.
_BAD_SCHEMA = (TypeError, ValueError, LookupError, AttributeError, RecursionError)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Vendors:
    """The state of the mock: the bill, the counters of `fail=N`, and time."""

    def __init__(self, bill: list[BillLine], seed: int, clock: Callable[[], float], pace: float) -> None:
        self._bill, self._seed, self._clock, self._pace = bill, seed, clock, pace
        self._rng = random.Random(seed)  # noqa: S311 - timing, not secrets
        self._serial = itertools.count(1)
        self._seen: Counter[str] = Counter()

    def app(self) -> web.Application:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_get("/", _page)
        app.router.add_get("/bill", self._show_bill)
        app.router.add_delete("/bill", self._clear_bill)
        app.router.add_get("/{vendor}/v1/models", _models)
        app.router.add_get("/{vendor}/v1/models/{model:.+}", _model)
        app.router.add_post("/{vendor}/v1/chat/completions", self._handler(asks.chat))
        app.router.add_post("/{vendor}/v1/completions", self._handler(asks.completion))
        app.router.add_post("/{vendor}/v1/embeddings", self._handler(asks.embedding))
        return app

    def _handler(self, read: Callable[[dict[str, Any]], Ask]) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            serial = hashlib.blake2b(f"{self._seed}-{next(self._serial)}".encode(), digest_size=12).hexdigest()
            headers = {"x-request-id": f"req_{serial}"}
            try:
                _authorise(request)
                ask = read(asks.parse(await request.read()))
                return await self._serve(request, ask, self._knobs(request, ask), serial, headers)
            except Refused as refused:
                return _json(refused.body, headers | errors.headers(refused), refused.status)
            except ConnectionError:
                # Nobody reads this; aiohttp only wants an answer object. The bill line stays as it is.
                return web.Response(status=499)

        return handle

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

    async def _serve(
        self, request: web.Request, ask: Ask, knobs: Knobs, serial: str, headers: dict[str, str]
    ) -> web.StreamResponse:
        """Fault or answer. The bill line is opened before the first byte: a client that leaves earlier has used its prompt."""
        if knobs.hang:
            await wait(request, _HANG_SECONDS)
            drop(request)
            raise ConnectionResetError
        fault = _fault(ask, knobs)
        if fault is not None:
            await self._first_byte(request, knobs)
            if knobs.error200:
                return _json(fault.body, headers)
            raise fault
        try:
            answer = reply.compose(ask, knobs, self._seed, serial, int(self._clock()))
        except _BAD_SCHEMA as wrong:
            raise errors.invalid(f"Invalid schema: {wrong}", "response_format") from None
        line = self._open_line(request, ask, answer, headers["x-request-id"])
        await self._first_byte(request, knobs)
        if ask.endpoint == "embeddings":
            body = wire.embeddings(ask, answer, knobs, self._seed)
        elif ask.stream and not knobs.garbage:
            return await self._stream(EventStream(request, knobs, self._rng, headers), ask, answer, knobs, line)
        else:
            await self._generate(request, answer)
            body = wire.plain(ask, answer, knobs)
            line.output_tokens, line.reasoning_tokens = answer.output, answer.reasoning
        if knobs.garbage:
            return web.Response(body=_GARBAGE, content_type="text/html", headers=headers)
        return await _half(request, body, headers) if knobs.cut is not None else _json(body, headers)

    def _open_line(self, request: web.Request, ask: Ask, answer: Reply, request_id: str) -> BillLine:
        line = BillLine(
            vendor=request.match_info["vendor"],
            model=ask.model,
            endpoint=ask.endpoint,
            input_tokens=answer.input,
            cached_tokens=answer.cached,
            output_tokens=0,
            reasoning_tokens=0,
            status=200,
            at=self._clock(),
            request_id=request_id,
        )
        self._bill.append(line)
        return line

    async def _stream(
        self, stream: EventStream, ask: Ask, answer: Reply, knobs: Knobs, line: BillLine
    ) -> web.StreamResponse:
        await stream.open()
        line.output_tokens = line.reasoning_tokens = answer.reasoning  # thought before the first word
        written = 0
        for chunk, tokens in wire.events(ask, answer, knobs):
            if knobs.cut is not None and written >= knobs.cut:
                stream.drop()
                return stream.response
            if knobs.error_at is not None and written >= knobs.error_at:
                await stream.send(errors.body(knobs.status or 500, knobs.code, model=ask.model, prompt=answer.input))
                return stream.response
            await self._between(stream.request, knobs, tokens)
            check(stream.request)
            written += tokens
            # Counted before the write, which hands the bytes over at once and may then be cancelled while it waits.
            line.output_tokens += tokens
            await stream.send(chunk)
        await stream.write(b"[DONE]")
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

    async def _generate(self, request: web.Request, answer: Reply) -> None:
        if self._pace:
            await wait(request, self._pace * min(_LONGEST_PLAIN, 0.010 * answer.output))

    async def _show_bill(self, _: web.Request) -> web.Response:
        return _json(invoice(self._bill), {})

    async def _clear_bill(self, _: web.Request) -> web.Response:
        self._bill.clear()
        return web.Response(status=204)


def _fault(ask: Ask, knobs: Knobs) -> Refused | None:
    """The error to answer instead; under `error_at` the status only says what the event inside the stream looks like."""
    in_stream = knobs.error_at is not None and ask.stream
    if not knobs.error200 and (not knobs.status or in_stream):
        return None
    prompt = ask.prompt_tokens if knobs.input is None else knobs.input
    return errors.refusal(knobs.status or 500, knobs.code, model=ask.model, prompt=prompt, key="sk-mock")


def _authorise(request: web.Request) -> None:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Refused(
            401,
            {
                "error": {
                    "message": "You didn't provide an API key. Put it in the header: Authorization: Bearer YOUR_KEY.",
                    "type": "invalid_request_error",
                    "param": None,
                    "code": None,
                }
            },
        )
    if key.strip() == "bad-key":
        raise errors.refusal(401, key="bad-key")


def _json(body: dict[str, Any], headers: dict[str, str], status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json", headers=headers)


async def _half(request: web.Request, body: dict[str, Any], headers: dict[str, str]) -> web.StreamResponse:
    raw = orjson.dumps(body)
    response = web.StreamResponse(headers={"Content-Type": "application/json", **headers})
    response.content_length = len(raw)
    await response.prepare(request)
    await response.write(raw[: len(raw) // 2])
    drop(request)
    return response


async def _page(request: web.Request) -> web.Response:
    return web.Response(text=page.text(f"http://{request.host}"))


async def _models(request: web.Request) -> web.Response:
    try:
        _authorise(request)
    except Refused as refused:
        return _json(refused.body, {}, refused.status)
    return _json({"object": "list", "data": models.of(request.match_info["vendor"])}, {})


async def _model(request: web.Request) -> web.Response:
    try:
        _authorise(request)
        found = [m for m in models.of(request.match_info["vendor"]) if m["id"] == request.match_info["model"]]
        if not found:
            raise errors.refusal(404, model=request.match_info["model"])
    except Refused as refused:
        return _json(refused.body, {}, refused.status)
    return _json(found[0], {})
