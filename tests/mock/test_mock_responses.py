"""The mock on OpenAI's responses wire."""

import json

import jsonschema
import pytest
from openai.types.responses import Response
from wired import CLOCK, WEATHER, counts, events, post, streamed

from router.mock.text import tokens

TOOLS = [
    {"type": "function", "name": "get_weather", "parameters": WEATHER, "strict": True},
    {"type": "function", "name": "get_time", "parameters": CLOCK},
    {"type": "web_search"},
]


@pytest.fixture
def url(mock):
    return f"{mock.url}/openai/v1/responses"


async def ask(http, url, words, **more):
    status, _, body = await post(http, url, {"model": "gpt-5-mini", "input": words, **more})
    assert status == 200, body
    if "error200" not in words:
        Response.model_validate(body)
    return body


async def frames(http, url, text, **more):
    raw, whole = await streamed(http, url, {"model": "gpt-5-mini", "input": text, "stream": True, **more})
    told = events(raw)
    assert all(name == data["type"] for name, data in told) and b"[DONE]" not in raw
    assert [data["sequence_number"] for _, data in told] == list(range(len(told)))
    return [data for _, data in told], whole


def said(body):
    return "".join(p["text"] for item in body["output"] if item["type"] == "message" for p in item["content"])


async def test_a_plain_answer_reports_what_the_bill_says(mock, http, url):
    body = await ask(http, url, "Tell me about queues out=30 reasoning=10 cached=4")
    prompt = tokens("Tell me about queues out=30 reasoning=10 cached=4") + 6
    assert (body["object"], body["status"], body["error"]) == ("response", "completed", None)
    assert [item["type"] for item in body["output"]] == ["reasoning", "message"]
    assert body["output"][0]["summary"] == [] and said(body)
    assert body["usage"] == {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 30,
        "output_tokens_details": {"reasoning_tokens": 10},
        "total_tokens": prompt + 30,
    }
    assert counts(mock.bill[0]) == (prompt, 4, 30, 10) and mock.bill[0].endpoint == "responses"
    usage = (await ask(http, url, "in=100 written=20 written1h=30"))["usage"]["input_tokens_details"]
    assert usage["cache_write_tokens"] == 50 and usage["cache_write_tokens_details"]["ttl_12h_tokens"] == 30
    assert mock.bill[1].cache_written_tokens == 50
    assert (await ask(http, url, "nousage=1"))["usage"] is None


async def test_a_stream_is_the_events_of_the_wire(mock, http, url):
    told, whole = await frames(http, url, "hello out=12")
    kinds = [e["type"].removeprefix("response.") for e in told]
    assert whole and kinds == [
        "created", "in_progress", "output_item.added", "content_part.added", *["output_text.delta"] * 12,
        "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert told[0]["response"]["status"] == "in_progress" and told[0]["response"]["usage"] is None
    assert told[2]["item"] == {"id": told[2]["item"]["id"], "type": "message", "role": "assistant", "status": "in_progress", "content": []}  # fmt: skip
    whole_text = "".join(e["delta"] for e in told if e["type"] == "response.output_text.delta")
    last = told[-1]["response"]
    Response.model_validate(last)
    assert whole_text == said(last) == said(await ask(http, url, "hello out=12"))
    assert last["usage"]["output_tokens"] == 12 and counts(mock.bill[0])[2:] == (12, 0)


async def test_thoughts_are_summarised_when_that_is_asked_for(mock, http, url):
    reasoning = {"effort": "high", "summary": "auto"}
    told, _ = await frames(http, url, "hello out=40", reasoning=reasoning)
    body = await ask(http, url, "hello out=40", reasoning=reasoning, include=["reasoning.encrypted_content"])
    thought = "".join(e["delta"] for e in told if e["type"] == "response.reasoning_summary_text.delta")
    assert body["output"][0]["summary"] == [{"type": "summary_text", "text": thought}] and thought
    assert body["output"][0]["encrypted_content"]
    kinds = [e["type"].removeprefix("response.reasoning_summary_") for e in told if "summary" in e["type"]]
    assert (kinds[0], kinds[-2:]) == ("part.added", ["text.done", "part.done"])
    assert counts(mock.bill[0]) == counts(mock.bill[1]) and 12 <= mock.bill[0].reasoning_tokens <= 20
    quiet = await ask(http, url, "hello out=40", reasoning={"effort": "low"})
    assert quiet["output"][0]["summary"] == [] and quiet["usage"]["output_tokens_details"]["reasoning_tokens"] >= 12
    none = await ask(http, url, "hello out=40", reasoning={"effort": "minimal"})
    assert [item["type"] for item in none["output"]] == ["message"]


@pytest.mark.parametrize(
    ("more", "text", "names"),
    [
        ({}, "hello", []),
        ({}, "both tools", ["get_weather", "get_time"]),
        ({"parallel_tool_calls": False}, "both tools", ["get_weather"]),
        ({"tool_choice": "required"}, "hello", ["get_weather"]),
        ({"tool_choice": {"type": "function", "name": "get_time"}}, "hello", ["get_time"]),
        (
            {"tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "get_time"}]}},
            "hello",
            ["get_time"],
        ),
        ({"tool_choice": "none"}, "both tools", []),
    ],
)  # fmt: skip
async def test_functions_are_called_as_chosen(mock, http, url, more, text, names):
    body = await ask(http, url, text, tools=TOOLS, **more)
    told, _ = await frames(http, url, text, tools=TOOLS, **more)
    for output in (body["output"], told[-1]["response"]["output"]):
        calls = [item for item in output if item["type"] == "function_call"]
        assert [call["name"] for call in calls] == names
        for call in calls:
            jsonschema.validate(
                json.loads(call["arguments"]), {"get_weather": WEATHER, "get_time": CLOCK}[call["name"]]
            )
    fragments = {}
    for event in told:
        if event["type"] == "response.function_call_arguments.delta":
            fragments[event["item_id"]] = fragments.get(event["item_id"], "") + event["delta"]
    assert list(fragments.values()) == [call["arguments"] for call in calls]
    assert counts(mock.bill[0]) == counts(mock.bill[1])


async def test_calls_and_their_outputs_belong_together(http, url):
    calls = (await ask(http, url, "both tools", tools=TOOLS, reasoning={"effort": "high"}))["output"]
    question = {"role": "user", "content": [{"type": "input_text", "text": "both tools"}]}
    outputs = [{"type": "function_call_output", "call_id": c["call_id"], "output": "21"} for c in calls[1:]]
    assert said(await ask(http, url, [question, *calls, *outputs], tools=TOOLS))
    assert said(await ask(http, url, outputs, tools=TOOLS, previous_response_id="resp_1"))
    for broken in ([question, *calls, outputs[0]], [question, *outputs]):
        status, _, body = await post(http, url, {"model": "m", "input": broken, "tools": TOOLS})
        assert status == 400 and "function call" in body["error"]["message"]


async def test_structured_answers_validate_and_images_count(http, url):
    text = {"format": {"type": "json_schema", "name": "w", "schema": WEATHER}}
    jsonschema.validate(json.loads(said(await ask(http, url, "x", text=text))), WEATHER)
    assert isinstance(json.loads(said(await ask(http, url, "x", text={"format": {"type": "json_object"}}))), dict)
    image = {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "auto"}
    parts = [{"type": "input_text", "text": "What is this?"}, image]
    body = await ask(http, url, [{"role": "user", "content": parts}], instructions="Be brief.")
    assert body["usage"]["input_tokens"] == tokens("What is this?") + 85 + 6 + tokens("Be brief.") + 3


async def test_how_an_answer_ended(http, url):
    for words, more, why in (
        ("out=30", {"max_output_tokens": 16}, "max_output_tokens"),
        ("filtered=3", {}, "content_filter"),
    ):
        body = await ask(http, url, words, **more)
        assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": why})
        told, _ = await frames(http, url, words, **more)
        assert told[-1]["type"] == "response.incomplete" and told[-1]["response"]["status"] == "incomplete"


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        ("status=400 code=context_length_exceeded", 400, "context_length_exceeded"),
        ("status=400 code=content_policy_violation", 400, "content_policy_violation"),
        ("status=401", 401, "invalid_api_key"),
        ("status=429", 429, "rate_limit_exceeded"),
        ("status=500", 500, None),
    ],
)
async def test_errors_have_the_vendors_shape_and_are_not_billed(mock, http, url, words, status, code):
    for more in ({}, {"stream": True}):
        got, _, body = await post(http, url, {"model": "m", "input": words, **more})
        assert (got, body["error"]["code"]) == (status, code)
    assert mock.bill == []


async def test_faults_of_streams(mock, http, url):
    told, whole = await frames(http, url, "out=10 error_at=3 status=429 code=insufficient_quota")
    assert whole and [e["type"] for e in told[-2:]] == ["error", "response.failed"]
    assert told[-2]["error"]["code"] == "insufficient_quota"
    assert (told[-1]["response"]["status"], told[-1]["response"]["usage"]) == ("failed", None)
    told, whole = await frames(http, url, "out=10 cut=4")
    assert not whole and sum(e["type"] == "response.output_text.delta" for e in told) == 4
    assert [line.output_tokens for line in mock.bill] == [3, 4]
    assert (await ask(http, url, "error200=1 status=429"))["error"]["code"] == "rate_limit_exceeded"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"messages": []}, "unsupported_parameter"),
        ({"max_tokens": 5}, "unsupported_parameter"),
        ({"n": 2}, "unknown_parameter"),
        ({"max_output_tokens": 5}, "integer_below_min_value"),
        ({"input": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, "invalid_value"),
        ({"input": [{"role": "assistant", "content": [{"type": "input_text", "text": "x"}]}]}, "invalid_value"),
        ({"input": [{"content": "x"}]}, "missing_required_parameter"),
        ({"input": []}, None),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "missing_required_parameter"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "missing_required_parameter"),
        ({"previous_response_id": "nope"}, "previous_response_not_found"),
    ],
)
async def test_what_the_vendor_refuses_is_refused(mock, http, url, change, code):
    status, _, body = await post(http, url, {"model": "m", "input": "hi"} | change)
    assert (status, body["error"]["type"], body["error"]["code"]) == (400, "invalid_request_error", code)
    assert mock.bill == []
