"""Usages that leave something out, contradict themselves or come too early: never charged below what the vendor may bill,
marked as estimated, and never told to the client as what it costs.
"""

import json

import pytest
from fakes import Conversation, answer, event, snapshot_of

from router.core.answers import at_no_cost
from router.core.usage import ContradictoryUsage, Usage, heard
from router.dialects.anthropic_usage import usage_of as anthropic_usage
from router.dialects.openai_usage import usage_of as openai_usage

TEXT = "one two three four five six seven eight nine ten"  # ten tokens


def lines(*told):
    return [json.dumps(each).encode() + b"\n" for each in told]


def named(*told):
    return [b"event: " + each["type"].encode() + b"\ndata: " + json.dumps(each).encode() + b"\n\n" for each in told]


def openai(usage):
    message = {"role": "assistant", "content": TEXT}
    said = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}
    parts = {"choices": [{"index": 0, "delta": message, "finish_reason": None}]}
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    return said, [event(parts), event(end), event({"choices": [], "usage": usage}), b"data: [DONE]\n\n"]


def anthropic(usage):
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}
    said = {**head, "content": [{"type": "text", "text": TEXT}], "stop_reason": "end_turn", "usage": usage}
    stream = named(
        {"type": "message_start", "message": {**head, "content": [], "usage": {**usage, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": TEXT}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage},
        {"type": "message_stop"},
    )
    return said, stream


def gemini(usage):
    said = {"candidates": [{"content": {"parts": [{"text": TEXT}]}, "finishReason": "STOP"}], "usageMetadata": usage}
    return said, [event(said)]


def responses(usage):
    head = {"id": "resp_1", "object": "response", "model": "m", "status": "completed"}
    item = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": TEXT}]}
    said = {**head, "output": [item], "usage": usage}
    stream = named(
        {"type": "response.created", "response": {**head, "status": "in_progress", "output": []}},
        {"type": "response.output_text.delta", "output_index": 0, "delta": TEXT},
        {"type": "response.completed", "response": said},
    )
    return said, stream


def hunyuan(usage):
    choice = {"FinishReason": "stop", "Message": {"Role": "assistant", "Content": TEXT}}
    parts = {"FinishReason": "stop", "Delta": {"Role": "assistant", "Content": TEXT}}
    return {"Response": {"Choices": [choice], "Usage": usage}}, [event({"Choices": [parts], "Usage": usage})]


def qianfan(usage):
    said = {"id": "as-1", "result": TEXT, "usage": usage}
    return said, [event({**said, "is_end": True})]


def ollama(usage):
    said = {
        "model": "m",
        "message": {"role": "assistant", "content": TEXT},
        "done": True,
        "done_reason": "stop",
        **usage,
    }
    return said, lines(said)


WIRES = {  # wire → (answers with a usage, how it tells a prompt of 10, how it tells an output)
    "openai": (openai, {"prompt_tokens": 10}, "completion_tokens"),
    "anthropic": (anthropic, {"input_tokens": 10}, "output_tokens"),
    "gemini": (gemini, {"promptTokenCount": 10}, "candidatesTokenCount"),
    "responses": (responses, {"input_tokens": 10}, "output_tokens"),
    "hunyuan": (hunyuan, {"PromptTokens": 10}, "CompletionTokens"),
    "qianfan": (qianfan, {"prompt_tokens": 10}, "completion_tokens"),
    "ollama": (ollama, {"prompt_eval_count": 10}, "eval_count"),
}


@pytest.fixture
def on(tmp_path):
    """A conversation whose only model is on this wire."""

    def make(dialect, *answers, **price):
        key = "id:key" if dialect == "hunyuan" else "a-token"
        vendors = {"check": {"dialect": dialect, "base_url": "http://127.0.0.1:1", "api_key": key}}
        teams = {"search": {"models": ["small"], "budgets": [{"limit": 1, "per": "day"}]}}
        models = {"small": {"price": {"currency": "USD", "input": 1, "output": 2, **price}}}
        routes = {"auto": {"models": ["small"]}}
        return Conversation(snapshot_of(tmp_path, vendors=vendors, teams=teams, routes=routes, models=models), *answers)

    return make


ASKED = {
    "chat/completions": {"max_tokens": 50, "stream_options": {"include_usage": True}},
    "messages": {"max_tokens": 50},
    "responses": {"max_output_tokens": 50},
}


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("endpoint", ["chat/completions", "messages", "responses"])
@pytest.mark.parametrize("more", [{}, {"output": 0}, {"output": None}], ids=["nothing", "zero", "null"])
@pytest.mark.parametrize("wire", WIRES)
async def test_an_answer_whose_output_is_not_counted_is_charged_as_counted_here_and_marked(
    on, wire, more, endpoint, streamed
):
    make, usage, name = WIRES[wire]
    whole, parts = make({**usage, **({name: more["output"]} if more else {})})
    gathered = wire == "hunyuan"  # is only asked for streams
    talk = on(wire, parts if streamed or gathered else json.dumps(whole).encode())
    reply = await talk.ask(endpoint=endpoint, stream=streamed, **ASKED[endpoint])
    (entry,) = talk.ledger.closed
    assert (entry.outcome, entry.basis) == ("ok", "estimated")
    assert (entry.usage.input_total, entry.usage.output_total) == (10, 10)
    assert entry.cost == 30_000
    assert "x-farebox-cost" not in reply.headers
    assert b'"cost"' not in reply.body
    assert await talk.held() == 0
    assert await talk.spent() == entry.cost


# Several usages in one stream


def chunk(text, usage=None, finish=None):
    return event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}], "usage": usage})


def told(prompt, completion):
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


CLIENTS = pytest.mark.parametrize("endpoint", ["chat/completions", "messages"])
DONE = b"data: [DONE]\n\n"


@CLIENTS
@pytest.mark.parametrize("joined", [False, True], ids=["apart", "in one piece"])
async def test_a_usage_that_comes_before_the_words_counts_none_of_them(on, endpoint, joined):
    pieces = [chunk("", told(10, 1)), chunk(TEXT), chunk("", finish="stop"), DONE]
    talk = on("openai", [b"".join(pieces)] if joined else pieces)
    await talk.ask(endpoint=endpoint, stream=True, max_tokens=50)
    (entry,) = talk.ledger.closed
    assert (entry.outcome, entry.basis, entry.usage.output_total) == ("ok", "estimated", 10)


@CLIENTS
async def test_a_usage_that_grows_is_the_vendors_report(on, endpoint):
    talk = on("openai", [chunk("one two", told(10, 2)), chunk(" three", told(10, 3), "stop"), DONE])
    reply = await talk.ask(endpoint=endpoint, stream=True, **ASKED[endpoint])
    assert talk.rows == [("small", "ok", "reported", 16_000)]
    assert b'"cost":0.000016,' in reply.body


@CLIENTS
@pytest.mark.parametrize("last", [(10, 5), (3, 40), (3, 5)])
async def test_a_later_usage_that_has_less_lowers_nothing_and_is_marked(on, endpoint, last):
    talk = on("openai", [chunk("one two", told(10, 40)), chunk(" three", told(*last), "stop"), DONE])
    await talk.ask(endpoint=endpoint, stream=True, **ASKED[endpoint])
    assert talk.rows == [("small", "ok", "estimated", 90_000)]


@CLIENTS
@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({**told(10, 20), "total_tokens": 60}, (10, 50)),  # 30 are no part of either
        ({**told(10, 20), "completion_tokens_details": {"reasoning_tokens": 30}}, (10, 50)),
        ({**told(10, 20), "prompt_tokens_details": {"cached_tokens": 30}}, (40, 20)),
    ],
    ids=["total", "reasoning", "cached"],
)
async def test_a_usage_that_contradicts_itself_is_charged_by_the_reading_that_comes_to_most(
    on, endpoint, streamed, usage, tokens
):
    whole, parts = openai(usage)
    talk = on("openai", parts if streamed else json.dumps(whole).encode())
    reply = await talk.ask(endpoint=endpoint, stream=streamed, **ASKED[endpoint])
    (entry,) = talk.ledger.closed
    assert (entry.outcome, entry.basis) == ("ok", "estimated")
    assert (entry.usage.input_total, entry.usage.output_total) == tokens
    assert TEXT.encode() in reply.body
    assert b'"cost"' not in reply.body


def test_a_total_that_has_less_than_its_parts_lowers_nothing():
    assert heard(None, lambda less: openai_usage({**told(10, 5), "total_tokens": 12}, less=less)) == (
        Usage(input_fresh=10, output_text=5),
        True,
    )


# Anthropic's cache writes


@pytest.mark.parametrize(
    ("writes", "leaves"),
    [
        ({"cache_creation_input_tokens": 100}, (100, None)),
        ({"cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40}}, (60, 40)),
        ({"cache_creation": {"ephemeral_5m_input_tokens": 60}}, (60, None)),
        ({"cache_creation_input_tokens": 100, "cache_creation": {"ephemeral_1h_input_tokens": 40}}, (60, 40)),
        ({"cache_creation_input_tokens": 100, "cache_creation": {"ephemeral_5m_input_tokens": 100}}, (100, None)),
        ({"cache_creation_input_tokens": 100, "cache_creation": {}}, (100, None)),
        ({"cache_creation_input_tokens": 100, "cache_creation": None}, (100, None)),
    ],
)
def test_cache_writes_are_counted_by_their_lifetime_and_what_has_none_by_the_usual_one(writes, leaves):
    usage = anthropic_usage({"input_tokens": 10, "output_tokens": 5, **writes})
    assert (usage.cache_write_5m, usage.cache_write_1h) == leaves
    turns = anthropic_usage({"input_tokens": 1, "output_tokens": 1, "iterations": [
        {"input_tokens": 10, "output_tokens": 5, **writes}, {"input_tokens": 1, "output_tokens": 1},
    ]})  # fmt: skip
    assert (turns.cache_write_5m, turns.cache_write_1h) == leaves


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize(
    ("total", "short", "long", "cost"),
    [
        (100, 60, 40, 10 + 10 + 60 * 3 + 40 * 5),
        (None, 60, 40, 10 + 10 + 60 * 3 + 40 * 5),
        (100, 10, 40, 10 + 10 + 10 * 3 + 90 * 5),  # of 50 nobody says how long they are kept
        (50, 60, 40, 10 + 10 + 60 * 3 + 40 * 5),
    ],
)
async def test_each_cache_write_costs_what_its_lifetime_costs(on, streamed, total, short, long, cost):
    lifetimes = {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long}
    usage = {"input_tokens": 10, "output_tokens": 5, "cache_creation": lifetimes}
    if total is not None:
        usage["cache_creation_input_tokens"] = total
    whole, parts = anthropic(usage)
    talk = on("anthropic", parts if streamed else json.dumps(whole).encode(), cache_write=3, cache_write_1h=5)
    await talk.ask(endpoint="messages", stream=streamed, max_tokens=50)
    (entry,) = talk.ledger.closed
    sound = total in (None, short + long)
    assert entry.basis == ("reported" if sound else "estimated")
    # what contradicts itself is held against what was written: ten words, of which five were told
    assert entry.cost == (cost if sound else cost + 10) * 1000


def test_contradictions_name_both_fields():
    with pytest.raises(ContradictoryUsage, match=r"total_tokens.*prompt_tokens"):
        openai_usage({**told(10, 5), "total_tokens": 50})
    with pytest.raises(ContradictoryUsage, match=r"thinking_tokens.*output_tokens"):
        anthropic_usage({"input_tokens": 1, "output_tokens": 1, "output_tokens_details": {"thinking_tokens": 2}})


# What a client is told


async def test_a_cost_of_the_vendors_own_gives_way_to_ours_and_is_exact(on):
    told_here = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "cost": 0.5}
    talk = on("openai", answer(text="hi", usage=told_here))
    reply = await talk.ask(max_tokens=50)
    assert b'"cost":0.000003,"cost_currency":"USD","flagship_cost":' in reply.body
    assert reply.body.count(b'"cost":') == 1
    assert reply.headers["x-farebox-cost"] == "0.000003"
    assert b'"cost":0,"cost_currency":"USD"' in at_no_cost(reply.body)  # as it is given again from a cache
