"""StepFun, China site (platform.stepfun.com). International accounts: https://api.stepfun.ai/v1 and `currency: USD`."""

from router.core.catalog import Vendor

VENDOR = Vendor(
    name="stepfun",
    base_url="https://api.stepfun.com/v1",
    currency="CNY",
)
