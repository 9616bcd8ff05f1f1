"""JSON at the border: orjson where it can, the standard library where a vendor's reply is odd but readable."""

import json
from typing import Any

import orjson

dumps = orjson.dumps


class NotJson(ValueError):
    """The bytes are not JSON; the message says where."""


def loads(data: bytes | str) -> Any:
    """Parse strictly: valid UTF-8, no lone surrogates, no NaN, bounded depth. For what clients send.

    Raises:
        NotJson: with line and column.

    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise NotJson(str(error)) from None


def loads_reply(data: bytes) -> Any:
    """Parse what a vendor sent, also with lone surrogates or NaN, which some produce and clients accept.

    Raises:
        NotJson: the reply cannot be read either way.

    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise NotJson(str(error)) from None


_decoder = json.JSONDecoder()


def span_of(data: bytes, name: str) -> tuple[int, int, Any] | None:
    """Where the last object called `name` lies in `data`: (start, end, its value), or None.

    Lets one object be replaced inside a body without serialising the rest again. The caller compares the value with the
    one it means, since a nested object may carry the same name.
    """
    key = b'"' + name.encode() + b'"'
    at = data.rfind(key)
    start = data.find(b"{", at)
    if at < 0 or start < 0 or data[at + len(key) : start].strip() != b":":
        return None
    tail = data[start:].decode("utf-8", "surrogatepass")
    try:
        value, end = _decoder.raw_decode(tail)
    except (ValueError, RecursionError):
        return None
    return start, start + (end if tail.isascii() else len(tail[:end].encode("utf-8", "surrogatepass"))), value
