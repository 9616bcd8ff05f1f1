"""Prices that depend on thinking: by what the vendor tells, in its counts or its words, or else by what it was asked, on
every wire and for every client.
"""

import json

import pytest
from fakes import Conversation, event, snapshot_of

from router.dialects.thinking import asks

RATES = [
    {"when": {"thinking": True}, "input": 10, "output": 20},
    {"when": {"thinking": False}, "input": 1, "output": 2},
]
PLAIN, DEAR = 20_000, 200_000  # of 10 in and 5 out
TOLD = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def openai(thought, told, *, streamed=False):
    usage = TOLD if told is None else {**TOLD, "completion_tokens_details": {"reasoning_tokens": told}}
    message = {"role": "assistant", "content": "Hello", **({"reasoning_content": "Hm."} if thought else {})}
    if not streamed:
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return json.dumps({"choices": [choice], "usage": usage}).encode()
    parts = event({"choices": [{"index": 0, "delta": message, "finish_reason": "stop"}]})
    return [parts, event({"choices": [], "usage": usage}), b"data: [DONE]\n\n"]


def anthropic(thought, told):
    usage = {"input_tokens": 10, "output_tokens": 5}
    usage |= {} if told is None else {"output_tokens_details": {"thinking_tokens": told}}
    blocks = [{"type": "thinking", "thinking": "Hm.", "signature": "s"}] * thought + [{"type": "text", "text": "Hello"}]
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn"}
    return json.dumps({**head, "content": blocks, "usage": usage}).encode()


def gemini(thought, told):
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 5 - (told or 0)}
    usage |= {} if told is None else {"thoughtsTokenCount": told}
    parts = [{"text": "Hm.", "thought": True}] * thought + [{"text": "Hello"}]
    said = {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}], "usageMetadata": usage}
    return json.dumps(said).encode()


def responses(thought, told):
    usage = {"input_tokens": 10, "output_tokens": 5}
    usage |= {} if told is None else {"output_tokens_details": {"reasoning_tokens": told}}
    thoughts = [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]}] * thought
    words = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]}
    return json.dumps({"id": "r", "status": "completed", "output": [*thoughts, words], "usage": usage}).encode()


def ollama(thought, _):
    message = {"role": "assistant", "content": "Hello", **({"thinking": "Hm."} if thought else {})}
    counts = {"prompt_eval_count": 10, "eval_count": 5}
    return json.dumps({"message": message, "done": True, "done_reason": "stop", **counts}).encode()


WIRES = {"openai": openai, "anthropic": anthropic, "gemini": gemini, "responses": responses, "ollama": ollama}


@pytest.fixture
def on(tmp_path):
    def make(wire, *answers, vendor="check", **model):
        address = {"base_url": "http://127.0.0.1:1", "api_key": "a-token", **({"dialect": wire} if wire else {})}
        models = {"small": {"vendor": vendor, "price": [{"currency": "USD", "rates": RATES}], **model}}
        config = {"vendors": {vendor: address}, "models": models, "routes": {"auto": {"models": ["small"]}}}
        team = {"search": {"models": ["small"], "budgets": [{"limit": 1, "per": "day"}]}}
        return Conversation(snapshot_of(tmp_path, **config, teams=team), *answers)

    return make


@pytest.mark.parametrize("endpoint", ["chat/completions", "messages"])
@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    ("thought", "told", "cost"),
    [(True, None, DEAR), (True, 0, DEAR), (True, 3, DEAR), (False, 3, DEAR), (False, 0, PLAIN), (False, None, PLAIN)],
)
async def test_what_the_vendor_tells_decides(on, wire, endpoint, thought, told, cost):
    if wire == "ollama" and told and not thought:
        cost = PLAIN  # it counts no thoughts apart
    talk = on(wire, WIRES[wire](thought, told))
    reply = await talk.ask(endpoint=endpoint, max_tokens=50)
    assert talk.rows == [("small", "ok", "reported", cost)]
    assert reply.headers["x-farebox-cost"] == ("0.00002" if cost == PLAIN else "0.0002")
    assert await talk.held() == 0


@pytest.mark.parametrize("endpoint", ["chat/completions", "messages"])
@pytest.mark.parametrize(("thought", "told", "cost"), [(True, None, DEAR), (False, 3, DEAR), (False, None, PLAIN)])
async def test_it_does_in_a_stream(on, endpoint, thought, told, cost):
    talk = on("openai", openai(thought, told, streamed=True))
    await talk.ask(endpoint=endpoint, max_tokens=50, stream=True)
    assert talk.rows == [("small", "ok", "reported", cost)]


ASKED = {
    "switch": ("chat/completions", {"enable_thinking": True}),
    "type": ("chat/completions", {"thinking": {"type": "enabled"}}),
    "effort": ("chat/completions", {"reasoning_effort": "high"}),
    "template": ("chat/completions", {"chat_template_kwargs": {"enable_thinking": True}}),
    "anthropic": ("messages", {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
    "responses": ("responses", {"reasoning": {"effort": "high"}}),
}


@pytest.mark.parametrize(("endpoint", "body"), ASKED.values(), ids=ASKED)
async def test_where_the_vendor_tells_nothing_what_it_was_sent_decides(on, endpoint, body):
    asked = {"max_output_tokens" if endpoint == "responses" else "max_tokens": 4000, **body}
    talk = on(None, openai(False, None), vendor="alibaba", name="qwen-plus")  # pinned to the switch of this vendor's
    await talk.ask(endpoint=endpoint, **asked)
    assert asks(talk.sent[0])
    assert talk.rows == [("small", "ok", "reported", DEAR)]
    talk = on(None, openai(False, 0), vendor="alibaba", name="qwen-plus")
    await talk.ask(endpoint=endpoint, **asked)
    assert talk.rows == [("small", "ok", "reported", PLAIN)]


@pytest.mark.parametrize("endpoint", ["chat/completions", "messages", "responses"])
async def test_a_model_that_was_told_not_to_think_has_not(on, endpoint):
    """An open Qwen3 model thinks only in streams, so that a plain answer is asked for without."""
    body = {"reasoning": {"effort": "high"}} if endpoint == "responses" else {}
    body |= {"thinking": {"type": "enabled", "budget_tokens": 2048}} if endpoint == "messages" else {}
    talk = on(None, openai(False, None), vendor="alibaba", name="qwen3-32b")
    await talk.ask(endpoint=endpoint, **body)
    assert talk.sent[0]["enable_thinking"] is False
    assert talk.rows == [("small", "ok", "reported", PLAIN)]


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        ({}, False),
        ({"enable_thinking": False, "reasoning_effort": "high"}, False),
        ({"thinking": {"type": "disabled"}}, False),
        ({"thinking": {"type": "adaptive"}}, True),
        ({"thinking": "yes"}, False),
        ({"reasoning_effort": "none"}, False),
        ({"reasoning": {"effort": "none"}}, False),
        ({"reasoning": {"enabled": True}}, True),
        ({"reasoning": {"summary": "auto"}}, False),
        ({"think": "high"}, True),
        ({"think": False}, False),
        ({"EnableThinking": True}, True),
        ({"chat_template_kwargs": {"enable_thinking": False}}, False),
        ({"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}, False),
        ({"generationConfig": {"thinkingConfig": {"thinkingBudget": 1024}}}, True),
        ({"generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW"}}}, True),
        ({"generationConfig": {}}, False),
    ],
)
def test_each_wire_has_its_own_way_to_ask(body, asked):
    assert asks(body) is asked


async def test_a_cut_stream_that_has_thought_is_charged_so(on):
    talk = on("openai", openai(True, None, streamed=True)[:1])
    await talk.ask(max_tokens=50, stream=True)
    (entry,) = talk.ledger.closed
    assert (entry.outcome, entry.basis) == ("cut", "estimated")
    assert entry.cost == entry.usage.input_total * 10_000 + entry.usage.output_total * 20_000
