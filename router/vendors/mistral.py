"""Mistral (docs.mistral.ai). Usage comes in the finish chunk unasked; older versions answer 422 to `stream_options`."""

from router.core.catalog import Quirks, Vendor

VENDOR = Vendor(
    name="mistral",
    base_url="https://api.mistral.ai/v1",
    currency="USD",
    quirks=Quirks(asks_stream_usage=False),
)
