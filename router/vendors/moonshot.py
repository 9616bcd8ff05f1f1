"""Moonshot (Kimi), China site (platform.moonshot.cn). International accounts: https://api.moonshot.ai/v1, `currency: USD`.

Errors have types and no codes (platform.kimi.com/docs/api/errors.md, 2026-11). Older models put the usage of a stream into
the first choice of the finish chunk (go-moonshot #17, AstrBot #6614); its two `cached_tokens` are one number. Older models want `max_tokens` and a content that is one string, none a `tool_choice`
of `required` (adapters, 2026-11).
"""

from router.core.catalog import Quirks, Vendor
from router.core.failure import Fault

FAULTS = {
    "invalid_authentication_error": Fault.AUTH,
    "incorrect_api_key_error": Fault.AUTH,
    "permission_denied_error": Fault.PERMISSION,
    "resource_not_found_error": Fault.NOT_FOUND,
    "exceeded_current_quota_error": Fault.QUOTA_EXHAUSTED,
    "rate_limit_reached_error": Fault.RATE_LIMITED,
    "engine_overloaded_error": Fault.OVERLOADED,
}

# Models that answer a 400 to any temperature but 1.
THINKERS = ("kimi-k2.5", "kimi-k2.6", "kimi-k2.7", "kimi-k2-thinking", "kimi-k3")

VENDOR = Vendor(
    name="moonshot",
    base_url="https://api.moonshot.cn/v1",
    currency="CNY",
    quirks=Quirks(
        faults=FAULTS,
        phrases=(
            ("exceeded model token limit", Fault.CONTEXT_TOO_LONG),
            ("input token length too long", Fault.CONTEXT_TOO_LONG),
        ),
        one_cap_field=True,
        ranges={"temperature": (0, 1)},
        model_ranges=tuple((prefix, {"temperature": (1, 1)}) for prefix in THINKERS),
        choices=frozenset({"auto", "none", "function"}),
        joins_texts=True,
        thoughts_back=True,
        usage_also_at=("choices.0.usage",),
    ),
)
