"""Google Gemini (ai.google.dev/gemini-api/docs). Google's own tools count a prompt with the vocabulary of Gemma 3: 1.07
o200k tokens in English, 0.96 in Chinese, 1.14 in code; prompts were billed as that count and 0 to 2 more (recorded 2026-11).

In its OpenAI layer each chunk has a usage that grows, and thinking is seen only as what the total has besides prompt and
completion; it is billed as output (recorded 2026-11).
"""

from router.core.catalog import Quirks, Vendor, Wire
from router.core.tokens import Counting

VENDOR = Vendor(
    name="google",
    base_url="https://generativelanguage.googleapis.com",
    currency="USD",
    dialect="gemini",
    also=(
        Wire(
            "openai",
            "https://generativelanguage.googleapis.com/v1beta/openai",
            Quirks(reasoning_in_total=True, signatures_back=True),
            tail="/openai",
        ),
    ),
    counting=Counting(factor=1070, hidden=8),
)
