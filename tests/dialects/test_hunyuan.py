"""Tencent Hunyuan's own wire: signed calls without a cap, what comes back, what is refused by name, whose fault an error is."""

import asyncio
import hashlib
import hmac

import pytest
from fakes import KeptReply, event
from native import CALLED, PAIR, PICTURE, WITH_RESULT, said, talking, told_of, with_budget

from router.core import jsonio
from router.core.errors import ContentFiltered, InvalidRequest, RateLimited, UpstreamFailed
from router.core.failure import AttemptFailed
from router.dialects.sent import Sent
from router.dialects.tc3 import sign
from router.snapshot import BadConfiguration

HOST = "https://hunyuan.tencentcloudapi.com"


def hunyuan(tmp_path, *answers, base_url=HOST, **changes):
    return talking(tmp_path, "hunyuan", base_url, "AKIDmine:sk-secret", *answers, **changes)


def usage(prompt, completion, cached=None):
    told = {"PromptTokens": prompt, "CompletionTokens": completion, "TotalTokens": prompt + completion}
    return {"Usage": told | ({"PromptTokensDetails": {"CachedTokens": cached}} if cached else {})}


def delta(text="", reason="", written=None, **more):
    choice = {"Index": 0, "Delta": {"Role": "assistant", "Content": text, **more}, "FinishReason": reason}
    counted = {} if written is None else usage(10, written)
    return event({"Note": "AI", "Choices": [choice], "Created": 1, "Id": "h1", **counted})


def streamed(*words, reason="stop", counts=True):
    told = [delta(word, written=i if counts else None) for i, word in enumerate(words, 1)]
    return [*told, delta("", reason, len(words) if counts else None)]


def refusal(code, message="no"):
    return jsonio.dumps({"Response": {"Error": {"Code": code, "Message": message}, "RequestId": "r1"}})


# The signature


def test_a_signature_is_that_of_tencents_own_worked_example():
    # cloud.tencent.com/document/api/213/30654, "TC3-HMAC-SHA256": the keys and the result are published there
    body = rb'{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}'
    headers = {"Content-Type": "application/json; charset=utf-8", "X-TC-Action": "DescribeInstances"}
    sent = Sent("https://cvm.tencentcloudapi.com", headers, body)
    signed = sign(sent, "AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE:Gu5t9xGARNpq86cd98joQYCN3EXAMPLE", 1_551_113_065)
    assert signed.headers == {
        **headers,
        "X-TC-Timestamp": "1551113065",
        "Authorization": "TC3-HMAC-SHA256 Credential=AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE/2019-02-25/cvm/tc3_request, "
        "SignedHeaders=content-type;host, Signature=72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168",
    }
    assert signed.body == body


@pytest.mark.parametrize("key", ["AKIDmine", "AKIDmine:", ":secret", ""])
def test_a_credential_of_another_form_is_the_vendors_failure_and_not_shown(key):
    with pytest.raises(AttemptFailed) as failed:
        sign(Sent(HOST, {"Content-Type": "application/json"}, b""), key, 0)
    assert failed.value.failure.fault == "auth"
    assert "AKIDmine" not in str(failed.value)


def test_a_credential_of_another_form_is_a_problem_of_the_configuration(tmp_path):
    with pytest.raises(BadConfiguration, match="has to be SecretId:SecretKey") as refused:
        talking(tmp_path, "hunyuan", HOST, "sk-lonely")
    assert "sk-lonely" not in str(refused.value)


async def test_a_call_is_signed_for_its_body_and_its_time(tmp_path):
    talk = hunyuan(tmp_path, streamed("Hello."))
    await talk.ask()
    (call,) = talk.upstream.calls
    now = talk.clock.now() // 1_000_000
    assert call.url == f"{HOST}/"
    assert {name: call.headers[name] for name in ("X-TC-Action", "X-TC-Version", "X-TC-Timestamp", "X-TC-Region")} == {
        "X-TC-Action": "ChatCompletions",
        "X-TC-Version": "2023-09-01",
        "X-TC-Timestamp": str(now),
        "X-TC-Region": "ap-guangzhou",
    }
    canonical = "POST\n/\n\ncontent-type:application/json\nhost:hunyuan.tencentcloudapi.com\n\ncontent-type;host\n"
    digest = hashlib.sha256((canonical + hashlib.sha256(call.body).hexdigest()).encode()).hexdigest()
    date = "2026-11-18"
    key = b"TC3sk-secret"
    for part in (date, "hunyuan", "tc3_request", f"TC3-HMAC-SHA256\n{now}\n{date}/hunyuan/tc3_request\n{digest}"):
        key = hmac.digest(key, part.encode(), "sha256")
    assert call.headers["Authorization"].endswith(f"Signature={key.hex()}")
    assert "sk-secret" not in repr(call) + str(dict(call.headers))


async def test_a_region_is_that_of_the_address_or_of_a_configured_header(tmp_path):
    talk = hunyuan(tmp_path, streamed("a"), base_url="https://hunyuan.ap-beijing.tencentcloudapi.com")
    await talk.ask()
    assert talk.upstream.calls[0].headers["X-TC-Region"] == "ap-beijing"
    vendors = {"check": {"dialect": "hunyuan", "base_url": HOST, "api_key": "a:b", "headers": {"X-TC-Region": "ap-x"}}}
    talk = hunyuan(tmp_path, streamed("a"), vendors=vendors)
    await talk.ask()
    assert talk.upstream.calls[0].headers["X-TC-Region"] == "ap-x"


# Conversations


async def test_a_chat_completion_becomes_a_call_in_camel_case_and_back(tmp_path):
    talk = hunyuan(tmp_path, streamed("Hel", "lo."))
    messages = [
        {"role": "system", "content": "Be terse."},
        *WITH_RESULT,
        {"role": "assistant", "content": "7.1"},
        {"role": "user", "content": "and"},
        {"role": "user", "content": [{"type": "text", "text": "this?"}, PICTURE]},
    ]
    reply = await talk.ask(
        messages=messages, tools=[PAIR], tool_choice="required", temperature=0.5, top_p=0.9, seed=7, user="u1",
        EnableEnhancement=True,
    )  # fmt: skip
    function = {"Name": "get_rate", "Description": "an exchange rate"}
    tool = {
        "Type": "function",
        "Function": {**function, "Parameters": jsonio.dumps(PAIR["function"]["parameters"]).decode()},
    }
    assert talk.sent[0] == {
        "Model": "small",
        "Messages": [
            {"Role": "system", "Content": "Be terse."},
            {"Role": "user", "Content": "hi"},
            {"Role": "assistant", "Content": "", "ToolCalls": [
                {"Id": "c1", "Type": "function", "Index": 0,
                 "Function": {"Name": "get_rate", "Arguments": '{"pair":"USDCNY"}'}},
            ]},
            {"Role": "tool", "Content": "7.1", "ToolCallId": "c1"},
            {"Role": "assistant", "Content": "7.1"},
            {"Role": "user", "Contents": [
                {"Type": "text", "Text": "and"},
                {"Type": "text", "Text": "this?"},
                {"Type": "image_url", "ImageUrl": {"Url": "data:image/png;base64,AAAA"}},
            ]},
        ],
        "Stream": True,
        "Temperature": 0.5,
        "TopP": 0.9,
        "Seed": 7,
        "Tools": [tool],
        "ToolChoice": "custom",
        "CustomTool": tool,
        "EnableEnhancement": True,
    }  # fmt: skip
    message, finish, told = told_of(reply)
    assert (message["content"], finish) == ("Hello.", "stop")
    assert (told["prompt_tokens"], told["completion_tokens"], told["cost"]) == (10, 2, 0.000014)
    assert reply.headers["content-type"] == "application/json"
    assert talk.rows == [("small", "ok", "reported", 14_000)]


async def test_a_plain_answer_is_read_too_and_cached_tokens_may_be_a_string(tmp_path):
    choice = {"Index": 0, "FinishReason": "stop", "Message": {"Role": "assistant", "Content": "可以。"}}
    talk = hunyuan(tmp_path, jsonio.dumps({"Response": {"Choices": [choice], "Id": "h1", **usage(30, 2, "16")}}))
    message, _, told = told_of(await talk.ask())
    assert (message["content"], told["prompt_tokens_details"]["cached_tokens"]) == ("可以。", 16)


async def test_a_plain_answer_is_told_once_to_a_client_of_the_responses_wire(tmp_path):
    choice = {"Index": 0, "FinishReason": "stop", "Message": {"Role": "assistant", "Content": "可以。"}}
    talk = hunyuan(tmp_path, jsonio.dumps({"Response": {"Choices": [choice], "Id": "h1", **usage(30, 2)}}))
    reply = await talk.ask(endpoint="responses")
    (item,) = jsonio.loads(reply.body)["output"]
    assert [part["text"] for part in item["content"]] == ["可以。"]


async def test_a_stream_is_turned(tmp_path):
    thought = [delta("", written=1, ReasoningContent="Hm.")]
    talk = hunyuan(tmp_path, [*thought, *streamed("It is ", "sunny.")])
    reply = await talk.ask(stream=True)
    assert said(reply) == ("It is sunny.", "Hm.", "stop")
    assert talk.rows == [("small", "ok", "reported", 14_000)]


async def test_the_parts_of_calls_are_put_together_by_their_ids(tmp_path):
    def part(call_id, name, arguments, index=0):
        call = {"Id": call_id, "Type": "function", "Function": {"Name": name, "Arguments": arguments}, "Index": index}
        return delta(ToolCalls=[call])

    parts = [
        part("c1", "get_rate", '{"pair":'),
        part("c1", "get_rate", '"USDCNY"}'),
        part("c2", "get_rate", "{}", 1),
    ]
    talk = hunyuan(tmp_path, [*parts, delta("", "tool_calls", 9)], [*parts, delta("", "tool_calls", 9)])
    message, finish, _ = told_of(await talk.ask(tools=[PAIR]))
    assert finish == "tool_calls"
    assert message["tool_calls"][0] == CALLED
    assert message["tool_calls"][1]["function"]["arguments"] == "{}"
    tools = [{"name": "get_rate", "input_schema": {"type": "object"}}]
    reply = await talk.ask(tools=tools, endpoint="messages", max_tokens=50)
    told = [(block["type"], block["input"]) for block in jsonio.loads(reply.body)["content"]]
    assert told == [("tool_use", {"pair": "USDCNY"}), ("tool_use", {})]


async def test_an_answer_is_ended_at_its_cap_as_the_vendor_cannot_be_told_one(tmp_path):
    words = [f"word{i} " for i in range(40)]
    talk = hunyuan(tmp_path, streamed(*words), streamed(*words), streamed(*words), **with_budget(1))
    message, finish, told = told_of(await talk.ask(max_tokens=4))
    assert message["content"] == "word0 word1 word2 word3 "
    assert (finish, told["completion_tokens"]) == ("length", 4)
    assert "max_tokens" not in str(talk.sent[0]).lower()
    reply = await talk.ask(max_tokens=4, stream=True)
    assert said(reply)[::2] == ("word0 word1 word2 word3 ", "length")
    reply = await talk.ask(endpoint="messages", max_tokens=4)
    assert jsonio.loads(reply.body)["stop_reason"] == "max_tokens"
    assert [row[1] for row in talk.rows] == ["cut"] * 3
    assert talk.rows[0] == talk.rows[2] == ("small", "cut", "reported", 18_000)
    assert await talk.held() == 0


async def test_a_cap_is_kept_without_a_budget_too_where_somebody_asked_for_it(tmp_path):
    words = [f"word{i} " for i in range(40)]
    talk = hunyuan(tmp_path, streamed(*words, counts=False), streamed(*words))
    message, finish, _ = told_of(await talk.ask(max_tokens=4))
    assert (len(message["content"].split()), finish) == (4, "length")
    assert told_of(await talk.ask())[1] == "stop"
    assert [row[1:3] for row in talk.rows] == [("cut", "estimated"), ("ok", "reported")]


async def test_a_stream_that_breaks_while_it_is_gathered_is_followed_by_the_next_candidate_and_charged(tmp_path):
    talk = hunyuan(tmp_path, streamed("It is ", "sunny.")[:2], streamed("Rain."))
    message, _, _ = told_of(await talk.ask())
    assert message["content"] == "Rain."
    rows = {row[0]: row[1:] for row in talk.rows}
    assert rows["small"][:2] == ("error", "estimated")
    assert rows["small"][2] > 0
    assert rows["large"][:2] == ("ok", "reported")


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"n": 2}, "`n`"),
        ({"stop": "END"}, "`stop`"),
        ({"presence_penalty": 1}, "`presence_penalty`"),
        ({"response_format": {"type": "json_object"}}, "`response_format`"),
        ({"tools": [PAIR, PAIR], "tool_choice": "required"}, "`tool_choice`"),
        ({"tools": [PAIR], "tool_choice": {"type": "function", "function": {"name": "x"}}}, "`tool_choice`"),
        ({"tools": [PAIR], "parallel_tool_calls": False}, "`parallel_tool_calls`"),
        ({"messages": [{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]}, r"`messages\[0\]`"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, r"`messages\[1\]`"),
        ({"messages": [*WITH_RESULT, {"role": "user", "content": "b"}]}, r"`messages\[3\]`"),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]}, "file"),
        ({"messages": [{"role": r, "content": "a"} for r in ("user", "assistant") * 25] + [{"role": "user", "content": "a"}]}, "40"),
    ],
)  # fmt: skip
async def test_what_the_wire_has_no_word_for_is_refused_by_name(tmp_path, body, named):
    talk = hunyuan(tmp_path)
    with pytest.raises(InvalidRequest, match=named):
        await talk.ask(**body)
    assert not talk.upstream.calls


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("AuthFailure.SignatureFailure", "auth"),
        ("UnauthorizedOperation", "permission"),
        ("FailedOperation.ServiceNotActivated", "permission"),
        ("LimitExceeded", "rate_limited"),
        ("RequestLimitExceeded.UinLimitExceeded", "rate_limited"),
        ("FailedOperation.ResourcePackExhausted", "quota_exhausted"),
        ("ResourceInsufficient.ChargeResourceExhaust", "quota_exhausted"),
        ("ResourceUnavailable.InArrears", "quota_exhausted"),
        ("ResourceUnavailable.NotExist", "permission"),
        ("FailedOperation.EngineServerLimitExceeded", "overloaded"),
        ("FailedOperation.Other", "server"),
        ("InternalError", "server"),
    ],
)
async def test_an_error_under_200_is_whose_fault_its_code_says_and_costs_nothing(tmp_path, code, fault):
    for stream in (False, True):
        talk = hunyuan(tmp_path, refusal(code))
        with pytest.raises(Exception, match="no"):
            await talk.ask(model="small", stream=stream)
        assert talk.ledger.closed[0].fault == fault
        assert talk.rows == [("small", "error", "reported", 0)]


async def test_money_rate_and_filters_are_different_answers(tmp_path):
    talk = hunyuan(tmp_path, refusal("ResourceUnavailable.LowBalance"), refusal("LimitExceeded"), refusal("OperationDenied.TextIllegalDetected"))  # fmt: skip
    for error in (UpstreamFailed, RateLimited, ContentFiltered):
        with pytest.raises(error):
            await talk.ask(model="small")


async def test_a_check_that_stops_an_answer_is_a_finish_once_something_was_written(tmp_path):
    talk = hunyuan(tmp_path, streamed("It is ", reason="sensitive"), streamed(reason="sensitive"))
    assert told_of(await talk.ask())[1] == "content_filter"
    with pytest.raises(ContentFiltered):
        await talk.ask()


async def test_an_error_in_the_middle_is_told_in_the_stream_and_what_came_is_charged(tmp_path):
    broken = event({"Note": "AI", "Id": "h1", "ErrorMsg": {"Code": 4000, "Msg": "it broke"}})
    talk = hunyuan(tmp_path, [delta("part", written=1), broken])
    reply = await talk.ask(model="small", stream=True)
    assert reply.body.count(b'"error"') == 1
    assert b"it broke" in reply.body
    assert talk.rows[0][1:3] == ("cut", "estimated")


async def test_what_is_not_counted_is_estimated(tmp_path):
    talk = hunyuan(tmp_path, streamed("Hello there.", counts=False))
    assert told_of(await talk.ask())[2] is None
    assert talk.rows[0][1:3] == ("ok", "estimated")
    assert talk.rows[0][3] > 0


async def test_a_client_that_leaves_pays_what_the_vendor_says(tmp_path):
    talk = hunyuan(tmp_path, streamed("It is ", "sunny."))
    await talk.ask(KeptReply(patience=1), stream=True)
    assert talk.rows == [("small", "left", "reported", 14_000)]


async def test_a_client_that_leaves_while_its_answer_is_gathered_pays_what_the_vendor_says(tmp_path):
    gate = asyncio.Event()
    first, *rest = streamed("It is ", "sunny.")
    talk = hunyuan(tmp_path, [first, gate, *rest], **with_budget(1))
    asking = asyncio.create_task(talk.ask())
    while not talk.upstream.calls:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    asking.cancel()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await talk.settlement.drain(10)
    assert talk.rows == [("small", "left", "reported", 14_000)]
    assert await talk.held() == 0
