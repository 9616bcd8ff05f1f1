"""iFlytek Spark. Over HTTP (xfyun.cn/doc/spark/HTTP) the key is the APIPassword of the console; X models are under /v2. Over
its WebSocket (xfyun.cn/doc/spark/Web.html; `dialect: spark`) it is APPID:APIKey:APISecret.

Each answer and event has a `code`, also under status 200, and 0 is success; `finish_reason` may never come; streams write
`data:` without a space (docs.iflyaicloud.com/doc/237, 2026-11). What the codes mean is general knowledge, not re-checked.
"""

from router.core.catalog import Quirks, Vendor, Wire
from router.core.failure import Fault

FAULTS = {
    "10003": Fault.BAD_REQUEST,  # a message that cannot be read
    "10004": Fault.BAD_REQUEST,
    "10005": Fault.BAD_REQUEST,
    "10006": Fault.RATE_LIMITED,  # one connection for each user
    "10007": Fault.OVERLOADED,
    "10008": Fault.OVERLOADED,
    "10010": Fault.SERVER,
    "10012": Fault.SERVER,
    "10013": Fault.CONTENT_FILTERED,  # the input
    "10014": Fault.CONTENT_FILTERED,  # the output
    "10019": Fault.CONTENT_FILTERED,  # the conversation
    "10015": Fault.PERMISSION,  # the application is blocked
    "10016": Fault.PERMISSION,
    "10110": Fault.OVERLOADED,
    "10163": Fault.BAD_REQUEST,
    "10907": Fault.CONTEXT_TOO_LONG,
    "11200": Fault.QUOTA_EXHAUSTED,  # no permission, or all tokens used
    "11201": Fault.QUOTA_EXHAUSTED,  # the day's
    "11202": Fault.RATE_LIMITED,
    "11203": Fault.RATE_LIMITED,
}

VENDOR = Vendor(
    name="iflytek",
    base_url="https://spark-api-open.xf-yun.com/v1",
    currency="CNY",
    quirks=Quirks(
        one_cap_field=True,
        ranges={"temperature": (0.01, 1)},  # it refuses zero
        faults=FAULTS,
        verdict=("code", "message"),
    ),
    also=(Wire("spark", "wss://spark-api.xf-yun.com", Quirks(faults=FAULTS)),),
)
