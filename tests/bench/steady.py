"""An open-loop loader: requests leave on a timetable, whatever has become of those before them. A stream is timed until its
first word.

wrk waits for an answer before it sends the next request on a connection. A proxy that stalls thereby slows its own load
down, and the requests that would have met the stall are never sent, so that a closed loop shows a p99 that is too good.
Here a stall of 20 ms at 500 requests a second is met by ten requests. Each slot of the timetable has one request, at a
random place in it, so that the load is steady but never in step with a timer. Time runs from the moment a request is
written, since what this loader is late by is not the proxy's; the time for which the vendor says that it held the
request is taken off; and what loader and vendor cost themselves is in every target alike.
"""

import asyncio
import gc
import random
import re
import time
from dataclasses import dataclass, field

_HELD = re.compile(rb'"held_us":(\d+)')


class Broken(Exception):
    """An answer that is not a 200, or none."""


class Connection(asyncio.Protocol):
    """One kept-alive connection: a request, its answer, the time between."""

    def __init__(self):
        self.transport = None
        self.buffer = bytearray()
        self.sent = self.first = 0.0
        self.done = None

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, error):
        if self.done is not None and not self.done.done():
            self.done.set_exception(Broken(f"the connection ended: {error}"))

    def ask(self, request):
        self.buffer.clear()
        self.done = asyncio.get_running_loop().create_future()
        self.first = 0.0
        self.sent = time.perf_counter()
        self.transport.write(request)
        return self.done

    def data_received(self, data):
        self.buffer += data
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0 or self.done is None or self.done.done():
            return
        headers = bytes(self.buffer[:head]).lower()
        if not self.first and _HELD.search(self.buffer, head):
            self.first = time.perf_counter()
        at = headers.find(b"content-length:")
        if at >= 0:
            whole = len(self.buffer) >= head + 4 + int(headers[at + 15 :].split(b"\r\n", 1)[0])
        else:
            whole = self.buffer.endswith(b"0\r\n\r\n")
        if whole:
            took = (self.first if b"text/event-stream" in headers else time.perf_counter()) - self.sent
            if held := _HELD.search(self.buffer):
                took -= int(held[1]) / 1e6
            if headers.split(b" ", 2)[1] == b"200":
                self.done.set_result(took)
            else:
                self.done.set_exception(Broken(bytes(self.buffer[:300]).decode("utf-8", "replace")))


def request(method, path, headers, body=b""):
    lines = [f"{method} {path} HTTP/1.1", "Host: bench", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def connect(port):
    _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    return connection


@dataclass
class Load:
    """What came of a load: seconds each, without the time that the vendor held it, and what went wrong."""

    took: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def percentile(self, share):
        return percentile(self.took, share)


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


async def steady(port, message, rate, seconds, connections=96, warm_s=0.5):
    """`rate` requests a second for `seconds`, one in each slot of 1/`rate`; the first `warm_s` are not kept."""
    idle = [await connect(port) for _ in range(connections)]
    every, load, waiting = list(idle), Load(), set()

    async def one(keep):
        connection = idle.pop() if idle else await connect(port)
        if connection not in every:
            every.append(connection)
        try:
            took = await connection.ask(message)
        except Broken as error:
            load.errors.append(str(error))
            return
        if keep:
            load.took.append(took)
        idle.append(connection)

    gc.collect()
    gc.disable()
    draw = random.Random(rate)
    start = time.perf_counter()
    try:
        for i in range(int(rate * (seconds + warm_s))):
            due = start + (i + draw.random()) / rate
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            load.late.append(time.perf_counter() - due)
            task = asyncio.create_task(one(i >= rate * warm_s))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
        await asyncio.wait_for(asyncio.gather(*waiting), 30)
    finally:
        gc.enable()
        for connection in every:
            connection.transport.close()
    return load


async def probe(port, message, path, floor_s=0.5):
    """The latencies of GET `path`, one after the other: (for `floor_s` without load, while `message` is answered)."""
    health, big = await connect(port), await connect(port)
    look, floor, during = request("GET", path, {}), [], []
    try:
        until = time.perf_counter() + floor_s
        while time.perf_counter() < until:
            floor.append(await health.ask(look))
            await asyncio.sleep(0.001)
        answer = big.ask(message)
        while not answer.done():
            during.append(await health.ask(look))
            await asyncio.sleep(0.001)
        took = await answer
    finally:
        health.transport.close()
        big.transport.close()
    return floor, during, took
