"""What the OpenAI wire says a request consumed: where the counts stand, what they include, and what a client is shown."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from router.core import jsonio
from router.core.catalog import Quirks
from router.core.usage import Minus, Usage, count, minus
from router.dialects.openai_errors import PLAIN, at


def find(reply: Mapping[str, Any], quirks: Quirks = PLAIN) -> dict[str, Any] | None:
    """The usage object of a reply or a chunk, wherever this vendor puts it; one with counts goes before a placeholder."""
    found = None
    for place in ("usage", *quirks.usage_also_at):
        told = at(reply, place)
        if isinstance(told, dict):
            if count(told.get("prompt_tokens")) or count(told.get("completion_tokens")):
                return told
            found = found or told
    return found


def usage_of(told: Any, quirks: Quirks = PLAIN, less: Minus = minus) -> Usage | None:
    """A usage object as disjoint leaves; None if it holds no counts, as the placeholders that some vendors stream.

    `completion_tokens` includes reasoning, except where the total says otherwise (recorded 2026-11).

    Raises:
        ContradictoryUsage: a part is larger than its whole, or the total has what no part has.

    """
    if not isinstance(told, dict):
        return None
    prompt, completion = count(told.get("prompt_tokens")), count(told.get("completion_tokens"))
    if prompt is None or not (prompt or completion):
        return None
    inputs, outputs = told.get("prompt_tokens_details"), told.get("completion_tokens_details")
    inputs = inputs if isinstance(inputs, dict) else {}
    outputs = outputs if isinstance(outputs, dict) else {}
    cached = count(inputs.get("cached_tokens"))
    if cached is None:
        cached = count(told.get("prompt_cache_hit_tokens", told.get("cached_tokens")))
    written = count(inputs.get("cache_write_tokens", inputs.get("cache_creation_input_tokens")))
    fresh = less(prompt, (cached or 0) + (written or 0), "prompt_tokens", "cached_tokens and cache writes")
    lasting = _lasting(inputs, written)
    text, reasoning = _output(prompt, completion, count(outputs.get("reasoning_tokens")), told, quirks, less)
    usage = Usage(fresh, cached, written if lasting is None else (written or 0) - lasting, lasting, text, reasoning)
    searches = count(at(told, quirks.searches_at)) if quirks.searches_at else None
    apart = any(inputs.get(name) for name in INPUT_PARTS) or any(outputs.get(name) for name in OUTPUT_PARTS)
    return _apart(usage, inputs, outputs, searches) if apart or searches else usage


# Parts of the prompt and of the completion that have prices of their own → their leaves.
INPUT_PARTS = {"audio_tokens": "input_audio", "image_tokens": "input_image", "provisioned_tokens": "input_prepaid"}
OUTPUT_PARTS = {
    "audio_tokens": "output_audio",
    "image_tokens": "output_image",
    "rejected_prediction_tokens": "output_rejected",
    "provisioned_tokens": "output_prepaid",
}


def _apart(usage: Usage, inputs: Mapping[str, Any], outputs: Mapping[str, Any], searches: int | None) -> Usage:
    """The leaves of sound, pictures, prepaid and rejected tokens, each taken out of what includes it. What was served from
    a cache may be counted as one of them too, so no more is taken than is left.
    """
    leaves: dict[str, int | None] = {"searches": searches or None}
    rest = usage.input_fresh or 0
    for name, leaf in INPUT_PARTS.items():
        leaves[leaf] = min(count(inputs.get(name)) or 0, rest) or None
        rest -= leaves[leaf] or 0
    leaves["input_fresh"] = rest
    rest = usage.output_text or 0
    for name, leaf in OUTPUT_PARTS.items():
        leaves[leaf] = min(count(outputs.get(name)) or 0, rest) or None
        rest -= leaves[leaf] or 0
    if usage.output_text is not None:
        leaves["output_text"] = rest
    return replace(usage, **leaves)


def _lasting(inputs: Mapping[str, Any], written: int | None) -> int | None:
    """Of the cache writes those with the long lifetime, where that is told (types of the openai package 3.54, 2026-11)."""
    lifetimes = inputs.get("cache_write_tokens_details")
    lasting = count(lifetimes.get("ttl_12h_tokens")) if isinstance(lifetimes, dict) else None
    return min(lasting, written or 0) if lasting else None


def service_tier(reply: Mapping[str, Any]) -> str | None:
    """The tier that the vendor says it served, which may have its own price."""
    tier = reply.get("service_tier")
    return tier if isinstance(tier, str) else None


def model_of(reply: Mapping[str, Any]) -> str:
    """The model that the vendor says it served, which may not be the one that was asked for."""
    name = reply.get("model")
    return name if isinstance(name, str) else ""


def _output(
    prompt: int, completion: int | None, reasoning: int | None, told: Mapping[str, Any], quirks: Quirks, less: Minus
) -> tuple[int | None, int | None]:
    """(tokens that are no reasoning, reasoning tokens)."""
    total = count(told.get("total_tokens"))
    if completion is None:
        return None, reasoning
    if total is not None and (beside := total - prompt - completion) > 0:
        if beside == reasoning or (quirks.reasoning_in_total and not reasoning):
            return completion, beside
        less(prompt + completion, total, "prompt_tokens and completion_tokens", "total_tokens")
        completion += beside  # nobody says what it is: it may be billed as the dearer
    return less(completion, reasoning, "completion_tokens", "reasoning_tokens"), reasoning


def vendor_cost_nano(told: Mapping[str, Any], quirks: Quirks) -> int | None:
    """The charge that the vendor itself reports, in nano-units of its currency, rounded up; None if it reports none."""
    if quirks.cost_field is None:
        return None
    name, per_nano = quirks.cost_field
    units = count(told.get(name), 2**63)
    return None if units is None else -(-units // per_nano)


OURS = ("cost", "cost_currency", "flagship_cost")
"""Members of a usage that are ours: a vendor's own of the same name gives way."""
MARK = "farebox:cost"  # stands for the cost while JSON is written; inside a text its quotes would be escaped


def with_cost(raw: bytes, reply: Mapping[str, Any], usage: Mapping[str, Any], members: bytes) -> bytes:
    """A body, or one event's data, whose `usage` also has `members` (JSON members without braces).

    The object is patched in place, so that every other byte stays as the vendor sent it; a usage that stood elsewhere
    is shown at its usual place too.
    """
    found = jsonio.span_of(raw, "usage", usage) if reply.get("usage") is usage else None
    if found is not None and usage and "cost" not in usage:
        head = raw[: found[1] - 1].rstrip()
        return head + b"," + members + raw[len(head) :]
    own = {name: value for name, value in usage.items() if name not in OURS}
    try:
        return jsonio.dumps({**reply, "usage": {**own, MARK: 0}}).replace(b'"' + MARK.encode() + b'":0', members)
    except TypeError:  # nested more deeply than can be written: it passes as it came
        return raw


def without(raw: bytes, reply: Mapping[str, Any]) -> bytes:
    """One event's data without its `usage`, which is an object; every other byte stays as the vendor sent it."""
    found = jsonio.span_of(raw, "usage")
    if found is None:
        return jsonio.dumps({name: value for name, value in reply.items() if name != "usage"})
    head, tail = raw[: raw.rindex(b'"usage"', 0, found[0])].rstrip(), raw[found[1] :]
    if head.endswith(b","):
        return head[:-1] + tail
    return head + tail.lstrip().removeprefix(b",").lstrip()
