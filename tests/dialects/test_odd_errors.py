"""Errors under a status of success in forms that nobody has documented: no answer, so that another candidate is asked."""

import json

import pytest
from fakes import Conversation, answer, snapshot_of, stream

ERRORS = {
    "sentence": {"error": "boom"},
    "number": {"code": 123, "message": "boom"},
    "word": {"code": "Unlucky", "msg": "boom"},
    "success": {"success": False, "data": None, "msg": "boom"},
    "detail": {"detail": "boom"},
    "status": {"status": "error", "message": "boom"},
    "type": {"type": "error", "message": "boom"},
    "list": {"errors": [{"message": "boom"}]},
    "bare": {"success": False},
}
WIRES = ["openai", "anthropic", "gemini", "responses", "qianfan", "ollama"]
ODD = pytest.mark.parametrize("told", ERRORS.values(), ids=ERRORS)
ENDPOINTS = ["chat/completions", "messages", "responses"]


@pytest.fixture
def talk(tmp_path):
    """A conversation whose cheap model is on this wire, and its flagship on OpenAI's."""

    def make(wire, *answers):
        address = {"base_url": "http://127.0.0.1:1", "api_key": "a-token"}
        config = {
            "vendors": {"odd": {"dialect": wire, **address}},
            "models": {"small": {"vendor": "odd"}},
            "teams": {"search": {"budgets": [{"limit": 1, "per": "day"}]}},
        }
        return Conversation(snapshot_of(tmp_path, **config), *answers)

    return make


def asked(endpoint):
    return {"max_output_tokens": 50} if endpoint == "responses" else {"max_tokens": 50}


@ODD
@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("wire", WIRES)
async def test_an_error_of_an_unknown_form_is_no_answer_and_the_next_is_asked(talk, wire, endpoint, streamed, told):
    good = stream("Hello") if streamed else answer(text="Hello")
    on = talk(wire, json.dumps(told).encode(), good)
    reply = await on.ask(endpoint=endpoint, stream=streamed, **asked(endpoint))
    assert b"Hello" in reply.body
    assert b"boom" not in reply.body
    assert {row[:2] for row in on.rows} == {("small", "error"), ("large", "ok")}
    assert await on.held() == 0
    assert await on.spent() == sum(row[3] for row in on.rows)


@ODD
@pytest.mark.parametrize("cut", ["apart", "in one piece"])
@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("wire", ["openai", "anthropic", "gemini", "responses"])
async def test_the_same_as_the_only_event_of_a_stream(talk, wire, endpoint, cut, told):
    events = [b"data: " + json.dumps(told).encode() + b"\n\n", b"data: [DONE]\n\n"]
    on = talk(wire, events if cut == "apart" else [b"".join(events)], stream("Hello"))
    reply = await on.ask(endpoint=endpoint, stream=True, **asked(endpoint))
    assert b"Hello" in reply.body
    assert b"boom" not in reply.body
    assert {row[:2] for row in on.rows} == {("small", "error"), ("large", "ok")}


async def test_a_vendor_that_says_that_it_failed_is_not_paid_and_one_that_cannot_be_read_is(talk):
    on = talk("openai", b'{"code": 123, "message": "boom"}', answer())
    await on.ask(max_tokens=50)
    assert on.rows[0] == ("small", "error", "reported", 0)
    on = talk("openai", b"{}", answer())
    await on.ask(max_tokens=50)
    entry = on.ledger.closed[0]
    assert (entry.outcome, entry.basis, entry.usage.output_text) == ("error", "estimated", 50)


async def test_what_such_an_error_has_used_is_charged(talk):
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    on = talk("openai", json.dumps({"code": 1, "message": "boom", "usage": usage}).encode(), answer())
    await on.ask(max_tokens=50)
    assert on.rows[0] == ("small", "error", "reported", 20_000)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_stream_that_only_says_that_it_is_done_is_no_answer(talk, endpoint):
    on = talk("openai", [b"data: [DONE]\n\n"], stream("Hello"))
    reply = await on.ask(endpoint=endpoint, stream=True, **asked(endpoint))
    assert b"Hello" in reply.body


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_an_answer_without_a_word_is_one(talk, endpoint):
    choice = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": "stop"}
    on = talk("openai", [b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n", b"data: [DONE]\n\n"])
    reply = await on.ask(endpoint=endpoint, stream=True, **asked(endpoint))
    assert reply.status == 200
    assert [row[:2] for row in on.rows] == [("small", "ok")]
