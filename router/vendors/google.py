"""Google Gemini, through its OpenAI layer (ai.google.dev/gemini-api/docs/openai)."""

from router.core.catalog import Vendor

VENDOR = Vendor(
    name="google",
    base_url="https://generativelanguage.googleapis.com/v1beta/openai",
    currency="USD",
)
