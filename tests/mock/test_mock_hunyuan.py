"""The mock on Tencent's own wire: signed calls, CamelCase, errors under 200."""

import json

import aiohttp
import jsonschema
import pytest
from wired import CLOCK, WEATHER, counts, events

from router.dialects.sent import Sent
from router.dialects.tc3 import sign
from router.mock.text import tokens

NOW = 1_790_000_000
HEADERS = {"Content-Type": "application/json", "X-TC-Action": "ChatCompletions", "X-TC-Version": "2023-09-01"}
TOOLS = [
    {"Type": "function", "Function": {"Name": "get_weather", "Parameters": json.dumps(WEATHER)}},
    {"Type": "function", "Function": {"Name": "get_time", "Parameters": json.dumps(CLOCK)}},
]


@pytest.fixture
def url(mock):
    return f"{mock.url}/tencent/"


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


def user(text, **more):
    return {"Model": "hunyuan-turbos-latest", "Messages": [{"Role": "user", "Content": text}], **more}


async def send(http, url, body, key="AKIDmine:mock", at=NOW, **headers):
    raw = json.dumps(body).encode()
    sent = sign(Sent(url, {**HEADERS, **headers}, raw), key, at)
    async with http.post(url, data=raw, headers=sent.headers) as reply:
        assert reply.status == 200  # whatever happens
        try:
            return reply, await reply.read()
        except aiohttp.ClientError:
            return reply, None


async def ask(http, url, text, **more):
    _, raw = await send(http, url, user(text, **more))
    return json.loads(raw)["Response"]


async def told(http, url, text, **more):
    _, raw = await send(http, url, user(text, Stream=True, **more))
    return [data for _, data in events(raw)]


async def test_an_answer_is_the_same_plain_and_streamed_and_counts_what_the_bill_says(mock, http, url):
    body = await ask(http, url, "queues out=12 cached=5")
    stream = await told(http, url, "queues out=12 cached=5")
    prompt = tokens("queues out=12 cached=5") + 3
    usage = {"PromptTokens": prompt, "CompletionTokens": 12, "TotalTokens": prompt + 12}
    assert body["Usage"] == usage | {"PromptTokensDetails": {"CachedTokens": "5"}} == stream[-1]["Usage"]
    said = "".join(one["Choices"][0]["Delta"]["Content"] for one in stream)
    assert said == body["Choices"][0]["Message"]["Content"]
    assert [one["Usage"]["CompletionTokens"] for one in stream] == [*range(1, 13), 12]
    assert [one["Choices"][0]["FinishReason"] for one in stream] == [""] * 12 + ["stop"]
    assert [counts(line) for line in mock.bill] == [(prompt, 5, 12, 0)] * 2


async def test_a_call_is_signed_by_its_owner_now_and_as_it_is(http, url):
    async def code(**how):
        return json.loads((await send(http, url, user("hi"), **how))[1])["Response"].get("Error", {}).get("Code")

    assert await code() is None
    assert await code(at=NOW - 299) is None
    assert await code(at=NOW - 301) == "AuthFailure.SignatureExpire"
    assert await code(key="AKIDmine:other") == "AuthFailure.SignatureFailure"
    assert await code(key="bad-key:mock") == "AuthFailure.SecretIdNotFound"
    assert await code(**{"X-TC-Action": "GetTokenCount"}) == "InvalidAction"
    sent = sign(Sent(url, HEADERS, b"{}"), "AKIDmine:mock", NOW)
    for body, headers, wrong in (
        (b'{"other": 1}', sent.headers, "AuthFailure.SignatureFailure"),
        (b"{}", {**sent.headers, "Content-Type": "text/plain"}, "AuthFailure.SignatureFailure"),
        (b"{}", HEADERS, "AuthFailure.InvalidAuthorization"),
    ):
        async with http.post(url, data=body, headers=headers) as reply:
            assert (await reply.json())["Response"]["Error"]["Code"] == wrong


async def test_tools_are_called_as_told(http, url):
    for more, text, names in (
        ({}, "both tools", ["get_weather", "get_time"]),
        ({"ToolChoice": "none"}, "both tools", []),
        ({"ToolChoice": "custom", "CustomTool": TOOLS[1]}, "hello", ["get_time"]),
    ):
        body = await ask(http, url, text, Tools=TOOLS, **more)
        made = body["Choices"][0]["Message"].get("ToolCalls", [])
        assert [call["Function"]["Name"] for call in made] == names
        joined = {}
        for one in await told(http, url, text, Tools=TOOLS, **more):
            for call in one["Choices"][0]["Delta"].get("ToolCalls", ()):
                joined[call["Id"]] = joined.get(call["Id"], "") + call["Function"]["Arguments"]
        assert list(joined.values()) == [call["Function"]["Arguments"] for call in made]
        for call in made:
            schema = {"get_weather": WEATHER, "get_time": CLOCK}[call["Function"]["Name"]]
            jsonschema.validate(json.loads(call["Function"]["Arguments"]), schema)


@pytest.mark.parametrize(
    "roles", ["assistant", "user assistant", "user user", "user system user", "user tool", "user assistant tool user"]
)
async def test_user_and_assistant_take_turns(http, url, roles):
    messages = [{"Role": role, "Content": "hi"} for role in roles.split()]
    assert (await ask(http, url, "", Messages=messages))["Error"]["Code"] == "InvalidParameter"
    good = [
        {"Role": role, "Content": "hi"} for role in ["system", "user", "assistant", "tool", "tool", "assistant", "user"]
    ]
    assert "Error" not in await ask(http, url, "", Messages=good)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("status=400", "InvalidParameter"),
        ("status=401", "AuthFailure.SignatureFailure"),
        ("status=429", "LimitExceeded"),
        ("status=429 code=insufficient_quota", "FailedOperation.ResourcePackExhausted"),
        ("status=400 code=content_filter", "OperationDenied.TextIllegalDetected"),
        ("status=400 code=ResourceUnavailable.InArrears", "ResourceUnavailable.InArrears"),
        ("status=500", "InternalError"),
        ("status=503", "FailedOperation.EngineServerLimitExceeded"),
    ],
)
async def test_errors_are_in_a_response_under_200_and_not_billed(mock, http, url, words, code):
    for stream in (False, True):
        reply, raw = await send(http, url, user(words, Stream=stream))
        error = json.loads(raw)["Response"]["Error"]
        assert error["Code"] == code and error["Message"] and reply.headers["x-tc-requestid"]
    assert not mock.bill


async def test_a_stream_that_fails_or_is_filtered_says_so(mock, http, url):
    stream = await told(http, url, "out=9 error_at=2 status=500")
    assert stream[-1]["ErrorMsg"]["Code"] == 4000 and len(stream) == 3
    assert (await told(http, url, "out=9 error_at=2 status=504"))[-1]["ErrorMsg"]["Code"] == 4001
    assert (await told(http, url, "out=9 filtered=2"))[-1]["Choices"][0]["FinishReason"] == "sensitive"
    assert [line.output_tokens for line in mock.bill] == [2, 2, 2]
    assert (await ask(http, url, "hi", MaxTokens=5))["Error"]["Code"] == "UnknownParameter"
