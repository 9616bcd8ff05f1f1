"""The mock vendors: their wire, every way to steer them, and the bill that other tests take for the truth."""

import asyncio
import base64
import json
import random
import re
import struct
import time
from urllib.parse import urlsplit

import aiohttp
import jsonschema
import openai
import pytest

from router import vendors
from router.mock import MockVendors
from router.mock.pattern import matching
from router.mock.schema import fit
from router.mock.steer import NOTHING, parse
from router.mock.text import answer, code, exactly, tokens, until

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"enum": ["c", "f"]},
                "days": {"type": "integer", "minimum": 1, "maximum": 7},
            },
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}
CLOCK = {
    "type": "function",
    "function": {"name": "get_time", "parameters": {"type": "object", "properties": {"zone": {"type": "string"}}}},
}


@pytest.fixture
async def sdk(mock):
    async with openai.AsyncOpenAI(base_url=f"{mock.url}/openai/v1", api_key="sk-any", max_retries=0) as client:
        yield client


BASES = sorted(
    {
        f"{vendor.name}{urlsplit(wire.base_url).path}"
        for vendor in map(vendors.find, vendors.MODULES)
        for wire in (vendor, *vendor.also)
        if wire.dialect == "openai" and wire.base_url
    }
    | {"azure-openai/openai/v1", "vllm/v1"}
)


@pytest.mark.parametrize("base", BASES)
async def test_a_vendors_own_base_path_is_answered_as_its_sdk_expects(mock, base):
    how = {"api_key": "sk-any", "max_retries": 0, "default_headers": {"api-key": "sk-any"}}  # where Azure looks for it
    async with openai.AsyncOpenAI(base_url=f"{mock.url}/{base}", **how) as sdk:
        told = await sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello out=3"}])
        assert told.usage.completion_tokens == 3
        assert (await sdk.embeddings.create(model="m", input="hello")).data[0].embedding
        listed = [model.id async for model in sdk.models.list()]
        assert (await sdk.models.retrieve(listed[0])).id == listed[0]
    assert mock.bill[0].vendor == base.partition("/")[0]


def user(text, **more):
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], **more}


async def post(http, mock, body, vendor="openai", path="chat/completions", **headers):
    async with http.post(f"{mock.url}/{vendor}/v1/{path}", json=body, headers=headers) as reply:
        return reply, await reply.read()


async def chat(http, mock, text, vendor="openai", **more):
    reply, raw = await post(http, mock, user(text, **more), vendor)
    assert reply.status == 200, raw
    return json.loads(raw)


async def raw_stream(http, mock, text, **more):
    """All bytes that arrived, and whether the stream ended as HTTP wants it to."""
    got = b""
    async with http.post(f"{mock.url}/openai/v1/chat/completions", json=user(text, stream=True, **more)) as reply:
        assert reply.status == 200
        try:
            async for data in reply.content.iter_any():
                got += data
        except aiohttp.ClientError:
            return got, False
    return got, True


def chunks(raw):
    events = [e for e in re.split(rb"\r?\n\r?\n", raw) if e.startswith(b"data: ")]
    return [json.loads(e[6:]) for e in events if e != b"data: [DONE]"]


def said(events):
    return [
        e["choices"][0]["delta"]["content"]
        for e in events
        if e.get("choices") and e["choices"][0]["delta"].get("content")
    ]


def counts(line):
    return line.input_tokens, line.cached_tokens, line.output_tokens, line.reasoning_tokens


# The answer


async def test_a_plain_answer_reports_what_the_bill_says(mock, http):
    body = await chat(http, mock, "Tell me about bounded queues")
    assert (
        body["object"] == "chat.completion" and body["id"].startswith("chatcmpl-") and body["created"] == 1_790_000_000
    )
    choice, usage = body["choices"][0], body["usage"]
    assert choice["finish_reason"] == "stop" and choice["message"]["role"] == "assistant"
    assert 40 <= usage["completion_tokens"] <= 120
    assert usage["prompt_tokens"] == tokens("Tell me about bounded queues") + 6
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert (
        usage["prompt_tokens_details"]["cached_tokens"] == usage["completion_tokens_details"]["reasoning_tokens"] == 0
    )
    (line,) = mock.bill
    assert counts(line) == (usage["prompt_tokens"], 0, usage["completion_tokens"], 0)
    assert (line.vendor, line.model, line.endpoint, line.status, line.at) == (
        "openai",
        "gpt-4o",
        "chat/completions",
        200,
        1_790_000_000.5,
    )


async def test_the_request_id_of_the_header_is_the_bills(mock, http):
    reply, _ = await post(http, mock, user("hello"))
    assert reply.headers["x-request-id"] == mock.bill[0].request_id


async def test_the_same_request_gets_the_same_words_and_another_seed_or_model_others(mock, http):
    first, again = [await chat(http, mock, "Compare two caches") for _ in range(2)]
    text = first["choices"][0]["message"]["content"]
    assert text == again["choices"][0]["message"]["content"] and first["id"] != again["id"]
    other = await chat(http, mock, "Compare two caches", model="gpt-4o-mini")
    assert other["choices"][0]["message"]["content"] != text
    raw, _ = await raw_stream(http, mock, "Compare two caches", stream_options={"include_usage": True})
    assert "".join(said(chunks(raw))) == text


async def test_chinese_is_answered_in_chinese_and_counted_as_such(mock, http):
    body = await chat(http, mock, "请介绍一下消息队列 out=30")
    assert re.search("[\u4e00-\u9fff]{4}", body["choices"][0]["message"]["content"])
    assert body["usage"]["completion_tokens"] == 30
    assert tokens("一二三四五六七八") == 5 and tokens("abcdefgh") == 2 and tokens("") == 0


async def test_max_tokens_ends_an_answer_with_length_unless_told_to_ignore_it(mock, http):
    for cap in ({"max_tokens": 7}, {"max_completion_tokens": 7}):
        body = await chat(http, mock, "hello out=20", **cap)
        assert body["usage"]["completion_tokens"] == 7 and body["choices"][0]["finish_reason"] == "length"
    body = await chat(http, mock, "hello out=20 ignorecap=1", max_tokens=7)
    assert body["usage"]["completion_tokens"] == 20 and body["choices"][0]["finish_reason"] == "stop"


async def test_n_choices_are_all_billed(mock, http):
    body = await chat(http, mock, "hello out=10", n=3)
    assert [c["index"] for c in body["choices"]] == [0, 1, 2] and body["usage"]["completion_tokens"] == 30
    assert len({c["message"]["content"] for c in body["choices"]}) == 3
    raw, _ = await raw_stream(http, mock, "hello out=10", n=2)
    events = chunks(raw)
    assert {e["choices"][0]["index"] for e in events} == {0, 1} and len(said(events)) == 20
    assert [line.output_tokens for line in mock.bill] == [30, 20]


async def test_a_stop_sequence_ends_the_answer_before_it(mock, http):
    whole = (await chat(http, mock, "Tell me about queues"))["choices"][0]["message"]["content"]
    stop = whole[30:34]
    body = await chat(http, mock, "Tell me about queues", stop=[stop, "never said"])
    assert body["choices"][0]["message"]["content"] == whole[: whole.index(stop)]
    assert body["choices"][0]["finish_reason"] == "stop"
    assert until(("ab", "cd", "ef"), ("de",)) == (("ab", "c"), "de")


async def test_logprobs_cover_every_token(mock, http):
    body = await chat(http, mock, "hello out=5", logprobs=True, top_logprobs=2)
    content = body["choices"][0]["logprobs"]["content"]
    assert "".join(t["token"] for t in content) == body["choices"][0]["message"]["content"]
    assert len(content) == 5 and all(len(t["top_logprobs"]) == 2 and t["logprob"] <= 0 for t in content)


async def test_an_image_costs_a_fixed_number_of_tokens(mock, http):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    body = await chat(http, mock, [{"type": "text", "text": "What is this? out=8"}, image])
    assert body["usage"]["prompt_tokens"] == tokens("What is this? out=8") + 85 + 6
    assert body["usage"]["completion_tokens"] == 8


@pytest.mark.parametrize("more", [{}, {"out": 3}, {"out": 90}])
async def test_structured_answers_validate_at_any_length(mock, http, more):
    schema = {
        "type": "object",
        "properties": {"items": {"type": "array", "items": WEATHER["function"]["parameters"], "minItems": 2}},
        "required": ["items"],
    }
    words = " ".join(f"{k}={v}" for k, v in more.items())
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}
    body = await chat(http, mock, f"list {words}", response_format=wanted)
    jsonschema.validate(json.loads(body["choices"][0]["message"]["content"]), schema)
    assert body["usage"]["completion_tokens"] == more.get("out", body["usage"]["completion_tokens"])
    body = await chat(http, mock, f"list {words}", response_format={"type": "json_object"})
    assert isinstance(json.loads(body["choices"][0]["message"]["content"]), dict)


# Streams


async def test_a_stream_is_one_token_per_event_then_finish_then_done(mock, http):
    raw, whole = await raw_stream(http, mock, "hello out=12")
    events = chunks(raw)
    assert whole and raw.endswith(b"data: [DONE]\n\n")
    assert events[0]["choices"][0]["delta"]["role"] == "assistant" and len(said(events)) == 12
    assert events[-1]["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    assert len({e["id"] for e in events}) == 1 and all("usage" not in e for e in events)
    assert mock.bill[0].output_tokens == 12


async def test_usage_comes_last_with_empty_choices_only_when_asked(mock, http):
    raw, _ = await raw_stream(http, mock, "hello out=4 in=11 cached=6", stream_options={"include_usage": True})
    *before, last = chunks(raw)
    assert all(e["usage"] is None for e in before)
    assert last["choices"] == [] and last["usage"]["total_tokens"] == 15
    assert last["usage"]["prompt_tokens_details"]["cached_tokens"] == 6


async def test_split_puts_the_usage_into_the_finish_chunk(mock, http):
    raw, _ = await raw_stream(http, mock, "hello out=4 split=1", stream_options={"include_usage": True})
    *before, last = chunks(raw)
    assert last["choices"][0]["finish_reason"] == "stop" and last["usage"]["completion_tokens"] == 4
    assert all(e["usage"] is None for e in before)


async def test_tool_calls_stream_as_fragments_of_arguments(mock, http):
    raw, _ = await raw_stream(
        http, mock, "use both tools", tools=[WEATHER, CLOCK], stream_options={"include_usage": True}
    )
    events = chunks(raw)
    calls, fragments = {}, 0
    for event in events:
        for part in event["choices"][0]["delta"].get("tool_calls", []) if event["choices"] else []:
            call = calls.setdefault(part["index"], {"name": "", "arguments": ""})
            call["name"] += part["function"].get("name", "")
            call["arguments"] += part["function"]["arguments"]
            fragments += bool(part["function"]["arguments"])
    assert [calls[i]["name"] for i in (0, 1)] == ["get_weather", "get_time"]
    jsonschema.validate(json.loads(calls[0]["arguments"]), WEATHER["function"]["parameters"])
    assert events[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert fragments == events[-1]["usage"]["completion_tokens"] == mock.bill[0].output_tokens > 4


async def test_drip_crlf_and_keepalive_change_the_bytes_and_not_the_answer(mock, http):
    plain, _ = await raw_stream(http, mock, "Say Grüezi out=9")
    for knob in ("drip=1", "crlf=1", "keepalive=1", "drip=1 crlf=1 keepalive=1"):
        raw, whole = await raw_stream(http, mock, f"Say Grüezi out=9 {knob}")
        assert whole and len(said(chunks(raw))) == len(said(chunks(plain)))
        assert (b"\r\n" in raw) == ("crlf" in knob) and (b": keep-alive" in raw) == ("keepalive" in knob)
        assert raw.replace(b"\r\n", b"").count(b"\n") == 0 if "crlf" in knob else raw.endswith(b"[DONE]\n\n")


async def test_dripped_bytes_arrive_in_pieces_that_cut_events(mock, http):
    async with http.post(
        f"{mock.url}/openai/v1/chat/completions", json=user("hello out=3 drip=1", stream=True)
    ) as reply:
        sizes = [len(data) async for data, _ in reply.content.iter_chunks()]
    assert max(sizes) <= 7 and len(sizes) > 50


# Steering


async def test_counts_are_reported_and_billed_as_steered(mock, http):
    body = await chat(http, mock, "in=1000 cached=600 out=50 reasoning=20")
    usage = body["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (1000, 50, 1050)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 600
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 20
    assert counts(mock.bill[0]) == (1000, 600, 50, 20)
    assert len(body["choices"][0]["message"]["content"].split()) == 30


async def test_thinking_counts_against_the_cap(mock, http):
    body = await chat(http, mock, "reasoning=50", max_completion_tokens=16)
    assert body["choices"][0]["message"]["content"] == "" and body["choices"][0]["finish_reason"] == "length"
    assert counts(mock.bill[0])[2:] == (16, 16)


async def test_the_header_beats_the_words_and_refuses_what_it_does_not_know(mock, http):
    reply, raw = await post(http, mock, user("out=5"), **{"x-mock": '{"out": 9}'})
    assert reply.status == 200 and json.loads(raw)["usage"]["completion_tokens"] == 9
    for wrong in ('{"uot": 9}', "out=9", '{"out": "many"}', '{"status": 200}'):
        reply, raw = await post(http, mock, user("hello"), **{"x-mock": wrong})
        assert reply.status == 400 and json.loads(raw)["error"]["code"] == "bad_steering"
    assert len(mock.bill) == 1


def test_prose_that_only_looks_like_steering_steers_nothing():
    for text in ("layout=5", "?in=5&out=6", "in=all", "status=200", "a.out=7", "no knobs"):
        assert parse(text) == NOTHING
    assert parse("Please answer, out=5, in=7.").out == 5


@pytest.mark.parametrize(
    ("words", "status", "kind", "code"),
    [
        ("status=400", 400, "invalid_request_error", None),
        ("status=400 code=context_length_exceeded", 400, "invalid_request_error", "context_length_exceeded"),
        ("status=401", 401, "invalid_request_error", "invalid_api_key"),
        ("status=402", 402, "unknown_error", "invalid_request_error"),
        ("status=403", 403, "request_forbidden", "unsupported_country_region_territory"),
        ("status=404", 404, "invalid_request_error", "model_not_found"),
        ("status=429", 429, "requests", "rate_limit_exceeded"),
        ("status=429 code=insufficient_quota", 429, "insufficient_quota", "insufficient_quota"),
        ("status=500", 500, "server_error", None),
        ("status=503", 503, "service_unavailable_error", None),
        ("status=529 code=custom", 529, "server_error", "custom"),
    ],
)
async def test_errors_have_the_vendors_shape_and_are_not_billed(mock, http, words, status, kind, code):
    for more in ({}, {"stream": True}):
        reply, raw = await post(http, mock, user(words, **more))
        error = json.loads(raw)["error"]
        assert (reply.status, error["type"], error["code"]) == (status, kind, code) and error["message"]
        assert ("Retry-After" in reply.headers) == (code == "rate_limit_exceeded")
    assert mock.bill == []


async def test_the_first_requests_of_an_id_fail_and_later_ones_do_not(mock, http):
    text = "fail=2 id=abc status=503"
    assert [(await post(http, mock, user(text)))[0].status for _ in range(4)] == [503, 503, 200, 200]
    assert (await post(http, mock, user(text.replace("abc", "other"))))[0].status == 503
    assert [(await post(http, mock, user("fail=1 id=x")))[0].status for _ in range(2)] == [500, 200]
    assert [(await raw_stream(http, mock, "fail=1 id=y cut=2"))[1] for _ in range(2)] == [False, True]


@pytest.mark.parametrize("at", [0, 1, 6])
async def test_a_cut_stream_is_billed_to_the_token_that_arrived(mock, http, at):
    raw, whole = await raw_stream(http, mock, f"hello out=10 in=9 cut={at}", stream_options={"include_usage": True})
    assert not whole and len(said(chunks(raw))) == at and b"[DONE]" not in raw
    assert counts(mock.bill[0]) == (9, 0, at, 0)


async def test_a_cut_plain_answer_breaks_off_halfway_and_is_billed(mock, http):
    with pytest.raises(aiohttp.ClientPayloadError):
        await post(http, mock, user("hello out=10 cut=1"))
    assert mock.bill[0].output_tokens == 10


async def test_an_error_event_ends_a_stream_that_began_well(mock, http):
    raw, whole = await raw_stream(http, mock, "hello out=10 error_at=3 status=429")
    *before, last = chunks(raw)
    assert whole and len(said(before)) == 3 and last["error"]["code"] == "rate_limit_exceeded"
    assert b"[DONE]" not in raw and mock.bill[0].output_tokens == 3


async def test_an_error_body_may_come_with_status_200(mock, http):
    body = await chat(http, mock, "error200=1 status=429")
    assert body["error"]["code"] == "rate_limit_exceeded" and mock.bill == []
    assert (await chat(http, mock, "error200=1", stream=True))["error"]["type"] == "server_error"


async def test_usage_may_be_missing_though_it_is_billed(mock, http):
    assert "usage" not in await chat(http, mock, "nousage=1 out=5")
    raw, _ = await raw_stream(http, mock, "nousage=1 out=5", stream_options={"include_usage": True})
    assert b"usage" not in raw
    assert [line.output_tokens for line in mock.bill] == [5, 5]


async def test_garbage_is_no_json(mock, http):
    for more in ({}, {"stream": True}):
        reply, raw = await post(http, mock, user("garbage=1 out=5", **more))
        assert reply.status == 200
        with pytest.raises(ValueError, match="Expecting value"):
            json.loads(raw)
    assert [line.output_tokens for line in mock.bill] == [5, 5]


async def test_a_hang_answers_nothing_costs_nothing_and_does_not_keep_the_mock_from_stopping(mock, http):
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(post(http, mock, user("hang=1")), 0.05)
    hanging = asyncio.create_task(post(http, mock, user("hang=1")))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    await mock.stop()
    assert time.monotonic() - began < 2 and mock.bill == []
    with pytest.raises(aiohttp.ClientError):
        await hanging


async def test_delay_and_gap_are_real_time_at_any_pace(mock, http):
    began = time.monotonic()
    await chat(http, mock, "delay=60 out=2")
    assert time.monotonic() - began >= 0.06
    began = time.monotonic()
    await raw_stream(http, mock, "gap=15 out=4")
    assert time.monotonic() - began >= 0.06


async def test_a_pace_takes_believable_time():
    vendors = MockVendors(pace=0.5)
    url = await vendors.start()
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer k"}) as http:
        began = time.monotonic()
        async with http.post(f"{url}/openai/v1/chat/completions", json=user("out=10", stream=True)) as reply:
            assert 0.015 <= time.monotonic() - began < 1
            await reply.read()
        assert time.monotonic() - began >= 0.015 + 10 * 0.0025
    await vendors.stop()


# Clients that leave


@pytest.mark.parametrize("cancels", [True, False])
async def test_a_client_that_leaves_a_stream_is_billed_for_what_was_written(cancels):
    vendors = MockVendors(pace=0)
    runner = aiohttp.web.AppRunner(vendors.app(), handler_cancellation=cancels)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    got = b""
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer k"}) as http:
        reply = await http.post(f"{url}/openai/v1/chat/completions", json=user("in=30 out=500 gap=5", stream=True))
        while len(said(chunks(got[: got.rfind(b"\n\n") + 2]))) < 3:
            got += await reply.content.readany()
        reply.close()
    await asyncio.sleep(0.1)
    (line,) = vendors.bill
    served = line.output_tokens
    assert line.input_tokens == 30 and 3 <= served < 100
    await asyncio.sleep(0.05)
    assert line.output_tokens == served
    await runner.cleanup()


async def test_a_client_that_leaves_before_the_first_byte_has_used_its_prompt(mock, http):
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(post(http, mock, user("in=30 out=20 delay=5000")), 0.1)
    assert counts(mock.bill[0]) == (30, 0, 0, 0)


# The rest of the wire


async def test_keys_are_asked_for_and_a_bad_one_is_refused(mock):
    async with aiohttp.ClientSession() as http:
        for header, code in (
            ({}, None),
            ({"Authorization": "Bearer "}, None),
            ({"Authorization": "Bearer bad-key"}, "invalid_api_key"),
        ):
            reply, raw = await post(http, mock, user("hello"), **header)
            assert reply.status == 401 and json.loads(raw)["error"]["code"] == code
            async with http.get(f"{mock.url}/openai/v1/models", headers=header) as reply:
                assert reply.status == 401
    assert mock.bill == []


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"[]", b"{}", b'{"model": "m"}', b'{"model": "m", "messages": []}',
        b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 0}',
        b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "n": 129}',
        b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "stream_options": {"include_usage": true}}',
        b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "response_format": {"type": "json_schema"}}',
        b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": [{"function": {"name": "f"}}], "tool_choice": {"function": {"name": "g"}}}',
        b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "integer", "minimum": "a"}}}}',
    ],
)  # fmt: skip
async def test_a_request_no_vendor_could_read_is_a_400(mock, http, body):
    async with http.post(f"{mock.url}/openai/v1/chat/completions", data=body) as reply:
        assert reply.status == 400 and (await reply.json())["error"]["type"] == "invalid_request_error"
    assert mock.bill == []


async def test_completions_answer_each_prompt_plain_and_streamed(mock, http):
    body = {
        "model": "gpt-3.5-turbo-instruct",
        "prompt": ["Once upon", "In short out=9"],
        "max_tokens": 5,
        "logprobs": 1,
    }
    _, raw = await post(http, mock, body, path="completions")
    plain = json.loads(raw)
    assert plain["object"] == "text_completion" and [c["finish_reason"] for c in plain["choices"]] == ["length"] * 2
    assert plain["usage"]["completion_tokens"] == 10 == sum(len(c["logprobs"]["tokens"]) for c in plain["choices"])
    _, raw = await post(
        http, mock, {**body, "stream": True, "stream_options": {"include_usage": True}}, path="completions"
    )
    *events, last = chunks(raw)
    texts = ["".join(e["choices"][0]["text"] for e in events if e["choices"][0]["index"] == i) for i in (0, 1)]
    assert texts == [c["text"] for c in plain["choices"]] and last["usage"] == plain["usage"]
    _, raw = await post(http, mock, {"model": "m", "prompt": [1, 2, 3]}, path="completions")
    assert json.loads(raw)["usage"] | {"x": 0} == json.loads(raw)["usage"] | {
        "prompt_tokens": 3,
        "completion_tokens": 16,
        "x": 0,
    }


async def test_embeddings_take_texts_and_tokens_and_are_unit_vectors(mock, http):
    for given, count, prompt in (
        ("hello there", 1, 3),
        (["a", "b"], 2, 2),
        ([1, 2, 3], 1, 3),
        ([[1, 2], [3]], 2, 3),
        ("in=70", 1, 70),
    ):
        _, raw = await post(
            http, mock, {"model": "text-embedding-3-small", "input": given, "dimensions": 32}, path="embeddings"
        )
        body = json.loads(raw)
        assert [d["index"] for d in body["data"]] == list(range(count))
        assert body["usage"] == {"prompt_tokens": prompt, "total_tokens": prompt}
        assert sum(x * x for x in body["data"][0]["embedding"]) == pytest.approx(1, abs=1e-5)
    assert [counts(line) for line in mock.bill][-1] == (70, 0, 0, 0)
    packed = json.loads(
        (
            await post(
                http,
                mock,
                {"model": "m", "input": "in=70", "encoding_format": "base64", "dimensions": 32},
                path="embeddings",
            )
        )[1]
    )
    plain = json.loads(
        (await post(http, mock, {"model": "m", "input": "in=70", "dimensions": 32}, path="embeddings"))[1]
    )
    assert (
        list(struct.unpack("<32f", base64.b64decode(packed["data"][0]["embedding"]))) == plain["data"][0]["embedding"]
    )
    for wrong in ("", [], None, ["a", ""], [{}]):
        reply, _ = await post(http, mock, {"model": "m", "input": wrong}, path="embeddings")
        assert reply.status == 400


async def test_the_bill_is_shown_with_totals_and_can_be_cleared(mock, http):
    for vendor, text in (
        ("alibaba", "in=10 out=5"),
        ("alibaba", "in=20 cached=5 out=6 reasoning=2"),
        ("my-vllm", "in=1 out=1"),
    ):
        await chat(http, mock, text, vendor)
    async with http.get(f"{mock.url}/bill") as reply:
        bill = await reply.json()
    assert bill["vendors"]["alibaba"] == {
        "requests": 2,
        "input_tokens": 30,
        "cached_tokens": 5,
        "output_tokens": 11,
        "reasoning_tokens": 2,
        "cache_written_tokens": 0,
        "cache_written_1h_tokens": 0,
    }
    assert [(m["vendor"], m["model"], m["requests"]) for m in bill["models"]] == [
        ("alibaba", "gpt-4o", 2),
        ("my-vllm", "gpt-4o", 1),
    ]
    assert bill["requests"] == len(bill["lines"]) == 3
    async with http.delete(f"{mock.url}/bill") as reply:
        assert reply.status == 204
    assert mock.bill == []


async def test_the_page_names_every_knob(mock, http):
    async with http.get(f"{mock.url}/") as reply:
        text = await reply.text()
    assert reply.content_type == "text/plain" and f"curl {mock.url}/openai/v1/chat/completions" in text
    for knob in [
        "out",
        "in",
        "cached",
        "written",
        "written1h",
        "reasoning",
        "filtered",
        "delay",
        "gap",
        "status",
        "code",
        "fail",
        "id",
        "cut",
        "error_at",
        "error200",
        "nousage",
        "garbage",
        "hang",
        "drip",
        "crlf",
        "split",
        "keepalive",
        "ignorecap",
    ]:
        assert f"{knob}=" in text


# Schemas and words


def test_values_fit_the_schemas_that_strict_mode_allows():
    node = {
        "type": "object",
        "properties": {"v": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
        "required": ["v", "next"],
    }
    schemas = [
        WEATHER["function"]["parameters"],
        {"$defs": {"node": node}, "$ref": "#/$defs/node"},
        {"type": ["string", "null"], "minLength": 30, "maxLength": 33},
        {"type": "array", "items": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.02}, "minItems": 4},
        {"type": "array", "prefixItems": [{"const": 1}, {"type": "boolean"}], "items": False},
        {"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": True, "minItems": 3, "maxItems": 3},
        {"type": "integer", "minimum": -20, "maximum": -11, "multipleOf": 5},
        {"type": "integer", "minimum": 1.5, "maximum": 2.5},
        {"type": "string", "pattern": "^[A-Z]{2}-\\d{3,}(foo|bar)?$"},
        {"type": "string", "format": "date-time"},
        {
            "allOf": [
                {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
                {"properties": {"b": {"type": "integer"}}, "required": ["b"]},
            ]
        },
        {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 2},
        {"oneOf": [{"type": "integer"}, {"type": "string"}]},
    ]
    for schema in schemas:
        for seed in range(40):
            jsonschema.validate(fit(schema, random.Random(seed)), schema)


def test_a_pattern_is_matched_or_given_back():
    for pattern in ("^a.b$", r"[^abc\d]\w+\s?", r"(?:x|y){2,4}z*", "\u4e00+"):
        assert re.search(pattern, matching(pattern, random.Random(1)))
    assert matching("(?=a)b", random.Random(1)) == "(?=a)b"


def test_answers_have_exactly_the_tokens_ordered():
    for question in ("Tell me about rivers", "介绍一下长江", "?", ""):
        for count in (0, 1, 2, 50, 3000):
            pieces = answer(question, random.Random(3), count)
            assert len(pieces) == count and all(pieces)
        for seed in range(50):
            assert 40 <= len(answer(question, random.Random(seed))) <= 120
    whole = code('{"a": [1, 2, "drei und vier"]}')
    assert all(
        "".join(exactly(whole, n)).rstrip() == "".join(whole) and len(exactly(whole, n)) == n for n in range(1, 60)
    )


# The real client


async def test_the_openai_client_chats_and_streams(mock, sdk):
    messages = [{"role": "user", "content": "Tell me about queues out=20"}]
    done = await sdk.chat.completions.create(model="gpt-4o", messages=messages)
    assert done.usage.completion_tokens == 20 and done.choices[0].finish_reason == "stop"
    text, usage = "", None
    async for chunk in await sdk.chat.completions.create(
        model="gpt-4o", messages=messages, stream=True, stream_options={"include_usage": True}
    ):
        text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
        usage = chunk.usage or usage
    assert text == done.choices[0].message.content and usage == done.usage


async def test_the_openai_client_calls_tools_and_comes_back_with_their_result(mock, sdk):
    messages = [{"role": "user", "content": "call the tool"}]
    done = await sdk.chat.completions.create(model="gpt-4o", messages=messages, tools=[WEATHER])
    (call,) = done.choices[0].message.tool_calls
    jsonschema.validate(json.loads(call.function.arguments), WEATHER["function"]["parameters"])
    messages += [
        done.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "21 degrees"},
    ]
    done = await sdk.chat.completions.create(model="gpt-4o", messages=messages, tools=[WEATHER])
    assert done.choices[0].finish_reason == "stop" and done.choices[0].message.content
    done = await sdk.chat.completions.create(
        model="gpt-4o",
        messages=messages[:1],
        tools=[WEATHER, CLOCK],
        tool_choice={"type": "function", "function": {"name": "get_time"}},
    )
    assert done.choices[0].message.tool_calls[0].function.name == "get_time"
    done = await sdk.chat.completions.create(model="gpt-4o", messages=messages[:1], tools=[WEATHER], tool_choice="none")
    assert done.choices[0].message.tool_calls is None


async def test_the_openai_client_embeds_in_base64_and_lists_models(mock, sdk):
    made = await sdk.embeddings.create(model="text-embedding-3-small", input=["one", "two"])
    assert [len(d.embedding) for d in made.data] == [1536, 1536] and made.usage.prompt_tokens == 2
    names = [m.id async for m in sdk.models.list()]
    assert "gpt-4o" in names and (await sdk.models.retrieve("gpt-4o")).owned_by == "openai"
    with pytest.raises(openai.NotFoundError):
        await sdk.models.retrieve("gpt-0")


async def test_the_openai_client_raises_its_own_errors(mock, sdk):
    async def ask(text, **more):
        return await sdk.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": text}], **more)

    with pytest.raises(openai.RateLimitError) as limited:
        await ask("status=429")
    assert limited.value.response.headers["retry-after"] == "1"
    with pytest.raises(openai.InternalServerError):
        await ask("status=503")
    with pytest.raises(openai.APIError, match="had an error"):
        async for _ in await ask("out=9 error_at=2", stream=True):
            pass
    with pytest.raises(openai.AuthenticationError):
        await sdk.with_options(api_key="bad-key").models.list()
