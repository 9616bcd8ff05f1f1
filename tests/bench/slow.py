"""A vendor that thinks for 50 ms and says in its answer for how long exactly it held the request.

    slow.py PORT MILLISECONDS

A timer is never exact to the millisecond, so the wait is told by the one who waited (`held_us`) and taken off each
request: what is left is the way there and back, to the microsecond. A stream begins with a word after that time, and goes on at once.
"""

import asyncio
import json
import sys
import time

import uvloop
import vendor

PORT, WAIT_S = int(sys.argv[1]), int(sys.argv[2]) / 1000
ANSWER = json.dumps({**vendor.ANSWER, "held_us": "@"}, separators=(",", ":"))
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def event(delta, finish=None, **more):
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    told = {**vendor.BASE, "object": "chat.completion.chunk", "choices": [choice], **more}
    return f"data: {json.dumps(told, separators=(',', ':'))}\n\n"


FIRST = event({"role": "assistant", "content": "one"}, held_us="@")
REST = event({"content": " two"}) + event({}, "stop") + event({}, usage=vendor.USAGE, choices=[]) + "data: [DONE]\n\n"


def chunk(text):
    return b"%x\r\n%b\r\n" % (len(text), text.encode())


def answer(body):
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


class Slow(asyncio.Protocol):
    """One connection; requests on it come one after the other."""

    def connection_made(self, transport):
        self.transport = transport
        self.buffer = bytearray()

    def data_received(self, data):
        self.buffer += data
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        headers = bytes(self.buffer[:head]).lower()
        at = headers.find(b"content-length:")
        size = int(headers[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self.buffer) < head + 4 + size:
            return
        streams = b'"stream":true' in bytes(self.buffer).replace(b" ", b"")
        self.buffer.clear()
        if headers.startswith(b"get"):
            self.transport.write(answer(b"ok"))
        else:
            reply = self.stream if streams else self.reply
            asyncio.get_running_loop().call_later(WAIT_S, reply, time.perf_counter())

    def stream(self, came):
        held = round((time.perf_counter() - came) * 1e6)
        self.transport.write(HEAD + chunk(FIRST.replace('"@"', str(held))))
        self.transport.write(chunk(REST) + b"0\r\n\r\n")

    def reply(self, came):
        held = round((time.perf_counter() - came) * 1e6)
        self.transport.write(answer(ANSWER.replace('"@"', str(held)).encode()))


async def main():
    server = await asyncio.get_running_loop().create_server(Slow, "127.0.0.1", PORT, backlog=1024)
    await server.serve_forever()


uvloop.install()
asyncio.run(main())
