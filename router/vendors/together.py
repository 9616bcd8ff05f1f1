"""Together (docs.together.ai): Llama and other open models."""

from router.core.catalog import Vendor

VENDOR = Vendor(
    name="together",
    base_url="https://api.together.xyz/v1",
    currency="USD",
)
