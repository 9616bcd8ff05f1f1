"""MiniMax, China site (platform.minimaxi.com). International accounts: https://api.minimax.io/v1 and `currency: USD`."""

from router.core.catalog import Vendor

VENDOR = Vendor(
    name="minimax",
    base_url="https://api.minimaxi.com/v1",
    currency="CNY",
)
