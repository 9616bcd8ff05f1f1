"""Answers on the Anthropic wire: a vendor's as pieces, and pieces as what an Anthropic client gets.

Events are named, in this order: `message_start` with the prompt's usage, blocks (`content_block_start`, `_delta`, `_stop`),
`message_delta` with the stop reason and the usage so far, `message_stop` (docs.anthropic.com/en/api/streaming, 2026-11).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from router.core import jsonio
from router.core.catalog import Quirks
from router.core.errors import RouterError
from router.core.usage import Usage, count
from router.dialects import anthropic
from router.dialects.anthropic_usage import FAULTS, failure_of, service_tier, usage_of, usage_shown
from router.dialects.faults import no_answer
from router.dialects.pieces import Bill, Finish, Listener, Piece
from router.dialects.watch import Watch, Watching

FINISHES: Mapping[str, Finish] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
STOP_REASONS: Mapping[str, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
FOREIGN = "farebox."
"""Begins the signature of a thought that another vendor signed, or nobody: Anthropic would refuse it (see `anthropic_body`)."""

# What a block or a delta of it says: its type → (the kind of piece, the field with the text).
_SAYS: Mapping[Any, tuple[Any, str]] = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("signature", "signature"),
    "input_json_delta": ("arguments", "partial_json"),
}


class AnthropicListener(Listener):
    """One answer of a vendor on the Anthropic wire."""

    __slots__ = ("_quirks", "_told", "_tools")

    def __init__(self, quirks: Quirks) -> None:
        super().__init__()
        self._quirks = quirks
        self._told: dict[str, Any] = {}  # the usage, field by field: later events restate or add
        self._tools: set[Any] = set()  # blocks that are calls of the client's tools

    def hear(self, told: dict[str, Any]) -> Sequence[Piece]:
        kind = told.get("type")
        if kind == "content_block_delta":
            delta, index = told["delta"], told["index"]
            says = _SAYS.get(delta.get("type"))
            if says is None or (says[0] == "arguments" and index not in self._tools):
                return ()
            return (Piece(says[0], _text(delta.get(says[1])), 0, index),)
        if kind == "content_block_start":
            return self._block(told["content_block"], told["index"])
        if kind == "message_delta":
            usage = told.get("usage")
            self._consumed(usage, final=isinstance(usage, dict) and count(usage.get("output_tokens")) is not None)
            return self._stopped(told.get("delta"))
        if kind == "message_start":
            message = told.get("message")
            if isinstance(message, dict):
                self._head(message)
                self._consumed(message.get("usage"), final=False)
        elif kind == "message_stop":
            self.done = True
        elif kind == "error":
            self.failure = failure_of(told, 200, {}, self._quirks)
        return ()

    def whole(self, told: dict[str, Any]) -> Sequence[Piece]:
        self.failure = failure_of(told, 200, {}, self._quirks)
        if self.failure is not None:
            return ()
        self._head(told)
        self._consumed(told.get("usage"), final=True)
        out: list[Piece] = []
        content = told.get("content")
        if not isinstance(content, list):
            self.failure = no_answer(told, self._quirks, "the answer has no content", FAULTS)
            return ()
        for index, block in enumerate(content):
            if isinstance(block, dict):
                out += self._block(block, index)
                if block.get("type") == "tool_use":
                    out.append(Piece("arguments", jsonio.dumps(block.get("input") or {}).decode(), 0, index))
        self.done = True
        return [*out, *self._stopped(told)]

    def _head(self, message: Mapping[str, Any]) -> None:
        self.id, self.model = str(message.get("id") or ""), str(message.get("model") or "")

    def _block(self, block: Mapping[str, Any], index: int) -> list[Piece]:
        """A block as it begins; in a plain answer that is all of it."""
        match block.get("type"):
            case "text" if block.get("text"):
                return [Piece("text", _text(block["text"]), 0, index)]
            case "thinking" if block.get("thinking") or block.get("signature"):
                said = [Piece("thinking", _text(block.get("thinking")), 0, index)]
                return [*said, Piece("signature", _text(block.get("signature")), 0, index)]
            case "redacted_thinking":
                return [Piece("redacted", _text(block.get("data")), 0, index)]
            case "tool_use":
                self._tools.add(index)
                return [Piece("call", "", 0, index, str(block.get("id")), str(block.get("name")))]
        return []

    def _stopped(self, told: Any) -> list[Piece]:
        reason = told.get("stop_reason") if isinstance(told, dict) else None
        return [Piece("finish", FINISHES.get(reason, "stop"))] if reason else []

    def _consumed(self, told: Any, *, final: bool) -> None:
        if not isinstance(told, dict):
            return
        self._told.update({name: value for name, value in told.items() if value is not None})
        self.service_tier = service_tier(self._told)
        self.consume(lambda less: usage_of(self._told, less), final=final)


def _text(told: Any) -> str:
    """A text, "" for none. Raises `TypeError` for what is neither, which is the vendor's failure."""
    if isinstance(told, str):
        return told
    if told:
        raise TypeError("a text is none")
    return ""


class AnthropicSpeaker:
    """One answer to an Anthropic client.

    Args:
        model: what it is told that it asked.
        prompt: the estimate that `message_start` has to tell before any vendor says; the end has the true count.
        bill: what a usage costs.

    """

    __slots__ = ("_bill", "_blocks", "_calls", "_finish", "_model", "_open", "_prompt", "_written")

    def __init__(self, model: str, prompt: int, bill: Bill) -> None:
        self._model = model
        self._prompt = prompt
        self._bill = bill
        self._blocks = 0  # begun so far
        self._open = ""  # the kind of the block of text or thinking that is open: it is the newest
        self._calls: dict[int, int] = {}  # place of a call → its block; they stay open, as their parts may alternate
        self._finish = "stop"
        self._written = 0

    def begin(self, listener: Listener) -> bytes:
        usage = (
            usage_shown(listener.usage, b"")
            if listener.usage is not None
            else b'{"input_tokens":%d,"output_tokens":0}' % self._prompt
        )
        head = jsonio.dumps(self._head(listener))[:-1]
        return _event(b"message_start", b'{"type":"message_start","message":' + head + b',"usage":' + usage + b"}}")

    def _head(self, listener: Listener) -> dict[str, Any]:
        made = listener.id if listener.id.startswith("msg_") else f"msg_{listener.id or 'farebox'}"
        return {
            "id": made,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
        }

    def say(self, pieces: Sequence[Piece]) -> bytes:
        out: list[bytes] = []
        for kind, text, _, call, call_id, name in pieces:
            if kind in {"text", "refusal"}:
                self._enter("text", out)
                self._delta(out, self._blocks - 1, b'{"type":"text_delta","text":', text)
            elif kind == "thinking":
                self._enter("thinking", out)
                self._delta(out, self._blocks - 1, b'{"type":"thinking_delta","thinking":', text)
            elif kind == "arguments" and call in self._calls:
                self._delta(out, self._calls[call], b'{"type":"input_json_delta","partial_json":', text)
            elif kind == "call":
                self._leave(out)
                self._calls[call] = self._blocks
                self._start(out, {"type": "tool_use", "id": call_id, "name": name, "input": {}})
            elif kind == "finish":
                self._finish = text
        return b"".join(out)

    def _enter(self, kind: str, out: list[bytes]) -> None:
        if self._open == kind:
            return
        self._leave(out)
        self._open = kind
        self._start(out, {"type": kind, kind: ""} | ({"signature": ""} if kind == "thinking" else {}))

    def _leave(self, out: list[bytes]) -> None:
        if self._open == "thinking":
            self._delta(out, self._blocks - 1, b'{"type":"signature_delta","signature":', FOREIGN)
        if self._open:
            out.append(_stop(self._blocks - 1))
            self._open = ""

    def _start(self, out: list[bytes], block: Mapping[str, Any]) -> None:
        told = {"type": "content_block_start", "index": self._blocks, "content_block": block}
        out.append(_event(b"content_block_start", jsonio.dumps(told)))
        self._blocks += 1

    def _delta(self, out: list[bytes], index: int, head: bytes, text: str) -> None:
        self._written += 1
        told = b'{"type":"content_block_delta","index":%d,"delta":' % index + head + jsonio.dumps(text) + b"}}"
        out.append(_event(b"content_block_delta", told))

    def end(self, usage: Usage | None) -> bytes:
        out: list[bytes] = []
        self._leave(out)
        out += [_stop(index) for index in self._calls.values()]
        shown = _counted(self._written) if usage is None else usage_shown(usage, self._bill(usage))
        return b"".join([*out, _ending(STOP_REASONS.get(self._finish, "end_turn"), shown)])

    def fail(self, error: RouterError) -> bytes:
        return anthropic.show_error_event(error)

    def whole(self, listener: Listener, pieces: Sequence[Piece]) -> bytes:
        content: list[dict[str, Any]] = []
        calls: dict[int, dict[str, Any]] = {}
        for piece in pieces:
            kind = "text" if piece.kind == "refusal" else piece.kind
            if kind in {"text", "thinking"}:
                if not content or content[-1]["type"] != kind:
                    extra = {"signature": FOREIGN} if kind == "thinking" else {}
                    content.append({"type": kind, kind: "", **extra})
                content[-1][kind] += piece.text
            elif kind == "call":
                calls[piece.call] = {"type": "tool_use", "id": piece.id, "name": piece.name, "input": ""}
                content.append(calls[piece.call])
            elif kind == "arguments" and piece.call in calls:
                calls[piece.call]["input"] += piece.text
            elif kind == "finish":
                self._finish = piece.text
        for call in calls.values():
            call["input"] = _object(call["input"])
        message = {
            **self._head(listener),
            "content": content,
            "stop_reason": STOP_REASONS.get(self._finish, "end_turn"),
        }
        usage = listener.usage
        shown = (
            b'{"input_tokens":%d,"output_tokens":%d,"estimated":true}' % (self._prompt, len(content))
            if usage is None
            else usage_shown(usage, self._bill(usage))
        )
        return jsonio.dumps(message)[:-1] + b',"usage":' + shown + b"}"


def _object(text: str) -> Any:
    """A call's arguments as an object; what is none, as some models write, is handed over as it is."""
    try:
        value = jsonio.loads_reply(text.encode("utf-8", "surrogatepass")) if text else {}
    except jsonio.NotJson:
        return {"arguments": text}
    return value if isinstance(value, dict) else {"arguments": value}


def _stop(index: int) -> bytes:
    return _event(b"content_block_stop", b'{"type":"content_block_stop","index":%d}' % index)


def _event(name: bytes, data: bytes) -> bytes:
    return b"event: " + name + b"\ndata: " + data + b"\n\n"


def _ending(reason: str, usage: bytes) -> bytes:
    stop = jsonio.dumps({"stop_reason": reason, "stop_sequence": None})
    told = b'{"type":"message_delta","delta":' + stop + b',"usage":' + usage + b"}"
    return _event(b"message_delta", told) + _event(b"message_stop", b'{"type":"message_stop"}')


def _counted(written: int) -> bytes:
    """The usage where the vendor has not said it: each delta is a token at least."""
    return b'{"output_tokens":%d,"estimated":true}' % written


def _closing(watch: Watch) -> bytes:
    return _ending("max_tokens", _counted(watch.written))


WATCHING = Watching(
    listener=AnthropicListener,
    tells=re.compile(rb'"(?:usage|error|message_stop)"'),
    delta=b'"content_block_delta"',
    place=("usage",),
    closing=_closing,
    error=lambda error, _: anthropic.show_error_event(error),
)
