"""What the Responses wire says a request consumed (types of the openai package 3.54, 2026-11).

`input_tokens` includes what was read from and written to a cache, `output_tokens` includes reasoning: the same counts as a
chat completion's under other names. Searches stand apart, in `tool_usage`; where that is left out, each call in the output
is one.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from router.core import jsonio
from router.core.catalog import Quirks
from router.core.usage import Minus, Usage, count, minus
from router.dialects import openai_usage
from router.dialects.openai_errors import at


def usage_of(response: Mapping[str, Any], quirks: Quirks, less: Minus = minus) -> Usage | None:
    """A response's usage as disjoint leaves; None if it holds no counts.

    Raises:
        ContradictoryUsage: a part is larger than its whole.

    """
    told = response.get("usage")
    if not isinstance(told, dict):
        return None
    renamed = {
        "prompt_tokens": told.get("input_tokens"),
        "prompt_tokens_details": told.get("input_tokens_details"),
        "completion_tokens": told.get("output_tokens"),
        "completion_tokens_details": told.get("output_tokens_details"),
    }
    usage = openai_usage.usage_of({**told, **renamed}, quirks, less)
    if usage is None or usage.searches is not None:
        return usage
    searches = _searches(response)
    return replace(usage, searches=searches) if searches else usage


def _searches(response: Mapping[str, Any]) -> int:
    told = count(at(response, "tool_usage.web_search.num_requests"))
    if told is not None:
        return told
    output = response.get("output")
    items = [item for item in output if isinstance(item, dict)] if isinstance(output, list) else []
    calls = [item.get("action") for item in items if item.get("type") == "web_search_call"]
    return sum(not isinstance(action, dict) or action.get("type") == "search" for action in calls)  # not pages opened


def usage_shown(usage: Usage, bill: bytes) -> bytes:
    """A usage in the words of this wire, with what it costs."""
    prompt, completion = usage.input_total, usage.output_total
    written = (usage.cache_write_5m or 0) + (usage.cache_write_1h or 0)
    told: dict[str, Any] = {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": usage.cache_read or 0, "cache_write_tokens": written},
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": usage.output_reasoning or 0},
        "total_tokens": prompt + completion,
    }
    return jsonio.dumps(told)[:-1] + (b"," + bill if bill else b"") + b"}"


def usage_estimated(prompt: int, written: int) -> bytes:
    """The usage where no vendor has said it, marked as such."""
    return usage_shown(Usage(input_fresh=prompt, output_text=written), b'"estimated":true')
