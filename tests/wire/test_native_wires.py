"""Every native wire, read from golden files and turned into what an OpenAI client gets; see test_openai_wire for the hub's."""

import json
from pathlib import Path

import pytest

from router.core.catalog import Quirks
from router.core.sse import data_of, events
from router.dialects import DIALECTS
from router.dialects.openai_speak import OpenAISpeaker
from router.dialects.turn import Heard, Lines, Turn
from router.vendors import find

HERE = Path(__file__).parent
WIRES = {  # folder → (dialect, vendor whose quirks hold)
    "anthropic": ("anthropic", "anthropic"),
    "gemini": ("gemini", "google"),
    "hunyuan_native": ("hunyuan", "tencent"),
    "ollama_native": ("ollama", "ollama"),
    "qianfan_v1": ("qianfan", "baidu"),
    "openai_responses": ("responses", "openai"),
}
COST = b'"cost":0.000013'


def files(*patterns):
    found = [file for folder in WIRES for pattern in patterns for file in sorted((HERE / folder).glob(pattern))]
    return pytest.mark.parametrize("file", found, ids=lambda file: f"{file.parent.name}/{file.name}")


def wire(file):
    """(the dialect, the quirks of the vendor when it speaks it)."""
    name, vendor = WIRES[file.parent.name]
    known = find(vendor)
    if known.dialect == name:
        return DIALECTS[name], known.quirks
    return DIALECTS[name], next((wire.quirks for wire in known.also if wire.dialect == name), Quirks())


def through(file, pieces):
    """(the reader, what an OpenAI client got)."""
    dialect, quirks = wire(file)
    speaker = OpenAISpeaker("m", 1_790_000_000, lambda _: COST, wants_usage=True)
    turn = Turn(dialect.listener(quirks), speaker, Lines() if dialect.lines else None)
    return turn, b"".join(turn.feed(piece) for piece in pieces) + turn.finish()


def record(usage, expect):
    if usage is None:
        return None
    told = {
        "prompt_total": usage.input_total,
        "prompt_cached": usage.cache_read or 0,
        "cache_written": (usage.cache_write_5m or 0) + (usage.cache_write_1h or 0),
        "completion_total": usage.output_total,
        "reasoning": usage.output_reasoning or 0,
        "cache_write_5m": usage.cache_write_5m or 0,
        "cache_write_1h": usage.cache_write_1h or 0,
    }
    return {name: told[name] for name in expect}


def said(pieces):
    tools, text, thinking, finish = {}, "", "", None
    for piece in pieces:
        if piece.kind == "call":
            tools[piece.call] = {"name": piece.name, "arguments": ""}
        elif piece.kind == "arguments":
            tools[piece.call]["arguments"] += piece.text
        elif piece.kind == "text":
            text += piece.text
        elif piece.kind == "thinking":
            thinking += piece.text
        elif piece.kind == "finish":
            finish = piece.text
    return text, thinking, list(tools.values()), finish


def heard_by_client(raw):
    """(text, thinking, calls, finish, usage, error, done) as an OpenAI client puts the chunks together."""
    text, thinking, calls, finish, usage, error, done = "", "", {}, None, None, None, False
    for event in events(raw):
        data = data_of(event)
        if data == b"[DONE]":
            done = True
            continue
        chunk = json.loads(data)
        error = chunk.get("error") or error
        usage = chunk.get("usage") or usage
        for choice in chunk.get("choices", ()):
            delta = choice["delta"]
            text += delta.get("content") or ""
            thinking += delta.get("reasoning_content") or ""
            for call in delta.get("tool_calls") or ():
                known = calls.setdefault(call["index"], {"name": "", "arguments": ""})
                known["name"] += call["function"].get("name") or ""
                known["arguments"] += call["function"].get("arguments") or ""
            finish = choice["finish_reason"] or finish
    return text, thinking, list(calls.values()), finish, usage, error, done


@files("nonstream*.json")
def test_a_plain_answer_is_read_as_it_says(file):
    told = json.loads(file.read_text())
    dialect, quirks = wire(file)
    reader = Heard(dialect.listener(quirks))
    _, pieces = reader.heard(json.dumps(told["body"]).encode(), whole=True)
    text, _, tools, finish = said(pieces)
    expect = told["expect"]
    assert reader.failure is None
    assert (text, finish, tools) == (expect["text"], expect["finish"], expect.get("tool_calls", []))
    assert record(reader.usage, expect["usage"]) == expect["usage"]
    assert reader.usage_final


@files("error_*.json")
def test_an_error_is_whose_fault_it_says(file):
    told = json.loads(file.read_text())
    dialect, quirks = wire(file)
    raw = json.dumps(told["body"]).encode()
    if told["status"] == 200:
        reader = Heard(dialect.listener(quirks))
        reader.heard(raw, whole=True)
        failure = reader.failure
    else:
        failure = dialect.error(told["status"], raw, told["headers"], quirks)
    assert failure is not None
    assert failure.fault == told["expect"]["error_class"], failure


STREAMS = files("stream*.sse", "stream*.ndjson")


def expected_of(file):
    return json.loads(file.with_suffix("").with_suffix(".expect.json").read_text())


@STREAMS
def test_a_stream_is_read_as_it_says(file):
    expect = expected_of(file)
    turn, out = through(file, [file.read_bytes()])
    text, thinking, calls, finish, usage, error, done = heard_by_client(out)
    assert text == expect.get("text", "")
    assert thinking == expect.get("reasoning_text", "")
    assert calls == expect.get("tool_calls", [])
    if "usage" in expect:
        assert record(turn.usage, expect["usage"] or {}) == expect["usage"]
    if "error_class" in expect:
        assert turn.failure.fault == expect["error_class"]
        assert (error is not None) == bool(text)  # before the first piece it is the relay's to tell
        assert not done
    else:
        assert (turn.failure, error, done) == (None, None, True)
        assert finish == expect["finish"]
        assert usage["cost"] == 0.000013
        assert usage["prompt_tokens"] == expect["usage"]["prompt_total"]


@STREAMS
def test_a_stream_is_the_same_however_it_is_cut(file):
    raw = file.read_bytes()
    whole, out = through(file, [raw])
    for cut in range(1, len(raw)):
        turn, pieces = through(file, [raw[:cut], raw[cut:]])
        assert (pieces, turn.usage, turn.failure, turn.text()) == (out, whole.usage, whole.failure, whole.text()), cut
    turn, pieces = through(file, [raw[i : i + 1] for i in range(len(raw))])
    assert (pieces, turn.usage, turn.failure) == (out, whole.usage, whole.failure)


@STREAMS
def test_a_stream_is_the_same_with_other_line_ends(file):
    raw = file.read_bytes()
    _, out = through(file, [raw])
    for ends in (
        (b"\r\n", b"\r") if file.suffix == ".sse" else (b"\r\n",)
    ):  # JSON lines end with LF, whatever precedes it
        other = raw.replace(b"\n", ends)
        assert through(file, [other])[1] == out
        assert through(file, [other[i : i + 7] for i in range(0, len(other), 7)])[1] == out
