"""Vendors that answer anything at all: a request ends as an answer or as an error of ours, its money is settled, and each
attempt is one row. What is odd is made from real answers (the golden files of `tests/wire`), a node of which is replaced.
"""

import asyncio
import json
import logging
from pathlib import Path

import pytest
from fakes import Conversation, KeptReply, snapshot_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.core.errors import RouterError
from router.core.sse import data_of, events

WIRE = Path(__file__).parents[1] / "wire"
DIALECTS = {  # dialect → (folder of golden files, vendor that speaks it)
    "openai": ("openai_chat", "openai"),
    "deepseek": ("deepseek", "deepseek"),
    "moonshot": ("moonshot", "moonshot"),
    "minimax": ("minimax", "minimax"),
    "spark": ("spark", "iflytek"),
    "xai": ("xai", "xai"),
    "mistral": ("mistral", "mistral"),
    "anthropic": ("anthropic", "anthropic"),
    "gemini": ("gemini", "google"),
    "responses": ("openai_responses", "openai"),
    "hunyuan": ("hunyuan_native", "tencent"),
    "ollama": ("ollama_native", "ollama"),
}
OTHERS = {"responses", "hunyuan", "ollama"}  # dialects that a configuration has to ask for
LARGEST = 2**63 - 1  # what the ledger's columns hold
ODD_TEXT = st.sampled_from(["\ud83d", "a\udc00b", "\x00", "", "null", "999999999999999999999", '"}', "价" * 3])
ODD_NUMBER = st.sampled_from([0, -1, 1.5, 10**12, 2**63, 10**30, 1e300, float("nan"), float("inf"), True])
ODD = st.recursive(
    st.none() | st.booleans() | ODD_NUMBER | ODD_TEXT | st.integers(-5, 300),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "text", "a"]), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


DEEP = {f"levels-{n}": '{"a":[' * n + "1" + "]}" * n for n in (60, 130, 400)}  # orjson writes 254 levels
ANYTHING = ODD | st.sampled_from(list(DEEP))


def nodes(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield from nodes(inner, (*path, name))


def replaced(value, path, other):
    if not path:
        return other
    name, *rest = path
    inner = replaced(value[name], rest, other)
    return {**value, name: inner} if isinstance(value, dict) else [*value[:name], inner, *value[name + 1 :]]


@st.composite
def spoilt(draw, value):
    """A JSON text with up to three of its nodes replaced by anything."""
    for _ in range(draw(st.integers(1, 3))):
        value = replaced(value, draw(st.sampled_from(list(nodes(value)))), draw(ANYTHING))
    raw = json.dumps(value)  # also lone surrogates and NaN
    for marker, text in DEEP.items():
        raw = raw.replace(f'"{marker}"', text)
    return raw.encode()


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory):
    made = {}
    for name, (_, vendor) in DIALECTS.items():
        chosen = {"dialect": name} if name in OTHERS else {}
        vendors = {vendor: {"api_key": "id:key", "base_url": "http://127.0.0.1:1", **chosen}}
        ample = {"search": {"budgets": [{"limit": 1000, "per": "day"}], "models": ["small"]}}
        model = {"small": {"vendor": vendor}}
        made[name] = snapshot_of(tmp_path_factory.mktemp(name), vendors=vendors, models=model, teams=ample)
    return made


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level(logging.ERROR)


def bodies(folder):
    files = [file for file in sorted((WIRE / folder).glob("*.json")) if "expect" not in file.name]
    lines = [json.loads(line) for file in (WIRE / folder).glob("*.ndjson") for line in file.read_bytes().splitlines()]
    return [json.loads(file.read_text())["body"] for file in files] or lines  # a line of such a stream is an answer too


def streams(folder):
    if lines := list((WIRE / folder).glob("*.ndjson")):
        return [file.read_bytes().splitlines(keepends=True) for file in lines]
    return [events(file.read_bytes()) for file in sorted((WIRE / folder).glob("*.sse"))]


JUNK = [b"data: {\n\n", b"data: []\n\n", b"data: 7\n\n", b": hm\n\n", b"data: \xff\n\n", b"\n\n", b"data:\n\n"]


@st.composite
def spoilt_stream(draw, folder):
    """The events of a real stream, one or two of them spoilt, doubled, left out, or no JSON."""
    told = list(draw(st.sampled_from(streams(folder))))
    for _ in range(draw(st.integers(1, 2))):
        i = draw(st.integers(0, len(told) - 1))
        how = draw(st.sampled_from(["spoil", "spoil", "spoil", "twice", "drop", "junk", "swap"]))
        data = told[i].strip() if told[i].startswith(b"{") else data_of(told[i])
        if how == "spoil" and data.startswith(b"{") and data.endswith(b"}"):
            if told[i].startswith(b"{"):
                told[i] = draw(spoilt(json.loads(data))) + b"\n"
                continue
            name = b"".join(line + b"\n" for line in told[i].split(b"\n") if line.startswith(b"event:"))
            told[i] = name + b"data: " + draw(spoilt(json.loads(data))) + b"\n\n"
        elif how == "twice":
            told.insert(i, told[i])
        elif how == "drop":
            told[i] = b""
        elif how == "junk":
            told[i] = draw(st.sampled_from(JUNK))
        elif how == "swap":
            told[0], told[i] = told[i], told[0]
    return told


async def answered(snapshot, answer, caplog, **asked):
    """What holds whatever a vendor says."""
    talk = Conversation(snapshot, *answer)
    caplog.clear()
    try:
        reply = await talk.ask(model="small", **asked)
    except RouterError:
        reply = None
    assert not caplog.records, caplog.text
    assert [entry.attempt.id for entry in talk.ledger.closed] == [attempt.id for attempt in talk.ledger.opened]
    assert await talk.held() == 0
    for entry in talk.ledger.closed:
        amounts = [entry.cost, entry.vendor_cost, entry.flagship_cost, *entry.usage.as_dict().values()]
        assert all(isinstance(amount, int) and 0 <= amount <= LARGEST for amount in amounts)
        if entry.outcome == "ok":
            assert entry.usage.input_total > 0
    return reply


MANY = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
CLIENTS = pytest.mark.parametrize("endpoint", ["chat/completions", "messages", "responses"])


@CLIENTS
@pytest.mark.parametrize("name", DIALECTS)
def test_any_plain_answer_ends_as_one_row(name, endpoint, snapshots, caplog):
    cases = bodies(DIALECTS[name][0])

    @MANY
    @given(st.data())
    def check(data):
        raw = data.draw(spoilt(data.draw(st.sampled_from(cases))) | st.binary(max_size=20))
        status = data.draw(st.sampled_from([200, 200, 200, 201, 400, 401, 429, 500, 999]))
        asked = {"endpoint": endpoint, "max_tokens": 50}
        reply = asyncio.run(answered(snapshots[name], [(status, raw)], caplog, **asked))
        if reply is not None:
            json.loads(reply.body)

    check()


@CLIENTS
@pytest.mark.parametrize("name", DIALECTS)
def test_any_stream_ends_as_one_row(name, endpoint, snapshots, caplog):
    @MANY
    @given(st.data())
    def check(data):
        told = data.draw(spoilt_stream(DIALECTS[name][0]))
        patience = data.draw(st.sampled_from([None, None, 0, 1, 3]))
        asyncio.run(
            answered(
                snapshots[name], [[piece for piece in told if piece]], caplog,
                endpoint=endpoint, max_tokens=50, stream=True, reply=KeptReply(patience=patience),
            )
        )  # fmt: skip

    check()
