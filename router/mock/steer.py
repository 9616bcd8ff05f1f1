"""What a request asks of the mock: `key=value` words in its last user message, or a JSON object in the header `x-mock`. Pure.

In prose an impossible value is prose (`status=200` in a code sample steers nothing); in the header it is a mistake of the test's
author and is refused.
"""

import dataclasses
import re
from typing import Any

import orjson

_TOKENS = 1_000_000
_MILLISECONDS = 600_000

# key → field and the largest number that makes sense; the smallest is 0 but for `status`.
_NUMBERS = {
    "out": ("out", _TOKENS),
    "in": ("input", 100 * _TOKENS),
    "cached": ("cached", 100 * _TOKENS),
    "written": ("written", 100 * _TOKENS),
    "written1h": ("written1h", 100 * _TOKENS),
    "reasoning": ("reasoning", _TOKENS),
    "delay": ("delay", _MILLISECONDS),
    "gap": ("gap", _MILLISECONDS),
    "status": ("status", 599),
    "fail": ("fail", _TOKENS),
    "cut": ("cut", _TOKENS),
    "filtered": ("filtered", _TOKENS),
    "error_at": ("error_at", _TOKENS),
}
_FLAGS = ("error200", "nousage", "garbage", "hang", "drip", "crlf", "split", "keepalive", "ignorecap")
_WORDS = ("code", "id")
_KNOB = re.compile(rf"(?<![\w=/?&.-])({'|'.join((*_NUMBERS, *_FLAGS, *_WORDS))})=(\w[\w:.-]*)", re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True)
class Knobs:
    """One request's wishes; `None` is "as you like"."""

    out: int | None = None
    input: int | None = None
    cached: int | None = None
    written: int | None = None
    written1h: int | None = None
    reasoning: int | None = None
    delay: int | None = None
    gap: int | None = None
    status: int = 0
    code: str = ""
    fail: int | None = None
    id: str = ""
    cut: int | None = None
    filtered: int | None = None
    error_at: int | None = None
    error200: bool = False
    nousage: bool = False
    garbage: bool = False
    hang: bool = False
    drip: bool = False
    crlf: bool = False
    split: bool = False
    keepalive: bool = False
    ignorecap: bool = False


NOTHING = Knobs()


def parse(text: str, header: str | None = None) -> Knobs:
    """The knobs of a request; the header wins. Raises ValueError with a sentence when the header is wrong."""
    wishes: dict[str, Any] = {}
    if "=" in text:
        for key, value in _KNOB.findall(text):
            try:
                wishes.update([_wish(key, value.rstrip(".:-"))])
            except ValueError:
                continue
    if header:
        wishes.update(_header(header))
    return Knobs(**wishes) if wishes else NOTHING


def without(text: str) -> str:
    """The text as the pretended model reads it."""
    return _KNOB.sub("", text) if "=" in text else text


def faulty(knobs: Knobs) -> bool:
    """Whether something is to go wrong with the answer."""
    return bool(
        knobs.status
        or knobs.error200
        or knobs.garbage
        or knobs.hang
        or knobs.cut is not None
        or knobs.error_at is not None
    )


def failing(knobs: Knobs, seen: int) -> Knobs:
    """The knobs under `fail=N` for a request whose `id` was seen that many times before: its fault (500 if it names none), then none."""
    if knobs.fail is None:
        return knobs
    if seen < knobs.fail:
        return knobs if faulty(knobs) else dataclasses.replace(knobs, status=500)
    return dataclasses.replace(knobs, status=0, error200=False, garbage=False, hang=False, cut=None, error_at=None)


def _header(header: str) -> list[tuple[str, Any]]:
    try:
        asked = orjson.loads(header)
    except orjson.JSONDecodeError:
        raise ValueError("the header x-mock is not JSON") from None
    if not isinstance(asked, dict):
        raise ValueError("the header x-mock is not a JSON object")  # noqa: TRY004 - one kind of exception for one kind of mistake
    return [_wish(key, value) for key, value in asked.items()]


def _wish(key: str, value: Any) -> tuple[str, Any]:
    if key in _WORDS:
        return key, str(value)
    if key not in _NUMBERS and key not in _FLAGS:
        raise ValueError(f"x-mock knows no {key!r}; it knows {', '.join((*_NUMBERS, *_FLAGS, *_WORDS))}")
    try:
        number = int(value)
    except (TypeError, ValueError):
        raise ValueError(f"x-mock: {key} is a whole number, not {value!r}") from None
    if key in _FLAGS:
        return key, bool(number)
    field, most = _NUMBERS[key]
    least = 400 if key == "status" else 0
    if not least <= number <= most:
        raise ValueError(f"x-mock: {key} is between {least} and {most}, not {number}")
    return field, number
