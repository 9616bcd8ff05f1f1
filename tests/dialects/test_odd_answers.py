"""Answers that are odd in one way each: what the client gets, and what is written down. (`test_odd_vendors` has all others.)"""

import json

import pytest
from fakes import Conversation, KeptReply, answer, event, snapshot_of, stream

from router.core import jsonio
from router.core.errors import UpstreamFailed

HALF = "\ud83d"  # of an emoji, as a model writes it that is cut off in the middle


def named(told):
    return b"event: " + told["type"].encode() + b"\ndata: " + json.dumps(told).encode() + b"\n\n"


def message(text, usage, **more):
    content = [{"type": "text", "text": text, **more}]
    told = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content}
    return json.dumps({**told, "stop_reason": "end_turn", "stop_sequence": None, "usage": usage}).encode()


def message_stream(text, first, last):
    yield named({"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": first}})
    yield named({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    yield named({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})
    yield named({"type": "content_block_stop", "index": 0})
    yield named({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": last})
    yield named({"type": "message_stop"})


@pytest.fixture
def on(tmp_path):
    """A conversation whose only model is on this wire."""

    def make(dialect, *answers):
        vendors = {"check": {"dialect": dialect, "base_url": "http://127.0.0.1:1", "api_key": "sk-vendor"}}
        teams = {"search": {"models": ["small"], "budgets": [{"limit": 1, "per": "day"}]}}
        routes = {"auto": {"models": ["small"]}}
        return Conversation(snapshot_of(tmp_path, vendors=vendors, teams=teams, routes=routes), *answers)

    return make


USAGE = {"input_tokens": 10, "output_tokens": 5}
WIRES = {
    "anthropic": (
        message(HALF, USAGE),
        list(message_stream(HALF, {"input_tokens": 10, "output_tokens": 1}, {"output_tokens": 5})),
    ),
    "openai": (
        json.dumps(json.loads(answer(10, 5, "half"))).replace("half", "\\ud83d").encode(),
        [event({"choices": [{"index": 0, "delta": {"content": "half"}}]}).replace(b"half", b"\\ud83d"), *stream()],
    ),
    "gemini": (
        answers := json.dumps({
            "candidates": [{"content": {"parts": [{"text": HALF}]}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5},
        }).encode(),
        [b"data: " + answers + b"\n\n"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("endpoint", ["chat/completions", "messages"])
@pytest.mark.parametrize("dialect", WIRES)
async def test_half_a_character_reaches_the_client_and_is_paid_for(on, dialect, endpoint, streamed):
    talk = on(dialect, WIRES[dialect][streamed])
    reply = await talk.ask(endpoint=endpoint, max_tokens=50, stream=streamed)
    assert b"\\ud83d" in reply.body
    assert talk.rows == [("small", "ok", "reported", 20_000)]
    assert await talk.held() == 0


async def test_half_a_character_is_paid_for_when_the_client_has_left(on):
    told = WIRES["anthropic"][1]
    for given in (told, told[:3]):
        talk = on("anthropic", list(given))
        await talk.ask(KeptReply(patience=0), max_tokens=50, stream=True)
        assert [row[1] for row in talk.rows] == ["left"]
        assert await talk.held() == 0


async def test_a_text_that_is_none_is_the_vendors_failure(on):
    talk = on("anthropic", message(["a"], USAGE))
    with pytest.raises(UpstreamFailed, match="cannot be read"):
        await talk.ask()
    assert len(talk.rows) == 1
    assert await talk.held() == 0


async def test_arguments_that_cannot_be_written_again_are_the_vendors_failure(on):
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":' * 400 + "1" + "}" * 400}}
    choice = {"index": 0, "message": {"role": "assistant", "tool_calls": [call]}, "finish_reason": "tool_calls"}
    told = {"choices": [choice], "usage": {"prompt_tokens": 10, "completion_tokens": 5}}
    talk = on("openai", jsonio.dumps(told))
    with pytest.raises(UpstreamFailed, match="cannot be told"):
        await talk.ask(endpoint="messages", max_tokens=50)
    assert talk.rows == [("small", "error", "reported", 20_000)]


@pytest.mark.parametrize("many", [10**9 + 1, 2**63, 10**30])
async def test_a_count_that_no_answer_has_is_no_report(on, many):
    talk = on("openai", answer(many, 5, "Hello there."))
    reply = await talk.ask(max_tokens=50)
    (entry,) = talk.ledger.closed
    assert (entry.outcome, entry.basis) == ("ok", "estimated")
    assert 0 < entry.cost < 100_000
    assert "x-farebox-cost" not in reply.headers


@pytest.mark.parametrize("endpoint", ["chat/completions", "messages"])
@pytest.mark.parametrize("first", [{}, {"input_tokens": 0, "output_tokens": 0}], ids=["nothing", "zeros"])
async def test_a_prompt_that_the_vendor_does_not_count_is_estimated_and_not_free(on, endpoint, first):
    talk = on("anthropic", list(message_stream("Hello there.", first, {"output_tokens": 7})))
    reply = await talk.ask(endpoint=endpoint, max_tokens=50, stream=True, stream_options={"include_usage": True})
    (entry,) = talk.ledger.closed
    assert (entry.basis, entry.usage.output_total) == ("estimated", 7)
    assert entry.usage.input_fresh == entry.attempt.prompt_estimate > 0
    assert b'"cost"' not in reply.body


async def test_an_answer_that_the_vendor_does_not_count_is_estimated_and_not_free(on):
    told = json.loads(answer(10, 5, "Hello there."))
    told["usage"] = {"prompt_tokens": 10}
    talk = on("openai", json.dumps(told).encode())
    await talk.ask(max_tokens=50)
    (entry,) = talk.ledger.closed
    assert (entry.basis, entry.usage.input_fresh, entry.usage.output_text) == ("estimated", 10, 3)


async def test_what_was_thought_before_a_stream_broke_off_is_charged_once(on):
    def piece(text, thought, total):
        part = {"text": text, "thought": True} if thought else {"text": text}
        usage = {"promptTokenCount": 10, "candidatesTokenCount": total - thought, "thoughtsTokenCount": thought}
        return event({"candidates": [{"content": {"parts": [part]}}], "usageMetadata": usage})

    thoughts = "one two three four five six seven eight nine ten"
    talk = on("gemini", [piece(thoughts, 40, 40), piece("so", 40, 41)])
    await talk.ask(max_tokens=50, stream=True)
    (entry,) = talk.ledger.closed
    assert (entry.outcome, entry.basis) == ("cut", "estimated")
    assert (entry.usage.output_total, entry.usage.output_reasoning) == (41, 40)
