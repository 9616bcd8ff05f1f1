"""Alibaba Cloud Model Studio (Qwen), China site (help.aliyun.com/zh/model-studio). Keys are per region: international accounts
set `base_url` to https://dashscope-intl.aliyuncs.com/compatible-mode/v1 and `currency: USD`.
"""

from router.core.catalog import Vendor

VENDOR = Vendor(
    name="alibaba",
    base_url="https://dashscope.aliyuncs.com/compatible-mode/v1",
    currency="CNY",
)
