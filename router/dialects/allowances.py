"""What an answer's headers say is left of its vendor's rate limits.

`x-ratelimit-{limit,remaining,reset}-{requests,tokens}` on the OpenAI wire (OpenAI, Groq, Azure, Baidu and others; `reset`
is a duration such as `6m0s`, at Azure it is missing), `anthropic-ratelimit-{requests,tokens}-{limit,remaining,reset}` on
Anthropic's (`reset` is RFC 3339). `reset` is when all of the limit will be there again; both vendors say that it refills
smoothly until then (their pages on rate limits). While half of a limit is left there is nothing to know.
"""

import re
from collections.abc import Mapping
from datetime import datetime

from router.core.limits import MICROS, micros
from router.core.seats import Allowance, Told

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_UNITS = (86400.0, 3600.0, 60.0, 1.0, 0.001)
Names = tuple[tuple[str, str, str], tuple[str, str, str]]
"""(limit, remaining, reset) of requests, and of tokens."""


def _names(form: str) -> Names:
    (a, b, c), (d, e, f) = ([form.format(part, kind) for part in PARTS] for kind in ("requests", "tokens"))
    return (a, b, c), (d, e, f)


PARTS = ("limit", "remaining", "reset")
OPENAI = _names("x-ratelimit-{0}-{1}")
ANTHROPIC = _names("anthropic-ratelimit-{1}-{0}")
LONGEST_S = 86400.0  # the longest window known is a day; a larger number is an instant, or means something else


def read_allowances(headers: Mapping[str, str], now: int) -> Told | None:
    """What is left, at `now` in microseconds since 1970; None where nothing is told."""
    if "x-ratelimit-remaining-requests" in headers or "x-ratelimit-remaining-tokens" in headers:
        names = OPENAI
    elif "anthropic-ratelimit-requests-remaining" in headers or "anthropic-ratelimit-tokens-remaining" in headers:
        names = ANTHROPIC
    else:
        return None
    requests, tokens = names
    return Told(_allowance(headers, requests, now), _allowance(headers, tokens, now))


def _allowance(headers: Mapping[str, str], names: tuple[str, str, str], now: int) -> Allowance | None:
    limit, remaining, reset = names
    whole, left = _number(headers.get(limit, "")), _number(headers.get(remaining, ""))
    if whole is None or left is None or left * 2 > whole:
        return None
    return Allowance(whole, left, _reset_s(headers.get(reset, ""), now))


def _number(told: str) -> float | None:
    return float(told) if told.isascii() and told.isdigit() and len(told) < 16 else None


def _reset_s(told: str, now: int) -> float | None:
    """Seconds from a duration, a number of seconds or an instant."""
    if not told.isascii():
        return None
    if told.replace(".", "", 1).isdigit():
        seconds = float(told)
    elif (found := _DURATION.fullmatch(told)) and told:
        seconds = sum(float(part) * unit for part, unit in zip(found.groups(), _UNITS, strict=True) if part)
    else:
        try:
            when = datetime.fromisoformat(told)
        except ValueError:
            return None
        if when.tzinfo is None:
            return None
        seconds = max(0.0, (micros(when) - now) / MICROS)
    return seconds if seconds <= LONGEST_S else None
