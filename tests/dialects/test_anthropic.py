"""The Anthropic wire between both sides: what each is sent, what each gets, and what is refused by name."""

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from fakes import Conversation, answer, event, snapshot_of, stream
from pydantic import TypeAdapter

from router.core import jsonio
from router.core.errors import InvalidRequest
from router.core.sse import data_of, events

TOOL = {
    "type": "function",
    "function": {
        "name": "get_rate",
        "description": "an exchange rate",
        "parameters": {"type": "object", "properties": {"pair": {"type": "string"}}},
    },
}
ANTHROPIC = {
    "vendors": {"check": {"dialect": "anthropic", "base_url": "http://127.0.0.1:1", "api_key": "sk-vendor"}},
}
EVENT = TypeAdapter(RawMessageStreamEvent)


def anthropic(tmp_path, *answers, **changes):
    """A conversation whose vendor speaks Anthropic's wire."""
    return Conversation(snapshot_of(tmp_path, **{**ANTHROPIC, **changes}), *answers)


def message(*content, stop="end_turn", usage=None):
    usage = usage or {"input_tokens": 10, "output_tokens": 5}
    told = {"id": "msg_1", "type": "message", "role": "assistant", "model": "small", "content": list(content)}
    return jsonio.dumps({**told, "stop_reason": stop, "stop_sequence": None, "usage": usage})


def named(told):
    return b"event: " + told["type"].encode() + b"\n" + event(told)


def streamed(*deltas, stop="end_turn"):
    usage = {"input_tokens": 10, "output_tokens": 1}
    yield named({"type": "message_start", "message": {"id": "msg_1", "model": "small", "usage": usage}})
    yield named({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    for text in deltas:
        delta = {"type": "text_delta", "text": text}
        yield named({"type": "content_block_delta", "index": 0, "delta": delta})
    yield named({"type": "content_block_stop", "index": 0})
    yield named({"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 5}})
    yield named({"type": "message_stop"})


def told_events(raw):
    return [jsonio.loads(data_of(one)) for one in events(raw)]


# An OpenAI client, an Anthropic vendor


async def test_a_chat_completion_becomes_a_message_and_back(tmp_path):
    talk = anthropic(tmp_path, message({"type": "text", "text": "Hello."}))
    messages = [
        {"role": "system", "content": "Be terse."},
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call 1", "type": "function", "function": {"name": "get_rate", "arguments": '{"pair":"USDCNY"}'}},
            {"id": "c2", "type": "function", "function": {"name": "get_rate", "arguments": ""}},
        ]},
        {"role": "tool", "tool_call_id": "call 1", "content": "7.1"},
        {"role": "tool", "tool_call_id": "c2", "content": "?"},
        {"role": "user", "content": "and?"},
    ]  # fmt: skip
    reply = await talk.ask(
        messages=messages, tools=[TOOL], tool_choice="required", parallel_tool_calls=False, stop="END", temperature=1.7,
        max_tokens=50, user="u1", seed=7, n=1,
    )  # fmt: skip
    (call,) = talk.upstream.calls
    assert call.url == "http://127.0.0.1:1/v1/messages"
    assert (call.headers["x-api-key"], call.headers["anthropic-version"]) == ("sk-vendor", "2023-06-01")
    assert "Authorization" not in call.headers
    assert talk.sent[0] == {
        "model": "small",
        "max_tokens": 50,
        "system": "Be terse.",
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "call_1", "name": "get_rate", "input": {"pair": "USDCNY"}},
                {"type": "tool_use", "id": "c2", "name": "get_rate", "input": {}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": "7.1"},
                {"type": "tool_result", "tool_use_id": "c2", "content": "?"},
                {"type": "text", "text": "and?"},
            ]},
        ],
        "stop_sequences": ["END"],
        "temperature": 1,
        "metadata": {"user_id": "u1"},
        "tools": [{
            "name": "get_rate",
            "description": "an exchange rate",
            "input_schema": TOOL["function"]["parameters"],
        }],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
    }  # fmt: skip
    told = jsonio.loads(reply.body)
    assert told["choices"][0]["message"] == {"role": "assistant", "content": "Hello.", "refusal": None}
    assert told["choices"][0]["finish_reason"] == "stop"
    assert (told["usage"]["prompt_tokens"], told["usage"]["completion_tokens"], told["usage"]["cost"]) == (
        10,
        5,
        0.00002,
    )
    assert reply.headers["x-farebox-cost"] == "0.00002"
    assert talk.rows == [("small", "ok", "reported", 20_000)]


async def test_pictures_documents_and_a_schema_are_carried(tmp_path):
    talk = anthropic(tmp_path, message({"type": "text", "text": "{}"}))
    parts = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,BBBB"}},
    ]
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    await talk.ask(messages=[{"role": "user", "content": parts}], response_format=form)
    assert talk.sent[0]["messages"][0]["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
        {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "BBBB"}},
    ]
    assert talk.sent[0]["output_config"] == {"format": {"type": "json_schema", "schema": schema}}


async def test_a_stream_of_thoughts_text_and_parallel_calls_is_turned(tmp_path):
    def block(index, first, *deltas):
        yield named({"type": "content_block_start", "index": index, "content_block": first})
        for delta in deltas:
            yield named({"type": "content_block_delta", "index": index, "delta": delta})
        yield named({"type": "content_block_stop", "index": index})

    head, _, _, delta, end = list(streamed(stop="tool_use"))
    call = {"type": "tool_use", "id": "t1", "name": "get_rate", "input": {}}
    pieces = [
        head,
        *block(0, {"type": "thinking", "thinking": ""}, {"type": "thinking_delta", "thinking": "Hm."}),
        *block(1, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Let me see"}),
        *block(2, call, {"type": "input_json_delta", "partial_json": '{"pair":'},
               {"type": "input_json_delta", "partial_json": '"A"}'}),
        *block(3, {**call, "id": "t2"}, {"type": "input_json_delta", "partial_json": '{"pair":"B"}'}),
        delta,
        end,
    ]  # fmt: skip
    talk = anthropic(tmp_path, pieces)
    reply = await talk.ask(stream=True, tools=[TOOL], stream_options={"include_usage": True})
    *chunks, last = [data_of(one) for one in events(reply.body)]
    assert last == b"[DONE]"
    deltas = [jsonio.loads(chunk) for chunk in chunks]
    said = [choice["delta"] for chunk in deltas for choice in chunk["choices"]]
    assert {"reasoning_content": "Hm."} in said
    assert {"content": "Let me see"} in said
    calls = [call for part in said for call in part.get("tool_calls", ())]
    assert [(c["index"], c["id"]) for c in calls if "id" in c] == [(0, "t1"), (1, "t2")]
    joined = {i: "".join(c["function"]["arguments"] for c in calls if c["index"] == i) for i in (0, 1)}
    assert joined == {0: '{"pair":"A"}', 1: '{"pair":"B"}'}
    assert [c["finish_reason"] for chunk in deltas for c in chunk["choices"] if c["finish_reason"]] == ["tool_calls"]
    assert (deltas[-1]["usage"]["total_tokens"], deltas[-1]["usage"]["cost"]) == (15, 0.00002)


async def test_a_stream_that_breaks_off_is_charged_the_prompt_it_reported_and_the_output_it_showed(tmp_path):
    head, start, *_ = streamed()
    word = named({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello there"}})
    error = named({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
    talk = anthropic(tmp_path, [head, start, word, error])
    reply = await talk.ask(stream=True)
    assert b'"error"' in reply.body and b"[DONE]" not in reply.body
    (entry,) = talk.ledger.closed
    assert (entry.outcome, entry.basis, entry.usage.input_fresh, entry.usage.output_text) == ("cut", "estimated", 10, 2)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"n": 2}, "`n`"),
        ({"logprobs": True}, "`logprobs`"),
        ({"frequency_penalty": 0.5}, "`frequency_penalty`"),
        ({"response_format": {"type": "json_object"}}, "`response_format` of type json_object"),
        ({"made_up": 1}, "`made_up`"),
        ({"messages": [{"role": "function", "name": "f", "content": "x"}]}, "`messages[0].role`"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
            "`messages[0].content[0]`",
        ),
    ],
)
async def test_what_cannot_be_carried_is_refused_by_its_name_and_holds_nothing(tmp_path, body, named):
    talk = anthropic(tmp_path)
    with pytest.raises(InvalidRequest) as refused:
        await talk.ask(**body)
    assert named in refused.value.message
    assert talk.ledger.opened == []


async def test_a_candidate_that_can_carry_it_is_taken_instead(tmp_path):
    vendors = {"claude": {"dialect": "anthropic", "base_url": "http://127.0.0.1:1", "api_key": "sk-c"}}
    free = {
        "vendor": "claude",
        "tier": "cheap",
        "quality": 0.9,
        "price": {"currency": "USD", "input": "0.1", "output": "0.1"},
    }
    talk = Conversation(snapshot_of(tmp_path, vendors=vendors, models={"claude": free}), answer(), message())
    await talk.ask(logit_bias={"1": 1})
    await talk.ask()
    assert [row[0] for row in talk.rows] == ["small", "claude"]


# An Anthropic client


async def test_a_message_becomes_a_chat_completion_and_back(tmp_path):
    talk = Conversation(snapshot_of(tmp_path), answer(text="Hello."))
    reply = await talk.ask(
        endpoint="messages",
        system=[{"type": "text", "text": "Be terse.", "cache_control": {"type": "ephemeral"}}],
        max_tokens=64,
        top_k=5,
        stop_sequences=["END"],
        metadata={"user_id": "u1"},
        tools=[{"name": "get_rate", "input_schema": {"type": "object"}}],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        messages=[
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "x"},
                {"type": "text", "text": "wait"},
                {"type": "tool_use", "id": "t1", "name": "get_rate", "input": {"pair": "A"}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "7"}]},
                {"type": "text", "text": "and?"},
            ]},
        ],
    )  # fmt: skip
    assert talk.sent[0] == {
        "model": "small",
        "messages": [
            {"role": "system", "content": "Be terse."},
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "wait", "tool_calls": [
                {"id": "t1", "type": "function", "function": {"name": "get_rate", "arguments": '{"pair":"A"}'}},
            ]},
            {"role": "tool", "tool_call_id": "t1", "content": "7"},
            {"role": "user", "content": "and?"},
        ],
        "max_completion_tokens": 64,
        "stop": ["END"],
        "user": "u1",
        "tools": [{"type": "function", "function": {"name": "get_rate", "parameters": {"type": "object"}}}],
        "tool_choice": "required",
        "parallel_tool_calls": False,
    }  # fmt: skip
    told = Message.model_validate_json(reply.body, strict=True)
    assert (told.content[0].text, told.stop_reason, told.usage.output_tokens) == ("Hello.", "end_turn", 5)
    assert jsonio.loads(reply.body)["usage"]["cost"] == 0.00002


async def test_a_message_is_streamed_in_its_own_events(tmp_path):
    calls = [
        event({"choices": [{"index": 0, "delta": {"reasoning_content": "Hm."}}]}),
        *stream("Hel", "lo", usage=None, done=False),
        event(
            {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "f"}}]}}]}
        ),
        event({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}}]}),
        event({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}),
        *stream(),
    ]
    talk = Conversation(snapshot_of(tmp_path), calls)
    reply = await talk.ask(endpoint="messages", stream=True, max_tokens=64)
    told = told_events(reply.body)
    for one in told:
        EVENT.validate_python(one)
    assert [one["type"] for one in told] == [
        "message_start",
        "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop",
        "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop",
        "content_block_start", "content_block_delta", "content_block_stop",
        "message_delta", "message_stop",
    ]  # fmt: skip
    assert told[-2]["delta"]["stop_reason"] == "tool_use"
    assert (told[-2]["usage"]["input_tokens"], told[-2]["usage"]["cost"]) == (10, 0.00002)


async def test_between_the_same_wires_bytes_pass_and_only_the_cost_is_added(tmp_path):
    sent = list(streamed("Hel", "lo"))
    talk = anthropic(tmp_path, sent, message({"type": "text", "text": "x", "odd": 1}))
    headers = {"anthropic-beta": "b1", "cookie": "secret"}
    reply = await talk.ask(endpoint="messages", stream=True, max_tokens=64, odd={"kept": 1}, headers=headers)
    assert talk.sent[0]["odd"] == {"kept": 1}
    assert talk.upstream.calls[0].headers["anthropic-beta"] == "b1"
    assert "cookie" not in talk.upstream.calls[0].headers
    assert reply.body.startswith(b"".join(sent[:-2]))
    assert reply.body.endswith(sent[-1])
    (entry,) = talk.ledger.closed
    assert (entry.outcome, entry.basis, entry.cost) == ("ok", "reported", 20_000)
    told = told_events(reply.body)[-2]["usage"]
    assert (told["output_tokens"], told["cost"]) == (5, 0.00002)
    plain = jsonio.loads((await talk.ask(endpoint="messages", max_tokens=64)).body)
    assert (plain["content"][0]["odd"], plain["usage"]["cost"]) == (1, 0.00002)


async def test_what_only_anthropic_understands_stays_with_vendors_of_its_wire(tmp_path):
    talk = Conversation(snapshot_of(tmp_path))
    with pytest.raises(InvalidRequest) as refused:
        await talk.ask(endpoint="messages", max_tokens=9, tools=[{"type": "web_search_20250305", "name": "web_search"}])
    assert "`tools[0]`" in refused.value.message


async def test_thoughts_that_another_vendor_had_are_not_sent_to_anthropic(tmp_path):
    talk = anthropic(tmp_path, message({"type": "text", "text": "x"}))
    thoughts = [
        {"type": "thinking", "thinking": "theirs", "signature": "farebox."},
        {"type": "thinking", "thinking": "own", "signature": "EqQB"},
        {"type": "text", "text": "so"},
    ]
    messages = [{"role": "assistant", "content": thoughts}, {"role": "user", "content": "go on"}]
    await talk.ask(endpoint="messages", max_tokens=64, messages=messages)
    assert talk.sent[0]["messages"][0]["content"] == thoughts[1:]


async def test_a_turn_that_another_vendor_began_goes_on_without_a_budget_for_thinking(tmp_path):
    """Anthropic refuses a budget where the turn of the tools did not begin with a thought of its own."""
    use = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "7"}]}
    theirs = {"type": "thinking", "thinking": "hm", "signature": "farebox."}
    own = {"type": "thinking", "thinking": "hm", "signature": "EqQB"}
    enabled = {"type": "enabled", "budget_tokens": 1024}
    clear = {"edits": [{"type": "clear_thinking_20251015"}, {"type": "clear_tool_uses_20250919"}]}
    for turn, thinking, thinks in (
        ([theirs, use], enabled, False),
        ([use], enabled, False),
        ([own, use], enabled, True),
        ([use], {"type": "adaptive"}, True),
    ):
        talk = anthropic(tmp_path, message({"type": "text", "text": "x"}))
        messages = [{"role": "user", "content": "go"}, {"role": "assistant", "content": turn}, result]
        await talk.ask(
            endpoint="messages", max_tokens=3000, thinking=thinking, messages=messages, context_management=clear
        )
        assert ("thinking" in talk.sent[0]) is thinks
        assert len(talk.sent[0]["context_management"]["edits"]) == (2 if thinks else 1)
    talk = anthropic(tmp_path, message({"type": "text", "text": "x"}))
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": [theirs]},
        {"role": "user", "content": "b"},
    ]
    await talk.ask(endpoint="messages", max_tokens=3000, thinking=enabled, messages=messages)
    assert [told["role"] for told in talk.sent[0]["messages"]] == ["user", "user"]
    assert talk.sent[0]["thinking"] == enabled


async def test_a_service_tier_that_is_asked_for_is_held_and_charged_at_its_price(tmp_path):
    price = {"currency": "USD", "input": 1, "output": 2, "tiers": {"priority": 2, "flex": "0.5"}}
    ample = {"search": {"budgets": [{"limit": 1, "per": "day"}]}}
    talk = Conversation(
        snapshot_of(tmp_path, models={"small": {"price": price}}, teams=ample),
        answer(), answer(service_tier="priority"), answer(service_tier="flex"), answer(service_tier="default"),
    )  # fmt: skip
    for tier in (None, "priority", "flex", "priority"):
        await talk.ask(model="small", max_tokens=100, **({"service_tier": tier} if tier else {}))
    costs = [entry.cost for entry in talk.ledger.closed]
    assert costs == [20_000, 40_000, 10_000, 20_000]  # the last was not served at the tier that it asked for
    held = [entry.attempt.held for entry in talk.ledger.closed]
    assert held[1] > 1.9 * held[0]
    assert held[2] < 1.1 * held[0]  # a discount is not counted on


async def test_a_tool_of_the_vendors_own_is_held_for_at_the_whole_window(tmp_path):
    own = [{"type": "web_search_20250305", "name": "web_search"}]
    for window, told in ((None, None), (200_000, 200_000)):
        talk = anthropic(tmp_path, message({"type": "text", "text": "x"}), models={"small": {"context_window": window}})
        if told is None:
            with pytest.raises(InvalidRequest, match="no bound"):
                await talk.ask(endpoint="messages", model="small", max_tokens=9, tools=own)
        else:
            await talk.ask(endpoint="messages", model="small", max_tokens=9, tools=own)
            assert talk.ledger.closed[0].attempt.bound.input_fresh == told


# A stream that goes beyond its cap, breaks off, or contradicts itself


@pytest.mark.parametrize("endpoint", ["chat/completions", "messages"])
async def test_a_vendor_that_does_not_keep_to_its_cap_is_cut_off_in_the_clients_own_words(tmp_path, endpoint):
    ample = {"search": {"budgets": [{"limit": 1, "per": "day"}]}}
    talk = anthropic(tmp_path, list(streamed(*[" word"] * 200)), teams=ample)
    reply = await talk.ask(endpoint=endpoint, model="small", stream=True, max_tokens=20)
    (entry,) = talk.ledger.closed
    assert (entry.outcome, entry.basis) == ("cut", "estimated")
    assert 20 <= entry.usage.output_text < 60
    if endpoint == "messages":
        *_, stop, end = told_events(reply.body)
        assert (stop["delta"]["stop_reason"], end["type"]) == ("max_tokens", "message_stop")
        assert stop["usage"]["output_tokens"] >= 20
        assert stop["usage"]["estimated"] is True
        for one in (stop, end):
            EVENT.validate_python(one)
    else:
        assert b'"finish_reason":"length"' in reply.body
        assert reply.body.endswith(b"data: [DONE]\n\n")


async def test_words_and_an_error_in_one_piece_are_charged_and_the_next_candidate_answers(tmp_path):
    head, start, word, *_ = streamed("Hello there")
    error = named({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
    talk = anthropic(tmp_path, [head + start + word + error], list(streamed("Hi.")))
    reply = await talk.ask(stream=True)
    assert b'"content":"Hi."' in reply.body and b"Hello" not in reply.body
    closed = sorted(talk.ledger.closed, key=lambda entry: entry.attempt.number)
    assert [(e.outcome, e.basis, e.usage.output_total) for e in closed] == [
        ("error", "estimated", 2),
        ("ok", "reported", 5),
    ]


async def test_the_same_on_the_hubs_own_wire_without_any_usage(tmp_path):
    talk = Conversation(
        snapshot_of(tmp_path), [b"".join(stream("Hello there", usage=None, done=False)) + event({"error": {"code": 503}})], stream("Hi.")
    )  # fmt: skip
    await talk.ask(stream=True)
    first, _ = sorted(talk.ledger.closed, key=lambda entry: entry.attempt.number)
    assert (first.outcome, first.basis, first.usage.output_text) == ("error", "estimated", 2)


async def test_a_usage_that_contradicts_itself_is_no_report_and_spoils_no_answer(tmp_path):
    usage = {"input_tokens": 10, "output_tokens": 5, "output_tokens_details": {"thinking_tokens": 9}}
    talk = anthropic(tmp_path, message({"type": "text", "text": "Hello."}, usage=usage))
    reply = await talk.ask()
    assert jsonio.loads(reply.body)["choices"][0]["message"]["content"] == "Hello."
    (entry,) = talk.ledger.closed
    assert (entry.outcome, entry.basis) == ("ok", "estimated")
