"""Anthropic's wire, as written: messages, their events, and errors `{"type": "error", "error": {"type", "message"}, "request_id"}`. Pure.

Source: the types of the anthropic package, 2.13.
"""

from collections.abc import Iterator
from typing import Any

import orjson

from router.mock import anthropic_ask, errors
from router.mock.ask import Ask
from router.mock.errors import Refused, Words
from router.mock.reply import Choice, Reply
from router.mock.steer import Knobs
from router.mock.wires import Frame, Told, Wire

_CONTEXT = 200_000
_WORDS: Words = {
    "invalid": (400, "invalid_request_error", "Invalid request: the mock was asked to refuse it."),
    "context": (400, "invalid_request_error", "prompt is too long: {input} tokens > {longest} maximum"),
    "filter": (400, "invalid_request_error", "Output blocked by content filtering policy"),
    "auth": (401, "authentication_error", "invalid x-api-key"),
    "expired": (401, "authentication_error", "OAuth token has expired."),
    "quota": (402, "billing_error", "Your credit balance is too low to access the API."),
    "permission": (403, "permission_error", "Your API key does not have permission to use the specified resource."),
    "not_found": (404, "not_found_error", "model: {model}"),
    "too_large": (413, "request_too_large", "Request exceeds the maximum size"),
    "rate": (
        429,
        "rate_limit_error",
        "This request would exceed your organization's rate limit of 50 requests per minute.",
    ),
    "server": (500, "api_error", "Internal server error"),
    "timeout": (504, "timeout_error", "Request timed out."),
    "overloaded": (529, "overloaded_error", "Overloaded"),
}
_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_LIMITS = {
    "anthropic-ratelimit-requests-limit": "50",
    "anthropic-ratelimit-requests-reset": "2030-01-01T00:00:01Z",
    "anthropic-ratelimit-input-tokens-limit": "50000",
    "anthropic-ratelimit-input-tokens-reset": "2030-01-01T00:00:01Z",
    "anthropic-ratelimit-output-tokens-limit": "10000",
    "anthropic-ratelimit-output-tokens-reset": "2030-01-01T00:00:01Z",
}


def _remaining(requests: int) -> dict[str, str]:
    return _LIMITS | {
        "anthropic-ratelimit-requests-remaining": str(requests),
        "anthropic-ratelimit-input-tokens-remaining": str(requests * 1000),
        "anthropic-ratelimit-output-tokens-remaining": str(requests * 200),
    }


def _input_side(reply: Reply) -> dict[str, Any]:
    """`input_tokens` are the ones that had nothing to do with the cache."""
    return {
        "input_tokens": reply.input - reply.cached - reply.written_5m - reply.written_1h,
        "cache_creation_input_tokens": reply.written_5m + reply.written_1h,
        "cache_read_input_tokens": reply.cached,
    }


def _usage(ask: Ask, reply: Reply, output: int) -> dict[str, Any]:
    usage = {
        **_input_side(reply),
        "cache_creation": {
            "ephemeral_5m_input_tokens": reply.written_5m,
            "ephemeral_1h_input_tokens": reply.written_1h,
        },
        "output_tokens": output,
        "service_tier": "standard",
    }
    return usage | ({"speed": ask.asked["speed"]} if ask.asked.get("speed") else {})


def _thinking_tokens(reply: Reply) -> dict[str, Any]:
    return {"output_tokens_details": {"thinking_tokens": reply.reasoning}} if reply.reasoning else {}


def _message(ask: Ask, reply: Reply) -> dict[str, Any]:
    return {
        "id": f"msg_{reply.id}",
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _end(choice: Choice) -> dict[str, Any]:
    refused = choice.finish == "content_filter"
    end = {
        "stop_reason": "stop_sequence" if choice.stopped else _REASONS[choice.finish],
        "stop_sequence": choice.stopped or None,
    }
    return end | ({"stop_details": {"type": "refusal", "category": None, "explanation": None}} if refused else {})


def _plain(ask: Ask, reply: Reply, knobs: Knobs) -> dict[str, Any]:
    choice = reply.choices[0]
    content: list[dict[str, Any]] = []
    if ask.thinks and choice.thinking:
        thought = choice.thought
        content.append({"type": "thinking", "thinking": thought, "signature": anthropic_ask.sign(thought)})
    if choice.pieces:
        content.append({"type": "text", "text": choice.text})
    content += [
        {"type": "tool_use", "id": _tool_id(call.id), "name": call.name, "input": _object(call.arguments)}
        for call in choice.calls
    ]
    body = _message(ask, reply) | {"content": content} | _end(choice)
    if not knobs.nousage:
        body["usage"] = _usage(ask, reply, reply.output) | _thinking_tokens(reply)
    return body


def _tool_id(call: str) -> str:
    return "toolu_" + call.removeprefix("call_")


def _object(arguments: str) -> Any:
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:  # cut by max_tokens
        return {}


def _named(kind: str, rest: dict[str, Any], tokens: int = 0, *, thought: bool = False) -> Frame:
    return Frame({"type": kind, **rest}, tokens, thought, event=kind)


def _events(ask: Ask, reply: Reply, knobs: Knobs) -> Iterator[Frame]:
    choice = reply.choices[0]
    started = {} if knobs.nousage else {"usage": _usage(ask, reply, min(1, reply.output))}
    yield _named("message_start", {"message": _message(ask, reply) | started})
    for index, (start, deltas) in enumerate(_contents(ask, choice)):
        yield _named("content_block_start", {"index": index, "content_block": start})
        if index == 0:
            yield _named("ping", {})
        for delta, count in deltas:
            yield _named(
                "content_block_delta", {"index": index, "delta": delta}, count, thought=start["type"] == "thinking"
            )
        yield _named("content_block_stop", {"index": index})
    told: dict[str, Any] = {} if knobs.split else _input_side(reply)
    usage = {} if knobs.nousage else {"usage": told | {"output_tokens": reply.output} | _thinking_tokens(reply)}
    yield _named("message_delta", {"delta": _end(choice), **usage})
    yield _named("message_stop", {})


_Deltas = Iterator[tuple[dict[str, Any], int]]  # with the tokens of each


def _contents(ask: Ask, choice: Choice) -> Iterator[tuple[dict[str, Any], _Deltas]]:
    """Each content block as it begins, and what is added to it."""
    if ask.thinks and choice.thinking:
        yield {"type": "thinking", "thinking": "", "signature": ""}, _thought(choice)
    if choice.pieces:
        yield {"type": "text", "text": ""}, (({"type": "text_delta", "text": piece}, 1) for piece in choice.pieces)
    for call in choice.calls:
        start = {"type": "tool_use", "id": _tool_id(call.id), "name": call.name, "input": {}}
        yield start, _arguments(call.pieces)


def _thought(choice: Choice) -> _Deltas:
    for piece in choice.thoughts:
        yield {"type": "thinking_delta", "thinking": piece}, 1
    yield {"type": "signature_delta", "signature": anthropic_ask.sign(choice.thought)}, 0


def _arguments(pieces: tuple[str, ...]) -> _Deltas:
    yield {"type": "input_json_delta", "partial_json": ""}, 0
    for piece in pieces:
        yield {"type": "input_json_delta", "partial_json": piece}, 1


def _counted(_ask: Ask, reply: Reply, _knobs: Knobs) -> dict[str, Any]:
    return {"input_tokens": reply.input}


def _error(refused: Refused) -> dict[str, Any]:
    _, kind, message = errors.worded(refused, _WORDS, _CONTEXT)
    return {"type": "error", "error": {"type": kind, "message": message}}


def _refuse(refused: Refused, serial: str) -> Told:
    status, _, _ = errors.worded(refused, _WORDS, _CONTEXT)
    limits = {"retry-after": "1", **_remaining(0)} if refused.kind == "rate" else {}
    return status, _error(refused) | {"request_id": f"req_{serial}"}, limits


def _midway(refused: Refused, _ask: Ask, _reply: Reply, _sent: int) -> tuple[Frame, ...]:
    return (Frame(_error(refused), event="error"),)


MESSAGES = Wire(
    authorise=anthropic_ask.authorise,
    read=anthropic_ask.messages,
    plain=_plain,
    refuse=_refuse,
    events=_events,
    midway=_midway,
    headers=lambda _ask, _reply: _remaining(49),
    request_id="request-id",
)
COUNT_TOKENS = Wire(
    authorise=anthropic_ask.authorise,
    read=anthropic_ask.count_tokens,
    plain=_counted,
    refuse=_refuse,
    request_id="request-id",
    billed=False,
)
