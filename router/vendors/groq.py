"""Groq (console.groq.com/docs): Llama and other open models."""

from router.core.catalog import Vendor

VENDOR = Vendor(
    name="groq",
    base_url="https://api.groq.com/openai/v1",
    currency="USD",
)
