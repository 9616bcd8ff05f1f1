"""`farebox serve` with several workers: what the parent has ready before it forks, and what each worker then runs."""

import asyncio
import contextlib
import errno
import gc
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from router import logs
from router.app import Farebox
from router.clock import SystemClock
from router.handover import PATIENCE_S, ask, chosen
from router.listening import bind, inherited
from router.server import run, url_of
from router.settings import MockSettings, Settings
from router.snapshot import Snapshot, load
from router.stores.ports import StoreDown
from router.tokenizer import Tokenizer
from router.workers.siblings import Siblings
from router.workers.station import Station
from router.workers.succession import Succession, claim
from router.workers.supervisor import Supervisor, Worker, close, die_with, shares
from router.yamlfile import BadConfiguration

log = logging.getLogger("farebox.workers")

DEAD_S = 3.0  # workers that are killed with their parent take an instant to die, and have port and store till then
Announce = Callable[[str, Snapshot, str | None], None]


def serve(
    path: Path, settings: Settings, place: tuple[str, int], count: int, *, takeover: bool, announce: Announce
) -> int:
    """Serve with so many workers until they have ended; the exit code. Raises `BadConfiguration`, `StoreDown`, `OSError`."""
    logs.set_up()
    store = settings.store_path
    with _vendors(settings.mock) as mock_url, _folder() as folder:
        shared = _Shared(path, mock_url, load(path, mock_url), folder, count)
        taken = ask(store) if takeover else None
        sockets = (
            inherited(os.environ, os.getpid()) or (chosen(taken, *place) if taken else []) or bind_shared(*place, count)
        )
        beside = taken is not None and taken.workers and taken.same_version
        if taken is not None:
            taken.say(want="workers" if beside else "end")
        lock = claim(store, beside=beside, patience_s=PATIENCE_S if takeover else DEAD_S)

        def ready() -> None:
            succession.open()
            if taken is not None:
                taken.say(ready=True)
            announce(url_of(sockets[0]), shared.snapshot, mock_url)

        supervisor = Supervisor(
            count, lambda worker, channel: shared.work(worker, channel, shares(sockets, count)), ready, shared.reload
        )
        succession = Succession(store, sockets, supervisor)
        shared.warm()
        try:
            return supervisor.run()
        finally:
            succession.close()
            close(sockets)
            os.close(lock)


@dataclass(slots=True)
class _Shared:
    """What every worker begins with."""

    path: Path
    mock_url: str | None
    snapshot: Snapshot
    folder: Path
    count: int
    tokenizer: Tokenizer | None = None

    def warm(self) -> None:
        """Load what would else be loaded in each of them, and put it out of the collector's reach, so that it stays shared."""
        self.tokenizer = Tokenizer()
        for name in self.snapshot.encodings:
            self.tokenizer.encoding(name)
        gc.collect()
        gc.freeze()

    def reload(self) -> None:
        """Take over what the workers have taken over, for one that comes later."""
        with contextlib.suppress(BadConfiguration):  # it has changed once more
            before, self.snapshot = self.snapshot, load(self.path, self.mock_url)
            if before.settings.server.workers != self.snapshot.settings.server.workers:
                log.warning("the number of workers can only be changed by a restart", extra={"count": self.count})

    def work(self, worker: Worker, channel: socket.socket, sockets: Sequence[Sequence[socket.socket]]) -> None:
        """One worker's whole life."""
        problems: tuple[str, ...] = ()
        try:
            snapshot = load(self.path, self.mock_url)
        except BadConfiguration as error:  # the others serve by the one before it
            snapshot, problems = self.snapshot, tuple(str(error).splitlines())
        siblings = Siblings(self.folder, worker.number, self.count, complete=False)
        station = Station(worker.number, sockets, channel)

        async def serving() -> None:
            farebox = Farebox(snapshot, SystemClock(), self.mock_url, shared=True, siblings=siblings)
            farebox.problems = problems
            farebox.room.parts = self.count
            if self.tokenizer is not None:
                farebox.tokenizer.take(self.tokenizer)
            await run(farebox, sockets[worker.number], lambda _: station.say(ready=True), station=station)

        try:
            asyncio.run(serving())
        except (StoreDown, OSError) as error:
            sys.stderr.write(f"farebox cannot serve: {error}\n")
            raise SystemExit(1) from None


def bind_shared(host: str, port: int, count: int) -> list[socket.socket]:
    """Sockets of one port, one for each worker and address of the host. Raises `OSError`: somebody else listens there."""
    deadline = time.monotonic() + DEAD_S
    while True:
        try:
            first = bind(host, port)
            break
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    if not hasattr(socket, "SO_REUSEPORT"):
        return first
    port = first[0].getsockname()[1]
    close(first)  # it has shown that nobody of the same user listens there, whom we would share the port with
    return [sock for _ in range(count) for sock in bind(host, port, shared=True)]


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """For the sockets on which workers ask one another; only this user may enter it."""
    folder = Path(tempfile.mkdtemp(prefix="farebox-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _vendors(settings: MockSettings | None) -> Iterator[str | None]:
    """The mock vendors of a demo, in a process of their own, so that they are the same for all workers."""
    if settings is None:
        yield None
        return
    told, tells = os.pipe()
    parent, pid = os.getpid(), os.fork()
    if not pid:
        _play(settings, tells, parent)
    os.close(tells)
    with os.fdopen(told) as lines:
        url = lines.readline().strip()
    if not url:
        raise OSError("the mock vendors cannot serve")
    try:
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _play(settings: MockSettings, tells: int, parent: int) -> None:
    from router.mock import MockVendors  # noqa: PLC0415 (only a demo needs it)

    async def play() -> None:
        vendors = MockVendors(pace=settings.pace)
        os.write(tells, f"{await vendors.start(port=settings.port)}\n".encode())
        os.close(tells)
        await asyncio.Event().wait()

    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        die_with(parent)
        asyncio.run(play())
    finally:
        os._exit(1)
