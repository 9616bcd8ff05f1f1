"""iFlytek Spark, HTTP (xfyun.cn/doc/spark/HTTP). The key is the APIPassword of the console; X models are under /v2."""

from router.core.catalog import Vendor

VENDOR = Vendor(
    name="iflytek",
    base_url="https://spark-api-open.xf-yun.com/v1",
    currency="CNY",
)
