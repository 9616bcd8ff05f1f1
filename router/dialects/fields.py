"""Reading what clients send: a body, and its fields one at a time, each refused by name when it has the wrong type."""

from collections.abc import Mapping
from typing import Any

from router.core import jsonio
from router.core.errors import InvalidRequest

MAX_DEPTH = 250  # levels that the JSON library can write, with room for what is put around them


def parse(raw: bytes) -> tuple[dict[str, Any], str]:
    """(a body, the `model` that it asks for).

    Raises:
        InvalidRequest: not JSON, not an object, nested too deeply to be sent on, or without a `model`.

    """
    try:
        body = jsonio.loads(raw)
    except jsonio.NotJson as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}") from None
    if not isinstance(body, dict):
        raise InvalidRequest("the body must be a JSON object")
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH:
        try:
            jsonio.dumps(body)
        except TypeError:
            raise InvalidRequest(f"the body is nested more than {MAX_DEPTH} levels deep") from None
    asked = body.get("model")
    if not isinstance(asked, str) or not asked:
        raise InvalidRequest("`model` must be a non-empty string", param="model")
    return body, asked


def flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidRequest(f"`{name}` must be true or false", param=name)
    return bool(value)


def integer(body: Mapping[str, Any], name: str, low: int, high: int) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidRequest(f"`{name}` must be an integer from {low} to {high}", param=name)
    return value


def string(value: Any, at: str) -> None:
    """A string or nothing."""
    if not isinstance(value, str | None):
        raise InvalidRequest(f"`{at}` must be a string", param=at)


def text_of(value: Any, name: str) -> str:
    """A text that may be written as a string or as an array of text parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in value):
        return "\n\n".join(part["text"] for part in value)
    raise InvalidRequest(f"`{name}` must be a string or an array of text parts", param=name)
