"""Meta's own Llama API (llama.developer.meta.com). Other hosts: together, groq, ollama, or any OpenAI-wire server."""

from router.core.catalog import Vendor

VENDOR = Vendor(
    name="meta",
    base_url="https://api.llama.com/compat/v1",
    currency="USD",
)
