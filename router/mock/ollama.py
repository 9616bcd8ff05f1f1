"""Ollama's own wire: `/api/chat`, JSON lines, and errors `{"error": "a sentence"}`. Pure.

Source: docs/api.md of ollama, the types of the ollama package, 0.6.
"""

import base64
import binascii
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson

from router.mock import ask as asks
from router.mock import errors
from router.mock.ask import Ask
from router.mock.errors import Refused, Words, invalid
from router.mock.incoming import Incoming
from router.mock.reply import Choice, Reply
from router.mock.steer import Knobs
from router.mock.text import tokens
from router.mock.wires import Frame, Told, Wire

_CONTEXT = 131_072
_WORDS: Words = {
    "invalid": (400, "", "invalid request: the mock was asked to refuse it"),
    "context": (400, "", "the input length exceeds the context length"),
    "filter": (400, "", "the mock was asked to filter it"),
    "auth": (401, "", "unauthorized"),
    "expired": (401, "", "unauthorized"),
    "permission": (403, "", "forbidden"),
    "quota": (429, "", "you (mock) have reached your session usage limit, upgrade for higher limits"),
    "not_found": (404, "", "model '{model}' not found"),
    "too_large": (413, "", "http: request body too large"),
    "rate": (429, "", "too many concurrent requests"),
    "server": (500, "", "llama runner process has terminated: exit status 2"),
    "overloaded": (503, "", "server busy, please try again.  maximum pending requests exceeded"),
    "timeout": (504, "", "timed out waiting for llama runner to start"),
}
_ROLES = frozenset({"system", "user", "assistant", "tool"})


def _authorise(incoming: Incoming) -> None:
    """No key is needed; any is good but `bad-key`."""
    if incoming.headers.get("authorization", "").rpartition(" ")[2] == "bad-key":
        raise Refused(401)


def _read(incoming: Incoming) -> Ask:
    asked = incoming.json()
    model = asks.model_of(asked)
    messages = asks.objects(asked, "messages")
    options = asked.get("options") or {}
    tools = asked.get("tools") or []
    functions = [tool.get("function") or {} for tool in tools]
    said = [str(message.get("content") or "") for message in messages if message.get("role") == "user"]
    text = asks.last_text(said)
    cap = options.get("num_predict")
    form = asked.get("format")
    thinks = bool(asked.get("think"))
    return Ask(
        endpoint="api/chat",
        model=model,
        texts=(text,),
        prompt_tokens=sum(_cost(message) for message in messages) + (asks.written(tools) if tools else 0),
        stream=asked.get("stream", True) is not False,
        cap=cap if isinstance(cap, int) and cap >= 0 else None,
        stops=asks.stops(options.get("stop")),
        tools=asks.called(functions, "" if messages[-1].get("role") == "tool" else text),
        shape=asks.ANY_OBJECT if form == "json" else form or None,
        images=sum(len(message.get("images") or ()) for message in messages),
        thinks=thinks,
        shows=thinks,
    )


def _cost(message: dict[str, Any]) -> int:
    """The tokens of a message, which is refused where the server could not read it."""
    role, content = message.get("role"), message.get("content") or ""
    if role not in _ROLES or not isinstance(content, str):
        raise invalid("invalid role or content")
    images = message.get("images") or ()
    for image in images:
        try:
            base64.b64decode(image, validate=True)
        except (TypeError, ValueError, binascii.Error):
            raise invalid("illegal base64 data at input byte 4") from None
    calls = message.get("tool_calls") or ()
    for call in calls:
        if not isinstance((call.get("function") or {}).get("arguments"), dict):
            raise invalid("json: cannot unmarshal string into Go struct field .tool_calls.function.arguments")
    extra = asks.written(calls) if calls else 0
    return asks.PER_MESSAGE + tokens(content) + asks.PER_IMAGE * len(images) + extra


def _head(ask: Ask, reply: Reply) -> dict[str, Any]:
    at = datetime.fromtimestamp(reply.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"model": ask.model, "created_at": at}


def _calls(choice: Choice) -> list[dict[str, Any]]:
    return [{"function": {"name": call.name, "arguments": _object(call.arguments)}} for call in choice.calls]


def _object(arguments: str) -> Any:
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:  # cut by num_predict
        return {}


def _end(choice: Choice, reply: Reply, knobs: Knobs) -> dict[str, Any]:
    told: dict[str, Any] = {"done": True, "done_reason": "length" if choice.finish == "length" else "stop"}
    told |= {"total_duration": 2_000_000_000, "load_duration": 1_000_000}
    if knobs.nousage:
        return told
    counts = {"prompt_eval_count": reply.input, "eval_count": reply.output}
    return told | counts | {"prompt_eval_duration": 100_000_000, "eval_duration": 1_800_000_000}


def _plain(ask: Ask, reply: Reply, knobs: Knobs) -> dict[str, Any]:
    (choice,) = reply.choices
    message: dict[str, Any] = {"role": "assistant", "content": choice.text}
    if choice.thoughts:
        message["thinking"] = choice.thought
    if choice.calls:
        message["tool_calls"] = _calls(choice)
    return {**_head(ask, reply), "message": message, **_end(choice, reply, knobs)}


def _events(ask: Ask, reply: Reply, knobs: Knobs) -> Iterator[Frame]:
    (choice,) = reply.choices

    def line(**more: Any) -> dict[str, Any]:
        message = {"role": "assistant", "content": "", **more}
        return {**_head(ask, reply), "message": message, "done": False}

    for piece in choice.thoughts:
        yield Frame(line(thinking=piece), 1, thought=True)
    for piece in choice.pieces:
        yield Frame(line(content=piece), 1)
    for call, told in zip(choice.calls, _calls(choice), strict=True):
        yield Frame(line(tool_calls=[told]), len(call.pieces))
    yield Frame({**line(), **_end(choice, reply, knobs)})


def _refuse(refused: Refused, _serial: str) -> Told:
    status, _, message = errors.worded(refused, _WORDS, _CONTEXT)
    return status, {"error": message}, {}


def _midway(refused: Refused, _ask: Ask, _reply: Reply, _sent: int) -> tuple[Frame, ...]:
    return (Frame(_refuse(refused, "")[1]),)


CHAT = Wire(_authorise, _read, _plain, _refuse, _events, _midway, framing="lines")
