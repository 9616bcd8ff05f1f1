"""Vendors that hang, reset, talk nonsense or never end, before and after the first word: what becomes of the request.

Before the first word the next candidate answers and the client notices nothing; after it the client is told inside the
stream. Either way it is over in time, little was taken from the vendor, and every attempt has its row.
"""

import asyncio
import contextlib
import time

import pytest
from hostile import CHUNKED, Server, answering, chunk, plain, saying
from support import serving, small_config

from router.core import jsonio, sse
from router.dialects import openai_stream, turn, watch
from tests.fakes import answer, event, stream

TIMES = {"connect": "1s", "first_byte": "300ms", "idle": "300ms", "total": "2s"}
TOTAL_S = 2
MB = 2**20
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
WORD = stream("word", done=False, usage=None)[0]
GOOD = plain(answer(text="from the other"), "Content-Type: application/json")
GOOD_STREAM = STREAM + b"".join(chunk(piece) for piece in stream("from the other")) + chunk(b"")
ERROR = {"error": {"message": "no capacity", "type": "server_error", "code": "overloaded"}}


async def hangs(peer):
    await peer.request()
    await peer.ended()


async def resets(peer):
    await peer.request()
    peer.reset()


def repeating(first, piece, pause_s=0.0):
    """A script: `first`, and then `piece` for as long as the client listens; at most a part of ten gigabytes."""

    async def script(peer):
        await peer.request()
        await peer.send(first)
        with contextlib.suppress(ConnectionError):
            while peer.handed < 10_000 * MB:
                await peer.send(piece)
                await asyncio.sleep(pause_s)
            raise AssertionError("all of it was taken")

    return script


BEFORE_A_WORD = {
    "hangs": hangs,
    "resets": resets,
    "ends at once": saying(),
    "talks nonsense": saying(b"\x16\x03\x01\x02\x00 this is not HTTP\r\n\r\n"),
    "a page instead of an answer": saying(plain(b"<html>502</html>", "Content-Type: text/html")),
    "a head that never ends": repeating(b"HTTP/1.1 200 OK\r\n", b"X-More: " + b"x" * 60_000 + b"\r\n"),
    "a status line and no more": saying(b"HTTP/1.1 200 OK\r\n", then="wait"),
    "a 500": saying(plain(b"{}", status="500 Internal Server Error")),
    "an error in a 200": saying(plain(jsonio.dumps(ERROR), "Content-Type: application/json")),
}
BEFORE_A_STREAMED_WORD = {
    **BEFORE_A_WORD,
    "the head of a stream, then silence": saying(STREAM, then="wait"),
    "half an event, then silence": saying(STREAM + chunk(WORD[:20]), then="wait"),
    "half an event, then a reset": saying(STREAM + chunk(WORD[:20]), then="reset"),
    "an end without a word": saying(STREAM + chunk(b"")),
    "an error as its first event": saying(STREAM + chunk(event(ERROR)) + chunk(b"")),
    "comments without end": repeating(STREAM, chunk(b": keep-alive\n\n"), 0.02),
    "comments in a flood": repeating(STREAM, chunk(b":" + b" keep-alive" * 6000 + b"\n\n")),
    "an event without end": repeating(STREAM + chunk(b"data: "), chunk(b"x" * 65536)),
}
BEFORE_A_PLAIN_WORD = {
    **BEFORE_A_WORD,
    "half an answer, then silence": saying(GOOD[:-40], then="wait"),
    "half an answer, then a reset": saying(GOOD[:-40], then="reset"),
    "blank lines without end": repeating(CHUNKED, chunk(b"\n"), 0.02),
    "a body of ten gigabytes": repeating(CHUNKED + chunk(b'{"id": "'), chunk(b"x" * 2**18)),
}
AFTER_A_WORD = {
    "silence": saying(STREAM + chunk(WORD), then="wait"),
    "half an event, then silence": saying(STREAM + chunk(WORD) + chunk(WORD[:20]), then="wait"),
    "a reset": saying(STREAM + chunk(WORD), then="reset"),
    "an end in the middle": saying(STREAM + chunk(WORD) + chunk(b"")),
    "an error": saying(STREAM + chunk(WORD), chunk(event(ERROR)) + chunk(b"")),
    "comments without end": repeating(STREAM + chunk(WORD), chunk(b": keep-alive\n\n"), 0.02),
    "an event without end": repeating(STREAM + chunk(WORD) + chunk(b"data: "), chunk(b"x" * 65536)),
    "text without end": repeating(STREAM, chunk(stream("many words " * 3000, done=False, usage=None)[0])),
    "a word at a time without end": repeating(STREAM, chunk(WORD), 0.02),
}


@pytest.fixture(autouse=True)
def _small_bounds(monkeypatch):
    """So that little has to be sent; the bounds themselves are not what is tested."""
    monkeypatch.setattr(sse, "MAX_EVENT", 2 * MB)
    monkeypatch.setattr("router.upstream.MAX_REPLY", 2 * MB)
    for module in (openai_stream, turn, watch):
        monkeypatch.setattr(module, "MAX_TEXT", MB)


@contextlib.asynccontextmanager
async def between(tmp_path, script, client):
    """A Farebox whose cheap model is played by the script, and whose other by a vendor that is well."""

    def well(request):
        return GOOD_STREAM if jsonio.loads(request.body).get("stream") else GOOD

    async with Server(script) as bad, Server(answering(well)) as good:
        config = small_config(tmp_path, f"http://127.0.0.1:{bad.port}/v1")
        config["server"]["http_client"] = client
        config["vendors"]["check"]["timeout"] = TIMES
        config["vendors"]["good"] = {**config["vendors"]["check"], "base_url": f"http://127.0.0.1:{good.port}/v1"}
        config["models"]["large"]["vendor"] = "good"
        config["teams"]["search"]["budgets"] = []  # nothing is capped: what ends an answer is its own bound
        async with serving(config, tmp_path) as farebox:
            yield farebox, bad


async def ask(farebox, **more):
    body = {"model": "auto", "messages": [{"role": "user", "content": "hello"}], **more}
    began = time.monotonic()
    async with farebox.post(json=body) as reply:
        raw = await reply.read()
    return reply.status, raw, time.monotonic() - began


async def outcomes(farebox):
    """What became of the attempts, in the order in which they were made: rows are written as answers are known."""
    rows = sorted(await farebox.rows(), key=lambda row: row["attempt"])
    return [(row["model"], row["outcome"]) for row in rows]


@pytest.mark.parametrize("client", ["lean", "aiohttp"])
@pytest.mark.parametrize("name", BEFORE_A_PLAIN_WORD)
async def test_before_a_plain_answer_the_next_candidate_is_asked(tmp_path, name, client):
    async with between(tmp_path, BEFORE_A_PLAIN_WORD[name], client) as (farebox, bad):
        status, raw, took = await ask(farebox)
        assert (status, jsonio.loads(raw)["choices"][0]["message"]["content"]) == (200, "from the other")
        assert took < TOTAL_S + 1
        assert await outcomes(farebox) == [("small", "error"), ("large", "ok")]
        await bad.finished()


@pytest.mark.parametrize("client", ["lean", "aiohttp"])
@pytest.mark.parametrize("name", BEFORE_A_STREAMED_WORD)
async def test_before_the_first_word_of_a_stream_the_next_candidate_is_asked(tmp_path, name, client):
    async with between(tmp_path, BEFORE_A_STREAMED_WORD[name], client) as (farebox, bad):
        status, raw, took = await ask(farebox, stream=True)
        assert status == 200
        assert b"from the other" in raw and b"error" not in raw and raw.endswith(b"data: [DONE]\n\n")
        assert took < TOTAL_S + 1
        assert await outcomes(farebox) == [("small", "error"), ("large", "ok")]
        await bad.finished()


@pytest.mark.parametrize("client", ["lean", "aiohttp"])
@pytest.mark.parametrize("name", AFTER_A_WORD)
async def test_after_the_first_word_the_client_is_told_inside_the_stream(tmp_path, name, client):
    async with between(tmp_path, AFTER_A_WORD[name], client) as (farebox, bad):
        status, raw, took = await ask(farebox, stream=True)
        assert status == 200
        assert b"word" in raw and b'"error"' in raw and not raw.endswith(b"data: [DONE]\n\n")
        assert took < TOTAL_S + 1
        (row,) = await farebox.rows()
        assert (row["model"], row["outcome"], row["basis"]) == ("small", "cut", "estimated")
        assert row["output_text"] > 0 and row["cost"] > 0
        await bad.finished()


async def test_a_connection_that_cannot_be_made_costs_one_try(tmp_path):
    async with between(tmp_path, hangs, "lean") as (farebox, bad):
        bad._server.close()
        status, raw, _ = await ask(farebox)
        assert (status, jsonio.loads(raw)["choices"][0]["message"]["content"]) == (200, "from the other")
        assert [(row["outcome"], row["cost"] > 0) for row in await farebox.rows()] == [("error", False), ("ok", True)]


async def test_when_nobody_else_is_left_the_client_is_told_of_each_attempt(tmp_path):
    async with between(tmp_path, hangs, "lean") as (farebox, _):
        status, raw, _ = await ask(farebox, model="small")
        error = jsonio.loads(raw)["error"]
        assert (status, error["code"]) == (504, "upstream_timeout")
        assert "small (check): timeout: no answer within 0.3 s" in error["message"]
