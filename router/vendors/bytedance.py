"""ByteDance Volcano Engine Ark (Doubao). A model's `name` may be an endpoint id `ep-…`; then give it `priced_as` or a `price`.

Codes from mirrors of its error table (2026-11). `SetLimitExceeded` is a spending limit that the account's owner set: it
does not pass by waiting. It has responses under the same address (_constants.py of its SDK, 2026-11), which
`dialect: responses` chooses.
"""

from router.core.catalog import Quirks, Vendor, Wire
from router.core.failure import Fault

FAULTS = {
    "SensitiveContentDetected": Fault.CONTENT_FILTERED,
    "InputTextSensitiveContentDetected": Fault.CONTENT_FILTERED,
    "OutputTextSensitiveContentDetected": Fault.CONTENT_FILTERED,
    "InputImageSensitiveContentDetected": Fault.CONTENT_FILTERED,
    "OutputImageSensitiveContentDetected": Fault.CONTENT_FILTERED,
    "AuthenticationError": Fault.AUTH,
    "AccountOverdueError": Fault.QUOTA_EXHAUSTED,
    "SetLimitExceeded": Fault.QUOTA_EXHAUSTED,
    "QuotaExceeded": Fault.QUOTA_EXHAUSTED,
    "AccessDenied": Fault.PERMISSION,
    "ModelNotOpen": Fault.PERMISSION,
    "InvalidEndpointOrModel": Fault.NOT_FOUND,
    "ModelAccountRpmRateLimitExceeded": Fault.RATE_LIMITED,
    "ModelAccountTpmRateLimitExceeded": Fault.RATE_LIMITED,
    "ModelAccountIpmRateLimitExceeded": Fault.RATE_LIMITED,
    "RateLimitExceeded": Fault.RATE_LIMITED,  # .EndpointRPMExceeded, .EndpointTPMExceeded
    "ServerOverloaded": Fault.OVERLOADED,
}

QUIRKS = Quirks(
    faults=FAULTS,
    phrases=(("exceeds the maximum length", Fault.CONTEXT_TOO_LONG),),
    refuses=(("", frozenset({"n"})),),
    thinking=(("doubao-seed", "type"),),
)

VENDOR = Vendor(
    name="bytedance",
    base_url="https://ark.cn-beijing.volces.com/api/v3",
    currency="CNY",
    quirks=QUIRKS,
    also=(Wire("responses", "https://ark.cn-beijing.volces.com/api/v3", QUIRKS),),
)
