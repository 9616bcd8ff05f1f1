"""A string that matches a regular expression, for schemas with `pattern`. Pure."""

import random
import re
import string
from importlib import import_module
from typing import Any

# Python parses patterns itself; its parser has no public name, and a second one here would be ten times this file.
_parser: Any = import_module("re._parser")

_CATEGORIES = {
    "CATEGORY_DIGIT": string.digits,
    "CATEGORY_WORD": string.ascii_lowercase + string.digits,
    "CATEGORY_SPACE": " ",
    "CATEGORY_NOT_DIGIT": string.ascii_lowercase,
    "CATEGORY_NOT_WORD": "-",
    "CATEGORY_NOT_SPACE": string.ascii_lowercase,
}
_LETTERS = string.ascii_lowercase + string.digits + string.ascii_uppercase + "-_ .:/"


def matching(pattern: str, rng: random.Random) -> str:
    """A match, or the pattern itself when it uses what is beyond this (look-around, back references)."""
    try:
        text = _sequence(_parser.parse(pattern), rng)
        return text if re.search(pattern, text) else pattern
    except (re.error, KeyError, ValueError):
        return pattern


def _sequence(parsed: Any, rng: random.Random) -> str:
    return "".join(_one(str(op), value, rng) for op, value in parsed)


def _one(op: str, value: Any, rng: random.Random) -> str:
    match op:
        case "LITERAL":
            return chr(value)
        case "NOT_LITERAL":
            return next(c for c in _LETTERS if c != chr(value))
        case "ANY":
            return rng.choice(string.ascii_lowercase)
        case "IN":
            return _one_of(value, rng)
        case "AT":
            return ""
        case "BRANCH":
            return _sequence(rng.choice(value[1]), rng)
        case "SUBPATTERN":
            return _sequence(value[-1], rng)
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            least, most, inner = value
            return "".join(_sequence(inner, rng) for _ in range(rng.randint(least, min(int(most), least + 6))))
        case _:
            raise ValueError(op)


def _one_of(members: Any, rng: random.Random) -> str:
    allowed: list[str] = []
    for op, value in members:
        match str(op):
            case "LITERAL":
                allowed.append(chr(value))
            case "RANGE":
                allowed.append("".join(chr(c) for c in range(value[0], min(value[1], value[0] + 200) + 1)))
            case "CATEGORY":
                allowed.append(_CATEGORIES[str(value)])
    every = "".join(allowed)
    if str(members[0][0]) == "NEGATE":
        return rng.choice([c for c in _LETTERS if c not in every])
    return rng.choice(every)
