"""Calls over a WebSocket to any server, a hostile one included."""

import asyncio
import base64
import contextlib
import gc
import hashlib
import struct
import tracemalloc

import pytest
from hostile import Server, plain
from support import stray_tasks

from router import __version__
from router.core.catalog import Timeouts
from router.core.failure import AttemptFailed, Fault
from router.lean import LeanUpstream
from router.sockets import MAX_MESSAGE, MAX_REFUSAL, Sockets
from router.upstream import MAX_REPLY, AiohttpUpstream, UpstreamCall

pytestmark = pytest.mark.timeout(20)

PATIENT = Timeouts(connect=5, first_byte=5, idle=5, total=8)
SHORT_S = 0.05
AT_ONCE_S = 2.0  # what needs no timeout of the call happens within this, on a busy machine too
TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9


@pytest.fixture(params=[AiohttpUpstream, LeanUpstream], ids=["beside aiohttp", "beside lean"])
async def client(request):
    """A started client. What goes wrong behind everybody's back fails the test."""
    noise = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))
    upstream = Sockets(request.param())
    await upstream.start()
    yield upstream
    await upstream.stop()
    gc.collect()
    await asyncio.sleep(0)
    assert not noise
    assert not stray_tasks()


def call(server, body=b'{"a":1}', path="/v3.5/chat?date=x", timeouts=PATIENT, last=None, headers=None):
    return UpstreamCall(server.url(path).replace("http", "ws"), headers or {}, body, timeouts, last)


def frame(data, kind=TEXT, *, final=True):
    """A frame as a server sends it."""
    size = len(data)
    if size < 126:
        length = struct.pack("!B", size)
    else:
        length = struct.pack("!BH", 126, size) if size < 2**16 else struct.pack("!BQ", 127, size)
    return bytes([(0x80 if final else 0) | kind]) + length + data


def goodbye(code=1000, reason=b""):
    return frame(struct.pack("!H", code) + reason, CLOSE)


def welcome(request, *lines):
    """The answer to a handshake."""
    (key,) = request.values("sec-websocket-key")
    accept = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()).decode()
    head = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    return "\r\n".join([*head, f"Sec-WebSocket-Accept: {accept}", *lines, "", ""]).encode()


async def heard(peer):
    """(kind, data) of the next frame from the client, which is masked."""
    first, second = await peer._reader.readexactly(2)
    size = second & 0x7F
    if size == 126:
        (size,) = struct.unpack("!H", await peer._reader.readexactly(2))
    elif size == 127:
        (size,) = struct.unpack("!Q", await peer._reader.readexactly(8))
    assert second & 0x80, "a client masks what it sends"
    mask, data = await peer._reader.readexactly(4), await peer._reader.readexactly(size)
    return first & 0x0F, bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))


def saying(*pieces, then="end", asked=None):
    """A script: handshake, the client's message, then pieces; `end` (FIN), `reset`, or `wait` for the client to end it."""

    async def script(peer):
        await peer.send(welcome(await peer.request()))
        message = await heard(peer)
        if asked is not None:
            asked.append(message)
        await peer.send(*pieces)
        if then == "reset":
            peer.reset()
        elif then == "wait":
            await peer.ended()

    return script


async def body_of(exchange):
    pieces = []
    while piece := await exchange.chunk():
        pieces.append(piece)
    return b"".join(pieces)


@contextlib.asynccontextmanager
async def begun(client, server, **more):
    exchange = client.open(call(server, **more))
    try:
        await exchange.response()
        yield exchange
    finally:
        exchange.close()


async def fault_of(awaitable):
    with pytest.raises(AttemptFailed) as caught:
        pytest.fail(f"no failure but {await awaitable!r:.200}")
    return caught.value.failure.fault


async def test_the_body_is_one_text_message_and_each_answer_a_line(client):
    asked = []
    script = saying(frame(b'{"n":1}'), frame(b'{"n":\r\n2}'), goodbye(), asked=asked)
    async with Server(script) as server, begun(client, server, headers={"X-Own": "1"}) as exchange:
        assert (exchange.status, exchange.headers["content-type"]) == (200, "application/x-ndjson")
        assert await exchange.chunk() == b'{"n":1}\n'
        assert await exchange.chunk() == b'{"n":  2}\n'
        assert await exchange.chunk() == b""
        assert await exchange.chunk() == b""  # the end stays the end
        assert asked == [(TEXT, b'{"a":1}')]
        (request,) = server.requests
        assert request.line == "GET /v3.5/chat?date=x HTTP/1.1"
        assert request.values("x-own") == ["1"] and request.values("user-agent") == [f"farebox/{__version__}"]
        assert not request.values("cookie") and not request.values("sec-websocket-extensions")


async def test_all_of_an_answer_can_be_read_at_once(client):
    async with Server(saying(frame(b"1"), frame(b"2"), goodbye())) as server, begun(client, server) as exchange:
        assert await exchange.read() == b"1\n2\n"


async def test_other_calls_go_by_the_http_client(client):
    async def script(peer):
        assert (await peer.request()).line == "POST /v1/chat/completions HTTP/1.1"
        await peer.send(plain(b"hello"))

    async with Server(script) as server:
        exchange = client.open(UpstreamCall(server.url(), {}, b"{}", PATIENT))
        assert await exchange.read() == b"hello"
        exchange.close()


async def test_a_message_may_come_in_parts_and_byte_by_byte_between_pings(client):
    async def script(peer):
        request = await peer.request()
        await peer.dribble(welcome(request))
        await heard(peer)
        parts = [frame("价".encode()[:2], final=False), frame(b"ab", PING), frame("价".encode()[2:], 0), goodbye()]
        await peer.dribble(b"".join(parts))
        assert await heard(peer) == (10, b"ab")

    async with Server(script) as server, begun(client, server) as exchange:
        assert await exchange.read() == "价\n".encode()
        await server.finished()


async def test_an_answer_may_come_with_the_handshake_itself(client):
    async def script(peer):
        await peer.send(welcome(await peer.request()) + frame(b"one") + frame(b"two") + goodbye())
        await peer.ended()

    async with Server(script) as server, begun(client, server) as exchange:
        assert await exchange.read() == b"one\ntwo\n"


@pytest.mark.parametrize("then", ["end", "reset"])
async def test_a_connection_that_ends_with_the_handshake_is_a_failure(client, then):
    async def script(peer):
        await peer.send(welcome(await peer.request()))
        if then == "reset":
            peer.reset()

    async with Server(script) as server:
        exchange = client.open(call(server))
        assert await fault_of(exchange.chunk()) is Fault.RESET
        exchange.close()


async def test_after_the_last_message_the_client_says_goodbye_and_waits_for_nobody(client):
    said = []

    async def script(peer):
        await peer.send(welcome(await peer.request()))
        await heard(peer)
        await peer.send(frame(b"one"), frame(b"last"))
        said.append(await heard(peer))
        await peer.ended()  # and never says goodbye itself

    async with Server(script) as server, asyncio.timeout(AT_ONCE_S):
        async with begun(client, server, last=lambda message: b"last" in message) as exchange:
            assert await body_of(exchange) == b"one\nlast\n"
        await server.finished()
    assert said == [(CLOSE, struct.pack("!H", 1000))]


async def test_who_goes_on_talking_behind_the_last_message_is_left(client):
    async def script(peer):
        await peer.send(welcome(await peer.request()))
        await heard(peer)
        await peer.send(frame(b"last"))
        await peer.flood(frame(b"more" * 1000), 2**30)

    async with Server(script) as server, begun(client, server, last=lambda _: True) as exchange:
        assert await body_of(exchange) == b"last\n"
        await server.finished(timeout_s=AT_ONCE_S)


# A handshake that is refused is an answer


async def refused(client, answer, **more):
    async def script(peer):
        await peer.request()
        await peer.send(answer)

    async with Server(script) as server, begun(client, server, **more) as exchange:
        return exchange.status, exchange.headers, await exchange.read()


@pytest.mark.parametrize("status", [400, 401, 403, 429, 500, 503])
async def test_what_a_refusal_says_is_kept(client, status):
    answer = plain(b'{"message":"no"}', "Content-Type: application/json", "Retry-After: 7", status=f"{status} X")
    told, headers, body = await refused(client, answer)
    assert (told, headers.get("retry-after"), body) == (status, "7", b'{"message":"no"}')


async def test_a_redirect_is_not_followed(client):
    async with Server(saying(goodbye())) as other:
        location = other.url().replace("http", "ws")
        status, _, _ = await refused(client, plain(b"", f"Location: {location}", status="302 Found"))
        assert (status, other.connections) == (302, 0)


async def test_a_refusal_without_an_end_is_cut_off(client):
    head = b"HTTP/1.1 401 Unauthorized\r\nTransfer-Encoding: chunked\r\n\r\n"

    async def script(peer):
        await peer.request()
        await peer.send(head)
        await peer.flood(b"1000\r\n" + b"x" * 4096 + b"\r\n", 2**28)

    async with Server(script) as server, begun(client, server) as exchange:
        assert len(await exchange.read()) == MAX_REFUSAL
        await server.finished(timeout_s=AT_ONCE_S)


def without_header(name):
    def answer(request):
        return b"\r\n".join(line for line in welcome(request).split(b"\r\n") if not line.startswith(name))

    return answer


NO_HANDSHAKES = {
    "a page": lambda _: plain(b"<html>"),
    "204": lambda _: b"HTTP/1.1 204 No Content\r\n\r\n",
    "no upgrade": without_header(b"Upgrade"),
    "no accept": without_header(b"Sec-WebSocket-Accept"),
    "another's accept": lambda request: welcome(request).replace(b"Accept: ", b"Accept: A"),
    "no HTTP": lambda _: b"SSH-2.0-OpenSSH_9.6\r\n",
    "a head that does not end": lambda _: b"HTTP/1.1 101 X\r\nX: " + b"y" * 2**20,
}


@pytest.mark.parametrize("answer", NO_HANDSHAKES.values(), ids=NO_HANDSHAKES)
async def test_what_is_no_handshake_is_a_failure_at_once(client, answer):
    async def script(peer):
        await peer.send(answer(await peer.request()))
        await peer.ended()

    async with Server(script) as server, asyncio.timeout(AT_ONCE_S):
        exchange = client.open(call(server))
        assert await fault_of(exchange.response()) in {Fault.GARBAGE, Fault.RESET}
        await server.finished()


@pytest.mark.parametrize("then", ["end", "reset"])
async def test_a_connection_that_ends_before_the_handshake_is_a_failure(client, then):
    async def script(peer):
        await peer.request()
        if then == "reset":
            peer.reset()

    async with Server(script) as server:
        assert await fault_of(client.open(call(server)).response()) is Fault.RESET


async def test_nobody_there_is_a_failure_to_connect(client):
    async with Server(saying()) as server:
        pass
    assert await fault_of(client.open(call(server)).response()) is Fault.CONNECT


async def test_a_certificate_that_nobody_vouches_for_is_refused(client, tls):
    async with Server(saying(goodbye()), tls=tls) as server:
        exchange = client.open(call(server))
        assert await fault_of(exchange.response()) is Fault.CONNECT
        assert not server.requests


@pytest.fixture
def tls(tmp_path):
    import ssl  # noqa: PLC0415
    import subprocess  # noqa: PLC0415

    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
         "-subj", "/CN=localhost", "-addext", names],
        check=True, capture_output=True,
    )  # fmt: skip
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(cert, key)
    return made


async def test_a_header_with_a_line_break_is_never_sent(client):
    async with Server(saying(goodbye())) as server:
        exchange = client.open(call(server, headers={"X-Own": "a\r\nX-Smuggled: 1"}))
        assert await fault_of(exchange.response()) is Fault.CONNECT
        assert not server.requests


# What is no answer


BROKEN = {
    "the connection ends": (b"", "end"),
    "it ends within a frame": (frame(b"x" * 100)[:50], "end"),
    "it is reset": (b"", "reset"),
    "a reserved bit": (bytes([0xC1, 1]) + b"x", "wait"),
    "an unknown kind": (frame(b"x", 3), "wait"),
    "text that is no UTF-8": (frame(b"\xff\xfe"), "wait"),
    "a continuation of nothing": (frame(b"x", 0), "wait"),
    "a long ping": (frame(b"x" * 200, PING), "wait"),
    "binary data": (frame(b"x", BINARY), "wait"),
    "a message that is too large": (frame(b"x" * (MAX_MESSAGE + 1)), "wait"),
    "a goodbye for a reason": (goodbye(1011, b"out of memory"), "wait"),
}


@pytest.mark.parametrize(("piece", "then"), BROKEN.values(), ids=BROKEN)
async def test_what_is_no_message_fails_after_what_came_before_it(client, piece, then):
    async with Server(saying(frame(b"one"), piece, then=then)) as server, asyncio.timeout(AT_ONCE_S):
        async with begun(client, server) as exchange:
            assert await exchange.chunk() == b"one\n"
            assert await fault_of(exchange.chunk()) in {Fault.GARBAGE, Fault.RESET}
            assert await fault_of(exchange.chunk()) in {Fault.GARBAGE, Fault.RESET}  # and stays one
        await server.finished()


async def test_the_servers_reason_for_its_goodbye_is_told(client):
    async with Server(saying(goodbye(1008, b"policy"))) as server, begun(client, server) as exchange:
        with pytest.raises(AttemptFailed, match="1008: policy"):
            await exchange.chunk()


async def test_parts_that_never_make_a_message_are_bounded(client):
    async def script(peer):
        await peer.send(welcome(await peer.request()))
        await heard(peer)
        await peer.send(frame(b"x", final=False))
        await peer.flood(frame(b"x" * 2**16, 0, final=False), 2**28)

    async with Server(script) as server, begun(client, server) as exchange:
        assert await fault_of(exchange.chunk()) is Fault.GARBAGE
        await server.finished(timeout_s=AT_ONCE_S)


async def test_an_answer_that_is_read_whole_is_bounded(client):
    async def script(peer):
        await peer.send(welcome(await peer.request()))
        await heard(peer)
        await peer.flood(frame(b"x" * 2**20), 2 * MAX_REPLY)

    async with Server(script) as server, begun(client, server) as exchange:
        assert await fault_of(exchange.read()) is Fault.GARBAGE


async def test_what_nobody_asks_for_is_not_taken(client):
    stalled = asyncio.get_running_loop().create_future()

    async def script(peer):
        await peer.send(welcome(await peer.request()))
        await heard(peer)
        stalled.set_result(await peer.flood_until_stalled(frame(b"x" * 1000), 2**27))

    async with Server(script) as server, begun(client, server) as exchange:
        assert await exchange.chunk()
        tracemalloc.start()
        left = await stalled
        assert tracemalloc.get_traced_memory()[1] < 2**23
        tracemalloc.stop()
        assert left < 2**25


# Time


async def silence(peer):
    await peer.request()
    await peer.ended()


async def test_a_handshake_that_never_comes_is_timed_out_and_its_connection_ended(client):
    async with Server(silence) as server:
        exchange = client.open(call(server, timeouts=Timeouts(first_byte=SHORT_S)))
        assert await fault_of(exchange.response()) is Fault.TIMEOUT
        await server.finished()


async def test_the_first_message_has_the_time_of_a_first_byte_and_the_next_that_of_a_gap(client):
    timeouts = Timeouts(first_byte=0.3, idle=SHORT_S)
    async with Server(saying(then="wait")) as server, begun(client, server, timeouts=timeouts) as exchange:
        with pytest.raises(AttemptFailed, match=r"no answer within 0\.3 s"):
            await exchange.chunk()
        await server.finished()
    async with Server(saying(frame(b"1"), then="wait")) as server, begun(client, server, timeouts=timeouts) as exchange:
        assert await exchange.chunk() == b"1\n"
        with pytest.raises(AttemptFailed, match=r"nothing more within 0\.05 s"):
            await exchange.chunk()
        await server.finished()


async def test_pings_alone_are_no_answer(client):
    async def script(peer):
        await peer.send(welcome(await peer.request()))
        await heard(peer)
        await peer.flood(frame(b"", PING), 2**30)

    async with Server(script) as server:
        async with begun(client, server, timeouts=Timeouts(first_byte=0.2)) as exchange:
            assert await fault_of(exchange.chunk()) is Fault.TIMEOUT
        await server.finished()


async def test_all_of_a_call_has_an_end(client):
    async def script(peer):
        await peer.send(welcome(await peer.request()))
        await heard(peer)
        with contextlib.suppress(ConnectionError):
            while True:
                await peer.send(frame(b"1"))
                await asyncio.sleep(0.01)

    async with Server(script) as server:
        async with begun(client, server, timeouts=Timeouts(total=0.3)) as exchange:
            assert await fault_of(body_of(exchange)) is Fault.TIMEOUT
        await server.finished()


async def test_a_server_that_does_not_read_is_timed_out(client):
    async def script(peer):
        await peer.send(welcome(await peer.request()))
        await asyncio.Event().wait()

    async with Server(script) as server:
        exchange = client.open(call(server, body=b"x" * 2**25, timeouts=Timeouts(first_byte=0.3)))
        assert await fault_of(exchange.response()) is Fault.TIMEOUT


# Waiters come and go, and so do calls


async def cancelled(task):
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_waits_may_be_cancelled_at_any_point_and_nothing_is_lost(client):
    go = [asyncio.Event() for _ in range(3)]

    async def script(peer):
        request = await peer.request()
        await go[0].wait()
        await peer.send(welcome(request))
        await heard(peer)
        await go[1].wait()
        await peer.send(frame(b"one"))
        await go[2].wait()
        await peer.send(frame(b"two"), goodbye())

    async with Server(script) as server:
        exchange = client.open(call(server))
        for gate, wait in zip(go, (exchange.response, exchange.chunk, exchange.chunk), strict=True):
            task = asyncio.create_task(wait())
            await asyncio.sleep(0.02)
            await cancelled(task)
            gate.set()
            if wait == exchange.response:
                await exchange.response()
            else:
                assert await exchange.chunk() in {b"one\n", b"two\n"}
        assert await exchange.chunk() == b""
        exchange.close()


@pytest.mark.parametrize("until", ["open", "response", "chunk"])
async def test_a_call_that_is_closed_ends_its_connection_and_fails_who_waits(client, until):
    async with Server(saying(frame(b"1"), then="wait")) as server:
        exchange = client.open(call(server))
        if until != "open":
            await exchange.response()
        if until == "chunk":
            await exchange.chunk()
        waiting = asyncio.create_task(exchange.chunk())
        if until == "chunk":
            await asyncio.sleep(0)
        exchange.close()
        exchange.close()
        if until == "chunk":
            assert await fault_of(waiting) is Fault.RESET
        else:
            with contextlib.suppress(AttemptFailed):
                await waiting
        assert await fault_of(exchange.chunk()) is Fault.RESET
        if server.connections:
            await server.finished()


async def test_stopping_ends_every_call(client):
    async with Server(saying(frame(b"1"), then="wait")) as server:
        exchanges = [client.open(call(server)) for _ in range(5)]
        for exchange in exchanges:
            assert await exchange.chunk() == b"1\n"
        await client.stop()
        await server.finished(5)
        for exchange in exchanges:
            assert await fault_of(exchange.chunk()) is Fault.RESET
        await client.start()
