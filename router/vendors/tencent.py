"""Tencent Hunyuan (cloud.tencent.com/document/product/1729/111007)."""

from router.core.catalog import Vendor

VENDOR = Vendor(
    name="tencent",
    base_url="https://api.hunyuan.cloud.tencent.com/v1",
    currency="CNY",
)
