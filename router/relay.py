"""One attempt's bytes: the call to the vendor, and its answer to the client.

In the same dialect a stream is tapped, not rebuilt: bytes go out as they came, and only the usage event is looked at.
Until the first byte has gone out a failure leaves the client untouched, so that another candidate can be tried; after
it there is no status any more, and an error is an event of the stream.
"""

from collections.abc import Callable, Mapping
from typing import Protocol, cast

from router.clock import Clock
from router.core.catalog import ChatRequest
from router.core.charge import Charge
from router.core.errors import RouterError, UpstreamFailed
from router.core.failure import AttemptFailed, Failure, Fault
from router.core.money import show
from router.core.prices import Unpriced
from router.core.usage import Usage
from router.dialects import PlainReader, StreamReader, plain_reader, request, stream_reader, wire_of
from router.dialects.turn import Turn, Turned
from router.tally import Tally
from router.upstream import Exchange, Upstream, UpstreamCall

PASSED_HEADERS = ("x-request-id", "request-id", "openai-processing-ms", "openai-version")


class ClientLeft(Exception):
    """The client is gone; nothing more can be sent to it."""


class Reply(Protocol):
    """The way back to the client. Methods raise `ClientLeft`."""

    async def send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        """A whole answer."""

    async def begin(self, headers: Mapping[str, str]) -> None:
        """The head of a stream."""

    async def write(self, data: bytes) -> None:
        """A piece of the stream; waits while the client is slow."""


async def relay(chat: ChatRequest, tally: Tally, reply: Reply, upstream: Upstream, clock: Clock) -> None:
    """Call the vendor and pass its answer on. What was consumed, and what failed, is in the tally afterwards."""
    # There from the start: whoever has to read on when the client is gone reads into it.
    make = stream_reader if chat.stream else plain_reader
    told = (chat, tally.plan.model, tally.plan.tokens.tokens, clock.now() // 1_000_000, _bill(tally))
    reader = tally.reader = make(*told)
    tally.sent_s = clock.seconds()  # also where it comes to no call
    try:
        call = _call(chat, tally)
        tally.sent_s = clock.seconds()
        exchange = tally.exchange = upstream.open(call)
        await exchange.response()
        if not 200 <= exchange.status < 300:
            dialect, _ = wire_of(tally.plan.model, chat.endpoint)
            quirks = tally.plan.model.access.vendor.quirks
            tally.failure = dialect.error(exchange.status, await exchange.read(), exchange.headers, quirks)
        elif chat.stream and _is_stream(exchange):
            await _stream(tally, cast("StreamReader", reader), reply, exchange, clock)
        else:  # also where a stream was asked for and a plain answer came
            plain = tally.reader = plain_reader(*told) if chat.stream else cast("PlainReader", reader)
            await _plain(tally, plain, reply, exchange, clock)
    except AttemptFailed as error:
        tally.failure = error.failure
        if tally.answered:
            await _tell(cast("StreamReader", reader), reply, error.failure)
    except ClientLeft:
        tally.left = True
    finally:
        tally.ended_s = clock.seconds()


def _is_stream(exchange: Exchange) -> bool:
    kind = exchange.headers.get("content-type", "text/event-stream")
    return "event-stream" in kind or "ndjson" in kind


def _call(chat: ChatRequest, tally: Tally) -> UpstreamCall:
    """The request to the vendor. No header of the client reaches it but those that its dialect lets pass."""
    plan = tally.plan
    access = plan.model.access
    key = access.keys[0] if access.keys else ""
    sent = request(chat, plan.model, plan.output_cap, key, must=_must_cap(chat, tally))
    headers = {"Content-Type": "application/json", **dict(access.headers), **sent.headers}
    return UpstreamCall(url=sent.url, headers=headers, body=sent.body, timeouts=access.timeouts)


def _must_cap(chat: ChatRequest, tally: Tally) -> bool:
    """Whether the vendor has to be told the output cap, because it would not keep to it by itself."""
    who = tally.plan.capped_by
    if chat.endpoint == "embeddings" or who in {"client", "model", "window"}:
        return False
    return who != "default" or bool(tally.attempt.holds)


def farebox_headers(tally: Tally) -> dict[str, str]:
    """What every answer says about itself."""
    attempt = tally.attempt
    return {
        "server": "farebox",
        "x-farebox-request-id": attempt.request_id,
        "x-farebox-model": attempt.model,
        "x-farebox-vendor": attempt.vendor,
        "x-farebox-tier": attempt.tier,
        "x-farebox-reason": attempt.reason.encode("ascii", "replace").decode(),
    }


def _passed(exchange: Exchange, reader: StreamReader | PlainReader) -> dict[str, str]:
    """Of the vendor's headers what is the client's too: its type only where the bytes are."""
    names = PASSED_HEADERS if isinstance(reader, Turn | Turned) else ("content-type", *PASSED_HEADERS)
    return {name: value for name in names if (value := exchange.headers.get(name))}


async def _plain(tally: Tally, reader: PlainReader, reply: Reply, exchange: Exchange, clock: Clock) -> None:
    raw = await exchange.read()
    tally.first_byte_s = clock.seconds()
    tally.complete = True
    if not reader.read(raw):
        tally.failure = reader.failure
        return
    headers = {"content-type": "application/json", **_passed(exchange, reader), **farebox_headers(tally)}
    if reader.usage is not None and (charge := _charge(tally, reader.usage)) is not None:
        headers["x-farebox-cost"] = show(charge.cost)
    await reply.send(exchange.status, reader.shown(raw), headers)
    tally.answered = True


async def _stream(tally: Tally, reader: StreamReader, reply: Reply, exchange: Exchange, clock: Clock) -> None:
    tally.streaming = True
    most = tally.plan.output_cap * tally.plan.choices if tally.attempt.holds else None
    while chunk := await exchange.chunk():
        out = reader.feed(chunk)
        if not tally.answered:
            if reader.failure is not None:  # an error before anything else: the client has seen nothing
                tally.failure = reader.failure
                return
            if not out:
                continue
            tally.first_byte_s = clock.seconds()
            head = {"content-type": "text/event-stream", **_passed(exchange, reader)}
            await reply.begin({**head, **farebox_headers(tally)})
            tally.answered = True
        if out:
            await reply.write(out)
        if most is not None and not reader.done and _written(reader) > most:
            tally.capped = True
            exchange.close()  # the vendor does not keep to the cap that was held for: more would not be paid for
            await reply.write(reader.cut(tally.plan.model.wire_name))
            return
    rest = reader.finish()
    tally.complete = reader.done
    if not tally.answered:
        raise AttemptFailed(reader.failure or Failure(Fault.RESET, "the stream ended before it began"))
    if rest:
        await reply.write(rest)
    if not tally.complete and reader.failure is None:
        raise AttemptFailed(Failure(Fault.RESET, "the stream ended in the middle"))
    tally.failure = reader.failure  # if there is one, the stream itself has told it


def _written(reader: StreamReader) -> int:
    """At least so many tokens the vendor has written by now."""
    return reader.usage.output_total if reader.usage is not None and reader.usage_final else reader.written


def _bill(tally: Tally) -> Callable[[Usage], bytes]:
    def members(usage: Usage) -> bytes:
        charge = _charge(tally, usage)
        return b"" if charge is None else _members(charge, tally.attempt.currency)

    return members


def _charge(tally: Tally, usage: Usage) -> Charge | None:
    """What the client is told; nothing where the settlement will have to estimate."""
    if not usage.input_total and tally.vendor_cost is None:
        return None
    try:
        return tally.charge(usage)
    except Unpriced:
        return None


def _members(charge: Charge, currency: str) -> bytes:
    """What a shown usage has besides the vendor's fields; amounts are exact decimals, not binary floats."""
    return (f'"cost":{show(charge.cost)},"cost_currency":"{currency}","flagship_cost":{show(charge.flagship)}').encode()


async def _tell(reader: StreamReader, reply: Reply, failure: Failure) -> None:
    """The stream cannot go on: say so inside it."""
    error: RouterError = UpstreamFailed(f"the vendor's stream broke off: {failure}")
    try:
        await reply.write(reader.fail(error))
    except ClientLeft:
        return
