"""One attempt's bytes: the call to the vendor, and its answer to the client.

In the same dialect a stream is tapped, not rebuilt: bytes go out as they came, and only the usage event is looked at.
Until the first byte has gone out a failure leaves the client untouched, so that another candidate can be tried; after
it there is no status any more, and an error is an event of the stream.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from router.clock import Clock
from router.core import jsonio
from router.core.catalog import Access, ChatRequest, Quirks
from router.core.charge import Charge
from router.core.errors import RouterError, UpstreamFailed
from router.core.failure import AttemptFailed, Failure, Fault
from router.core.money import show
from router.core.prices import Unpriced
from router.core.usage import ContradictoryUsage, Usage
from router.dialects import openai, openai_errors, openai_usage
from router.dialects.openai_errors import PLAIN
from router.dialects.openai_stream import Tap, final_events
from router.tally import Tally
from router.upstream import Exchange, Upstream, UpstreamCall

# Events of a stream that carry no token: the role, the finish reason, the usage, the end, and a vendor's own.
FREE_EVENTS = 16
PASSED_HEADERS = ("content-type", "x-request-id", "openai-processing-ms", "openai-version")


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
    call = _call(chat, tally)
    # There from the start: whoever has to read on when the client is gone reads into it.
    quirks = tally.plan.model.access.vendor.quirks
    reader = Tap(hide_usage=not chat.wants_usage, bill=_bill(tally), quirks=quirks) if chat.stream else Plain(quirks)
    tally.reader = reader
    exchange = tally.exchange = upstream.open(call)
    tally.sent_s = clock.seconds()
    try:
        await exchange.response()
        if not 200 <= exchange.status < 300:
            tally.failure = openai_errors.error(exchange.status, await exchange.read(), exchange.headers, quirks)
        elif isinstance(reader, Tap) and "event-stream" in exchange.headers.get("content-type", "text/event-stream"):
            await _stream(tally, reader, reply, exchange, clock)
        else:
            plain = reader if isinstance(reader, Plain) else Plain(quirks)
            tally.reader = plain  # also where a stream was asked for and a plain answer came
            await _plain(tally, plain, reply, exchange, clock)
    except AttemptFailed as error:
        tally.failure = error.failure
        if tally.answered:
            await _tell(reply, error.failure)
    except ClientLeft:
        tally.left = True
    finally:
        tally.ended_s = clock.seconds()


def _call(chat: ChatRequest, tally: Tally) -> UpstreamCall:
    plan = tally.plan
    access = plan.model.access
    cap = plan.output_cap if _must_cap(chat, tally) else None
    return UpstreamCall(
        url=f"{access.base_url}/{chat.endpoint}",
        headers=_headers(access),
        body=openai.patch(chat, plan.model, cap),
        timeouts=access.timeouts,
    )


def _must_cap(chat: ChatRequest, tally: Tally) -> bool:
    """Whether the vendor has to be told the output cap, because it would not keep to it by itself."""
    who = tally.plan.capped_by
    if chat.endpoint == "embeddings" or who in {"client", "model", "window"}:
        return False
    return who != "default" or bool(tally.attempt.holds)


def _headers(access: Access) -> Mapping[str, str]:
    """Only what is ours: no header of the client reaches a vendor."""
    headers = {"Content-Type": "application/json", **dict(access.headers)}
    if access.keys:
        name, key = access.vendor.quirks.key_header, access.keys[0]
        headers[name] = f"Bearer {key}" if name == "Authorization" else key
    return headers


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


def _passed(exchange: Exchange) -> dict[str, str]:
    return {name: value for name in PASSED_HEADERS if (value := exchange.headers.get(name))}


class Plain:
    """Reads a plain answer: the whole body, then its usage."""

    __slots__ = ("_pieces", "_quirks", "failure", "usage", "usage_told", "vendor_cost_nano")

    def __init__(self, quirks: Quirks = PLAIN) -> None:
        self._pieces: list[bytes] = []
        self._quirks = quirks
        self.usage: Usage | None = None
        self.usage_told: Mapping[str, object] = {}  # the same as the vendor wrote it
        self.vendor_cost_nano: int | None = None  # what the vendor itself says it charges
        self.failure: Failure | None = None

    def feed(self, chunk: bytes) -> bytes:
        self._pieces.append(chunk)
        return b""

    def finish(self) -> bytes:
        self.read(b"".join(self._pieces))
        return b""

    def read(self, raw: bytes) -> Mapping[str, object] | None:
        """The reply, if it is one; else `failure` says why not."""
        self._pieces = [raw]
        try:
            told = jsonio.loads_reply(raw)
        except jsonio.NotJson:
            self.failure = Failure(Fault.GARBAGE, "the answer is not JSON", 200)
            return None
        if not isinstance(told, dict):
            self.failure = Failure(Fault.GARBAGE, "the answer is not a JSON object", 200)
            return None
        self._consumed(told)
        self.failure = openai_errors.failure_of(told, 200, {}, self._quirks)
        if self.failure is not None:
            return None
        failure, carried = openai_errors.finish_failure(told, self._quirks), openai_errors.carries(told)
        if failure is not None and not (failure.callers and carried):
            self.failure = failure  # a part of an answer is passed on, and written down as what it is
        return told if self.failure is None or carried else None

    def _consumed(self, told: Mapping[str, object]) -> None:
        found = openai_usage.find(told, self._quirks)
        if found is None:
            return
        try:
            self.usage = openai_usage.usage_of(found, self._quirks)
        except ContradictoryUsage:
            return  # what contradicts itself is no report: the row is marked as estimated
        self.usage_told = found
        self.vendor_cost_nano = openai_usage.vendor_cost_nano(found, self._quirks)

    def text(self) -> str:
        tap = Tap(hide_usage=True, bill=lambda _: b"")
        tap.feed(b"".join(self._pieces) + b"\n\n")
        return tap.text()


async def _plain(tally: Tally, reader: Plain, reply: Reply, exchange: Exchange, clock: Clock) -> None:
    raw = await exchange.read()
    tally.first_byte_s = clock.seconds()
    tally.complete = True
    told = reader.read(raw)
    if told is None:
        tally.failure = reader.failure
        return
    headers = {**_passed(exchange), **farebox_headers(tally)}
    if reader.usage is not None and (charge := _charge(tally, reader.usage)) is not None:
        headers["x-farebox-cost"] = show(charge.cost)
        raw = openai_usage.with_cost(raw, told, reader.usage_told, _members(charge, tally.attempt.currency))
    await reply.send(exchange.status, raw, headers)
    tally.answered = True


async def _stream(tally: Tally, tap: Tap, reply: Reply, exchange: Exchange, clock: Clock) -> None:
    tally.streaming = True
    most = tally.plan.output_cap * tally.plan.choices if tally.attempt.holds else None
    while chunk := await exchange.chunk():
        out = tap.feed(chunk)
        if not out:
            continue
        if not tally.answered:
            tally.first_byte_s = clock.seconds()
            if tap.failure is not None:  # an error before anything else: the client has seen nothing
                tally.failure = tap.failure
                return
            await reply.begin({**_passed(exchange), **farebox_headers(tally)})
            tally.answered = True
        await reply.write(out)
        if most is not None and not tap.done and _written(tap) > most:
            tally.capped = True
            exchange.close()  # the vendor does not keep to the cap that was held for: more would not be paid for
            await reply.write(final_events(tally.plan.model.wire_name, "length"))
            return
    rest = tap.finish()
    tally.complete = tap.done
    if not tally.answered:
        raise AttemptFailed(tap.failure or Failure(Fault.RESET, "the stream ended before it began"))
    if rest:
        await reply.write(rest)
    if not tally.complete and tap.failure is None:
        raise AttemptFailed(Failure(Fault.RESET, "the stream ended in the middle"))
    tally.failure = tap.failure  # if there is one, the stream itself has told it


def _written(tap: Tap) -> int:
    """At least so many tokens the vendor has written by now."""
    return tap.events - FREE_EVENTS if tap.usage is None else tap.usage.output_total


def _bill(tally: Tally) -> Callable[[Usage], bytes]:
    def members(usage: Usage) -> bytes:
        charge = _charge(tally, usage)
        return b"" if charge is None else _members(charge, tally.attempt.currency)

    return members


def _charge(tally: Tally, usage: Usage) -> Charge | None:
    """What the client is told; nothing where the settlement will have to estimate."""
    try:
        return tally.charge(usage)
    except Unpriced:
        return None


def _members(charge: Charge, currency: str) -> bytes:
    """What a shown usage has besides the vendor's fields; amounts are exact decimals, not binary floats."""
    return (f'"cost":{show(charge.cost)},"cost_currency":"{currency}","flagship_cost":{show(charge.flagship)}').encode()


async def _tell(reply: Reply, failure: Failure) -> None:
    """The stream cannot go on: say so inside it."""
    error: RouterError = UpstreamFailed(f"the vendor's stream broke off: {failure}")
    try:
        await reply.write(openai.show_error_event(error))
    except ClientLeft:
        return
