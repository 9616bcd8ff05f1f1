"""OpenAI (platform.openai.com/docs/api-reference). Its newer models refuse `max_tokens`; all take `max_completion_tokens`.

It answers chat completions and responses; a client of either gets its own, and `dialect: responses` asks for chats there too.
"""

from typing import Literal

from router.core.catalog import Endpoint, Quirks, Vendor, Wire

# Which vocabulary a model counts with, by the longest prefix of its name (tiktoken.model, 0.14; gpt-6 is unpublished and
# assumed to go on with o200k_base).
EXACT = (
    ("gpt-4", "cl100k_base"),
    ("gpt-3.5", "cl100k_base"),
    ("text-embedding-", "cl100k_base"),
    ("gpt-4o", "o200k_base"),
    ("gpt-4.", "o200k_base"),
    ("gpt-", "o200k_base"),
    ("chatgpt-", "o200k_base"),
    ("o1", "o200k_base"),
    ("o3", "o200k_base"),
    ("o4", "o200k_base"),
)

# Models that take `reasoning_effort`; the others refuse it.
THINKING: tuple[tuple[str, Literal["effort"]], ...] = (
    ("gpt-5", "effort"),
    ("gpt-6", "effort"),
    ("o1", "effort"),
    ("o3", "effort"),
    ("o4", "effort"),
)

# What is answered under the same address, whichever of the two wires chats are asked on.
ENDPOINTS: frozenset[Endpoint] = frozenset({"responses", "completions", "embeddings"})
QUIRKS = Quirks(cap_field="max_completion_tokens", one_cap_field=True, thinking=THINKING)

VENDOR = Vendor(
    name="openai",
    base_url="https://api.openai.com/v1",
    currency="USD",
    quirks=QUIRKS,
    also=(Wire("responses", "https://api.openai.com/v1", QUIRKS),),
    endpoints=ENDPOINTS,
    exact_models=EXACT,
)
