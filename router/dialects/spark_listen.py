"""Answers on the Spark wire as pieces: messages of a WebSocket, each with a `header`, which says how it went, and a
`payload` (xfyun.cn/doc/spark/Web.html, 2026-11).

The last one has the status 2 and the usage. Nothing says whether an answer ended at its cap. What the codes mean is the
vendor's to say.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from router.core import jsonio
from router.core.catalog import Quirks
from router.core.failure import Failure, Fault
from router.core.usage import Usage, count
from router.dialects.faults import classify, read_error
from router.dialects.pieces import Listener, Piece
from router.dialects.turn import ODD

# What the gateway says in a handshake that it refuses, also by 403 where the clocks are five minutes apart.
PHRASES = (("hmac signature", Fault.AUTH), ("api key", Fault.AUTH), ("unauthorized", Fault.AUTH))
LAST = 2  # `status` of the last message; 0 is the first, 1 those between
# What the last message has, and few others; quotes inside a text are escaped, so that this is never said in one.
_ENDS = re.compile(rb'"status"\s*:\s*2\b|"code"\s*:\s*-?[1-9]')


def is_last(message: bytes) -> bool:
    """Whether nothing follows: the vendor may wait for us to close."""
    if _ENDS.search(message) is None:
        return False
    try:
        told = jsonio.loads_reply(message)
        return bool(_code(told)) or LAST in _statuses(told)
    except (jsonio.NotJson, *ODD):
        return False


def _code(told: Mapping[str, Any]) -> str:
    """The code of a failure; "" for success."""
    header = told.get("header")
    code = header.get("code") if isinstance(header, dict) else None
    return "" if code is None or str(code) == "0" else str(code)


def _statuses(told: Mapping[str, Any]) -> tuple[Any, Any]:
    return told["header"].get("status"), ((told.get("payload") or {}).get("choices") or {}).get("status")


def error(status: int, raw: bytes, headers: Mapping[str, str], quirks: Quirks) -> Failure:
    """Whose fault it is that a handshake was refused; the gateway's message is kept."""

    def failure_of_gateway(told: dict[str, Any]) -> Failure | None:
        if (failure := failure_of(told, quirks)) is not None:
            return failure
        message = told.get("message")
        if not isinstance(message, str):
            return None
        return Failure(classify(None, None, message, status, quirks, {}, PHRASES), message, status)

    return read_error(status, raw, headers, failure_of_gateway)


def failure_of(told: Mapping[str, Any], quirks: Quirks) -> Failure | None:
    """The failure that a message tells of; None if it tells of none."""
    if not (code := _code(told)):
        return None
    message = str(told["header"].get("message") or "no message")
    return Failure(classify(code, None, message, 200, quirks, {}, ()), message, 200, code)


class SparkListener(Listener):
    """One answer of a vendor on the Spark wire."""

    __slots__ = ("_called", "_quirks")

    def __init__(self, quirks: Quirks) -> None:
        super().__init__()
        self._quirks = quirks
        self._called = 0  # functions so far

    def hear(self, told: dict[str, Any]) -> Sequence[Piece]:
        payload = told.get("payload") or {}
        self.consume(lambda _: usage_of(payload))
        if (failure := failure_of(told, self._quirks)) is not None:
            self.failure = failure
            return ()
        self.id = self.id or str(told["header"].get("sid") or "")
        choices = payload.get("choices") or {}
        out: list[Piece] = []
        for item in choices.get("text") or ():
            self._item(item, out)
        if LAST in _statuses(told):
            out.append(Piece("finish", "tool_calls" if self._called else "stop"))
            self.done = True
        return out

    def whole(self, told: dict[str, Any]) -> Sequence[Piece]:
        return self.hear(told)

    def _item(self, item: Mapping[str, Any], out: list[Piece]) -> None:
        """A part of the answer. A call comes whole, and beside it a text that says nothing."""
        if isinstance(text := item.get("reasoning_content"), str) and text:
            out.append(Piece("thinking", text))
        if isinstance(text := item.get("content"), str) and text:
            out.append(Piece("text", text))
        if not isinstance(call := item.get("function_call"), dict) or not call.get("name"):
            return
        place = self._called
        self._called += 1
        out.append(Piece("call", "", 0, place, f"call_{self.id or 'farebox'}_{place}", str(call["name"])))
        if isinstance(arguments := call.get("arguments"), str) and arguments:
            out.append(Piece("arguments", arguments, 0, place))


def usage_of(payload: Any) -> Usage | None:
    """The counts of a payload; None if it holds none. `question_tokens` are those of the last question, and are part of
    the prompt's, which are billed.
    """
    usage = payload.get("usage") if isinstance(payload, dict) else None
    told = usage.get("text") if isinstance(usage, dict) else None
    if not isinstance(told, dict):
        return None
    prompt, completion = count(told.get("prompt_tokens")), count(told.get("completion_tokens"))
    if prompt is None or completion is None:
        return None
    return Usage(input_fresh=prompt, output_text=completion)
