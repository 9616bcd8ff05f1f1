"""Moonshot (Kimi), China site (platform.moonshot.cn). International accounts: https://api.moonshot.ai/v1, `currency: USD`."""

from router.core.catalog import Vendor

VENDOR = Vendor(
    name="moonshot",
    base_url="https://api.moonshot.cn/v1",
    currency="CNY",
)
