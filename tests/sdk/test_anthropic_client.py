"""The real `anthropic` package against the configuration of `make run`: a vendor of its own wire, OpenAI's and Google's."""

import base64
import json
import urllib.error
import urllib.request

import anthropic
import pytest
from support import FareboxProcess, demo_config

KEY = "fb-demo-search-key"
MODELS = {"anthropic": "anthropic/claude-sonnet-4-5", "openai": "gpt-4o-mini", "gemini": "gemini-2.5-flash"}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
PNG = {"type": "base64", "media_type": "image/png", "data": PIXEL}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"name": "get_weather", "description": "The weather of a city", "input_schema": CITY}
CLOCK = {
    "name": "get_time",
    "input_schema": {"type": "object", "properties": {"zone": {"type": "string"}}, "required": ["zone"]},
}


@pytest.fixture(scope="module")
def farebox(tmp_path_factory):
    folder = tmp_path_factory.mktemp("anthropic-client")
    config = demo_config(folder)
    config["vendors"]["google"] = {}
    config["models"]["gemini-2.5-flash"] = {"vendor": "google", "tier": "cheap", "quality": 0.8}
    with FareboxProcess(config, folder) as process:
        yield process


@pytest.fixture(scope="module")
def client(farebox):
    with anthropic.Anthropic(base_url=farebox.url, api_key=KEY, max_retries=0) as made:
        yield made


@pytest.fixture
async def later(farebox):
    async with anthropic.AsyncAnthropic(base_url=farebox.url, auth_token=KEY, api_key=None, max_retries=0) as made:
        yield made


@pytest.fixture(params=MODELS, ids=lambda wire: f"vendor-on-{wire}")
def model(request):
    return MODELS[request.param]


def say(*content):
    return [{"role": "user", "content": list(content) if len(content) > 1 else content[0]}]


def text_of(reply):
    return "".join(block.text for block in reply.content if block.type == "text")


async def test_the_asynchronous_client_with_a_bearer_token_gets_the_same_answer(client, later, model):
    asked = {"model": model, "max_tokens": 300, "messages": say("the same words? out=20 in=50")}
    now, then = client.messages.create(**asked), await later.messages.create(**asked)
    assert (text_of(now), now.stop_reason, now.usage.output_tokens) == (text_of(then), "end_turn", 20)
    assert then.usage.input_tokens == 50
    async with later.messages.stream(**asked) as stream:
        assert "".join([piece async for piece in stream.text_stream]) == text_of(now)
        assert (await stream.get_final_message()).usage.input_tokens == 50


def test_the_helper_for_streams_tells_events_in_their_order(client, model):
    with client.messages.stream(model=model, max_tokens=300, messages=say("out=6")) as stream:
        kinds = [event.type for event in stream]
        reply = stream.get_final_message()
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
    own = [kind for kind in kinds if kind not in {"text", "ping"}]
    assert own[1] == "content_block_start" and own[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert kinds.count("text") == 6
    assert (reply.stop_reason, reply.usage.output_tokens) == ("end_turn", 6)


@pytest.mark.parametrize(
    "source", [PNG, {"type": "url", "url": "https://example.invalid/cat.png"}], ids=["data", "url"]
)
def test_a_picture_is_seen(client, model, source):
    picture = {"type": "image", "source": source}
    reply = client.messages.create(
        model=model, max_tokens=50, messages=say(picture, {"type": "text", "text": "what is it? out=5"})
    )
    assert reply.usage.output_tokens == 5


@pytest.mark.parametrize(
    "source",
    [
        {"type": "text", "media_type": "text/plain", "data": "The sky is grey."},
        {"type": "base64", "media_type": "application/pdf", "data": base64.b64encode(b"%PDF-1.4").decode()},
    ],
    ids=["text", "pdf"],
)
def test_a_document_is_read(client, model, source):
    document = {"type": "document", "title": "Sky", "source": source, "cache_control": {"type": "ephemeral"}}
    reply = client.messages.create(
        model=model, max_tokens=50, messages=say(document, {"type": "text", "text": "colour? out=4"})
    )
    assert reply.usage.output_tokens == 4


def test_a_document_by_address_goes_to_its_own_vendor_only_and_is_refused_by_name_elsewhere(client, model):
    document = {"type": "document", "source": {"type": "url", "url": "https://example.invalid/a.pdf"}}
    asked = {"model": model, "max_tokens": 50, "messages": say(document, {"type": "text", "text": "out=4"})}
    if model == MODELS["anthropic"]:
        client.messages.create(**asked)
        return
    with pytest.raises(anthropic.BadRequestError, match=r"`messages\[0\].content\[0\]` of type document"):
        client.messages.create(**asked)


def rounds(client, model, tools, first, **more):
    """A conversation of a tool or two: (what the model called, its last answer)."""
    messages = say(first)
    reply = client.messages.create(model=model, max_tokens=500, messages=messages, tools=tools, **more)
    calls = [block for block in reply.content if block.type == "tool_use"]
    assert reply.stop_reason == "tool_use"
    messages += [{"role": "assistant", "content": reply.content}]
    results = [
        {"type": "tool_result", "tool_use_id": call.id, "content": [
            {"type": "text", "text": "sunny"}, {"type": "image", "source": PNG},
        ]} if i == 0 else {"type": "tool_result", "tool_use_id": call.id, "content": "no such zone", "is_error": True}
        for i, call in enumerate(calls)
    ]  # fmt: skip
    messages += [{"role": "user", "content": [*results, {"type": "text", "text": "and now? out=7"}]}]
    return calls, client.messages.create(model=model, max_tokens=500, messages=messages, tools=tools)


def test_tools_are_called_in_parallel_and_their_results_pictures_and_errors_come_back(client, model):
    calls, reply = rounds(client, model, [WEATHER, CLOCK], "both tools")
    assert [call.name for call in calls] == ["get_weather", "get_time"]
    assert len({call.id for call in calls}) == 2
    assert all(isinstance(call.input, dict) and call.input for call in calls)
    assert text_of(reply) or reply.stop_reason == "tool_use"


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ({"type": "any"}, {"get_weather"}),
        ({"type": "tool", "name": "get_time"}, {"get_time"}),
        ({"type": "none"}, set()),
        ({"type": "auto", "disable_parallel_tool_use": True}, None),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_a_choice_of_tools_is_kept(client, model, choice, called):
    asked = {"model": model, "max_tokens": 500, "messages": say("hello"), "tools": [WEATHER, CLOCK]}
    if model == MODELS["gemini"] and choice.get("disable_parallel_tool_use"):
        with pytest.raises(anthropic.BadRequestError, match="parallel_tool_calls"):
            client.messages.create(**asked, tool_choice=choice)
        return
    reply = client.messages.create(**asked, tool_choice=choice)
    names = {block.name for block in reply.content if block.type == "tool_use"}
    assert called is None or names == called or (choice["type"] == "any" and names)


def test_calls_are_put_together_from_a_stream(client, model):
    asked = {"model": model, "max_tokens": 500, "messages": say("both tools"), "tools": [WEATHER, CLOCK]}
    with client.messages.stream(**asked) as stream:
        kinds = [event.type for event in stream]
        reply = stream.get_final_message()
    calls = [(block.name, block.input) for block in reply.content if block.type == "tool_use"]
    plain = [(b.name, b.input) for b in client.messages.create(**asked).content if b.type == "tool_use"]
    assert calls == plain and len(calls) == 2
    assert "input_json" in kinds
    assert kinds.count("content_block_start") == kinds.count("content_block_stop")


def test_thinking_is_shown_signed_and_comes_back(client, model):
    asked = {"max_tokens": 3000, "thinking": {"type": "enabled", "budget_tokens": 1024}}
    messages = say("think out=20 reasoning=10")
    with client.messages.stream(model=model, messages=messages, **asked) as stream:
        reply = stream.get_final_message()
    assert text_of(reply)
    thoughts = [block for block in reply.content if block.type == "thinking"]
    assert all(block.signature for block in thoughts)
    messages += [{"role": "assistant", "content": reply.content}, *say("go on out=5")]
    for other in MODELS.values():  # also where another vendor had thought
        again = client.messages.create(model=other, messages=messages, **asked)
        assert again.usage.output_tokens >= 5


def test_a_turn_that_the_client_began_goes_on(client, model):
    messages = [*say("out=5"), {"role": "assistant", "content": "The answer is"}]
    reply = client.messages.create(model=model, max_tokens=50, messages=messages)
    assert reply.usage.output_tokens > 0


def test_a_stop_sequence_and_a_cap_end_an_answer(client, model):
    reply = client.messages.create(model=model, max_tokens=4, messages=say("out=50"))
    assert (reply.stop_reason, reply.usage.output_tokens) == ("max_tokens", 4)
    words = text_of(client.messages.create(model=model, max_tokens=400, messages=say("out=50"))).split()
    stopped = client.messages.create(model=model, max_tokens=400, messages=say("out=50"), stop_sequences=[words[5]])
    assert words[5] not in text_of(stopped)
    assert stopped.stop_reason in {"stop_sequence", "end_turn"}


def test_a_given_shape_is_kept(client, model):
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }
    reply = client.messages.create(
        model=model, max_tokens=200, messages=say("count"), output_config={"format": {"type": "json_schema", "schema": schema}}
    )  # fmt: skip
    assert isinstance(json.loads(text_of(reply))["n"], int)


def test_tokens_are_counted_with_tools_system_and_pictures(client, model):
    few = client.messages.count_tokens(model=model, messages=say("hi"))
    more = client.messages.count_tokens(
        model=model,
        system=[{"type": "text", "text": "Be terse. " * 50, "cache_control": {"type": "ephemeral"}}],
        messages=say({"type": "text", "text": "hi"}, {"type": "image", "source": PNG}),
        tools=[WEATHER, CLOCK],
        thinking={"type": "enabled", "budget_tokens": 1024},
        tool_choice={"type": "auto"},
    )
    assert 0 < few.input_tokens < 30
    assert more.input_tokens > few.input_tokens + 100


def test_a_stream_that_breaks_off_is_an_error_and_no_end(client, model):
    with (
        pytest.raises(anthropic.APIError) as caught,
        client.messages.stream(model=model, max_tokens=50, messages=say("out=9 cut=4")) as stream,
    ):
        stream.get_final_message()
    assert caught.value.body["error"]["type"] == "api_error"


# What an agent in a terminal sends


def agents(model):
    """A turn as coding agents make them: long cached system blocks, nested schemas, rounds of tools, reminders."""
    nested = {
        "type": "object",
        "properties": {
            "edits": {"type": "array", "items": {"type": "object", "properties": {
                "path": {"type": "string", "description": "where"},
                "lines": {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1},
                "how": {"anyOf": [{"type": "string", "enum": ["replace", "insert"]}, {"type": "null"}]},
            }, "required": ["path"], "additionalProperties": False}},
            "todos": {"$ref": "#/$defs/todo"},
        },
        "$defs": {"todo": {"type": "object", "properties": {"text": {"type": "string"}}}},
        "required": ["edits"],
        "additionalProperties": False,
        "$schema": "http://json-schema.org/draft-07/schema#",
    }  # fmt: skip
    tools = [{"name": f"Tool{i}", "description": "does things " * 30, "input_schema": nested} for i in range(18)]
    cached = {"type": "ephemeral", "ttl": "1h"}
    tools[-1]["cache_control"] = cached
    use = {"type": "tool_use", "name": "Tool0", "input": {"edits": [{"path": "a.py", "lines": [1, 2]}]}}
    return {
        "model": model,
        "max_tokens": 32_000,
        "extra_body": {"temperature": 1},  # which the newest package has no name for any more
        "system": [
            {"type": "text", "text": "You are an agent."},
            {"type": "text", "text": "Rules. " * 2000, "cache_control": cached},
        ],
        "tools": tools,
        "metadata": {"user_id": "user_0123_account__session_4567"},
        "thinking": {"type": "enabled", "budget_tokens": 31_999},
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "<system-reminder>mind</system-reminder>"},
                {"type": "text", "text": "fix the bug", "cache_control": {"type": "ephemeral"}},
            ]},
            {"role": "assistant", "content": [
                {"type": "text", "text": "I look."}, {**use, "id": "toolu_01A"}, {**use, "id": "toolu_01B"},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_01A", "content": "12 lines"},
                {"type": "tool_result", "tool_use_id": "toolu_01B", "is_error": True,
                 "content": [{"type": "text", "text": "File not found"}]},
                {"type": "text", "text": "go on out=30", "cache_control": {"type": "ephemeral"}},
            ]},
        ],
    }  # fmt: skip


def test_an_agents_turn_is_answered_by_any_vendor(client, model):
    betas = ["claude-code-20250219", "interleaved-thinking-2025-05-14", "fine-grained-tool-streaming-2025-05-14"]
    asked = agents(model)
    with client.beta.messages.stream(**asked, betas=betas) as stream:  # POST /v1/messages?beta=true
        reply = stream.get_final_message()
    assert reply.stop_reason in {"end_turn", "tool_use"}
    assert reply.usage.output_tokens > 0
    reply = client.beta.messages.create(**{**asked, "max_tokens": 2000, "thinking": {"type": "adaptive"}}, betas=betas)
    assert reply.content
    counted = client.beta.messages.count_tokens(
        betas=betas, **{name: asked[name] for name in ("model", "system", "tools", "messages", "thinking")}
    )
    assert counted.input_tokens > 4000


def test_an_errors_request_id_is_where_the_client_looks_for_it(client):
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.messages.create(model="no-such", max_tokens=5, messages=say("hi"))
    assert caught.value.request_id == caught.value.body["request_id"]
    assert caught.value.request_id == caught.value.response.headers["x-farebox-request-id"]


def test_what_is_no_endpoint_is_not_found_in_anthropics_words(client, farebox):
    request = {"custom_id": "a", "params": {"model": "auto", "max_tokens": 5, "messages": say("hi")}}
    for ask in (
        lambda: client.messages.batches.create(requests=[request]),
        client.messages.batches.list,
        client.beta.files.list,
        lambda: client.models.retrieve("nothing"),
    ):
        with pytest.raises(anthropic.NotFoundError) as caught:
            ask()
        assert caught.value.body["type"] == "error"
        assert caught.value.body["error"]["type"] == "not_found_error"
    assert "auto" in [model.id for model in client.models.list()]
    nobody = anthropic.Anthropic(base_url=farebox.url, api_key="nobody", max_retries=0)
    with pytest.raises(anthropic.AuthenticationError) as caught:
        nobody.models.list()
    assert caught.value.body["error"]["type"] == "authentication_error"
    with pytest.raises(urllib.error.HTTPError) as told:  # without a header that says who asks
        urllib.request.urlopen(f"{farebox.url}/v1/messages")
    assert (told.value.code, json.load(told.value)["type"]) == (404, "error")


@pytest.mark.parametrize(
    ("knobs", "kind", "type_"),
    [
        ("status=429", anthropic.RateLimitError, "rate_limit_error"),
        ("status=500", anthropic.InternalServerError, "api_error"),
        ("status=529", anthropic.InternalServerError, "overloaded_error"),
        ("status=400", anthropic.BadRequestError, "invalid_request_error"),
    ],
)
def test_a_vendors_error_is_told_in_anthropics_words(client, model, knobs, kind, type_):
    with pytest.raises(kind) as caught:
        client.messages.create(model=model, max_tokens=50, messages=say(f"hello {knobs}"))
    assert caught.value.body["error"]["type"] == type_
    assert caught.value.body["error"]["message"]


def test_every_request_of_this_page_is_settled(farebox):
    """The last test of the file: nothing is held, no row is open."""
    assert all(row["outcome"] for row in farebox.rows())
