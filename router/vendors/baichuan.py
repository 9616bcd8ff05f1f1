"""Baichuan (platform.baichuan-ai.com).

A 429 is a rate limit or an empty account, told apart by the message where no type does; temperature is 0 to 1 and the one
cap is `max_tokens` (its API page at f8cxtsvnr8.apifox.cn, 2026-11).
"""

from router.core.catalog import Quirks, Vendor
from router.core.failure import Fault

VENDOR = Vendor(
    name="baichuan",
    base_url="https://api.baichuan-ai.com/v1",
    currency="CNY",
    quirks=Quirks(
        one_cap_field=True,
        ranges={"temperature": (0, 1)},
        phrases=(("insufficient account balance", Fault.QUOTA_EXHAUSTED),),
    ),
)
