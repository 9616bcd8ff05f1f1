"""What the tests of the mock's wires share."""

import json
import re

import aiohttp

WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 7}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
CLOCK = {"type": "object", "properties": {"zone": {"type": "string"}}, "required": ["zone"]}


async def post(http, url, body, **headers):
    """Status, headers and the parsed body (or its bytes where it is not JSON)."""
    async with http.post(url, json=body, headers=headers) as reply:
        raw = await reply.read()
        try:
            return reply.status, reply.headers, json.loads(raw)
        except ValueError:
            return reply.status, reply.headers, raw


async def streamed(http, url, body, **headers):
    """All bytes that arrived, and whether the stream ended as HTTP wants it to."""
    got = b""
    async with http.post(url, json=body, headers=headers) as reply:
        assert reply.status == 200, await reply.read()
        try:
            async for data in reply.content.iter_any():
                got += data
        except aiohttp.ClientError:
            return got, False
    return got, True


def events(raw):
    """(name or None, data) of each server-sent event."""
    told = []
    for block in re.split(rb"\r?\n\r?\n", raw):
        lines = dict(line.split(b": ", 1) for line in block.splitlines() if line and not line.startswith(b":"))
        if b"data" in lines:
            data = lines[b"data"]
            told.append((lines[b"event"].decode() if b"event" in lines else None, json.loads(data)))
    return told


def counts(line):
    return line.input_tokens, line.cached_tokens, line.output_tokens, line.reasoning_tokens
