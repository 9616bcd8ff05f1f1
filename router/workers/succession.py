"""One parent with its workers takes the place of another, and no connection is lost.

As `handover` has it for single processes, and over the same socket beside the store; but workers share the store anyway, so the new
ones come up beside the old ones, which end what they have on its way once all of the new ones are ready.
"""

import contextlib
import errno
import fcntl
import logging
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import orjson

from router import __version__
from router.handover import listen_at, place_of
from router.stores.ports import StoreDown
from router.workers.supervisor import Supervisor

log = logging.getLogger("farebox.workers")


def claim(store: Path, *, beside: bool, patience_s: float = 0.0) -> int:
    """A file that says for as long as it is open, here or in a worker, that the store is in use.

    Args:
        store: the store's file.
        beside: others have it too, which hand over.
        patience_s: how long to wait for somebody who ends.

    Raises:
        StoreDown: somebody else has it.

    """
    store.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + patience_s
    ours = _lock(store, "workers", fcntl.LOCK_SH if beside else fcntl.LOCK_EX, deadline)
    fcntl.flock(ours, fcntl.LOCK_SH)  # for those that will come beside us
    if not beside:
        os.close(_lock(store, "lock", fcntl.LOCK_EX, deadline))  # a process that served alone has it until it has ended
    return ours


def _lock(store: Path, kind: str, how: int, deadline: float) -> int:
    lock = os.open(f"{store}.{kind}", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    while True:
        try:
            fcntl.flock(lock, how | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in {errno.EAGAIN, errno.EACCES} or time.monotonic() > deadline:
                os.close(lock)
                raise StoreDown(f"{store} is in use by another Farebox") from None
            time.sleep(0.05)
        else:
            return lock


class Succession:
    """Waits beside a parent's other work for a process that takes over."""

    def __init__(self, store: Path, sockets: Sequence[socket.socket], supervisor: Supervisor) -> None:
        self._path = place_of(store)
        self._sockets = sockets
        self._supervisor = supervisor
        self._listener: socket.socket | None = None

    def open(self) -> None:
        """Take the place beside the store. Raises `OSError`."""
        self._listener = listen_at(self._path)
        self._supervisor.watch(self._listener, self._accept)

    def _accept(self) -> None:
        if self._listener is None:
            return
        connection, _ = self._listener.accept()
        told = orjson.dumps({"version": __version__, "workers": True})
        try:
            socket.send_fds(connection, [told], [sock.fileno() for sock in self._sockets])
        except OSError:
            connection.close()
            return
        connection.setblocking(False)
        self._supervisor.watch(connection, lambda: self._hear(connection))

    def _hear(self, connection: socket.socket) -> None:
        try:
            lines = connection.recv(4096).splitlines()
        except OSError:
            lines = []
        if not lines:  # it has ended; if it was not ready yet, we go on
            self._supervisor.unwatch(connection)
            connection.close()
        for told in map(orjson.loads, lines):
            if told.get("ready"):
                log.info("another process has taken over")
                self.close(kept=False)
                self._supervisor.leave()
            elif told.get("want") != "workers":  # it cannot serve beside us
                self._supervisor.leave()

    def close(self, *, kept: bool = True) -> None:
        """Nobody can take over any more; `kept` is whether the place is still ours."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        with contextlib.suppress(KeyError, ValueError):
            self._supervisor.unwatch(listener)
        listener.close()
        if kept:
            self._path.unlink(missing_ok=True)
