"""Clients that send anything at all: they are answered, or refused as their own fault, never with an error of ours."""

import asyncio
import json
import logging

import pytest
from fakes import Conversation, snapshot_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_odd_vendors import ANYTHING, DEEP, nodes, replaced

from router.core.errors import InvalidRequest, RouterError
from router.core.failure import Failure, Fault
from router.dialects import show_error

TOOL = {"type": "object", "properties": {"city": {"type": "string", "enum": ["a"]}}, "required": ["city"]}
PIXEL = "iVBORw0KGgo="
CHAT = {
    "model": "auto",
    "messages": [
        {"role": "system", "content": "Be terse."},
        {"role": "user", "content": [
            {"type": "text", "text": "hi"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}", "detail": "low"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PIXEL}"}},
        ]},
        {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"city": "a"}'},
             "extra_content": {"google": {"thought_signature": "s"}}},
        ]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "user", "name": "bob", "content": "and?"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": TOOL, "strict": True}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "parallel_tool_calls": True,
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": TOOL}},
    "stream": False, "stream_options": {"include_usage": True}, "max_tokens": 50, "max_completion_tokens": 60,
    "temperature": 0.5, "top_p": 0.5, "stop": ["END"], "user": "u", "seed": 7, "reasoning_effort": "low",
    "service_tier": "auto", "metadata": {"a": "b"}, "n": 1, "farebox": {"tags": {"a": "b"}, "quality": 0.5},
}  # fmt: skip
MESSAGES = {
    "model": "auto",
    "max_tokens": 3000,
    "system": [{"type": "text", "text": "Be terse.", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": [
            {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
            {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
            {"type": "document", "title": "t", "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
        ]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "redacted_thinking", "data": "x"},
            {"type": "text", "text": "wait"},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"city": "a"}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "is_error": True, "content": [
                {"type": "text", "text": "no"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
            ]},
        ]},
    ],
    "tools": [{"name": "f", "description": "d", "input_schema": TOOL, "cache_control": {"type": "ephemeral"}}],
    "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 2000},
    "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": TOOL}},
    "metadata": {"user_id": "u"}, "stop_sequences": ["END"], "temperature": 1, "top_k": 5, "top_p": 0.9, "stream": False,
    "context_management": {"edits": []}, "service_tier": "auto", "farebox": {"dry_run": False},
}  # fmt: skip
RESPONSES = {
    "model": "auto",
    "instructions": "Be terse.",
    "input": [
        {"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": "hi"},
            {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "low"},
        ]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "content": []},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "wait", "annotations": []}]},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"city": "a"}'},
        {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
        {"role": "user", "content": "and?"},
    ],
    "tools": [{"type": "function", "name": "f", "description": "d", "parameters": TOOL, "strict": True}],
    "tool_choice": {"type": "function", "name": "f"},
    "text": {"format": {"type": "json_schema", "name": "n", "schema": TOOL}, "verbosity": "low"},
    "reasoning": {"effort": "low", "summary": "auto"}, "max_output_tokens": 50, "temperature": 0.5, "top_p": 0.5,
    "parallel_tool_calls": True, "store": False, "stream": False, "metadata": {"a": "b"}, "user": "u", "include": [],
    "service_tier": "auto", "farebox": {"dry_run": False},
}  # fmt: skip
COMPLETION = {"model": "auto", "prompt": ["a", "b"], "max_tokens": 5, "n": 1, "best_of": 1, "stream": False}
EMBEDDING = {"model": "auto", "input": ["a", [1, 2]], "encoding_format": "float", "dimensions": 5}
DIALECTS = ("openai", "anthropic", "gemini", "responses")
ASKED = {
    "chat/completions": CHAT,
    "messages": MESSAGES,
    "responses": RESPONSES,
    "completions": COMPLETION,
    "embeddings": EMBEDDING,
}


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory):
    made = {}
    for dialect in DIALECTS:
        vendors = {"check": {"dialect": dialect, "base_url": "http://127.0.0.1:1", "api_key": "sk-vendor"}}
        teams = {"search": {"models": ["small"], "budgets": [{"limit": 1000, "per": "day"}]}}
        routes = {"auto": {"models": ["small"]}}
        models = {"small": {"context_window": 200_000}}
        folder = tmp_path_factory.mktemp(dialect)
        made[dialect] = snapshot_of(folder, vendors=vendors, teams=teams, routes=routes, models=models)
    return made


async def asked(snapshot, endpoint, raw):
    """The vendor always answers that it is busy: what reaches it was well formed enough to be sent."""
    talk = Conversation(snapshot, *[Failure(Fault.OVERLOADED, "busy")] * 3)
    error = None
    try:
        await talk.ask(endpoint=endpoint, raw=raw)
    except RouterError as raised:
        error = raised
    for call in talk.upstream.calls:
        json.loads(call.body)
    assert len(talk.ledger.closed) == len(talk.ledger.opened)
    assert await talk.held() == 0
    return error


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("endpoint", ASKED)
def test_any_body_is_sent_or_refused_as_the_clients_fault(endpoint, dialect, snapshots, caplog):
    caplog.set_level(logging.ERROR)

    @settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(st.data())
    def check(data):
        body = ASKED[endpoint]
        for _ in range(data.draw(st.integers(1, 2))):
            body = replaced(body, data.draw(st.sampled_from(list(nodes(body)))), data.draw(ANYTHING))
        raw = json.dumps(body)
        for marker, text in DEEP.items():
            raw = raw.replace(f'"{marker}"', text)
        error = asyncio.run(asked(snapshots[dialect], endpoint, raw.encode()))
        if error is not None:
            assert error.status < 500 or error.code == "overloaded", error.message
            json.loads(show_error(endpoint, error, "fb-1"))
        assert not caplog.records

    check()


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("endpoint", ["chat/completions", "messages", "responses"])
async def test_each_node_of_a_body_may_be_any_type(endpoint, dialect, snapshots):
    """Every node in turn, by a value of every type: what is refused names its field."""
    silent = set()
    for path in list(nodes(ASKED[endpoint])):
        for other in (None, True, 7, "x", [], [7], {}, {"type": ["x"]}):
            error = await asked(
                snapshots[dialect], endpoint, json.dumps(replaced(ASKED[endpoint], path, other)).encode()
            )
            if isinstance(error, InvalidRequest) and path and "`" not in error.message and error.param is None:
                silent.add((path, error.message))
            assert error is None or error.status < 500 or error.code == "overloaded", (path, other, error.message)
    assert not silent
