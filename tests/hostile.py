"""A server on loopback that does what a script says, byte by byte: what `test_upstream.py` sets its clients against."""

import asyncio
import contextlib
import socket
import struct
from typing import NamedTuple

from support import a_few_turns


class Request(NamedTuple):
    """A request as it came; `fields` has names in lower case, in their order."""

    head: bytes
    body: bytes

    @property
    def line(self):
        return self.head.partition(b"\r\n")[0].decode()

    @property
    def fields(self):
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines if line)]

    def values(self, name):
        return [value for found, value in self.fields if found == name]


class Peer:
    """The server's end of one connection."""

    def __init__(self, server, reader, writer, number):
        self._server, self._reader, self._writer = server, reader, writer
        self.number = number  # of the connection, from 0
        self.handed = 0  # bytes that were given to `flood` or `send`

    async def head(self):
        return await self._reader.readuntil(b"\r\n\r\n")

    async def request(self):
        """The next request; `IncompleteReadError` if there is none, which ends a script in peace."""
        head = await self.head()
        length = next((int(v) for n, v in Request(head, b"").fields if n == "content-length"), 0)
        request = Request(head, await self._reader.readexactly(length))
        self._server.requests.append(request)
        self._server.asked.set()
        return request

    async def send(self, *pieces):
        """Each piece in a segment of its own, and read as such by a client in this loop."""
        for piece in pieces:
            if self._writer.transport.is_closing():
                raise ConnectionResetError  # uvloop raises something else
            self.handed += len(piece)
            self._writer.write(piece)
            await self._writer.drain()
            await a_few_turns()

    async def dribble(self, data):
        await self.send(*(data[at : at + 1] for at in range(len(data))))

    async def flood(self, piece, most):
        """Send `piece` until the client is gone; `AssertionError` if it took `most` bytes."""
        with contextlib.suppress(ConnectionError):
            while self.handed < most:
                await self.send(piece)
            raise AssertionError(f"the client took {self.handed} bytes and wants more")

    async def flood_until_stalled(self, piece, most, patience_s=0.3):
        """Send `piece` until the client takes no more; bytes that have left this process."""
        self.buffer_little()
        while self.handed < most:
            self.handed += len(piece)
            self._writer.write(piece)
            try:
                await asyncio.wait_for(self._writer.drain(), patience_s)
            except TimeoutError:
                break
        return self.handed - self._writer.transport.get_write_buffer_size()

    def buffer_little(self):
        """So that what the kernel keeps is not mistaken for what the client keeps."""
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**17)
        self._writer.transport.set_write_buffer_limits(2**16)

    async def ended(self):
        """Until the client has closed its end."""
        with contextlib.suppress(ConnectionError):
            while await self._reader.read(2**16):
                pass

    def finish(self):
        """Close this direction (FIN), and go on listening."""
        self._writer.write_eof()

    def reset(self):
        """RST: what was sent may still arrive, and then it is an error."""
        linger = struct.pack("ii", 1, 0)
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._writer.transport.abort()

    async def close(self):
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    def drop(self):
        if not self._writer.transport.is_closing():
            self._writer.transport.abort()


class Server:
    """Runs `script(peer)` for each connection and closes it after that. A script that fails fails the test."""

    def __init__(self, script, tls=None):
        self._script, self._tls = script, tls
        self._tasks = []
        self._failures = []
        self.requests = []
        self.asked = asyncio.Event()
        self.connections = 0
        self.port = 0

    async def __aenter__(self):
        self._server = await asyncio.start_server(
            self._connected, "127.0.0.1", 0, ssl=self._tls, backlog=1024, limit=2**20
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind, *_):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        if self._failures and kind is None:
            raise self._failures[0]

    def url(self, path="/v1/chat/completions", host="127.0.0.1"):
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}{path}"

    async def finished(self, connections=1, timeout_s=5):
        """Until the scripts of the first so many connections have ended."""
        assert self.connections >= connections
        _, going_on = await asyncio.wait(self._tasks[:connections], timeout=timeout_s)
        assert not going_on, "a client has not ended its connection"

    def _connected(self, reader, writer):
        peer = Peer(self, reader, writer, self.connections)
        self.connections += 1
        task = asyncio.create_task(self._serve(peer))
        task.add_done_callback(lambda _: peer.drop())
        self._tasks.append(task)

    async def _serve(self, peer):
        try:
            await self._script(peer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has left
        except Exception as error:  # noqa: BLE001  the test is told at its end
            self._failures.append(error)
        await peer.close()


def plain(body, *lines, status="200 OK"):
    """An answer with a length."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *lines, "", ""]
    return "\r\n".join(head).encode("latin-1") + body


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(body):
    return b"%x\r\n%b\r\n" % (len(body), body)


def answering(*answers):
    """A script: the answers in their order to the requests of all connections; the last one again and again.

    An answer is bytes, or a function of the request.
    """
    left = list(answers)

    async def script(peer):
        while True:
            request = await peer.request()
            answer = left.pop(0) if len(left) > 1 else left[0]
            await peer.send(answer(request) if callable(answer) else answer)

    return script


def saying(*pieces, then="end"):
    """A script for one request: its pieces, then `end` (FIN), `reset` (RST) or `wait` (for the client to end it)."""

    async def script(peer):
        await peer.request()
        await peer.send(*pieces)
        if then == "reset":
            peer.reset()
        elif then == "wait":
            await peer.ended()

    return script
