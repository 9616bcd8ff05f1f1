"""Anthropic, through its OpenAI layer (docs.anthropic.com/en/api/openai-sdk)."""

from router.core.catalog import Vendor

VENDOR = Vendor(
    name="anthropic",
    base_url="https://api.anthropic.com/v1",
    currency="USD",
)
