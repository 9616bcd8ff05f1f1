"""Every vendor on the OpenAI wire, read from golden files: `<dialect>/<case>` beside what a correct reader makes of it."""

import json
from pathlib import Path

import pytest

from router.core.failure import CALLERS_FAULT
from router.core.sse import data_of, events
from router.dialects.openai_errors import error
from router.dialects.openai_plain import Plain
from router.dialects.openai_stream import Tap
from router.vendors import find

HERE = Path(__file__).parent
VENDORS = {
    "openai_chat": "openai",
    "azure_openai": "azure-openai",
    "ark": "bytedance",
    "baichuan": "baichuan",
    "dashscope": "alibaba",
    "deepseek": "deepseek",
    "groq": "groq",
    "hunyuan": "tencent",
    "minimax": "minimax",
    "mistral": "mistral",
    "moonshot": "moonshot",
    "qianfan_v2": "baidu",
    "spark": "iflytek",
    "stepfun": "stepfun",
    "vllm": "vllm",
    "xai": "xai",
    "yi": "01ai",
    "zhipu": "zhipu",
}
COST = b'"cost":0.000013'


def files(pattern, wanted=lambda file: True):
    found = [file for folder in VENDORS for file in sorted((HERE / folder).glob(pattern)) if wanted(file)]
    return pytest.mark.parametrize("file", found, ids=lambda file: f"{file.parent.name}/{file.name}")


def quirks_of(file):
    return find(VENDORS[file.parent.name]).quirks


def wire(body):
    return json.dumps(body, ensure_ascii=False).encode()


def record(reader):
    """What was consumed, in the words of the golden files."""
    if reader.usage is None:
        return None
    told = {
        "prompt_total": reader.usage.input_total,
        "prompt_cached": reader.usage.cache_read or 0,
        "cache_written": (reader.usage.cache_write_5m or 0) + (reader.usage.cache_write_1h or 0),
        "completion_total": reader.usage.output_total,
        "reasoning": reader.usage.output_reasoning or 0,
    }
    if reader.vendor_cost_nano is not None:
        told["vendor_cost_usd"] = reader.vendor_cost_nano / 1e9
    return told


def through(file, pieces, *, hide=True):
    """(the tap, what the client got)."""
    tap = Tap(hide_usage=hide, bill=lambda _: COST, quirks=quirks_of(file))
    return tap, b"".join(tap.feed(piece) for piece in pieces) + tap.finish()


def outcome(tap):
    return record(tap), tap.failure, tap.done, tap.events


def seen(raw):
    """What a client of this wire makes of a stream: its chunks."""
    return [json.loads(data) for event in events(raw) if (data := data_of(event)) and data != b"[DONE]"]


def said(parts):
    """(text, reasoning, tool calls, finish reason) of messages or deltas with their finish reasons."""
    text, reasoning, tools, finish = "", "", [], None
    for part, reason in parts:
        content = part.get("content") or ""
        if isinstance(content, list):
            text += "".join(item["text"] for item in content if item["type"] == "text")
            reasoning += "".join(t["text"] for item in content for t in item.get("thinking", ()))
        else:
            text += content
        reasoning += part.get("reasoning_content") or ""
        for call in part.get("tool_calls") or ():
            if call.get("id"):
                tools.append({"name": call["function"]["name"], "arguments": ""})
            tools[-1]["arguments"] += call["function"].get("arguments") or ""
        finish = reason or finish
    return text, reasoning, tools, finish


def finish_of(reason, quirks):
    """A finish reason in the words of the golden files."""
    fault = quirks.finishes.get(reason)
    if fault is not None:
        return "content_filter" if fault in CALLERS_FAULT else "error"
    return reason or "stop"


def check_said(expect, parts, quirks):
    text, reasoning, tools, finish = said(parts)
    assert (text, reasoning) == (expect.get("text", text), expect.get("reasoning_text", ""))
    assert tools == expect.get("tool_calls", [])
    if "finish" in expect:
        assert finish_of(finish, quirks) == expect["finish"]


@files("nonstream*.json")
def test_a_plain_answer_is_read(file):
    case = json.loads(file.read_text())
    expect, reader = case["expect"], Plain(quirks_of(file))
    assert reader.read(wire(case["body"])) and reader.told == case["body"]
    assert record(reader) == expect["usage"]
    assert (reader.failure and reader.failure.fault) == expect.get("error_class")
    parts = [(choice["message"], choice.get("finish_reason")) for choice in case["body"]["choices"]]
    check_said(expect, parts, quirks_of(file))


def test_an_answer_of_embeddings_is_read():
    case = json.loads((HERE / "openai_chat/embedding.json").read_text())
    reader = Plain()
    assert reader.read(wire(case["body"])) and reader.told == case["body"]
    assert record(reader) == case["expect"]["usage"]


def test_an_answer_behind_the_blank_lines_of_a_vendor_under_load_is_read():
    file = HERE / "deepseek/nonstream_keepalive.txt"
    reader = Plain(quirks_of(file))
    assert reader.read(file.read_bytes()) and reader.told["choices"][0]["message"]["content"] == "ok"
    assert (reader.usage.input_total, reader.usage.output_total) == (3, 1)


@files("error_*.json")
def test_an_error_is_told_from_every_other(file):
    case = json.loads(file.read_text())
    raw, quirks = wire(case["body"]), quirks_of(file)
    if case["status"] >= 400:
        failure = error(case["status"], raw, case["headers"], quirks)
    else:
        reader = Plain(quirks)
        assert not reader.read(raw)
        failure = reader.failure
    assert failure.fault == case["expect"]["error_class"]
    assert failure.message not in {"", "no message"}


@files("error_*.json", lambda file: json.loads(file.read_text())["status"] == 200)
@pytest.mark.parametrize("shape", [b"data: %s\n\n", b"data:%s\r\n\r\n", b"%s"], ids=["event", "event in CRLF", "body"])
def test_an_error_under_status_200_is_told_from_every_other_in_a_stream_too(file, shape):
    case = json.loads(file.read_text())
    tap, got = through(file, [shape % wire(case["body"])])
    assert tap.failure.fault == case["expect"]["error_class"]
    (shown,) = seen(got)
    assert tap.failure.message in shown["error"]["message"]


@files("*.sse")
def test_a_stream_is_read(file):
    expect = json.loads(file.with_suffix(".expect.json").read_text())
    for hide in (True, False):
        tap, got = through(file, [file.read_bytes()], hide=hide)
        assert record(tap) == expect["usage"]
        assert (tap.failure and tap.failure.fault) == expect.get("error_class")
        assert tap.done is ("finish" in expect)
        choices = [choice for chunk in seen(got) for choice in chunk.get("choices", ())]
        assert not any("message" in choice for choice in choices)
        check_said(expect, [(choice["delta"], choice.get("finish_reason")) for choice in choices], quirks_of(file))


@files("*.sse")
def test_a_stream_is_relayed_unchanged_but_for_the_usage_that_nobody_asked_for(file):
    expected = []
    for event in events(file.read_bytes()):
        data = data_of(event)
        told = json.loads(data) if data.startswith(b"{") else {}
        if told.get("code"):
            continue  # an error in the vendor's own shape, shown in the client's
        if not told.get("usage"):
            expected.append(event)
        elif told["choices"] and "message" not in told["choices"][0]:
            usage = next(text for text in cuts(data) if json.loads(b"{" + text + b"}").keys() == {"usage"})
            expected.append(event.replace(b"," + usage, b"", 1))
    _, got = through(file, [file.read_bytes()])
    assert [event for event in events(got) if b'"error":{"message":"200 ' not in event] == expected


def cuts(data):
    """The stretches of a JSON text from a `"usage"` to each closing brace that make it one member."""
    start = data.index(b'"usage"')
    for end in range(start, len(data)):
        if data[end : end + 1] == b"}":
            text = data[start : end + 1]
            try:
                json.loads(b"{" + text + b"}")
            except ValueError:
                continue
            yield text


@files("*.sse")
def test_the_usage_that_was_asked_for_gains_its_cost_and_nothing_else_changes(file):
    before, after = seen(file.read_bytes()), seen(through(file, [file.read_bytes()], hide=False)[1])
    counted = 0
    for chunk, shown in zip(before, after, strict=True):
        if "error" in shown:
            continue
        usage = chunk.get("usage") or (chunk["choices"] and chunk["choices"][0].get("usage"))
        if not usage or not usage.get("prompt_tokens"):
            assert shown == chunk
            continue
        counted += 1
        assert shown["usage"] == {**usage, "cost": 0.000013}
        if chunk.get("object") != "chat.completion":
            assert {**shown, "usage": None} == {**chunk, "usage": None}
    assert bool(counted) is (json.loads(file.with_suffix(".expect.json").read_text())["usage"] is not None)


@files("*.sse")
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_a_stream_is_the_same_however_it_is_cut(file, end):
    whole, expected = through(file, [file.read_bytes()])
    raw = file.read_bytes().replace(b"\n", end)
    for pieces in ([raw[i : i + 1] for i in range(len(raw))], *([raw[:i], raw[i:]] for i in range(len(raw)))):
        tap, got = through(file, pieces)
        assert got.replace(b"\r\n", b"\n") == expected
        assert outcome(tap) == outcome(whole)


@files("*.sse")
def test_a_stream_that_breaks_off_is_never_taken_for_a_whole_one(file):
    """Also where each chunk has a usage, which says nothing about the end."""
    raw = events(file.read_bytes())
    first = next(i for i, event in enumerate(raw) if b'"delta"' in event)
    assert not through(file, raw[: first + 1])[0].done
