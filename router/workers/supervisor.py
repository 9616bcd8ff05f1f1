"""The parent of the workers: it binds, forks, waits, and starts one anew that has died.

Workers are forked and not started as programs of their own: what they have in common (code, vocabularies, prices) is loaded once
and stays in memory once, a new one serves in a fraction of the time, and it is of the same version as its siblings although
another may have been installed meanwhile. Forking is safe here since the parent has neither threads nor an event loop.

Each worker listens on a socket of its own for each address, all of one port (`SO_REUSEPORT`), so that the kernel spreads
connections evenly. The parent keeps these sockets: the queue of a worker that died is taken care of by a sibling until another
worker takes its place, and nothing that waits in it is lost. If the parent is killed the kernel kills the workers, so that
never a worker is left without anybody who watches over it.

A worker says every few seconds that its loop turns. One that is silent for long hangs, and so does every connection that the
kernel gives to it: it is killed, and then it is one that has died.
"""

import contextlib
import logging
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, NoReturn

import orjson

log = logging.getLogger("farebox.workers")

WELL_S = 10.0  # a worker that has lived for so long has not died at once
FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 30.0  # before one is started again that died at once, doubled each time
SILENT_S = 30.0
"""Who has said nothing for so long is killed. No loop is busy for half as long, with the largest bodies and configurations and
on a machine that swaps; and after 25 s its siblings take it for dead too, and close what it had open.
"""
BEAT_S = 5.0  # how often a worker says that it lives, and the parent looks: several may come late or be missed
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
PR_SET_PDEATHSIG = 1

Child = Callable[["Worker", socket.socket], None]
"""What a worker does, in its own process, with its end of the channel to the parent."""


@dataclass(slots=True, eq=False)
class Worker:
    """One place among the workers, and the process that has it now."""

    number: int
    pid: int = 0  # 0: none
    channel: socket.socket | None = None
    ready: bool = False
    replica: str = ""  # what it is called in the store
    began: float = 0.0
    spoke: float = inf  # when it was last heard; inf while nothing is expected of it: it starts, or has ended
    quick: int = 0  # deaths in a row that came at once
    due: float | None = None  # when it is to be started
    covers: set[int] = field(default_factory=set)  # whose queues it serves besides its own
    _rest: bytes = b""

    def tell(self, **what: Any) -> None:
        """Never waits: a worker that reads nothing any more is dead or will be."""
        if self.channel is not None:
            with contextlib.suppress(OSError):
                self.channel.send(orjson.dumps(what) + b"\n")

    def heard(self) -> list[dict[str, Any]] | None:
        """What it has said since; None at the channel's end."""
        if self.channel is None:
            return []
        try:
            data = self.channel.recv(2**16)
        except OSError:
            data = b""
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [orjson.loads(line) for line in lines]


class Supervisor:
    """See the module.

    Args:
        count: how many workers.
        child: what each does.
        announce: called once, when all are ready.
        reloaded: called when the workers have taken another configuration.

    """

    def __init__(
        self, count: int, child: Child, announce: Callable[[], None], reloaded: Callable[[], None] = lambda: None
    ) -> None:
        self.workers = [Worker(number) for number in range(count)]
        self.leaving = False
        self._watched: dict[socket.socket, Callable[[], None]] = {}  # what else is waited for
        self._child, self._announce, self._reloaded = child, announce, reloaded
        self._announced = False
        self._failed = False
        self._looked = 0.0  # when it was last looked who hangs
        self._dead: dict[str, Worker | None] = {}  # replicas that are to be buried, and who was told to
        self._selector = selectors.DefaultSelector()
        self._signals, self._woken = socket.socketpair()

    # Life

    def run(self) -> int:
        """Until SIGTERM or SIGINT has ended all of them, or one cannot start: then its exit code is 1."""
        self._signals.setblocking(False)
        self._woken.setblocking(False)
        before = signal.set_wakeup_fd(self._woken.fileno(), warn_on_full_buffer=False)
        handlers = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
        self._selector.register(self._signals, selectors.EVENT_READ, self._signalled)
        try:
            for worker in self.workers:
                self._start(worker)
            while not (self.leaving and not any(worker.pid for worker in self.workers)):
                self._turn()
        finally:
            self._kill_all()
            signal.set_wakeup_fd(before)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            self._selector.close()
            self._signals.close()
            self._woken.close()
        return int(self._failed)

    def watch(self, sock: socket.socket, work: Callable[[], None]) -> None:
        """Do something whenever there is something to read."""
        self._watched[sock] = work
        self._selector.register(sock, selectors.EVENT_READ, work)

    def unwatch(self, sock: socket.socket) -> None:
        self._watched.pop(sock, None)
        self._forget(sock)

    def _forget(self, sock: socket.socket) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(sock)

    def leave(self) -> None:
        """Let all of them end what they have on its way."""
        if not self.leaving:
            self.leaving = True
            self._signal(signal.SIGTERM)

    def _turn(self) -> None:
        now = time.monotonic()
        self._look(now)
        for worker in self.workers:
            if worker.due is not None and worker.due <= now and not self.leaving:
                self._start(worker)
        due = [worker.due for worker in self.workers if worker.due is not None and not self.leaving]
        for key, _ in self._selector.select(max(0.0, min([now + BEAT_S, *due]) - now)):
            key.data()

    def _look(self, now: float) -> None:
        """Kill who hangs. One that drains still says that it lives, so this is no danger to it, and its end comes also where it
        hangs while it drains.
        """
        if now - self._looked > 2 * BEAT_S:  # we were stopped, perhaps with the whole machine: silence proves nothing
            for worker in self.workers:
                worker.spoke = max(worker.spoke, now)
        self._looked = now
        for worker in self.workers:
            if worker.pid and now - worker.spoke > SILENT_S:
                said = f"a worker hangs: it has said nothing for {SILENT_S:g} s and is killed"
                log.error(said, extra={"worker": worker.number})
                worker.spoke = now  # one that the kernel cannot end yet is told of once more after as long
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGKILL)

    def _kill_all(self) -> None:
        """Only where the parent itself has failed is there anybody left."""
        for worker in self.workers:
            if worker.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(worker.pid, 0)

    # What comes

    def _signalled(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in set(self._signals.recv(4096)):
                if number == signal.SIGHUP:
                    self._signal(signal.SIGHUP)
                elif number in {signal.SIGTERM, signal.SIGINT}:
                    self.leave()
        self._reap()

    def _signal(self, number: signal.Signals) -> None:
        for worker in self.workers:
            if worker.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.pid, number)

    def _hear(self, worker: Worker) -> None:
        told = worker.heard()
        if told is None and worker.channel is not None:  # it is about to be reaped
            self._forget(worker.channel)
        if told and worker.ready:
            worker.spoke = time.monotonic()
        for one in told or ():
            if "replica" in one:
                worker.replica = one["replica"]
            if one.get("ready"):
                self._is_ready(worker)
            if "buried" in one:
                self._dead.pop(one["buried"], None)
            if one.get("reloaded"):
                self._reloaded()
            if one.get("ends"):
                worker.spoke = inf

    def _is_ready(self, worker: Worker) -> None:
        worker.ready, worker.spoke = True, time.monotonic()
        self._share_out()
        if self._announced:
            worker.tell(do="complete")
            log.info("a worker has taken the place of another", extra={"worker": worker.number})
        elif all(one.ready for one in self.workers):
            self._announced = True
            for one in self.workers:
                one.tell(do="complete")
            self._announce()

    # Processes

    def _start(self, worker: Worker) -> None:
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        # what comes for the child before it knows what a signal means waits until it does
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        parent, pid = os.getpid(), os.fork()
        if not pid:
            self._become(worker, ours, theirs, parent)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        ours.setblocking(False)
        worker.pid, worker.channel, worker.began, worker.due = pid, ours, time.monotonic(), None
        worker._rest = b""  # noqa: SLF001 (its own)
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._hear(worker))

    def _become(self, worker: Worker, ours: socket.socket, theirs: socket.socket, parent: int) -> NoReturn:
        """The child: nothing of the parent's is of use here any more but what it has loaded."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            for number in (
                signal.SIGINT,
                signal.SIGHUP,
            ):  # a terminal's goes to all, and the parent tells what it means
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            die_with(parent)
            self._selector.close()
            for sock in (
                ours,
                self._signals,
                self._woken,
                *(one.channel for one in self.workers),
                *self._watched,
            ):
                if sock is not None:
                    sock.close()
            self._child(worker, theirs)
            code = 0
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else 1
        except BaseException:  # noqa: BLE001 (it must not go on as if it were the parent)
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> None:
        dead = []
        for worker in self.workers:
            if worker.pid:
                pid, status = os.waitpid(worker.pid, os.WNOHANG)
                if pid:
                    dead.append((worker, os.waitstatus_to_exitcode(status)))
        for worker, code in dead:
            self._has_died(worker, code)
        if dead:
            self._share_out()

    def _has_died(self, worker: Worker, code: int) -> None:
        if worker.channel is not None:
            self._hear(worker)  # what it said last
            self._forget(worker.channel)
            worker.channel.close()
        lived = time.monotonic() - worker.began
        worker.pid, worker.channel, worker.ready, worker.spoke = 0, None, False, inf
        worker.covers.clear()
        self._dead |= {replica: None for replica, told in self._dead.items() if told is worker}
        if worker.replica:
            self._dead[worker.replica] = None
            worker.replica = ""
        if self.leaving:
            self._failed |= code != 0
            return
        if not self._announced:
            log.error("a worker could not start", extra={"worker": worker.number, "status": code})
            self._failed = True
            self.leave()
            return
        worker.quick = worker.quick + 1 if lived < WELL_S else 0
        wait = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (worker.quick - 2)) if worker.quick > 1 else 0.0
        worker.due = time.monotonic() + wait
        log.error("a worker has died", extra={"worker": worker.number, "status": code})

    def _share_out(self) -> None:
        """Let the living serve the queues of the dead, and bury those."""
        living = [worker for worker in self.workers if worker.ready]
        if not living:
            return
        for replica, told in self._dead.items():
            if told is None:
                self._dead[replica] = living[0]
                living[0].tell(do="bury", replica=replica)
        for worker in () if self.leaving else self.workers:
            has = next((one for one in living if worker.number in one.covers), None)
            if worker.ready and has is not None:
                has.covers.discard(worker.number)
                has.tell(do="uncover", number=worker.number)
            elif not worker.ready and has is None and self._announced:
                least = min(living, key=lambda one: len(one.covers))
                least.covers.add(worker.number)
                least.tell(do="cover", number=worker.number)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies. Linux only; elsewhere a worker sees its channel end."""
    if sys.platform != "linux":
        return
    import ctypes  # noqa: PLC0415 (only here)

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has died already
        os.kill(os.getpid(), signal.SIGKILL)


def shares(sockets: Sequence[socket.socket], count: int) -> list[list[socket.socket]]:
    """Which sockets each worker listens on: one or several of its own where there are as many, else the same for all."""
    if len(sockets) < count:
        return [list(sockets) for _ in range(count)]
    return [list(sockets[number::count]) for number in range(count)]


def close(sockets: Iterable[socket.socket]) -> None:
    for sock in sockets:
        sock.close()
