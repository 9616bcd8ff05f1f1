"""DeepSeek (api-docs.deepseek.com). It lists prices in USD and CNY; set `currency` to the one your account is billed in."""

from router.core.catalog import Vendor

VENDOR = Vendor(
    name="deepseek",
    base_url="https://api.deepseek.com/v1",
    currency="USD",
)
