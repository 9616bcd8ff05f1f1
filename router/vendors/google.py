"""Google Gemini, through its OpenAI layer (ai.google.dev/gemini-api/docs/openai).

Each chunk has a usage that grows, and thinking is seen only as what the total has besides prompt and completion; it is
billed as output (recorded 2026-11).
"""

from router.core.catalog import Quirks, Vendor

VENDOR = Vendor(
    name="google",
    base_url="https://generativelanguage.googleapis.com/v1beta/openai",
    currency="USD",
    quirks=Quirks(reasoning_in_total=True),
)
