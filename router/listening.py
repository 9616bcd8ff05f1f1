"""The sockets that Farebox listens on, and the door behind them.

A socket is bound here, or was handed over by whoever started the process (`LISTEN_FDS`, as systemd and others do). The
door lets in as many connections as there are files for; who comes when it is full is answered 503 and let go, so that
connections that nobody uses cannot take the files that calls to vendors and the ledger need.
"""

import asyncio
import contextlib
import os
import resource
import socket
from collections.abc import Callable, Mapping
from typing import Any

SPARE_FILES = 128  # for the ledger, its readers, configuration, logs
BACKLOG = 4096
FIRST_FD = 3  # sd_listen_fds(3)
TURNED_AWAY_S = 2.0  # how long somebody who was turned away may take to read so

_BODY = b'{"error":{"message":"too many connections","type":"overloaded_error","param":null,"code":"overloaded"}}'
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nServer: farebox\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)


def bind(host: str, port: int, *, shared: bool = False) -> list[socket.socket]:
    """A socket for every address that the host stands for; `shared` with others of this user. Raises `OSError`."""
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            sock = socket.socket(family, kind, protocol)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(address)
            sock.listen(BACKLOG)
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def inherited(environment: Mapping[str, str], pid: int) -> list[socket.socket]:
    """The sockets that this process was started with, if any were meant for it."""
    if environment.get("LISTEN_PID") not in {None, str(pid)}:
        return []
    count = environment.get("LISTEN_FDS", "0")
    sockets = []
    for number in range(FIRST_FD, FIRST_FD + (int(count) if count.isascii() and count.isdigit() else 0)):
        os.set_inheritable(number, False)
        sockets.append(socket.socket(fileno=number))
    return sockets


def give_up_on(sock: socket.socket, seconds: float) -> None:
    """Let the kernel end connections of this socket whose peers take nothing for so long, also after the last write.

    Accepted sockets have it from the one that listens. Linux only; elsewhere such a connection lives until it is closed.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT") and sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))


def files() -> int:
    """How many files this process may open, after asking for all that it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 2**20 if hard == resource.RLIM_INFINITY else min(hard, 2**20)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
    return most if soft == resource.RLIM_INFINITY else soft


class Door:
    """Makes the protocol of each connection: the server's, or the one that turns away."""

    def __init__(
        self,
        server: Callable[[], asyncio.BaseProtocol],
        inside: Callable[[], int],
        most: int,
        on_full: Callable[[], Any],
    ) -> None:
        self._server = server
        self._inside = inside
        self._most = most
        self._on_full = on_full

    def __call__(self) -> asyncio.BaseProtocol:
        if self._inside() < self._most:
            return self._server()
        self._on_full()
        return _TurnedAway()


class _TurnedAway(asyncio.Protocol):
    """Answers 503 once the request has begun to come: an answer before it would be lost in a reset."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._end: asyncio.TimerHandle | None = None
        self._told = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream's transport is a Transport
        self._end = asyncio.get_running_loop().call_later(TURNED_AWAY_S, transport.abort)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 (it is the same answer to everything)
        if self._transport is not None and not self._told:
            self._told = True
            self._transport.write(_FULL)
            self._transport.write_eof()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self._end is not None:
            self._end.cancel()
