"""Tencent Hunyuan, OpenAI layer (cloud.tencent.com/document/product/1729/111007) and its native API (.../105701).

Codes are those of its native API (errorcodes.py of tencentcloud-sdk-python-hunyuan 3.1.180, 2026-11); that the OpenAI layer
uses them too is from adapters. Each chunk may have the usage so far.
"""

from router.core.catalog import Quirks, Vendor, Wire
from router.core.failure import Fault

FAULTS = {
    "AuthFailure": Fault.AUTH,
    "OperationDenied.TextIllegalDetected": Fault.CONTENT_FILTERED,
    "OperationDenied.ImageIllegalDetected": Fault.CONTENT_FILTERED,
    "FailedOperation.ServiceStopArrears": Fault.QUOTA_EXHAUSTED,
    "FailedOperation.ResourcePackExhausted": Fault.QUOTA_EXHAUSTED,
    "FailedOperation.FreeResourcePackExhausted": Fault.QUOTA_EXHAUSTED,
    "ResourceInsufficient.ChargeResourceExhaust": Fault.QUOTA_EXHAUSTED,
    "ResourceUnavailable": Fault.QUOTA_EXHAUSTED,  # .InArrears, .LowBalance
    "FailedOperation.ServiceNotActivated": Fault.PERMISSION,
    "InvalidParameterValue.Model": Fault.NOT_FOUND,
    "LimitExceeded": Fault.RATE_LIMITED,
    "RequestLimitExceeded": Fault.RATE_LIMITED,
    "FailedOperation.EngineServerLimitExceeded": Fault.OVERLOADED,
    "FailedOperation.EngineRequestTimeout": Fault.TIMEOUT,
    "FailedOperation.EngineServerError": Fault.SERVER,
}

VENDOR = Vendor(
    name="tencent",
    base_url="https://api.hunyuan.cloud.tencent.com/v1",
    currency="CNY",
    quirks=Quirks(faults=FAULTS, finishes={"sensitive": Fault.CONTENT_FILTERED}, refuses=(("", frozenset({"n"})),)),
    also=(Wire("hunyuan", "https://hunyuan.tencentcloudapi.com", tail=".tencentcloudapi.com"),),
)
