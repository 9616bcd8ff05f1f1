"""The mock on Baidu's first wire: tokens that end, numbers as errors, one function at a time."""

import json

import jsonschema
import pytest
from wired import WEATHER, counts, events, post, streamed

from router.mock import MockVendors
from router.mock.text import tokens

FUNCTION = {"name": "get_weather", "description": "the weather", "parameters": WEATHER}
PATH = "/baidu/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/completions_pro?access_token="


@pytest.fixture
def url(mock):
    return f"{mock.url}{PATH}any"


def user(text, **more):
    return {"messages": [{"role": "user", "content": text}], **more}


async def ask(http, url, text, **more):
    status, _, body = await post(http, url, user(text, **more))
    assert status == 200
    return body


async def told(http, url, text, **more):
    raw, _ = await streamed(http, url, user(text, stream=True, **more))
    return [data for _, data in events(raw)]


async def token(http, base, access, secret="any", **more):
    query = {"grant_type": "client_credentials", "client_id": access, "client_secret": secret, **more}
    async with http.post(f"{base}/baidu/oauth/2.0/token", params=query) as reply:
        return reply.status, await reply.json()


async def test_an_answer_is_the_same_plain_and_streamed_and_counts_what_the_bill_says(mock, http, url):
    body = await ask(http, url, "queues out=12", system="Be terse.")
    stream = await told(http, url, "queues out=12", system="Be terse.")
    prompt = tokens("queues out=12") + 3 + tokens("Be terse.")
    assert body["usage"] == {"prompt_tokens": prompt, "completion_tokens": 12, "total_tokens": prompt + 12}
    assert (body["finish_reason"], body["is_truncated"], body["need_clear_history"]) == ("normal", False, False)
    assert "".join(one["result"] for one in stream) == body["result"]
    assert [one["is_end"] for one in stream] == [False] * 12 + [True]
    assert [one["sentence_id"] for one in stream] == list(range(13))
    assert stream[-1]["usage"] == body["usage"]
    assert [counts(line) for line in mock.bill] == [(prompt, 0, 12, 0)] * 2
    assert mock.bill[0].model == "completions_pro"


async def test_a_token_is_given_for_a_pair_and_ends(http):
    now = [1_790_000_000.0]
    vendors = MockVendors(pace=0, clock=lambda: now[0])
    base = await vendors.start()
    try:
        status, told = await token(http, base, "AK")
        assert (status, told["expires_in"]) == (200, 2_592_000)
        assert (await token(http, base, "AK", grant_type="password"))[0] == 400
        for access, secret in (("bad-key", "s"), ("AK", "bad-key"), ("", "s")):
            status, refused = await token(http, base, access, secret)
            assert (status, refused["error"]) == (401, "invalid_client")
        short = (await token(http, base, "AK-60"))[1]["access_token"]

        async def code(access_token):
            return (await ask(http, f"{base}{PATH}{access_token}", "hi")).get("error_code")

        assert await code(told["access_token"]) is None and await code(short) is None
        now[0] += 60
        assert await code(told["access_token"]) is None and await code(short) == 111
        assert await code("bad-key") == await code("") == await code(short[:-1]) == await code("24.x") == 110
        assert await code("made-elsewhere") is None
    finally:
        await vendors.stop()


async def test_one_function_is_called_as_told(http, url):
    for more, text, called in (
        ({}, "call the tool", True),
        ({}, "hello", False),
        ({"tool_choice": {"type": "function", "function": {"name": "get_weather"}}}, "hello", True),
    ):
        body = await ask(http, url, text, functions=[FUNCTION], **more)
        stream = await told(http, url, text, functions=[FUNCTION], **more)
        made = [one["function_call"] for one in stream if "function_call" in one]
        assert made == ([body["function_call"]] if called else [])
        assert (body["finish_reason"] == "function_call") == called == (stream[-1]["finish_reason"] == "function_call")
        if called:
            jsonschema.validate(json.loads(made[0]["arguments"]), WEATHER)
    turns = [
        {"role": "user", "content": "call the tool"},
        {"role": "assistant", "content": "", "function_call": body["function_call"]},
        {"role": "function", "name": "get_weather", "content": "21"},
    ]
    assert (await ask(http, url, "", messages=turns, functions=[FUNCTION]))["result"]
    assert (await ask(http, url, "hi", functions=[{"name": "f"}]))["error_code"] == 336003


async def test_how_an_answer_ended(http, url):
    body = await ask(http, url, "out=20", max_output_tokens=5)
    assert (body["finish_reason"], body["is_truncated"]) == ("length", True)
    body = await ask(http, url, "out=20 filtered=0")
    assert (body["finish_reason"], body["need_clear_history"], body["result"]) == ("content_filter", True, "")
    assert (await ask(http, url, "status=400 code=content_filter"))["finish_reason"] == "content_filter"
    stream = await told(http, url, "out=9 error_at=2")
    assert stream[-1]["error_code"] == 336000 and len(stream) == 3
    assert ["usage" in one for one in await told(http, url, "out=2 split=1")] == [False, False, True]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("status=400", 336003),
        ("status=400 code=context_length_exceeded", 336103),
        ("status=401", 110),
        ("status=401 code=expired_token", 111),
        ("status=429", 18),
        ("status=429 code=336502", 336502),
        ("status=429 code=insufficient_quota", 17),
        ("status=500", 336000),
        ("status=503", 336100),
    ],
)
async def test_errors_are_numbers_under_200_and_not_billed(mock, http, url, words, code):
    for stream in (False, True):
        body = await ask(http, url, words, stream=stream)
        assert body["error_code"] == code and body["error_msg"]
    assert not mock.bill


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"temperature": 0}, 336003),
        ({"max_output_tokens": 1}, 336003),
        ({"model": "x"}, 336003),
        ({"messages": [{"role": "user", "content": ""}]}, 336003),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, 336006),
        ({"messages": [{"role": "system", "content": "a"}]}, 336006),
    ],
)
async def test_what_the_vendor_refuses_is_refused(http, url, more, code):
    assert (await ask(http, url, "hi", **more))["error_code"] == code
