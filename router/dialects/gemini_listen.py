"""Answers on the Gemini wire as pieces (ai.google.dev/api/generate-content, types of the google-genai package 3.6, 2026-11).

A stream is a row of whole answers, each with what is new and with a usage that grows; nothing says that it was the last.
A usage is the final one from the answer on that has a finish reason: a stream that breaks before is billed by what was
told until then or by what was written, whichever is more.
"""

from binascii import crc32
from collections.abc import Mapping, Sequence
from typing import Any

from router.core import jsonio
from router.core.catalog import Quirks
from router.core.failure import Failure, Fault
from router.dialects.faults import no_answer
from router.dialects.gemini_usage import failure_of, service_tier, usage_of
from router.dialects.pieces import Finish, Listener, Piece

FINISHES: Mapping[str, Finish] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",  # the end of what one request may write
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "ESCALATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
}
# Ends that leave nothing to show: unless something was written, the attempt has failed and another vendor may be asked.
BROKEN: Mapping[str, Fault] = {
    "MALFORMED_FUNCTION_CALL": Fault.GARBAGE,
    "UNEXPECTED_TOOL_CALL": Fault.GARBAGE,
    "MALFORMED_RESPONSE": Fault.GARBAGE,
    "MISSING_THOUGHT_SIGNATURE": Fault.GARBAGE,  # no fault of the caller's, who cannot have one
    "OTHER": Fault.GARBAGE,
    "PUP_LIMITED_DISABLED": Fault.PERMISSION,  # the account broke the rules of use
}
NOT_YET = "FINISH_REASON_UNSPECIFIED"


class GeminiListener(Listener):
    """One answer of a vendor on the Gemini wire."""

    __slots__ = ("_calls", "_finished", "_quirks", "_wrote")

    def __init__(self, quirks: Quirks) -> None:
        super().__init__()
        self._quirks = quirks
        self._calls: dict[int, int] = {}  # candidate → how many calls it has made
        self._finished = False
        self._wrote = False  # a text or a call, in whichever candidate

    def hear(self, told: dict[str, Any]) -> Sequence[Piece]:
        if (failure := failure_of(told, 200, {}, self._quirks)) is not None:
            self.failure = failure
            return ()
        self.id = self.id or str(told.get("responseId") or "")
        self.model = self.model or str(told.get("modelVersion") or "")
        out: list[Piece] = []
        candidates = [item for item in told.get("candidates") or () if isinstance(item, dict)]
        for candidate in candidates:
            self._parts(candidate, out)
        for candidate in candidates:  # after all of them: one that broke is a failure only where none has written
            self._finish(candidate, out)
        blocked = (told.get("promptFeedback") or {}).get("blockReason")
        if blocked and not candidates:
            self._block(str(blocked), out)
        self._consumed(told.get("usageMetadata"))
        return out

    def whole(self, told: dict[str, Any]) -> Sequence[Piece]:
        self._finished = True
        out = self.hear(told)
        self.done = True
        if self.failure is None and not told.get("candidates"):
            self.failure = no_answer(told, self._quirks, "the answer has no candidates")
        return out

    def _parts(self, candidate: Mapping[str, Any], out: list[Piece]) -> None:
        at = _place(candidate)
        for part in (candidate.get("content") or {}).get("parts") or ():
            if isinstance(text := part.get("text"), str) and text:
                out.append(Piece("thinking" if part.get("thought") else "text", text, at))
                self._wrote = self._wrote or not part.get("thought")
            elif isinstance(call := part.get("functionCall"), dict):
                self._call(call, part.get("thoughtSignature"), at, out)

    def _call(self, call: Mapping[str, Any], signature: Any, at: int, out: list[Piece]) -> None:
        """A call comes whole; its signature has to come back with it, so it is told before the call begins."""
        place = self._calls.get(at, 0)
        self._calls[at] = place + 1
        self._wrote = True
        arguments = jsonio.dumps(call.get("args") or {})
        made = f"call_{self.id or format(crc32(arguments), '08x')}_{at}_{place}"
        call_id = str(call.get("id") or made)
        if isinstance(signature, str) and signature:
            out.append(Piece("signature", signature, at, place, call_id))
        out.append(Piece("call", "", at, place, call_id, str(call.get("name") or "")))
        out.append(Piece("arguments", arguments.decode(), at, place))

    def _finish(self, candidate: Mapping[str, Any], out: list[Piece]) -> None:
        reason = candidate.get("finishReason")
        if not isinstance(reason, str) or reason == NOT_YET:
            return
        self._finished = True
        at = _place(candidate)
        if reason in BROKEN and not self._wrote:
            told = str(candidate.get("finishMessage") or f"the vendor ended its answer with {reason}")
            self.failure = Failure(BROKEN[reason], told, 200, reason)
            return
        finish = FINISHES.get(reason, "stop")
        out.append(Piece("finish", "tool_calls" if finish == "stop" and self._calls.get(at) else finish, at))

    def _block(self, reason: str, out: list[Piece]) -> None:
        """The prompt was refused: there is no answer."""
        self._finished = True
        if self._wrote:
            out.append(Piece("finish", "content_filter"))
        else:
            self.failure = Failure(Fault.CONTENT_FILTERED, f"the vendor blocked the prompt: {reason}", 200, reason)

    def _consumed(self, told: Any) -> None:
        self.consume(lambda less: usage_of(told, less), final=self._finished)
        self.service_tier = service_tier(told) or self.service_tier


def _place(candidate: Mapping[str, Any]) -> int:
    index = candidate.get("index")
    return index if isinstance(index, int) else 0
