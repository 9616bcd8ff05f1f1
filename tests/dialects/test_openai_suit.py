"""What vendors on the OpenAI wire cannot do, or want otherwise than the wire says: who is asked, and what they are sent."""

import pytest
from fakes import Conversation, answer, snapshot_of, stream

from router.core import jsonio
from router.core.errors import ContentFiltered, InvalidRequest
from router.dialects.openai_errors import error


@pytest.fixture
def talking_to(tmp_path):
    """A conversation whose cheap model is this vendor's, with a flagship elsewhere."""

    def make(vendor, *answers, name="m", **more):
        vendors = {vendor: {"api_key": "sk-vendor", "base_url": "http://127.0.0.1:1/v1"}}
        models = {"small": {"vendor": vendor, "name": name, **more.pop("small", {})}}
        return Conversation(snapshot_of(tmp_path, vendors=vendors, models=models, **more), *answers)

    return make


TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
REFUSED = [
    ("deepseek", "m", {"n": 2}),
    ("bytedance", "m", {"n": 2}),
    ("tencent", "m", {"n": 2}),
    ("minimax", "m", {"presence_penalty": 0.5}),
    ("groq", "m", {"logprobs": True}),
    ("groq", "m", {"logit_bias": {"1": 2}}),
    ("zhipu", "m", {"frequency_penalty": 1}),
    ("zhipu", "m", {"tools": TOOLS, "tool_choice": "required"}),
    ("zhipu", "m", {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "f"}}}),
    ("moonshot", "m", {"tools": TOOLS, "tool_choice": "required"}),
    ("xai", "grok-4-fast", {"stop": ["END"]}),
]
NOT_REFUSED = [
    ("deepseek", "m", {"n": 1}),
    ("groq", "m", {"logprobs": False, "logit_bias": {}}),
    ("zhipu", "m", {"tools": TOOLS, "tool_choice": "auto", "presence_penalty": 0}),
    ("zhipu", "m", {"tool_choice": "required"}),  # of nothing
    ("moonshot", "m", {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "f"}}}),
    ("xai", "grok-3", {"stop": ["END"]}),
    ("mistral", "m", {"n": 2}),
]


@pytest.mark.parametrize(("vendor", "name", "asked"), REFUSED)
async def test_what_a_vendor_refuses_or_ignores_is_asked_of_another(talking_to, vendor, name, asked):
    talk = talking_to(vendor, answer(), name=name)
    await talk.ask(**asked)
    assert [row[0] for row in talk.rows] == ["large"]
    (field,) = asked.keys() - {"tools"}
    with pytest.raises(InvalidRequest, match=f"`{field}`"):
        await talk.ask(model="small", **asked)


@pytest.mark.parametrize(("vendor", "name", "asked"), NOT_REFUSED)
async def test_what_asks_for_nothing_special_is_asked_of_the_cheapest(talking_to, vendor, name, asked):
    talk = talking_to(vendor, answer(), name=name)
    await talk.ask(**asked)
    assert [row[0] for row in talk.rows] == ["small"]


async def test_an_anthropic_clients_demand_for_a_tool_goes_to_who_knows_it(talking_to):
    talk = talking_to("zhipu", answer())
    await talk.ask(
        endpoint="messages",
        max_tokens=9,
        tools=[{"name": "f", "input_schema": {"type": "object"}}],
        tool_choice={"type": "any"},
    )
    assert [row[0] for row in talk.rows] == ["large"]


@pytest.mark.parametrize("code", ["unsupported_parameter", "unsupported_value", "tool_use_failed"])
async def test_what_one_model_does_not_support_is_asked_of_the_next(talking_to, code):
    refusal = 400, jsonio.dumps({"error": {"message": "not with this model", "code": code, "param": "temperature"}})
    talk = talking_to("openai", refusal, answer())
    reply = await talk.ask(temperature=0.2)
    assert reply.headers["x-farebox-model"] == "large"
    assert [row[:2] for row in sorted(talk.rows)] == [("large", "ok"), ("small", "error")]
    talk = talking_to("openai", refusal, refusal)
    with pytest.raises(InvalidRequest, match="not with this model"):
        await talk.ask(temperature=0.2)


@pytest.mark.parametrize("told", ["temperature", None])
async def test_the_field_that_a_vendor_finds_wrong_is_named(talking_to, told):
    error = {"message": "is wrong", "type": "invalid_request_error", "code": "invalid_value", "param": told}
    talk = talking_to("openai", (400, jsonio.dumps({"error": error})))
    with pytest.raises(InvalidRequest, match="is wrong") as caught:
        await talk.ask(temperature=0.2)
    assert caught.value.param == told


async def test_what_is_wrong_for_everybody_is_not_asked_again(talking_to):
    talk = talking_to("openai", (400, jsonio.dumps({"error": {"message": "no", "type": "invalid_request_error"}})))
    with pytest.raises(InvalidRequest):
        await talk.ask()
    assert len(talk.rows) == 1


@pytest.mark.parametrize(
    ("vendor", "name", "temperature", "sent"),
    [
        ("moonshot", "moonshot-v1-8k", 1.7, 1),
        ("moonshot", "moonshot-v1-8k", 0.3, 0.3),
        ("moonshot", "kimi-k2.5", 0.3, 1),
        ("zhipu", "glm-4.6", 0, 0.01),
        ("minimax", "m", 2, 1),
        ("baichuan", "m", 1.5, 1),
        ("alibaba", "m", 2, 1.99),
    ],
)
async def test_a_temperature_is_brought_into_the_models_range(talking_to, vendor, name, temperature, sent):
    talk = talking_to(vendor, answer(), name=name)
    await talk.ask(temperature=temperature)
    assert talk.sent[0]["temperature"] == sent


async def test_moonshot_gets_one_cap_and_contents_that_are_strings(talking_to):
    talk = talking_to("moonshot", answer())
    picture = [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
    ]
    await talk.ask(
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": None},
            {"role": "user", "content": picture},
        ],
        max_completion_tokens=9,
    )
    assert [message["content"] for message in talk.sent[0]["messages"]] == ["a\n\nb", None, picture]
    assert (talk.sent[0]["max_tokens"], talk.sent[0].get("max_completion_tokens")) == (9, None)


async def test_mistral_gets_ids_that_it_takes_and_results_that_belong_to_their_calls(talking_to):
    talk = talking_to("mistral", answer())
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": None, "tool_calls": [{**call, "id": "call_of_another"}, {**call, "id": "abcDEF123"}]},
        {"role": "tool", "tool_call_id": "call_of_another", "content": "1"},
        {"role": "tool", "tool_call_id": "abcDEF123", "content": "2"},
    ]  # fmt: skip
    await talk.ask(messages=messages)
    _, said, first, second = talk.sent[0]["messages"]
    ids = [told["id"] for told in said["tool_calls"]]
    assert (len(ids[0]), ids[0].isalnum(), ids[1]) == (9, True, "abcDEF123")
    assert [first["tool_call_id"], second["tool_call_id"]] == ids


@pytest.mark.parametrize(
    ("name", "streamed", "asked", "sent"),
    [
        ("qwen3-32b", False, {}, False),
        ("qwen3-235b-a22b", False, {}, False),
        ("qwen3-32b", True, {}, None),
        ("qwen3-32b", False, {"enable_thinking": True}, True),  # the vendor's own words for that are the better ones
        ("qwen3-max", False, {}, None),
        ("qwen-plus", False, {}, None),
    ],
)
async def test_a_model_that_only_thinks_in_streams_is_told_not_to_for_a_plain_answer(
    talking_to, name, streamed, asked, sent
):
    talk = talking_to("alibaba", stream("hi") if streamed else answer(), name=name)
    await talk.ask(stream=streamed, **asked)
    assert talk.sent[0].get("enable_thinking") is sent


async def test_an_anthropic_client_that_wants_thoughts_gets_a_plain_answer_of_such_a_model_without(talking_to):
    talk = talking_to("alibaba", answer(), name="qwen3-32b")
    await talk.ask(endpoint="messages", max_tokens=4000, thinking={"type": "enabled", "budget_tokens": 2000})
    assert talk.sent[0]["enable_thinking"] is False


@pytest.mark.parametrize("asked", [{"max_tokens": 900}, {"max_completion_tokens": 900}])
async def test_a_client_that_asks_for_more_than_a_model_may_be_asked_for_gets_what_it_has(talking_to, asked):
    talk = talking_to("openai", answer(), answer(), small={"max_output": 100})
    await talk.ask(**asked)
    assert talk.sent[0]["max_completion_tokens"] == 100
    await talk.ask()
    assert "max_completion_tokens" not in talk.sent[1]


async def test_a_451_is_a_filter(talking_to):
    talk = talking_to("stepfun", (451, jsonio.dumps({"error": {"message": "blocked"}})))
    with pytest.raises(ContentFiltered, match="blocked"):
        await talk.ask()


@pytest.mark.parametrize(("told", "wait"), [("9" * 400, 86_400), ("2", 2), ("soon", None)])
def test_a_wait_that_no_vendor_means_is_bounded(told, wait):
    assert error(429, b"{}", {"retry-after": told}).retry_after_s == wait
