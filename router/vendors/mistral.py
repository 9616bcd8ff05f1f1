"""Mistral (docs.mistral.ai). Usage comes in the finish chunk unasked; older versions answer 422 to `stream_options`.

Errors stand at the top level, with telling types, or as `detail` (vercel/ai's mistral-error.ts and recordings, 2026-11).
Ids of tool calls are nine letters or digits; those of an earlier turn at another vendor are not (general knowledge).
`num_cached_tokens` is an engine's counter (prompt less one on every answer), no discount, and is not read.
"""

from router.core.catalog import Quirks, Vendor
from router.core.failure import Fault

VENDOR = Vendor(
    name="mistral",
    base_url="https://api.mistral.ai/v1",
    currency="USD",
    quirks=Quirks(
        one_cap_field=True,
        asks_stream_usage=False,
        call_ids=9,
        renamed={"seed": "random_seed"},
        faults={
            "rate_limited": Fault.RATE_LIMITED,
            "service_tier_capacity_exceeded": Fault.OVERLOADED,
        },
    ),
)
