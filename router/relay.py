"""One attempt's bytes: the call to the vendor, and its answer to the client.

In the same dialect a stream is tapped, not rebuilt: bytes go out as they came, and only the usage event is looked at.
Until the first byte has gone out a failure leaves the client untouched, so that another candidate can be tried; after
it there is no status any more, and an error is an event of the stream.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from router.clock import Clock
from router.core import jsonio
from router.core.catalog import ChatRequest
from router.core.errors import RouterError, UpstreamFailed
from router.core.failure import NOT_BEGUN, AttemptFailed, Failure, Fault
from router.core.health import Health
from router.core.secrets import hide, hide_in_events, secrets_of
from router.dialects import (
    DIALECTS,
    Dialect,
    PlainReader,
    StreamReader,
    plain_reader,
    request,
    stream_reader,
    thinking,
    wire_of,
)
from router.dialects.allowances import read_allowances
from router.dialects.grant import Grant
from router.dialects.turn import Gathered, Played
from router.grants import Grants, Token
from router.tally import Tally
from router.told import bill, cost_header, farebox_headers, passed
from router.upstream import MAX_REPLY, Exchange, Peeked, Upstream, UpstreamCall

# What a stream says before the first word is kept back: a role, a message's head, a ping, some hundred bytes. What is
# larger is an answer of a kind that has no text; balancers between a client and us cut what is silent for 30 or 60 s.
OPENING = 8192
OPENING_S = 15.0
KEEP_ALIVE = re.compile(rb"(?:\A|(?<=\n\n)|(?<=\r\r)|(?<=\r\n\r\n))(?::[^\r\n]*(?:\r\n?|\n))+(?:\r\n?|\n)")
"""Events of comments alone. Of what is kept back nobody has waited for them."""
EVENTS = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:(?:data|event|id|retry)\s*:|:)")  # how a stream of events begins


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


@dataclass(slots=True)
class Reach:
    """What it takes to reach vendors."""

    upstream: Upstream
    grants: Grants
    health: Health
    clock: Clock


async def relay(chat: ChatRequest, tally: Tally, reply: Reply, reach: Reach) -> None:
    """Call the vendor and pass its answer on. What was consumed, and what failed, is in the tally afterwards.

    A call that is refused because its token holds no longer was not billed, so it is made once more with a new one.
    """
    model, health = tally.plan.model, reach.health
    key = tally.seat.key if tally.seat is not None else health.take(model, reach.clock.seconds())
    try:
        token = await _once(chat, tally, reply, reach, key)
        if token is not None and not tally.answered and not tally.left and reach.grants.forget(token, tally.failure):
            if tally.exchange is not None:
                tally.exchange.close()
            tally.failure, tally.complete, tally.exchange = None, False, None
            await _once(chat, tally, reply, reach, key)
    finally:
        health.tell(model, key, tally.failure, reach.clock.seconds(), heard=tally.answered)


async def _once(chat: ChatRequest, tally: Tally, reply: Reply, reach: Reach, key: str) -> Token | None:
    """One call and its answer. Returns the token that it was made with, where its wire has one."""
    model, clock = tally.plan.model, reach.clock
    # There from the start: whoever has to read on when the client is gone reads into it.
    make = stream_reader if chat.stream else plain_reader
    told = (chat, model, tally.plan.tokens.tokens, clock.now() // 1_000_000, bill(tally))
    reader = tally.reader = make(*told)
    tally.sent_s = clock.seconds()  # also where it comes to no call
    token, secrets = None, secrets_of(key)
    try:
        dialect, _ = wire_of(model, chat.endpoint)
        if dialect.grant is not None and key:
            token = await _token(dialect.grant, tally, reach.grants, key)
            secrets = secrets_of(key, token.text)
        call = _call(chat, tally, token.text if token else key, clock.now() // 1_000_000)
        if token is None:  # the exchange is the vendor's time, not ours
            tally.sent_s = clock.seconds()
        exchange = tally.exchange = reach.upstream.open(call)
        del call  # a stream may last long, and what was asked is not needed again
        await exchange.response()
        if (left := read_allowances(exchange.headers, clock.now())) is not None:
            reach.health.seats.told(model, key, left, tally.sent_s, clock.seconds())
        if not 200 <= exchange.status < 300:
            quirks = model.access.vendor.quirks
            tally.failure = dialect.error(exchange.status, await exchange.read(), exchange.headers, quirks)
            return token
        streamed = (chat.stream or isinstance(reader, Gathered)) and await _is_stream(tally, exchange, dialect)
        exchange = tally.exchange or exchange
        if chat.stream and streamed:
            await _stream(tally, cast("StreamReader", reader), reply, exchange, clock, secrets)
        else:  # also where a stream was asked for and a plain answer came
            plain = tally.reader = plain_reader(*told) if chat.stream else cast("PlainReader", reader)
            await _plain(tally, plain, reply, exchange, clock, streamed=streamed)
    except AttemptFailed as error:
        tally.failure = _discreet(error.failure, secrets)
        if tally.answered:
            await _tell(cast("StreamReader", reader), reply, tally.failure)
    except ClientLeft:
        tally.left = True
    finally:
        tally.ended_s = clock.seconds()
        tally.failure = tally.failure and _discreet(tally.failure, secrets)
    return token


def _discreet(failure: Failure, secrets: Sequence[str]) -> Failure:
    return failure.told(lambda text: hide(text, secrets))


async def _token(grant: Grant, tally: Tally, grants: Grants, key: str) -> Token:
    """What the call is made with instead of the credential. Raises `AttemptFailed`."""
    try:
        return await grants.token(grant, tally.plan.model.access, key)
    except asyncio.CancelledError:
        tally.failure = Failure(Fault.CONNECT, "given up before the vendor was called")
        raise


async def _is_stream(tally: Tally, exchange: Exchange, dialect: Dialect) -> bool:
    """Whether a stream comes: by its type, or else by how it begins, as what stands in between may say anything of it."""
    if _says_stream(exchange.headers):
        return True
    if dialect.lines:  # each is JSON, as a plain answer is
        return "json" not in exchange.headers.get("content-type", "").lower()
    tally.exchange = peeked = Peeked(exchange)  # before it is waited for: whoever reads on finds all of it there
    return EVENTS.match(await peeked.peek()) is not None


def _says_stream(headers: Mapping[str, str]) -> bool:
    kind = headers.get("content-type", "").lower()
    return "event-stream" in kind or "ndjson" in kind


def _call(chat: ChatRequest, tally: Tally, key: str, now: int) -> UpstreamCall:
    """The request to the vendor. No header of the client reaches it but those that its dialect lets pass."""
    plan = tally.plan
    access = plan.model.access
    sent = request(chat, plan.model, plan.output_cap, key, must=_must_cap(chat, tally), now=now)
    if plan.price.by_thinking:
        tally.asked_to_think = thinking.asks(jsonio.loads(sent.body))
    headers = {"Content-Type": "application/json", **dict(access.headers), **sent.headers}
    dialect, _ = wire_of(plan.model, chat.endpoint)
    return UpstreamCall(sent.url, headers, sent.body, access.timeouts, dialect.last)


def _must_cap(chat: ChatRequest, tally: Tally) -> bool:
    """Whether the vendor has to be told the output cap, because it would not keep to it by itself."""
    who = tally.plan.capped_by
    if who == "model" and chat.output_cap is not None:  # the client asks for more than this model may be asked for
        return True
    if chat.endpoint == "embeddings" or who in {"client", "model", "window"}:
        return False
    return who != "default" or bool(tally.attempt.holds)


async def _plain(
    tally: Tally, reader: PlainReader, reply: Reply, exchange: Exchange, clock: Clock, *, streamed: bool
) -> None:
    raw = await _gathered(tally, cast("Gathered", reader), exchange) if streamed else await exchange.read()
    tally.first_byte_s = clock.seconds()
    tally.complete = not tally.capped
    if not reader.read(raw):
        tally.failure = reader.failure
        return
    if isinstance(reader, Played):
        await _begin(tally, reader, reply, exchange, clock)
        await reply.write(reader.shown(raw))
        return
    headers = {"content-type": "application/json", **passed(exchange, reader), **farebox_headers(tally)}
    headers |= cost_header(tally)
    await reply.send(exchange.status, reader.shown(raw), headers)
    tally.answered = True


async def _gathered(tally: Tally, reader: Gathered, exchange: Exchange) -> bytes:
    """Read a stream for a client that wants a plain answer, as far as its cap. Nothing is left for the reader."""
    tally.streaming = True  # words that came before a failure are charged
    most, size = _most(tally), 0
    while chunk := await exchange.chunk():
        reader.feed(chunk)
        size += len(chunk)
        if reader.failure is not None:
            exchange.close()
            break
        if size > MAX_REPLY:
            exchange.close()
            raise AttemptFailed(Failure(Fault.GARBAGE, f"the reply is larger than {MAX_REPLY} bytes"))
        if most is not None and not reader.ended and _written(reader) > most:
            tally.capped = True
            exchange.close()
            reader.cut()
            break
    return b""


def _most(tally: Tally) -> int | None:
    """Tokens past which a stream is ended by us: those that are held for, or, where the wire cannot be told a cap, those
    that anybody asked for. None if the vendor may go on.
    """
    most = tally.plan.output_cap * tally.plan.choices
    capless = DIALECTS[tally.plan.model.access.vendor.dialect].capless
    asked = capless and tally.plan.capped_by not in {"default", "model", "window"}
    if not (tally.attempt.holds or asked):
        return None
    return most - 1 if capless else most  # a vendor that was told has ended by then; one that was not goes on


async def _stream(
    tally: Tally, reader: StreamReader, reply: Reply, exchange: Exchange, clock: Clock, secrets: Sequence[str]
) -> None:
    tally.streaming = True
    most = _most(tally)
    held, progress = b"", _Progress(reader, tally.plan.model.access.timeouts.idle, clock)
    while chunk := await exchange.chunk():
        out = reader.feed(chunk)
        progress.look()
        if not tally.answered:
            if reader.failure is not None:  # an error before anything else: the client has seen nothing
                tally.failure = reader.failure
                return
            held += out
            if len(held) > OPENING:
                held = _without_keep_alives(held)
            tally.first_byte_s = tally.first_byte_s or clock.seconds()
            if not held or _says_nothing(reader, held, clock.seconds() - tally.sent_s):
                continue  # another candidate can still be tried
            await _begin(tally, reader, reply, exchange, clock)
            out, held = held, b""
        if out:
            await reply.write(out if reader.failure is None else hide_in_events(out, secrets))
        if most is not None and not reader.done and _written(reader) > most:
            tally.capped = True
            exchange.close()  # the vendor does not keep to the cap that was held for: more would not be paid for
            await reply.write(reader.cut(tally.plan.model.wire_name))
            return
        del chunk, out  # nothing of it is kept while the vendor is waited for
    rest = reader.finish()
    tally.complete = reader.done
    if not tally.answered:
        if reader.failure is not None or not tally.complete or not held + rest:
            raise AttemptFailed(reader.failure or Failure(Fault.RESET, NOT_BEGUN))
        await _begin(tally, reader, reply, exchange, clock)  # an answer without a word
        rest = held + rest
    if rest:
        await reply.write(rest if reader.failure is None else hide_in_events(rest, secrets))
    if not tally.complete and reader.failure is None:
        raise AttemptFailed(Failure(Fault.RESET, "the stream ended in the middle"))
    tally.failure = reader.failure  # if there is one, the stream itself has told it


def _without_keep_alives(held: bytes) -> bytes:
    """What is kept back without its events of comments; a line that begins with a colon is looked for first, as that is fast."""
    if held.startswith(b":") or b"\n:" in held or b"\r:" in held:
        return KEEP_ALIVE.sub(b"", held)
    return held


class _Progress:
    """Whether words still come: comments and pings say that a socket is alive, and no more."""

    __slots__ = ("_clock", "_idle_s", "_reader", "_since", "_written")

    def __init__(self, reader: StreamReader, idle_s: float, clock: Clock) -> None:
        self._reader, self._idle_s, self._clock = reader, idle_s, clock
        self._written, self._since = reader.written, clock.seconds()

    def look(self) -> None:
        """After each piece. Raises `AttemptFailed`: nothing but keep-alives for too long."""
        if self._reader.written != self._written or self._reader.done:
            self._written, self._since = self._reader.written, self._clock.seconds()
        elif self._clock.seconds() - self._since > self._idle_s:
            raise AttemptFailed(Failure(Fault.TIMEOUT, f"nothing but keep-alives within {self._idle_s:g} s"))


def _says_nothing(reader: StreamReader, held: bytes, passed_s: float) -> bool:
    """Whether a stream may still be taken back: nothing of the answer is in it, and its client has not waited long."""
    if reader.done or len(held) > OPENING or passed_s > OPENING_S:
        return False
    return not reader.text()


async def _begin(tally: Tally, reader: StreamReader | Played, reply: Reply, exchange: Exchange, clock: Clock) -> None:
    """The head of the stream goes out: from here on nobody else can be tried."""
    tally.first_byte_s = clock.seconds()  # that of the answer's first word
    head = {**passed(exchange, reader), **farebox_headers(tally)}
    if not _says_stream(head):
        head["content-type"] = "text/event-stream"
    if isinstance(reader, Played):  # all of it is there already
        head |= cost_header(tally)
    await reply.begin(head)
    tally.answered = True


def _written(reader: StreamReader | Gathered) -> int:
    """At least so many tokens the vendor has written by now."""
    told = reader.usage.output_total if reader.usage is not None else 0
    return told if told and reader.usage_final else max(told, reader.written)


async def _tell(reader: StreamReader, reply: Reply, failure: Failure) -> None:
    """The stream cannot go on: say so inside it."""
    error: RouterError = UpstreamFailed(f"the vendor's stream broke off: {failure}")
    try:
        await reply.write(reader.fail(error))
    except ClientLeft:
        return
