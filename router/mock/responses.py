"""OpenAI's `POST /v1/responses`, as written: a response object, or its events with sequence numbers. Errors are OpenAI's. Pure.

Source: the types of the openai package, 3.57; an `error` event carries its error as recorded traffic has it, in an object.
"""

from collections.abc import Iterator
from typing import Any

from router.mock import openai_errors, responses_ask
from router.mock.ask import Ask
from router.mock.errors import Refused
from router.mock.openai import authorise, refuse
from router.mock.reply import Call, Choice, Reply
from router.mock.steer import Knobs
from router.mock.wires import Frame, Wire

_SERVER_ERRORS = {"server_error", "rate_limit_exceeded", "insufficient_quota"}
_WHY = {"length": "max_output_tokens", "content_filter": "content_filter"}
_Step = tuple[str, dict[str, Any], int, bool]  # event, its fields, tokens, whether they are thoughts


def _usage(reply: Reply) -> dict[str, Any]:
    written = reply.written_5m + reply.written_1h
    details: dict[str, Any] = {"cached_tokens": reply.cached, "cache_write_tokens": written}
    if written:
        details["cache_write_tokens_details"] = {"ttl_30m_tokens": reply.written_5m, "ttl_12h_tokens": reply.written_1h}
    return {
        "input_tokens": reply.input,
        "input_tokens_details": details,
        "output_tokens": reply.output,
        "output_tokens_details": {"reasoning_tokens": reply.reasoning},
        "total_tokens": reply.input + reply.output,
    }


def _response(ask: Ask, reply: Reply, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
    """The object that repeats what was asked; usage and outcome are added at its end."""
    asked, reasoning = ask.asked, ask.asked.get("reasoning") or {}
    text = asked.get("text") or {}
    return {
        "id": f"resp_{reply.id}",
        "object": "response",
        "created_at": reply.created,
        "status": status,
        "background": bool(asked.get("background")),
        "error": None,
        "incomplete_details": None,
        "instructions": asked.get("instructions"),
        "max_output_tokens": asked.get("max_output_tokens"),
        "model": ask.model,
        "output": output,
        "parallel_tool_calls": asked.get("parallel_tool_calls", True),
        "previous_response_id": asked.get("previous_response_id"),
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "service_tier": "default",
        "store": asked.get("store", True),
        "temperature": asked.get("temperature", 1.0),
        "text": {"format": {"type": "text"}, **text},
        "tool_choice": asked.get("tool_choice", "auto"),
        "tools": asked.get("tools") or [],
        "top_p": asked.get("top_p", 1.0),
        "truncation": asked.get("truncation", "disabled"),
        "usage": None,
        "metadata": asked.get("metadata") or {},
    }


def _ended(ask: Ask, reply: Reply, knobs: Knobs) -> dict[str, Any]:
    choice = reply.choices[0]
    status = "incomplete" if choice.finish in _WHY else "completed"
    body = _response(ask, reply, status, [item for item, _ in _items(ask, reply, choice)])
    if status == "incomplete":
        body["incomplete_details"] = {"reason": _WHY[choice.finish]}
    if not knobs.nousage:
        body["usage"] = _usage(reply)
    return body


def _plain(ask: Ask, reply: Reply, knobs: Knobs) -> dict[str, Any]:
    return _ended(ask, reply, knobs)


def _items(ask: Ask, reply: Reply, choice: Choice) -> list[tuple[dict[str, Any], Call | None]]:
    """The output, item by item, as it is when all is done; with the call an item is made of."""
    done = "incomplete" if choice.finish in _WHY else "completed"
    items: list[tuple[dict[str, Any], Call | None]] = []
    if choice.thinking:
        summary = [{"type": "summary_text", "text": choice.thought}] if choice.thoughts else []
        item = {"id": f"rs_{reply.id}", "type": "reasoning", "summary": summary}
        if "reasoning.encrypted_content" in (ask.asked.get("include") or ()):
            item["encrypted_content"] = f"gAAAA{reply.id}"
        items.append((item, None))
    if choice.pieces:
        content = [_part(choice.text)]
        message = {"id": f"msg_{reply.id}", "type": "message", "role": "assistant", "status": done, "content": content}
        items.append((message, None))
    items += [(_call_item(call, done), call) for call in choice.calls]
    return items


def _call_item(call: Call, status: str) -> dict[str, Any]:
    return {
        "id": f"fc_{call.id.removeprefix('call_')}",
        "type": "function_call",
        "status": status,
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments,
    }


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _events(ask: Ask, reply: Reply, knobs: Knobs) -> Iterator[Frame]:
    for number, (kind, fields, tokens, thought) in enumerate(_steps(ask, reply, knobs)):
        yield Frame({"type": kind, "sequence_number": number, **fields}, tokens, thought, event=kind)


def _steps(ask: Ask, reply: Reply, knobs: Knobs) -> Iterator[_Step]:
    begun = {"response": _response(ask, reply, "in_progress", [])}
    yield "response.created", begun, 0, False
    yield "response.in_progress", begun, 0, False
    choice = reply.choices[0]
    for index, (item, call) in enumerate(_items(ask, reply, choice)):
        at = {"item_id": item["id"], "output_index": index}
        added = {**item, "status": "in_progress"} if "status" in item else item
        empty = {key: type(item[key])() for key in ("summary", "content", "arguments") if key in item}
        yield "response.output_item.added", {"output_index": index, "item": {**added, **empty}}, 0, False
        if call is not None:
            yield from _call_steps(call, at)
        elif item["type"] == "reasoning":
            yield from _thought_steps(choice, at)
        else:
            yield from _text_steps(choice, at)
        yield "response.output_item.done", {"output_index": index, "item": item}, 0, False
    ended = _ended(ask, reply, knobs)
    yield f"response.{ended['status']}", {"response": ended}, 0, False


def _text_steps(choice: Choice, at: dict[str, Any]) -> Iterator[_Step]:
    at = {**at, "content_index": 0}
    yield "response.content_part.added", {**at, "part": _part("")}, 0, False
    for piece in choice.pieces:
        yield "response.output_text.delta", {**at, "delta": piece, "logprobs": []}, 1, False
    yield "response.output_text.done", {**at, "text": choice.text, "logprobs": []}, 0, False
    yield "response.content_part.done", {**at, "part": _part(choice.text)}, 0, False


def _thought_steps(choice: Choice, at: dict[str, Any]) -> Iterator[_Step]:
    if not choice.thoughts:
        return
    at, name = {**at, "summary_index": 0}, "response.reasoning_summary"
    yield f"{name}_part.added", {**at, "part": {"type": "summary_text", "text": ""}}, 0, False
    for piece in choice.thoughts:
        yield f"{name}_text.delta", {**at, "delta": piece}, 1, True
    yield f"{name}_text.done", {**at, "text": choice.thought}, 0, False
    yield f"{name}_part.done", {**at, "part": {"type": "summary_text", "text": choice.thought}}, 0, False


def _call_steps(call: Call, at: dict[str, Any]) -> Iterator[_Step]:
    name = "response.function_call_arguments"
    for piece in call.pieces:
        yield f"{name}.delta", {**at, "delta": piece}, 1, False
    yield f"{name}.done", {**at, "name": call.name, "arguments": call.arguments}, 0, False


def _midway(refused: Refused, ask: Ask, reply: Reply, sent: int) -> Iterator[Frame]:
    """The error, then the response that failed of it."""
    error = openai_errors.body(refused)["error"]
    error["code"] = error["code"] or error["type"]
    yield Frame({"type": "error", "sequence_number": sent, "error": error}, event="error")
    failed = _response(ask, reply, "failed", [])
    code = error["code"] if error["code"] in _SERVER_ERRORS else "server_error"
    failed["error"] = {"code": code, "message": error["message"]}
    kind = "response.failed"
    yield Frame({"type": kind, "sequence_number": sent + 1, "response": failed}, event=kind)


RESPONSES = Wire(authorise, responses_ask.read, _plain, refuse, _events, _midway)
