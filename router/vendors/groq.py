"""Groq (console.groq.com/docs): Llama and other open models.

A stream tells its usage up to three times: in the finish chunk, there also as `x_groq.usage`, and in the chunk asked for;
sometimes only as `x_groq.usage` (recorded 2026-11).
Of `n` it knows 1, and no logprobs or logit_bias (console.groq.com/docs/openai, 2026-11).
"""

from router.core.catalog import Quirks, Vendor

VENDOR = Vendor(
    name="groq",
    base_url="https://api.groq.com/openai/v1",
    currency="USD",
    quirks=Quirks(
        usage_also_at=("x_groq.usage",),
        refuses=(("", frozenset({"n", "logprobs", "top_logprobs", "logit_bias"})),),
    ),
)
