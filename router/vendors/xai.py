"""xAI (docs.x.ai). 145 to 374 hidden prompt tokens were billed on recorded requests (2026-11)."""

from router.core.catalog import Vendor
from router.core.tokens import Counting

VENDOR = Vendor(
    name="xai",
    base_url="https://api.x.ai/v1",
    currency="USD",
    counting=Counting(factor_high=1300, hidden=400, hidden_tools=400),
)
