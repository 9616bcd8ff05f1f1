"""More than the process can hold: requests, bodies, connections, clients that send or read too slowly."""

import asyncio
import contextlib
import socket

import pytest
from hostile import CHUNKED, Server, answering, chunk, plain
from support import KEY, a_few_turns, open_attempts, samples, serving, small_config

from router.core import jsonio
from router.core.errors import Overloaded, SlowClient, TooLarge
from router.listening import Door
from router.room import SLOWEST, Room
from router.settings import ServerSettings
from tests.fakes import PushedClock, answer, stream

STREAM = CHUNKED.replace(b"200 OK\r\n", b"200 OK\r\nContent-Type: text/event-stream\r\n")


def body(**more):
    return {"model": "small", "messages": [{"role": "user", "content": "hello"}], **more}


@contextlib.asynccontextmanager
async def before(tmp_path, script, **server):
    async with Server(script) as vendor:
        config = small_config(tmp_path, f"http://127.0.0.1:{vendor.port}/v1")
        config["server"] |= server
        async with serving(config, tmp_path) as farebox:
            farebox.vendor = vendor
            yield farebox


async def metric(farebox, name, **labels):
    async with farebox.http.get(farebox.url + "/metrics") as reply:
        return sum(samples(await reply.text(), name, **labels))


@contextlib.asynccontextmanager
async def connect(farebox, *, small=False):
    """(reader, writer) of a bare connection; a small one has little room for what it does not read."""
    sock = socket.socket()
    if small:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    host, port = farebox.url.removeprefix("http://").split(":")
    await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=sock, limit=2**16)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def head(length):
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


# Requests


async def test_one_more_than_may_be_in_flight_is_told_to_come_back_and_those_inside_are_served(tmp_path):
    go = asyncio.Event()

    async def script(peer):
        await peer.request()
        await go.wait()
        await peer.send(STREAM, *map(chunk, stream("hi")), chunk(b""))

    async with before(tmp_path, script, max_in_flight=2) as farebox:
        inside = [asyncio.ensure_future(farebox.post(json=body(stream=True)).__aenter__()) for _ in range(2)]
        while len(farebox.vendor.requests) < 2:
            await asyncio.sleep(0)
        async with farebox.post(json=body()) as reply:
            error = (await reply.json())["error"]
            assert (reply.status, error["code"], reply.headers["Retry-After"]) == (503, "overloaded", "1")
            assert "2 requests are in flight" in error["message"]
        go.set()
        for reply in await asyncio.gather(*inside):
            assert reply.status == 200 and (await reply.read()).endswith(b"[DONE]\n\n")
        assert farebox.farebox.room.in_flight == 0
        assert await metric(farebox, "farebox_refused_total", reason="overloaded") == 1
        assert len(await farebox.rows()) == 2


# Bodies


class Coming:
    """A body whose pieces come when they are asked for; one that is an event is waited for."""

    def __init__(self, *pieces):
        self.pieces = list(pieces)

    def read_nowait(self, n=-1):
        return b""

    def at_eof(self):
        return not self.pieces

    async def readany(self):
        if isinstance(self.pieces[0], asyncio.Event):
            await self.pieces[0].wait()
            self.pieces.pop(0)
        return self.pieces.pop(0)


async def test_bodies_are_counted_while_they_come_and_until_their_requests_end():
    room, bounds = Room(PushedClock()), ServerSettings(max_bodies_bytes=2000)
    with room.enter(bounds) as first:
        assert await first.read(Coming(b"x" * 700, b"y" * 800), None, bounds) == b"x" * 700 + b"y" * 800
        with room.enter(bounds) as second:
            with pytest.raises(Overloaded) as refused:
                await second.read(Coming(b"x" * 400, b"x" * 400), None, bounds)
            assert refused.value.retry_after_s
            assert room.body_bytes == 1900
        assert room.body_bytes == 1500
        with room.enter(bounds) as third:
            with pytest.raises(Overloaded):
                await third.read(Coming(), 501, bounds)  # by its length alone: nothing of it is read
            assert await third.read(Coming(b"x" * 500), 500, bounds)
    assert (room.body_bytes, room.in_flight) == (0, 0)


async def test_a_body_beyond_the_largest_is_refused_by_its_length_or_once_it_is_too_long():
    room, bounds = Room(PushedClock()), ServerSettings(max_body_bytes=1024)
    with room.enter(bounds) as seat:
        with pytest.raises(TooLarge):
            await seat.read(Coming(), 1025, bounds)
        with pytest.raises(TooLarge):
            await seat.read(Coming(b"x" * 1000, b"x" * 1000), None, bounds)


async def test_a_body_that_does_not_come_on_is_given_up_but_one_that_comes_slowly_is_read():
    room = Room(PushedClock())
    bounds = ServerSettings(client_timeout=0.05)
    with room.enter(bounds) as seat, pytest.raises(SlowClient):
        await seat.read(Coming(b"x", asyncio.Event()), 1000, bounds)
    late = asyncio.Event()
    asyncio.get_running_loop().call_later(0.1, late.set)
    with room.enter(bounds) as seat:
        assert await seat.read(Coming(b"x" * SLOWEST, late, b"y"), None, bounds)


async def test_who_sends_half_a_body_is_told_so_and_let_go(tmp_path):
    async with before(tmp_path, answering(b""), client_timeout=0.05) as farebox, connect(farebox) as (reader, writer):
        writer.write(head(1000) + b'{"model"')
        told = await reader.readuntil(b"}")
        assert told.startswith(b"HTTP/1.1 408 ") and b"request_timeout" in told
        assert await metric(farebox, "farebox_clients_cut_total", why="sends_slowly") == 1
        assert farebox.farebox.room.in_flight == 0 and farebox.vendor.connections == 0


async def test_a_large_body_whose_key_is_unknown_is_not_read(tmp_path):
    async with before(tmp_path, answering(b"")) as farebox, connect(farebox) as (reader, writer):
        writer.write(head(10 * 2**20).replace(KEY.encode(), b"another-key"))
        assert (await reader.readline()).startswith(b"HTTP/1.1 401 ")
        assert farebox.farebox.room.body_bytes == 0


# Answers


async def test_who_does_not_read_stops_the_vendor_and_is_cut_off_in_time(tmp_path):
    taken = []
    piece = chunk(stream("word " * 4000, done=False, usage=None)[0])

    async def script(peer):
        await peer.request()
        await peer.send(STREAM)
        taken.append(await peer.flood_until_stalled(piece, 64 * 2**20))

    async with before(tmp_path, script, client_timeout=1.0) as farebox:
        farebox.farebox.settlement.drain_s = 0.05
        async with connect(farebox, small=True) as (_, writer):
            writer.transport.pause_reading()
            told = jsonio.dumps(body(stream=True))
            writer.write(head(len(told)) + told)
            while not taken:
                await asyncio.sleep(0.01)
            assert taken[0] < 8 * 2**20  # most of that is in the kernel's buffers
            while farebox.farebox.room.in_flight:
                await asyncio.sleep(0.01)
            assert await metric(farebox, "farebox_clients_cut_total", why="reads_slowly") == 1
            (row,) = await farebox.rows()
            assert row["outcome"] == "left" and row["cost"] > 0


async def test_who_reads_none_of_a_plain_answer_is_cut_off_too(tmp_path):
    large = answer(text="word " * 1_200_000)
    said = plain(large, "Content-Type: application/json")
    async with (
        before(tmp_path, answering(said), client_timeout=0.5) as farebox,
        connect(farebox, small=True) as (_, writer),
    ):
        writer.transport.pause_reading()
        told = jsonio.dumps(body())
        writer.write(head(len(told)) + told)
        while not open_attempts(farebox.farebox.snapshot.settings.store):
            await asyncio.sleep(0.01)
        while farebox.farebox.room.in_flight:
            await asyncio.sleep(0.01)
        assert await metric(farebox, "farebox_clients_cut_total", why="reads_slowly") == 1
        assert [row["outcome"] for row in await farebox.rows()] == ["left"]


def test_only_who_has_waited_too_long_is_cut():
    clock = PushedClock()
    room, bounds, ended = Room(clock), ServerSettings(client_timeout=30), []

    class Writer:
        def __init__(self, waits_since):
            self.waits_since = waits_since

        def cut(self):
            ended.append(self.waits_since)

    seats = [room.enter(bounds).__enter__() for _ in range(4)]
    for seat, since in zip(seats, [None, 0.0, 5.0], strict=False):  # the fourth still sends its body
        seat.writer = Writer(since)
    clock.push(31)
    room.cut_slow(bounds)
    assert ended == [0.0]


# Connections


async def test_beyond_the_door_a_connection_is_told_so_and_closed():
    inside, turned = [0], []

    class Guest(asyncio.Protocol):
        def connection_made(self, transport):
            inside[0] += 1
            transport.write(b"welcome")

    door = Door(Guest, lambda: inside[0], 1, lambda: turned.append(1))
    server = await asyncio.get_running_loop().create_server(door, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    guest = await asyncio.open_connection("127.0.0.1", port)
    assert await guest[0].readexactly(7) == b"welcome"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await a_few_turns()
    writer.write(head(5) + b"hello")
    told = await reader.read()
    assert told.startswith(b"HTTP/1.1 503 ") and b"Retry-After: 1\r\n" in told
    assert jsonio.loads(told.partition(b"\r\n\r\n")[2])["error"]["code"] == "overloaded"
    assert turned == [1]
    writer.close()
    guest[1].transport.abort()
    server.close()
