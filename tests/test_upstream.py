"""What both clients do with a vendor's server, a hostile one included: one contract, two implementations."""

import asyncio
import contextlib
import gc
import gzip
import os
import socket
import ssl
import stat
import subprocess
import tracemalloc
import zlib
from pathlib import Path

import aiohttp.connector
import pytest
from hostile import CHUNKED, Server, answering, chunk, plain, saying
from support import a_few_turns

from router import __version__
from router.core.catalog import Timeouts
from router.core.failure import AttemptFailed, Fault
from router.lean import LeanUpstream
from router.upstream import AiohttpUpstream, UpstreamCall

pytestmark = pytest.mark.timeout(20)

PATIENT = Timeouts(connect=5, first_byte=5, idle=5, total=8)
SHORT_S = 0.05
AT_ONCE_S = 2.0  # what needs no timeout of the call happens within this, on a busy machine too
MIB = 2**20
BROKEN = {Fault.GARBAGE, Fault.RESET}


def aiohttp_does_not(reason, *ids):
    """What aiohttp's client is known not to do, in the cases of these ids or in all."""

    def mark(test):
        test.limit = reason, ids
        return test

    return mark


@pytest.fixture(params=[AiohttpUpstream, LeanUpstream], ids=["aiohttp", "lean"])
async def client(request):
    """A started client. What goes wrong behind everybody's back, in a callback, fails the test."""
    if request.param is AiohttpUpstream and (limit := getattr(request.function, "limit", None)):
        reason, ids = limit
        if not ids or request.node.callspec.id.removeprefix("aiohttp-") in ids:
            request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    noise = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))
    upstream = request.param()
    await upstream.start()
    yield upstream
    await upstream.stop()
    assert not noise


def call(server, body=b"{}", path="/v1/chat/completions", timeouts=PATIENT, **headers):
    return UpstreamCall(server.url(path), {"Content-Type": "application/json", **headers}, body, timeouts)


async def ask(client, server, body=b"{}", **more):
    """One call from its begin to its end: status and body."""
    exchange = client.open(call(server, body, **more))
    try:
        await exchange.response()
        return exchange.status, await exchange.read()
    finally:
        exchange.close()


async def body_of(exchange):
    """Piece by piece."""
    pieces = []
    while piece := await exchange.chunk():
        pieces.append(piece)
    return b"".join(pieces)


async def fault_of(awaitable):
    """How it fails; an answer instead is shown."""
    with pytest.raises(AttemptFailed) as caught:
        pytest.fail(f"no failure but {await awaitable!r:.200}")
    return caught.value.failure.fault


async def cancelled(task):
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# Ways to say an answer

ANSWERS = {
    "a length": plain(b"hello world"),
    "no reason phrase": b"HTTP/1.1 200\r\nContent-Length: 11\r\n\r\nhello world",
    "chunks": CHUNKED + chunk(b"hello ") + chunk(b"world") + chunk(b""),
    "chunks with zeros and capitals": CHUNKED + b"0000B\r\nhello world\r\n000\r\n\r\n",
    "chunk extensions": CHUNKED + b'6;a=b\r\nhello \r\n5;quoted="x;y"\r\nworld\r\n0;last\r\n\r\n',
    "trailers": CHUNKED + chunk(b"hello world") + b"0\r\nX-Checksum: 1\r\nServer-Timing: db;dur=5\r\n\r\n",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 11\r\n\r\nhello world",
    "connection close": plain(b"hello world", "Connection: close"),
    "100 Continue before it": b"HTTP/1.1 100 Continue\r\n\r\n" + plain(b"hello world"),
    "103 Early Hints before it": b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n" + plain(b"hello world"),
    "several 1xx before it": b"HTTP/1.1 100 Continue\r\n\r\n" * 3
    + b"HTTP/1.1 103 Early Hints\r\nX: 1\r\n\r\n" * 2
    + plain(b"hello world"),
}
TO_EOF = {
    "until the end": b"HTTP/1.1 200 OK\r\n\r\nhello world",
    "until the end, HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhello world",
    "until the end, connection close": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello world",
}


def ways(table):
    return pytest.mark.parametrize("answer", table.values(), ids=[name.replace(" ", "-") for name in table])


@ways(ANSWERS)
async def test_every_way_to_frame_an_answer_is_read(client, answer):
    async with Server(answering(answer)) as server:
        for _ in range(2):  # nothing of the first is left for the second
            assert await ask(client, server) == (200, b"hello world")


@ways(ANSWERS | TO_EOF)
async def test_an_answer_may_come_byte_by_byte(client, answer):
    async def script(peer):
        await peer.request()
        await peer.dribble(answer)

    async with Server(script) as server:
        exchange = client.open(call(server))
        await exchange.response()
        assert (exchange.status, await body_of(exchange)) == (200, b"hello world")
        assert await exchange.chunk() == b""  # the end stays the end
        assert await exchange.read() == b""
        exchange.close()


@ways(TO_EOF)
async def test_without_a_length_the_end_of_the_connection_is_the_end_of_the_answer(client, answer):
    async with Server(saying(answer)) as server:
        assert await ask(client, server) == (200, b"hello world")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 11\r\n\r\n",
        plain(b""),
        CHUNKED + chunk(b""),
    ],
    ids=["204", "304", "length-0", "no-chunk"],
)
async def test_an_empty_answer_is_complete_at_once_and_its_connection_is_used_again(client, answer):
    async with Server(answering(answer)) as server:
        for _ in range(3):
            assert (await ask(client, server))[1] == b""
        assert server.connections == 1


@pytest.mark.parametrize("answer", [plain(b"hello world"), ANSWERS["trailers"]], ids=["length", "trailers"])
async def test_bare_line_feeds_are_read_or_refused_and_nothing_else(client, answer):
    async with Server(saying(answer.replace(b"\r\n", b"\n"), then="wait")) as server:
        try:
            assert await ask(client, server) == (200, b"hello world")
        except AttemptFailed as error:
            assert error.failure.fault in BROKEN  # noqa: PT017  either is fine


async def test_headers_are_found_by_their_lower_case_names_and_those_of_a_1xx_or_a_trailer_are_not_among_them(client):
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nX-Request-Id: hint\r\n\r\n"
    head = b"HTTP/1.1 429 Too Many\r\nCONTENT-TYPE: text/event-stream\r\nX-REQUEST-ID: r1\r\nRetry-After:7\r\n"
    tail = b"Transfer-Encoding: chunked\r\n\r\n" + chunk(b"no") + b"0\r\nContent-Type: a/trailer\r\nX-Late: 1\r\n\r\n"
    async with Server(saying(hints, head, tail)) as server:
        exchange = client.open(call(server))
        await exchange.response()
        assert exchange.status == 429
        for _ in range(2):
            told = {name.lower(): value for name, value in exchange.headers.items()}
            assert told.pop("transfer-encoding") == "chunked"
            assert told == {"content-type": "text/event-stream", "x-request-id": "r1", "retry-after": "7"}
            assert exchange.headers.get("content-type") == "text/event-stream"
            assert exchange.headers.get("retry-after") == "7" and exchange.headers.get("link") is None
            await exchange.read()
        exchange.close()


async def test_strange_bytes_in_a_header_do_no_harm(client):
    answer = plain(b"ok", "X-Name: caf\xe9", "X-Empty:", "X-Twice: 1", "X-Twice: 2")
    async with Server(answering(answer)) as server:
        assert await ask(client, server) == (200, b"ok")


async def test_the_first_piece_of_a_stream_is_there_before_the_second_is_sent(client):
    more = asyncio.Event()

    async def script(peer):
        await peer.request()
        await peer.send(CHUNKED, chunk(b"one"))
        await more.wait()
        await peer.send(chunk(b"two") + chunk(b""))

    async with Server(script) as server:
        exchange = client.open(call(server))
        assert await exchange.chunk() == b"one"
        more.set()
        assert await exchange.read() == b"two"
        exchange.close()


# The request


async def test_the_request_has_exactly_what_it_should_have(client):
    body = b'{"model": "m", "text": "\xe4\xbd\xa0\xe5\xa5\xbd"}'
    async with Server(answering(plain(b"ok", "Set-Cookie: a=b; Path=/", "Set-Cookie: c=d"))) as server:
        for _ in range(2):
            path = "/openai/x%2Fy/chat/completions?api-version=2024-10-21&q=a%20b"
            await ask(client, server, body, path=path, **{"Authorization": "Bearer sk-1", "X-Org": "o"})
        assert len(server.requests) == 2
        for request in server.requests:  # the second brings no cookie back
            assert request.line == f"POST {path} HTTP/1.1"
            assert request.body == body
            fields = dict(request.fields)
            assert len(fields) == len(request.fields), "a header is there twice"
            assert fields.pop("accept", "*/*") == "*/*"
            assert fields.pop("connection", "keep-alive") == "keep-alive"
            assert fields == {
                "host": f"127.0.0.1:{server.port}",
                "user-agent": f"farebox/{__version__}",
                "accept-encoding": "identity",
                "content-type": "application/json",
                "content-length": str(len(body)),
                "authorization": "Bearer sk-1",
                "x-org": "o",
            }


@pytest.mark.parametrize("name", ["User-Agent", "user-agent", "Accept-Encoding", "Accept", "Host"])
async def test_a_header_of_a_call_replaces_the_one_that_a_client_would_send_and_is_there_once(client, name):
    async with Server(answering(plain(b"ok"))) as server:
        await ask(client, server, b"{}", **{name: "mine"})
        assert server.requests[0].values(name.lower()) == ["mine"]


async def test_a_line_break_in_a_header_does_not_reach_the_wire(client):
    async with Server(answering(plain(b"ok"))) as server:
        with contextlib.suppress(AttemptFailed, ValueError):
            await ask(client, server, Authorization="Bearer sk-1\r\nX-Injected: yes")
        assert not any(request.values("x-injected") for request in server.requests)


async def test_an_empty_body_has_a_length(client):
    async with Server(answering(plain(b"ok"))) as server:
        assert await ask(client, server, b"") == (200, b"ok")
        assert server.requests[0].values("content-length") == ["0"]


async def test_a_large_request_arrives_whole(client):
    body = os.urandom(MIB) * 5
    async with Server(answering(plain(b"ok"))) as server:
        for _ in range(2):
            assert await ask(client, server, body) == (200, b"ok")
        assert [request.body == body for request in server.requests] == [True, True]
        assert server.connections == 1


async def test_an_answer_that_comes_before_the_request_is_read_is_seen(client):
    async def script(peer):
        await peer.head()
        await peer.send(plain(b"too large", "Connection: close", status="413 Content Too Large"))
        await peer.ended()

    async with Server(script) as server:
        assert await ask(client, server, bytes(5 * MIB)) == (413, b"too large")
        await server.finished()


async def test_a_name_is_looked_up_and_is_the_host(client):
    async with Server(answering(plain(b"ok"))) as server:
        exchange = client.open(UpstreamCall(server.url(host="localhost"), {}, b"{}", PATIENT))
        assert await exchange.read() == b"ok"
        exchange.close()
        assert server.requests[0].values("host") == [f"localhost:{server.port}"]


async def test_a_proxy_of_the_environment_is_not_used(client, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with Server(answering(plain(b"ok"))) as server:
        assert await ask(client, server) == (200, b"ok")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_like_any_other(client, status):
    async with Server(answering(plain(b"moved", "Location: /elsewhere", status=f"{status} Moved"))) as server:
        assert await ask(client, server) == (status, b"moved")
        assert len(server.requests) == 1


# Encodings that nobody asked for

TEXT = b'{"choices": []}' * 50


@pytest.mark.parametrize("name", ["gzip", "GZip", "x-gzip", "deflate", "br", "zstd", "gzip, gzip", "identity, gzip"])
async def test_an_encoded_answer_is_decoded_or_refused_but_never_taken_for_text(client, name):
    encoded = {
        "deflate": zlib.compress(TEXT),
        "br": b"\x1b\x0e\x00\xf8" + TEXT,
        "zstd": b"\x28\xb5\x2f\xfd" + TEXT,
        "gzip, gzip": gzip.compress(gzip.compress(TEXT)),
    }.get(name, gzip.compress(TEXT))
    async with Server(answering(plain(encoded, f"Content-Encoding: {name}"))) as server:
        try:
            assert await ask(client, server) == (200, TEXT)
        except AttemptFailed as error:
            assert error.failure.fault in BROKEN  # noqa: PT017  either is fine


async def test_an_encoded_answer_in_pieces_is_decoded_or_refused(client):
    encoded = gzip.compress(TEXT)
    async with Server(
        saying(CHUNKED[:-2] + b"Content-Encoding: gzip\r\n\r\n", *map(chunk, (encoded[:9], encoded[9:], b"")))
    ) as server:
        try:
            assert await ask(client, server) == (200, TEXT)
        except AttemptFailed as error:
            assert error.failure.fault in BROKEN  # noqa: PT017  either is fine


@aiohttp_does_not("ask whether a gzip stream has come to its end", "cut")
@pytest.mark.parametrize("encoded", [gzip.compress(TEXT)[:-12], b"not gzip at all"], ids=["cut", "not-gzip"])
async def test_what_is_not_a_whole_encoded_text_is_no_answer(client, encoded):
    async with Server(answering(plain(encoded, "Content-Encoding: gzip"))) as server:
        assert await fault_of(ask(client, server)) in BROKEN


# Connections that are kept


@pytest.mark.parametrize("closes", [True, False], ids=["closed", "not-closed"])
@pytest.mark.parametrize("way", ["a length", "chunks", "trailers", "100 Continue before it"])
async def test_calls_one_after_the_other_share_one_connection(client, way, closes):
    async with Server(answering(ANSWERS[way])) as server:
        for _ in range(5):
            exchange = client.open(call(server))
            await exchange.response()
            assert await exchange.read() == b"hello world"
            if closes:
                exchange.close()
        assert server.connections == 1 and len(server.requests) == 5


@pytest.mark.parametrize("answer", [ANSWERS["HTTP/1.0"], ANSWERS["connection close"]], ids=["HTTP/1.0", "close"])
async def test_a_connection_that_the_server_does_not_keep_is_closed_and_not_used_again(client, answer):
    async with Server(saying(answer, then="wait")) as server:
        for _ in range(3):
            assert await ask(client, server) == (200, b"hello world")
        await server.finished(3)  # each has seen the end of its connection
        assert server.connections == 3


async def test_an_idle_connection_that_the_server_closes_is_not_used_again(client):
    async def script(peer):
        await peer.request()
        await peer.send(plain(b"ok"))
        peer.finish()
        await peer.ended()

    async with Server(script) as server:
        for calls in range(1, 4):
            assert await ask(client, server) == (200, b"ok")
            await server.finished(calls)
        assert server.connections == 3


async def test_an_idle_connection_that_the_server_resets_is_not_used_again(client):
    async def script(peer):
        await peer.request()
        await peer.send(plain(b"ok"))
        peer.reset()

    async with Server(script) as server:
        for calls in range(1, 4):
            assert await ask(client, server) == (200, b"ok")
            await server.finished(calls)
            await a_few_turns()
        assert server.connections == 3


async def test_a_kept_connection_that_ends_under_a_new_call_is_a_reset_or_is_replaced(client):
    """Nobody can know whether the server has seen the request, so either is right; to wait is not."""

    async def script(peer):
        await peer.request()
        await peer.send(plain(b"ok"))
        if not peer.number:
            await peer.request()
            peer.reset()
        await peer.ended()

    async with Server(script) as server:
        assert await ask(client, server) == (200, b"ok")
        try:
            async with asyncio.timeout(AT_ONCE_S):
                assert await ask(client, server) == (200, b"ok")
        except AttemptFailed as error:
            assert error.failure.fault is Fault.RESET  # noqa: PT017  either is fine


async def test_many_calls_at_once_each_get_their_own_answer_and_leave_their_connections_for_the_next(client):
    many = 200
    everybody = asyncio.Barrier(many)

    async def script(peer):
        while True:
            request = await peer.request()
            await everybody.wait()  # all of them are under way
            await peer.send(
                plain(request.body[:20]) if request.body[0] & 1 else CHUNKED + chunk(request.body[:20]),
                chunk(b"") if not request.body[0] & 1 else b"",
            )

    async with Server(script) as server:
        for wave in range(3):
            bodies = [b"%d of wave %d, padded to twenty bytes" % (n, wave) * (1 + n % 7 * 500) for n in range(many)]
            got = await asyncio.gather(*(ask(client, server, body) for body in bodies))
            assert got == [(200, body[:20]) for body in bodies]
        assert server.connections == many


SURPLUS = {
    "a whole answer": plain(b"poison"),
    "the begin of an answer": plain(b"poison")[:30],
    "an answer without its body": plain(b"poison")[:-6],
    "an answer without its end": b"HTTP/1.1 200 OK\r\n\r\npoison",
    "a 100 Continue": b"HTTP/1.1 100 Continue\r\n\r\n",
    "a line break": b"\r\n",
    "garbage": b"poison",
}


@aiohttp_does_not(
    "look at what comes on an idle connection before it uses it again",
    "a-whole-answer-apart",
    "an-answer-without-its-body-apart",
    "an-answer-without-its-end-apart",
)
@pytest.mark.parametrize("apart", [False, True], ids=["together", "apart"])
@pytest.mark.parametrize("surplus", SURPLUS.values(), ids=[name.replace(" ", "-") for name in SURPLUS])
async def test_what_a_server_says_beyond_its_answer_never_gets_into_the_next(client, surplus, apart):
    async def script(peer):
        request = await peer.request()
        if peer.number:
            await peer.send(plain(request.body))
        elif apart:
            await peer.send(plain(request.body), surplus)
        else:
            await peer.send(plain(request.body) + surplus)
        while True:
            request = await peer.request()
            await peer.send(plain(request.body))

    async with Server(script) as server:
        with contextlib.suppress(AttemptFailed):  # this one may be refused for what follows it
            assert await ask(client, server, b"one") == (200, b"one")
        for body in (b"two", b"three"):
            await a_few_turns()
            async with asyncio.timeout(AT_ONCE_S / 2):
                assert await ask(client, server, body) == (200, body)


# Large answers

BLOCK = bytes(range(256)) * 256


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_a_large_answer_that_nobody_reads_stops_its_server(client, chunked):
    size = 20 * MIB
    stalled = asyncio.get_running_loop().create_future()

    async def script(peer):
        await peer.request()
        await peer.send(CHUNKED if chunked else b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        begun = peer.handed
        block = chunk(BLOCK) if chunked else BLOCK
        stalled.set_result(await peer.flood_until_stalled(block, begun + len(block) * (size // len(BLOCK))))
        for _ in range(size // len(BLOCK) - (peer.handed - begun) // len(block)):
            await peer.send(block)
        if chunked:
            await peer.send(chunk(b""))
        await peer.request()
        await peer.send(plain(b"and again"))

    async with Server(script) as server:
        tracemalloc.start()
        try:
            exchange = client.open(call(server))
            await exchange.response()
            sent = await stalled
            held = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        print(f"{sent / MIB:.2f} MiB left the server while nobody read; {held / MIB:.2f} MiB are in this process")
        assert held < 2 * MIB  # both ends together
        assert sent < 8 * MIB  # the kernel's buffers are in it, and they grow as they like
        read, longest = 0, 0
        while piece := await exchange.chunk():
            at = read % len(BLOCK)
            assert piece == (BLOCK * (len(piece) // len(BLOCK) + 2))[at : at + len(piece)]
            read, longest = read + len(piece), max(longest, len(piece))
            await asyncio.sleep(0)  # a slow reader
        exchange.close()
        assert read == size and longest < 4 * MIB
        assert await ask(client, server) == (200, b"and again")  # and the connection is in order after all that
        assert server.connections == 1


async def test_a_large_answer_that_was_left_stops_its_server_and_ends_with_its_exchange(client):
    stalled = asyncio.Event()

    async def script(peer):
        await peer.request()
        await peer.send(CHUNKED)
        assert await peer.flood_until_stalled(chunk(BLOCK), 20 * MIB) < 8 * MIB
        stalled.set()
        await peer.ended()

    async with Server(script) as server:
        exchange = client.open(call(server))
        waiter = asyncio.create_task(exchange.response())
        await server.asked.wait()
        await cancelled(waiter)
        await stalled.wait()
        exchange.close()
        await server.finished()


@pytest.mark.parametrize("way", ["length", "chunked", "until-the-end"])
async def test_a_reply_is_read_up_to_a_limit_and_no_further(client, way, monkeypatch):
    monkeypatch.setattr("router.upstream.MAX_REPLY", 100_000)

    def answer(request):
        body = bytes(int(request.body))
        return {
            "length": plain(body),
            "chunked": CHUNKED + chunk(body[:70_000]) + chunk(body[70_000:]) + chunk(b""),
            "until-the-end": b"HTTP/1.1 200 OK\r\n\r\n" + body,
        }[way]

    async def script(peer):
        await peer.send(answer(await peer.request()))
        while way != "until-the-end":
            await peer.send(answer(await peer.request()))

    async with Server(script) as server:
        assert await ask(client, server, b"100000") == (200, bytes(100_000))
        assert await fault_of(ask(client, server, b"100001")) is Fault.GARBAGE
        assert await ask(client, server, b"99999") == (200, bytes(99_999))


# Failures


async def test_a_refused_connection_was_never_made(client):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        assert await fault_of(client.open(UpstreamCall(url, {}, b"{}", PATIENT)).response()) is Fault.CONNECT


async def test_a_connection_that_takes_too_long_was_never_made(client):
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)  # and nobody accepts: the next ones wait for their handshake
        for _ in range(2):
            other = stack.enter_context(socket.socket())
            other.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                other.connect(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}/v1"
        exchange = client.open(UpstreamCall(url, {}, b"{}", Timeouts(SHORT_S, 5, 5, 8)))
        async with asyncio.timeout(AT_ONCE_S):
            assert await fault_of(exchange.response()) is Fault.CONNECT
        exchange.close()


@pytest.mark.parametrize("limits", [(5, SHORT_S, 5, 8), (5, 5, 5, SHORT_S)], ids=["first-byte", "total"])
@pytest.mark.parametrize(
    "begin",
    [b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"],
    ids=["nothing", "100", "half-a-head"],
)
async def test_no_answer_in_time_is_a_timeout_and_ends_the_connection(client, begin, limits):
    async with Server(saying(begin, then="wait")) as server:
        async with asyncio.timeout(AT_ONCE_S):
            assert await fault_of(ask(client, server, timeouts=Timeouts(*limits))) is Fault.TIMEOUT
        await server.finished()


@pytest.mark.parametrize("limits", [(5, 5, SHORT_S, 8), (5, 5, 5, SHORT_S)], ids=["idle", "total"])
@pytest.mark.parametrize(
    "begin",
    [
        plain(b"hello world")[:-11],
        plain(b"hello world")[:-1],
        CHUNKED,
        CHUNKED + chunk(b"hello"),
        CHUNKED + chunk(b"hello")[:-4],
        b"HTTP/1.1 200 OK\r\n\r\nhello",
    ],
    ids=["head", "short-of-length", "head-of-chunks", "a-chunk", "half-a-chunk", "until-the-end"],
)
async def test_an_answer_that_stops_is_a_timeout_and_ends_the_connection(client, begin, limits):
    async with Server(saying(begin, then="wait")) as server:
        async with asyncio.timeout(AT_ONCE_S):
            assert await fault_of(ask(client, server, timeouts=Timeouts(*limits))) is Fault.TIMEOUT
        await server.finished()


async def test_a_drip_that_never_ends_is_a_timeout_in_the_end(client):
    async def script(peer):
        await peer.request()
        await peer.send(CHUNKED)
        while True:
            await peer.send(chunk(b"."))
            await asyncio.sleep(0.005)  # what is tested is time

    async with Server(script) as server:
        exchange = client.open(call(server, timeouts=Timeouts(5, 5, 5, 0.25)))
        await exchange.response()
        async with asyncio.timeout(AT_ONCE_S):
            assert await fault_of(body_of(exchange)) is Fault.TIMEOUT
        exchange.close()
        await server.finished()


async def test_a_flood_that_never_ends_is_a_timeout_in_the_end(client):
    async def script(peer):
        await peer.request()
        await peer.send(CHUNKED)
        await peer.flood(chunk(BLOCK), 10_000 * MIB)

    async with Server(script) as server:
        exchange = client.open(call(server, timeouts=Timeouts(5, 5, 5, 0.25)))
        await exchange.response()
        async with asyncio.timeout(AT_ONCE_S):
            assert await fault_of(body_of(exchange)) is Fault.TIMEOUT
        exchange.close()
        await server.finished()


async def test_a_stream_may_take_longer_than_its_longest_gap(client):
    async def script(peer):
        await peer.request()
        await peer.send(CHUNKED)
        for _ in range(6):
            await asyncio.sleep(0.1)  # what is tested is time
            await peer.send(chunk(b"."))
        await peer.send(chunk(b""))

    async with Server(script) as server:
        assert await ask(client, server, timeouts=Timeouts(5, 5, 0.45, 8)) == (200, b"......")


@pytest.mark.parametrize("then", ["end", "reset"])
@pytest.mark.parametrize(
    "begin",
    [b"", b"HTTP/1.1 20", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 100 Continue\r\n\r\n"],
    ids=["nothing", "half-a-line", "half-a-head", "100"],
)
async def test_a_connection_that_ends_before_its_answer_is_a_reset(client, begin, then):
    async with Server(saying(begin, then=then)) as server:
        assert await fault_of(ask(client, server)) is Fault.RESET


async def test_a_connection_that_ends_in_the_middle_of_the_request_is_a_reset(client):
    async def script(peer):
        await peer.head()
        peer.reset()

    async with Server(script) as server:
        assert await fault_of(ask(client, server, bytes(5 * MIB))) is Fault.RESET


CUT = {
    "head": plain(b"hello world")[:-11],
    "length": plain(b"hello world")[:-1],
    "no chunk": CHUNKED,
    "in a chunk": CHUNKED + chunk(b"hello world")[:-5],
    "after the data of a chunk": CHUNKED + chunk(b"hello world")[:-2],
    "between chunks": CHUNKED + chunk(b"hello world"),
    "in a size": CHUNKED + chunk(b"hello world") + b"0",
}


@pytest.mark.parametrize("later", [False, True], ids=["waited-for", "found-later"])
@pytest.mark.parametrize("then", ["end", "reset"])
@ways(CUT)
async def test_an_answer_that_is_cut_is_a_reset_and_never_a_short_answer(client, answer, then, later):
    async with Server(saying(answer, then=then)) as server:
        with contextlib.closing(client.open(call(server))) as exchange:
            await exchange.response()
            if later:  # the connection has ended by the time somebody reads
                await server.finished()
                await a_few_turns()
            for _ in range(3):  # and it remains so
                assert await fault_of(body_of(exchange)) is Fault.RESET


@aiohttp_does_not("tell a reset from an end where the end of the connection ends the answer")
async def test_an_answer_without_a_length_that_is_reset_is_not_complete(client):
    async with Server(saying(b"HTTP/1.1 200 OK\r\n\r\nhello", then="reset")) as server:
        assert await fault_of(ask(client, server)) is Fault.RESET


GARBAGE = {
    "ssh": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a TLS alert": b"\x15\x03\x01\x00\x02\x02\x46",
    "zeros": bytes(100),
    "json": b'{"choices": []}\n',
    "a request": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "HTTP/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80\x00\x04\x00\x01\x00\x00",
    "no number for a status": b"HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\nok",
    "another version": b"HTTP/9.9 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
    "a length in words": b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\nok",
    "a length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
    "a header with a zero": b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 2\r\n\r\nok",
    "a header without a name": b"HTTP/1.1 200 OK\r\n: x\r\nContent-Length: 2\r\n\r\nok",
    "a size in words": CHUNKED + b"two\r\nok\r\n0\r\n\r\n",
    "a negative size": CHUNKED + b"-2\r\nok\r\n0\r\n\r\n",
    "a size beyond 64 bits": CHUNKED + b"1" + b"0" * 17 + b"\r\nok\r\n0\r\n\r\n",
    "a chunk longer than its size": CHUNKED + b"1\r\nok\r\n0\r\n\r\n",
}


@ways(GARBAGE)
async def test_what_is_not_http_is_seen_as_such_without_waiting(client, answer):
    async with Server(saying(answer, then="wait")) as server:
        async with asyncio.timeout(AT_ONCE_S):
            assert await fault_of(ask(client, server)) in BROKEN
        await server.finished()  # the connection was dropped


ENDLESS = {
    "status line": (b"HTTP/1.1 200 ", b"a" * 1000),
    "header": (b"HTTP/1.1 200 OK\r\nX: ", b"a" * 1000),
    "name": (b"HTTP/1.1 200 OK\r\n", b"a" * 1000),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X-Endless: yes\r\n" * 60),
    "headers of a 1xx": (b"HTTP/1.1 103 Early Hints\r\n", b"X-Endless: yes\r\n" * 60),
}
ENDLESS_LATER = {
    "1xx": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 40),
    "trailers": (CHUNKED + chunk(b"ok") + b"0\r\n", b"X-Endless: yes\r\n" * 60),
    "trailer": (CHUNKED + chunk(b"ok") + b"0\r\nX: ", b"a" * 1000),
    "chunk extension": (CHUNKED + b"2;", b"a" * 1000),
    "size": (CHUNKED, b"0" * 1000),
}


@pytest.mark.parametrize(("begin", "more"), ENDLESS.values(), ids=[name.replace(" ", "-") for name in ENDLESS])
async def test_a_head_that_never_ends_is_refused_for_its_size(client, begin, more):
    async def script(peer):
        await peer.request()
        await peer.send(begin)
        await peer.flood(more, 2 * MIB)

    async with Server(script) as server:
        async with asyncio.timeout(AT_ONCE_S):
            assert await fault_of(ask(client, server)) in BROKEN
        await server.finished()


@pytest.mark.parametrize(
    ("begin", "more"), ENDLESS_LATER.values(), ids=[name.replace(" ", "-") for name in ENDLESS_LATER]
)
async def test_what_never_ends_around_a_body_is_not_kept_and_ends_in_time(client, begin, more):
    async def script(peer):
        await peer.request()
        await peer.send(begin)
        await peer.flood(more, 10_000 * MIB)

    async with Server(script) as server:
        tracemalloc.start()
        try:
            async with asyncio.timeout(AT_ONCE_S):
                await fault_of(ask(client, server, timeouts=Timeouts(5, 0.4, 0.4, 0.4)))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 4 * MIB
        await server.finished()


@pytest.mark.parametrize(
    "script",
    [saying(then="wait"), saying(plain(b"hello world")[:-1], then="wait"), saying(CHUNKED, b"what?", then="wait")],
    ids=["no-answer", "no-end", "garbage"],
)
async def test_what_has_failed_fails_again_and_does_not_wait(client, script):
    async with Server(script) as server:
        with contextlib.closing(client.open(call(server, timeouts=Timeouts(5, 0.2, 0.2, 8)))) as exchange:
            await fault_of(body_of(exchange))
            async with asyncio.timeout(0.15):
                for method in (exchange.chunk, exchange.read, exchange.chunk):
                    await fault_of(method())
                if not exchange.status:
                    await fault_of(exchange.response())
            exchange.close()


# Waiters that leave


@pytest.mark.parametrize("turns", range(10))
async def test_an_exchange_goes_on_when_whoever_waits_for_the_answer_leaves(client, turns):
    """At any moment: before it is connected, before the answer, when the answer has just come."""
    answer = asyncio.Event()

    async def script(peer):
        await peer.request()
        await answer.wait()
        await peer.send(plain(b"hello world"))
        await peer.ended()

    async with Server(script) as server:
        exchange = client.open(call(server))
        waiter = asyncio.create_task(exchange.response())
        if turns % 2:
            await server.asked.wait()
            answer.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        waiter.cancel()
        await asyncio.wait([waiter])
        answer.set()
        if turns < 5:
            await exchange.response()
            assert exchange.status == 200
        assert await exchange.chunk() == b"hello world"
        assert exchange.status == 200 and exchange.headers.get("content-length") == "11"
        assert len(server.requests) == 1
        exchange.close()


@pytest.mark.parametrize("turns", range(10))
async def test_no_byte_is_lost_when_whoever_waits_for_a_piece_leaves(client, turns):
    more = asyncio.Event()

    async def script(peer):
        await peer.request()
        await peer.send(CHUNKED, chunk(b"one"))
        await more.wait()
        await peer.send(chunk(b"two"), chunk(b"three") + chunk(b""))

    async with Server(script) as server:
        exchange = client.open(call(server))
        got = await exchange.chunk()
        waiter = asyncio.create_task(exchange.chunk())
        await a_few_turns()
        more.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        waiter.cancel()
        await asyncio.wait([waiter])
        if not waiter.cancelled():
            got += waiter.result()
        assert got + await exchange.read() == b"onetwothree"
        exchange.close()


async def test_one_may_wait_in_place_of_another_again_and_again(client):
    answer = asyncio.Event()

    async def script(peer):
        await peer.request()
        await answer.wait()
        await peer.send(plain(b"ok"))

    async with Server(script) as server:
        exchange = client.open(call(server))
        for _ in range(5):
            waiter = asyncio.create_task(exchange.response())
            await a_few_turns()
            await cancelled(waiter)
        answer.set()
        assert await exchange.read() == b"ok"
        exchange.close()


async def test_an_exchange_that_nobody_waits_for_goes_on(client):
    async with Server(answering(plain(b"ok"))) as server:
        exchange = client.open(call(server))
        async with asyncio.timeout(AT_ONCE_S):
            await server.asked.wait()
        assert await exchange.read() == b"ok"
        exchange.close()


async def test_a_timeout_of_the_waiter_is_not_one_of_the_exchange(client):
    answer = asyncio.Event()

    async def script(peer):
        await peer.request()
        await answer.wait()
        await peer.send(CHUNKED, chunk(b"ok"))
        await peer.ended()

    async with Server(script) as server:
        exchange = client.open(call(server))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SHORT_S):
                await exchange.response()
        answer.set()
        assert await exchange.chunk() == b"ok"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SHORT_S):
                await exchange.chunk()
        exchange.close()


# Exchanges that are given up


async def test_closing_before_the_answer_ends_the_connection(client):
    async with Server(saying(then="wait")) as server:
        exchange = client.open(call(server))
        await server.asked.wait()
        exchange.close()
        exchange.close()
        await server.finished()


@pytest.mark.parametrize("turns", range(8))
async def test_closing_at_once_leaves_nothing_and_nobody_waiting(client, turns):
    async with Server(saying(then="wait")) as server:
        exchange = client.open(call(server))
        for _ in range(turns):
            await asyncio.sleep(0)
        exchange.close()
        exchange.close()
        async with asyncio.timeout(AT_ONCE_S):
            await fault_of(exchange.response())
        exchange.close()
        await a_few_turns()
        if server.connections:
            await server.finished()


@pytest.mark.parametrize("begin", [(), (CHUNKED,)], ids=["answer", "piece"])
async def test_closing_wakes_whoever_waits(client, begin):
    async with Server(saying(*begin, then="wait")) as server:
        exchange = client.open(call(server))
        if begin:
            await exchange.response()
        waiter = asyncio.create_task(exchange.chunk() if begin else exchange.response())
        await server.asked.wait()
        await a_few_turns()
        exchange.close()
        async with asyncio.timeout(AT_ONCE_S):
            await fault_of(waiter)
        await server.finished()


@pytest.mark.parametrize(
    "answer",
    [CHUNKED + chunk(b"one"), plain(b"one, and more")[:-5], b"HTTP/1.1 200 OK\r\n\r\none"],
    ids=["chunked", "length", "until-the-end"],
)
async def test_closing_in_the_middle_of_an_answer_ends_the_connection_and_the_next_call_has_its_own(client, answer):
    async def script(peer):
        await peer.request()
        if peer.number:
            await peer.send(plain(b"two"))
        else:
            await peer.send(answer)
            await peer.ended()

    async with Server(script) as server:
        exchange = client.open(call(server))
        assert (await exchange.chunk()).startswith(b"one")
        exchange.close()
        assert await ask(client, server) == (200, b"two")
        await server.finished(2)
        assert server.connections == 2
        exchange.close()


async def test_closing_an_answer_that_was_never_read_leaves_none_of_it_to_the_next_call(client):
    async with Server(answering(plain(b"one"), plain(b"two"), plain(b"three"))) as server:
        for _ in range(2):
            exchange = client.open(call(server))
            await exchange.response()
            exchange.close()
        assert await ask(client, server) == (200, b"three")


async def test_closing_twice_does_not_touch_the_call_that_has_the_connection_now(client):
    answer = asyncio.Event()

    async def script(peer):
        await peer.request()
        await peer.send(plain(b"one"))
        await peer.request()
        await peer.send(CHUNKED)
        await answer.wait()
        await peer.send(chunk(b"two") + chunk(b""))

    async with Server(script) as server:
        first = client.open(call(server))
        assert await first.read() == b"one" and await first.chunk() == b""
        first.close()
        second = client.open(call(server))
        await second.response()
        first.close()
        answer.set()
        assert await second.read() == b"two"
        first.close()
        second.close()
        assert server.connections == 1


# TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Self-signed ones: (certificate, key) for this machine, and for another name."""
    folder = tmp_path_factory.mktemp("tls")

    def certificate(name, names):
        files = folder / f"{name}.pem", folder / f"{name}.key"
        command = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=farebox-test"
        )
        more = ["-addext", f"subjectAltName={names}", "-out", files[0], "-keyout", files[1]]
        subprocess.run([*command.split(), *more], check=True, capture_output=True)
        return files

    return {"here": certificate("here", "IP:127.0.0.1"), "elsewhere": certificate("elsewhere", "DNS:vendor.example")}


def serving(files):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    return context


@pytest.fixture
def trust(monkeypatch):
    """Makes both clients trust a certificate, as if the machine did."""

    def trust(file):
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", ssl.create_default_context())

    return trust


async def test_a_trusted_server_is_spoken_to_through_tls(client, certificates, trust):
    trust(certificates["here"][0])
    large = os.urandom(MIB)
    async with Server(
        answering(plain(b"ok"), plain(large), ANSWERS["chunks"]), serving(certificates["here"])
    ) as server:
        assert await ask(client, server) == (200, b"ok")
        assert await ask(client, server, large) == (200, large)
        assert await ask(client, server) == (200, b"hello world")
        assert server.connections == 1 and server.requests[1].body == large


async def test_a_self_signed_certificate_is_refused(client, certificates):
    async with Server(answering(plain(b"ok")), serving(certificates["here"])) as server:
        assert await fault_of(ask(client, server)) is Fault.CONNECT
        assert not server.requests


async def test_a_certificate_for_another_name_is_refused(client, certificates, trust):
    trust(certificates["elsewhere"][0])
    async with Server(answering(plain(b"ok")), serving(certificates["elsewhere"])) as server:
        assert await fault_of(ask(client, server)) is Fault.CONNECT
        assert not server.requests


async def test_a_server_without_tls_is_not_spoken_to_where_tls_was_asked_for(client):
    async def script(peer):
        await peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await peer.ended()

    async with Server(script) as server:
        url = server.url().replace("http:", "https:")
        assert await fault_of(client.open(UpstreamCall(url, {}, b"{}", PATIENT)).response()) is Fault.CONNECT


async def test_a_tls_handshake_that_takes_too_long_is_no_connection(client):
    async def script(peer):
        await peer.ended()

    async with Server(script) as server:
        url = server.url().replace("http:", "https:")
        exchange = client.open(UpstreamCall(url, {}, b"{}", Timeouts(SHORT_S, 5, 5, 8)))
        async with asyncio.timeout(AT_ONCE_S):
            assert await fault_of(exchange.response()) is Fault.CONNECT
        await server.finished()


@pytest.mark.parametrize(
    "begin", [b"", plain(b"hello world")[:-1], CHUNKED + chunk(b"hello")], ids=["head", "length", "chunked"]
)
async def test_an_answer_through_tls_that_is_cut_is_a_reset(client, certificates, trust, begin):
    trust(certificates["here"][0])
    for then in ("end", "reset"):
        async with Server(saying(begin, then=then), serving(certificates["here"])) as server:
            assert await fault_of(ask(client, server)) is Fault.RESET


# The end


async def unanswered_and_begun(peer):
    """A script: no answer to the first of a connection, but half of one if it says so."""
    if (await peer.request()).body == b"begun":
        await peer.send(CHUNKED, chunk(b"one"))
    await peer.ended()


async def test_stopping_wakes_whoever_waits(client):
    async with Server(unanswered_and_begun) as server, contextlib.AsyncExitStack() as stack:
        exchanges = [client.open(call(server, body)) for body in (b"unanswered", b"begun")]
        assert await exchanges[1].chunk() == b"one"
        await server.asked.wait()
        exchanges.append(client.open(call(server)))  # is still to be connected
        for exchange in exchanges:
            stack.callback(exchange.close)
        waiters = [asyncio.create_task(exchange.chunk()) for exchange in exchanges]
        await asyncio.sleep(0)
        await client.stop()
        _, waiting = await asyncio.wait(waiters, timeout=AT_ONCE_S / 2)
        for waiter in waiting:
            waiter.cancel()
        assert not waiting
        for waiter in waiters:
            await fault_of(waiter)
        await server.finished(2)


def open_sockets():
    """Descriptors of this process."""
    found = set()
    for path in Path("/dev/fd").iterdir():
        with contextlib.suppress(OSError):  # that of the listing itself
            if stat.S_ISSOCK(os.fstat(int(path.name)).st_mode):
                found.add(int(path.name))
    return found


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_a_client_that_is_stopped_leaves_no_task_and_no_socket(client, tls, certificates, trust):
    trust(certificates["here"][0])
    everybody = asyncio.Barrier(4)

    async def script(peer):
        while True:
            request = await peer.request()
            if request.body == b"complete":
                await everybody.wait()
                await peer.send(plain(b"ok"))
            elif request.body == b"begun":
                await peer.send(CHUNKED, chunk(b"one"))

    async def use(server):
        got = await asyncio.gather(*(ask(client, server, b"complete") for _ in range(4)))
        assert got == [(200, b"ok")] * 4  # and their connections are kept
        begun = [client.open(call(server, b"begun")) for _ in range(4)]
        for exchange in begun:
            assert await exchange.chunk() == b"one"
        got = await asyncio.gather(*(ask(client, server, b"complete") for _ in range(4)))
        assert got == [(200, b"ok")] * 4  # others are
        for turns in range(6):  # nobody has waited for these, and they are at every stage
            begun.append(client.open(call(server)))
            for _ in range(turns):
                await asyncio.sleep(0)
        await client.stop()
        for exchange in begun:
            exchange.close()

    tasks, sockets = asyncio.all_tasks(), open_sockets()
    async with Server(script, serving(certificates["here"]) if tls else None) as server:
        await use(server)
        await a_few_turns()
        await server.finished(server.connections)  # it has seen them all end
    await a_few_turns()
    assert asyncio.all_tasks() == tasks
    gc.collect()  # what was not closed says so now
    assert open_sockets() == sockets


@pytest.mark.parametrize("kind", [AiohttpUpstream, LeanUpstream], ids=["aiohttp", "lean"])
async def test_a_client_may_be_stopped_unused_unstarted_and_twice(kind):
    client = kind()
    await client.stop()
    await client.start()
    await client.stop()
    await client.stop()


@pytest.mark.parametrize("kind", [AiohttpUpstream, LeanUpstream], ids=["aiohttp", "lean"])
def test_on_uvloop_too_a_client_can_be_stopped_after_a_call_that_was_given_up_at_any_moment(kind):
    """In production the loop is uvloop's. It tells a protocol less when a connection is given up while it is made."""
    uvloop = pytest.importorskip("uvloop")

    async def give_up(turns):
        client = kind()
        await client.start()
        async with Server(saying(then="wait")) as server:
            exchange = client.open(call(server))
            for _ in range(turns):
                await asyncio.sleep(0)
            exchange.close()
            await asyncio.wait_for(client.stop(), AT_ONCE_S)

    for turns in range(8):
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(give_up(turns))
