"""OpenAI (platform.openai.com/docs/api-reference). Its newer models refuse `max_tokens`; all take `max_completion_tokens`."""

from typing import Literal

from router.core.catalog import Quirks, Vendor

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

VENDOR = Vendor(
    name="openai",
    base_url="https://api.openai.com/v1",
    currency="USD",
    quirks=Quirks(cap_field="max_completion_tokens", one_cap_field=True, thinking=THINKING),
    exact_models=EXACT,
)
