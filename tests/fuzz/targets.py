"""What is fuzzed: each target takes bytes, and may raise what its docstring in `router` allows and nothing else."""

import asyncio
import contextlib
import json
import os
import random
import tempfile
import zlib
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

from fakes import model as make_model
from support import ROOT

from router import vendors
from router.core import jsonio
from router.core.catalog import Access, Quirks
from router.core.checkpoint import BadCheckpoint, parse
from router.core.errors import RouterError, UpstreamFailed
from router.core.failure import AttemptFailed, Failure
from router.core.invoice import BadInvoice, Layout, layout
from router.core.sse import Splitter, data_of, events, with_data
from router.core.usage import Usage
from router.dialects import DIALECTS, cannot, plain_reader, read, request, show_error, stream_reader
from router.http1 import Connection, LeanExchange
from router.incoming import Incoming, read_head
from router.snapshot import load
from router.upstream import UpstreamCall
from router.yamlfile import BadConfiguration

WIRE = ROOT / "tests/wire"
COST = b'"cost":0.000013,"cost_currency":"USD","flagship_cost":0.1'
FOLDERS = {
    "openai_chat": "openai", "azure_openai": "azure-openai", "ark": "bytedance", "dashscope": "alibaba", "zhipu": "zhipu", "minimax": "minimax",
    "hunyuan": "tencent", "spark": "iflytek", "qianfan_v2": "baidu", "baichuan": "baichuan", "mistral": "mistral", "moonshot": "moonshot",
    "deepseek": "deepseek", "groq": "groq", "xai": "xai", "stepfun": "stepfun", "yi": "01ai", "anthropic": "anthropic", "gemini": "google",
}  # fmt: skip


def wire(pattern, folders=("*",)):
    found = sorted({file for folder in folders for file in WIRE.glob(f"{folder}/{pattern}")})
    return [file.read_bytes() for file in found if ".expect." not in file.name]


def as_bytes(*bodies):
    return [json.dumps(body, ensure_ascii=False).encode() for body in bodies]


TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "x",
        "parameters": {"type": "object", "properties": {"a": {"type": "string"}}},
    },
}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"a": "b"}'}}
CHATS = as_bytes(
    {"model": "auto", "messages": [{"role": "user", "content": "Why?"}]},
    {
        "model": "auto", "stream": True, "stream_options": {"include_usage": True}, "max_completion_tokens": 50, "n": 1, "temperature": 0.5, "top_p": 1,
        "stop": ["x"], "seed": 1, "tools": [TOOL], "tool_choice": "auto", "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}},
        "messages": [
            {"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "What?"}, IMAGE]},
            {"role": "assistant", "content": None, "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "call_1", "content": "c"},
        ],
        "farebox": {"quality": 0.5, "max_cost": "0.1", "tier": "cheap", "vendors": ["openai"], "tags": {"a": "b"}, "dry_run": False},
        "reasoning_effort": "low", "service_tier": "flex", "prediction": {"type": "content", "content": "x"}, "logit_bias": {"1": 2}, "user": "u",
    },
)  # fmt: skip
COMPLETIONS = as_bytes(
    {"model": "auto", "prompt": "Why?", "max_tokens": 5, "best_of": 2},
    {"model": "auto", "prompt": ["a", [1, 2]], "stream": True},
)
EMBEDDINGS = as_bytes(
    {"model": "e", "input": "x"}, {"model": "e", "input": [[1, 2], [3]], "dimensions": 5, "encoding_format": "base64"}
)
MESSAGES = as_bytes(
    {"model": "auto", "max_tokens": 50, "messages": [{"role": "user", "content": "Why?"}]},
    {
        "model": "auto", "max_tokens": 50, "stream": True, "system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}],
        "stop_sequences": ["a"], "top_k": 5, "thinking": {"type": "enabled", "budget_tokens": 1024}, "metadata": {"user_id": "u"},
        "tools": [{"name": "look", "description": "x", "input_schema": {"type": "object"}}], "tool_choice": {"type": "tool", "name": "look"},
        "messages": [
            {"role": "user", "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}, {"type": "text", "text": "x"}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "t", "signature": "s"}, {"type": "redacted_thinking", "data": "d"}, {"type": "text", "text": "y"},
                {"type": "tool_use", "id": "t1", "name": "look", "input": {"a": 1}},
            ]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "r"}], "is_error": True}]},
        ],
    },
)  # fmt: skip
BODIES = {"chat/completions": CHATS, "completions": COMPLETIONS, "embeddings": EMBEDDINGS, "messages": MESSAGES}


def spoken(vendor, dialect):
    """A model of a vendor on one of its wires."""
    known = vendors.find(vendor)
    if known.dialect != dialect:
        quirks = next((wire.quirks for wire in known.also if wire.dialect == dialect), Quirks())
        known = replace(known, dialect=dialect, quirks=quirks, also=())
    return replace(make_model("small"), access=Access(known, known.base_url or "http://127.0.0.1:1", ("sk-secret",)))


MODELS = [
    spoken("openai", "openai"),
    *(spoken(name, name if name != "google" else "gemini") for name in ("anthropic", "google")),
]


def cuts(data, rng):
    if rng.random() < 0.1:
        return [data[i : i + 1] for i in range(min(len(data), 2000))] + [data[2000:]]
    at = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(6)))
    return [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)]


def sse(data):
    rng = random.Random(zlib.crc32(data))
    splitter, whole = Splitter(), Splitter()
    blocks = [splitter.feed(piece) for piece in cuts(data, rng)] + [splitter.rest()]
    assert b"".join(blocks) == data
    expected = [event for event in events(whole.feed(data) + whole.rest()) if data_of(event)]
    found = [event for block in blocks for event in events(block) if data_of(event)]
    assert [data_of(event) for event in found] == [data_of(event) for event in expected]
    for event in expected:
        changed = with_data(event, b'{"x":1}')
        assert data_of(changed) == b'{"x":1}'


def json_reading(data):
    told = {}
    for loads in (jsonio.loads, jsonio.loads_reply):
        with contextlib.suppress(jsonio.NotJson):
            told[loads] = loads(data)
    if jsonio.loads not in told:
        return
    value = told[jsonio.loads]
    with contextlib.suppress(TypeError):  # nested too deep to be sent on
        assert jsonio.loads(jsonio.dumps(value)) == value
    if isinstance(value, dict):
        for name, member in value.items():
            if (
                isinstance(member, dict)
                and name.isascii()
                and name.isalnum()
                and b"\\u" not in data
                and data.count(f'"{name}"'.encode()) == 1
            ):
                start, end = jsonio.span_of(data, name)
                assert jsonio.loads(data[start:end]) == member


def requests(data):
    for endpoint in BODIES:
        try:
            chat = read(endpoint, data, {})
        except RouterError as error:
            assert json.loads(show_error(endpoint, error, "fb-1"))
            assert 400 <= error.status < 500
            continue
        for one in MODELS:
            if why := cannot(chat, one):
                assert isinstance(why, str)
                continue
            for must in (False, True):
                try:
                    sent = request(chat, one, 7, "sk-secret", must=must, now=0)
                except AttemptFailed:
                    continue
                jsonio.loads_reply(sent.body)
                assert sent.url.startswith(one.access.base_url)
                assert b"sk-secret" not in sent.body


def wishes(data):
    text = data[:2000].decode("latin-1")
    headers = {f"x-farebox-{name}": text for name in ("quality", "max-cost", "tier", "vendors", "tags", "dry-run")}
    for header in headers.items():
        with contextlib.suppress(RouterError):
            read("chat/completions", CHATS[0], dict([header]))


def asking(endpoint, *, stream):
    body = json.loads(BODIES[endpoint][0])
    options = {"stream_options": {"include_usage": True}} if endpoint == "chat/completions" and stream else {}
    return read(endpoint, json.dumps({**body, "stream": stream, **options}).encode(), {})


ASKED = {
    (endpoint, stream): asking(endpoint, stream=stream)
    for endpoint in ("chat/completions", "messages")
    for stream in (False, True)
}


def seen(reader):
    """What a reader has found; every part of it is what it should be."""
    usage, failure = reader.usage, reader.failure
    assert usage is None or isinstance(usage, Usage)
    assert usage is None or all(isinstance(count, int) and count >= 0 for count in usage.as_dict().values())
    assert failure is None or (isinstance(failure, Failure) and str(failure))
    assert isinstance(reader.id, str) and isinstance(reader.text(), str)
    cost = reader.vendor_cost_nano
    assert cost is None or (isinstance(cost, int) and cost >= 0)
    assert reader.service_tier is None or isinstance(reader.service_tier, str)
    return usage, failure, reader.done if hasattr(reader, "done") else None


def streams(one):
    def target(data):
        rng = random.Random(zlib.crc32(data))
        for endpoint in ("chat/completions", "messages"):
            chat = ASKED[endpoint, True]
            if cannot(chat, one):
                continue
            reader, whole = (stream_reader(chat, one, 9, 1_795_000_000, lambda _: COST) for _ in range(2))
            out = b"".join([reader.feed(piece) for piece in cuts(data, rng)]) + reader.finish()
            assert isinstance(out, bytes) and isinstance(reader.written, int)
            assert isinstance(reader.fail(UpstreamFailed("x")), bytes) and isinstance(reader.cut("m"), bytes)
            seen(reader)
            whole.feed(data)
            whole.finish()
            if b"\r" not in data:  # where a lone CR ends an event is only known with what follows
                assert seen(reader)[0] == seen(whole)[0]

    return target


def plains(one):
    def target(data):
        for endpoint in ("chat/completions", "messages"):
            chat = ASKED[endpoint, False]
            if cannot(chat, one):
                continue
            reader = plain_reader(chat, one, 9, 1_795_000_000, lambda _: COST)
            if reader.read(data):
                json.loads(reader.shown(data))
            else:
                assert reader.failure is not None
            seen(reader)
            left = plain_reader(chat, one, 9, 1_795_000_000, lambda _: COST)
            left.feed(data[: len(data) // 2])
            left.feed(data[len(data) // 2 :])
            left.finish()
            assert left.usage == reader.usage

    return target


def errors(data):
    status = (400, 401, 402, 403, 404, 413, 422, 429, 500, 503, 529)[zlib.crc32(data) % 11]
    headers = {"retry-after": data[:20].decode("latin-1"), "content-type": "application/json"}
    for one in MODELS:
        vendor = one.access.vendor
        failure = DIALECTS[vendor.dialect].error(status, data, headers, vendor.quirks)
        assert isinstance(failure, Failure) and isinstance(str(failure), str)
        assert failure.retry_after_s is None or 0 <= failure.retry_after_s < 10**9
        str(failure).encode("utf-8", "replace")


FOLDER = Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))


def configuration(data):
    file = FOLDER / f"fuzz-{os.getpid()}.yaml"
    file.write_bytes(data)
    try:
        load(file, "http://127.0.0.1:1", {"OPENAI_API_KEY": "x"})
    except BadConfiguration as error:
        assert error.problems and str(error)


def invoices(data):
    lines = data.decode("utf-8", "replace").split("\n")
    try:
        columns, _ = layout(lines[0].split(","), {})
    except BadInvoice:
        return
    read_line = Layout(columns, "USD", ZoneInfo("Asia/Shanghai"))
    for number, line in enumerate(lines[1:50]):
        with contextlib.suppress(BadInvoice):
            read_line.line(number, line.split(","))


def checkpoints(data):
    for key in (None, "the-key"):
        with contextlib.suppress(BadCheckpoint):
            parse(data.decode("utf-8", "replace"), key)


class Transport:
    """A socket's other end that takes everything."""

    def write(self, _): ...
    def abort(self): ...
    def pause_reading(self): ...
    def resume_reading(self): ...


LOOP = asyncio.new_event_loop()
CALL_OUT = UpstreamCall("http://127.0.0.1:1", {}, b"{}", MODELS[0].access.timeouts)


def http(data):
    asyncio.set_event_loop(LOOP)

    async def go():
        connection = Connection(set(), lambda _: None)
        connection.connection_made(Transport())
        exchange = LeanExchange(LOOP, CALL_OUT)
        connection.send(exchange, b"")
        for piece in cuts(data, random.Random(zlib.crc32(data))):
            connection.data_received(piece)
        connection.connection_lost(None)
        assert exchange.over or not exchange.connection

    LOOP.run_until_complete(go())


def head(data):
    end = data.find(b"\r\n\r\n") + 4
    found = read_head(data[:end]) if end > 3 else None
    if found is None:
        return
    request = Incoming(found, Transport())
    rest = b"".join(map(request.take, cuts(data[end:], random.Random(zlib.crc32(data)))))
    body = request.read_nowait()
    assert body + rest == data[end:] and len(body) == min(found.length, len(data) - end)


OUR_HEAD = b"Host: x\r\nAuthorization: Bearer k\r\nX-Farebox-Tags: a=b\r\nContent-Length: 17\r\n\r\n"
HEADS = [
    b"POST /v1/chat/completions HTTP/1.1\r\n" + OUR_HEAD + b'{"model": "auto"}POST /v1/responses',
    b"POST /v1/messages HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n" + OUR_HEAD + b"11\r\n{}",
]
ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ndata:\r\n2\r\n\n\n\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Request-Id: r\r\n\r\n{}HTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 429 No\r\nRetry-After: 3\r\n\r\nlate",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 22\r\n\r\n" + zlib.compress(b"{}", wbits=31),
]
INVOICES = [
    b"request_id,time,model,input_tokens,output_tokens,cost\na,2026-11-22T12:00:01Z,m,1,2,0.5\nb,2026-11,m,,,$1.5\n",
    "日期,模型,费用\n2026/1/2,m,1e-5\n".encode(),
]
CONFIGS = [(ROOT / "config" / name).read_bytes() for name in ("demo.yaml", "farebox.yaml")]
LINES = [b'{"seq": 5, "hash": "ab", "at": "2026-11-22T00:00:00Z", "mac": "cd"}']
JSONS = [*wire("nonstream*.json"), *wire("error*.json"), *CHATS, *MESSAGES]
STREAMS = wire("*.sse")

TARGETS = {
    "sse": (sse, STREAMS),
    "json": (json_reading, JSONS),
    "requests": (requests, [body for bodies in BODIES.values() for body in bodies]),
    "wishes": (wishes, [b"0.5", b"a=b,c=d", b"cheap", b"openai,alibaba", b"true"]),
    "errors": (errors, wire("error*.json")),
    "config": (configuration, CONFIGS),
    "invoices": (invoices, INVOICES),
    "checkpoints": (checkpoints, LINES),
    "http": (http, ANSWERS),
    "head": (head, HEADS),
}  # fmt: skip
for folder, vendor_name in FOLDERS.items():
    dialect_name = {"anthropic": "anthropic", "gemini": "gemini"}.get(folder, "openai")
    one_model = spoken(vendor_name, dialect_name)
    if found := wire("stream*.sse", [folder]):
        TARGETS[f"stream-{folder}"] = (streams(one_model), found)
    if found := wire("*.json", [folder]):
        TARGETS[f"plain-{folder}"] = (plains(one_model), found)
