"""Whose fault an error is, told by its code, then its type; by its words only where neither says more than "bad request";
then by its status. What the codes mean is the dialect's and the vendor's to say.
"""

from collections.abc import Callable, Mapping
from typing import Any

from router.core import jsonio
from router.core.catalog import Quirks
from router.core.failure import Failure, Fault
from router.core.usage import count

# Said of many things, so it counts only where the status says nothing, as in the middle of a stream.
VAGUE: Mapping[str, Fault] = {"invalid_request_error": Fault.BAD_REQUEST}
BY_STATUS: Mapping[int, Fault] = {
    401: Fault.AUTH,
    402: Fault.QUOTA_EXHAUSTED,
    403: Fault.PERMISSION,
    404: Fault.NOT_FOUND,
    408: Fault.TIMEOUT,
    429: Fault.RATE_LIMITED,
    451: Fault.CONTENT_FILTERED,
    503: Fault.OVERLOADED,
    504: Fault.TIMEOUT,
    529: Fault.OVERLOADED,
}

LONGEST_WAIT_S = 86_400.0  # a vendor that says more has not said it for this request

NO_FAULTS: Mapping[str, Fault] = {}
Phrases = tuple[tuple[str, Fault], ...]


def classify(
    code: Any, kind: Any, message: Any, status: int, quirks: Quirks, faults: Mapping[str, Fault], phrases: Phrases
) -> Fault:
    """The fault that a code, a type and a message stand for; what the vendor is known for goes before its dialect."""
    fault = _by_name(code, quirks, faults) or _by_name(kind, quirks, faults)
    if fault is None or fault is Fault.BAD_REQUEST:
        text = str(message).lower()
        fault = next((found for phrase, found in (*quirks.phrases, *phrases) if phrase in text), fault)
    if fault is None and status >= 400:
        return by_status(status)
    if fault is None and (number := count(code)) is not None and 400 <= number < 600:
        return by_status(number)
    return fault or VAGUE.get(str(kind)) or VAGUE.get(str(code)) or Fault.SERVER


def _by_name(told: Any, quirks: Quirks, faults: Mapping[str, Fault]) -> Fault | None:
    """By a code or type as it is, then by what stands before its last dot, and so on: `A.B.C`, `A.B`, `A`."""
    name = "" if told is None else str(told)
    while name:
        if (fault := quirks.faults.get(name) or faults.get(name)) is not None:
            return fault
        name = name.rpartition(".")[0]
    return None


def by_status(status: int) -> Fault:
    """What a status alone says."""
    if status in BY_STATUS:
        return BY_STATUS[status]
    return Fault.BAD_REQUEST if 400 <= status < 500 else Fault.SERVER


def read_error(
    status: int, raw: bytes, headers: Mapping[str, str], failure_of: Callable[[dict[str, Any]], Failure | None]
) -> Failure:
    """Whose fault an error reply is: what `failure_of` makes of its body, else what the status says. The vendor's message
    is kept.
    """
    try:
        told = jsonio.loads_reply(raw)
    except jsonio.NotJson:
        told = None
    if isinstance(told, list) and len(told) == 1:  # Google wraps its errors so
        told = told[0]
    if isinstance(told, dict) and (failure := failure_of(told)) is not None:
        return failure
    text = raw[:300].decode("utf-8", "replace").strip() or "no message"
    return Failure(by_status(status), text, status, None, wait(headers))


WORDS = ("message", "msg", "error_msg", "errmsg", "error_message", "detail", "error")
CODES = ("code", "error_code", "errcode", "err_code")


def no_answer(told: Any, quirks: Quirks, problem: str, faults: Mapping[str, Fault] = NO_FAULTS) -> Failure:
    """What a reply under a status of success says that holds no answer: an error, where it looks like one of a form that
    nobody has documented, so that nothing was written; else what cannot be read, which may be billed.
    """
    if not isinstance(told, dict):
        return Failure(Fault.GARBAGE, problem, 200)
    inner = next((part for name in ("error", "Error") if isinstance(part := told.get(name), dict)), told)
    message = next((word for name in WORDS if isinstance(word := inner.get(name), str) and word), None)
    code = next((found for name in CODES if isinstance(found := inner.get(name), str | int)), None)
    named = "error" in (told.get("type"), told.get("object"), told.get("status"))
    if message is None and code is None and not named and told.get("success") is not False and not told.get("errors"):
        return Failure(Fault.GARBAGE, problem, 200)
    fault = classify(code, inner.get("type"), message, 200, quirks, faults, ())
    return Failure(fault, message or problem, 200, None if code is None else str(code))


def wait(headers: Mapping[str, str]) -> float | None:
    """Seconds until the vendor wants to be asked again."""
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        value = headers.get(name, "")
        if value.isascii() and value.replace(".", "", 1).isdigit():
            return min(float(value) / unit, LONGEST_WAIT_S)
    return None
