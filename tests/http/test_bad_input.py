"""Whatever comes in, over a real socket, to a real process: a clear refusal in OpenAI's shape, and nothing left behind.

After every test no money is held, the ledger is as it was, and the log has no traceback, no key and no prompt.
"""

import contextlib
import http.client
import json
import socket
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from support import FareboxProcess, demo_config, open_attempts, rows, until

LIMIT = 20 * 2**20
KEY, BATCH, EXPIRED = "fb-demo-search-key", "fb-demo-batch-key", "fb-a-key-of-last-year"
VENDOR_KEY = "sk-upstream-secret-0123456789"
PROMPT = "my-secret-prompt-7361"
CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
SAY = [{"role": "user", "content": PROMPT}]
DRY = {"dry_run": True}
HEAD = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n".encode()


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self):
        return json.loads(self.body)["error"]


@pytest.fixture(scope="module")
def farebox(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad-input")
    config = demo_config(folder)
    config["vendors"]["openai"] = {"api_key": VENDOR_KEY}
    config["teams"]["search"]["keys"].append({"name": "old", "value": EXPIRED, "expires": "2020-01-01"})
    with FareboxProcess(config, folder) as process:
        yield process


@pytest.fixture(autouse=True)
def _leaves_nothing_behind(farebox):
    before, logged = len(rows(farebox.store)), len(farebox.log)
    yield
    until(lambda: not open_attempts(farebox.store), "no attempt is open", 2)
    assert len(rows(farebox.store)) == before
    held = farebox.metric("farebox_budget_held")
    assert held and not any(held)
    assert farebox.metric("farebox_in_flight") == [0]
    log = farebox.log
    assert "Traceback" not in log[logged:] and '"frames"' not in log[logged:], log[logged:]
    for secret in (KEY, BATCH, EXPIRED, VENDOR_KEY, PROMPT):
        assert secret not in log


def send(farebox, path=CHAT, body=b"", *, method="POST", key=KEY, headers=None, timeout_s=30):
    at = urlsplit(farebox.url)
    with contextlib.closing(http.client.HTTPConnection(at.hostname, at.port, timeout=timeout_s)) as connection:
        given = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        connection.request(method, path, body, given | (headers or {}))
        reply = connection.getresponse()
        return Reply(reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read())


def send_raw(farebox, data, *, half=False, timeout_s=30):
    """Bytes on a bare socket and all that comes back; with `half` the connection is closed instead of read."""
    at = urlsplit(farebox.url)
    with socket.create_connection((at.hostname, at.port), timeout=timeout_s) as connection:
        connection.sendall(data)
        if half:
            return None
        with connection.makefile("rb") as reader:
            head, _, body = reader.read().partition(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Reply(int(line.split()[1]), headers, body)


def refused(reply, status, code, param=None):
    """The contract's error shape, whole."""
    assert reply.status == status, reply.body
    assert reply.headers["content-type"].startswith("application/json")
    error = reply.error
    assert list(error)[:4] == ["message", "type", "param", "code"]
    assert isinstance(error["message"], str) and error["message"]
    assert isinstance(error["type"], str) and error["type"]
    assert (error["code"], error["param"]) == (code, param), error
    return error["message"]


def chat(**fields):
    return json.dumps({"model": "auto", "messages": SAY, **fields}).encode()


# Bodies that are not a request at all


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b'{"model": "auto", "messages": [',
        b"model=auto",
        b'{"model": "auto",}',
        b"[]",
        b'[{"model": "auto"}]',
        b"null",
        b'"auto"',
        b"1",
        b'{"model": "auto", "temperature": NaN}',
        b'\xef\xbb\xbf{"model": "auto"}',
        '{"model": "auto"}'.encode("utf-16"),
        b'{"model": "auto", "user": "\xff\xfe"}',
        b'{"model": "auto", "user": "\xed\xa0\x80"}',
        b'{"model": "auto", "user": "\\ud800"}',
        b'{"model": "auto", "user": "\\udc00\\ud800"}',
        b'{"model": "auto", "user": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"[" * 100_000,
        b'{"model": "auto", "user": "\x00"}',
    ],
    ids=lambda body: repr(body[:40]),
)
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, EMBEDDINGS])
def test_a_body_that_is_no_json_object_is_an_invalid_request(farebox, path, body):
    message = refused(send(farebox, path, body), 400, "invalid_request")
    assert "JSON" in message


# Fields of the wrong type

NOT_TEXT = [1, 1.5, True, None, [], {}, ["auto"]]
NOT_A_LIST = [1, "x", True, {}, {"0": 1}]
NOT_A_COUNT = [0, -1, 1.5, "1", True, [], {}, 2**40]


def wrong(param, values, **rest):
    return [pytest.param({**rest, param: value}, param, id=f"{param}={json.dumps(value)[:30]}") for value in values]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        *wrong("model", [*NOT_TEXT, ""]),
        *wrong("messages", [*NOT_A_LIST, [], None]),
        *wrong("stream", [1, 0, "true", [], {}]),
        *wrong("stream_options", [1, "x", True, []], stream=True),
        *wrong("max_tokens", NOT_A_COUNT),
        *wrong("max_completion_tokens", NOT_A_COUNT),
        *wrong("n", [*NOT_A_COUNT, 129]),
        *wrong("best_of", [*NOT_A_COUNT, 129]),
        *wrong("tools", [1, "x", True, {"type": "function"}]),
        *wrong("farebox", [1, "x", True, [], ["quality"]]),
    ],
)
def test_a_field_of_the_wrong_type_is_named(farebox, fields, param):
    assert param in refused(send(farebox, body=chat(**fields)), 400, "invalid_request", param)


@pytest.mark.parametrize(
    ("message", "param"),
    [
        *((value, "messages[1]") for value in [1, "x", None, True, [], {}, {"content": "x"}]),
        *(({"role": role}, "messages[1]") for role in [1, None, [], {}]),
        *(({"role": "user", "content": content}, "messages[1].content") for content in [1, True, {}, 1.5]),
        *(({"role": "user", "content": [part]}, "messages[1].content") for part in [1, "x", None, True, []]),
    ],
    ids=json.dumps,
)
def test_a_wrong_message_is_named_by_its_place(farebox, message, param):
    assert param in refused(send(farebox, body=chat(messages=[*SAY, message])), 400, "invalid_request", param)


@pytest.mark.parametrize("path", [COMPLETIONS, EMBEDDINGS])
@pytest.mark.parametrize("value", [None, {}, 1.5, [], [None], [{}], ["x", 1.5], {"text": "x"}], ids=json.dumps)
def test_a_prompt_or_input_of_the_wrong_type_is_named(farebox, path, value):
    name = "prompt" if path == COMPLETIONS else "input"
    model = "gpt-4o-mini" if path == COMPLETIONS else "embeddings"
    body = json.dumps({"model": model, name: value}).encode()
    assert name in refused(send(farebox, path, body), 400, "invalid_request", name)


@pytest.mark.parametrize("path", [COMPLETIONS, EMBEDDINGS])
def test_a_missing_prompt_or_input_is_named(farebox, path):
    name = "prompt" if path == COMPLETIONS else "input"
    refused(send(farebox, path, b'{"model": "gpt-4o-mini"}'), 400, "invalid_request", name)


DEEP = "@deep@"


def deep(depth, fields):
    """A request in which `DEEP` stands for lists in lists: JSON that a parser may take and that recursion may not."""
    return chat(**fields).replace(f'"{DEEP}"'.encode(), b"[" * depth + b"]" * depth)


@pytest.mark.parametrize("depth", [300, 900, 1020, 5000])
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"made_up": DEEP}, id="an unknown field"),
        pytest.param({"tools": [DEEP]}, id="a tool"),
        pytest.param({"tools": [{"function": {"name": "f", "parameters": {"properties": DEEP}}}]}, id="a schema"),
        pytest.param({"response_format": {"type": "json_schema", "json_schema": DEEP}}, id="a format"),
        pytest.param({"messages": [{"role": "assistant", "tool_calls": [{"function": DEEP}]}]}, id="a tool call"),
        pytest.param({"messages": [{"role": "user", "content": "x", "name": DEEP}]}, id="a name"),
        pytest.param({"farebox": {"tags": {"a": DEEP}}}, id="a tag"),
    ],
)
def test_what_is_nested_deeper_than_can_be_sent_on_is_an_invalid_request(farebox, fields, depth):
    reply = send(farebox, body=deep(depth, fields))
    assert (reply.status, reply.error["code"]) == (400, "invalid_request"), reply.body


def nested_schema(depth):
    return '{"type": "array", "items": ' * depth + "{}" + "}" * depth


@pytest.mark.parametrize("depth", [100, 240, 900])
def test_a_schema_of_any_depth_is_read_or_refused(farebox, depth):
    fields = {"tools": [{"function": {"name": "f", "parameters": {"properties": {"a": DEEP}}}}], "farebox": DRY}
    reply = send(farebox, body=chat(**fields).replace(f'"{DEEP}"'.encode(), nested_schema(depth).encode()))
    assert reply.status == 200 if depth < 200 else reply.status in {200, 400}, reply.body


@pytest.mark.parametrize(
    "parameters",
    [
        {"properties": {"a": {}}, "required": 5},
        {"properties": {"a": {}}, "required": True},
        {"properties": {"a": {}}, "required": [["a"]]},
        {"properties": {"a": {"enum": 1}}},
        {"properties": {"a": {"type": ["string", "null"]}}},
        {"properties": {"a": {"type": {"b": 1}}}},
        {"properties": {"a": 1}},
        {"properties": 1},
        1,
        None,
        [],
    ],
    ids=json.dumps,
)
def test_a_schema_that_is_none_is_for_the_vendor_to_judge_or_an_invalid_request(farebox, parameters):
    tools = [{"type": "function", "function": {"name": "f", "parameters": parameters}}]
    reply = send(farebox, body=chat(tools=tools, farebox=DRY))
    assert reply.status in {200, 400}, reply.body
    if reply.status == 400:
        refused(reply, 400, "invalid_request", reply.error["param"])


@pytest.mark.parametrize(
    "fields",
    [
        {"functions": {"name": "f"}},
        {"tools": [1, None, "x", [], {}, {"function": 1}, {"function": {"name": 1, "description": []}}]},
        {"response_format": 1},
        {"response_format": {"type": "json_schema"}},
        {"response_format": {"type": []}},
        {"stream": True, "stream_options": {"include_usage": "yes"}},
        {"enable_thinking": "x"},
        {"messages": [{"role": "user", "content": [{"type": "image_url"}, {"type": 1}, {"text": 1}, {}]}]},
        {"messages": [{"role": "user", "name": {}, "content": []}]},
        {"messages": [{"role": "assistant", "tool_calls": 1}, {"role": "assistant", "tool_calls": [1, {}]}]},
        {"messages": [{"role": "x" * 1000, "content": None}]},
        {"n": 128, "best_of": 128, "max_tokens": 2**31},
    ],
    ids=lambda fields: json.dumps(fields)[:60],
)
def test_an_oddity_is_for_the_vendor_to_judge_or_an_invalid_request(farebox, fields):
    reply = send(farebox, body=chat(**fields, farebox=DRY))
    assert reply.status in {200, 400}, reply.body
    if reply.status == 400:
        refused(reply, 400, "invalid_request", reply.error["param"])


# Size


def padded(size, fields):
    """A body of exactly this size; what is too much is white space."""
    body = json.dumps(fields).encode()
    return body[:-1] + b" " * (size - len(body)) + b"}"


def test_a_body_of_exactly_the_limit_is_read(farebox):
    reply = send(farebox, body=padded(LIMIT, {"model": "auto", "messages": SAY, "farebox": DRY}))
    assert reply.status == 200
    assert json.loads(reply.body)["object"] == "farebox.decision"


def test_a_body_one_byte_above_the_limit_is_too_large(farebox):
    reply = send(farebox, body=padded(LIMIT + 1, {"model": "auto", "messages": SAY, "farebox": DRY}))
    assert str(LIMIT) in refused(reply, 413, "request_too_large")


def test_a_prompt_of_ten_thousand_messages_is_refused_or_read(farebox):
    """OpenAI allows 2048; whoever allows more has to count them, too."""
    message = refused(send(farebox, body=chat(messages=SAY * 10_000)), 400, "invalid_request", "messages")
    assert "10000" in message


def test_a_prompt_that_fits_no_window_is_told_so_by_its_own_code(farebox):
    long = [{"role": "user", "content": "word " * 300_000}]
    refused(send(farebox, body=chat(model="gpt-4o", messages=long)), 400, "context_length_exceeded", "messages")


def test_a_header_beyond_all_measure_is_refused(farebox):
    refused(send(farebox, body=chat(), headers={"x-farebox-tags": "k=" + "v" * 100_000}), 400, "invalid_request")


# Who is asking


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic ZmI6ZmI="},
        {"Authorization": KEY},
        {"Authorization": "Bearer no-such-key"},
        {"Authorization": "Bearer schl\xfcssel"},
        {"Authorization": f"Bearer {KEY}x"},
        {"Authorization": f"Bearer {EXPIRED}"},
        {"x-api-key": "no-such-key"},
        {"x-api-key": EXPIRED},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", [CHAT, EMBEDDINGS, "/v1/models", "/v1/models/auto"])
def test_without_a_valid_key_nothing_is_served(farebox, path, headers):
    method = "GET" if "models" in path else "POST"
    refused(send(farebox, path, chat(), method=method, key=None, headers=headers), 401, "invalid_api_key")


def test_a_bad_key_comes_before_a_bad_body(farebox):
    refused(send(farebox, body=b"{", key="no-such-key"), 401, "invalid_api_key")


# What is asked for


@pytest.mark.parametrize(
    "model", ["no-such", "openai/no-such", "no-such/gpt-4o", "Auto", " auto", "a" * 5000, "模型", "\x00", "../x"]
)
def test_an_unknown_model_names_what_may_be_asked_for(farebox, model):
    message = refused(send(farebox, body=chat(model=model)), 404, "model_not_found", "model")
    assert all(route in message for route in ("auto", "best", "bulk", "embeddings"))


@pytest.mark.parametrize("model", ["auto", "best", "gpt-4o", "openai/gpt-4o"])
def test_a_model_that_is_for_others_is_not_allowed(farebox, model):
    message = refused(send(farebox, body=chat(model=model), key=BATCH), 403, "not_allowed")
    assert "bulk" in message


def test_a_model_that_is_for_others_is_unknown_to_the_list(farebox):
    told = refused(send(farebox, "/v1/models/gpt-4o", method="GET", key=BATCH), 404, "model_not_found", "model")
    assert told.endswith("may use bulk")
    told = refused(send(farebox, "/v1/models/no-such", method="GET"), 404, "model_not_found", "model")
    assert all(route in told for route in ("auto", "best", "bulk", "embeddings"))


@pytest.mark.parametrize("name", ["auto", "gpt-4o", "openai/gpt-4o", "openai%2Fgpt-4o"])
def test_whatever_may_be_asked_for_can_be_looked_up(farebox, name):
    reply = send(farebox, f"/v1/models/{name}", method="GET")
    assert (reply.status, json.loads(reply.body)["id"]) == (200, name.replace("%2F", "/"))


def test_a_count_of_tokens_has_the_requests_id_whatever_comes_of_it(farebox):
    path, headers = "/v1/messages/count_tokens", {"anthropic-version": "2023-06-01"}
    counted = send(farebox, path, body=chat(), headers=headers)
    assert (counted.status, counted.headers["x-farebox-request-id"][:3]) == (200, "fb-")
    failed = send(farebox, path, body=chat(model="no-such"), headers=headers)
    assert json.loads(failed.body)["request_id"] == failed.headers["x-farebox-request-id"]


def test_an_embedding_model_does_not_chat(farebox):
    assert send(farebox, body=chat(model="embeddings")).error["code"] == "invalid_request"


# Wishes

BAD_WISHES = [
    ("quality", ["high", "-0.1", "1.01", "nan", "inf", ""], [[], {}, True, "x", -1, 2]),
    ("max_cost", ["cheap", "-1", "nan", "inf", "1e999999", "", "0.0000000001"], [[], {}, True, "x", -1, "1e999999"]),
    ("tier", ["best", "", "Cheap"], [[], {}, True, 1]),
    ("vendors", ["nobody", "openai,nobody"], [1, True, {}, [1], ["nobody"]]),
    ("tags", ["k", "=,k", "k=" + "v" * 200], [1, True, ["k"], {"k": "v" * 200}, {str(i): "v" for i in range(17)}]),
    ("dry_run", ["maybe", "", "2"], [1, 0, [], {}, "maybe"]),
]


@pytest.mark.parametrize(
    ("wish", "value"),
    [pytest.param(wish, value, id=f"{wish}: {value[:20]}") for wish, values, _ in BAD_WISHES for value in values],
)
def test_a_bad_wish_in_a_header_is_named(farebox, wish, value):
    name = "x-farebox-" + wish.replace("_", "-")
    refused(send(farebox, body=chat(), headers={name: value}), 400, "invalid_request", wish)


@pytest.mark.parametrize(
    ("wish", "value"),
    [
        pytest.param(wish, value, id=f"{wish}={json.dumps(value)[:20]}")
        for wish, _, values in BAD_WISHES
        for value in values
    ],
)
def test_a_bad_wish_in_the_body_is_named(farebox, wish, value):
    refused(send(farebox, body=chat(farebox={wish: value})), 400, "invalid_request", wish)


@pytest.mark.parametrize("wish", ["qualty", "", "Quality", "max-cost"])
def test_an_unknown_wish_names_those_that_there_are(farebox, wish):
    message = refused(send(farebox, body=chat(farebox={wish: 1})), 400, "invalid_request", "farebox")
    assert all(known in message for known in ("quality", "max_cost", "tier", "vendors", "tags", "dry_run"))


def with_bytes(wish):
    """A good request with a header of bytes that are no UTF-8, which neither an answer nor a ledger row can hold."""
    body = chat(model="bulk")
    return HEAD + b"x-farebox-%b: k=\xff\r\nContent-Length: %d\r\n\r\n" % (wish.encode(), len(body)) + body


@pytest.mark.parametrize("wish", ["vendors", "tier", "quality", "max-cost", "dry-run"])
def test_bytes_that_are_no_text_in_a_wish_are_an_invalid_request(farebox, wish):
    refused(send_raw(farebox, with_bytes(wish)), 400, "invalid_request", wish.replace("-", "_"))


def test_bytes_that_are_no_text_in_a_tag_do_not_stop_the_ledger(farebox_process, demo):
    """In a process of its own, because what stops the ledger stops everything after it."""
    process = farebox_process(demo)
    with contextlib.suppress(TimeoutError):
        assert send_raw(process, with_bytes("tags"), timeout_s=5).status in {200, 400}
    assert send(process, body=chat(model="bulk"), timeout_s=5).status == 200
    assert '"frames"' not in process.log


def test_nothing_that_is_cheap_enough_is_a_matter_of_money(farebox):
    refused(send(farebox, body=chat(model="best", farebox={"max_cost": 0})), 402, "budget_exceeded")


# Paths and methods


@pytest.mark.parametrize(
    ("method", "path"),
    [(method, path) for method in ("GET", "PUT", "DELETE", "PATCH") for path in (CHAT, COMPLETIONS, EMBEDDINGS)]
    + [("POST", "/v1/models"), ("DELETE", "/v1/models"), ("POST", "/v1/models/auto")],
)
def test_another_method_is_told_in_the_shape_of_the_api(farebox, path, method):
    reply = send(farebox, path, chat(), method=method)
    assert reply.status in {404, 405}
    message = refused(reply, reply.status, "not_found")
    assert method in message and path in message


@pytest.mark.parametrize(
    "path",
    [
        "/v1/",
        "/v1/nothing",
        "/v1/chat",
        "/v1/chat/completions/x",
        "/v1/%ff",
        "/v1/%E6%A8%A1",
        "/v1/%0A",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_path_is_told_in_the_shape_of_the_api(farebox, path, method):
    refused(send(farebox, path, chat(), method=method), 404, "not_found")


def test_a_models_name_with_a_line_break_is_only_an_unknown_name(farebox):
    refused(send(farebox, "/v1/models/a%0Ab", None, method="GET"), 404, "model_not_found", "model")


# Connections that misbehave


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"GET\r\n\r\n",
        b"\r\n\r\n\r\n",
        b"POST /v1/chat/completions HTTP/9.9\r\n\r\n",
    ],
    ids=repr,
)
def test_what_is_not_http_leaves_no_trace(farebox, data):
    send_raw(farebox, data, half=True)
    assert farebox.get("/health/live") == "ok\n"


def test_a_client_that_leaves_in_the_middle_of_its_body_leaves_no_trace(farebox):
    body = chat()
    send_raw(farebox, HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body[:-5], half=True)
    assert farebox.get("/health/live") == "ok\n"


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\nnot-a-size\r\n", id="a chunk without a size"),
        pytest.param(b"Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\nnot gzip!", id="gzip that is none"),
        pytest.param(b"Content-Length: 5, 6\r\n\r\n{}", id="two lengths"),
        pytest.param(b"Content-Length: -1\r\n\r\n", id="a negative length"),
    ],
)
def test_a_body_that_cannot_be_decoded_is_a_bad_request(farebox, rest):
    assert send_raw(farebox, HEAD + rest).status == 400
