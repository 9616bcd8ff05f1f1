"""Baichuan (platform.baichuan-ai.com)."""

from router.core.catalog import Vendor

VENDOR = Vendor(
    name="baichuan",
    base_url="https://api.baichuan-ai.com/v1",
    currency="CNY",
)
