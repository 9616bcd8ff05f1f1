"""StepFun, China site (platform.stepfun.com). International accounts: https://api.stepfun.ai/v1 and `currency: USD`.

Each chunk has the usage so far, with `cached_tokens` at its top level (its streaming page, 2026-11); the last counts. The
error types are general knowledge, not re-checked.
"""

from router.core.catalog import Quirks, Vendor
from router.core.failure import Fault

VENDOR = Vendor(
    name="stepfun",
    base_url="https://api.stepfun.com/v1",
    currency="CNY",
    quirks=Quirks(
        faults={"censorship_blocked": Fault.CONTENT_FILTERED, "quota_exceeded": Fault.QUOTA_EXHAUSTED},
        phrases=(("longer than the context window", Fault.CONTEXT_TOO_LONG),),
    ),
)
