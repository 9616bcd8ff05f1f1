"""What a request asks for, whatever wire it came on, and what all readers of requests share. Pure."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from router.mock.cache import Block
from router.mock.errors import invalid
from router.mock.text import tokens

PER_MESSAGE, PER_REQUEST = 3, 3  # tokens that a conversation costs besides its words
PER_IMAGE = 85  # every content part that is not text
_MOST_CHOICES = 128
_DIMENSIONS = {
    "text-embedding-3-large": 3072,
    "text-embedding-v3": 1024,
    "text-embedding-v4": 1024,
    "gemini-embedding-001": 3072,
    "text-embedding-004": 768,
    "nomic-embed-text": 768,
}
_MOST_DIMENSIONS = 4096

ANY_OBJECT = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "summary": {"type": "string", "minLength": 60},
        "confidence": {"type": "number", "minimum": 0.5, "maximum": 1},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2},
    },
}


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
    images: int = 0  # and other parts that are not text
    thinks: bool = False  # asked to think first
    budget: int | None = None  # tokens of thinking at most
    shows: bool = False  # the thoughts are part of the answer
    prefix: tuple[Block, ...] = ()  # blocks of the prompt, when some are to be cached
    asked: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # the body, for wires that repeat it


def model_of(asked: Mapping[str, Any], key: str = "model") -> str:
    model = asked.get(key)
    if not isinstance(model, str) or not model:
        raise invalid("you must provide a model parameter")
    return model


def objects(asked: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """A list of at least one object."""
    found = asked.get(key)
    if not isinstance(found, list) or not found or not all(isinstance(item, dict) for item in found):
        raise invalid(f"'{key}' is an array of at least one message.", key)
    return found


def count(asked: Mapping[str, Any], key: str, least: int = 1) -> int | None:
    value = asked.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise invalid(f"Invalid value for '{key}': expected an integer of at least {least}, but got {value!r}.", key)
    return value


def choices(asked: Mapping[str, Any], key: str = "n") -> int:
    n = count(asked, key) or 1
    if n > _MOST_CHOICES:
        raise invalid(f"Invalid value for '{key}': expected at most {_MOST_CHOICES}, but got {n}.", key)
    return n


def stops(given: Any) -> tuple[str, ...]:
    return tuple(s for s in ([given] if isinstance(given, str) else given or ()) if isinstance(s, str) and s)


def dimensions_of(asked: Mapping[str, Any], model: str, key: str = "dimensions") -> int:
    dimensions = count(asked, key) or _DIMENSIONS.get(model, 1536)
    if dimensions > _MOST_DIMENSIONS:
        raise invalid(f"'{key}' is at most {_MOST_DIMENSIONS}.", key)
    return dimensions


def written(value: Any) -> int:
    """The tokens of a value as JSON."""
    return tokens(orjson.dumps(value).decode())


def called(
    functions: Sequence[dict[str, Any]], text: str, *, demanded: bool = False, named: str = "", alone: bool = False
) -> tuple[dict[str, Any], ...]:
    """The functions an answer calls: the one that is named, some if that is demanded, else those the text asks for.

    After a tool's result the model talks, else every loop that runs tools would run for ever: readers then pass an empty text.
    """
    if not functions:
        return ()
    both = "both tools" in text and not alone
    if named:
        found = [f for f in functions if f.get("name") == named]
        if not found:
            raise invalid(f"Tool choice '{named}' not found in 'tools' parameter.", "tool_choice")
        return (found[0],) * (2 if both else 1)
    if not demanded and "call the tool" not in text and "both tools" not in text:
        return ()
    return tuple((list(functions) * 2)[:2]) if both else (functions[0],)


def prompts(given: Any, param: str) -> tuple[tuple[str, ...], int]:
    """The texts and their tokens: a string, a list of strings, a list of token ids, or a list of such lists."""
    items = [given] if isinstance(given, str) or _ids(given) else given
    if not isinstance(items, list) or not items or (param == "input" and "" in items):
        raise invalid(f"'{param}' is a string, an array of strings or an array of tokens, and not empty.", param)
    texts, total = [], 0
    for item in items:
        if isinstance(item, str):
            texts.append(item)
            total += tokens(item)
        elif _ids(item):
            texts.append(" ".join(map(str, item)))
            total += len(item)
        else:
            raise invalid(f"'{param}' is a string, an array of strings or an array of tokens.", param)
    return tuple(texts), total


def _ids(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(i, int) for i in value)


def last_text(texts: Iterable[str]) -> str:
    """The last text that says something: what is answered, and where the steering words are looked for."""
    return next((text for text in reversed(list(texts)) if text.strip()), "")
