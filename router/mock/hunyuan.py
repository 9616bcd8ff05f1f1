"""Tencent Hunyuan's own wire: `ChatCompletions` in CamelCase at `/`, signed, and errors in `Response` under status 200. Pure.

Source: the types and error codes of tencentcloud-sdk-python-hunyuan, 3.1.180; cloud.tencent.com/document/api/213/30654.
"""

import hashlib
import hmac
import itertools
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from router.mock import ask as asks
from router.mock import errors
from router.mock.ask import Ask
from router.mock.errors import Refused, Words, invalid
from router.mock.incoming import Incoming
from router.mock.reply import Call, Choice, Reply
from router.mock.steer import Knobs
from router.mock.text import tokens
from router.mock.wires import Frame, Told, Wire

SECRET = "mock"  # noqa: S105 - of every SecretId
_SKEW = 300  # seconds that a signature holds
_FORM = re.compile(r"TC3-HMAC-SHA256 Credential=([^/]+)/(\S+), SignedHeaders=([\w;-]+), Signature=([0-9a-f]{64})")
_FIELDS = frozenset({
    "Model", "Messages", "Stream", "StreamModeration", "TopP", "Temperature", "EnableEnhancement", "Tools", "ToolChoice",
    "CustomTool", "SearchInfo", "Citation", "EnableSpeedSearch", "EnableMultimedia", "EnableDeepSearch", "Seed",
    "ForceSearchEnhancement", "Stop", "EnableRecommendedQuestions", "EnableDeepRead", "WebSearchOptions", "TopicChoice",
    "EnableThinking",
})  # fmt: skip
_CONTEXT = 32_768
_WORDS: Words = {
    "invalid": (200, "InvalidParameter", "The mock was asked to refuse it."),
    "context": (200, "InvalidParameterValue.ParameterValueError", "{input} tokens are more than {longest}."),
    "filter": (200, "OperationDenied.TextIllegalDetected", "The text contains illegal content and was not approved."),
    "auth": (200, "AuthFailure.SignatureFailure", "The provided credentials could not be validated."),
    "expired": (200, "AuthFailure.SignatureExpire", "Signature expired."),
    "permission": (200, "UnauthorizedOperation", "You are not authorized to perform this operation."),
    "quota": (200, "FailedOperation.ResourcePackExhausted", "The resource package is used up."),
    "not_found": (200, "InvalidParameterValue.Model", "The model {model} does not exist."),
    "too_large": (200, "RequestSizeLimitExceeded", "The request is too large."),
    "rate": (200, "LimitExceeded", "The quota limit is exceeded."),
    "server": (200, "InternalError", "An internal error has occurred. Retry your request."),
    "overloaded": (200, "FailedOperation.EngineServerLimitExceeded", "The engine has too many requests."),
    "timeout": (200, "FailedOperation.EngineRequestTimeout", "The engine timed out."),
}
_REASONS = {"content_filter": "sensitive", "length": "stop"}


def _authorise(incoming: Incoming) -> None:
    """Any SecretId is good but `bad-key`; its SecretKey is `mock`."""
    found = _FORM.fullmatch(incoming.headers.get("authorization", ""))
    if found is None:
        raise Refused(401, "AuthFailure.InvalidAuthorization", "Authorization is missing or malformed.")
    caller, scope, names, signature = found.groups()
    if caller == "bad-key":
        raise Refused(401, "AuthFailure.SecretIdNotFound", "The SecretId is not found.")
    told = incoming.headers.get("x-tc-timestamp", "")
    at = int(told) if told.isdigit() else 0
    if abs(incoming.now - at) > _SKEW:
        raise Refused(401, "expired_token")
    if not {"content-type", "host"} <= set(names.split(";")) or signature != _signature(incoming, scope, names, at):
        raise Refused(401)
    for header, value in (("x-tc-action", "ChatCompletions"), ("x-tc-version", "2023-09-01")):
        if incoming.headers.get(header) != value:
            raise Refused(400, "InvalidAction", f"{header} has to be {value}.")


def _signature(incoming: Incoming, scope: str, names: str, at: int) -> str:
    """What the signature has to be."""
    lines = "".join(f"{name}:{incoming.headers.get(name, '').strip().lower()}\n" for name in names.split(";"))
    digest = hashlib.sha256(incoming.body).hexdigest()
    canonical = f"POST\n/\n\n{lines}\n{names}\n{digest}"
    text = "\n".join(("TC3-HMAC-SHA256", str(at), scope, hashlib.sha256(canonical.encode()).hexdigest()))
    date, service, last = (*scope.split("/"), "", "", "")[:3]
    if date != datetime.fromtimestamp(at, UTC).date().isoformat():
        return ""
    key = b"TC3" + SECRET.encode()
    for part in (date, service, last, text):
        key = hmac.digest(key, part.encode(), "sha256")
    return key.hex()


def _read(incoming: Incoming) -> Ask:
    asked = incoming.json()
    for name in asked:
        if name not in _FIELDS:
            raise Refused(400, "UnknownParameter", f"The parameter `{name}` is not recognized.")
    model = asks.model_of(asked, "Model")
    messages = asks.objects(asked, "Messages")
    _check(messages)
    text = asks.last_text(_said(message) for message in messages if message["Role"] == "user")
    tools = asked.get("Tools") or []
    thinks = asked.get("EnableThinking") is True or "-t1" in model
    return Ask(
        endpoint="ChatCompletions",
        model=model,
        texts=(text,),
        prompt_tokens=sum(map(_cost, messages)) + (asks.written(tools) if tools else 0),
        stream=asked.get("Stream") is True,
        stops=asks.stops(asked.get("Stop")),
        tools=_called(asked, tools, "" if messages[-1]["Role"] == "tool" else text),
        images=sum(part.get("Type") == "image_url" for message in messages for part in message.get("Contents") or ()),
        thinks=thinks,
        shows=True,
    )


def _check(messages: Sequence[dict[str, Any]]) -> None:
    """One message of the system in front, then user (or tools) and assistant in turns, and the last word is the user's."""
    turns = messages[1:] if messages[0].get("Role") == "system" else messages
    sides = [{"user": "user", "tool": "user", "assistant": "assistant"}.get(str(m.get("Role"))) for m in turns]
    tools = [m.get("Role") == "tool" for m in turns]
    twice = any(
        a == b and not (before and after)
        for (a, before), (b, after) in itertools.pairwise(zip(sides, tools, strict=True))
    )
    if not turns or None in sides or twice or sides[0] != "user" or sides[-1] != "user" or len(messages) > 40:
        raise invalid("Messages: the roles have to take turns, from user to user.", "Messages")
    if any(not _said(m) and not m.get("ToolCalls") and not m.get("Contents") for m in messages):
        raise invalid("Messages: Content must not be empty.", "Messages")


def _said(message: dict[str, Any]) -> str:
    parts = [str(part.get("Text") or "") for part in message.get("Contents") or ()]
    return " ".join([str(message.get("Content") or ""), *parts]).strip()


def _cost(message: dict[str, Any]) -> int:
    pictures: int = sum(part.get("Type") != "text" for part in message.get("Contents") or ())
    calls: int = asks.written(message["ToolCalls"]) if message.get("ToolCalls") else 0
    return asks.PER_MESSAGE + tokens(_said(message)) + asks.PER_IMAGE * pictures + calls


def _called(asked: dict[str, Any], tools: list[dict[str, Any]], text: str) -> tuple[dict[str, Any], ...]:
    functions = []
    for tool in tools:
        function = tool.get("Function") or {}
        try:
            schema = orjson.loads(function["Parameters"])
        except (KeyError, TypeError, orjson.JSONDecodeError):
            raise invalid("Tools: Parameters has to be a JSON string.", "Tools") from None
        functions.append({"name": function.get("Name"), "parameters": schema})
    choice = asked.get("ToolChoice") or "auto"
    if choice not in {"auto", "none", "custom"}:
        raise invalid("ToolChoice has to be none, auto or custom.", "ToolChoice")
    if choice == "none":
        return ()
    named = ((asked.get("CustomTool") or {}).get("Function") or {}).get("Name") if choice == "custom" else ""
    return asks.called(functions, text, named=str(named or ""))


def _usage(reply: Reply, written: int) -> dict[str, Any]:
    told: dict[str, Any] = {
        "PromptTokens": reply.input,
        "CompletionTokens": written,
        "TotalTokens": reply.input + written,
    }
    return told | {"PromptTokensDetails": {"CachedTokens": str(reply.cached)}} if reply.cached else told


def _call(call: Call, index: int, arguments: str) -> dict[str, Any]:
    return {"Id": call.id, "Type": "function", "Function": {"Name": call.name, "Arguments": arguments}, "Index": index}


def _head(reply: Reply) -> dict[str, Any]:
    return {"Note": "以上内容为AI生成", "Created": reply.created, "Id": reply.id}


def _reason(choice: Choice) -> str:
    return _REASONS.get(choice.finish, choice.finish)


def _plain(_ask: Ask, reply: Reply, knobs: Knobs) -> dict[str, Any]:
    (choice,) = reply.choices
    message: dict[str, Any] = {"Role": "assistant", "Content": choice.text}
    if choice.thoughts:
        message["ReasoningContent"] = choice.thought
    if choice.calls:
        message["ToolCalls"] = [_call(call, i, call.arguments) for i, call in enumerate(choice.calls)]
    told = {**_head(reply), "Choices": [{"Index": 0, "FinishReason": _reason(choice), "Message": message}]}
    if not knobs.nousage:
        told["Usage"] = _usage(reply, reply.output)
    return {"Response": {**told, "RequestId": reply.id}}


def _events(_ask: Ask, reply: Reply, knobs: Knobs) -> Iterator[Frame]:
    (choice,) = reply.choices
    written = reply.hidden

    def event(delta: dict[str, Any], reason: str = "") -> dict[str, Any]:
        told = {
            **_head(reply),
            "Choices": [{"Index": 0, "Delta": {"Role": "assistant", **delta}, "FinishReason": reason}],
        }
        return told if knobs.nousage else {**told, "Usage": _usage(reply, written)}

    for piece in choice.thoughts:
        written += 1
        yield Frame(event({"Content": "", "ReasoningContent": piece}), 1, thought=True)
    for piece in choice.pieces:
        written += 1
        yield Frame(event({"Content": piece}), 1)
    for i, call in enumerate(choice.calls):
        for piece in call.pieces:
            written += 1
            yield Frame(event({"Content": "", "ToolCalls": [_call(call, i, piece)]}), 1)
    yield Frame(event({"Content": ""}, _reason(choice)))


def _refuse(refused: Refused, serial: str) -> Told:
    _, code, message = errors.worded(refused, _WORDS, _CONTEXT)
    return 200, {"Response": {"Error": {"Code": code, "Message": message}, "RequestId": serial}}, {}


def _midway(refused: Refused, _ask: Ask, reply: Reply, _sent: int) -> tuple[Frame, ...]:
    """It knows two errors in a stream."""
    code, message = (
        (4001, "The model timed out.") if refused.kind == "timeout" else (4000, "An internal error has occurred.")
    )
    return (Frame({**_head(reply), "ErrorMsg": {"Code": code, "Msg": message}}),)


CHAT = Wire(_authorise, _read, _plain, _refuse, _events, _midway, request_id="x-tc-requestid")
