"""The real `openai` package against the configuration of `make run`, in a process of its own.

A vendor `echo` is added to it, which keeps what it was sent and answers with fields that nobody knows.
"""

import http.server
import json
import re
import threading
from decimal import Decimal

import openai
import pydantic
import pytest
from support import FareboxProcess, demo_config, until

SEARCH, SUPPORT, BATCH = "fb-demo-search-key", "fb-demo-support-key", "fb-demo-batch-key"
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="


def function(name, **properties):
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


WEATHER = function("get_weather", city={"type": "string"}, days={"type": "integer", "minimum": 1, "maximum": 7})
CLOCK = function("get_time", zone={"type": "string"})


def say(text):
    return [{"role": "system", "content": "You are terse."}, {"role": "user", "content": text}]


class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((dict(self.headers), asked))
        message = {"role": "assistant", "content": "hi", "made_up": {"kept": [1.0, None]}}
        reply = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": asked["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop", "odd": True}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7, "queue_time": 0.25},
            "x_vendor": {"region": "中国"},
        }
        body = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def echo():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def farebox(echo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdk")
    config = demo_config(folder)
    config["vendors"]["echo"] = {
        "dialect": "openai",
        "base_url": f"http://127.0.0.1:{echo.server_port}/v1",
        "api_key": "sk-of-the-echo",
    }
    config["models"]["echo-1"] = {
        "vendor": "echo",
        "tier": "mid",
        "price": {"currency": "USD", "input": 1, "output": 2},
    }
    with FareboxProcess(config, folder) as process:
        yield process


@pytest.fixture(scope="module")
def client(farebox):
    with openai.OpenAI(base_url=f"{farebox.url}/v1", api_key=SEARCH, max_retries=0) as made:
        yield made


@pytest.fixture
async def later(farebox):
    async with openai.AsyncOpenAI(base_url=f"{farebox.url}/v1", api_key=SEARCH, max_retries=0) as made:
        yield made


def as_key(client, key):
    return client.with_options(api_key=key)


def text_of(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


# Chat


def test_a_chat_is_answered_by_the_cheapest_model_that_will_do(client):
    raw = client.chat.completions.with_raw_response.create(model="auto", messages=say("hello out=7 in=31"))
    answer = raw.parse()
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (31, 7)
    assert re.fullmatch(r"fb-[0-9a-f]+", raw.headers["x-farebox-request-id"])
    assert raw.headers["x-farebox-model"] == answer.model
    assert raw.headers["x-farebox-vendor"] in {"deepseek", "alibaba"}
    assert raw.headers["x-farebox-tier"] == "cheap"
    assert raw.headers["x-farebox-reason"]


def test_usage_says_what_it_cost_and_what_the_flagship_would_have(client):
    raw = client.chat.completions.with_raw_response.create(
        model="auto",
        messages=say("hello out=1000 in=2000"),
        extra_body={"farebox": {"vendors": ["openai"], "quality": 0}},
    )
    usage = raw.parse().usage.model_extra
    assert raw.headers["x-farebox-model"] == "gpt-4o-mini"
    assert Decimal(raw.headers["x-farebox-cost"]) == Decimal("0.0009")  # 2000 at 0.15 and 1000 at 0.60 per million
    assert usage["cost"] == pytest.approx(0.0009)
    assert usage["cost_currency"] == "USD"
    assert usage["flagship_cost"] == pytest.approx(0.015)  # 2000 at 2.50 and 1000 at 10


def test_a_price_in_yuan_is_told_in_dollars(client):
    raw = client.chat.completions.with_raw_response.create(model="qwen-plus", messages=say("hello out=1000 in=1000"))
    usage = raw.parse().usage.model_extra
    assert usage["cost_currency"] == "USD"
    assert Decimal(raw.headers["x-farebox-cost"]) == Decimal(str(usage["cost"]))
    assert 0 < usage["cost"] < 0.001


def test_the_tokens_that_were_cached_or_thought_are_told_as_the_vendor_told_them(client):
    answer = client.chat.completions.create(model="gpt-4o", messages=say("out=9 in=100 cached=60 reasoning=4"))
    assert answer.usage.prompt_tokens_details.cached_tokens == 60
    assert answer.usage.completion_tokens_details.reasoning_tokens == 4
    # 40 fresh at 2.50, 60 cached at 1.25 and 9 at 10 per million
    assert answer.usage.model_extra["cost"] == pytest.approx((40 * 2.5 + 60 * 1.25 + 9 * 10) / 1e6)


async def test_the_asynchronous_client_gets_the_same_answer(client, later):
    asked = {"model": "gpt-4o", "messages": say("the same words? out=20")}
    now, then = client.chat.completions.create(**asked), await later.chat.completions.create(**asked)
    assert now.choices == then.choices
    assert now.usage == then.usage


def test_the_output_cap_of_the_client_is_kept_under_either_name(client):
    for cap in ("max_tokens", "max_completion_tokens"):
        for model in ("gpt-4o", "deepseek-chat"):
            answer = client.chat.completions.create(model=model, messages=say("out=50"), **{cap: 5})
            assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("length", 5)


def test_n_choices_are_n_choices(client):
    answer = client.chat.completions.create(model="auto", messages=say("out=4"), n=2)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.usage.completion_tokens == 8


def test_logprobs_survive(client):
    answer = client.chat.completions.create(model="auto", messages=say("out=3"), logprobs=True, top_logprobs=2)
    told = answer.choices[0].logprobs.content
    assert "".join(one.token for one in told) == answer.choices[0].message.content
    assert all(len(one.top_logprobs) == 2 and one.logprob <= 0 for one in told)


def test_logprobs_survive_in_a_stream(client):
    with client.chat.completions.create(
        model="auto", messages=say("out=3"), logprobs=True, top_logprobs=2, stream=True
    ) as stream:
        told = [one for chunk in stream if (said := chunk.choices[0].logprobs) for one in said.content]
    assert len(told) == 3 and all(len(one.top_logprobs) == 2 for one in told)


@pytest.mark.parametrize("url", ["https://example.invalid/cat.png", PIXEL])
def test_an_image_goes_to_a_model_that_sees(client, url):
    content = [{"type": "text", "text": "what is it? out=5"}, {"type": "image_url", "image_url": {"url": url}}]
    raw = client.chat.completions.with_raw_response.create(
        model="auto", messages=[{"role": "user", "content": content}]
    )
    assert raw.parse().usage.completion_tokens == 5
    told = client.post(
        "/chat/completions",
        cast_to=object,
        body={"model": "auto", "messages": [{"role": "user", "content": content}], "farebox": {"dry_run": True}},
    )
    blind = {one["model"] for one in told["candidates"] if one["lost"] == "cannot do images"}
    assert "deepseek-chat" in blind
    assert raw.headers["x-farebox-model"] not in blind


# Streams


def test_a_stream_is_the_plain_answer_in_pieces_and_hides_the_usage_nobody_asked_for(client):
    asked = {"model": "auto", "messages": say("tell me out=12")}
    with client.chat.completions.create(**asked, stream=True) as stream:
        chunks = list(stream)
    assert len(chunks) >= 12
    assert all(chunk.choices for chunk in chunks)
    assert not any(chunk.usage for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert text_of(chunks) == client.chat.completions.create(**asked).choices[0].message.content


async def test_a_stream_ends_with_usage_and_cost_for_who_asks(later):
    stream = await later.chat.completions.create(
        model="gpt-4o-mini",
        messages=say("out=1000 in=2000"),
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    assert stream.response.headers["x-farebox-model"] == "gpt-4o-mini"
    assert [bool(chunk.choices) for chunk in chunks] == [True] * (len(chunks) - 1) + [False]
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    usage = chunks[-1].usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (2000, 1000)
    assert usage.model_extra["cost"] == pytest.approx(0.0009)
    assert usage.model_extra["cost_currency"] == "USD"
    assert usage.model_extra["flagship_cost"] == pytest.approx(0.0009)  # the one that was named


@pytest.mark.parametrize("knob", ["crlf=1", "split=1", "keepalive=1", "drip=1"])
def test_a_stream_is_read_however_the_vendor_writes_it(client, knob):
    with client.chat.completions.create(
        model="auto", messages=say(f"out=6 in=40 {knob}"), stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    assert sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in chunks) == 6
    assert [chunk.usage.prompt_tokens for chunk in chunks if chunk.usage] == [40]
    assert "cost" in chunks[-1].usage.model_extra


def test_a_stream_that_breaks_off_is_an_error_and_no_end(client):
    with (
        client.chat.completions.create(model="gpt-4o", messages=say("out=9 cut=4"), stream=True) as stream,
        pytest.raises(openai.APIError) as caught,
    ):
        list(stream)
    assert caught.value.code == "upstream_error"


async def test_the_helper_for_streams_puts_the_answer_together(later):
    async with later.chat.completions.stream(
        model="auto", messages=say("out=5"), stream_options={"include_usage": True}
    ) as stream:
        kinds = {event.type async for event in stream}
        answer = await stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert answer.choices[0].message.content
    assert answer.usage.completion_tokens == 5


# Tools and shapes


def test_a_tool_is_called_and_its_result_answered(client):
    messages = say("call the tool")
    answer = client.chat.completions.create(model="auto", messages=messages, tools=[WEATHER])
    assert answer.choices[0].finish_reason == "tool_calls"
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments).keys() == {"city", "days"}
    messages += [answer.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    answer = client.chat.completions.create(model="auto", messages=messages, tools=[WEATHER])
    assert answer.choices[0].finish_reason == "stop" and answer.choices[0].message.content


def test_tools_are_called_in_parallel(client):
    answer = client.chat.completions.create(model="auto", messages=say("both tools"), tools=[WEATHER, CLOCK])
    assert [call.function.name for call in answer.choices[0].message.tool_calls] == ["get_weather", "get_time"]


def test_parallel_tool_calls_are_put_together_from_a_stream(client):
    asked = {"model": "auto", "messages": say("both tools"), "tools": [WEATHER, CLOCK]}
    calls = {}
    with client.chat.completions.create(**asked, stream=True) as stream:
        for chunk in stream:
            for piece in chunk.choices[0].delta.tool_calls or ():
                call = calls.setdefault(piece.index, {"id": piece.id, "name": piece.function.name, "arguments": ""})
                call["arguments"] += piece.function.arguments
    plain = client.chat.completions.create(**asked).choices[0].message.tool_calls
    assert [(calls[i]["id"], calls[i]["name"], calls[i]["arguments"]) for i in sorted(calls)] == [
        (call.id, call.function.name, call.function.arguments) for call in plain
    ]


def test_a_tool_that_is_demanded_is_called(client):
    answer = client.chat.completions.create(
        model="auto",
        messages=say("hello"),
        tools=[WEATHER, CLOCK],
        tool_choice={"type": "function", "function": {"name": "get_time"}},
    )
    assert [call.function.name for call in answer.choices[0].message.tool_calls] == ["get_time"]


class Step(pydantic.BaseModel):
    explanation: str
    output: int


class Solution(pydantic.BaseModel):
    steps: list[Step]
    answer: float


def test_an_answer_of_a_given_shape_is_parsed(client):
    answer = client.chat.completions.parse(model="auto", messages=say("2x=8"), response_format=Solution)
    assert isinstance(answer.choices[0].message.parsed, Solution)


def test_an_answer_may_be_any_object(client):
    answer = client.chat.completions.create(
        model="auto", messages=say("as JSON"), response_format={"type": "json_object"}
    )
    assert isinstance(json.loads(answer.choices[0].message.content), dict)


# The other endpoints


async def test_embeddings_are_the_same_as_floats_and_as_base64(client, later):
    texts = ["queues", "价格"]
    packed = await later.embeddings.create(model="embeddings", input=texts)  # the SDK asks for base64 by itself
    floats = client.embeddings.create(model="embeddings", input=texts, encoding_format="float")
    raw = client.embeddings.with_raw_response.create(model="embeddings", input=texts, encoding_format="base64")
    assert [one.index for one in floats.data] == [0, 1]
    assert [len(one.embedding) for one in floats.data] == [1536, 1536]
    for one, two in zip(packed.data, floats.data, strict=True):
        assert one.embedding == pytest.approx(two.embedding, rel=1e-6)
    assert packed.data[0].embedding != pytest.approx(packed.data[1].embedding, rel=1e-6)
    assert floats.usage.total_tokens == packed.usage.total_tokens > 0
    assert floats.usage.model_extra["cost"] > 0
    assert raw.headers["x-farebox-model"] == "text-embedding-3-small"
    assert isinstance(json.loads(raw.text)["data"][0]["embedding"], str)


def test_embeddings_take_token_ids_and_fewer_dimensions(client):
    one = client.embeddings.create(model="text-embedding-3-small", input=[1, 2, 3], dimensions=8)
    assert len(one.data) == 1 and len(one.data[0].embedding) == 8
    two = client.embeddings.create(model="text-embedding-3-small", input=[[1, 2], [3]], dimensions=8)
    assert len(two.data) == 2


def test_the_old_completions_still_complete(client):
    raw = client.completions.with_raw_response.create(
        model="gpt-4o-mini", prompt=["one out=3", "two out=3"], max_tokens=3, echo=True, logprobs=1
    )
    answer = raw.parse()
    assert answer.object == "text_completion"
    assert [choice.text.startswith(word) for choice, word in zip(answer.choices, ("one", "two"), strict=True)] == [
        True
    ] * 2
    assert answer.choices[0].logprobs.tokens
    assert answer.usage.completion_tokens == 6
    assert raw.headers["x-farebox-cost"]


async def test_the_old_completions_still_stream(later):
    stream = await later.completions.create(model="gpt-4o-mini", prompt="count out=4", max_tokens=4, stream=True)
    chunks = [chunk async for chunk in stream]
    assert sum(bool(chunk.choices[0].text) for chunk in chunks) == 4
    assert all(chunk.choices for chunk in chunks)


def test_models_are_those_that_the_key_may_use(client):
    assert {model.id for model in client.models.list()} >= {"auto", "best", "bulk", "embeddings", "gpt-4o", "qwen-plus"}
    assert {model.id for model in as_key(client, BATCH).models.list()} == {"bulk"}
    assert {model.id for model in as_key(client, SUPPORT).models.list()} == {"auto", "best", "bulk", "embeddings"}


async def test_a_model_can_be_looked_up(later):
    model = await later.models.retrieve("auto")
    assert (model.id, model.object, model.owned_by) == ("auto", "model", "farebox")
    assert model.created > 0


# What is asked of Farebox itself


def chosen(client, model="auto", **wishes):
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=say("hello out=3"), extra_body={"farebox": wishes}
    )
    return raw.headers["x-farebox-model"]


def test_a_wish_for_quality_beats_the_route(client):
    assert chosen(client, quality=0.99) in {"gpt-4o", "claude-sonnet-4-5"}
    assert chosen(client, model="bulk", quality=0) == "glm-4-flash"


def test_wishes_for_a_tier_and_for_vendors_are_kept(client):
    assert chosen(client, tier="flagship") in {"gpt-4o", "claude-sonnet-4-5"}
    assert chosen(client, model="bulk", tier="free") == "glm-4-flash"
    assert chosen(client, vendors=["anthropic"]) == "claude-sonnet-4-5"
    assert chosen(client, model="bulk", vendors="bytedance,openai", quality=0) in {"doubao-pro-32k", "gpt-4o-mini"}


def test_a_wish_may_be_a_header_and_that_wins(client):
    raw = client.chat.completions.with_raw_response.create(
        model="auto",
        messages=say("hello out=3"),
        extra_headers={"x-farebox-tier": "flagship", "x-farebox-vendors": "openai"},
        extra_body={"farebox": {"tier": "cheap"}},
    )
    assert raw.headers["x-farebox-model"] == "gpt-4o"


def test_max_cost_makes_the_answer_smaller_or_refuses_it(client):
    answer = client.chat.completions.create(
        model="gpt-4o", messages=say("out=4000"), extra_body={"farebox": {"max_cost": "0.005"}}
    )
    assert answer.choices[0].finish_reason == "length"
    assert 0 < answer.usage.model_extra["cost"] <= 0.005
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model="gpt-4o", messages=say("hi"), extra_body={"farebox": {"max_cost": 0}})
    assert (caught.value.status_code, caught.value.code) == (402, "budget_exceeded")


def test_tags_are_stored_in_the_ledger(client, farebox):
    for tags in ({"app": "web", "user": "Zoë"}, "app=web,user=Zoë"):
        raw = client.chat.completions.with_raw_response.create(
            model="auto", messages=say("hello out=3"), extra_body={"farebox": {"tags": tags}}
        )
        (row,) = [row for row in farebox.rows() if row["request_id"] == raw.headers["x-farebox-request-id"]]
        assert json.loads(row["tags"]) == {"app": "web", "user": "Zoë"}


def test_a_dry_run_tells_the_decision_and_calls_nobody(client, farebox):
    before = len(farebox.rows())
    raw = client.chat.completions.with_raw_response.create(
        model="auto", messages=say("hello"), extra_body={"farebox": {"dry_run": True, "quality": 0.9}}
    )
    told = json.loads(raw.text)
    assert told["chosen"] == raw.headers["x-farebox-model"] == "deepseek-chat"
    assert {one["model"]: bool(one["lost"]) for one in told["candidates"]}["gpt-4o-mini"]
    assert len(farebox.rows()) == before


def test_unknown_fields_survive_both_ways(client, echo):
    raw = client.chat.completions.with_raw_response.create(
        model="echo-1",
        messages=[{"role": "user", "content": "hi", "made_up": 1}],
        user="u-1",
        extra_body={"made_up": {"deep": [1.5, None, "é"]}, "farebox": {"tags": {"a": "b"}}},
        extra_headers={"x-of-the-client": "1", "cookie": "a=b"},
    )
    headers, asked = echo.asked[-1]
    assert asked["made_up"] == {"deep": [1.5, None, "é"]}
    assert asked["messages"] == [{"role": "user", "content": "hi", "made_up": 1}]
    assert asked["user"] == "u-1"
    assert "farebox" not in asked
    assert headers["Authorization"] == "Bearer sk-of-the-echo"
    assert not {"x-of-the-client", "cookie"} & {name.lower() for name in headers}
    answer = raw.parse()
    assert answer.model_extra["x_vendor"] == {"region": "中国"}
    assert answer.choices[0].model_extra["odd"] is True
    assert answer.choices[0].message.model_extra["made_up"] == {"kept": [1.0, None]}
    assert answer.usage.model_extra == {
        "queue_time": 0.25,
        "cost": pytest.approx(9e-6),
        "cost_currency": "USD",
        "flagship_cost": pytest.approx(9e-6),
    }


# Errors are of the class that the SDK has for them


def error(client, kind, status, code, text="hi", **asked):
    with pytest.raises(kind) as caught:
        client.chat.completions.create(**{"model": "gpt-4o", "messages": say(text), **asked})
    found = caught.value
    assert type(found) is kind
    assert (found.status_code, found.code) == (status, code)
    assert found.body["message"] and found.body["type"]
    return found


def test_an_unknown_key_is_an_authentication_error(client):
    error(as_key(client, "fb-nobody"), openai.AuthenticationError, 401, "invalid_api_key")


def test_what_is_for_others_is_a_permission_denied_error(client):
    assert (
        "bulk" in error(as_key(client, BATCH), openai.PermissionDeniedError, 403, "not_allowed", model="auto").message
    )
    error(as_key(client, SUPPORT), openai.PermissionDeniedError, 403, "not_allowed")


def test_an_unknown_model_is_a_not_found_error(client):
    unknown = error(client, openai.NotFoundError, 404, "model_not_found", model="no-such")
    assert "auto" in unknown.message
    assert unknown.request_id == unknown.response.headers["x-farebox-request-id"]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such")


def test_a_bad_field_is_a_bad_request_error_that_names_it(client):
    assert error(client, openai.BadRequestError, 400, "invalid_request", max_tokens=0).param == "max_tokens"


@pytest.mark.parametrize(
    ("vendors", "ours"),
    [
        ("", "invalid_request"),
        ("code=context_length_exceeded", "context_length_exceeded"),
        ("code=content_filter", "content_filter"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_vendors_refusal_is_a_bad_request_error_with_its_own_words(client, vendors, ours, stream):
    found = error(client, openai.BadRequestError, 400, ours, f"status=400 {vendors}", stream=stream)
    said = {"invalid_request": "refuse it", "context_length_exceeded": "maximum context", "content_filter": "filtered"}
    assert said[ours] in found.message


@pytest.mark.parametrize("stream", [False, True])
def test_a_rate_limit_is_a_rate_limit_error_that_says_how_long(client, stream):
    found = error(client, openai.RateLimitError, 429, "rate_limited", "status=429", stream=stream)
    assert int(found.response.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("status", "shown", "code"),
    [
        (500, 502, "upstream_error"),
        (401, 502, "upstream_error"),
        (402, 502, "upstream_error"),
        (503, 503, "overloaded"),
    ],
)
def test_what_fails_behind_us_is_an_internal_server_error_that_names_each_attempt(client, status, shown, code):
    found = error(client, openai.InternalServerError, shown, code, f"status={status}", model="best")
    tried = [(one["model"], one["status"]) for one in found.body["attempts"]]
    assert sorted(tried) == [("claude-sonnet-4-5", status), ("gpt-4o", status)]
    assert all(model in found.message for model, _ in tried)
    assert found.response.headers["x-farebox-request-id"]


def test_a_vendor_that_fails_once_is_replaced_by_the_next(client):
    raw = client.chat.completions.with_raw_response.create(model="best", messages=say("out=3 status=500 fail=1 id=py1"))
    assert raw.parse().usage.completion_tokens == 3


def test_the_sdk_tries_again_what_may_pass(client):
    retrying = client.with_options(max_retries=2)
    answer = retrying.chat.completions.create(model="gpt-4o", messages=say("out=3 status=503 fail=1 id=py2"))
    assert answer.usage.completion_tokens == 3


def test_a_spent_budget_is_no_rate_limit_and_is_not_tried_again(client, farebox):
    batch = as_key(client, BATCH).with_options(max_retries=2)
    asked = {"model": "bulk", "extra_body": {"farebox": {"vendors": ["openai"], "quality": 0}}}
    batch.chat.completions.create(messages=say("out=1 in=200000"), **asked)  # 0.03 of 0.0006
    until(lambda: farebox.metric("farebox_budget_spent", team="batch")[0] > 0.0006, "it is spent")
    found = error(batch, openai.APIStatusError, 402, "budget_exceeded", **asked)
    budget = found.body["budget"]
    assert (budget["owner"], budget["per"], budget["currency"]) == ("batch", "hour", "USD")
    assert (budget["limit"], budget["remaining"]) == ("0.0006", "0")
    assert budget["resets_at"] in found.message
    assert farebox.metric("farebox_refused_total", team="batch", reason="budget_exceeded") == [1]


def test_what_was_said_and_signed_is_not_in_the_log(client, farebox):
    client.chat.completions.create(model="auto", messages=say("a-secret-of-mine out=3"))
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="best", messages=say("a-secret-of-mine status=500"))
    farebox.rows()
    assert "an attempt ended" in farebox.log
    for secret in ("a-secret-of-mine", SEARCH, SUPPORT, BATCH, "sk-of-the-echo"):
        assert secret not in farebox.log


def test_afterwards_nothing_is_held_and_the_ledger_equals_the_metrics(client, farebox):
    client.chat.completions.create(model="gpt-4o", messages=say("out=3 in=20"))
    spent = sum(row["cost"] for row in farebox.rows())
    assert spent > 0
    assert sum(farebox.metric("farebox_cost_total")) == pytest.approx(spent / 1e9, abs=1e-9)
    assert "Traceback" not in farebox.log and '"frames"' not in farebox.log
