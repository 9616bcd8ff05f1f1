"""Answers of Ollama's own chat as pieces (github.com/ollama/ollama/blob/main/docs/api.md; types of the ollama package 0.6,
2026-11): the same object plain and as each line of a stream, of which the last one is `done` and has the counts.

`eval_count` includes what was thought, which is not told apart. `prompt_eval_count` is what was read, which may be less than
was sent: a prompt that is too long for the server's window is cut without a word. Old versions leave it out where all of
the prompt was cached; a usage without it is none.
"""

from binascii import crc32
from collections.abc import Mapping, Sequence
from typing import Any

from router.core import jsonio
from router.core.catalog import Quirks
from router.core.failure import Failure, Fault
from router.core.usage import Usage, count
from router.dialects.faults import classify, no_answer, read_error, wait
from router.dialects.pieces import Finish, Listener, Piece

FINISHES: Mapping[str, Finish] = {"stop": "stop", "length": "length"}  # and `load`, `unload` of an empty request
# An error is a sentence; there is no code (server/routes.go and server/sched.go; of the cloud: issues 15934 there and 11444
# of continuedev/continue, 2026-11).
PHRASES = (
    ("exceeds the context length", Fault.CONTEXT_TOO_LONG),
    ("exceeds maximum context length", Fault.CONTEXT_TOO_LONG),
    ("exceed_context_size", Fault.CONTEXT_TOO_LONG),
    ("usage limit", Fault.QUOTA_EXHAUSTED),
    ("server busy", Fault.OVERLOADED),
    ("server overloaded", Fault.OVERLOADED),
    ("unauthorized", Fault.AUTH),
    ("does not support", Fault.BAD_REQUEST),
    ("try pulling it first", Fault.NOT_FOUND),
)
NO_CODES: Mapping[str, Fault] = {}


def error(status: int, raw: bytes, headers: Mapping[str, str], quirks: Quirks) -> Failure:
    """Whose fault an error reply is; the server's message is kept."""
    return read_error(status, raw, headers, lambda told: failure_of(told, status, headers, quirks))


def failure_of(told: Mapping[str, Any], status: int, headers: Mapping[str, str], quirks: Quirks) -> Failure | None:
    """The failure that a body or a line tells of; None if it tells of none."""
    said = told.get("error")
    if not said:
        return None
    if isinstance(said, dict):
        said = said.get("message") or "no message"
    fault = classify(None, None, said, status, quirks, NO_CODES, PHRASES)
    return Failure(fault, str(said), status, None, wait(headers))


def usage_of(told: Mapping[str, Any]) -> Usage | None:
    """The counts of a last line; None if they are not there."""
    prompt, written = count(told.get("prompt_eval_count")), count(told.get("eval_count"))
    return None if prompt is None else Usage(input_fresh=prompt, output_text=written or 0)


class OllamaListener(Listener):
    """One answer."""

    __slots__ = ("_calls", "_quirks")

    def __init__(self, quirks: Quirks) -> None:
        super().__init__()
        self._quirks = quirks
        self._calls = 0

    def hear(self, told: dict[str, Any]) -> Sequence[Piece]:
        if (failure := failure_of(told, 200, {}, self._quirks)) is not None:
            self.failure = failure
            return ()
        self.model = self.model or str(told.get("model") or "")
        out: list[Piece] = []
        message = told.get("message") or {}
        if isinstance(thought := message.get("thinking"), str) and thought:
            out.append(Piece("thinking", thought))
        if isinstance(text := message.get("content"), str) and text:
            out.append(Piece("text", text))
        for call in message.get("tool_calls") or ():
            self._call(call, out)
        if told.get("done") is True:
            finish = FINISHES.get(str(told.get("done_reason")), "stop")
            out.append(Piece("finish", "tool_calls" if finish == "stop" and self._calls else finish))
            self.consume(lambda _: usage_of(told))
            self.done = True
        return out

    def whole(self, told: dict[str, Any]) -> Sequence[Piece]:
        out = self.hear(told)
        if self.failure is None and not isinstance(told.get("message"), dict):
            self.failure = no_answer(told, self._quirks, "the answer has no message")
        self.done = True
        return out

    def _call(self, call: Mapping[str, Any], out: list[Piece]) -> None:
        """A call comes whole. Old servers give it no id."""
        place, self._calls = self._calls, self._calls + 1
        function = call.get("function") or {}
        arguments = jsonio.dumps(function.get("arguments") or {})
        call_id = str(call.get("id") or f"call_{crc32(arguments):08x}_{place}")
        out.append(Piece("call", "", 0, place, call_id, str(function.get("name") or "")))
        out.append(Piece("arguments", arguments.decode(), 0, place))
