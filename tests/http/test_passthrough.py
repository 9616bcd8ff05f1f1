"""The bytes. A vendor says odd but legal things, and the client gets them as they were said.

What Farebox adds (the cost, as members of `usage`) is cut out again here; all that is left must be the vendor's.
"""

import asyncio
import json
import re
from collections import Counter

import pytest
from support import VENDOR_KEY, small_config

from router.upstream import AiohttpExchange, AiohttpUpstream

ADDED = re.compile(rb',"cost":[\d.e-]+,"cost_currency":"USD","flagship_cost":[\d.e-]+')
SAY = [{"role": "user", "content": "hi"}]

CHAT = b'{"id":"c1","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hi"}}],'
USAGE = b'{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}'
ODD = (
    b'{\n  "x_float": 1.0, "x_tiny":1e-7 ,"x_long":0.1000000000000000055511151231257827, "x_exp":1E+2,\t"x_zero":-0.0,\r\n'
    b'  "x_big":123456789012345678901234567890,"x_neg":-9223372036854775809, "x_word":"\\u00e9\\ud83d\\ude00 \xe4\xb8\xad/\\/",\n'
    b'  "x_lone":"\\ud800", "x_quoted":"say \\"usage\\": {}", "x_null":null ,"x_list":[ ],"x_twice":1,"x_twice":2,\n'
)


@pytest.fixture
async def farebox(running, vendor, tmp_path):
    return await running(small_config(tmp_path, vendor.url))


async def ask(farebox, /, *, raw=None, headers=None, path="/v1/chat/completions", **fields):
    body = raw if raw is not None else json.dumps({"model": "small", "messages": SAY, **fields}).encode()
    async with farebox.post(path, data=body, headers=headers) as reply:
        return reply, await reply.read()


def without_cost(body, times=1):
    """The body as the vendor said it; the cost must be there so many times."""
    found = ADDED.findall(body)
    assert len(found) == times, body
    return ADDED.sub(b"", body)


# Plain answers


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(CHAT + b'"usage":' + USAGE + b"}", id="as most do"),
        pytest.param(ODD + b'"choices":[],"usage":' + USAGE + b"}", id="odd values and white space"),
        pytest.param(
            b'{"usage" : ' + USAGE + b" ,\n" + ODD[1:] + b'"choices":[]}\r\n', id="usage first, and a line end"
        ),
        pytest.param(
            b'{"choices":[],"usage":{ "queue_time":1.0,"prompt_tokens" : 5,\n"completion_tokens":2,"total_tokens":7 ,'
            b'"prompt_tokens_details":{"cached_tokens":0,"made_up":1e-7} }}',
            id="white space and unknown members in usage",
        ),
        pytest.param(
            b'{"choices":[],"x": 1.0,"usage":' + USAGE + b',"x_groq":{"id":"r","usage":{"queue_time":0.50}}}',
            id="another usage after it",
        ),
        pytest.param(
            b'{"choices":[],"x": 1.0,"usage":' + USAGE + b',"x_groq":{"usage":null}}', id="a null usage after it"
        ),
        pytest.param(
            b'{"choices":[],"x_groq":{"usage":{"queue_time":0.50}},"x":1.0,"usage":' + USAGE + b"}",
            id="another before it",
        ),
        pytest.param(
            b'{"choices":[],"x":1.0,"usage":' + USAGE + b',"x_groq":{"usage":' + USAGE + b"}}",
            id="the same usage again, deeper",
        ),
        pytest.param(
            b'{"choices":[{"message":{"content":"\\"usage\\":{\\"prompt_tokens\\":5}"}}],"usage":' + USAGE + b"}",
            id="a usage in the text",
        ),
        pytest.param(
            b'{"choices":[],"x":1.0,"usage":{"prompt_tokens":5,"completion_tokens":2,"x_ticks":123456789012345678901234567890}}',
            id="a big number in usage",
        ),
    ],
)
async def test_a_plain_body_is_the_vendors_but_for_the_cost_in_its_usage(farebox, vendor, body):
    vendor.answers(body)
    reply, got = await ask(farebox)
    assert reply.status == 200
    assert without_cost(got) == body
    usage = json.loads(got)["usage"]
    assert (usage["cost"], usage["cost_currency"], usage["flagship_cost"]) == (9e-6, "USD", 9e-6)
    assert reply.headers["x-farebox-cost"] == "0.000009"
    assert reply.headers["content-length"] == str(len(got))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(ODD + b'"choices":[]}', id="no usage"),
        pytest.param(ODD + b'"choices":[],"usage":null}', id="a null usage"),
        pytest.param(ODD + b'"choices":[],"usage":{ }}', id="an empty usage"),
        pytest.param(b'{"choices":[],"usage":{"queue_time":1.0}}', id="a usage without counts"),
        pytest.param(b'{"choices":[],"error":null, "x":NaN}', id="a number that is none"),
    ],
)
async def test_a_plain_body_without_counts_is_the_vendors_alone(farebox, vendor, body):
    vendor.answers(body)
    reply, got = await ask(farebox)
    assert (reply.status, got) == (200, body)
    assert "x-farebox-cost" not in reply.headers
    (row,) = await farebox.rows()
    assert row["basis"] == "estimated" and row["cost"] > 0


async def test_an_answer_in_many_pieces_is_one_answer(farebox, vendor):
    body = ODD + b'"choices":[],"usage":' + USAGE + b"}"
    vendor.streams(*(body[i : i + 7] for i in range(0, len(body), 7)))
    vendor.content_type = "application/json; charset=utf-8"
    reply, got = await ask(farebox)
    assert without_cost(got) == body
    assert reply.headers["content-type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/embeddings"])
async def test_the_other_endpoints_pass_bodies_the_same_way(farebox, vendor, path):
    body = ODD + b'"data":[{"embedding":[1.0,1e-7,-0.0]}],"usage":{"prompt_tokens":5,"total_tokens":5}}'
    vendor.answers(body)
    _, got = await ask(farebox, path=path, raw=b'{"model":"small","prompt":"x","input":"x"}')
    assert without_cost(got) == body
    assert vendor.calls[-1].line == f"POST {path} HTTP/1.1"


# Streams


def event(**fields):
    return b"data: " + json.dumps({"id": "c1", "object": "chat.completion.chunk", **fields}).encode() + b"\n\n"


def words(*texts):
    return b"".join(event(choices=[{"index": 0, "delta": {"content": text}}]) for text in texts)


DONE = b"data: [DONE]\n\n"
LAST = b'data: {"choices":[],"usage":' + USAGE + b"}\n\n"
ODD_EVENT = (
    b"data: " + ODD.replace(b"\r", b"").replace(b"\n", b" ") + b'"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
)

# Name → what comes before the usage, the usage event, what comes after.
STREAMS = {
    "as most do": (words("hi", " there"), LAST, DONE),
    "odd values": (ODD_EVENT, LAST, DONE),
    "data without a space": (
        words("hi").replace(b"data: ", b"data:"),
        LAST.replace(b"data: ", b"data:"),
        b"data:[DONE]\n\n",
    ),
    "CRLF": tuple(part.replace(b"\n", b"\r\n") for part in (words("hi", "ho"), LAST, DONE)),
    "CR": tuple(part.replace(b"\n", b"\r") for part in (words("hi", "ho"), LAST, DONE)),
    "line ends mixed": (words("hi") + words("ho").replace(b"\n", b"\r\n"), LAST, DONE.replace(b"\n", b"\r\n")),
    "comments": (b": one\n\n" + words("hi") + b":\n\n: two\n\n", LAST, b": three\n\n" + DONE),
    "event names, ids and retry": (b"retry: 10\n\nevent: x\nid: 1\n" + words("hi"), LAST, b"id: 2\n" + DONE),
    "data over several lines": (b'data: {"choices":\ndata: [{"delta":{"content":"x"}}]}\n\n', LAST, DONE),
    "more after the usage": (words("hi"), LAST, words("late") + b'data: {"choices":[],"x_vendor":1.0}\n\n' + DONE),
    "null usage everywhere": (event(choices=[{"delta": {"content": "x"}}], usage=None), LAST, DONE),
    "a spaced null usage": (b'data: {"choices":[{"delta":{}}],"usage" :  null, "x":1.0}\n\n', LAST, DONE),
    "usage and error in the text": (words('"usage":{"prompt_tokens":9}', '"error": {"message":"x"}'), LAST, DONE),
    "a null error": (event(choices=[{"delta": {"content": "x"}}], error=None), LAST, DONE),
    "empty lines to spare": (b"\n\n" + words("hi") + b"\n\n", LAST, b"\n" + DONE + b"\n"),
    "no end of stream": (words("hi"), LAST, b""),
}


@pytest.mark.parametrize("name", STREAMS)
async def test_a_stream_is_the_vendors_but_for_the_hidden_usage_event(farebox, vendor, name):
    before, last, after = STREAMS[name]
    vendor.streams(before + last + after)
    reply, got = await ask(farebox, stream=True)
    assert reply.headers["content-type"] == "text/event-stream"
    assert got == before + after
    (row,) = await farebox.rows()
    basis = "estimated" if name == "more after the usage" else "reported"  # which has not counted those words
    assert (row["outcome"], row["basis"], row["input_fresh"], row["output_text"]) == ("ok", basis, 5, 2)


@pytest.mark.parametrize("name", STREAMS)
async def test_a_stream_is_the_vendors_but_for_the_cost_in_the_usage_that_was_asked_for(farebox, vendor, name):
    whole = b"".join(STREAMS[name])
    vendor.streams(whole)
    _, got = await ask(farebox, stream=True, stream_options={"include_usage": True})
    assert without_cost(got) == whole


async def test_a_usage_in_the_last_chunk_of_text_is_cut_out_of_it_and_nothing_else(farebox, vendor):
    chunk = b'data: {"id": "c1", "choices": [{"delta": {"content": "\\u00e9"}, "x": 1.0}], "usage": ' + USAGE + b"}\n\n"
    vendor.streams(words("hi") + chunk + DONE)
    _, got = await ask(farebox, stream=True)
    assert got.startswith(words("hi")) and got.endswith(b"\n\n" + DONE)
    told = json.loads(got[len(words("hi")) : -len(DONE)].removeprefix(b"data: "))
    assert told == {"id": "c1", "choices": [{"delta": {"content": "é"}, "x": 1.0}]}


@pytest.mark.parametrize("asked", [False, True])
async def test_a_usage_over_several_lines_is_hidden_or_given_its_cost_like_any_other(farebox, vendor, asked):
    data = b'data: {"choices":[{"delta":{"content":"x"}}],\ndata: "usage":' + USAGE + b"}\n\n"
    vendor.streams(data + DONE)
    _, got = await ask(farebox, stream=True, stream_options={"include_usage": asked})
    lines = [line.removeprefix(b"data: ") for line in got.removesuffix(DONE).splitlines() if line]
    told = json.loads(b"\n".join(lines))
    assert told["choices"] == [{"delta": {"content": "x"}}]
    if asked:
        assert told["usage"]["cost"] == 9e-6
    else:
        assert "usage" not in told


async def test_a_running_usage_is_billed_once_by_its_last_word(farebox, vendor):
    counts = [event(choices=[], usage={"prompt_tokens": 5, "completion_tokens": n}) for n in (1, 2)]
    vendor.streams(words("a"), counts[0], words("b"), counts[1], DONE)
    _, got = await ask(farebox, stream=True)
    assert got == words("a", "b") + DONE
    (row,) = await farebox.rows()
    assert (row["input_fresh"], row["output_text"]) == (5, 2)


async def test_text_that_looks_like_a_stream_does_not_count_as_one(farebox, vendor):
    """The output cap of 8 tokens is kept by these 8 events, whatever they say."""
    pieces = [*[words("data: data: data: data:")] * 8, LAST, DONE]
    whole = b"".join(pieces)
    vendor.streams(*pieces)
    _, got = await ask(farebox, stream=True, max_tokens=8, stream_options={"include_usage": True})
    assert without_cost(got) == whole
    (row,) = await farebox.rows()
    assert row["outcome"] == "ok"


async def test_text_that_says_done_does_not_end_a_stream(farebox, vendor):
    """Nothing comes after it, and a client that is not told would take half an answer for a whole one."""
    vendor.streams(words("it ends with [DONE], you know"))
    _, got = await ask(farebox, stream=True)
    assert got.startswith(words("it ends with [DONE], you know"))
    assert b'"upstream_error"' in got and DONE not in got
    (row,) = await farebox.rows()
    assert row["outcome"] == "cut"


async def test_a_stream_that_is_cut_in_an_event_ends_with_an_error_of_its_own(farebox, vendor):
    vendor.streams(words("hi"), b'data: {"choices":[{"del', cut=True)
    _, got = await ask(farebox, stream=True)
    assert got.startswith(words("hi"))
    *_, said = got.split(b"\n\n")[:-1]
    assert json.loads(said.removeprefix(b"data: "))["error"]["code"] == "upstream_error"


# Any cut


class Watched(AiohttpUpstream):
    """The real upstream, which also notes the pieces in which an answer came."""

    def __init__(self):
        super().__init__()
        self.pieces = []

    def open(self, call):
        return WatchedExchange(self._session, call, self.pieces)


class WatchedExchange(AiohttpExchange):
    def __init__(self, session, call, pieces):
        super().__init__(session, call)
        self.pieces = pieces

    async def chunk(self):
        piece = await super().chunk()
        self.pieces.append(piece)
        return piece


CUT = {
    "LF": b": k\n\n" + words("hé") + b"data:{}\n\n" + LAST + DONE,
    "CRLF": (b": k\n\n" + words("hé") + b"data:{}\n\n" + LAST + DONE).replace(b"\n", b"\r\n"),
    "CR": (b": k\n\n" + words("hé") + b"data:{}\n\n" + LAST + DONE).replace(b"\n", b"\r"),
}


@pytest.mark.parametrize("asked", [False, True], ids=["hidden", "asked for"])
@pytest.mark.parametrize("name", CUT)
async def test_a_stream_is_the_same_wherever_it_is_cut(running, vendor, tmp_path, name, asked):
    upstream = Watched()
    farebox = await running(small_config(tmp_path, vendor.url), upstream=upstream)
    whole, last = CUT[name], LAST
    if name != "LF":
        last = LAST.replace(b"\n", {"CRLF": b"\r\n", "CR": b"\r"}[name])
    wanted = whole if asked else whole.replace(last, b"")
    for cut in range(1, len(whole)):
        upstream.pieces.clear()
        vendor.streams(whole[:cut], whole[cut:])
        _, got = await ask(farebox, stream=True, stream_options={"include_usage": asked})
        assert (without_cost(got) if asked else got) == wanted, cut
        assert upstream.pieces == [whole[:cut], whole[cut:], b""]  # it was cut there indeed
    ended = Counter((row["outcome"], row["basis"], row["cost"]) for row in await farebox.rows())
    assert ended == {("ok", "reported", 9000): len(whole) - 1}


@pytest.mark.parametrize("name", CUT)
async def test_a_stream_is_the_same_byte_by_byte(running, vendor, tmp_path, name):
    farebox = await running(small_config(tmp_path, vendor.url))
    whole = CUT[name]
    vendor.streams(*(whole[i : i + 1] for i in range(len(whole))))
    _, got = await ask(farebox, stream=True, stream_options={"include_usage": True})
    assert without_cost(got) == whole


async def test_a_whole_event_is_passed_on_before_the_next_has_come(running, vendor, tmp_path):
    farebox = await running(small_config(tmp_path, vendor.url))
    go_on = asyncio.Event()
    vendor.streams(words("one"), words("two") + DONE)
    vendor.between = go_on.wait
    async with farebox.post(json={"model": "small", "messages": SAY, "stream": True}) as reply:
        assert await reply.content.readany() == words("one")
        go_on.set()
        assert await reply.read() == words("two") + DONE


# Requests


async def sent(farebox, vendor, /, **how):
    vendor.answers(CHAT + b'"usage":' + USAGE + b"}")
    reply, body = await ask(farebox, **how)
    assert reply.status == 200, body
    return vendor.calls[-1]


async def test_fields_that_nobody_knows_reach_the_vendor(farebox, vendor):
    odd = {
        "made_up": {"a": [1.0, 1e-7, -0.0, None, True, "é\U0001f600", {"b": {}}]},
        "user": "u\u0000\u2028",
        "seed": 2**63,
        "low": -(2**63),
        "reasoning": {"effort": "low"},
    }
    call = await sent(farebox, vendor, **odd, farebox={"tags": {"a": "b"}}, max_tokens=9, temperature=0.0)
    got = json.loads(call.body)
    assert got == {"model": "small", "messages": SAY, **odd, "max_tokens": 9, "temperature": 0.0}
    assert [str(n) for n in got["made_up"]["a"][:3]] == ["1.0", "1e-07", "-0.0"]


@pytest.mark.parametrize("number", ["18446744073709551616", "-9223372036854775809", "123456789012345678901234567890"])
async def test_a_number_too_big_for_a_machine_word_reaches_the_vendor_whole(farebox, vendor, number):
    raw = f'{{"model":"small","messages":[{{"role":"user","content":"hi"}}],"made_up":{number}}}'.encode()
    call = await sent(farebox, vendor, raw=raw)
    assert json.loads(call.body, parse_float=str)["made_up"] == int(number)


async def test_messages_reach_the_vendor_as_they_are(farebox, vendor):
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]},
        {"role": "assistant", "content": None, "reasoning_content": "…", "tool_calls": [{"id": "1", "made_up": []}]},
        {"role": "tool", "tool_call_id": "1", "content": ""},
        {"role": "made-up", "made_up": 1},
    ]
    call = await sent(farebox, vendor, messages=messages)
    assert json.loads(call.body)["messages"] == messages


async def test_the_usage_event_is_asked_for_beside_what_the_client_asked_for(farebox, vendor):
    vendor.streams(words("hi") + LAST + DONE)
    await ask(farebox, stream=True, stream_options={"made_up": 1, "include_usage": False})
    assert json.loads(vendor.calls[-1].body)["stream_options"] == {"made_up": 1, "include_usage": True}


async def test_no_header_of_the_client_reaches_the_vendor(farebox, vendor):
    headers = {
        "Cookie": "session=1",
        "x-anything": "1",
        "x-farebox-tags": "a=b",
        "X-Forwarded-For": "10.0.0.1",
        "Forwarded": "for=10.0.0.1",
        "OpenAI-Organization": "org-1",
        "User-Agent": "somebody/1",
        "Accept": "text/plain",
        "Origin": "https://example.invalid",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "x-api-key": "a key of the client",
    }
    call = await sent(farebox, vendor, headers=headers)
    assert call.headers["authorization"] == f"Bearer {VENDOR_KEY}"
    assert call.headers["content-type"] == "application/json"
    assert set(call.headers) == {
        "host", "user-agent", "accept-encoding", "accept", "content-type", "content-length", "authorization"
    }  # fmt: skip
    told = " ".join(call.headers.values())
    assert not [value for value in headers.values() if len(value) > 1 and value in told]


async def test_only_some_headers_of_the_vendor_reach_the_client(farebox, vendor):
    vendor.headers = ["Set-Cookie: a=b", "x-request-id: r-1", "openai-processing-ms: 7", "x-vendor-internal: 1"]
    vendor.answers(CHAT + b'"usage":' + USAGE + b"}")
    plain, _ = await ask(farebox)
    vendor.streams(words("hi") + LAST + DONE)
    stream, _ = await ask(farebox, stream=True)
    for reply in (plain, stream):
        assert (reply.headers["x-request-id"], reply.headers["openai-processing-ms"]) == ("r-1", "7")
        assert not {"set-cookie", "x-vendor-internal"} & {name.lower() for name in reply.headers}


async def test_a_query_stays_with_us(farebox, vendor):
    call = await sent(farebox, vendor, path="/v1/chat/completions?api-version=1&key=secret")
    assert call.line == "POST /v1/chat/completions HTTP/1.1"
