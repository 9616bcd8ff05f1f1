"""The mock on Anthropic's wire."""

import json
from collections import Counter

import aiohttp
import jsonschema
import pytest
from wired import CLOCK, WEATHER, counts, events, post, streamed

from router.mock.text import tokens

VERSION = {"x-api-key": "sk-any", "anthropic-version": "2023-06-01"}
TOOLS = [{"name": "get_weather", "input_schema": WEATHER}, {"name": "get_time", "input_schema": CLOCK}]


def user(text, **more):
    return {"model": "claude-sonnet-4-5", "max_tokens": 4000, "messages": [{"role": "user", "content": text}], **more}


@pytest.fixture
def url(mock):
    return f"{mock.url}/anthropic/v1/messages"


async def ask(http, url, text, **more):
    status, _, body = await post(http, url, user(text, **more), **VERSION)
    assert status == 200, body
    return body


async def frames(http, url, text, **more):
    raw, whole = await streamed(http, url, user(text, stream=True, **more), **VERSION)
    told = events(raw)
    assert all(name == data["type"] for name, data in told)
    return [data for _, data in told], whole


def said(told, kind="text_delta", key="text"):
    deltas = [e["delta"] for e in told if e["type"] == "content_block_delta"]
    return [d[key] for d in deltas if d["type"] == kind and d[key]]


async def test_a_plain_answer_reports_what_the_bill_says(mock, http, url):
    status, headers, body = await post(http, url, user("Tell me about queues out=20"), **VERSION)
    assert status == 200 and headers["anthropic-ratelimit-requests-remaining"] == "49"
    assert body["id"].startswith("msg_") and (body["type"], body["role"]) == ("message", "assistant")
    assert [block["type"] for block in body["content"]] == ["text"]
    assert (body["stop_reason"], body["stop_sequence"]) == ("end_turn", None)
    prompt = tokens("Tell me about queues out=20") + 6
    assert body["usage"] == {
        "input_tokens": prompt,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 20,
        "service_tier": "standard",
    }
    (line,) = mock.bill
    assert counts(line) == (prompt, 0, 20, 0) and line.endpoint == "messages"
    assert headers["request-id"] == line.request_id


async def test_both_addresses_and_bearer_keys_work(mock, http):
    for path in ("/anthropic/v1/messages", "/any/v1/messages", "/any/anthropic/v1/messages"):
        status, _, _ = await post(http, mock.url + path, user("hi"), **{"anthropic-version": "2023-06-01"})
        assert status == 200


async def test_a_stream_is_the_events_of_the_wire_with_cumulative_usage(mock, http, url):
    told, whole = await frames(http, url, "hello out=12 in=40 cached=30")
    kinds = [e["type"] for e in told]
    assert whole and kinds[:3] == ["message_start", "content_block_start", "ping"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    start = told[0]["message"]
    assert start["content"] == [] and start["stop_reason"] is None
    assert start["usage"]["input_tokens"] == 10 and start["usage"]["cache_read_input_tokens"] == 30
    assert start["usage"]["output_tokens"] == 1
    assert told[1]["content_block"] == {"type": "text", "text": ""} and len(said(told)) == 12
    assert told[-2] == {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {
            "input_tokens": 10,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 30,
            "output_tokens": 12,
        },
    }
    assert counts(mock.bill[0]) == (40, 30, 12, 0)
    plain = await ask(http, url, "hello out=12 in=40 cached=30")
    assert plain["content"][0]["text"] == "".join(said(told))


async def test_split_leaves_the_input_side_to_the_start_and_nousage_leaves_all_out(http, url):
    told, _ = await frames(http, url, "hello out=3 split=1")
    assert told[-2]["usage"] == {"output_tokens": 3}
    told, _ = await frames(http, url, "hello out=3 nousage=1")
    assert "usage" not in told[-2] and "usage" not in told[0]["message"]
    assert "usage" not in await ask(http, url, "hello nousage=1")


async def test_thinking_is_a_signed_block_within_the_output(mock, http, url):
    thinking = {"type": "enabled", "budget_tokens": 1024}
    body = await ask(http, url, "hello out=50", thinking=thinking)
    first, second = body["content"]
    assert first["type"] == "thinking" and first["thinking"] and first["signature"] and second["type"] == "text"
    thought = body["usage"]["output_tokens_details"]["thinking_tokens"]
    assert body["usage"]["output_tokens"] == 50 and 12 <= thought <= 25
    told, _ = await frames(http, url, "hello out=50", thinking=thinking)
    assert "".join(said(told, "thinking_delta", "thinking")) == first["thinking"]
    assert said(told, "signature_delta", "signature") == [first["signature"]]
    assert "".join(said(told)) == second["text"] and told[-2]["usage"]["output_tokens"] == 50
    assert [counts(line)[2:] for line in mock.bill] == [(50, thought)] * 2
    kept = await ask(http, url, "hello out=50", thinking={"type": "adaptive", "display": "omitted"})
    assert kept["content"][0]["thinking"] == "" and kept["content"][0]["signature"]
    told, _ = await frames(http, url, "out=50 reasoning=30 cut=10", thinking=thinking)
    assert len(said(told, "thinking_delta", "thinking")) == 10 and counts(mock.bill[-1])[2:] == (10, 10)


async def test_the_bill_of_a_cut_stream_has_the_thoughts_nobody_saw(mock, http, url):
    await frames(http, url, "out=50 reasoning=30 cut=5")
    assert counts(mock.bill[0])[2:] == (35, 30)


@pytest.mark.parametrize(
    ("choice", "text", "names"),
    [
        ({"type": "auto"}, "hello", []),
        ({"type": "auto"}, "call the tool", ["get_weather"]),
        ({"type": "auto"}, "both tools", ["get_weather", "get_time"]),
        ({"type": "auto", "disable_parallel_tool_use": True}, "both tools", ["get_weather"]),
        ({"type": "any"}, "hello", ["get_weather"]),
        ({"type": "tool", "name": "get_time"}, "hello", ["get_time"]),
        ({"type": "none"}, "both tools", []),
    ],
)
async def test_tools_are_called_as_chosen(http, url, choice, text, names):
    body = await ask(http, url, text, tools=TOOLS, tool_choice=choice)
    calls = [block for block in body["content"] if block["type"] == "tool_use"]
    assert [call["name"] for call in calls] == names
    assert body["stop_reason"] == ("tool_use" if names else "end_turn")
    for call in calls:
        jsonschema.validate(call["input"], {"get_weather": WEATHER, "get_time": CLOCK}[call["name"]])
        assert call["id"].startswith("toolu_")


async def test_tool_calls_stream_as_fragments_of_json_and_their_results_are_talked_about(mock, http, url):
    told, _ = await frames(http, url, "both tools", tools=TOOLS)
    starts = [e["content_block"] for e in told if e["type"] == "content_block_start"]
    assert [s["name"] for s in starts] == ["get_weather", "get_time"] and all(s["input"] == {} for s in starts)
    fragments = [e for e in told if e["type"] == "content_block_delta"]
    for index, schema in enumerate((WEATHER, CLOCK)):
        whole = "".join(e["delta"]["partial_json"] for e in fragments if e["index"] == index)
        starts[index]["input"] = json.loads(whole)
        jsonschema.validate(starts[index]["input"], schema)
    assert told[-2]["delta"]["stop_reason"] == "tool_use"
    assert told[-2]["usage"]["output_tokens"] == mock.bill[0].output_tokens > 4
    results = [{"type": "tool_result", "tool_use_id": s["id"], "content": "21"} for s in starts]
    turns = [
        {"role": "user", "content": "both tools"},
        {"role": "assistant", "content": starts},
        {"role": "user", "content": results},
    ]
    assert (await ask(http, url, "", messages=turns, tools=TOOLS))["stop_reason"] == "end_turn"
    for broken in (turns[:2], [turns[0], turns[2]], [*turns[:2], {"role": "user", "content": "and?"}]):
        status, _, body = await post(http, url, user("", messages=broken, tools=TOOLS), **VERSION)
        assert status == 400 and "tool_" in body["error"]["message"]


async def test_how_an_answer_ended(http, url):
    assert (await ask(http, url, "out=20", max_tokens=5))["stop_reason"] == "max_tokens"
    whole = (await ask(http, url, "queues"))["content"][0]["text"]
    body = await ask(http, url, "queues", stop_sequences=["nope", whole[20:25]])
    assert (body["stop_reason"], body["stop_sequence"]) == ("stop_sequence", whole[20:25])
    refused = await ask(http, url, "filtered=0")
    assert (refused["stop_reason"], refused["content"]) == ("refusal", []) and refused["stop_details"]
    told, _ = await frames(http, url, "filtered=4 out=9")
    assert told[-2]["delta"]["stop_reason"] == "refusal" and told[-2]["usage"]["output_tokens"] == 4
    assert (await ask(http, url, "warm up", max_tokens=0))["usage"]["output_tokens"] == 0


async def test_structured_answers_validate(http, url):
    wanted = {"format": {"type": "json_schema", "schema": WEATHER}}
    body = await ask(http, url, "list", output_config=wanted)
    jsonschema.validate(json.loads(body["content"][0]["text"]), WEATHER)


async def test_a_marked_prefix_is_written_once_and_read_after(mock, http, url):
    system = [{"type": "text", "text": "rules " * 100, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    mark = {"cache_control": {"type": "ephemeral"}}
    turns = [{"role": "user", "content": [{"type": "text", "text": "first question", **mark}]}]
    first = (await ask(http, url, "", system=system, messages=turns))["usage"]
    assert first["cache_creation"] == {"ephemeral_5m_input_tokens": 7, "ephemeral_1h_input_tokens": 153}
    assert (first["cache_read_input_tokens"], first["input_tokens"]) == (0, 0)
    again = (await ask(http, url, "", system=system, messages=turns))["usage"]
    assert (again["cache_read_input_tokens"], again["cache_creation_input_tokens"]) == (160, 0)
    del turns[0]["content"][0]["cache_control"]
    turns += [
        {"role": "assistant", "content": "an answer"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "second question", **mark}, {"type": "text", "text": "tail"}],
        },
    ]
    later = (await ask(http, url, "", system=system, messages=turns))["usage"]
    assert later["cache_read_input_tokens"] == 160 and later["cache_creation"]["ephemeral_5m_input_tokens"] == 13
    assert later["input_tokens"] == tokens("tail")
    told = [(x.input_tokens, x.cached_tokens, x.cache_written_tokens, x.cache_written_1h_tokens) for x in mock.bill]
    assert told == [(160, 0, 160, 153), (160, 160, 0, 0), (174, 160, 13, 0)]
    other = (await ask(http, url, "", system=system, messages=turns, model="claude-haiku-4-5"))["usage"]
    assert other["cache_read_input_tokens"] == 0
    whole = (await ask(http, url, "once more", cache_control={"type": "ephemeral"}))["usage"]
    assert whole["input_tokens"] == 0 and whole["cache_creation_input_tokens"] > 0


async def test_cache_counts_can_be_steered(mock, http, url):
    usage = (await ask(http, url, "in=1000 cached=600 written=200 written1h=100"))["usage"]
    assert usage["input_tokens"] == 100 and usage["cache_read_input_tokens"] == 600
    assert usage["cache_creation"] == {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 100}
    assert (mock.bill[0].cache_written_tokens, mock.bill[0].cache_written_1h_tokens) == (300, 100)


async def test_counting_says_what_the_message_would_report_and_costs_nothing(mock, http, url):
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    body = user([{"type": "text", "text": "What is this?"}, image], system="Be brief.", tools=TOOLS)
    usage = (await post(http, url, body, **VERSION))[2]["usage"]
    del body["max_tokens"]
    status, _, counted = await post(http, f"{url}/count_tokens", body, **VERSION)
    assert status == 200 and counted == {"input_tokens": usage["input_tokens"]} and usage["input_tokens"] > 85
    assert len(mock.bill) == 1


@pytest.mark.parametrize(
    ("words", "status", "kind"),
    [
        ("status=400", 400, "invalid_request_error"),
        ("status=400 code=context_length_exceeded", 400, "invalid_request_error"),
        ("status=401", 401, "authentication_error"),
        ("status=402", 402, "billing_error"),
        ("status=429 code=insufficient_quota", 402, "billing_error"),
        ("status=403", 403, "permission_error"),
        ("status=404", 404, "not_found_error"),
        ("status=413", 413, "request_too_large"),
        ("status=429", 429, "rate_limit_error"),
        ("status=500", 500, "api_error"),
        ("status=504", 504, "timeout_error"),
        ("status=529", 529, "overloaded_error"),
        ("status=418 code=teapot_error", 418, "teapot_error"),
    ],
)
async def test_errors_have_the_vendors_shape_and_are_not_billed(mock, http, url, words, status, kind):
    for more in ({}, {"stream": True}):
        got, headers, body = await post(http, url, user(words, **more), **VERSION)
        assert (got, body["type"], body["error"]["type"]) == (status, "error", kind) and body["error"]["message"]
        assert body["request_id"] == headers["request-id"]
        assert ("retry-after" in headers) == (kind == "rate_limit_error")
    assert mock.bill == []


async def test_faults_of_streams(mock, http, url):
    told, whole = await frames(http, url, "out=10 error_at=3 status=529")
    assert whole and told[-1] == {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    told, whole = await frames(http, url, "out=10 cut=4")
    assert not whole and len(said(told)) == 4
    assert [line.output_tokens for line in mock.bill] == [3, 4]
    body = await ask(http, url, "error200=1 status=429")
    assert body["error"]["type"] == "rate_limit_error"
    assert isinstance((await post(http, url, user("garbage=1"), **VERSION))[2], bytes)
    for knobs in ("drip=1", "crlf=1", "keepalive=1", "drip=1 crlf=1 keepalive=1"):
        told, _ = await frames(http, url, f"out=6 {knobs}")
        assert Counter(e["type"] for e in told)["content_block_delta"] == 6


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"messages": []}, "at least one message"),
        ({"messages": [{"role": "system", "content": "x"}]}, "Unexpected role"),
        ({"messages": [{"role": "user", "content": ""}]}, "non-empty content"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": ""}, {"type": "text", "text": "a"}]}]}, "non-empty"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "image_url"),
        ({"n": 2}, "n: Extra inputs are not permitted"),
        ({"temperature": 1.5}, "temperature"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tools": [{"name": "x"}]}, "input_schema"),
        ({"tools": [{"name": "a b", "input_schema": CLOCK}]}, "pattern"),
        ({"tools": TOOLS, "tool_choice": {"type": "tool", "name": "other"}}, "not found"),
        ({"thinking": {"type": "enabled", "budget_tokens": 100}}, "1024"),
        ({"thinking": {"type": "enabled", "budget_tokens": 4000}}, "greater than"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}, "temperature": 0.5}, "temperature"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}, "tools": TOOLS, "tool_choice": {"type": "any"}}, "forces"),
        ({"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}}, "additionalProperties"),
        ({"output_config": {"format": {"type": "json_object"}}}, "json_schema"),
        ({"system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}] * 5}, "maximum of 4"),
        ({"system": [{"type": "text", "text": "a", "cache_control": {"type": "x"}}]}, "cache_control"),
        (
            {
                "system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}],
                "cache_control": {"type": "ephemeral", "ttl": "1h"},
            },
            "ttl='1h'",
        ),
    ],
)  # fmt: skip
async def test_what_the_vendor_refuses_is_refused(mock, http, url, change, sentence):
    body = {key: value for key, value in (user("hello") | change).items() if value is not None}
    status, _, told = await post(http, url, body, **VERSION)
    assert status == 400 and told["error"]["type"] == "invalid_request_error" and sentence in told["error"]["message"]
    assert mock.bill == []


async def test_thoughts_come_back_signed_and_first(http, url):
    thinking = {"type": "enabled", "budget_tokens": 1024}
    first = await ask(http, url, "call the tool", tools=TOOLS, thinking=thinking)
    call = first["content"][-1]
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": "21"}

    def turns(content):
        return [
            {"role": "user", "content": "call the tool"},
            {"role": "assistant", "content": content},
            {"role": "user", "content": [result]},
        ]

    more = {"tools": TOOLS, "thinking": thinking}
    assert (await ask(http, url, "", messages=turns(first["content"]), **more))["stop_reason"] == "end_turn"
    status, _, body = await post(http, url, user("", messages=turns([call]), **more), **VERSION)
    assert status == 400 and "Expected `thinking`" in body["error"]["message"]
    first["content"][0]["thinking"] += "!"
    status, _, body = await post(http, url, user("", messages=turns(first["content"]), **more), **VERSION)
    assert status == 400 and "signature" in body["error"]["message"]


async def test_who_calls_and_which_version_must_be_told(mock):
    async with aiohttp.ClientSession() as http:
        for headers, status in (
            ({"anthropic-version": "2023-06-01"}, 401),
            ({"anthropic-version": "2023-06-01", "x-api-key": "bad-key"}, 401),
            ({"x-api-key": "k"}, 400),
        ):
            got, _, body = await post(http, f"{mock.url}/anthropic/v1/messages", user("hi"), **headers)
            assert got == status and body["type"] == "error"
