"""Pieces as a chat completion, plain or streamed: what an OpenAI client gets from a vendor of another dialect."""

from collections.abc import Sequence
from typing import Any

from router.core import jsonio
from router.core.errors import RouterError
from router.core.usage import Usage
from router.dialects import openai
from router.dialects.pieces import Bill, Listener, Piece


def usage_shown(usage: Usage, bill: Bill) -> bytes:
    """A usage in OpenAI's words, with what it costs."""
    prompt, completion = usage.input_total, usage.output_total
    told: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": _told(
            cached_tokens=usage.cache_read or 0,
            cache_write_tokens=_sum(usage.cache_write_5m, usage.cache_write_1h),
            audio_tokens=usage.input_audio,
        ),
        "completion_tokens_details": _told(
            reasoning_tokens=usage.output_reasoning or 0,
            audio_tokens=usage.output_audio,
            rejected_prediction_tokens=usage.output_rejected,
        ),
    }
    members = bill(usage)
    return jsonio.dumps(told)[:-1] + (b"," + members if members else b"") + b"}"


def _sum(*counts: int | None) -> int | None:
    told = [count for count in counts if count is not None]
    return sum(told) if told else None


def _told(**counts: int | None) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count is not None}


class OpenAISpeaker:
    """One answer to an OpenAI client.

    Args:
        model: what it is told that it asked.
        created: seconds since 1970.
        wants_usage: whether it asked for the final usage event of a stream.
        bill: what a usage costs.

    """

    __slots__ = ("_bill", "_calls", "_created", "_finished", "_head", "_model", "_signed", "_tail", "_wants_usage")

    def __init__(self, model: str, created: int, bill: Bill, *, wants_usage: bool) -> None:
        self._model = model
        self._created = created
        self._wants_usage = wants_usage
        self._bill = bill
        self._head = b""
        self._tail = b',"usage":null}\n\n' if wants_usage else b"}\n\n"
        self._calls: dict[tuple[int, int], int] = {}
        self._finished: set[int] = set()
        self._signed: dict[str, str] = {}  # id of a call that is about to begin → its signature

    def begin(self, listener: Listener) -> bytes:
        head = {"id": _id(listener), "object": "chat.completion.chunk", "created": self._created, "model": self._model}
        self._head = b"data: " + jsonio.dumps(head)[:-1] + b',"choices":[{"index":'
        return self._chunk(0, b'{"role":"assistant","content":""}')

    def _chunk(self, choice: int, delta: bytes, finish: bytes = b"null") -> bytes:
        head = self._head + b"%d" % choice + b',"delta":' + delta
        return head + b',"finish_reason":' + finish + b"}]" + self._tail

    def say(self, pieces: Sequence[Piece]) -> bytes:
        out = []
        for piece in pieces:
            kind, text, choice = piece.kind, piece.text, piece.choice
            if kind == "text":
                out.append(self._chunk(choice, b'{"content":' + jsonio.dumps(text) + b"}"))
            elif kind == "thinking":
                out.append(self._chunk(choice, b'{"reasoning_content":' + jsonio.dumps(text) + b"}"))
            elif kind == "arguments":
                place = self._place(piece)
                delta = b'{"tool_calls":[{"index":%d,"function":{"arguments":' % place + jsonio.dumps(text) + b"}}]}"
                out.append(self._chunk(choice, delta))
            elif kind == "call":
                call = {"index": self._place(piece), "id": piece.id, "type": "function"}
                told = {**call, "function": {"name": piece.name, "arguments": ""}, **_signature(self._signed, piece)}
                out.append(self._chunk(choice, jsonio.dumps({"tool_calls": [told]})))
            elif kind == "refusal":
                out.append(self._chunk(choice, jsonio.dumps({"refusal": text})))
            elif kind == "signature" and piece.id:
                self._signed[piece.id] = text
            elif kind == "finish" and choice not in self._finished:
                self._finished.add(choice)
                out.append(self._chunk(choice, b"{}", jsonio.dumps(text)))
        return b"".join(out)

    def _place(self, piece: Piece) -> int:
        """Calls are counted from 0 in each choice, whatever their places were at the vendor."""
        key = (piece.choice, piece.call)
        if key not in self._calls:
            self._calls[key] = sum(choice == piece.choice for choice, _ in self._calls)
        return self._calls[key]

    def end(self, usage: Usage | None) -> bytes:
        out = b"" if self._finished else self.say([Piece("finish", "stop")])
        if self._wants_usage and usage is not None:
            head = self._head.removesuffix(b'[{"index":')
            out += head + b'[],"usage":' + usage_shown(usage, self._bill) + b"}\n\n"
        return out + b"data: [DONE]\n\n"

    def fail(self, error: RouterError) -> bytes:
        return openai.show_error_event(error)

    def whole(self, listener: Listener, pieces: Sequence[Piece]) -> bytes:
        reply = {
            "id": _id(listener),
            "object": "chat.completion",
            "created": self._created,
            "model": self._model,
            "choices": [
                _choice(choice, [piece for piece in pieces if piece.choice == choice])
                for choice in sorted({piece.choice for piece in pieces} or {0})
            ],
        }
        raw = jsonio.dumps(reply)
        if listener.usage is None:
            return raw
        return raw[:-1] + b',"usage":' + usage_shown(listener.usage, self._bill) + b"}"


def _id(listener: Listener) -> str:
    return listener.id if listener.id.startswith("chatcmpl") else f"chatcmpl-{listener.id or 'farebox'}"


def _signature(signed: dict[str, str], call: Piece) -> dict[str, Any]:
    """What a call is signed with, where Google's own OpenAI layer has it: the client sends it back without knowing it."""
    signature = signed.pop(call.id, "")
    return {openai.SIGNED: {"google": {"thought_signature": signature}}} if signature else {}


def _choice(index: int, pieces: Sequence[Piece]) -> dict[str, Any]:
    def joined(kind: str) -> str | None:
        return "".join(piece.text for piece in pieces if piece.kind == kind) or None

    calls: dict[int, dict[str, Any]] = {}
    signed = {piece.id: piece.text for piece in pieces if piece.kind == "signature" and piece.id}
    for piece in pieces:
        if piece.kind == "call":
            calls[piece.call] = {
                "id": piece.id,
                "type": "function",
                "function": {"name": piece.name, "arguments": ""},
                **_signature(signed, piece),
            }
        elif piece.kind == "arguments" and piece.call in calls:
            calls[piece.call]["function"]["arguments"] += piece.text
    for call in calls.values():
        call["function"]["arguments"] = call["function"]["arguments"] or "{}"
    text, thinking = joined("text"), joined("thinking")
    message: dict[str, Any] = {"role": "assistant", "content": text if text or calls else ""}
    message["refusal"] = joined("refusal")
    if thinking:
        message["reasoning_content"] = thinking
    if calls:
        message["tool_calls"] = list(calls.values())
    finish = next((piece.text for piece in pieces if piece.kind == "finish"), "stop")
    return {"index": index, "message": message, "logprobs": None, "finish_reason": finish}
