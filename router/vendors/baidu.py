"""Baidu Qianfan (ERNIE), v2 (cloud.baidu.com/doc/qianfan-api)."""

from router.core.catalog import Vendor

VENDOR = Vendor(
    name="baidu",
    base_url="https://qianfan.baidubce.com/v2",
    currency="CNY",
)
