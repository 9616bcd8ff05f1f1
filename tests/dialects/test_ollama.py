"""Ollama's own wire: what it is sent, what comes back, what is refused by name, whose fault an error is."""

import re

import pytest
from fakes import Headed, KeptReply
from native import CALLED, PAIR, PICTURE, WITH_RESULT, said, talking, told_of, with_budget

from router.core import jsonio
from router.core.errors import InvalidRequest, RateLimited, UpstreamFailed

COUNTS = {"prompt_eval_count": 10, "eval_count": 5}


def ollama(tmp_path, *answers, base_url="http://127.0.0.1:1", **changes):
    return talking(tmp_path, "ollama", base_url, "sk-vendor", *answers, **changes)


def answer(content="Hello.", reason="stop", counts=COUNTS, **message):
    message = {"role": "assistant", "content": content, **message}
    return jsonio.dumps({"model": "small", "message": message, "done": True, "done_reason": reason, **counts})


def lines(*messages, reason="stop", counts=COUNTS):
    for message in messages:
        told = {"model": "small", "message": {"role": "assistant", "content": "", **message}, "done": False}
        yield jsonio.dumps(told) + b"\n"
    yield answer("", reason, counts) + b"\n"


async def test_a_chat_completion_becomes_a_chat_and_back(tmp_path):
    talk = ollama(tmp_path, answer())
    messages = [{"role": "developer", "content": "Be terse."}, *WITH_RESULT]
    reply = await talk.ask(
        messages=messages, tools=[PAIR], stop="END", temperature=0.5, presence_penalty=0, frequency_penalty=0.5,
        max_tokens=50, seed=7, top_k=40, user="u1", options={"num_ctx": 8192, "num_predict": 9999}, keep_alive="1h",
    )  # fmt: skip
    (call,) = talk.upstream.calls
    assert call.url == "http://127.0.0.1:1/api/chat"
    assert call.headers["Authorization"] == "Bearer sk-vendor"
    assert talk.sent[0] == {
        "model": "small",
        "stream": False,
        "messages": [
            {"role": "system", "content": "Be terse."},
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "", "tool_calls": [
                {"id": "c1", "function": {"name": "get_rate", "arguments": {"pair": "USDCNY"}}},
            ]},
            {"role": "tool", "content": "7.1", "tool_name": "get_rate", "tool_call_id": "c1"},
        ],
        "tools": [PAIR],
        "keep_alive": "1h",
        "options": {
            "num_ctx": 8192, "temperature": 0.5, "top_k": 40, "seed": 7, "frequency_penalty": 0.5, "stop": ["END"],
            "num_predict": 50,
        },
    }  # fmt: skip
    message, finish, usage = told_of(reply)
    assert (message["content"], finish) == ("Hello.", "stop")
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["cost"]) == (10, 5, 0.00002)
    assert reply.headers["x-farebox-cost"] == "0.00002"
    assert talk.rows == [("small", "ok", "reported", 20_000)]


async def test_pictures_a_schema_and_an_effort_are_carried(tmp_path):
    talk = ollama(tmp_path, answer("{}"), answer("{}"), answer())
    schema = {"type": "object", "properties": {}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    content = [{"type": "text", "text": "What"}, PICTURE, {"type": "text", "text": "is it?"}]
    await talk.ask(messages=[{"role": "user", "content": content}], response_format=form, reasoning_effort="high")
    assert talk.sent[0]["messages"] == [{"role": "user", "content": "What\n\nis it?", "images": ["AAAA"]}]
    assert (talk.sent[0]["format"], talk.sent[0]["think"]) == (schema, True)
    await talk.ask(response_format={"type": "json_object"}, reasoning_effort="none")
    assert (talk.sent[1]["format"], talk.sent[1]["think"]) == ("json", False)
    await talk.ask(tools=[PAIR], tool_choice="none")
    assert talk.sent[2].keys() == {"model", "stream", "messages", "options"}


async def test_only_a_model_that_knows_levels_is_told_one(tmp_path):
    talk = ollama(tmp_path, answer(), models={"small": {"name": "gpt-oss:20b"}})
    await talk.ask(reasoning_effort="minimal")
    assert talk.sent[0]["think"] == "low"


async def test_a_stream_of_lines_becomes_events(tmp_path):
    whole = b"".join(lines({"thinking": "Hm."}, {"content": "It is "}, {"content": "sunny."}, reason="length"))
    talk = ollama(tmp_path, [whole[i : i + 9] for i in range(0, len(whole), 9)])
    reply = await talk.ask(stream=True)
    assert said(reply) == ("It is sunny.", "Hm.", "length")
    assert talk.rows == [("small", "ok", "reported", 20_000)]


@pytest.mark.parametrize("kind", ["", "text/plain", "application/octet-stream", "APPLICATION/X-NDJSON; charset=utf-8"])
async def test_a_stream_of_lines_is_one_whatever_its_type_says(tmp_path, kind):
    talk = ollama(tmp_path, Headed({"content-type": kind}, [*lines({"content": "Hel"}, {"content": "lo."})]))
    reply = await talk.ask(stream=True, max_tokens=50)
    assert [b"Hel" in reply.body, reply.headers["content-type"]] == [True, "text/event-stream"]
    assert talk.rows == [("small", "ok", "reported", 20_000)]


async def test_a_call_of_a_tool_is_told_as_openai_does(tmp_path):
    call = {"function": {"name": "get_rate", "arguments": {"pair": "USDCNY"}}}
    talk = ollama(tmp_path, answer("", tool_calls=[call, call]), list(lines({"tool_calls": [{"id": "o1", **call}]})))
    message, finish, _ = told_of(await talk.ask(tools=[PAIR]))
    assert finish == "tool_calls"
    assert [made["function"] for made in message["tool_calls"]] == [CALLED["function"]] * 2
    assert len({made["id"] for made in message["tool_calls"]}) == 2
    reply = await talk.ask(stream=True, tools=[PAIR])
    assert said(reply)[2] == "tool_calls"
    assert b'"id":"o1"' in reply.body


async def test_an_anthropic_client_is_answered(tmp_path):
    talk = ollama(tmp_path, answer(thinking="Hm."))
    reply = await talk.ask(endpoint="messages", max_tokens=20)
    told = jsonio.loads(reply.body)
    assert [block["type"] for block in told["content"]] == ["thinking", "text"]
    assert talk.sent[0]["options"]["num_predict"] == 20


async def test_the_address_may_end_where_the_wire_begins_and_embeddings_go_to_the_openai_layer(tmp_path):
    embedded = jsonio.dumps({"object": "list", "data": [], "usage": {"prompt_tokens": 3, "total_tokens": 3}})
    talk = ollama(tmp_path, answer(), embedded, base_url="http://127.0.0.1:1/api")
    await talk.ask()
    await talk.ask(endpoint="embeddings", model="small", input="hi")
    assert [call.url for call in talk.upstream.calls] == [
        "http://127.0.0.1:1/api/chat",
        "http://127.0.0.1:1/v1/embeddings",
    ]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"n": 2}, "`n`"),
        ({"logprobs": True}, "`logprobs`"),
        ({"logit_bias": {"5": 1}}, "`logit_bias`"),
        ({"tools": [PAIR], "tool_choice": "required"}, "`tool_choice`"),
        ({"tools": [PAIR], "parallel_tool_calls": False}, "`parallel_tool_calls`"),
        ({"tools": [{"type": "custom", "custom": {}}]}, r"`tools\[0\]`"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]}, "input_audio"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a.b/c.png"}}]}
                ]
            },
            r"`messages\[0\]\.content\[0\]` is no picture as data",
        ),
        ({"messages": [{"role": "tool", "tool_call_id": "c9", "content": "7"}]}, "names no call"),
    ],
)
async def test_what_the_wire_has_no_word_for_is_refused_by_name(tmp_path, body, named):
    talk = ollama(tmp_path)
    with pytest.raises(InvalidRequest, match=named):
        await talk.ask(**body)
    assert not talk.upstream.calls


@pytest.mark.parametrize(
    ("status", "said", "fault"),
    [
        (401, "unauthorized", "auth"),
        (404, "model 'small' not found", "not_found"),
        (400, '"small" does not support tools', "bad_request"),
        (400, "the input length exceeds the context length", "context_too_long"),
        (429, "too many requests", "rate_limited"),
        (429, "you (me) have reached your session usage limit, upgrade for higher limits", "quota_exhausted"),
        (500, "llama runner process has terminated", "server"),
        (503, "server busy, please try again.  maximum pending requests exceeded", "overloaded"),
        (200, "you have reached your weekly usage limit", "quota_exhausted"),
    ],
)  # fmt: skip
async def test_an_error_is_told_by_its_sentence_then_its_status_and_costs_nothing(tmp_path, status, said, fault):
    talk = ollama(tmp_path, (status, jsonio.dumps({"error": said})))
    with pytest.raises(Exception, match=re.escape(said[:12])):
        await talk.ask(model="small")
    assert talk.ledger.closed[0].fault == fault
    assert talk.rows == [("small", "error", "reported", 0)]


async def test_money_and_rate_are_different_answers(tmp_path):
    spent = {"error": "you have reached your session usage limit"}
    talk = ollama(tmp_path, (429, jsonio.dumps(spent)), (429, jsonio.dumps({"error": "slow down"})))
    with pytest.raises(UpstreamFailed):
        await talk.ask(model="small")
    with pytest.raises(RateLimited):
        await talk.ask(model="small")


async def test_an_error_in_the_middle_is_told_in_the_stream_and_what_came_is_charged(tmp_path):
    begun = next(lines({"content": "part"}))
    talk = ollama(tmp_path, [begun, jsonio.dumps({"error": "llama runner process has terminated"}) + b"\n"])
    reply = await talk.ask(model="small", stream=True)
    assert reply.body.count(b'"error"') == 1
    assert b"llama runner" in reply.body
    assert talk.rows[0][1:3] == ("cut", "estimated")
    assert talk.rows[0][3] > 0


async def test_what_is_not_counted_is_estimated(tmp_path):
    talk = ollama(tmp_path, answer("Hello there.", counts={}), answer("Hello there.", counts={"eval_count": 3}))
    await talk.ask()
    await talk.ask()
    assert [row[1:3] for row in talk.rows] == [("ok", "estimated")] * 2
    assert all(row[3] > 0 for row in talk.rows)


async def test_a_stream_past_its_cap_is_ended(tmp_path):
    talk = ollama(tmp_path, list(lines(*[{"content": "word "}] * 40)), **with_budget(1))
    reply = await talk.ask(stream=True, max_tokens=4)
    assert said(reply)[2] == "length"
    assert talk.rows[0][1] == "cut"
    assert await talk.held() == 0


async def test_a_client_that_leaves_pays_what_the_server_says(tmp_path):
    talk = ollama(tmp_path, list(lines({"content": "It is "}, {"content": "sunny."})))
    await talk.ask(KeptReply(patience=1), stream=True)
    assert talk.rows == [("small", "left", "reported", 20_000)]
