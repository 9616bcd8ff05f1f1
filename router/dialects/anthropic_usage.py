"""What the Anthropic wire says a request consumed, and how it says no (docs.anthropic.com/en/api/messages, 2026-11).

`input_tokens` is without what was read from or written to a cache; both are priced apart, and writes by their lifetime.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from router.core import jsonio
from router.core.catalog import Quirks
from router.core.failure import Failure, Fault
from router.core.usage import Minus, Usage, count, minus
from router.dialects.faults import classify, read_error, wait

FAULTS: Mapping[str, Fault] = {
    "authentication_error": Fault.AUTH,
    "billing_error": Fault.QUOTA_EXHAUSTED,
    "permission_error": Fault.PERMISSION,
    "not_found_error": Fault.NOT_FOUND,
    "request_too_large": Fault.BAD_REQUEST,
    "rate_limit_error": Fault.RATE_LIMITED,
    "timeout_error": Fault.TIMEOUT,
    "api_error": Fault.SERVER,
    "overloaded_error": Fault.OVERLOADED,
}
# Under `invalid_request_error` only the words tell these apart.
PHRASES = (
    ("prompt is too long", Fault.CONTEXT_TOO_LONG),
    ("exceed context limit", Fault.CONTEXT_TOO_LONG),
    ("credit balance is too low", Fault.QUOTA_EXHAUSTED),
)


def error(status: int, raw: bytes, headers: Mapping[str, str], quirks: Quirks) -> Failure:
    """Whose fault an error reply is; the vendor's message is kept."""
    return read_error(status, raw, headers, lambda told: failure_of(told, status, headers, quirks))


def failure_of(told: Mapping[str, Any], status: int, headers: Mapping[str, str], quirks: Quirks) -> Failure | None:
    """The failure that a body or an event tells of; None if it tells of none."""
    said = told.get("error")
    if not isinstance(said, dict):
        return None
    kind, message = said.get("type"), said.get("message")
    fault = classify(said.get("code"), kind, message, status, quirks, FAULTS, PHRASES)
    return Failure(fault, str(message or "no message"), status, None if kind is None else str(kind), wait(headers))


def usage_of(told: Mapping[str, Any], less: Minus = minus) -> Usage | None:
    """A usage object as disjoint leaves; None if it holds no counts.

    Where there are `iterations` (compaction, fallback and adviser turns), each was billed and the top level has only the
    last: their sum counts (types of the anthropic package 2.12, 2026-11).

    Raises:
        ContradictoryUsage: a part is larger than its whole.

    """
    turns = told.get("iterations")
    parts = [turn for turn in turns if isinstance(turn, dict)] if isinstance(turns, list) else []
    parts = parts or [dict(told)]
    if count(told.get("input_tokens")) is None and count(told.get("output_tokens")) is None:
        return None
    written = [_written(part, less) for part in parts]
    written_5m, written_1h = (_sum(counts) for counts in zip(*written, strict=True))
    details, tools = told.get("output_tokens_details"), told.get("server_tool_use")
    thought = count(details.get("thinking_tokens")) if isinstance(details, dict) else None
    output = _total(parts, "output_tokens")
    if output is not None:
        output = less(output, thought, "output_tokens", "thinking_tokens")
    return Usage(
        input_fresh=_total(parts, "input_tokens"),
        cache_read=_total(parts, "cache_read_input_tokens"),
        cache_write_5m=written_5m,
        cache_write_1h=written_1h or None,
        output_text=output,
        output_reasoning=thought,
        searches=count(tools.get("web_search_requests")) or None if isinstance(tools, dict) else None,
    )


def _written(told: Mapping[str, Any], less: Minus) -> tuple[int | None, int | None]:
    """(tokens that were written to the cache for five minutes, for an hour). What no lifetime is told of was written for
    the usual one; where both are told and the total has more, for the one that costs more.
    """
    total, lifetimes = count(told.get("cache_creation_input_tokens")), told.get("cache_creation")
    if not isinstance(lifetimes, dict):
        return total, None
    short, long = (count(lifetimes.get(f"ephemeral_{name}_input_tokens")) for name in ("5m", "1h"))
    if total is None:
        return short, long
    if short is None:
        return less(total, long, "cache_creation_input_tokens", "ephemeral_1h_input_tokens"), long
    if total - short - (long or 0) > 0:
        less(short + (long or 0), total, "cache_creation", "cache_creation_input_tokens")
        return short, total - short
    less(total, short + (long or 0), "cache_creation_input_tokens", "cache_creation")
    return short, long


def _total(parts: Sequence[Mapping[str, Any]], name: str) -> int | None:
    return _sum(count(part.get(name)) for part in parts)


def _sum(counts: Iterable[int | None]) -> int | None:
    told = [found for found in counts if found is not None]
    return sum(told) if told else None


def service_tier(told: Mapping[str, Any]) -> str | None:
    """What the price depends on: the fast mode, or the tier that the vendor says it served."""
    if told.get("speed") == "fast":
        return "fast"
    tier = told.get("service_tier")
    return tier if isinstance(tier, str) else None


def usage_shown(usage: Usage, bill: bytes) -> bytes:
    """A usage in Anthropic's words, with what it costs (JSON members without braces)."""
    told: dict[str, Any] = {
        "input_tokens": usage.input_total
        - (usage.cache_read or 0)
        - (usage.cache_write_5m or 0)
        - (usage.cache_write_1h or 0),
        "cache_creation_input_tokens": (usage.cache_write_5m or 0) + (usage.cache_write_1h or 0),
        "cache_read_input_tokens": usage.cache_read or 0,
        "output_tokens": usage.output_total,
    }
    if usage.output_reasoning is not None:
        told["output_tokens_details"] = {"thinking_tokens": usage.output_reasoning}
    return jsonio.dumps(told)[:-1] + (b"," + bill if bill else b"") + b"}"
