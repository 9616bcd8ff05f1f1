"""Azure OpenAI, v1 wire (learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle). Set `base_url` to
https://RESOURCE.openai.azure.com/openai/v1; a model's `name` is its deployment.
"""

from router.core.catalog import Quirks, Vendor
from router.vendors import openai

VENDOR = Vendor(
    name="azure-openai",
    base_url="",
    currency="USD",
    quirks=Quirks(
        cap_field="max_completion_tokens", one_cap_field=True, key_header="api-key", thinking=openai.THINKING
    ),
    exact_models=openai.EXACT,
)
