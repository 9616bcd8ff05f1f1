"""A vLLM server of your own (docs.vllm.ai/en/latest/serving/openai_compatible_server). Set `base_url`, such as
http://HOST:8000/v1, and give each model a price.

It follows the wire: usage comes as asked, in a chunk of its own, or with `continuous_usage_stats` in each chunk, of which the
last counts. Thinking is `reasoning`, before 0.11 `reasoning_content` (docs.vllm.ai/en/v0.11.2/features/reasoning_outputs); it
is part of the completion's tokens, and not counted apart.
"""

from router.core.catalog import Vendor

VENDOR = Vendor(
    name="vllm",
    base_url="",
    currency="USD",
)
