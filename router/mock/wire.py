"""Bodies and chunks on OpenAI's wire. Pure."""

import array
import base64
import hashlib
import itertools
import math
from collections.abc import Iterator
from typing import Any

from router.mock.ask import Ask
from router.mock.reply import Choice, Reply
from router.mock.steer import Knobs

Event = tuple[dict[str, Any], int]  # a chunk, and the tokens it carries


def usage(reply: Reply) -> dict[str, Any]:
    return {
        "prompt_tokens": reply.input,
        "completion_tokens": reply.output,
        "total_tokens": reply.input + reply.output,
        "prompt_tokens_details": {"cached_tokens": reply.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": reply.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def plain(ask: Ask, reply: Reply, knobs: Knobs) -> dict[str, Any]:
    """The whole answer as one body."""
    kind, choice_of = (
        ("chat.completion", _message) if ask.endpoint == "chat/completions" else ("text_completion", _text)
    )
    body = {
        "id": _id(ask, reply),
        "object": kind,
        "created": reply.created,
        "model": ask.model,
        "choices": [choice_of(ask, choice) for choice in reply.choices],
    }
    if not knobs.nousage:
        body["usage"] = usage(reply)
    return body | _FINGERPRINT


def events(ask: Ask, reply: Reply, knobs: Knobs) -> Iterator[Event]:
    """The answer as chunks: one token each, the choices taking turns as they do on the real wire."""
    legacy = ask.endpoint == "completions"
    tail = {"usage": None} if ask.include_usage and not knobs.nousage else {}
    head = {
        "id": _id(ask, reply),
        "object": "text_completion" if legacy else "chat.completion.chunk",
        "created": reply.created,
        "model": ask.model,
        **_FINGERPRINT,
    }
    streams = [(_legacy_deltas if legacy else _deltas)(ask, choice) for choice in reply.choices]
    for turn in itertools.zip_longest(*streams):
        for step in turn:
            if step is not None:
                yield {**head, "choices": [step[0]], **tail}, step[1]
    in_finish = knobs.split and not knobs.nousage
    for choice in reply.choices:
        last = choice is reply.choices[-1]
        end = {"usage": usage(reply)} if in_finish and last else tail
        yield {**head, "choices": [_finish(choice, legacy=legacy)], **end}, 0
    if tail and not in_finish:
        yield {**head, "choices": [], "usage": usage(reply)}, 0


def embeddings(ask: Ask, reply: Reply, knobs: Knobs, seed: int) -> dict[str, Any]:
    data = []
    for index, text in enumerate(ask.texts):
        numbers = vector(f"{seed}\0{ask.model}\0{text}", ask.dimensions)
        shown = base64.b64encode(numbers.tobytes()).decode() if ask.base64 else numbers.tolist()
        data.append({"object": "embedding", "index": index, "embedding": shown})
    body: dict[str, Any] = {"object": "list", "data": data, "model": ask.model}
    if not knobs.nousage:
        body["usage"] = {"prompt_tokens": reply.input, "total_tokens": reply.input}
    return body


def vector(text: str, dimensions: int) -> "array.array[float]":
    """A unit vector that is the text's own. 32-bit floats, so that both encodings say the same."""
    raw = hashlib.shake_128(text.encode("utf-8", "replace")).digest(dimensions)
    length = math.sqrt(sum((b - 127.5) ** 2 for b in raw))
    scale = [(b - 127.5) / length for b in range(256)]
    return array.array("f", [scale[b] for b in raw])


_FINGERPRINT = {"service_tier": "default", "system_fingerprint": "fp_farebox_mock"}


def _id(ask: Ask, reply: Reply) -> str:
    return ("cmpl-" if ask.endpoint == "completions" else "chatcmpl-") + reply.id


def _message(ask: Ask, choice: Choice) -> dict[str, Any]:
    content = None if choice.calls else "".join(choice.pieces)
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None, "annotations": []}
    if choice.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": "".join(call.pieces)}}
            for call in choice.calls
        ]
    return {
        "index": choice.index,
        "message": message,
        "logprobs": None if ask.logprobs is None else _logprobs(choice.pieces, ask.logprobs),
        "finish_reason": choice.finish,
    }


def _text(ask: Ask, choice: Choice) -> dict[str, Any]:
    logprobs = None if ask.logprobs is None else _legacy_logprobs(choice.pieces, ask.logprobs, 0)
    text = "".join(choice.pieces)
    return {"text": text, "index": choice.index, "logprobs": logprobs, "finish_reason": choice.finish}


def _finish(choice: Choice, *, legacy: bool) -> dict[str, Any]:
    if legacy:
        return {"text": "", "index": choice.index, "logprobs": None, "finish_reason": choice.finish}
    return {"index": choice.index, "delta": {}, "logprobs": None, "finish_reason": choice.finish}


def _deltas(ask: Ask, choice: Choice) -> Iterator[Event]:
    def step(delta: dict[str, Any], tokens: int, logprobs: Any = None) -> Event:
        return {"index": choice.index, "delta": delta, "logprobs": logprobs, "finish_reason": None}, tokens

    yield step({"role": "assistant", "content": None if choice.calls else "", "refusal": None}, 0)
    for piece in choice.pieces:
        said = None if ask.logprobs is None else _logprobs((piece,), ask.logprobs)
        yield step({"content": piece}, 1, said)
    for index, call in enumerate(choice.calls):
        opened = {"index": index, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
        yield step({"tool_calls": [opened]}, 0)
        for piece in call.pieces:
            yield step({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}, 1)


def _legacy_deltas(ask: Ask, choice: Choice) -> Iterator[Event]:
    at = 0
    for piece in choice.pieces:
        said = None if ask.logprobs is None else _legacy_logprobs((piece,), ask.logprobs, at)
        at += len(piece)
        yield {"text": piece, "index": choice.index, "logprobs": said, "finish_reason": None}, 1


def _logprob(piece: str) -> float:
    return -(sum(piece.encode("utf-8", "replace")) % 97) / 250


def _logprobs(pieces: tuple[str, ...], top: int) -> dict[str, Any]:
    def one(token: str, value: float) -> dict[str, Any]:
        return {"token": token, "logprob": value, "bytes": list(token.encode("utf-8", "replace"))}

    said = []
    for piece in pieces:
        others = [one(f"{piece}{i}", _logprob(piece) - i) for i in range(1, top)]
        best = [one(piece, _logprob(piece)), *others] if top else []
        said.append({**one(piece, _logprob(piece)), "top_logprobs": best})
    return {"content": said, "refusal": None}


def _legacy_logprobs(pieces: tuple[str, ...], top: int, at: int) -> dict[str, Any]:
    offsets = list(itertools.accumulate(map(len, pieces), initial=at))[:-1]
    best = [{piece: _logprob(piece)} | {f"{piece}{i}": _logprob(piece) - i for i in range(1, top)} for piece in pieces]
    return {
        "tokens": list(pieces),
        "token_logprobs": [_logprob(piece) for piece in pieces],
        "top_logprobs": best if top else None,
        "text_offset": offsets,
    }
