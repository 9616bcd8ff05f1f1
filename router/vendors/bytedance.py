"""ByteDance Volcano Engine Ark (Doubao). A model's `name` may be an endpoint id `ep-…`; then give it `priced_as` or a `price`."""

from router.core.catalog import Vendor

VENDOR = Vendor(
    name="bytedance",
    base_url="https://ark.cn-beijing.volces.com/api/v3",
    currency="CNY",
)
