"""iFlytek Spark's wire, a WebSocket: one message is asked, several answer, each with a `header` and a `payload`. Pure.

Source: xfyun.cn/doc/spark/Web.html and xfyun.cn/doc/spark/general_url_authentication.html, 2026-11; functions are in the edition of
Spark 3.0. The signature itself cannot be checked, as any key is good, but all that is around it is.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
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

PATHS: Mapping[str, tuple[str, ...]] = {  # where which models (`domain`) are asked
    "/v1.1/chat": ("lite", "general"),
    "/v2.1/chat": ("generalv2",),
    "/v3.1/chat": ("generalv3",),
    "/v3.5/chat": ("generalv3.5",),
    "/v4.0/chat": ("4.0Ultra",),
    "/chat/pro-128k": ("pro-128k",),
    "/chat/max-32k": ("max-32k",),
}
_CONTEXT = 8192
_SKEW_SECONDS = 300
_ROLES = frozenset({"system", "user", "assistant"})
_WORDS: Words = {
    "invalid": (200, "10163", "ParamValidationError: a parameter is out of range"),
    "context": (200, "10907", "TokenLengthError: {input} tokens are more than {longest}"),
    "auth": (200, "11200", "AppIdNoAuthError"),
    "permission": (200, "11200", "AppIdNoAuthError"),
    "quota": (200, "11200", "AppIdNoAuthError: all tokens are used"),
    "rate": (200, "11202", "AppIdQpsOverFlowError"),
    "filter": (200, "10013", "the input was found to break the rules"),
    "server": (200, "10012", "EngineInternalError"),
    "overloaded": (200, "10007", "UserTrafficLimited: the last request is still being answered"),
}
_BLOCKED = "10014", "the output was found to break the rules"
_SIGNED = re.compile(
    r'api_key="([^"]+)", algorithm="hmac-sha256", headers="host date request-line", signature="([^"]+)"'
)


def _authorise(incoming: Incoming) -> None:
    """All of `authorization`, `date` and `host` have to be there and right; the key `bad-key` is nobody's."""
    query = incoming.query
    try:
        sent = parsedate_to_datetime(query.get("date", "")).timestamp()
    except ValueError:
        sent = 0.0
    if abs(incoming.now - sent) > _SKEW_SECONDS:
        raise Refused(403, message="HMAC signature cannot be verified, a valid date or x-date header is required")
    try:
        signed = _SIGNED.fullmatch(base64.b64decode(query.get("authorization", ""), validate=True).decode())
        length = len(base64.b64decode(signed[2], validate=True)) if signed else 0
    except (binascii.Error, UnicodeDecodeError):
        signed, length = None, 0
    if signed is None or length != 32 or query.get("host") != incoming.headers.get("host"):  # bytes of a SHA-256
        raise Refused(401, message="HMAC signature cannot be verified")
    if signed[1] == "bad-key":
        raise Refused(401, message="HMAC signature does not match")


def unwelcome(refused: Refused) -> Told:
    """A handshake that is refused; the gateway says so, not the model."""
    return refused.status, {"message": str(refused)}, {}


def _read(incoming: Incoming) -> Ask:
    asked = incoming.json()
    header, chat = _part(asked, "header"), _part(_part(asked, "parameter"), "chat")
    if not header.get("app_id"):
        raise invalid("'$.header.app_id' is required", code="10004")
    if len(str(header.get("uid", ""))) > 32:
        raise invalid("'$.header.uid' length must be less or equal than 32", code="10004")
    domain = asks.model_of(chat, "domain")
    if domain not in PATHS[incoming.rest]:
        raise invalid(f"domain {domain} is not asked under {incoming.rest}", code="10005")
    _in_range(chat, "temperature", 0, 1)
    _in_range(chat, "top_k", 1, 6)
    payload = _part(asked, "payload")
    texts = asks.objects(_part(payload, "message"), "text")
    for i, turn in enumerate(texts):
        if turn.get("role") not in _ROLES or not isinstance(turn.get("content"), str):
            raise invalid(f"'$.payload.message.text[{i}]' has a role and a content", code="10004")
    functions = tuple((payload.get("functions") or {}).get("text") or ())
    said = next((turn["content"] for turn in reversed(texts) if turn["role"] == "user"), "")
    return Ask(
        endpoint="spark",
        model=domain,
        texts=(said,),
        prompt_tokens=asks.PER_REQUEST
        + sum(tokens(turn["content"]) + asks.PER_MESSAGE for turn in texts)
        + (asks.written(list(functions)) if functions else 0),
        stream=True,
        cap=asks.count(chat, "max_tokens"),
        tools=asks.called(functions, said, alone=True),
    )


def _part(asked: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = asked.get(name)
    if not isinstance(found, dict):
        raise invalid(f"'$.{name}' is an object", code="10004")
    return found


def _in_range(chat: Mapping[str, Any], name: str, least: float, most: float) -> None:
    value = chat.get(name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most or not value:
        raise invalid(f"'$.parameter.chat.{name}' is between {least} and {most}", code="10005")


def _frame(reply: Reply, status: int, payload: dict[str, Any], spent: int = 0) -> Frame:
    return Frame({"header": {"code": 0, "message": "Success", "sid": _sid(reply), "status": status}, **payload}, spent)


def _sid(reply: Reply) -> str:
    return f"cht000{reply.id[:8]}@dx{reply.id[8:20]}"


def _items(choice: Choice) -> list[tuple[dict[str, Any], int]]:
    """What each message has, with its tokens: a call comes whole."""
    items: list[tuple[dict[str, Any], int]] = [({"content": piece}, 1) for piece in choice.pieces]
    for call in choice.calls:
        told = {"arguments": call.arguments, "name": call.name}
        items.append(({"content": "", "content_type": "text", "function_call": told}, len(call.pieces)))
    return items or [({"content": ""}, 0)]


def _events(_ask: Ask, reply: Reply, knobs: Knobs) -> Iterator[Frame]:
    (choice,) = reply.choices
    items = _items(choice)
    for at, (item, spent) in enumerate(items):
        last = at == len(items) - 1 and choice.finish != "content_filter"
        status = 2 if last else 1 if at else 0
        text = {**item, "role": "assistant", "index": 0}
        payload: dict[str, Any] = {"choices": {"status": status, "seq": at, "text": [text]}}
        if last and not knobs.nousage:
            counts = {"prompt_tokens": reply.input, "completion_tokens": reply.output}
            told = {"question_tokens": min(4, reply.input), **counts, "total_tokens": reply.input + reply.output}
            payload["usage"] = {"text": told}
        yield _frame(reply, status, {"payload": payload}, spent)
    if choice.finish == "content_filter":
        yield Frame(_failed(*_BLOCKED, _sid(reply)))


def _failed(code: str, message: str, sid: str) -> dict[str, Any]:
    return {"header": {"code": int(code) if code.isdigit() else 10012, "message": message, "sid": sid, "status": 2}}


def _refuse(refused: Refused, serial: str) -> Told:
    _, code, message = errors.worded(refused, _WORDS, _CONTEXT)
    return 200, _failed(code, message, f"cht000{serial[:8]}"), {}


def _midway(refused: Refused, _ask: Ask, reply: Reply, _sent: int) -> tuple[Frame, ...]:
    return (Frame(_refuse(refused, reply.id)[1]),)


def _plain(_ask: Ask, _reply: Reply, _knobs: Knobs) -> Any:
    raise NotImplementedError  # this wire only streams


CHAT = Wire(_authorise, _read, _plain, _refuse, _events, _midway)
