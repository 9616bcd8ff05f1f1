"""The mock on Spark's WebSocket."""

import json

import aiohttp
import pytest

from router.dialects.sent import Sent
from router.dialects.spark import sign

NOW = 1_790_000_000  # the mock's clock
KEY = "app1:key1:secret1"


def address(mock, path="/v3.5/chat", *, key=KEY, now=NOW):
    return sign(Sent(mock.url.replace("http", "ws") + "/iflytek" + path, {}, b""), key, now).url


def asked(text, domain="generalv3.5", functions=None, **chat):
    body = {
        "header": {"app_id": "app1", "uid": "u1"},
        "parameter": {"chat": {"domain": domain, **chat}},
        "payload": {"message": {"text": [{"role": "user", "content": text}]}},
    }
    if functions:
        body["payload"]["functions"] = {"text": functions}
    return body


async def answers(http, url, body):
    """Each message, and whether the mock closed the socket as it should."""
    async with http.ws_connect(url) as socket:
        await socket.send_json(body)
        told = [json.loads(message.data) async for message in socket]
        return told, socket.close_code == aiohttp.WSCloseCode.OK


async def test_an_answer_is_a_row_of_messages_whose_last_has_the_usage(mock, http):
    told, closed = await answers(http, address(mock), asked("Why? out=4 in=20"))
    assert closed and len(told) == 4
    assert [one["header"]["status"] for one in told] == [0, 1, 1, 2]
    assert [one["payload"]["choices"]["seq"] for one in told] == [0, 1, 2, 3]
    assert "".join(one["payload"]["choices"]["text"][0]["content"] for one in told)
    usage = told[-1]["payload"]["usage"]["text"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (20, 4, 24)
    assert not any("usage" in one["payload"] for one in told[:-1])
    (line,) = mock.bill
    assert (line.vendor, line.model, line.input_tokens, line.output_tokens) == ("iflytek", "generalv3.5", 20, 4)


async def test_a_function_is_called_whole(mock, http):
    tool = {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
    told, _ = await answers(http, address(mock), asked("please call the tool", functions=[tool]))
    (one,) = told
    call = one["payload"]["choices"]["text"][0]["function_call"]
    assert call["name"] == "get_weather" and set(json.loads(call["arguments"])) <= {"city"}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("status=429", 11202),
        ("code=insufficient_quota status=429", 11200),
        ("status=500", 10012),
        ("status=503", 10007),
        ("status=400 code=context_length_exceeded", 10907),
        ("status=400 code=content_filter", 10013),
        ("status=500 code=11203", 11203),
    ],
)
async def test_an_error_is_a_message_that_the_mock_closes_behind(mock, http, words, code):
    (told,), closed = await answers(http, address(mock), asked(words))
    assert (told["header"]["code"], closed) == (code, True)
    assert told["header"]["message"] and told["header"]["sid"]
    assert not mock.bill


async def test_an_error_in_the_middle_follows_what_was_written_and_billed(mock, http):
    told, _ = await answers(http, address(mock), asked("out=9 error_at=3 status=503"))
    assert [one["header"]["code"] for one in told] == [0, 0, 0, 10007]
    assert mock.bill[0].output_tokens == 3


async def test_an_answer_that_the_filter_ends_says_so_in_a_message(mock, http):
    told, _ = await answers(http, address(mock), asked("out=9 filtered=2"))
    assert [one["header"]["code"] for one in told] == [0, 0, 10014]
    assert not any("usage" in one.get("payload", {}) for one in told)


async def test_a_connection_can_be_cut(mock, http):
    async with http.ws_connect(address(mock)) as socket:
        await socket.send_json(asked("out=9 cut=2"))
        got = [message async for message in socket]
        assert len(got) == 2 and socket.close_code != aiohttp.WSCloseCode.GOING_AWAY


@pytest.mark.parametrize(
    "body",
    [
        asked("hi", domain="4.0Ultra"),
        asked("hi", temperature=0),
        asked("hi", temperature=1.5),
        asked("hi", top_k=7),
        {**asked("hi"), "header": {}},
        {**asked("hi"), "payload": {}},
        {"messages": [{"role": "user", "content": "hi"}]},
    ],
    ids=["another model's path", "temperature 0", "temperature 1.5", "top_k 7", "no app_id", "no message", "OpenAI's"],
)
async def test_a_body_that_the_vendor_would_refuse_is_refused(mock, http, body):
    (told,), _ = await answers(http, address(mock), body)
    assert 10000 < told["header"]["code"] < 10900


@pytest.mark.parametrize(
    ("url", "status"),
    [
        (lambda mock: mock.url + "/iflytek/v3.5/chat", 403),
        (lambda mock: address(mock, now=NOW - 301), 403),
        (lambda mock: address(mock, key="app1:bad-key:s"), 401),
        (lambda mock: address(mock).replace("host=127", "host=128"), 401),
        (lambda mock: address(mock).replace("authorization=", "authorization=AAAA"), 401),
    ],
    ids=["unsigned", "an old date", "a bad key", "another host", "another signature"],
)
async def test_a_handshake_that_is_not_signed_well_is_refused(mock, http, url, status):
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await http.ws_connect(url(mock))
    assert refused.value.status == status
    async with http.get(url(mock).replace("ws://", "http://")) as reply:
        assert "HMAC signature" in (await reply.json())["message"]


@pytest.mark.parametrize(
    ("path", "domain"),
    [("/v1.1/chat", "lite"), ("/v2.1/chat", "generalv2"), ("/v4.0/chat", "4.0Ultra"), ("/chat/pro-128k", "pro-128k")],
)
async def test_each_model_is_asked_under_its_own_path(mock, http, path, domain):
    told, _ = await answers(http, address(mock, path), asked("out=2", domain=domain))
    assert len(told) == 2
