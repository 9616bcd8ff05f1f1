"""xAI (docs.x.ai). 145 to 374 hidden prompt tokens were billed on recorded requests (2026-11).

`completion_tokens` is without the reasoning, as the total shows. `cost_in_usd_ticks` is the charge itself: 10^10 ticks are
a dollar, so 10 are a nano-dollar (checked on two recordings to the last digit). Its errors are `{"code": prose, "error": prose}`
and a bad key is a 400, so their words tell (vercel/ai's xai-error.ts, adapters).

Responses have the same ticks, with what its own tools cost (docs.x.ai/developers/cost-tracking, 2026-11).
"""

from router.core.catalog import Quirks, Vendor, Wire
from router.core.failure import Fault
from router.core.tokens import Counting

QUIRKS = Quirks(
    phrases=(
        ("incorrect api key", Fault.AUTH),
        ("maximum prompt length", Fault.CONTEXT_TOO_LONG),
        ("safety_check", Fault.CONTENT_FILTERED),
        ("no credits", Fault.QUOTA_EXHAUSTED),
    ),
    refuses=(("grok-4", frozenset({"presence_penalty", "frequency_penalty", "stop", "reasoning_effort"})),),
    cost_field=("cost_in_usd_ticks", 10),
    searches_at="num_sources_used",
)

VENDOR = Vendor(
    name="xai",
    base_url="https://api.x.ai/v1",
    currency="USD",
    quirks=QUIRKS,
    also=(Wire("responses", "https://api.x.ai/v1", QUIRKS),),
    endpoints=frozenset({"responses"}),
    counting=Counting(factor_high=1300, hidden=400, hidden_tools=400),
)
