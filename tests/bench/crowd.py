"""Ten thousand streams at once through one Farebox, and five thousand connections in one moment.

    python tests/bench/crowd.py [--streams N] [--burst N] [--json]

The vendor is a process of its own that answers each request with a few words, then nothing but a word every 20 seconds
until it is told to go on. What a stream costs is the growth of Farebox's resident memory, once all of them are open and
each client has its first words, divided by their number; what the kernel keeps for sockets is not in it. At the end each
stream is finished and counted: every client must have got all of its words, and the ledger a row for each.
"""

import argparse
import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import ClassVar

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from steady import request

KEY = "fb-bench-key"
WORDS = 8  # before the pause
PAUSE_S = 20
OPENING = 250  # connections that are opened at once


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(told):
    return b"data: " + json.dumps(told).encode() + b"\n\n"


BASE = {"id": "chatcmpl-crowd", "object": "chat.completion.chunk", "created": 1795000000, "model": "small"}
WORD = event({**BASE, "choices": [{"index": 0, "delta": {"content": " word"}, "finish_reason": None}]})
USAGE = {"prompt_tokens": 20, "completion_tokens": WORDS + 1, "total_tokens": 21 + WORDS}
END = event({**BASE, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
END += event({**BASE, "choices": [], "usage": USAGE}) + b"data: [DONE]\n\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
PLAIN = json.dumps(
    {
        **BASE, "object": "chat.completion", "usage": USAGE,
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "a word"}}],
    }
).encode()  # fmt: skip


class Vendor(asyncio.Protocol):
    """One connection to the vendor; requests come whole, in one or two segments."""

    open: ClassVar[set] = set()

    def connection_made(self, transport):
        self.transport, self.seen = transport, b""

    def connection_lost(self, error):
        self.open.discard(self)

    def data_received(self, data):
        self.seen += data
        head, _, body = self.seen.partition(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
        )
        if len(body) < length:
            return
        self.seen = b""
        if b'"stream":true' not in body.replace(b" ", b""):
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
            self.transport.write(b"Content-Length: %d\r\n\r\n%b" % (len(PLAIN), PLAIN))
            return
        self.transport.write(HEAD + b"".join(chunk(WORD) for _ in range(WORDS)))
        self.open.add(self)

    @classmethod
    def finish(cls):
        for one in list(cls.open):
            one.transport.write(chunk(WORD) + chunk(END) + chunk(b""))
        cls.open.clear()


async def vendor(port):
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, Vendor.finish)
    server = await loop.create_server(Vendor, "127.0.0.1", port, backlog=4096)
    async with server:
        while True:
            await asyncio.sleep(PAUSE_S)
            for one in list(Vendor.open):
                one.transport.write(chunk(b": still there\n\n"))


class Client(asyncio.Protocol):
    """One stream, as its client sees it."""

    def __init__(self, message, waiting):
        self.message, self.waiting = message, waiting
        self.begun = asyncio.get_running_loop().create_future()
        self.ended = asyncio.get_running_loop().create_future()
        self.status, self.words, self.whole = b"", 0, False

    def connection_made(self, transport):
        self.transport = transport
        transport.write(self.message)

    def data_received(self, data):
        if not self.status:
            self.status = data[9:12]
        self.words += data.count(b'" word"')
        self.whole = self.whole or b"[DONE]" in data
        if self.words >= self.waiting and not self.begun.done():
            self.begun.set_result(None)
        if (self.whole or self.status != b"200" or not self.waiting) and not self.ended.done():
            self.ended.set_result(None)
            if not self.begun.done():
                self.begun.set_result(None)

    def connection_lost(self, error):
        for future in (self.begun, self.ended):
            if not future.done():
                future.set_result(None)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def memory_kb(pid):
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(lines["VmRSS"].split()[0])


@contextlib.contextmanager
def child(*command, **more):
    process = subprocess.Popen([sys.executable, *map(str, command)], stdin=subprocess.DEVNULL, **more)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def ready(port):
    for _ in range(2000):
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /health/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            status = await reader.readline()
            writer.close()
            if b" 200 " in status:
                return
        await asyncio.sleep(0.01)
    raise SystemExit("Farebox is not ready")


def configuration(folder, port, vendor_port):
    price = {"currency": "USD", "input": 1, "output": 2}
    return {
        "server": {"port": port, "drain": "60s"},
        "store": f"sqlite:///{folder}/farebox.db",
        "vendors": {
            "crowd": {"dialect": "openai", "base_url": f"http://127.0.0.1:{vendor_port}/v1", "api_key": "sk-crowd"}
        },
        "models": {"small": {"vendor": "crowd", "tier": "cheap", "price": price}},
        "teams": {
            "bench": {
                "keys": [{"name": "bench", "value": KEY}], "models": ["small"],
                "budgets": [{"limit": 1_000_000, "per": "month"}],
            }
        },
    }  # fmt: skip


def message(**more):
    body = json.dumps(
        {"model": "small", "max_tokens": 50, "messages": [{"role": "user", "content": "hello there"}], **more}
    ).encode()
    return request(
        "POST", "/v1/chat/completions", {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}, body
    )


async def open_all(port, told, count, waiting, at_once):
    """Clients, each past its first words; how long it took."""
    loop, gate, began = asyncio.get_running_loop(), asyncio.Semaphore(at_once), time.perf_counter()
    failed = Counter()

    async def one():
        async with gate:
            try:
                _, client = await loop.create_connection(lambda: Client(told, waiting), "127.0.0.1", port)
            except OSError as error:
                failed[type(error).__name__] += 1
                return None
            await client.begun
            return client

    clients = [client for client in await asyncio.gather(*(one() for _ in range(count))) if client]
    return clients, time.perf_counter() - began, failed


async def measure(args, port, farebox, vendor_pid, store):
    told, out = message(stream=True), {}
    warm, _, _ = await open_all(port, told, 50, WORDS, 50)
    os.kill(vendor_pid, signal.SIGUSR1)
    await asyncio.gather(*(client.ended for client in warm))
    for client in warm:
        client.transport.abort()
    await asyncio.sleep(0.5)
    before = memory_kb(farebox)
    clients, took, failed = await open_all(port, told, args.streams, WORDS, OPENING)
    statuses = Counter(client.status.decode() for client in clients)
    await asyncio.sleep(2)
    out["streams"] = {
        "open": statuses["200"], "others": dict(statuses - Counter({"200": statuses["200"]})) | dict(failed),
        "opened_in_s": round(took, 1), "memory_before_mb": round(before / 1024),
        "memory_with_them_mb": round(memory_kb(farebox) / 1024),
        "kb_each": round((memory_kb(farebox) - before) / max(1, statuses["200"]), 1),
    }  # fmt: skip
    began = time.perf_counter()
    os.kill(vendor_pid, signal.SIGUSR1)
    await asyncio.gather(*(client.ended for client in clients))
    served = [client for client in clients if client.status == b"200"]
    out["streams"]["whole"] = sum(client.whole and client.words == WORDS + 1 for client in served)
    out["streams"]["finished_in_s"] = round(time.perf_counter() - began, 1)
    for client in clients:
        client.transport.abort()
    await asyncio.sleep(1)
    crowd, took, failed = await open_all(port, message(), args.burst, 0, args.burst)
    await asyncio.gather(*(client.ended for client in crowd))
    out["burst"] = {
        "answers": dict(Counter(client.status.decode() or "none" for client in crowd)) | dict(failed),
        "in_s": round(took, 1), "memory_after_mb": round(memory_kb(farebox) / 1024),
    }  # fmt: skip
    for client in crowd:
        client.transport.abort()
    await asyncio.sleep(1)
    with contextlib.closing(sqlite3.connect(store)) as ledger:
        out["rows"] = dict(ledger.execute("SELECT outcome, count(*) FROM ledger GROUP BY outcome").fetchall())
        out["left_open"] = ledger.execute("SELECT count(*) FROM attempts").fetchone()[0]
    return out


async def main(args):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (65536, max(hard, 65536)))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if args.streams > (most := (hard - 160) // 2):
        print(f"this machine allows a process {hard} files: {most} streams, each with two", file=sys.stderr)
        args.streams = most
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        port, vendor_port = free_port(), free_port()
        config = configuration(folder, port, vendor_port)
        file = Path(folder) / "farebox.yaml"
        file.write_text(yaml.safe_dump(config))
        log = stack.enter_context((Path(folder) / "farebox.log").open("wb"))
        source = str(Path(__file__).resolve().parent.parent.parent)
        vendor_child = stack.enter_context(child(__file__, "--vendor", vendor_port))
        farebox = stack.enter_context(
            child(
                "-m", "router", "serve", "--config", file, cwd=folder, stdout=log, stderr=log,
                env={**os.environ, "PYTHONPATH": source},
            )
        )  # fmt: skip
        await ready(port)
        found = await measure(args, port, farebox.pid, vendor_child.pid, Path(folder) / "farebox.db")
        found["running"] = farebox.poll() is None
        if args.keep:
            print(Path(folder, "farebox.log").read_text()[-3000:], file=sys.stderr)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--burst", type=int, default=5_000)
    parser.add_argument("--json", action="store_true", help="one line, for machines")
    parser.add_argument("--keep", action="store_true", help="show the end of Farebox's log")
    parser.add_argument("--vendor", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    with contextlib.suppress(ImportError):
        import uvloop

        uvloop.install()
    if asked.vendor:
        asyncio.run(vendor(asked.vendor))
    else:
        found = asyncio.run(main(asked))
        print(json.dumps(found) if asked.json else yaml.safe_dump(found, sort_keys=False))
