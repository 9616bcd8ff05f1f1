"""How the OpenAI wire says no: whose fault an answer tells of, whatever its status.

Told by the code, then the type; by the message only where neither says more than "bad request"; then by the status.
"""

from collections.abc import Mapping
from typing import Any

from router.core import jsonio
from router.core.catalog import Quirks
from router.core.failure import Failure, Fault
from router.core.usage import count
from router.dialects.faults import classify, read_error, wait

PLAIN = Quirks()

# Codes and types of OpenAI (platform.openai.com/docs/guides/error-codes) and of many others on this wire (2026-11).
FAULTS: Mapping[str, Fault] = {
    "context_length_exceeded": Fault.CONTEXT_TOO_LONG,
    "content_filter": Fault.CONTENT_FILTERED,
    "content_policy_violation": Fault.CONTENT_FILTERED,
    "invalid_api_key": Fault.AUTH,
    "authentication_error": Fault.AUTH,
    "insufficient_quota": Fault.QUOTA_EXHAUSTED,
    "rate_limit_exceeded": Fault.RATE_LIMITED,
    "rate_limit_error": Fault.RATE_LIMITED,
    "model_not_found": Fault.NOT_FOUND,
    "overloaded_error": Fault.OVERLOADED,
    "service_unavailable_error": Fault.OVERLOADED,
    # of a response that failed (types of the openai package 3.54)
    "invalid_prompt": Fault.BAD_REQUEST,
    "invalid_image": Fault.BAD_REQUEST,
    "invalid_image_url": Fault.BAD_REQUEST,
    "invalid_image_format": Fault.BAD_REQUEST,
    "invalid_base64_image": Fault.BAD_REQUEST,
    "bio_policy": Fault.CONTENT_FILTERED,
    "misalignment_policy_violation": Fault.CONTENT_FILTERED,
}
# What one model refuses and the next may do: OpenAI's for parameters of other models, Groq's for a call that its model botched.
OF_THE_MODEL = frozenset({"unsupported_parameter", "unsupported_value", "tool_use_failed"})
# The servers that people run themselves have no better code for it (vLLM, recorded in Qwen-Agent #759).
PHRASES = (("maximum context length", Fault.CONTEXT_TOO_LONG),)


def error(status: int, raw: bytes, headers: Mapping[str, str], quirks: Quirks = PLAIN) -> Failure:
    """Whose fault an error reply is; the vendor's message is kept."""
    return read_error(status, raw, headers, lambda told: failure_of(told, status, headers, quirks))


def failure_of(told: Any, status: int, headers: Mapping[str, str], quirks: Quirks = PLAIN) -> Failure | None:
    """The failure that a parsed body tells of, also under a status of success; None if it tells of none."""
    if not isinstance(told, dict):
        return None
    said = _said(told, status) or _verdict(told, quirks)
    if said is None:
        return None
    code, kind, message = said
    fault = classify(code, kind, message, status, quirks, FAULTS, PHRASES)
    name = None if code is None else str(code)
    own = fault is Fault.BAD_REQUEST and name in OF_THE_MODEL
    shown = str(message) if message else "no message"
    return Failure(fault, shown, status, name, wait(headers), own, _param(told))


def finish_failure(reply: Mapping[str, Any], quirks: Quirks) -> Failure | None:
    """The failure that a finish reason stands for, at vendors that have such reasons. One that is the caller's fault, as
    a filter that ends an answer, is none if the answer carried something, which only who asks here knows.
    """
    if not quirks.finishes:
        return None
    for choice in choices_of(reply):
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and (fault := quirks.finishes.get(reason)) is not None:
            return Failure(fault, f"the vendor ended its answer with {reason}", 200, reason)
    return None


def carries(reply: Mapping[str, Any]) -> bool:
    """Whether a plain answer holds anything that the model wrote."""
    for choice in choices_of(reply):
        message = choice.get("message")
        if choice.get("text") or (
            isinstance(message, dict) and any(value for name, value in message.items() if name != "role")
        ):
            return True
    return False


def choices_of(reply: Mapping[str, Any]) -> list[dict[str, Any]]:
    choices = reply.get("choices")
    return [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []


def at(told: Any, path: str) -> Any:
    """What stands at a dotted path; numbers are places in arrays. None if nothing does."""
    for name in path.split("."):
        if isinstance(told, dict):
            told = told.get(name)
        elif isinstance(told, list) and name.isdigit() and int(name) < len(told):
            told = told[int(name)]
        else:
            return None
    return told


def _said(told: Mapping[str, Any], status: int) -> tuple[Any, Any, Any] | None:
    """(code, type, message): of the error object; or of the body itself, where it is one."""
    found = told.get("error")
    if isinstance(found, dict) and found:
        return found.get("code"), found.get("type"), found.get("message")
    if found:
        return told.get("code"), told.get("type"), found if isinstance(found, str) else told.get("message") or found
    failed = status >= 400 or told.get("object") == "error"
    if failed and (message := told.get("message") or told.get("detail")):
        return told.get("code"), told.get("type"), _words(message)
    return None


def _param(told: Mapping[str, Any]) -> str | None:
    """The field that an error is about, if it names one."""
    found = told.get("error")
    param = (found if isinstance(found, dict) else told).get("param")
    return param if isinstance(param, str) and param else None


def _words(message: Any) -> str:
    """A message that need not be a text."""
    try:
        return message if isinstance(message, str) else jsonio.dumps(message).decode()
    except TypeError:  # nested more deeply than can be written
        return "no message"


def _verdict(told: Mapping[str, Any], quirks: Quirks) -> tuple[Any, Any, Any] | None:
    """The same of a body that says of each answer whether it is one; 0 is success."""
    if quirks.verdict is None:
        return None
    code = at(told, quirks.verdict[0])
    return (code, None, at(told, quirks.verdict[1])) if code is not None and count(code) != 0 else None
