"""The server in front: what it answers itself, what it hands to aiohttp, and that nobody can tell which."""

import asyncio
import contextlib
import gzip
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import KEY, serving, small_config

from router.front import _head
from router.incoming import MAX_HEAD, read_head

ASK = json.dumps({"model": "small", "messages": [{"role": "user", "content": "hello"}]}).encode()
AUTH = f"Authorization: Bearer {KEY}\r\n"


def post(body=ASK, more=AUTH, line="POST /v1/chat/completions HTTP/1.1", *, length=True):
    head = f"{line}\r\nHost: x\r\n{more}"
    return (head + (f"Content-Length: {len(body)}\r\n" if length else "") + "\r\n").encode() + body


@contextlib.asynccontextmanager
async def behind(vendor, tmp_path, *, models=None, routes=None, **how):
    vendor.answers(
        json.dumps(
            {
                "id": "a1", "object": "chat.completion", "created": 1, "model": "m",
                "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
            }
        ).encode()
    )  # fmt: skip
    changes = {"models": models, "routes": routes} if models else {}
    async with serving(small_config(tmp_path, vendor.url, **changes), tmp_path, **how) as farebox:
        yield farebox


@pytest.fixture
async def on(vendor, tmp_path):
    async with behind(vendor, tmp_path) as farebox:
        yield farebox


@contextlib.asynccontextmanager
async def connected(farebox):
    host, port = farebox.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def answer(reader):
    """(status line, headers, body) of the next answer on a connection; None if it ends."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    line, *lines = head[:-4].split("\r\n")
    headers = dict(one.lower().split(": ", 1) for one in lines if one)
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
        return line, headers, body
    return line, headers, await reader.readexactly(int(headers.get("content-length", "0")))


def told(found):
    """An answer without what differs each time and from server to server."""
    if found is None:
        return None
    line, headers, body = found
    names = {name for name in headers if name.startswith("x-farebox")} | {
        "content-type",
        "retry-after",
    } & headers.keys()
    same = re.sub(rb'fb-[0-9a-f]+|"created":\d+', b"", body) if b"chat.completion" in body else b""
    return line.split(" ")[1], sorted(names), same


ODD = {
    "plain": post(),
    "a stream": post(json.dumps({**json.loads(ASK), "stream": True}).encode()),
    "without a key": post(more=""),
    "a key in x-api-key": post(more=f"X-API-KEY: {KEY}\r\n"),
    "a wish": post(more=AUTH + "X-Farebox-Tags: a=b\r\n"),
    "an unknown wish": post(more=AUTH + "x-farebox-tier: royal\r\n"),
    "not JSON": post(b"{"),
    "no body": post(b""),
    "a body in chunks": post(more=AUTH + "Transfer-Encoding: chunked\r\n", body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(ASK), ASK), length=False),
    "a packed body": post(gzip.compress(ASK), more=AUTH + "Content-Encoding: gzip\r\n"),
    "a body of unknown length": post(length=False, body=b""),
    "two lengths": post(more=AUTH + "Content-Length: 3\r\n"),
    "a length that is none": post(more=AUTH + "Content-Length: -1\r\n", length=False),
    "a query": post(line="POST /v1/chat/completions?a=b HTTP/1.1"),
    "an unknown path": post(line="POST /v1/chat HTTP/1.1"),
    "another method": post(line="PUT /v1/chat/completions HTTP/1.1"),
    "HTTP/1.0": post(line="POST /v1/chat/completions HTTP/1.0"),
    "HTTP/9": post(line="POST /v1/chat/completions HTTP/9"),
    "a space too many": post(line="POST  /v1/chat/completions HTTP/1.1"),
    "a bad name": post(more=AUTH + "bad name: x\r\n"),
    "a folded header": post(more=AUTH + "a: b\r\n c\r\n"),
    "a bare line feed": post(more=AUTH + "a: b\nc: d\r\n"),
    "bytes that are no UTF-8": post().replace(b"Host: x", b"Host: \xff"),
    "a null": post().replace(b"Host: x", b"Host: \x00"),
    "a head that is too long": post(more=AUTH + f"a: {'x' * 9000}\r\n"),
    "close": post(more=AUTH + "Connection: close\r\n"),
    "several tokens": post(more=AUTH + "Connection: keep-alive, x\r\n"),
    "a list of models": post(b"", line="GET /v1/models HTTP/1.1", length=False),
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
async def test_an_answer_is_the_same_whoever_gives_it(vendor, tmp_path, name):
    found = []
    for handler_cancellation in (False, True):  # with it all is aiohttp's
        (tmp_path / str(handler_cancellation)).mkdir()
        how = {"handler_cancellation": handler_cancellation}
        async with behind(vendor, tmp_path / str(handler_cancellation), **how) as on, connected(on) as (reader, writer):
            writer.write(ODD[name])
            found.append(told(await answer(reader)))
    assert found[0] == found[1] is not None


NOT_HTTP = {
    "a method that is none": post(line="P@ST /v1/chat/completions HTTP/1.1"),
    "another version": post(line="POST /v1/chat/completions HTTP/9"),
    "a bad header": post(more=f"Authorization: Bearer {KEY}\x00\r\n"),
    "a line that is too long": post(more=AUTH + f"a: {'x' * 9000}\r\n"),
    "two lengths": post(more=AUTH + "Content-Length: 3\r\n"),
    "chunks that are none": post(more=AUTH + "Transfer-Encoding: chunked\r\n", body=b"zz\r\n", length=False),
    "brotli": post(more=AUTH + "Content-Encoding: br\r\n"),
    "another encoding": post(more=AUTH + "Content-Encoding: rot13\r\n"),
}


@pytest.mark.parametrize("path", ["chat/completions", "messages", "messages/count_tokens", "responses"])
@pytest.mark.parametrize("name", NOT_HTTP)
async def test_what_is_no_request_is_told_so_in_the_dialect_of_its_path(on, name, path, caplog):
    async with connected(on) as (reader, writer):
        writer.write(NOT_HTTP[name].replace(b"/v1/chat/completions", b"/v1/" + path.encode()))
        line, headers, body = await answer(reader)
    assert line.split(" ", 1)[1] == "400 Bad Request"
    assert headers["content-type"] == "application/json" and headers["x-farebox-request-id"].startswith("fb-")
    told = json.loads(body)
    assert told.get("type") == ("error" if path.startswith("messages") else None)
    assert told["error"]["code"] == "invalid_request" and told["error"]["message"]
    assert KEY not in body.decode() and KEY not in caplog.text


@pytest.mark.parametrize("raw", [b"GARBAGE\r\n\r\n", b"GET /nowhere HTTP/9\r\n\r\n"])
async def test_what_has_no_path_of_the_api_is_told_in_json_too(on, raw):
    async with connected(on) as (reader, writer):
        writer.write(raw)
        assert json.loads((await answer(reader))[2])["error"]["code"] == "invalid_request"


async def test_expecting_to_be_told_to_go_on_is(on):
    async with connected(on) as (reader, writer):
        writer.write(post(more=AUTH + "Expect: 100-continue\r\n")[: -len(ASK)])
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(ASK)
        assert (await answer(reader))[0] == "HTTP/1.1 200 OK"


@pytest.mark.parametrize("size", [1, 7, 100])
async def test_a_request_may_come_in_any_pieces(on, size):
    raw = post() + post()
    async with connected(on) as (reader, writer):
        for at in range(0, len(raw), size):
            writer.write(raw[at : at + size])
            await asyncio.sleep(0)
        for _ in range(2):
            assert (await answer(reader))[0] == "HTTP/1.1 200 OK"


async def test_requests_that_come_at_once_are_answered_one_after_the_other(on):
    asked = [json.dumps({**json.loads(ASK), "stream": i % 2 == 0}).encode() for i in range(4)]
    async with connected(on) as (reader, writer):
        writer.write(b"".join(map(post, asked)))
        kinds = [(await answer(reader))[1]["content-type"] for _ in asked]
    assert kinds == ["text/event-stream", "application/json"] * 2  # this vendor answers whole, also who wanted a stream
    assert len(await on.rows()) == 4


async def test_a_connection_goes_to_aiohttp_for_another_kind_of_request_and_serves_models_there_too(on):
    async with connected(on) as (reader, writer):
        for raw, ours in ((post(), 1), (b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n", 0), (post(), 0)):
            writer.write(raw)
            line, _, body = await answer(reader)
            assert line == "HTTP/1.1 200 OK" and body
            assert len(on.fronts) == ours
    assert len(await on.rows()) == 2


async def test_pipelined_after_a_request_to_a_model_another_kind_keeps_its_turn(on):
    async with connected(on) as (reader, writer):
        writer.write(post() + b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n" + post())
        bodies = [(await answer(reader))[2] for _ in range(3)]
    assert [b"chat.completion" in body for body in bodies] == [True, False, True] and bodies[1] == b"ok\n"


async def test_a_refused_body_is_read_so_that_the_connection_can_be_used_again(on):
    body = b"x" * 500_000
    async with connected(on) as (reader, writer):
        raw = post(body, more="")
        writer.write(raw[:1000])
        assert (await answer(reader))[0] == "HTTP/1.1 401 Unauthorized"
        writer.write(raw[1000:] + post())
        assert (await answer(reader))[0] == "HTTP/1.1 200 OK"


async def test_a_large_body_is_taken_at_the_pace_of_its_reader(on):
    body = json.dumps({"model": "small", "messages": [{"role": "user", "content": "hello " * 200_000}]}).encode()
    async with connected(on) as (reader, writer):
        writer.write(post(body) + post())
        for _ in range(2):
            assert (await answer(reader))[0] == "HTTP/1.1 200 OK"


async def test_who_asks_for_the_end_of_the_connection_gets_it_and_so_does_everybody_once_we_leave(on):
    async with connected(on) as (reader, writer):
        writer.write(post(more=AUTH + "Connection: close\r\n"))
        assert (await answer(reader))[1]["connection"] == "close"
        assert await reader.read() == b""
    async with connected(on) as (reader, writer):
        on.farebox.leaving = True
        writer.write(post())
        assert (await answer(reader))[1]["connection"] == "close"
        assert await reader.read() == b""
    assert not on.fronts


async def test_a_stream_that_began_before_we_leave_does_not_take_its_connection_with_it(on, vendor):
    go = asyncio.Event()
    vendor.streams(b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n', b"data: [DONE]\n\n")
    vendor.between = go.wait
    async with connected(on) as (reader, writer):
        writer.write(post(json.dumps({**json.loads(ASK), "stream": True}).encode()))
        await reader.readuntil(b"hi")
        on.farebox.leaving = True
        go.set()
        await reader.readuntil(b"\r\n0\r\n\r\n")
        writer.write(post())  # its client was not told
        assert (await answer(reader))[1]["connection"] == "close"


async def test_a_connection_that_nobody_uses_is_let_go(on):
    async with connected(on) as (reader, writer):
        writer.write(post())
        await answer(reader)
        (front,) = on.fronts
        front._close_idle()
        assert on.fronts  # it was used just now
        front._idle_since -= 100
        front._close_idle()
        assert await reader.read() == b""
    assert not on.fronts


async def test_a_client_that_leaves_is_charged_for_what_it_asked(on, vendor):
    go = asyncio.Event()
    vendor.streams(b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n', b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}\n\n', b"data: [DONE]\n\n")  # fmt: skip
    vendor.between = go.wait
    async with connected(on) as (reader, writer):
        writer.write(post(json.dumps({**json.loads(ASK), "stream": True}).encode()))
        await reader.readuntil(b"hi")
    go.set()
    while on.farebox.room.in_flight:
        await asyncio.sleep(0)
    (row,) = await on.rows()
    assert (row["outcome"], row["output_text"], row["basis"]) == ("left", 2, "reported")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/chat/completions?x=1"])  # the second is aiohttp's
async def test_who_shuts_its_sending_side_has_left_and_is_charged(on, path):
    async with connected(on) as (reader, writer):
        writer.write(post(line=f"POST {path} HTTP/1.1"))
        writer.write_eof()
        assert await reader.read() == b""
    while on.farebox.room.in_flight:
        await asyncio.sleep(0)
    (row,) = await on.rows()
    assert (row["outcome"], row["basis"], row["output_text"]) == ("left", "reported", 1)


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\n", "\x00"])
def test_no_header_can_end_the_head(value):
    with pytest.raises(ValueError, match="control characters"):
        _head(200, {"x-request-id": value}, "", keeps=True)


GOOD = post(b"")


@given(st.integers(0, len(GOOD) - 1), st.binary(max_size=3))
def test_a_head_is_read_or_is_not_ours_whatever_is_in_it(at, put):
    raw = GOOD[:at] + put + GOOD[at + 1 :]
    head = read_head(raw)
    assert head is None or (head.endpoint == "chat/completions" and head.length >= 0)


def test_a_head_is_read():
    head = read_head(post(more=AUTH + "X-One: a \r\nx-one: b\r\n", body=b""))
    assert (head.endpoint, head.length, head.keeps) == ("chat/completions", 0, True)
    assert head.headers.getall("x-ONE") == ["a", "b"] and head.headers["authorization"] == f"Bearer {KEY}"


async def test_a_head_without_end_is_not_waited_for(on):
    async with connected(on) as (_, writer):
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\na: " + b"x" * MAX_HEAD)
        while on.fronts:
            await asyncio.sleep(0)
    assert not on.fronts


# Names and reasons that are no ASCII

CHINESE = {
    "models": {
        "小模型": {"vendor": "check", "tier": "cheap", "quality": 0.8, "price": {"currency": "USD", "input": 1, "output": 2}},
        "旗舰": {"vendor": "check", "tier": "flagship", "price": {"currency": "USD", "input": 10, "output": 40}},
    },
    "routes": {"自动": {"tiers": ["cheap", "flagship"], "quality": 0, "cache": True}},
}  # fmt: skip


@pytest.mark.parametrize("handler_cancellation", [False, True])  # with it all is aiohttp's
async def test_names_and_reasons_in_any_script_are_headers_of_utf_8(vendor, tmp_path, handler_cancellation):
    said = {"model": "自动", "messages": [{"role": "user", "content": "hello"}]}
    asked = {
        "called": said,
        "cached": said,
        "streamed": {**said, "stream": True},
        "dry": {**said, "model": "小模型", "farebox": {"dry_run": True}},
    }
    found = {}
    async with behind(vendor, tmp_path, handler_cancellation=handler_cancellation, **CHINESE) as on:
        for name, body in asked.items():
            async with connected(on) as (reader, writer):
                writer.write(post(json.dumps(body).encode()))
                line, found[name], _ = await answer(reader)
            assert line == "HTTP/1.1 200 OK"
            assert found[name]["x-farebox-model"] == "小模型"
    assert found["cached"]["x-farebox-cache"] == "hit"
