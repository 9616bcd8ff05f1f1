"""Anthropic (docs.anthropic.com/en/api). 300 to 530 hidden prompt tokens come with tools, 7 to 9 without (recorded 2026-11).

Its OpenAI layer is for trying things out, as it says itself, and reports no cache use: the own wire is the default.
"""

from router.core.catalog import Vendor, Wire

VENDOR = Vendor(
    name="anthropic",
    base_url="https://api.anthropic.com",
    currency="USD",
    dialect="anthropic",
    also=(Wire("openai", "https://api.anthropic.com/v1"),),
)
