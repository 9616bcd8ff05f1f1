"""Requests at a steady rate while one process after the other takes over: how many failed, and how long they took.

    python tests/bench/takeover.py [--rate 500] [--times 20] [--json]

The loader is open: a request leaves on its timetable whatever has become of those before it, so one that has to wait for a
restart is seen as late and does not slow the load down. Connections are kept alive, and a tenth of the requests make one
of their own. At the end the ledger must have one row for each answer, and the vendor's bill the same sum.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from crowd import END, HEAD, PLAIN, USAGE, WORD, child, chunk, free_port
from steady import percentile, request
from support import KEY, FareboxProcess, small_config

COST = USAGE["prompt_tokens"] * 1000 + USAGE["completion_tokens"] * 2000  # nano-units of each answer


class Vendor(asyncio.Protocol):
    """Answers after 10 to 50 ms; a stream takes as long again."""

    count = 0

    def connection_made(self, transport):
        self.transport, self.seen = transport, b""

    def data_received(self, data):
        self.seen += data
        head, _, body = self.seen.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        if len(body) < next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length")):
            return
        self.seen = b""
        Vendor.count += 1
        later, wait = asyncio.get_running_loop().call_later, 0.01 + Vendor.count % 40 / 1000
        if b'"stream":true' in body.replace(b" ", b""):
            later(wait, self.transport.write, HEAD + chunk(WORD))
            later(2 * wait, self.transport.write, chunk(WORD) + chunk(END) + chunk(b""))
        else:
            plain = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(PLAIN)
            later(wait, self.transport.write, plain + PLAIN)


async def vendor(port):
    server = await asyncio.get_running_loop().create_server(Vendor, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


async def listens(port):
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.01)
        else:
            writer.close()
            return


class Client(asyncio.Protocol):
    """One kept-alive connection: a request, its answer, and whether another may follow."""

    def __init__(self):
        self.seen, self.done, self.alive = bytearray(), None, True

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, error):
        self.alive = False
        if self.done is not None and not self.done.done():
            self.done.set_result(f"lost: {error}")

    def ask(self, message):
        self.seen.clear()
        self.done = asyncio.get_running_loop().create_future()
        self.transport.write(message)
        return self.done

    def data_received(self, data):
        self.seen += data
        head, found, body = bytes(self.seen).partition(b"\r\n\r\n")
        head = head.lower()
        if not found or self.done is None or self.done.done():
            return
        at = head.find(b"content-length:")
        whole = len(body) >= int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else body.endswith(b"\r\n0\r\n\r\n")
        if whole:
            self.alive = b"connection: close" not in head
            status = head[9:12].decode()
            right = b'"usage"' in body or b"[DONE]" in body
            self.done.set_result(status if status == "200" and right else f"{status} {body[:160].decode()}")


async def load(port, rate, going, found):
    """Requests on a timetable until `going` is cleared."""
    loop, waiting, idle, began, n = asyncio.get_running_loop(), set(), [], time.perf_counter(), 0
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    body = {"model": "small", "messages": [{"role": "user", "content": "hello there"}], "max_tokens": 20}
    plain, streamed = (
        request("POST", "/v1/chat/completions", headers, json.dumps({**body, "stream": stream}).encode())
        for stream in (False, True)
    )

    async def one(n, due):
        client = None
        while idle and n % 10 and client is None:
            client = found_idle if (found_idle := idle.pop()).alive else None
        try:
            if client is None:
                _, client = await loop.create_connection(Client, "127.0.0.1", port)
            result = await client.ask(streamed if n % 4 == 0 else plain)
        except OSError as error:
            result = type(error).__name__
        found["results"][result] += 1
        found["took"].append(time.perf_counter() - due)
        if client is not None and client.alive and n % 10:
            idle.append(client)
        elif client is not None:
            client.transport.close()

    while going.is_set():
        due = began + n / rate
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(one(n, due))
        waiting.add(task)
        task.add_done_callback(waiting.discard)
        n += 1
    await asyncio.gather(*waiting)
    found["asked"] = n
    for client in idle:
        client.transport.close()


async def main(args):
    found = {"results": Counter(), "took": []}
    vendor_port = free_port()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        stack.enter_context(child(__file__, "--vendor", vendor_port))
        await listens(vendor_port)
        config = small_config(folder, f"http://127.0.0.1:{vendor_port}/v1")
        config["teams"]["search"]["budgets"] = [{"limit": 1_000_000, "per": "total"}]
        process = await asyncio.to_thread(stack.enter_context, FareboxProcess(config, Path(folder)))
        going = asyncio.Event()
        going.set()
        loading = asyncio.create_task(load(int(process.url.rpartition(":")[2]), args.rate, going, found))
        await asyncio.sleep(1)
        began, codes = time.perf_counter(), Counter()
        for _ in range(args.times):
            after = FareboxProcess(config, Path(folder), "--takeover")
            await asyncio.to_thread(stack.enter_context, after)
            codes[await asyncio.to_thread(process.child.wait, 60)] += 1
            process = after
        took = time.perf_counter() - began
        await asyncio.sleep(1)
        going.clear()
        await loading
        rows = await asyncio.to_thread(process.rows)
    return {
        "takeovers": args.times, "each_s": round(took / args.times, 2), "exit_codes": dict(codes), "asked": found["asked"],
        "rate": round(args.rate), "results": dict(found["results"]), "failed": found["asked"] - found["results"]["200"],
        "rows": len(rows), "each_answer_has_its_row": len(rows) == found["results"]["200"] and all(row["cost"] == COST for row in rows),
        "p50_ms": round(percentile(found["took"], 0.5) * 1000), "p99_ms": round(percentile(found["took"], 0.99) * 1000),
        "slowest_ms": round(max(found["took"]) * 1000),
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--json", action="store_true", help="one line, for machines")
    parser.add_argument("--vendor", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    with contextlib.suppress(ImportError):
        import uvloop

        uvloop.install()
    if asked.vendor:
        asyncio.run(vendor(asked.vendor))
        sys.exit(0)
    told = asyncio.run(main(asked))
    print(json.dumps(told) if asked.json else yaml.safe_dump(told, sort_keys=False))
    sys.exit(told["failed"] != 0)
