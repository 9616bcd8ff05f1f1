"""Answers on Baidu Qianfan's first wire as pieces (cloud.baidu.com/doc/WENXINWORKSHOP/s/clntwmv7t and .../tlmyncueh, codes of
qianfan/consts.py 0.4.12.3, 2026-11).

Every status is 200; an error is a number. A stream's events have what is new and a usage that grows; the last one says
`is_end`, and nothing follows it.
"""

from binascii import crc32
from collections.abc import Mapping, Sequence
from typing import Any

from router.core.catalog import Quirks
from router.core.failure import Failure, Fault
from router.core.usage import Usage, count
from router.dialects.faults import classify, no_answer, read_error, wait
from router.dialects.pieces import Finish, Listener, Piece

FAULTS: Mapping[str, Fault] = {
    "1": Fault.SERVER,
    "2": Fault.OVERLOADED,  # "service temporarily unavailable"
    "3": Fault.NOT_FOUND,  # "unsupported openapi method": no such path
    "4": Fault.RATE_LIMITED,  # of the cluster
    "6": Fault.PERMISSION,
    "13": Fault.AUTH,
    "14": Fault.AUTH,
    "15": Fault.AUTH,
    "17": Fault.QUOTA_EXHAUSTED,  # the day's calls, which are more once the service is paid for
    "18": Fault.RATE_LIMITED,
    "19": Fault.QUOTA_EXHAUSTED,
    "100": Fault.AUTH,
    "110": Fault.AUTH,
    "111": Fault.AUTH,
    "336000": Fault.SERVER,
    "336001": Fault.BAD_REQUEST,
    "336002": Fault.BAD_REQUEST,
    "336003": Fault.BAD_REQUEST,
    "336004": Fault.PERMISSION,
    "336005": Fault.NOT_FOUND,
    "336006": Fault.BAD_REQUEST,  # the order of the messages
    "336007": Fault.CONTEXT_TOO_LONG,
    "336100": Fault.OVERLOADED,
    "336101": Fault.BAD_REQUEST,
    "336103": Fault.CONTEXT_TOO_LONG,
    "336104": Fault.BAD_REQUEST,
    "336105": Fault.BAD_REQUEST,
    "336200": Fault.SERVER,
    "336501": Fault.RATE_LIMITED,
    "336502": Fault.RATE_LIMITED,
}
# Where the number says no more than "bad parameter" (336003 has been seen for all of them).
PHRASES = (
    ("tokens too long", Fault.CONTEXT_TOO_LONG),
    ("max length of current question", Fault.CONTEXT_TOO_LONG),
    ("max input chars", Fault.CONTEXT_TOO_LONG),
)
FINISHES: Mapping[str, Finish] = {
    "normal": "stop",
    "stop": "stop",
    "length": "length",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


def error(status: int, raw: bytes, headers: Mapping[str, str], quirks: Quirks) -> Failure:
    """Whose fault an error reply is; the vendor's message is kept. It uses no status but 200, what stands in between may."""
    return read_error(status, raw, headers, lambda told: failure_of(told, status, headers, quirks))


def failure_of(told: Mapping[str, Any], status: int, headers: Mapping[str, str], quirks: Quirks) -> Failure | None:
    """The failure that a body or an event tells of; None if it tells of none."""
    code, message = told.get("error_code"), told.get("error_msg")
    if code is None or count(code) == 0:
        return None
    fault = classify(code, None, message, status, quirks, FAULTS, PHRASES)
    return Failure(fault, str(message or "no message"), status, str(code), wait(headers))


def usage_of(told: Any) -> Usage | None:
    """A usage; None if it holds no counts. The wire caches nothing and tells no thoughts."""
    if not isinstance(told, dict):
        return None
    prompt, written = count(told.get("prompt_tokens")), count(told.get("completion_tokens"))
    return None if prompt is None or not (prompt or written) else Usage(input_fresh=prompt, output_text=written or 0)


class QianfanListener(Listener):
    """One answer."""

    __slots__ = ("_called", "_quirks")

    def __init__(self, quirks: Quirks) -> None:
        super().__init__()
        self._quirks = quirks
        self._called = False

    def hear(self, told: dict[str, Any]) -> Sequence[Piece]:
        return self._read(told, ended=told.get("is_end") is True)

    def whole(self, told: dict[str, Any]) -> Sequence[Piece]:
        out = self._read(told, ended=True)
        if self.failure is None and "result" not in told and "function_call" not in told:
            self.failure = no_answer(told, self._quirks, "the answer has no result")
        return out

    def _read(self, told: dict[str, Any], *, ended: bool) -> list[Piece]:
        if (failure := failure_of(told, 200, {}, self._quirks)) is not None:
            self.failure = failure
            return []
        self.id = self.id or str(told.get("id") or "")
        out: list[Piece] = []
        if isinstance(text := told.get("result"), str) and text:
            out.append(Piece("text", text))
        if isinstance(call := told.get("function_call"), dict) and call.get("name"):
            self._call(call, out)
        if ended:
            out.append(Piece("finish", self._finish(told)))
            self.done = True
        self.consume(lambda _: usage_of(told.get("usage")), final=ended)
        return out

    def _finish(self, told: Mapping[str, Any]) -> Finish:
        """Why it ended. A vendor that wants the conversation cleared has found something in it that it filters."""
        reason = str(told.get("finish_reason"))
        if reason == "content_filter" or told.get("need_clear_history") is True:
            return "content_filter"
        if self._called:
            return "tool_calls"
        return "length" if told.get("is_truncated") is True else FINISHES.get(reason, "stop")

    def _call(self, call: Mapping[str, Any], out: list[Piece]) -> None:
        """The one call of a turn; it comes whole and has no id. A stream may tell it again in its last event."""
        if self._called:
            return
        self._called = True
        arguments = call.get("arguments")
        arguments = arguments if isinstance(arguments, str) and arguments else "{}"
        call_id = f"call_{self.id or format(crc32(arguments.encode()), '08x')}_0"
        out.append(Piece("call", "", 0, 0, call_id, str(call.get("name"))))
        out.append(Piece("arguments", arguments, 0, 0))
