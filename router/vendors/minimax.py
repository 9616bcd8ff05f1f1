"""MiniMax, China site (platform.minimaxi.com). International accounts: https://api.minimax.io/v1 and `currency: USD`.

Errors are `base_resp.status_code`, often under status 200 (its errorcode.md, 2026-11). Streams carry usages of zeros and
close with a whole `chat.completion` that repeats the text and has the real usage (OpenBitFun #792, GoModel #1068), which the
dialect takes from any vendor. Zero is refused as temperature or top_p.
"""

from router.core.catalog import Quirks, Vendor
from router.core.failure import Fault

FAULTS = {
    "1000": Fault.SERVER,
    "1001": Fault.TIMEOUT,
    "1002": Fault.RATE_LIMITED,
    "1004": Fault.AUTH,
    "1008": Fault.QUOTA_EXHAUSTED,  # balance
    "1013": Fault.SERVER,
    "1024": Fault.SERVER,
    "1026": Fault.CONTENT_FILTERED,  # the input
    "1027": Fault.CONTENT_FILTERED,  # the output
    "1033": Fault.SERVER,
    "1039": Fault.RATE_LIMITED,  # tokens per minute
    "1041": Fault.OVERLOADED,
    "2013": Fault.BAD_REQUEST,
    "2049": Fault.AUTH,
    "2056": Fault.QUOTA_EXHAUSTED,  # a plan's limit
}

VENDOR = Vendor(
    name="minimax",
    base_url="https://api.minimaxi.com/v1",
    currency="CNY",
    quirks=Quirks(
        ranges={"temperature": (0.01, 1), "top_p": (0.01, 1)},
        refuses=(("", frozenset({"n", "presence_penalty", "frequency_penalty", "logit_bias"})),),  # ignored
        faults=FAULTS,
        phrases=(("context window exceeds limit", Fault.CONTEXT_TOO_LONG),),
        verdict=("base_resp.status_code", "base_resp.status_msg"),
    ),
)
