"""DeepSeek (api-docs.deepseek.com). It lists prices in USD and CNY; set `currency` to the one your account is billed in.

While it waits under load it sends blank lines before a plain answer and `: keep-alive` comments before a stream. Its code is
`invalid_request_error` for nearly everything, so the status and the message tell (error page and recordings, 2026-11).
"""

from router.core.catalog import Quirks, Vendor
from router.core.failure import Fault

VENDOR = Vendor(
    name="deepseek",
    base_url="https://api.deepseek.com/v1",
    currency="USD",
    quirks=Quirks(
        faults={"rate_limit_reached": Fault.RATE_LIMITED},
        phrases=(("content exists risk", Fault.CONTENT_FILTERED),),
        finishes={"insufficient_system_resource": Fault.OVERLOADED},
        refuses=(("", frozenset({"n"})),),  # ignored
        thinking=(("", "type"),),
        thoughts_back=True,
    ),
)
