"""Baidu Qianfan's first wire: `wenxinworkshop/chat/…?access_token=`, the token that it wants, and errors by number under status
200. Pure.

Source: cloud.baidu.com/doc/WENXINWORKSHOP, the codes of the qianfan package, 0.4.12. A token says of itself until when it holds,
so that nobody has to keep it.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from router.mock import ask as asks
from router.mock import errors
from router.mock.ask import Ask
from router.mock.errors import Refused, Words, invalid
from router.mock.incoming import Incoming
from router.mock.reply import Choice, Reply
from router.mock.steer import Knobs
from router.mock.text import tokens
from router.mock.wires import Frame, Told, Wire

_PATH = "/chat/"
_HOLDS = 2_592_000  # seconds
_FIELDS = frozenset({
    "messages", "stream", "temperature", "top_p", "penalty_score", "system", "stop", "max_output_tokens", "functions",
    "tool_choice", "response_format", "user_id", "disable_search", "enable_citation", "enable_trace",
})  # fmt: skip
_CONTEXT = 5120
_WORDS: Words = {
    "invalid": (200, "336003", "the mock was asked to refuse it"),
    "context": (200, "336103", "Prompt tokens too long"),
    "filter": (200, "336003", "the mock was asked to filter it"),  # the wire has an answer for that, no error
    "auth": (200, "110", "Access token invalid or no longer valid"),
    "expired": (200, "111", "Access token expired"),
    "permission": (200, "6", "No permission to access data"),
    "quota": (200, "17", "Open api daily request limit reached"),
    "not_found": (200, "3", "Unsupported openapi method"),
    "too_large": (200, "336103", "Prompt tokens too long"),
    "rate": (200, "18", "Open api qps request limit reached"),
    "server": (200, "336000", "Internal error"),
    "overloaded": (200, "336100", "try again"),
    "timeout": (200, "336000", "Internal error"),
}
_REASONS = {"stop": "normal", "length": "length", "tool_calls": "function_call", "content_filter": "content_filter"}


# Tokens


def token(incoming: Incoming) -> Told:
    """`POST /oauth/2.0/token`. Any pair is good in which nothing is `bad-key`; a client id `…-SECONDS` gets a token that holds so
    long.
    """
    asked = incoming.query
    access, secret = asked.get("client_id", ""), asked.get("client_secret", "")
    if asked.get("grant_type") != "client_credentials":
        return 400, {"error": "unsupported_grant_type", "error_description": "The grant type is not supported"}, {}
    if access in {"", "bad-key"}:
        return 401, {"error": "invalid_client", "error_description": "unknown client id"}, {}
    if secret in {"", "bad-key"}:
        return 401, {"error": "invalid_client", "error_description": "Client authentication failed"}, {}
    told = access.rpartition("-")[2]
    holds = int(told) if told.isdigit() else _HOLDS
    ends = int(incoming.now) + holds
    body = {"access_token": f"24.{_seal(holds, ends, access)}.{holds}.{ends}.{access}", "expires_in": holds}
    more = {
        "refresh_token": f"25.{_seal(holds, ends, access)}",
        "scope": "public wenxinworkshop_mgr",
        "session_key": "",
    }
    return 200, body | more, {}


def _seal(holds: int, ends: int, access: str) -> str:
    return hashlib.blake2b(f"{holds}\0{ends}\0{access}".encode(), digest_size=16).hexdigest()


def _authorise(incoming: Incoming) -> None:
    """A token that was made here is looked at; any other is good but `bad-key`."""
    told = incoming.query.get("access_token", "")
    if told in {"", "bad-key"}:
        raise Refused(401)
    if not told.startswith("24."):
        return
    seal, holds, ends, access = (*told.split(".", 4)[1:], "", "", "", "")[:4]
    if not (holds.isdigit() and ends.isdigit()) or seal != _seal(int(holds), int(ends), access):
        raise Refused(401)
    if incoming.now >= int(ends):
        raise Refused(401, "expired_token")


# Requests


def _read(incoming: Incoming) -> Ask:
    asked = incoming.json()
    for name in asked:
        if name not in _FIELDS:
            raise invalid(f"the parameter {name} is unknown", name)
    messages = asks.objects(asked, "messages")
    _check(messages)
    temperature = asked.get("temperature", 0.8)
    if not isinstance(temperature, int | float) or not 0 < temperature <= 1:
        raise invalid("the range of temperature is (0, 1.0]", "temperature")
    text = asks.last_text(str(message.get("content")) for message in messages if message["role"] == "user")
    functions = asked.get("functions") or []
    if any(not function.get(field) for function in functions for field in ("name", "description", "parameters")):
        raise invalid("functions: name, description and parameters are required", "functions")
    system = asked.get("system") or ""
    return Ask(
        endpoint="chat",
        model=incoming.rest.partition(_PATH)[2],
        texts=(text,),
        prompt_tokens=sum(map(_cost, messages)) + tokens(system) + (asks.written(functions) if functions else 0),
        stream=asked.get("stream") is True,
        cap=asks.count(asked, "max_output_tokens", 2),
        stops=asks.stops(asked.get("stop")),
        tools=_called(asked, functions, "" if messages[-1]["role"] == "function" else text),
        shape=asks.ANY_OBJECT if asked.get("response_format") == "json_object" else None,
    )


def _called(asked: dict[str, Any], functions: list[dict[str, Any]], text: str) -> tuple[dict[str, Any], ...]:
    """One function at the most."""
    named = ((asked.get("tool_choice") or {}).get("function") or {}).get("name") or ""
    return asks.called(functions, text, named=named, alone=True)[:1]


def _check(messages: Sequence[dict[str, Any]]) -> None:
    """An odd number, user (or function) and assistant in turns, and every content a text."""
    for i, message in enumerate(messages):
        if message.get("role") not in ({"assistant"} if i % 2 else {"user", "function"}) or (
            not i and message["role"] == "function"
        ):
            raise Refused(400, "336006", "the role of message with even index must be user or function, else assistant")
        if not isinstance(message.get("content"), str) or not (message["content"] or message.get("function_call")):
            raise invalid("message content can not be empty", "messages")
    if len(messages) % 2 == 0:
        raise Refused(400, "336006", "the length of messages must be an odd number")


def _cost(message: dict[str, Any]) -> int:
    call = asks.written(message["function_call"]) if message.get("function_call") else 0
    return asks.PER_MESSAGE + tokens(message["content"]) + call


# Answers


def _usage(reply: Reply, written: int) -> dict[str, int]:
    return {"prompt_tokens": reply.input, "completion_tokens": written, "total_tokens": reply.input + written}


def _body(reply: Reply, choice: Choice, result: str, reason: str) -> dict[str, Any]:
    filtered = choice.finish == "content_filter" and reason != "normal"
    told: dict[str, Any] = {
        "id": f"as-{reply.id}",
        "object": "chat.completion",
        "created": reply.created,
        "result": result,
    }
    told |= {"is_truncated": reason == "length", "need_clear_history": filtered, "finish_reason": reason}
    return told | {"ban_round": -1} if filtered else told


def _call(choice: Choice) -> dict[str, Any]:
    """The one call, which comes whole."""
    calls = [{"name": call.name, "arguments": call.arguments} for call in choice.calls]
    return {"function_call": calls[0]} if calls else {}


def _plain(_ask: Ask, reply: Reply, knobs: Knobs) -> dict[str, Any]:
    (choice,) = reply.choices
    told = {**_body(reply, choice, choice.text, _REASONS[choice.finish]), **_call(choice)}
    return told if knobs.nousage else {**told, "usage": _usage(reply, reply.output)}


def _events(_ask: Ask, reply: Reply, knobs: Knobs) -> Iterator[Frame]:
    (choice,) = reply.choices
    written, at = reply.reasoning, 0

    def event(result: str, *, end: bool = False, **more: Any) -> dict[str, Any]:
        told = _body(reply, choice, result, _REASONS[choice.finish] if end else "normal")
        told |= {"sentence_id": at, "is_end": end, **more}
        return told if knobs.nousage or (knobs.split and not end) else {**told, "usage": _usage(reply, written)}

    for piece in choice.pieces:
        written += 1
        yield Frame(event(piece), 1)
        at += 1
    for call in choice.calls:
        written += len(call.pieces)
        yield Frame(event("", **_call(choice)), len(call.pieces))
        at += 1
    yield Frame(event("", end=True))


def _error(refused: Refused) -> dict[str, Any]:
    _, code, message = errors.worded(refused, _WORDS, _CONTEXT)
    return {"error_code": int(code) if code.isdigit() else code, "error_msg": message}


def _refuse(refused: Refused, serial: str) -> Told:
    return 200, {**_error(refused), "id": f"as-{serial}"}, {}


def _midway(refused: Refused, _ask: Ask, reply: Reply, _sent: int) -> tuple[Frame, ...]:
    return (Frame({**_error(refused), "id": f"as-{reply.id}"}),)


CHAT = Wire(_authorise, _read, _plain, _refuse, _events, _midway, blocks=True)
