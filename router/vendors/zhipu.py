"""Zhipu (GLM), China site (docs.bigmodel.cn). International accounts: https://api.z.ai/api/paas/v4 and `currency: USD`."""

from router.core.catalog import Vendor

VENDOR = Vendor(
    name="zhipu",
    base_url="https://open.bigmodel.cn/api/paas/v4",
    currency="CNY",
)
