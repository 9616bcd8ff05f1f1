"""Answers on the OpenAI wire as pieces, for clients of other dialects."""

from collections.abc import Sequence
from typing import Any

from router.core.catalog import Quirks
from router.dialects.faults import no_answer
from router.dialects.openai_errors import FAULTS, PLAIN, carries, choices_of, failure_of, finish_failure
from router.dialects.openai_usage import find, usage_of, vendor_cost_nano
from router.dialects.pieces import Finish, Listener, Piece

# What vendors on this wire write besides OpenAI's own reasons; whatever else there is ends an answer like any other.
FINISHES: dict[str, Finish] = {
    "stop": "stop", "length": "length", "tool_calls": "tool_calls", "function_call": "tool_calls",
    "content_filter": "content_filter", "sensitive": "content_filter", "model_context_window_exceeded": "length",
}  # fmt: skip


class OpenAIListener(Listener):
    """One answer of a vendor on the OpenAI wire."""

    __slots__ = ("_calls", "_quirks", "_wrote")

    def __init__(self, quirks: Quirks = PLAIN) -> None:
        super().__init__()
        self._quirks = quirks
        self._calls: set[tuple[int, int]] = set()  # (choice, place) of the calls that have begun
        self._wrote = False

    def hear(self, told: dict[str, Any]) -> Sequence[Piece]:
        # a closing frame that has the whole message again has it as `message`, which is not read here
        out = self._choices(told, "delta")
        self._wrote = self._wrote or any(piece.kind != "finish" for piece in out)
        self._fail_by_finish(told, carried=self._wrote)
        return out

    def whole(self, told: dict[str, Any]) -> Sequence[Piece]:
        out = self._choices(told, "message")
        if self.failure is None and not isinstance(told.get("choices"), list):
            self.failure = no_answer(told, self._quirks, "the answer has no choices", FAULTS)
            return ()
        self._fail_by_finish(told, carried=carries(told))
        self.done = True
        return out

    def _choices(self, told: dict[str, Any], name: str) -> list[Piece]:
        """What each choice says under `name`, and how it finished; nothing where an error is told."""
        out: list[Piece] = []
        self._consumed(told)
        self.failure = failure_of(told, 200, {}, self._quirks)
        if self.failure is not None:
            return out
        self._head(told)
        for choice in choices_of(told):
            at = choice.get("index")
            at = at if isinstance(at, int) else 0
            if isinstance(part := choice.get(name), dict):
                self._parts(part, at, out)
            self._finish(choice, at, out)
        return out

    def _head(self, told: dict[str, Any]) -> None:
        if not self.id and isinstance(said := told.get("id"), str):
            self.id = said
        if not self.model and isinstance(said := told.get("model"), str):
            self.model = said
        if isinstance(tier := told.get("service_tier"), str):
            self.service_tier = tier

    def _parts(self, part: dict[str, Any], at: int, out: list[Piece]) -> None:
        """The pieces of a message or a delta: thinking first, as it was written first."""
        thinking = part.get("reasoning_content") or part.get("reasoning")
        if isinstance(thinking, str) and thinking:
            out.append(Piece("thinking", thinking, at))
        content = part.get("content")
        if isinstance(content, str):
            if content:
                out.append(Piece("text", content, at))
        elif isinstance(content, list):
            for item in content:
                out += _listed(item, at)
        if isinstance(refusal := part.get("refusal"), str) and refusal:
            out.append(Piece("refusal", refusal, at))
        calls = part.get("tool_calls")
        for place, call in enumerate(calls if isinstance(calls, list) else ()):
            if isinstance(call, dict):
                self._call(call, at, place, out)

    def _call(self, call: dict[str, Any], at: int, place: int, out: list[Piece]) -> None:
        index = call.get("index")
        index = index if isinstance(index, int) else place
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        if (at, index) not in self._calls:
            self._calls.add((at, index))
            call_id = str(call.get("id") or f"call_{self.id or 'farebox'}_{index}")
            out.append(Piece("call", "", at, index, call_id, str(function.get("name") or "")))
        if isinstance(arguments := function.get("arguments"), str) and arguments:
            out.append(Piece("arguments", arguments, at, index))

    def _finish(self, choice: dict[str, Any], at: int, out: list[Piece]) -> None:
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            out.append(Piece("finish", FINISHES.get(reason, "stop"), at))

    def _fail_by_finish(self, told: dict[str, Any], *, carried: bool) -> None:
        failure = finish_failure(told, self._quirks)
        if failure is not None and not (failure.callers and carried):
            self.failure = self.failure or failure

    def _consumed(self, told: dict[str, Any]) -> None:
        found = find(told, self._quirks)
        if found is None:
            return
        before = self.usage
        self.consume(lambda less: usage_of(found, self._quirks, less))
        if self.usage is not before:
            self.vendor_cost_nano = vendor_cost_nano(found, self._quirks)


def _listed(item: Any, at: int) -> list[Piece]:
    """A part of a content that is a list: text, or thinking that is itself a list of texts (Mistral, 2026-11)."""
    if not isinstance(item, dict):
        return []
    if isinstance(text := item.get("text"), str):
        return [Piece("text", text, at)] if text else []
    thoughts = item.get("thinking")
    if isinstance(thoughts, str):
        return [Piece("thinking", thoughts, at)]
    found = [t.get("text") for t in thoughts if isinstance(t, dict)] if isinstance(thoughts, list) else []
    return [Piece("thinking", text, at) for text in found if isinstance(text, str) and text]
