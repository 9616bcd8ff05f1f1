"""Alibaba Cloud Model Studio (Qwen), China site (help.aliyun.com/zh/model-studio). Keys are per region: international accounts
set `base_url` to https://dashscope-intl.aliyuncs.com/compatible-mode/v1 and `currency: USD`.

Codes and ranges from its error-code page (2026-11). `insufficient_quota` is tokens per minute there, not money; an unpaid
account is a 400 `Arrearage`. The length message was recorded in QwenLM/qwen-code #98. The open Qwen3 models think unless told otherwise, and then refuse a
plain answer (langchain4j #3974).
"""

from router.core.catalog import Quirks, Vendor
from router.core.failure import Fault

FAULTS = {
    "data_inspection_failed": Fault.CONTENT_FILTERED,
    "DataInspectionFailed": Fault.CONTENT_FILTERED,
    "Arrearage": Fault.QUOTA_EXHAUSTED,
    "AllocationQuota": Fault.QUOTA_EXHAUSTED,  # .FreeTierOnly
    "AccessDenied": Fault.PERMISSION,
    "insufficient_quota": Fault.RATE_LIMITED,
    "limit_requests": Fault.RATE_LIMITED,
    "Throttling": Fault.RATE_LIMITED,  # .RateQuota, .BurstRate, .AllocationQuota
    "RequestTimeOut": Fault.TIMEOUT,
    "ModelServingError": Fault.OVERLOADED,
}

VENDOR = Vendor(
    name="alibaba",
    base_url="https://dashscope.aliyuncs.com/compatible-mode/v1",
    currency="CNY",
    quirks=Quirks(
        faults=FAULTS,
        phrases=(("range of input length should be", Fault.CONTEXT_TOO_LONG),),
        thinking=(("qwen3", "enable"), ("qwen-plus", "enable"), ("qwen-turbo", "enable"), ("qwen-flash", "enable")),
        plain_unthinking=r"qwen3(\.\d+)?-\d+(\.\d+)?b(-a\d+b)?",
        ranges={"temperature": (0, 1.99), "top_p": (0.01, 1)},
    ),
)
