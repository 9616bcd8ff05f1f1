"""Whole conversations with vendors that depart from the wire: what the client gets, and what is written down."""

import pytest
from fakes import Conversation, KeptReply, answer, event, snapshot_of, stream

from router.core import jsonio
from router.core.errors import ContentFiltered, UpstreamFailed
from router.yamlfile import BadConfiguration


@pytest.fixture
def talking_to(tmp_path):
    """A conversation whose cheap model is this vendor's, with a flagship elsewhere."""

    def make(vendor, *answers, **more):
        vendors = {vendor: {"api_key": "sk-vendor", "base_url": "http://127.0.0.1:1/v1"}}
        return Conversation(
            snapshot_of(tmp_path, vendors=vendors, models={"small": {"vendor": vendor}}, **more), *answers
        )

    return make


def delta(text, reason=None, **more):
    return event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}], **more})


def usage(prompt, completion):
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


async def test_an_empty_account_that_says_200_is_followed_by_the_next_candidate(talking_to):
    refusal = jsonio.dumps({"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}})
    talk = talking_to("minimax", refusal, answer(10, 5))
    reply = await talk.ask(temperature=0)
    assert [sent["temperature"] for sent in talk.sent] == [0.01, 0]
    assert reply.headers["x-farebox-model"] == "large"
    assert talk.rows[0] == ("small", "error", "reported", 0)
    assert talk.ledger.closed[0].fault == "quota_exhausted"


async def test_a_refusal_in_the_vendors_own_shape_before_anything_else_is_the_callers_error(talking_to):
    talk = talking_to("iflytek", [event({"code": 10013, "message": "input content audit failed"})])
    with pytest.raises(ContentFiltered, match="input content audit failed"):
        await talk.ask(stream=True)


async def test_a_refusal_in_the_middle_is_told_once_in_the_clients_dialect_and_what_came_is_charged(talking_to):
    start = delta("part", code=0)
    talk = talking_to("iflytek", [start, event({"code": 10014, "message": "output content audit failed"})])
    reply = await talk.ask(stream=True)
    assert reply.body.startswith(start) and reply.body.count(b'"error"') == 1
    assert b"output content audit failed" in reply.body and b"10014" not in reply.body
    assert talk.rows[0][1:3] == ("cut", "estimated") and talk.ledger.closed[0].fault == "content_filtered"


async def test_an_error_event_of_the_clients_own_dialect_is_passed_on_and_not_told_twice(talking_to):
    broken = event({"error": {"message": "busy", "type": "overloaded_error", "code": None}})
    talk = talking_to("openai", [delta("part"), broken])
    reply = await talk.ask(stream=True)
    assert reply.body == delta("part") + broken
    assert talk.rows[0][1] == "cut" and talk.ledger.closed[0].fault == "overloaded"


async def test_an_answer_without_resources_for_a_word_is_tried_elsewhere(talking_to):
    talk = talking_to("deepseek", [delta("", "insufficient_system_resource"), b"data: [DONE]\n\n"], stream("fine"))
    reply = await talk.ask(stream=True)
    assert b"fine" in reply.body and b"insufficient" not in reply.body
    assert talk.ledger.closed[0].fault == "overloaded"


async def test_a_part_of_an_answer_is_passed_on_charged_and_written_down_as_cut(talking_to):
    choice = {"index": 0, "message": {"content": "part"}, "finish_reason": "insufficient_system_resource"}
    talk = talking_to("deepseek", jsonio.dumps({"choices": [choice], "usage": usage(10, 5)}))
    reply = await talk.ask()
    assert b"part" in reply.body
    assert talk.rows == [("small", "cut", "reported", 20_000)]
    assert talk.ledger.closed[0].fault == "overloaded"


async def test_a_stream_that_breaks_off_is_not_whole_because_each_chunk_has_a_usage(talking_to):
    talk = talking_to("stepfun", [delta("one", usage=usage(10, 1)), delta("two", usage=usage(10, 2))])
    reply = await talk.ask(stream=True)
    assert reply.body.startswith(delta("one") + delta("two")) and b"upstream_error" in reply.body
    assert talk.rows == [("small", "cut", "reported", 14_000)]


async def test_a_cap_holds_by_the_usage_where_each_chunk_has_one(talking_to):
    chunks = [delta("word", usage=usage(10, 5 * n)) for n in range(1, 30)]
    talk = talking_to("stepfun", chunks, teams={"search": {"budgets": [{"limit": 1, "per": "day"}]}})
    reply = await talk.ask(stream=True, max_tokens=10)
    assert reply.body.count(b"word") == 3 and b'"finish_reason":"length"' in reply.body
    assert talk.rows == [("small", "cut", "reported", 40_000)]


async def test_blank_lines_before_a_plain_answer_change_nothing(talking_to):
    talk = talking_to("deepseek", b"\n\n\n" + answer(10, 5))
    reply = await talk.ask()
    assert reply.body.startswith(b'\n\n\n{"id"') and b'"cost":0.00002' in reply.body
    assert talk.rows == [("small", "ok", "reported", 20_000)]


async def test_the_whole_message_that_closes_a_stream_is_not_told_again(talking_to):
    closing = {"object": "chat.completion", "choices": [{"message": {"content": "ab"}, "finish_reason": "stop"}]}
    chunks = [delta("ab", "stop", usage={"total_tokens": 0}), event({**closing, "usage": usage(10, 5)})]
    talk = talking_to("minimax", [*chunks, b"data: [DONE]\n\n"])
    reply = await talk.ask(stream=True)
    assert reply.body == delta("ab", "stop") + b"data: [DONE]\n\n"
    assert talk.rows == [("small", "ok", "reported", 20_000)]


async def test_every_attempts_fault_is_named_by_the_vendors_own_codes(talking_to):
    arrears = 429, jsonio.dumps({"error": {"code": "1113", "message": "The account is in arrears"}})
    busy = 500, b"{}"
    talk = talking_to("zhipu", arrears, busy)
    with pytest.raises(UpstreamFailed) as caught:
        await talk.ask()
    assert [attempt["fault"] for attempt in caught.value.details["attempts"]] == ["quota_exhausted", "server"]


async def test_a_client_that_left_is_billed_by_the_vendors_own_way_to_tell_usage(talking_to):
    finish = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": usage(10, 5)}]})
    talk = talking_to("moonshot", [delta("a"), delta("b"), finish, b"data: [DONE]\n\n"])
    await talk.ask(KeptReply(patience=1), stream=True)
    assert talk.rows == [("small", "left", "reported", 20_000)]


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"], ids=["vLLM 0.11", "before it"])
async def test_thinking_under_either_of_its_names_reaches_a_client_of_another_wire(talking_to, field):
    thought = event({"choices": [{"index": 0, "delta": {field: "hm"}}]})
    talk = talking_to("vllm", [thought, delta("yes", "stop", usage=usage(10, 5)), b"data: [DONE]\n\n"])
    reply = await talk.ask(endpoint="messages", max_tokens=50, stream=True)
    assert b'"thinking":"hm"' in reply.body and b'"text":"yes"' in reply.body
    assert talk.rows == [("small", "ok", "reported", 20_000)]  # as what it is, part of the completion


async def test_a_server_of_ones_own_has_no_price_but_the_configured_one(tmp_path):
    models = {"house": {"vendor": "vllm", "tier": "cheap"}}
    with pytest.raises(BadConfiguration, match="no price book has vllm/house; give it a `price`"):
        snapshot_of(tmp_path, vendors={"vllm": {"base_url": "http://127.0.0.1:8000/v1"}}, models=models)
    with pytest.raises(BadConfiguration, match="no common address; set base_url"):
        snapshot_of(tmp_path, vendors={"vllm": {}}, models={"house": {**models["house"], "price": "free"}})
