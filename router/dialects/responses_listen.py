"""Answers on the Responses wire as pieces (types of the openai package 3.54, 2026-11).

Events are typed; each item of the output is added, grows by deltas and is done. The last event has the whole response, its
status and its usage; nothing else says that it was the last.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from router.core.catalog import Quirks
from router.core.failure import Failure, Fault
from router.dialects.faults import no_answer
from router.dialects.openai_errors import failure_of
from router.dialects.openai_usage import service_tier, vendor_cost_nano
from router.dialects.pieces import Finish, Kind, Listener, Piece
from router.dialects.responses_usage import usage_of

OPENING = frozenset({"response.created", "response.in_progress", "response.queued"})
ENDING = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
INCOMPLETE: Mapping[Any, Finish] = {
    "max_output_tokens": "length",
    "max_messages": "length",
    "content_filter": "content_filter",
}
# What a delta says. Input of other tools than functions is written too, and counted.
_SAYS: Mapping[str, Kind] = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "refusal",
    "response.reasoning_summary_text.delta": "thinking",
    "response.reasoning_text.delta": "thinking",
    "response.function_call_arguments.delta": "arguments",
    "response.custom_tool_call_input.delta": "arguments",
    "response.mcp_call_arguments.delta": "arguments",
    "response.code_interpreter_call_code.delta": "arguments",
}


class ResponsesListener(Listener):
    """One answer of a vendor on the Responses wire."""

    __slots__ = ("_calls", "_quirks", "_wrote", "response")

    def __init__(self, quirks: Quirks) -> None:
        super().__init__()
        self._quirks = quirks
        self._calls: set[Any] = set()  # places of calls of the client's functions
        self._wrote: set[Any] = set()  # places of items that deltas have told of
        self.response: dict[str, Any] = {}  # as it was when it began

    def hear(self, told: dict[str, Any]) -> Sequence[Piece]:
        kind = told.get("type")
        if says := _SAYS.get(str(kind)):
            index = told.get("output_index")
            self._wrote.add(index)
            delta = told.get("delta")
            return (Piece(says, delta, 0, _place(index)),) if isinstance(delta, str) and delta else ()
        if kind == "response.output_item.added":
            return self._begun(told["item"], told.get("output_index"))
        if kind == "response.output_item.done":
            return self._done(told["item"], told.get("output_index"))
        if kind in OPENING:
            self.response = told["response"]
            self._head(self.response)
        elif kind in ENDING:
            return self._ended(told["response"])
        elif kind == "error":  # its fields stand in an object as recorded, and flat as documented
            said = told.get("error")
            self._failed({"error": said if isinstance(said, dict) and said else told})
        return ()

    def whole(self, told: dict[str, Any]) -> Sequence[Piece]:
        self._failed(told)
        if self.failure is not None:
            self._consumed(told)
            return ()
        self._head(told)
        output = told.get("output")
        if not isinstance(output, list):
            self.failure = no_answer(told, self._quirks, "the answer has no output")
            return ()
        out: list[Piece] = []
        for index, item in enumerate(output):
            out += self._done(item, index)
        return [*out, *self._ended(told)]

    def _head(self, response: Mapping[str, Any]) -> None:
        self.id, self.model = str(response.get("id") or ""), str(response.get("model") or "")

    def _begun(self, item: Mapping[str, Any], index: Any) -> list[Piece]:
        if item.get("type") != "function_call" or index in self._calls:
            return []
        self._calls.add(index)
        call_id = str(item.get("call_id") or item.get("id") or f"call_{self.id or 'farebox'}_{index}")
        return [Piece("call", "", 0, _place(index), call_id, str(item.get("name") or ""))]

    def _done(self, item: Mapping[str, Any], index: Any) -> list[Piece]:
        """An item that is whole: what no delta has told of it."""
        out = self._begun(item, index)
        if index in self._wrote:
            return out
        self._wrote.add(index)
        kind = item.get("type")
        if kind == "function_call":
            return [*out, Piece("arguments", str(item.get("arguments") or "{}"), 0, _place(index))]
        if kind == "message":
            return [*out, *_words(item.get("content"), index)]
        if kind == "reasoning":
            return [*out, *(_words(item.get("summary"), index) or _words(item.get("content"), index))]
        return out

    def _ended(self, response: Mapping[str, Any]) -> list[Piece]:
        self._consumed(response)
        status = response.get("status")
        if status in {"failed", "cancelled"}:
            self._failed(response)
            self.failure = self.failure or Failure(Fault.SERVER, f"the vendor's response has {status}", 200)
            return []
        self.done = True
        if status == "incomplete":
            details = response.get("incomplete_details")
            reason = details.get("reason") if isinstance(details, dict) else None
            return [Piece("finish", INCOMPLETE.get(reason, "stop"))]
        return [Piece("finish", "tool_calls" if self._calls else "stop")]

    def _failed(self, told: Mapping[str, Any]) -> None:
        self.failure = self.failure or failure_of(told, 200, {}, self._quirks)

    def _consumed(self, response: Mapping[str, Any]) -> None:
        self.service_tier = service_tier(response)
        self.consume(lambda less: usage_of(response, self._quirks, less))
        if self.usage is not None:
            self.vendor_cost_nano = vendor_cost_nano(response["usage"], self._quirks)


def _place(index: Any) -> int:
    return index if isinstance(index, int) else 0


def _words(parts: Any, index: Any) -> list[Piece]:
    """Texts, refusals and thoughts of an item."""
    out = []
    kinds: Mapping[Any, Kind] = {
        "output_text": "text",
        "refusal": "refusal",
        "summary_text": "thinking",
        "reasoning_text": "thinking",
    }
    for part in parts if isinstance(parts, list) else ():
        kind = kinds.get(str(part.get("type")))
        text = part.get("refusal" if kind == "refusal" else "text")
        if kind and isinstance(text, str) and text:
            out.append(Piece(kind, text, 0, _place(index)))
    return out
