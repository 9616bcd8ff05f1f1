"""Azure OpenAI (learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle). Set `base_url` to
https://RESOURCE.openai.azure.com/openai/v1, or to https://RESOURCE.openai.azure.com/openai?api-version=VERSION for the classic
address of each deployment; a model's `name` is its deployment. Versions before 2024-09-01 know neither `stream_options` nor
`max_completion_tokens`.
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
