"""OpenAI's wire: `/chat/completions`, `/completions` and `/embeddings`, read and written. Pure."""

import array
import base64
import hashlib
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

from router.mock import ask as asks
from router.mock import openai_errors
from router.mock.ask import Ask
from router.mock.errors import Refused, invalid
from router.mock.incoming import Incoming
from router.mock.reply import Choice, Reply
from router.mock.steer import Knobs
from router.mock.text import tokens
from router.mock.wires import Frame, Told, Wire


def _chat(incoming: Incoming) -> Ask:
    asked = incoming.json()
    model = asks.model_of(asked)
    messages = asks.objects(asked, "messages")
    last: dict[str, Any] = next((m for m in reversed(messages) if m.get("role") == "user"), {})
    text = _said(last.get("content"))
    shape, extra = _shape(asked.get("response_format"))
    tools = asked.get("tools") or []
    if tools:
        extra += asks.written(tools)
    answered = messages[-1].get("role") == "tool"
    counted = [_message_tokens(message) for message in messages]
    return Ask(
        endpoint="chat/completions",
        model=model,
        texts=(text,),
        prompt_tokens=asks.PER_REQUEST + extra + sum(counted),
        stream=bool(asked.get("stream")),
        include_usage=_include_usage(asked),
        n=asks.choices(asked),
        cap=asks.count(asked, "max_completion_tokens") or asks.count(asked, "max_tokens"),
        stops=asks.stops(asked.get("stop")),
        tools=_called(asked, tools, "" if answered else text),
        shape=shape,
        logprobs=int(asked.get("top_logprobs") or 0) if asked.get("logprobs") else None,
        images=sum(_images(message.get("content")) for message in messages),
    )


def _completion(incoming: Incoming) -> Ask:
    asked = incoming.json()
    model = asks.model_of(asked)
    texts, count = asks.prompts(asked.get("prompt", ""), "prompt")
    return Ask(
        endpoint="completions",
        model=model,
        texts=texts,
        prompt_tokens=count,
        stream=bool(asked.get("stream")),
        include_usage=_include_usage(asked),
        n=asks.choices(asked),
        cap=asks.count(asked, "max_tokens"),
        stops=asks.stops(asked.get("stop")),
        logprobs=asked["logprobs"] if isinstance(asked.get("logprobs"), int) else None,
        echo=bool(asked.get("echo")),
    )


def _embedding(incoming: Incoming) -> Ask:
    asked = incoming.json()
    model = asks.model_of(asked)
    texts, count = asks.prompts(asked.get("input"), "input")
    if asked.get("encoding_format", "float") not in {"float", "base64"}:
        raise invalid("'encoding_format' is 'float' or 'base64'.", "encoding_format")
    packed = asked.get("encoding_format") == "base64"
    return Ask("embeddings", model, texts, count, n=0, dimensions=asks.dimensions_of(asked, model), base64=packed)


def _said(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return " ".join(str(p.get("text", "")) for p in parts if isinstance(p, dict) and p.get("type") == "text")


def _images(content: Any) -> int:
    parts = content if isinstance(content, list) else []
    return sum(not (isinstance(part, dict) and isinstance(part.get("text"), str)) for part in parts)


def _message_tokens(message: dict[str, Any]) -> int:
    content, count = message.get("content"), asks.PER_MESSAGE
    if isinstance(content, str):
        count += tokens(content)
    elif isinstance(content, list):
        count += asks.PER_IMAGE * _images(content)
        count += sum(tokens(p["text"]) for p in content if isinstance(p, dict) and isinstance(p.get("text"), str))
    if message.get("tool_calls"):
        count += asks.written(message["tool_calls"])
    return count


def _include_usage(asked: dict[str, Any]) -> bool:
    options = asked.get("stream_options")
    if not options:
        return False
    if not asked.get("stream"):
        raise invalid("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


def _shape(wanted: Any) -> tuple[Any, int]:
    """The schema the answer must fit, and what it costs in prompt tokens."""
    match wanted:
        case {"type": "json_schema", "json_schema": {"schema": schema}}:
            return schema, asks.written(schema)
        case {"type": "json_schema"}:
            raise invalid("Missing required parameter: 'response_format.json_schema'.", "response_format.json_schema")
        case {"type": "json_object"}:
            return asks.ANY_OBJECT, 0
        case _:
            return None, 0


def _called(asked: dict[str, Any], tools: list[Any], text: str) -> tuple[dict[str, Any], ...]:
    functions = [t["function"] for t in tools if isinstance(t, dict) and isinstance(t.get("function"), dict)]
    choice = asked.get("tool_choice")
    if choice == "none":
        return ()
    function = choice.get("function") if isinstance(choice, dict) else None
    named = str(function.get("name")) if isinstance(function, dict) else ""
    alone = asked.get("parallel_tool_calls") is False
    return asks.called(functions, text, demanded=choice == "required", named=named, alone=alone)


def _usage(reply: Reply) -> dict[str, Any]:
    written = reply.written_5m + reply.written_1h
    return {
        "prompt_tokens": reply.input,
        "completion_tokens": reply.output,
        "total_tokens": reply.input + reply.output,
        "prompt_tokens_details": {"cached_tokens": reply.cached, "audio_tokens": 0}
        | ({"cache_write_tokens": written} if written else {}),
        "completion_tokens_details": {
            "reasoning_tokens": reply.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _plain(ask: Ask, reply: Reply, knobs: Knobs) -> dict[str, Any]:
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
        body["usage"] = _usage(reply)
    return body | _FINGERPRINT


def _events(ask: Ask, reply: Reply, knobs: Knobs) -> Iterator[Frame]:
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
                yield Frame({**head, "choices": [step[0]], **tail}, step[1])
    in_finish = knobs.split and not knobs.nousage
    for choice in reply.choices:
        last = choice is reply.choices[-1]
        end = {"usage": _usage(reply)} if in_finish and last else tail
        yield Frame({**head, "choices": [_finish(choice, legacy=legacy)], **end})
    if tail and not in_finish:
        yield Frame({**head, "choices": [], "usage": _usage(reply)})


def _embedded(ask: Ask, reply: Reply, knobs: Knobs) -> dict[str, Any]:
    data = []
    for index, text in enumerate(ask.texts):
        numbers = vector(f"{reply.seed}\0{ask.model}\0{text}", ask.dimensions)
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
    content = None if choice.calls else choice.text
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None, "annotations": []}
    if choice.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
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
    return {"text": choice.text, "index": choice.index, "logprobs": logprobs, "finish_reason": choice.finish}


def _finish(choice: Choice, *, legacy: bool) -> dict[str, Any]:
    if legacy:
        return {"text": "", "index": choice.index, "logprobs": None, "finish_reason": choice.finish}
    return {"index": choice.index, "delta": {}, "logprobs": None, "finish_reason": choice.finish}


_Step = tuple[dict[str, Any], int]  # what stands in `choices`, and its tokens


def _deltas(ask: Ask, choice: Choice) -> Iterator[_Step]:
    def step(delta: dict[str, Any], tokens: int, logprobs: Any = None) -> _Step:
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


def _legacy_deltas(ask: Ask, choice: Choice) -> Iterator[_Step]:
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


def authorise(incoming: Incoming) -> None:
    openai_errors.authorise(incoming.headers, bare=incoming.vendor == "azure-openai")


def refuse(refused: Refused, _serial: str) -> Told:
    return openai_errors.told(refused)


def _midway(refused: Refused, _ask: Ask, _reply: Reply, _sent: int) -> tuple[Frame, ...]:
    return (Frame(openai_errors.body(refused)),)


def _wire(read: Callable[[Incoming], Ask], plain: Callable[[Ask, Reply, Knobs], Any] = _plain) -> Wire:
    return Wire(authorise, read, plain, refuse, _events, _midway, framing="sse-done")


CHAT = _wire(_chat)
COMPLETIONS = _wire(_completion)
EMBEDDINGS = _wire(_embedding, _embedded)
