"""Kinds of values in the configuration: durations, sizes, amounts, names."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from router.core.money import amount_nano

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, None: 1.0}
_BYTES = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]i?b|b)?", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def seconds(value: Any) -> Any:
    """5, "5s", "500ms", "2m", "1h"."""
    if isinstance(value, str):
        found = _DURATION.fullmatch(value.strip())
        if not found:
            raise ValueError("a duration is written 500ms, 5s, 2m or 1h")
        return float(found[1]) * _SECONDS[found[2]]
    return value


def _size(value: Any) -> Any:
    """1000, "64MiB", "500 kB"."""
    if isinstance(value, str):
        found = _BYTES.fullmatch(value.strip())
        if not found:
            raise ValueError("a size is written 500kB, 64MiB or 1GiB, or as a number of bytes")
        return int(float(found[1]) * _UNITS[(found[2] or "").lower()])
    return value


def _money(value: Any) -> int:
    """An amount as nano-units; exact, from a number or a string."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("an amount is a number or a string")  # noqa: TRY004 (pydantic turns ValueErrors into problems)
    return amount_nano(value)


Seconds = Annotated[float, BeforeValidator(seconds), Field(gt=0)]
SecondsOrNone = Annotated[float, BeforeValidator(seconds), Field(ge=0)]
Money = Annotated[int, BeforeValidator(_money)]
Size = Annotated[int, BeforeValidator(_size), Field(ge=0)]
Quality = Annotated[float, Field(ge=0, le=1)]
Currency = Annotated[str, Field(pattern="^[A-Z]{3}$")]
Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\s|,]+$")]
KeyName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\s|,/]+$")]
