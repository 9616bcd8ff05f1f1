"""Baidu Qianfan (ERNIE), v2 (cloud.baidu.com/doc/qianfan-api) and v1 (cloud.baidu.com/doc/WENXINWORKSHOP).

Codes from its error page (s/Om9b4yj3w, 2026-11); those of 401 to 503 and `unsafe_content` from adapters. It has responses
under the same address (s/Bmhsskbv5), which `dialect: responses` chooses: whether for every model is not said.
"""

from router.core.catalog import Quirks, Vendor, Wire
from router.core.failure import Fault

FAULTS = {
    "tokens_too_long": Fault.CONTEXT_TOO_LONG,
    "characters_too_long": Fault.CONTEXT_TOO_LONG,
    "unsafe_content": Fault.CONTENT_FILTERED,
    "invalid_iam_token": Fault.AUTH,
    "invalid_appId": Fault.AUTH,
    "invalid_model": Fault.NOT_FOUND,
    "account_overdue": Fault.QUOTA_EXHAUSTED,
    "access_denied": Fault.PERMISSION,
    "rpm_rate_limit_exceeded": Fault.RATE_LIMITED,
    "tpm_rate_limit_exceeded": Fault.RATE_LIMITED,
    "service_overloaded": Fault.OVERLOADED,
}

VENDOR = Vendor(
    name="baidu",
    base_url="https://qianfan.baidubce.com/v2",
    currency="CNY",
    quirks=Quirks(faults=FAULTS),
    also=(
        Wire("qianfan", "https://aip.baidubce.com", tail="aip.baidubce.com"),
        Wire("responses", "https://qianfan.baidubce.com/v2", Quirks(faults=FAULTS)),
    ),
)
