"""01.AI (Yi), platform.lingyiwanwu.com. The plain wire, as far as adapters show (2026-11)."""

from router.core.catalog import Vendor

VENDOR = Vendor(
    name="01ai",
    base_url="https://api.lingyiwanwu.com/v1",
    currency="CNY",
)
