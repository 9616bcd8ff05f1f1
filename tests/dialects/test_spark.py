"""The Spark wire, a WebSocket: what a vendor on it is sent, what clients of both wires get, and what is refused by name."""

import base64
from urllib.parse import parse_qs, urlsplit

import pytest
from anthropic.types import Message
from fakes import Conversation, ListedUpstream, snapshot_of
from support import KEY as KEY_OF_TEAM
from support import serving

from router.core import jsonio
from router.core.catalog import Quirks
from router.core.errors import ContentFiltered, InvalidRequest, UpstreamFailed
from router.core.failure import Failure, Fault
from router.core.sse import data_of, events
from router.dialects import DIALECTS
from router.dialects.sent import Sent
from router.dialects.spark import PATHS, sign
from router.mock import spark as mocked
from router.yamlfile import BadConfiguration

KEY = "app1:key1:secret1"
TOOL = {
    "type": "function",
    "function": {"name": "get_rate", "description": "a rate", "parameters": {"type": "object", "properties": {}}},
}
SPARK = {
    "vendors": {"iflytek": {"dialect": "spark", "api_key": KEY, "currency": "USD"}},
    "models": {"small": {"vendor": "iflytek", "name": "generalv3.5", "lacks": []}},
}


class SocketUpstream(ListedUpstream):
    """Answers are rows of messages; none is read behind the one that the call says is the last."""

    def open(self, call):
        exchange = super().open(call)
        if isinstance(exchange.answer, list):
            exchange.status, exchange.headers = 200, {"content-type": "application/x-ndjson"}
            ends = next((i for i, one in enumerate(exchange.answer) if isinstance(one, bytes) and call.last(one)), None)
            exchange.answer = exchange.answer[: None if ends is None else ends + 1]
        return exchange


def spark(tmp_path, *answers, **changes):
    """A conversation whose cheap model is asked on this wire, with a flagship on OpenAI's."""
    talk = Conversation(snapshot_of(tmp_path, **{**SPARK, **changes}), *answers)
    talk.upstream = talk.services.reach.upstream = SocketUpstream(list(answers))
    return talk


def message(content="", status=1, *, usage=None, code=0, said="Success", **more):
    header = {"code": code, "message": said, "sid": "cht1", "status": status}
    if code:
        return jsonio.dumps({"header": header}) + b"\n"
    text = [{"content": content, "role": "assistant", "index": 0, **more}]
    payload = {"choices": {"status": status, "seq": 0, "text": text}}
    if usage:
        counts = dict(zip(("prompt_tokens", "completion_tokens"), usage, strict=True))
        payload["usage"] = {"text": {"question_tokens": 1, **counts, "total_tokens": sum(usage)}}
    return jsonio.dumps({"header": header, "payload": payload}) + b"\n"


def row(*words, usage=(10, 5)):
    return [message(words[0], 0), *(message(word) for word in words[1:]), message("", 2, usage=usage)]


def chunks(raw):
    return [jsonio.loads(data) for event in events(raw) if (data := data_of(event)) != b"[DONE]"]


# What is sent


async def test_a_chat_completion_becomes_one_message_to_the_models_own_address(tmp_path):
    talk = spark(tmp_path, row("Hel", "lo."))
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "system", "content": "Be terse."},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"role": "developer", "content": "And kind."},
        {"role": "user", "content": "and?"},
    ]
    await talk.ask(
        messages=messages, temperature=0, top_k=9, max_tokens=50, user="u" * 40, top_p=1, tools=[TOOL], seed=7, n=1,
        tool_choice="auto", parallel_tool_calls=False, reasoning_effort="low", stream_options=None,
    )  # fmt: skip
    (call,) = talk.upstream.calls
    address = urlsplit(call.url)
    assert (address.scheme, address.netloc, address.path) == ("wss", "spark-api.xf-yun.com", "/v3.5/chat")
    assert talk.sent[0] == {
        "header": {"app_id": "app1", "uid": "u" * 32},
        "parameter": {"chat": {"domain": "generalv3.5", "max_tokens": 50, "temperature": 0.01, "top_k": 6}},
        "payload": {
            "message": {"text": [
                {"role": "system", "content": "Be terse.\n\nAnd kind."},
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": "no"},
                {"role": "user", "content": "and?"},
            ]},
            "functions": {"text": [TOOL["function"]]},
        },
    }  # fmt: skip


async def test_who_asks_is_in_the_address_and_in_no_header(tmp_path):
    talk = spark(tmp_path, row("hi"))
    await talk.ask()
    (call,) = talk.upstream.calls
    query = {name: value for name, (value,) in parse_qs(urlsplit(call.url).query).items()}
    assert query["host"] == "spark-api.xf-yun.com" and query["date"] == "Wed, 18 Nov 2026 11:06:40 GMT"
    assert base64.b64decode(query["authorization"]).startswith(
        b'api_key="key1", algorithm="hmac-sha256", headers="host'
    )
    assert "secret1" not in call.url and "secret1" not in str(call.headers) and b"secret1" not in call.body
    assert call.headers == {"Content-Type": "application/json"}


def test_a_signature_is_that_of_the_vendors_own_example():
    """APISecret, date and signature of xfyun.cn/doc/spark/general_url_authentication.html."""
    key = "app:addd2272b6d8b7c8abdd79531420ca3b:MjlmNzkzNmZkMDQ2OTc0ZDdmNGE2ZTZi"
    signed = sign(Sent("wss://spark-api.xf-yun.com/v1.1/chat", {}, b""), key, 1_683_283_419)
    query = {name: value for name, (value,) in parse_qs(urlsplit(signed.url).query).items()}
    assert query["date"] == "Fri, 05 May 2023 10:43:39 GMT"
    assert base64.b64decode(query["authorization"]).decode() == (
        'api_key="addd2272b6d8b7c8abdd79531420ca3b", algorithm="hmac-sha256", headers="host date request-line", '
        'signature="z5gHdu3pxVV4ADMyk467wOWDQ9q6BQzR3nfMTjc/DaQ="'
    )


@pytest.mark.parametrize(("domain", "path"), PATHS.items())
async def test_each_model_has_its_own_address_and_the_mock_knows_the_same(tmp_path, domain, path):
    talk = spark(tmp_path, row("hi"), models={"small": {"vendor": "iflytek", "name": domain}})
    await talk.ask()
    assert urlsplit(talk.upstream.calls[0].url).path == path
    assert talk.sent[0]["parameter"]["chat"]["domain"] == domain
    assert domain in mocked.PATHS[path]


@pytest.mark.parametrize(
    ("base_url", "address"),
    [
        ("wss://spark.example/v9/chat", "wss://spark.example/v9/chat"),
        ("wss://spark.example/v1.1/chat_kjwx", "wss://spark.example/v1.1/chat_kjwx"),
        ("https://spark.example/", "wss://spark.example/v3.5/chat"),
        ("http://127.0.0.1:1/iflytek", "ws://127.0.0.1:1/iflytek/v3.5/chat"),
    ],
)
async def test_an_address_may_be_a_whole_one_or_a_host(tmp_path, base_url, address):
    vendors = {"iflytek": {**SPARK["vendors"]["iflytek"], "base_url": base_url}}
    talk = spark(tmp_path, row("hi"), vendors=vendors)
    await talk.ask()
    assert talk.upstream.calls[0].url.partition("?")[0] == address


async def test_a_model_whose_address_nobody_knows_is_not_asked_and_another_is(tmp_path):
    talk = spark(tmp_path, models={"small": {"vendor": "iflytek", "name": "generalv9"}})
    talk.upstream.answers = [jsonio.dumps({"choices": [{"index": 0, "message": {"content": "hi"}}]})]
    reply = await talk.ask()
    assert reply.headers["x-farebox-model"] == "large"
    assert talk.rows[0] == ("small", "error", "reported", 0)
    assert talk.ledger.closed[0].fault == "not_found"


@pytest.mark.parametrize("key", ["only-a-password", "app:key", "app::secret", "app:key:"])
def test_a_credential_of_less_than_three_parts_is_a_problem_of_the_configuration(tmp_path, key):
    vendors = {"iflytek": {**SPARK["vendors"]["iflytek"], "api_key": key}}
    with pytest.raises(BadConfiguration, match="its api_key has to be APPID:APIKey:APISecret"):
        snapshot_of(tmp_path, **{**SPARK, "vendors": vendors})


async def test_nothing_is_sent_without_a_credential(tmp_path):
    vendors = {"iflytek": {**SPARK["vendors"]["iflytek"], "api_key": "", "base_url": "wss://spark.example"}}
    talk = spark(tmp_path, vendors=vendors)
    with pytest.raises(UpstreamFailed, match="has to be APPID:APIKey:APISecret"):
        await talk.ask(model="small")
    assert not talk.upstream.calls


def test_a_sockets_address_is_refused_where_the_dialect_does_not_use_one(tmp_path):
    vendors = {"iflytek": {"api_key": KEY, "currency": "USD", "base_url": "wss://spark.example"}}
    with pytest.raises(BadConfiguration, match="WebSocket's address, which dialect openai does not use"):
        snapshot_of(tmp_path, **{**SPARK, "vendors": vendors})


REFUSED = {
    "top_p": {"top_p": 0.9},
    "stop": {"stop": ["END"]},
    "`n`": {"n": 2},
    "presence_penalty": {"presence_penalty": 1},
    "response_format": {"response_format": {"type": "json_object"}},
    "logprobs": {"logprobs": True},
    "`tool_choice` can only be auto or none": {"tools": [TOOL], "tool_choice": "required"},
    "tools": {"tools": [{"type": "custom", "custom": {"name": "x"}}]},
    r"messages\[0\].content\[0\]` of type image_url": {
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}]}]
    },
    r"messages\[1\].tool_calls": {
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "get_rate"}}]},
            {"role": "tool", "tool_call_id": "1", "content": "7"},
        ]
    },
    r"messages\[1\].role` tool": {
        "messages": [{"role": "user", "content": "hi"}, {"role": "tool", "tool_call_id": "1", "content": "7"}]
    },
}  # fmt: skip


@pytest.mark.parametrize(("name", "body"), REFUSED.items(), ids=REFUSED)
async def test_what_the_wire_has_no_word_for_is_refused_by_name(tmp_path, name, body):
    talk = spark(tmp_path)
    with pytest.raises(InvalidRequest, match=name):
        await talk.ask(model="small", **body)
    assert not talk.upstream.calls


async def test_no_function_is_told_where_none_may_be_called(tmp_path):
    talk = spark(tmp_path, row("hi"))
    await talk.ask(tools=[TOOL], tool_choice="none")
    assert "functions" not in talk.sent[0]["payload"]


# What comes back


async def test_a_stream_is_turned_for_an_openai_client(tmp_path):
    talk = spark(tmp_path, row("Hel", "lo."))
    reply = await talk.ask(stream=True, stream_options={"include_usage": True})
    told = chunks(reply.body)
    assert reply.headers["content-type"] == "text/event-stream"
    assert "".join(choice["delta"].get("content", "") for one in told for choice in one["choices"]) == "Hello."
    assert told[-2]["choices"][0]["finish_reason"] == "stop"
    assert (told[-1]["usage"]["prompt_tokens"], told[-1]["usage"]["completion_tokens"]) == (10, 5)
    assert told[-1]["usage"]["cost"] == 0.00002
    assert reply.body.endswith(b"data: [DONE]\n\n")
    assert talk.rows == [("small", "ok", "reported", 20_000)]


async def test_a_plain_answer_is_gathered_from_the_stream(tmp_path):
    talk = spark(tmp_path, row("Hel", "lo."))
    reply = await talk.ask()
    told = jsonio.loads(reply.body)
    assert told["choices"][0]["message"] == {"role": "assistant", "content": "Hello.", "refusal": None}
    assert told["choices"][0]["finish_reason"] == "stop"
    assert (told["usage"]["prompt_tokens"], told["usage"]["cost"]) == (10, 0.00002)
    assert (reply.headers["content-type"], reply.headers["x-farebox-cost"]) == ("application/json", "0.00002")
    assert talk.rows == [("small", "ok", "reported", 20_000)]


async def test_an_anthropic_client_gets_its_own_wire(tmp_path):
    talk = spark(tmp_path, row("Hel", "lo."), row("Hel", "lo."))
    reply = await talk.ask(endpoint="messages", max_tokens=50)
    told = Message.model_validate(jsonio.loads(reply.body))
    assert (told.content[0].text, told.stop_reason, told.usage.output_tokens) == ("Hello.", "end_turn", 5)
    reply = await talk.ask(endpoint="messages", max_tokens=50, stream=True)
    assert b"message_stop" in reply.body and b'"output_tokens":5' in reply.body


@pytest.mark.parametrize("stream", [False, True])
async def test_a_function_is_a_call_of_a_tool(tmp_path, stream):
    call = {"name": "get_rate", "arguments": '{"pair":"USDCNY"}'}
    talk = spark(tmp_path, [message("", 2, usage=(50, 9), function_call=call)])
    reply = await talk.ask(tools=[TOOL], stream=stream)
    assert reply.body.count(b'"get_rate"') == 1 and b'"tool_calls"' in reply.body and rb"USDCNY" in reply.body
    if not stream:
        (made,) = jsonio.loads(reply.body)["choices"][0]["message"]["tool_calls"]
        assert made == {"id": "call_cht1_0", "type": "function", "function": call}


async def test_nothing_is_waited_for_behind_the_last_message(tmp_path):
    talk = spark(tmp_path, [*row("hi"), Failure(Fault.TIMEOUT, "nothing more within 120 s")])
    await talk.ask()
    assert talk.rows[0][1:3] == ("ok", "reported")
    assert DIALECTS["spark"].last(row("hi")[-1]) and DIALECTS["spark"].last(message(code=10013))
    for other in (
        *row('"status":2', '"code":10013')[:-1],
        b"no JSON",
        b'"status":2',
        b'["status",{"status":2}]',
        b"[2]",
    ):
        assert not DIALECTS["spark"].last(other)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_refusal_before_anything_else_is_the_callers_error(tmp_path, stream):
    talk = spark(tmp_path, [message(code=10013, said="the input broke the rules")])
    with pytest.raises(ContentFiltered, match="the input broke the rules"):
        await talk.ask(stream=stream)
    assert talk.rows == [("small", "error", "reported", 0)]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_busy_vendor_is_followed_by_the_next_candidate(tmp_path, stream):
    talk = spark(tmp_path, [message(code=10007, said="busy")])
    talk.upstream.answers.append(jsonio.dumps({"choices": [{"index": 0, "message": {"content": "hi"}}]}))
    reply = await talk.ask(stream=stream)
    assert reply.headers["x-farebox-model"] == "large"
    assert talk.ledger.closed[0].fault == "overloaded"


@pytest.mark.parametrize(
    ("status", "said", "fault"),
    [
        (401, "HMAC signature does not match", "auth"),
        (403, "HMAC signature cannot be verified, a valid date or x-date header is required", "auth"),
        (403, "Your IP address is not allowed", "permission"),
        (404, "no Route matched with those values", "not_found"),
        (502, "An invalid response was received from the upstream server", "server"),
    ],
)
async def test_a_handshake_that_is_refused_tells_whose_fault_it_is(tmp_path, status, said, fault):
    talk = spark(tmp_path, (status, jsonio.dumps({"message": said})))
    with pytest.raises(UpstreamFailed, match=said):
        await talk.ask(model="small")
    assert talk.ledger.closed[0].fault == fault
    assert talk.rows[0][2:] == ("reported", 0)


@pytest.mark.parametrize("header", [{"code": [1]}, {"code": "x"}, {}, None, [], "no"])
def test_no_odd_refusal_of_a_handshake_breaks_anything(header):
    failure = DIALECTS["spark"].error(403, jsonio.dumps({"header": header}), {}, Quirks())
    assert failure.fault in set(Fault)


async def test_a_plain_answer_that_breaks_off_is_charged_as_written_and_asked_for_elsewhere(tmp_path):
    broken = [*row("Hello ", "world")[:-1], Failure(Fault.RESET, "the connection ended in the middle of the answer")]
    talk = spark(tmp_path, broken)
    talk.upstream.answers.append(jsonio.dumps({"choices": [{"index": 0, "message": {"content": "hi"}}]}))
    reply = await talk.ask()
    assert reply.headers["x-farebox-model"] == "large"
    (first,) = [row for row in talk.ledger.closed if row.attempt.model == "small"]  # counting its words may take longer
    assert (first.outcome, first.basis, first.fault) == ("error", "estimated", "reset")
    assert 0 < first.usage.output_total < 10  # not its bound


@pytest.mark.parametrize("ends", [True, False], ids=["filtered", "ended"])
async def test_a_plain_answer_that_fails_in_the_middle_is_not_for_nothing(tmp_path, ends):
    more = [message(code=10014, said="the output broke the rules")] if ends else []
    talk = spark(tmp_path, [*row("Hello ", "world")[:-1], *more])
    with pytest.raises(ContentFiltered if ends else UpstreamFailed):
        await talk.ask(model="small")
    assert talk.rows[0][:3] == ("small", "error", "estimated") and talk.rows[0][3] > 0


async def test_a_stream_that_fails_in_the_middle_says_so_in_the_clients_words(tmp_path):
    talk = spark(tmp_path, [*row("Hel", "lo")[:-1], message(code=10014, said="the output broke the rules")])
    reply = await talk.ask(stream=True)
    assert b"the output broke the rules" in reply.body and b"[DONE]" not in reply.body
    assert talk.rows[0][1:3] == ("cut", "estimated")


BUDGET = {"teams": {"search": {"budgets": [{"limit": 1, "per": "day"}]}}}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_vendor_that_does_not_keep_to_the_cap_is_cut_at_it(tmp_path, stream):
    talk = spark(tmp_path, row(*(f"w{i} " for i in range(30))), **BUDGET)
    reply = await talk.ask(max_tokens=10, stream=stream)
    assert b"w10 " in reply.body and b"w11 " not in reply.body and b'"length"' in reply.body
    assert talk.rows[0][1:3] == ("cut", "estimated")
    assert await talk.held() == 0


async def test_an_answer_without_an_end_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("router.relay.MAX_REPLY", 2000)
    talk = spark(tmp_path, row(*("x" * 500 for _ in range(10))))
    with pytest.raises(UpstreamFailed, match="larger than 2000 bytes"):
        await talk.ask(model="small")


async def test_what_is_no_message_is_the_vendors_fault(tmp_path):
    for broken in (b"<html>\n", b"[1]\n", b"{}\n", b'{"header":{"code":0},"payload":{"choices":{"text":[1]}}}\n'):
        talk = spark(tmp_path, [broken])
        with pytest.raises(UpstreamFailed, match="event of the stream"):
            await talk.ask(model="small")


# Over a real socket


@pytest.mark.parametrize("http_client", ["lean", "aiohttp"])
async def test_the_mock_vendor_is_asked_over_its_socket_and_bills_what_was_charged(tmp_path, http_client):
    config = {
        "server": {"port": 0, "http_client": http_client},
        "store": f"sqlite:///{tmp_path}/farebox.db",
        "mock": {"pace": 0},
        "vendors": {"iflytek": {"dialect": "spark", "currency": "USD"}},
        "models": {
            "4.0Ultra": {"vendor": "iflytek", "tier": "cheap", "price": {"currency": "USD", "input": 1, "output": 2}}
        },
        "routes": {"auto": {"models": ["4.0Ultra"]}},
        "teams": {"search": {"keys": [{"name": "app", "value": KEY_OF_TEAM}], "budgets": []}},
    }
    async with serving(config, tmp_path) as farebox:
        asked = {"model": "auto", "messages": [{"role": "user", "content": "Why do prices fall? out=12 in=40"}]}
        async with farebox.post(json=asked) as reply:
            told = await reply.json()
        assert (told["usage"]["prompt_tokens"], told["usage"]["completion_tokens"]) == (40, 12)
        async with farebox.post(json={**asked, "stream": True}) as reply:
            assert (await reply.read()).endswith(b"data: [DONE]\n\n")
        refused = {**asked, "messages": [{"role": "user", "content": "status=429"}]}
        async with farebox.post(json=refused) as reply:
            assert reply.status == 429
        assert [(line.input_tokens, line.output_tokens) for line in farebox.mock.bill] == [(40, 12)] * 2
        rows = await farebox.rows()
        assert [row["cost"] for row in rows] == [64_000, 64_000, 0, 0, 0]  # who was refused is asked again, for nothing
