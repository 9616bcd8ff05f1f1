"""What a request body asks for: bytes → `Ask`. Pure; raises `Refused` the way the vendor would."""

import dataclasses
from typing import Any

import orjson

from router.mock.errors import invalid
from router.mock.text import tokens

_PER_MESSAGE, _PER_REQUEST = 3, 3
_PER_IMAGE = 85  # every content part that is not text
_MOST_CHOICES = 128
_DIMENSIONS = {"text-embedding-3-large": 3072, "text-embedding-v3": 1024, "text-embedding-v4": 1024}
_MOST_DIMENSIONS = 4096


@dataclasses.dataclass(frozen=True, slots=True)
class Ask:
    """A request, read once. `texts` are what is answered: the last user message, or each prompt, or each input to embed."""

    endpoint: str
    model: str
    texts: tuple[str, ...]
    prompt_tokens: int
    stream: bool = False
    include_usage: bool = False
    n: int = 1
    cap: int | None = None
    stops: tuple[str, ...] = ()
    tools: tuple[dict[str, Any], ...] = ()  # to be called in the answer: {"name", "parameters"}
    shape: Any = None  # None: prose; else a JSON schema
    logprobs: int | None = None
    echo: bool = False
    dimensions: int = 0
    base64: bool = False


def parse(body: bytes) -> dict[str, Any]:
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise invalid("We could not parse the JSON body of your request.") from None
    if not isinstance(asked, dict):
        raise invalid("The JSON body of a request is an object.")
    if not isinstance(asked.get("model"), str) or not asked["model"]:
        raise invalid("you must provide a model parameter")
    return asked


def chat(asked: dict[str, Any]) -> Ask:
    messages = asked.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        raise invalid("'messages' is an array of at least one message.", "messages")
    last: dict[str, Any] = next((m for m in reversed(messages) if m.get("role") == "user"), {})
    text = _text(last.get("content"))
    shape, extra = _shape(asked.get("response_format"))
    tools = asked.get("tools") or []
    if tools:
        extra += tokens(orjson.dumps(tools).decode())
    # After a tool's result the model talks; else every loop that runs tools would run for ever.
    answered = messages[-1].get("role") == "tool"
    return Ask(
        endpoint="chat/completions",
        model=asked["model"],
        texts=(text,),
        prompt_tokens=_PER_REQUEST + extra + sum(map(_message_tokens, messages)),
        stream=bool(asked.get("stream")),
        include_usage=_include_usage(asked),
        n=_choices(asked),
        cap=_count(asked, "max_completion_tokens") or _count(asked, "max_tokens"),
        stops=_stops(asked),
        tools=_called(asked, tools, "" if answered else text),
        shape=shape,
        logprobs=int(asked.get("top_logprobs") or 0) if asked.get("logprobs") else None,
    )


def completion(asked: dict[str, Any]) -> Ask:
    texts, count = _prompts(asked.get("prompt", ""), "prompt")
    return Ask(
        endpoint="completions",
        model=asked["model"],
        texts=texts,
        prompt_tokens=count,
        stream=bool(asked.get("stream")),
        include_usage=_include_usage(asked),
        n=_choices(asked),
        cap=_count(asked, "max_tokens"),
        stops=_stops(asked),
        logprobs=asked["logprobs"] if isinstance(asked.get("logprobs"), int) else None,
        echo=bool(asked.get("echo")),
    )


def embedding(asked: dict[str, Any]) -> Ask:
    texts, count = _prompts(asked.get("input"), "input")
    if asked.get("encoding_format", "float") not in {"float", "base64"}:
        raise invalid("'encoding_format' is 'float' or 'base64'.", "encoding_format")
    dimensions = _count(asked, "dimensions") or _DIMENSIONS.get(asked["model"], 1536)
    if dimensions > _MOST_DIMENSIONS:
        raise invalid(f"'dimensions' is at most {_MOST_DIMENSIONS}.", "dimensions")
    base64 = asked.get("encoding_format") == "base64"
    return Ask("embeddings", asked["model"], texts, count, n=0, dimensions=dimensions, base64=base64)


def _prompts(given: Any, param: str) -> tuple[tuple[str, ...], int]:
    """The texts and their tokens: a string, a list of strings, a list of token ids, or a list of such lists."""
    items = [given] if isinstance(given, str) or _ids(given) else given
    if not isinstance(items, list) or not items or (param == "input" and "" in items):
        raise invalid(f"'{param}' is a string, an array of strings or an array of tokens, and not empty.", param)
    texts, count = [], 0
    for item in items:
        if isinstance(item, str):
            texts.append(item)
            count += tokens(item)
        elif _ids(item):
            texts.append(" ".join(map(str, item)))
            count += len(item)
        else:
            raise invalid(f"'{param}' is a string, an array of strings or an array of tokens.", param)
    return tuple(texts), count


def _ids(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(i, int) for i in value)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return " ".join(str(p.get("text", "")) for p in parts if isinstance(p, dict) and p.get("type") == "text")


def _message_tokens(message: dict[str, Any]) -> int:
    content, count = message.get("content"), _PER_MESSAGE
    if isinstance(content, str):
        count += tokens(content)
    elif isinstance(content, list):
        for part in content:
            plain = isinstance(part, dict) and isinstance(part.get("text"), str)
            count += tokens(part["text"]) if plain else _PER_IMAGE
    if message.get("tool_calls"):
        count += tokens(orjson.dumps(message["tool_calls"]).decode())
    return count


def _count(asked: dict[str, Any], key: str) -> int | None:
    value = asked.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise invalid(f"Invalid value for '{key}': expected an integer of at least 1, but got {value!r}.", key)
    return value


def _choices(asked: dict[str, Any]) -> int:
    n = _count(asked, "n") or 1
    if n > _MOST_CHOICES:
        raise invalid(f"Invalid value for 'n': expected at most {_MOST_CHOICES}, but got {n}.", "n")
    return n


def _include_usage(asked: dict[str, Any]) -> bool:
    options = asked.get("stream_options")
    if not options:
        return False
    if not asked.get("stream"):
        raise invalid("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


def _stops(asked: dict[str, Any]) -> tuple[str, ...]:
    stop = asked.get("stop") or ()
    return tuple(s for s in ([stop] if isinstance(stop, str) else stop) if isinstance(s, str) and s)


def _shape(wanted: Any) -> tuple[Any, int]:
    """The schema the answer must fit, and what it costs in prompt tokens."""
    match wanted:
        case {"type": "json_schema", "json_schema": {"schema": schema}}:
            return schema, tokens(orjson.dumps(schema).decode())
        case {"type": "json_schema"}:
            raise invalid("Missing required parameter: 'response_format.json_schema'.", "response_format.json_schema")
        case {"type": "json_object"}:
            return _ANY_OBJECT, 0
        case _:
            return None, 0


_ANY_OBJECT = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "summary": {"type": "string", "minLength": 60},
        "confidence": {"type": "number", "minimum": 0.5, "maximum": 1},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2},
    },
}


def _called(asked: dict[str, Any], tools: list[Any], text: str) -> tuple[dict[str, Any], ...]:
    """The functions this answer calls: those demanded by tool_choice, else those the text asks for."""
    functions = [t["function"] for t in tools if isinstance(t, dict) and isinstance(t.get("function"), dict)]
    choice = asked.get("tool_choice")
    if choice == "none" or not functions:
        return ()
    both = "both tools" in text and asked.get("parallel_tool_calls") is not False
    if isinstance(choice, dict) and isinstance(choice.get("function"), dict):
        name = choice["function"].get("name")
        named = [f for f in functions if f.get("name") == name]
        if not named:
            raise invalid(f"Tool choice '{name}' not found in 'tools' parameter.", "tool_choice")
        return (named[0],) * (2 if both else 1)
    if choice != "required" and "call the tool" not in text and "both tools" not in text:
        return ()
    return tuple((functions * 2)[:2]) if both else (functions[0],)
