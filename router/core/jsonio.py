"""JSON at the border: orjson where it can, the standard library where a vendor's reply is odd but readable."""

import json
import re
from typing import Any

import orjson

# orjson reads integers beyond 64 bits as floats; a body of ordinary size that holds so many digits is read again.
_LONG_NUMBER = re.compile(rb"[\d]{19,}")
_NO_DIGIT = bytes(set(range(256)) - set(b"0123456789"))
_ORDINARY = 2**18


class NotJson(ValueError):
    """The bytes are not JSON; the message says where."""


def loads(data: bytes) -> Any:
    """Parse strictly: valid UTF-8, no lone surrogates, no NaN, bounded depth. For what clients send.

    Raises:
        NotJson: with line and column.

    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise NotJson(str(error)) from None
    if len(data) < _ORDINARY and len(data.translate(None, _NO_DIGIT)) >= 19 and _LONG_NUMBER.search(data):
        return json.loads(data)
    return value


def dumps(value: Any) -> bytes:
    """Serialise compactly, also integers beyond 64 bits and the lone surrogates of a vendor that cuts text between them.

    Raises:
        TypeError: nested more than 254 levels deep, or not JSON.

    """
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        if "64-bit" not in str(error) and "surrogates" not in str(error):
            raise
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()
    except RecursionError:
        raise TypeError("nested too deep") from None


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
_COLON = ord(":")


def span_of(data: bytes, name: str, value: Any = None) -> tuple[int, int] | None:
    """Where the braces of the object called `name` at the top level of a JSON object are: (start, end), or None. `value` is
    what the object holds, if that is known: one that is written as we would write it is found without being read.

    Lets one object be changed inside a body without serialising the rest again.
    """
    key = b'"' + name.encode() + b'"'
    at = data.find(key)
    if value and at >= 0 and data.find(key, at + 1) < 0:
        start, written = at + len(key) + 1, _written(value)
        if written and data.startswith(written, start) and data[start - 1] == _COLON:
            return start, start + len(written)
    if at >= 0 and data.find(key, at + 1) >= 0:  # nested objects may have the name too: walk the top level
        at = _top_level(data, name)
    start = data.find(b"{", at)
    if at < 0 or start < 0 or data[at + len(key) : start].strip() != b":":
        return None
    end = _end_of_value(data, start)
    return None if end is None else (start, end)


def _written(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:  # nested too deep, a long number: it is read where it stands
        return b""


def _end_of_value(data: bytes, start: int) -> int | None:
    tail = data[start:].decode("utf-8", "surrogatepass")
    try:
        _, end = _decoder.raw_decode(tail)
    except (ValueError, RecursionError):
        return None
    return start + (end if tail.isascii() else len(tail[:end].encode("utf-8", "surrogatepass")))


def _top_level(data: bytes, name: str) -> int:
    """Where the key `name` of the outermost object begins; -1 if it has none."""
    text = data.decode("utf-8", "surrogatepass")
    i = text.find("{") + 1
    try:
        while True:
            i = _skip(text, i, " \t\r\n,")
            if text[i] != '"':
                return -1
            key, after = _decoder.raw_decode(text, i)
            if key == name:
                return len(text[:i].encode("utf-8", "surrogatepass"))
            _, i = _decoder.raw_decode(text, _skip(text, after, " \t\r\n:"))
    except (ValueError, IndexError, RecursionError):
        return -1


def _skip(text: str, i: int, what: str) -> int:
    while text[i] in what:
        i += 1
    return i
