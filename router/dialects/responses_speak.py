"""Pieces as a response of OpenAI's Responses wire, plain or streamed: what its client gets from a vendor of another dialect.

Events are named and numbered: the response is created and in progress; each item is added, grows and is done; the response
is completed, incomplete or failed, and there is no `[DONE]` (types and accumulator of the openai package 3.54, 2026-11).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from router.core import jsonio
from router.core.errors import RouterError
from router.core.usage import Usage
from router.dialects.pieces import Bill, Listener, Piece
from router.dialects.responses_usage import usage_estimated, usage_shown

FOREIGN = "rs_farebox_"
"""Begins the id of a thought that a vendor of another wire had: one of this wire would look for it in vain."""
REASONS: Mapping[str, str] = {"length": "max_output_tokens", "content_filter": "content_filter"}

# Kind of piece → (its part's type and field, the place of the part, the stem of its events).
_PARTS: Mapping[str, tuple[str, str, bytes, str]] = {
    "text": ("output_text", "text", b'"content_index":0', "output_text"),
    "refusal": ("refusal", "refusal", b'"content_index":0', "refusal"),
    "thinking": ("summary_text", "text", b'"summary_index":0', "reasoning_summary_text"),
}


class ResponsesSpeaker:
    """One answer to a client of the Responses wire.

    Args:
        asked: the client's body, of which a response repeats a good part.
        model: what it is told that it asked.
        prompt: the estimate of the prompt, told where no vendor says its usage.
        created: seconds since 1970.
        bill: what a usage costs.

    """

    __slots__ = (
        "_asked", "_bill", "_calls", "_created", "_finish", "_id", "_items", "_kind", "_model", "_prompt", "_seq", "_texts",
        "_written",
    )  # fmt: skip

    def __init__(self, asked: Mapping[str, Any], model: str, prompt: int, created: int, bill: Bill) -> None:
        self._asked = asked
        self._model = model
        self._prompt = prompt
        self._created = created
        self._bill = bill
        self._id = ""
        self._seq = 0
        self._items: list[dict[str, Any]] = []  # the output
        self._texts: list[list[str]] = []  # what each item says, so far
        self._kind = ""  # of the item of words or thoughts that is open: it is the newest
        self._calls: dict[int, int] = {}  # place of a call → its item; they stay open, as their parts may alternate
        self._finish = "stop"
        self._written = 0

    def begin(self, listener: Listener) -> bytes:
        self._name(listener)
        begun = jsonio.dumps(self._response("in_progress"))
        return self._event("response.created", b'"response":' + begun) + self._event(
            "response.in_progress", b'"response":' + begun
        )

    def _name(self, listener: Listener) -> None:
        self._id = listener.id if listener.id.startswith("resp_") else f"resp_{listener.id or 'farebox'}"

    def say(self, pieces: Sequence[Piece]) -> bytes:
        out: list[bytes] = []
        for kind, text, _, call, call_id, name in pieces:
            if kind in _PARTS:
                if self._kind != kind:
                    self._enter(kind, out)
                _, _, place, stem = _PARTS[kind]
                self._delta(out, len(self._items) - 1, f"response.{stem}.delta", place, text)
            elif kind == "arguments" and call in self._calls:
                self._delta(out, self._calls[call], "response.function_call_arguments.delta", b"", text)
            elif kind == "call":
                self._leave(out, "completed")
                self._calls[call] = len(self._items)
                made = {"id": self._item_id("fc_"), "type": "function_call", "status": "in_progress"}
                self._add(out, {**made, "call_id": call_id, "name": name, "arguments": ""})
            elif kind == "finish":
                self._finish = text
        return b"".join(out)

    def _item_id(self, prefix: str) -> str:
        return f"{prefix}{self._id.removeprefix('resp_')}_{len(self._items)}"

    def _add(self, out: list[bytes], item: dict[str, Any]) -> None:
        self._items.append(item)
        self._texts.append([])
        told = b'"output_index":%d,"item":' % (len(self._items) - 1) + jsonio.dumps(item)
        out.append(self._event("response.output_item.added", told))

    def _enter(self, kind: str, out: list[bytes]) -> None:
        self._leave(out, "completed")
        self._kind = kind
        if kind == "thinking":
            self._add(out, {"id": self._item_id(FOREIGN), "type": "reasoning", "summary": []})
        else:
            made = {"id": self._item_id("msg_"), "type": "message", "role": "assistant", "status": "in_progress"}
            self._add(out, {**made, "content": []})
        name = "response.reasoning_summary_part.added" if kind == "thinking" else "response.content_part.added"
        out.append(self._event(name, self._at(len(self._items) - 1, _PARTS[kind][2]) + b',"part":' + _part(kind, "")))

    def _leave(self, out: list[bytes], status: str) -> None:
        """The item of words or thoughts that is open is done."""
        if not (kind := self._kind):
            return
        self._kind = ""
        index = len(self._items) - 1
        _, field, place, stem = _PARTS[kind]
        text, at = "".join(self._texts[index]), self._at(index, place)
        part = _part(kind, text)
        told = b',"%b":' % field.encode() + jsonio.dumps(text) + (b',"logprobs":[]' if kind == "text" else b"")
        out.append(self._event(f"response.{stem}.done", at + told))
        name = "response.reasoning_summary_part.done" if kind == "thinking" else "response.content_part.done"
        out.append(self._event(name, at + b',"part":' + part))
        item = self._items[index]
        item["summary" if kind == "thinking" else "content"] = [jsonio.loads(part)]
        if kind != "thinking":
            item["status"] = status
        self._is_done(out, index)

    def _is_done(self, out: list[bytes], index: int) -> None:
        told = b'"output_index":%d,"item":' % index + jsonio.dumps(self._items[index])
        out.append(self._event("response.output_item.done", told))

    def _close(self, out: list[bytes]) -> str:
        """Everything that is open is done; returns the status of the response."""
        status = "incomplete" if self._finish in REASONS else "completed"
        self._leave(out, status)
        for index in self._calls.values():
            item = self._items[index]
            item["arguments"], item["status"] = "".join(self._texts[index]) or "{}", status
            told = {"arguments": item["arguments"], "name": item["name"]}
            at = self._at(index, b"") + b"," + jsonio.dumps(told)[1:-1]
            out.append(self._event("response.function_call_arguments.done", at))
            self._is_done(out, index)
        return status

    def _at(self, index: int, place: bytes) -> bytes:
        head = b'"item_id":' + jsonio.dumps(self._items[index]["id"]) + b',"output_index":%d' % index
        return head + b"," + place if place else head

    def _delta(self, out: list[bytes], index: int, name: str, place: bytes, text: str) -> None:
        self._written += 1
        self._texts[index].append(text)
        told = self._at(index, place) + b',"delta":' + jsonio.dumps(text)
        out.append(self._event(name, told + (b',"logprobs":[]' if name == "response.output_text.delta" else b"")))

    def _event(self, name: str, members: bytes) -> bytes:
        self._seq += 1
        return event(name, self._seq - 1, members)

    def end(self, usage: Usage | None) -> bytes:
        out: list[bytes] = []
        status = self._close(out)
        out.append(self._event(f"response.{status}", b'"response":' + self._whole(status, usage)))
        return b"".join(out)

    def fail(self, error: RouterError) -> bytes:
        self._seq += 2
        return failing(error, self._response("failed"), self._seq - 2)

    def whole(self, listener: Listener, pieces: Sequence[Piece]) -> bytes:
        self._name(listener)
        self.say(pieces)
        return self._whole(self._close([]), listener.usage)

    def _whole(self, status: str, usage: Usage | None) -> bytes:
        response = self._response(status)
        if status == "incomplete":
            response["incomplete_details"] = {"reason": REASONS[self._finish]}
        del response["usage"]
        shown = usage_estimated(self._prompt, self._written) if usage is None else usage_shown(usage, self._bill(usage))
        return jsonio.dumps(response)[:-1] + b',"usage":' + shown + b"}"

    def _response(self, status: str) -> dict[str, Any]:
        """The object that repeats what was asked. Nothing is stored, whatever was asked for."""
        asked = self._asked
        reasoning, text = asked.get("reasoning"), asked.get("text")
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": asked.get("instructions"),
            "max_output_tokens": asked.get("max_output_tokens"),
            "model": self._model,
            "output": self._items,
            "parallel_tool_calls": asked.get("parallel_tool_calls") is not False,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None, **(reasoning if isinstance(reasoning, dict) else {})},
            "store": False,
            "temperature": asked.get("temperature"),
            "text": {"format": {"type": "text"}, **(text if isinstance(text, dict) else {})},
            "tool_choice": asked.get("tool_choice") or "auto",
            "tools": [{"strict": None, "parameters": None, **tool} for tool in asked.get("tools") or ()],
            "top_p": asked.get("top_p"),
            "truncation": "disabled",
            "usage": None,
            "user": asked.get("user"),
            "metadata": asked.get("metadata") or {},
        }


def _part(kind: str, text: str) -> bytes:
    name, field, _, _ = _PARTS[kind]
    more: dict[str, Any] = {"annotations": [], "logprobs": []} if kind == "text" else {}
    return jsonio.dumps({"type": name, field: text, **more})


def event(name: str, number: int, members: bytes) -> bytes:
    """One event of this wire; `members` are the JSON members (without braces) that it has besides."""
    kind = name.encode()
    return b"event: %b\ndata: " % kind + b'{"type":"%b","sequence_number":%d,' % (kind, number) + members + b"}\n\n"


def failing(error: RouterError, response: Mapping[str, Any], number: int) -> bytes:
    """A stream that cannot go on: the error, flat as the types have it and in an object as recorded traffic has it, which
    OpenAI's clients raise; then the response that failed of it.
    """
    told = {"code": error.code, "message": error.message, "param": error.param}
    members = jsonio.dumps({**told, "error": {"type": error.kind, **told}})[1:-1]
    failed = {**response, "status": "failed", "error": {"code": "server_error", "message": error.message}}
    return event("error", number, members) + event("response.failed", number + 1, b'"response":' + jsonio.dumps(failed))
