"""Baidu Qianfan's first wire: a token for a pair of keys, what is sent, what comes back, what is refused, whose fault it is."""

import asyncio
import re

import pytest
from fakes import KeptReply, Late, event
from native import CALLED, PAIR, PICTURE, WITH_RESULT, said, talking, told_of, with_budget

from router.core import jsonio
from router.core.errors import InvalidRequest, RateLimited, UpstreamFailed
from router.core.failure import Failure, Fault

HOST = "https://aip.baidubce.com"
CHAT = f"{HOST}/rpc/2.0/ai_custom/v1/wenxinworkshop/chat"
TOKEN = f"{HOST}/oauth/2.0/token?grant_type=client_credentials&client_id=AK&client_secret=S%2FK"


def qianfan(tmp_path, *answers, key="24.made-elsewhere", **changes):
    return talking(tmp_path, "qianfan", HOST, key, *answers, **changes)


def answer(result="Hello.", finish="normal", usage=(10, 5), **more):
    told = {"id": "as-1", "object": "chat.completion", "result": result, "is_truncated": False, "finish_reason": finish}
    return jsonio.dumps({**told, "need_clear_history": False, **counted(usage), **more})


def counted(usage):
    if usage is None:
        return {}
    prompt, completion = usage
    return {"usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}}


def part(result, written=None, *, end=False, finish="normal", **more):
    told = {"id": "as-1", "sentence_id": 0, "is_end": end, "is_truncated": False, "result": result}
    return event({**told, "finish_reason": finish, **counted(written and (10, written)), **more})


def refusal(code, message="no"):
    return jsonio.dumps({"error_code": code, "error_msg": message, "id": "as-1"})


def granted(text="24.token", holds=2_592_000):
    return jsonio.dumps({"access_token": text, "expires_in": holds})


def urls(talk):
    return [call.url.removeprefix(CHAT) for call in talk.upstream.calls]


# Conversations


async def test_a_chat_completion_becomes_a_chat_and_back(tmp_path):
    talk = qianfan(tmp_path, answer(), models={"small": {"name": "ERNIE-4.0-8K"}})
    messages = [
        {"role": "system", "content": "Be terse."},
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "user", "content": "there"},
        *WITH_RESULT[1:],
    ]
    reply = await talk.ask(
        messages=messages, tools=[PAIR], tool_choice="required", stop="END", temperature=0, top_p=0.9, max_tokens=50,
        user="u1", seed=7, response_format={"type": "json_object"}, penalty_score=1.2,
    )  # fmt: skip
    assert urls(talk) == ["/completions_pro?access_token=24.made-elsewhere"]
    assert "Authorization" not in talk.upstream.calls[0].headers
    assert talk.sent[0] == {
        "messages": [
            {"role": "user", "content": "hi\n\nthere"},
            {"role": "assistant", "content": "", "function_call": CALLED["function"]},
            {"role": "function", "name": "get_rate", "content": "7.1"},
        ],
        "system": "Be terse.",
        "stream": False,
        "max_output_tokens": 50,
        "temperature": 0.01,
        "top_p": 0.9,
        "stop": ["END"],
        "response_format": "json_object",
        "user_id": "u1",
        "functions": [PAIR["function"]],
        "tool_choice": {"type": "function", "function": {"name": "get_rate"}},
        "penalty_score": 1.2,
    }
    message, finish, usage = told_of(reply)
    assert (message["content"], finish) == ("Hello.", "stop")
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["cost"]) == (10, 5, 0.00002)
    assert talk.rows == [("small", "ok", "reported", 20_000)]


async def test_a_stream_ends_where_it_says_and_its_last_usage_counts(tmp_path):
    talk = qianfan(tmp_path, [part("It is ", 2), part("sunny.", 4), part("", 5, end=True, finish="length")])
    reply = await talk.ask(stream=True)
    assert said(reply) == ("It is sunny.", "", "length")
    assert talk.rows == [("small", "ok", "reported", 20_000)]


async def test_a_call_of_a_function_is_told_as_openai_does(tmp_path):
    call = {"name": "get_rate", "arguments": '{"pair":"USDCNY"}', "thoughts": "look it up"}
    streamed = [part("", 5, function_call=call), part("", 5, end=True, finish="function_call", function_call=call)]
    talk = qianfan(tmp_path, answer("", "function_call", function_call=call), streamed)
    message, finish, _ = told_of(await talk.ask(tools=[PAIR]))
    assert finish == "tool_calls"
    assert [made["function"] for made in message["tool_calls"]] == [CALLED["function"]]
    reply = await talk.ask(stream=True, tools=[PAIR])
    assert said(reply)[2] == "tool_calls"
    assert reply.body.count(b"USDCNY") == 1


@pytest.mark.parametrize(
    ("told", "finish"),
    [
        ({"finish": "stop"}, "stop"),
        ({"finish": "normal", "is_truncated": True}, "length"),
        ({"finish": "content_filter", "need_clear_history": True}, "content_filter"),
        ({"finish": "normal", "need_clear_history": True}, "content_filter"),
    ],
)
async def test_how_an_answer_ended(tmp_path, told, finish):
    talk = qianfan(tmp_path, answer(**told))
    assert told_of(await talk.ask())[1] == finish


async def test_an_anthropic_client_is_answered(tmp_path):
    talk = qianfan(tmp_path, answer())
    reply = await talk.ask(endpoint="messages", max_tokens=20, system="Be terse.")
    assert jsonio.loads(reply.body)["content"] == [{"type": "text", "text": "Hello."}]
    assert (talk.sent[0]["system"], talk.sent[0]["max_output_tokens"]) == ("Be terse.", 20)


TWO = [CALLED, {**CALLED, "id": "c2"}]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"n": 2}, "`n`"),
        ({"max_tokens": 1}, "`max_tokens`"),
        ({"presence_penalty": 1}, "`presence_penalty`"),
        ({"stop": ["a"] * 5}, "`stop`"),
        ({"stop": "a" * 21}, "`stop`"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "`response_format`"),
        ({"tools": [PAIR, PAIR], "tool_choice": "required"}, "`tool_choice`"),
        ({"messages": [{"role": "user", "content": [PICTURE]}]}, r"`messages\[0\]\.content\[0\]` of type image_url"),
        ({"messages": [WITH_RESULT[0], {"role": "assistant", "tool_calls": TWO}]}, r"`messages\[1\]\.tool_calls`"),
        ({"messages": [*WITH_RESULT, {"role": "user", "content": "b"}]}, r"`messages\[3\]`"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, r"`messages\[1\]`"),
        ({"messages": [{"role": "assistant", "content": "b"}, {"role": "user", "content": "a"}]}, r"`messages\[0\]`"),
    ],
)
async def test_what_the_wire_has_no_word_for_is_refused_by_name(tmp_path, body, named):
    talk = qianfan(tmp_path)
    with pytest.raises(InvalidRequest, match=named):
        await talk.ask(**body)
    assert not talk.upstream.calls


@pytest.mark.parametrize(
    ("code", "message", "fault"),
    [
        (6, "No permission to access data", "permission"),
        (17, "Open api daily request limit reached", "quota_exhausted"),
        (19, "Open api total request limit reached", "quota_exhausted"),
        (4, "Open api request limit reached", "rate_limited"),
        (18, "Open api qps request limit reached", "rate_limited"),
        (336502, "Rate limit reached for TPM", "rate_limited"),
        (110, "Access token invalid or no longer valid", "auth"),
        (336003, "messages: role", "bad_request"),
        (336003, "Prompt tokens too long", "context_too_long"),
        (336103, "no", "context_too_long"),
        (336005, "no", "not_found"),
        (336100, "try again", "overloaded"),
        ("336000", "Internal error", "server"),
    ],
)
async def test_an_error_under_200_is_whose_fault_its_number_says_and_costs_nothing(tmp_path, code, message, fault):
    for stream in (False, True):
        talk = qianfan(tmp_path, refusal(code, message))
        with pytest.raises(Exception, match=re.escape(message)):
            await talk.ask(model="small", stream=stream)
        assert talk.ledger.closed[0].fault == fault
        assert talk.rows == [("small", "error", "reported", 0)]


async def test_money_and_rate_are_different_answers(tmp_path):
    talk = qianfan(tmp_path, refusal(17), refusal(336501))
    for error in (UpstreamFailed, RateLimited):
        with pytest.raises(error):
            await talk.ask(model="small")


async def test_an_error_in_the_middle_is_told_in_the_stream_and_what_came_is_charged(tmp_path):
    talk = qianfan(tmp_path, [part("part", 1), event({"error_code": 336000, "error_msg": "it broke"})])
    reply = await talk.ask(model="small", stream=True)
    assert reply.body.count(b'"error"') == 1
    assert b"it broke" in reply.body
    assert talk.rows[0][1:3] == ("cut", "estimated")


async def test_what_is_not_counted_is_estimated(tmp_path):
    talk = qianfan(tmp_path, answer("Hello there.", usage=None))
    await talk.ask()
    assert talk.rows[0][1:3] == ("ok", "estimated")
    assert talk.rows[0][3] > 0


async def test_a_stream_past_its_cap_is_ended(tmp_path):
    talk = qianfan(tmp_path, [part(f"word{i} ", i + 1) for i in range(40)], **with_budget(1))
    reply = await talk.ask(stream=True, max_tokens=4)
    assert said(reply)[2] == "length"
    assert talk.rows[0][1] == "cut"
    assert await talk.held() == 0


async def test_a_budget_that_pays_for_less_than_the_wire_can_be_told_is_no_call(tmp_path):
    # 88 prompt tokens at the most and one of output, at 1 and 2 USD per million: 0.00009 USD
    talk = qianfan(tmp_path, **with_budget("0.000091"))
    with pytest.raises(InvalidRequest, match="pays for 1 token"):
        await talk.ask(model="small")
    assert not talk.upstream.calls


async def test_a_client_that_leaves_pays_what_the_vendor_says(tmp_path):
    talk = qianfan(tmp_path, [part("It is ", 2), part("sunny.", 5), part("", 5, end=True)])
    await talk.ask(KeptReply(patience=1), stream=True)
    assert talk.rows == [("small", "left", "reported", 20_000)]


# Tokens


async def test_a_pair_is_exchanged_once_and_its_token_used_until_near_its_end(tmp_path):
    talk = qianfan(tmp_path, granted(holds=1000), answer(), answer(), granted("24.next", 1000), answer(), key="AK:S/K")
    await talk.ask(model="small")
    talk.clock.push(899)
    await talk.ask(model="small")
    talk.clock.push(1)
    await talk.ask(model="small")
    first, second = "/small?access_token=24.token", "/small?access_token=24.next"
    assert urls(talk) == [TOKEN, first, first, TOKEN, second]
    assert talk.upstream.calls[0].body == b""
    assert [row[1] for row in talk.rows] == ["ok"] * 3


async def test_requests_at_once_wait_for_one_exchange(tmp_path):
    gate = asyncio.Event()
    talk = qianfan(tmp_path, Late(gate, granted()), *[answer()] * 3, key="AK:S/K")
    asking = [asyncio.create_task(talk.ask(model="small")) for _ in range(3)]
    while not talk.upstream.calls:
        await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*asking)
    assert urls(talk) == [TOKEN, *["/small?access_token=24.token"] * 3]


@pytest.mark.parametrize("code", [110, "111"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_stale_token_is_renewed_and_the_call_made_once_more(tmp_path, code, stream):
    good = [part("Hello.", 5), part("", 5, end=True)] if stream else answer()
    told = [event({"error_code": int(code), "error_msg": "stale"})] if stream else refusal(code, "stale")
    talk = qianfan(tmp_path, granted(), told, granted("24.next"), good, key="AK:S/K")
    reply = await talk.ask(model="small", stream=stream)
    assert urls(talk)[1:] == ["/small?access_token=24.token", TOKEN, "/small?access_token=24.next"]
    assert b"Hello." in reply.body
    assert talk.rows == [("small", "ok", "reported", 20_000)]


async def test_a_token_that_is_stale_again_is_the_attempts_failure(tmp_path):
    talk = qianfan(tmp_path, granted(), refusal(111), granted("24.next"), refusal(111), key="AK:S/K")
    with pytest.raises(UpstreamFailed):
        await talk.ask(model="small")
    assert len(talk.upstream.calls) == 4
    assert talk.ledger.closed[0].fault == "auth"
    assert talk.rows == [("small", "error", "reported", 0)]


async def test_a_token_that_was_made_elsewhere_cannot_be_renewed(tmp_path):
    talk = qianfan(tmp_path, refusal(111))
    with pytest.raises(UpstreamFailed):
        await talk.ask(model="small")
    assert len(talk.upstream.calls) == 1


@pytest.mark.parametrize(
    ("told", "fault"),
    [
        ((401, jsonio.dumps({"error": "invalid_client", "error_description": "unknown client id"})), "auth"),
        ((400, jsonio.dumps({"error": "invalid_request"})), "auth"),
        ((200, jsonio.dumps({"error": "invalid_client"})), "auth"),
        ((200, b"<html>"), "auth"),
        ((503, b"busy"), "overloaded"),
        ((429, b"slow down"), "rate_limited"),
        (Failure(Fault.CONNECT, "no connection"), "connect"),
        (Failure(Fault.TIMEOUT, "no answer within 120 s"), "connect"),
        (Failure(Fault.RESET, "the connection ended before an answer"), "connect"),
    ],
)
async def test_an_exchange_that_fails_is_that_attempts_failure_and_the_next_candidate_is_asked(tmp_path, told, fault):
    other = {"other": {"dialect": "openai", "base_url": "http://127.0.0.1:2", "api_key": "k"}}
    vendors = {"check": {"dialect": "qianfan", "base_url": HOST, "api_key": "AK:S/K"}, **other}
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    good = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}
    talk = qianfan(
        tmp_path, told, jsonio.dumps({**good, "usage": usage}), vendors=vendors, models={"large": {"vendor": "other"}}
    )
    await talk.ask()
    rows = {row[0]: row[1:] for row in talk.rows}
    assert rows["small"] == ("error", "reported", 0)
    assert rows["large"][0] == "ok"
    assert {entry.attempt.model: entry.fault for entry in talk.ledger.closed}["small"] == fault


async def test_those_who_wait_for_an_exchange_share_its_failure(tmp_path):
    gate = asyncio.Event()
    talk = qianfan(tmp_path, Late(gate, Failure(Fault.TIMEOUT, "slow")), key="AK:S/K")
    asking = [asyncio.create_task(talk.ask(model="small")) for _ in range(3)]
    while len(talk.ledger.opened) < 3:
        await asyncio.sleep(0)
    for _ in range(5):  # each goes on to where it waits
        await asyncio.sleep(0)
    gate.set()
    told = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(error) for error in told] == [UpstreamFailed] * 3
    assert len(talk.upstream.calls) == 1


async def test_a_client_that_leaves_during_the_exchange_pays_nothing_and_another_asks_in_its_place(tmp_path):
    gate = asyncio.Event()
    talk = qianfan(tmp_path, Late(gate, granted()), granted("24.next"), answer(), key="AK:S/K", **with_budget(1))
    first = asyncio.create_task(talk.ask(model="small"))
    while not talk.upstream.calls:
        await asyncio.sleep(0)
    second = asyncio.create_task(talk.ask(model="small"))
    while len(talk.ledger.opened) < 2:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    await second
    with pytest.raises(asyncio.CancelledError):
        await first
    assert urls(talk) == [TOKEN, TOKEN, "/small?access_token=24.next"]
    assert sorted(row[1:] for row in talk.rows) == [("left", "reported", 0), ("ok", "reported", 20_000)]
    assert await talk.held() == 0


async def test_a_token_that_still_holds_is_used_on_while_no_new_one_can_be_had(tmp_path):
    down = Failure(Fault.CONNECT, "no connection")
    answers = [granted(holds=1000), answer(), down, answer(), answer(), down]
    talk = qianfan(tmp_path, *answers, key="AK:S/K")
    await talk.ask(model="small")
    talk.clock.push(950)
    await talk.ask(model="small")
    talk.clock.push(20)
    await talk.ask(model="small")
    talk.clock.push(30)
    with pytest.raises(UpstreamFailed):
        await talk.ask(model="small")
    call = "/small?access_token=24.token"
    assert urls(talk) == [TOKEN, call, TOKEN, call, call, TOKEN]


async def test_a_late_word_on_an_old_token_does_not_end_a_new_one(tmp_path):
    gate = asyncio.Event()
    answers = [granted(), Late(gate, refusal(111)), refusal(111), granted("24.next"), answer(), answer()]
    talk = qianfan(tmp_path, *answers, key="AK:S/K")
    slow = asyncio.create_task(talk.ask(model="small"))
    while len(talk.upstream.calls) < 2:
        await asyncio.sleep(0)
    await talk.ask(model="small")
    gate.set()
    await slow
    old, new = "/small?access_token=24.token", "/small?access_token=24.next"
    assert urls(talk) == [TOKEN, old, old, TOKEN, new, new]


async def test_neither_keys_nor_tokens_are_shown(tmp_path, caplog):
    refused = (401, jsonio.dumps({"error": "invalid_client", "error_description": "unknown client id"}))
    talk = qianfan(tmp_path, granted(), answer(), refusal(110), refused, key="AK:S/K")
    await talk.ask(model="small")
    with caplog.at_level("DEBUG"), pytest.raises(UpstreamFailed) as failed:
        await talk.ask(model="small")
    shown = "".join(map(repr, [talk.services.reach.grants, *talk.upstream.calls, *talk.ledger.closed])) + str(
        failed.value
    )
    assert "unknown client id" in shown
    for secret in ("S/K", "S%2FK", "24.token"):
        assert secret not in shown + caplog.text
