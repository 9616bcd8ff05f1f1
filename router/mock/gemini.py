"""Google's wire, as written: candidates with cumulative `usageMetadata`, and errors `{"error": {"code", "message", "status", "details"}}`.
Pure.

Source: the types of the google-genai package, 3.6. Thoughts are counted apart from the candidates' tokens and billed with them.
"""

import hashlib
import itertools
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import orjson

from router.mock import errors, gemini_ask
from router.mock.ask import PER_IMAGE, Ask
from router.mock.errors import Refused, Words
from router.mock.incoming import Incoming
from router.mock.openai import vector
from router.mock.reply import Call, Choice, Reply
from router.mock.steer import Knobs
from router.mock.wires import Frame, Told, Wire

_CONTEXT = 1_048_576
_WORDS: Words = {
    "invalid": (400, "INVALID_ARGUMENT", "Request contains an invalid argument."),
    "context": (
        400,
        "INVALID_ARGUMENT",
        "The input token count ({input}) exceeds the maximum number of tokens allowed ({longest}).",
    ),
    "auth": (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
    "expired": (400, "INVALID_ARGUMENT", "API key expired. Please renew the API key."),
    "permission": (403, "PERMISSION_DENIED", "The caller does not have permission"),
    "not_found": (
        404,
        "NOT_FOUND",
        "models/{model} is not found for API version v1beta, or is not supported for generateContent.",
    ),
    "too_large": (413, "INVALID_ARGUMENT", "Request payload size exceeds the limit: 20971520 bytes."),
    "rate": (
        429,
        "RESOURCE_EXHAUSTED",
        "Quota exceeded for metric: generate_content_requests, limit: 10. Please retry in 1s.",
    ),
    "quota": (
        429,
        "RESOURCE_EXHAUSTED",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    "server": (500, "INTERNAL", "An internal error has occurred. Please retry or report."),
    "overloaded": (503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
    "timeout": (504, "DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
}
_REASONS = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP", "content_filter": "SAFETY"}
_RPC = "type.googleapis.com/google.rpc."


def _usage(ask: Ask, reply: Reply, said: int, thought: int) -> dict[str, Any]:
    images = min(ask.images * PER_IMAGE, reply.input)
    details = [{"modality": "TEXT", "tokenCount": reply.input - images}]
    if images:
        details.append({"modality": "IMAGE", "tokenCount": images})
    usage: dict[str, Any] = {"promptTokenCount": reply.input}
    if reply.cached:
        usage["cachedContentTokenCount"] = reply.cached
        usage["cacheTokensDetails"] = [{"modality": "TEXT", "tokenCount": reply.cached}]
    usage["candidatesTokenCount"] = said
    if thought:
        usage["thoughtsTokenCount"] = thought
    return usage | {"totalTokenCount": reply.input + said + thought, "promptTokensDetails": details}


def _head(ask: Ask, reply: Reply) -> dict[str, Any]:
    return {"modelVersion": ask.model, "responseId": reply.id}


def _blocked(ask: Ask, reply: Reply, knobs: Knobs) -> dict[str, Any]:
    """What a prompt gets that the filter stopped: no candidates."""
    usage = {"promptTokenCount": reply.input, "totalTokenCount": reply.input}
    body = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, **_head(ask, reply)}
    return body if knobs.nousage else body | {"usageMetadata": usage}


def _signature(call: Call) -> str:
    return b64encode(hashlib.blake2b(call.id.encode(), digest_size=24).digest()).decode()


def _call_parts(ask: Ask, choice: Choice) -> list[dict[str, Any]]:
    """Calls come whole; the first of a turn carries the signature of the thought that led to it."""
    parts: list[dict[str, Any]] = []
    for call in choice.calls:
        part: dict[str, Any] = {"functionCall": {"name": call.name, "args": _object(call.arguments)}}
        if gemini_ask.signs(ask.model):
            part["functionCall"]["id"] = call.id
            if not parts:
                part["thoughtSignature"] = _signature(call)
        parts.append(part)
    return parts


def _object(arguments: str) -> Any:
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:  # cut by maxOutputTokens
        return {}


def _content(parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {"parts": parts, "role": "model"} if parts else {"role": "model"}


def _plain(ask: Ask, reply: Reply, knobs: Knobs) -> dict[str, Any]:
    if knobs.filtered == 0:
        return _blocked(ask, reply, knobs)
    candidates = []
    for choice in reply.choices:
        parts: list[dict[str, Any]] = [{"text": choice.thought, "thought": True}] if choice.thoughts else []
        parts += [{"text": choice.text}] if choice.pieces else []
        parts += _call_parts(ask, choice)
        candidates.append({"content": _content(parts), "finishReason": _REASONS[choice.finish], "index": choice.index})
    body = {"candidates": candidates, **_head(ask, reply)}
    if not knobs.nousage:
        body["usageMetadata"] = _usage(ask, reply, reply.output - reply.reasoning, reply.reasoning)
    return body


def _steps(ask: Ask, choice: Choice) -> Iterator[tuple[dict[str, Any] | None, int, bool]]:
    """The parts of one candidate: part, tokens, and whether it is a thought. None where there is nothing to say."""
    for piece in choice.thoughts:
        yield {"text": piece, "thought": True}, 1, True
    for piece in choice.pieces:
        yield {"text": piece}, 1, False
    for call, part in zip(choice.calls, _call_parts(ask, choice), strict=True):
        yield part, len(call.pieces), False
    if not (choice.thoughts or choice.pieces or choice.calls):
        yield None, 0, False


def _events(ask: Ask, reply: Reply, knobs: Knobs) -> Iterator[Frame]:
    """One part per chunk, the candidates taking turns; the finish reason is in the last chunk of each."""
    if knobs.filtered == 0:
        yield Frame(_blocked(ask, reply, knobs))
        return
    streams = [list(_steps(ask, choice)) for choice in reply.choices]
    said, thought = 0, reply.hidden
    left = sum(map(len, streams))
    for turn in itertools.zip_longest(*(enumerate(steps) for steps in streams)):
        for choice, step in zip(reply.choices, turn, strict=True):
            if step is None:
                continue
            at, (part, tokens, is_thought) = step
            said, thought, left = said + tokens * (not is_thought), thought + tokens * is_thought, left - 1
            candidate: dict[str, Any] = {"content": _content([part] if part else [])}
            if at == len(streams[choice.index]) - 1:
                candidate["finishReason"] = _REASONS[choice.finish]
            chunk = {"candidates": [candidate | {"index": choice.index}], **_head(ask, reply)}
            if not knobs.nousage and not (knobs.split and left):
                chunk["usageMetadata"] = _usage(ask, reply, said, thought)
            yield Frame(chunk, tokens, is_thought)


def _counted(ask: Ask, reply: Reply, _knobs: Knobs) -> dict[str, Any]:
    details = _usage(ask, reply, 0, 0)["promptTokensDetails"]
    return {"totalTokens": reply.input, "promptTokensDetails": details}


def _embedded(ask: Ask, reply: Reply, knobs: Knobs) -> dict[str, Any]:
    made = [{"values": vector(f"{reply.seed}\0{ask.model}\0{text}", ask.dimensions).tolist()} for text in ask.texts]
    body: dict[str, Any] = {"embeddings": made} if ask.endpoint == "batchEmbedContents" else {"embedding": made[0]}
    return body if knobs.nousage else body | {"usageMetadata": {"promptTokenCount": reply.input}}


def _error(refused: Refused) -> dict[str, Any]:
    status, name, message = errors.worded(refused, _WORDS, _CONTEXT)
    if refused.status == 401 and refused.kind == "auth" and status == 401:
        name = "UNAUTHENTICATED"
    error: dict[str, Any] = {"code": status, "message": message, "status": name}
    if refused.kind in {"auth", "expired"}:
        reason = "ACCESS_TOKEN_TYPE_UNSUPPORTED" if status == 401 else "API_KEY_INVALID"
        error["details"] = [{"@type": f"{_RPC}ErrorInfo", "reason": reason, "domain": "googleapis.com"}]
    if refused.kind in {"rate", "quota"}:
        per = "PerMinutePerProjectPerModel" if refused.kind == "rate" else "PerDayPerProjectPerModel-FreeTier"
        error["details"] = [
            {"@type": f"{_RPC}QuotaFailure", "violations": [{"quotaId": f"GenerateRequests{per}", "quotaValue": "10"}]}
        ]
    if refused.kind == "rate":
        error["details"].append({"@type": f"{_RPC}RetryInfo", "retryDelay": "1s"})
    if refused.kind == "invalid" and refused.param:
        violation = {"field": refused.param, "description": message}
        error["details"] = [{"@type": f"{_RPC}BadRequest", "fieldViolations": [violation]}]
    return {"error": error}


def _refuse(refused: Refused, _serial: str) -> Told:
    body = _error(refused)
    return body["error"]["code"], body, {}


def _refuse_in_array(refused: Refused, _serial: str) -> Told:
    """Where an array was to come, the error is in one too."""
    body = _error(refused)
    return body["error"]["code"], [body], {}


def _midway(refused: Refused, _ask: Ask, _reply: Reply, _sent: int) -> tuple[Frame, ...]:
    return (Frame(_error(refused)),)


GENERATE = Wire(gemini_ask.authorise, gemini_ask.generate, _plain, _refuse, _events, _midway, blocks=True)
_ARRAY = Wire(
    gemini_ask.authorise, gemini_ask.generate, _plain, _refuse_in_array, _events, _midway, framing="array", blocks=True
)
_COUNT = Wire(gemini_ask.authorise, gemini_ask.count_tokens, _counted, _refuse, billed=False)
_EMBED = Wire(gemini_ask.authorise, gemini_ask.embed, _embedded, _refuse)


def _nowhere(incoming: Incoming) -> Ask:
    raise Refused(404, model=gemini_ask.call_of(incoming)[0])


_NOWHERE = Wire(gemini_ask.authorise, _nowhere, _plain, _refuse)


def wire(incoming: Incoming) -> Wire:
    """The wire of `models/{model}:{verb}`."""
    match gemini_ask.call_of(incoming)[1]:
        case "generateContent":
            return GENERATE
        case "streamGenerateContent":
            return GENERATE if incoming.query.get("alt") == "sse" else _ARRAY
        case "countTokens":
            return _COUNT
        case "embedContent" | "batchEmbedContents":
            return _EMBED
        case _:
            return _NOWHERE
