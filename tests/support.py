"""What tests of every folder share; `tests/conftest.py` has it as fixtures.

`FareboxProcess` is a real `farebox serve` child, `serving` the same server inside this process, `RawVendor` a vendor
whose answer is given byte by byte. Configurations are plain dicts: `demo_config` is what `make run` serves,
`small_config` one cheap and one flagship model at round prices.
"""

import asyncio
import contextlib
import ipaddress
import itertools
import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import psycopg
import pytest
import yaml
from aiohttp import web
from psycopg.rows import dict_row

from router.app import Farebox
from router.clock import SystemClock
from router.front import Front, close_all
from router.inside import HOW, inside
from router.mock import MockVendors
from router.server import application
from router.snapshot import load

ROOT = Path(__file__).resolve().parent.parent
KEY = "fb-test-key-of-the-team"  # the only key of `small_config`
VENDOR_KEY = "sk-vendor-secret-of-the-test"
STARTUP_S = 30
ENCODINGS = {}  # vocabularies of every Farebox of this process: each takes half a second to load


def unavailable(what):
    """A program that a test needs is not there: a failure in CI, else a skip that says what to install."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(what)


def until(holds, what, timeout_s=10.0):
    """Wait for a fact about another process, which has no event to await here."""
    deadline = time.monotonic() + timeout_s
    while not (found := holds()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.01)
    return found


# Configurations


def demo_config(folder):
    """config/demo.yaml on a free port, with its store in `folder` and mocks that answer at once."""
    config = yaml.safe_load((ROOT / "config/demo.yaml").read_text())
    config["server"]["port"] = 0
    config["store"] = f"sqlite:///{folder}/demo.db"
    config["mock"]["pace"] = 0
    return config


def small_config(folder, vendor_url, **more):
    """A cheap and a flagship model of one vendor: 1 / 2 and 10 / 40 USD per million tokens. `more` replaces sections."""
    return {
        "server": {"port": 0},
        "store": f"sqlite:///{folder}/farebox.db",
        "vendors": {"check": {"dialect": "openai", "base_url": vendor_url, "api_key": VENDOR_KEY}},
        "models": {
            "small": {
                "vendor": "check",
                "tier": "cheap",
                "quality": 0.8,
                "price": {"currency": "USD", "input": 1, "output": 2},
            },
            "large": {
                "vendor": "check",
                "tier": "flagship",
                "quality": 1.0,
                "price": {"currency": "USD", "input": 10, "output": 40},
            },
        },
        "routes": {"auto": {"tiers": ["cheap", "flagship"]}},
        "teams": {
            "search": {
                "keys": [{"name": "ci", "value": KEY}],
                "models": ["*"],
                "budgets": [{"limit": 100, "per": "total"}],
            }
        },
        **more,
    }


def write_config(config, folder):
    """The file that a configuration is read from; each one in a file of its own."""
    numbers = (n for n in itertools.count() if not (folder / f"farebox-{n}.yaml").exists())
    file = folder / f"farebox-{next(numbers)}.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    return file


# What can be seen from outside


def rows(store):
    """The ledger as it is in the store, oldest first; amounts are in nano-units."""
    return _select(store, "SELECT * FROM ledger ORDER BY seq")


def open_attempts(store):
    """Attempts that were written down and have no ledger row yet. Each is there before its vendor is called."""
    return _select(store, "SELECT id FROM attempts")


def _select(store, query):
    if store.startswith("postgresql://"):
        with psycopg.connect(store, row_factory=dict_row) as connection:
            return connection.execute(query).fetchall()
    path = Path(store.removeprefix("sqlite:///"))
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query)]


_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def samples(text, name, **labels):
    """The values of a metric's series that have these labels."""
    return [
        float(value)
        for found, told, value in _SAMPLE.findall(text)
        if found == name and labels.items() <= dict(_LABEL.findall(told)).items()
    ]


# A real process


class FareboxProcess:
    """`farebox serve` as a child, as a context manager: ready when entered, ended by its own pid when left.

    `log` is what it wrote to standard error so far, `said` what it printed, whole once it has stopped.
    """

    def __init__(self, config, folder, *arguments, command=None, **environment):
        self.config = config
        self.arguments = arguments
        self.command = command or [Path(sys.executable).parent / "farebox"]
        self.environment = environment
        self.store = config["store"]
        self.file = write_config(config, folder)
        self.errors = self.file.with_suffix(".log")
        self.url = self.said = ""
        self.child = None

    def __enter__(self):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("FAREBOX_")}
        with self.errors.open("wb") as errors:
            self.child = subprocess.Popen(
                [*self.command, "serve", "--config", self.file, *self.arguments],
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=self.file.parent,
                env=environment | {"HOME": str(self.file.parent), **self.environment},
                text=True,
            )
        too_late = threading.Timer(STARTUP_S, self.child.kill)
        too_late.start()
        try:
            while line := self.child.stdout.readline():
                self.said += line
                if found := re.search(r" on (http://\S+)$", line):
                    self.url = found[1]
                    until(self.is_ready, "it is ready")
                    return self
        except BaseException:
            self.stop()
            raise
        finally:
            too_late.cancel()
        code = self.stop()
        pytest.fail(f"farebox serve ended with {code} before it was ready: {self.said}{self.log}")

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """SIGTERM, and its exit code; SIGKILL if it does not drain."""
        self.child.terminate()
        try:
            self.child.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()
        if not self.child.stdout.closed:
            self.said += self.child.stdout.read()
            self.child.stdout.close()
        return self.child.returncode

    def kill(self):
        self.child.kill()
        self.child.wait()

    @property
    def log(self):
        return self.errors.read_text(errors="replace")

    def is_ready(self):
        try:
            return self.get("/health/ready") == "ok\n"
        except urllib.error.HTTPError:  # also from one that is being replaced
            return False

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=10) as reply:
            return reply.read().decode()

    def metric(self, name, **labels):
        return samples(self.get("/metrics"), name, **labels)

    def rows(self):
        """The ledger, once everything that was begun is in it and nothing is held for it any more."""
        until(lambda: not open_attempts(self.store) and not sum(self.metric("farebox_budget_held")), "all is settled")
        return rows(self.store)


# The same inside this process


@dataclass
class Running:
    """A Farebox in this process, on a port of its own, and a client for it."""

    url: str
    farebox: Farebox
    mock: MockVendors | None
    http: aiohttp.ClientSession
    app: Any
    fronts: set[Front] = field(default_factory=set)

    def post(self, path="/v1/chat/completions", *, key=KEY, headers=None, **how):
        """As `aiohttp.ClientSession.post`, with a key."""
        return self.http.post(self.url + path, headers={"Authorization": f"Bearer {key}", **(headers or {})}, **how)

    async def rows(self):
        """The ledger, once what was begun is in it."""
        await self.farebox.settlement.drain(10)
        return rows(self.farebox.snapshot.settings.store)


@contextlib.asynccontextmanager
async def serving(config, folder, *, handler_cancellation=False, upstream=None, clock=None):
    """A started Farebox behind a real port, and mock vendors (pace 0) if the configuration has `mock`.

    `handler_cancellation` is aiohttp's: whether a handler is cancelled when its client leaves. With it all is aiohttp's;
    without it requests to models are the front's, as when Farebox is served.
    """
    async with contextlib.AsyncExitStack() as stack:
        mock = mock_url = None
        if config.get("mock") is not None:
            mock = MockVendors(pace=0)
            mock_url = await mock.start()
            stack.push_async_callback(mock.stop)
        farebox = Farebox(load(write_config(config, folder), mock_url), clock or SystemClock(), mock_url, upstream)
        farebox.tokenizer._encodings = ENCODINGS
        await farebox.start()
        stack.push_async_callback(farebox.stop)
        runner = web.AppRunner(
            application(farebox), handler_cancellation=handler_cancellation, shutdown_timeout=1, **HOW
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        fronts: set[Front] = set()
        handed = inside(farebox, runner.server)
        stack.push_async_callback(close_all, fronts, 1)
        server = await asyncio.get_running_loop().create_server(
            handed if handler_cancellation else lambda: Front(farebox, handed, fronts), "127.0.0.1", 0
        )
        stack.callback(server.close)
        http = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
        host, port = server.sockets[0].getsockname()[:2]
        yield Running(f"http://{host}:{port}", farebox, mock, http, runner.app, fronts)


# A vendor that says exactly what it is told to


class Call(NamedTuple):
    """A request as the vendor got it; names of headers are in lower case."""

    line: str
    headers: dict[str, str]
    body: bytes


async def a_few_turns():
    """Of the loop, in which the other end of a socket that is read in the same loop gets what was written."""
    for _ in range(4):
        await asyncio.sleep(0)


@dataclass
class RawVendor:
    """A vendor on a bare socket: answers every call with `pieces`, each its own chunk and its own write.

    With `whole` the pieces are one body with a length instead; with `cut` the connection ends without the last chunk.
    Between two pieces it waits for `between()`.
    """

    pieces: Sequence[bytes] = ()
    content_type: str = "application/json"
    headers: Sequence[str] = ()
    status: int = 200
    whole: bool = True
    cut: bool = False
    between: Any = None
    calls: list[Call] = field(default_factory=list)
    url: str = ""
    _server: Any = None

    def answers(self, body):
        self.pieces, self.content_type, self.whole, self.cut = [body], "application/json", True, False

    def streams(self, *pieces, cut=False):
        self.pieces, self.content_type, self.whole, self.cut = pieces, "text/event-stream", False, cut

    async def start(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def stop(self):
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader, writer):
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
            self.calls.append(Call(line, headers, await reader.readexactly(int(headers["content-length"]))))
            size = sum(map(len, self.pieces))
            length = f"Content-Length: {size}" if self.whole else "Transfer-Encoding: chunked"
            head = [
                f"HTTP/1.1 {self.status} Told",
                f"Content-Type: {self.content_type}",
                length,
                "Connection: close",
                *self.headers,
            ]
            writer.write("\r\n".join([*head, "", ""]).encode("latin-1"))
            for piece in self.pieces:
                writer.write(piece if self.whole else b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
                await (self.between or a_few_turns)()
            if not self.whole and not self.cut:
                writer.write(b"0\r\n\r\n")
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


# Guards


class NetworkUsed(AssertionError):
    """A test went beyond loopback."""


def guarded(connect):
    """`connect` of a socket, for loopback only."""

    def only_loopback(self, address, *rest):
        if self.family != socket.AF_UNIX:
            host = address[0]
            with contextlib.suppress(
                ValueError
            ):  # a name: that of this machine, or one that would have to be asked for
                if ipaddress.ip_address(host).is_loopback:
                    return connect(self, address, *rest)
            if host != "localhost":
                raise NetworkUsed(f"tests have no network beyond loopback, and this one wants {host}")
        return connect(self, address, *rest)

    return only_loopback


def stray_tasks():
    """Tasks of this repository's own code that still run in the current loop."""
    found = []
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        code = getattr(task.get_coro(), "cr_code", None)
        if code is not None and Path(code.co_filename).is_relative_to(ROOT / "router"):
            found.append(task)
    return found
