"""Streams whose type says something else, and plain answers whose type says stream: what comes is told by what it is."""

import json

import pytest
from support import small_config

SAY = [{"role": "user", "content": "hello"}]
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
PARTS = [
    b'data: {"choices":[{"index":0,"delta":{"content":"Hello"}}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    b'data: {"choices":[],"usage":' + json.dumps(USAGE).encode() + b"}\n\n",
    b"data: [DONE]\n\n",
]
WHOLE = {"choices": [{"index": 0, "message": {"content": "Hello"}, "finish_reason": "stop"}], "usage": USAGE}
TYPES = [
    "text/event-stream;charset=utf-8",
    "TEXT/EVENT-STREAM",
    "Text/Event-Stream; Charset=UTF-8",
    "application/octet-stream",
    "application/json",
    "text/plain; charset=utf-8",
    "text/html",
    "",
]


@pytest.fixture
async def ask(running, vendor, tmp_path):
    """Ask a vendor whose answer has this type."""
    client = {"lean": None, "aiohttp": None}

    async def make(pieces, kind, *, whole=False, http="lean", path="/v1/chat/completions", **body):
        vendor.pieces, vendor.whole, vendor.cut = pieces, whole, False
        vendor.content_type = kind
        if client[http] is None:
            client[http] = await running(small_config(tmp_path, vendor.url, server={"port": 0, "http_client": http}))
        on = client[http]
        asked = {"model": "small", "messages": SAY, "max_tokens": 50, **body}
        async with on.post(path, json=asked) as reply:
            make.cost = reply.headers.get("x-farebox-cost")
            return reply.status, reply.headers["content-type"], await reply.read(), (await on.rows())[-1]

    return make


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize("http", ["lean", "aiohttp"])
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("before", [b"", b": hello\n\n", b"\n"], ids=["at once", "comment", "blank"])
async def test_a_stream_is_one_whatever_its_type_says(ask, kind, http, path, before):
    pieces = [before, *PARTS] if before else PARTS
    status, told, body, row = await ask(pieces, kind, http=http, path=path, stream=True)
    assert status == 200
    assert "event-stream" in told.lower()
    assert b"Hello" in body
    assert (row["outcome"], row["basis"], row["cost"]) == ("ok", "reported", 20_000)


@pytest.mark.parametrize("kind", TYPES[:2])
async def test_the_type_of_a_stream_passes_where_it_is_true(ask, kind):
    assert (await ask(PARTS, kind, stream=True))[1] == kind


async def test_a_stream_in_single_bytes_without_a_type_is_one(ask):
    pieces = [bytes([byte]) for byte in b"".join(PARTS)]
    status, _, body, row = await ask(pieces, "", stream=True)
    assert (status, row["basis"]) == (200, "reported")
    assert b"Hello" in body


@pytest.mark.parametrize("kind", ["application/json", "", "text/plain"])
async def test_a_plain_answer_to_a_stream_is_played_whatever_its_type_says(ask, kind):
    status, told, body, row = await ask([json.dumps(WHOLE).encode()], kind, whole=True, stream=True)
    assert (status, told) == (200, "text/event-stream")
    assert b"Hello" in body
    assert b"data: [DONE]" in body
    assert ask.cost == "0.00002"  # known before the head goes out
    assert (row["outcome"], row["basis"], row["cost"]) == ("ok", "reported", 20_000)


@pytest.mark.parametrize("kind", TYPES)
async def test_what_is_neither_is_the_vendors_failure(ask, kind):
    status, _, _, row = await ask([b"<html>Welcome to the hotel</html>"], kind, whole=True, stream=True)
    assert status == 502
    assert row["outcome"] == "error"
