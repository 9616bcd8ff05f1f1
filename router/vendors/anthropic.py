"""Anthropic (docs.anthropic.com/en/api). 300 to 530 hidden prompt tokens come with tools, 7 to 9 without (recorded 2026-11).

Its OpenAI layer is for trying things out, as it says itself, and reports no cache use: the own wire is the default.
"""

from router.core.catalog import Quirks, Vendor, Wire

# docs.anthropic.com/en/docs/build-with-claude/prompt-caching, as known in 2026-11; others cache from 1024 tokens on. A mark on
# a shorter beginning is ignored and costs nothing, so a model that is missing here is no harm.
CACHES_FROM = (
    ("claude-opus-4-5", 4096),
    ("claude-opus-4-6", 4096),
    ("claude-haiku-4-5", 4096),
    ("claude-3-5-haiku", 2048),
    ("claude-3-haiku", 2048),
)

VENDOR = Vendor(
    name="anthropic",
    base_url="https://api.anthropic.com",
    currency="USD",
    dialect="anthropic",
    quirks=Quirks(caches_from=CACHES_FROM),
    also=(Wire("openai", "https://api.anthropic.com/v1"),),
)
