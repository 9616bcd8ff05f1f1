"""Azure OpenAI, v1 wire (learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle). Set `base_url` to
https://RESOURCE.openai.azure.com/openai/v1; a model's `name` is its deployment.
"""

from dataclasses import replace

from router.core.catalog import Vendor, Wire
from router.vendors import openai

QUIRKS = replace(openai.QUIRKS, key_header="api-key")

VENDOR = Vendor(
    name="azure-openai",
    base_url="",
    currency="USD",
    quirks=QUIRKS,
    also=(Wire("responses", "", QUIRKS),),
    endpoints=openai.ENDPOINTS,
    exact_models=openai.EXACT,
)
