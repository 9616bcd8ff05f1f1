"""Who bills: one file each, `VENDOR = Vendor(...)`. An OpenAI-wire server without quirks needs no file, only configuration."""

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType

from router.core.catalog import Vendor

# The names that configurations use → the module here.
MODULES: Mapping[str, str] = MappingProxyType(
    {
        "openai": "openai",
        "azure-openai": "azure_openai",
        "anthropic": "anthropic",
        "google": "google",
        "alibaba": "alibaba",
        "baidu": "baidu",
        "tencent": "tencent",
        "bytedance": "bytedance",
        "deepseek": "deepseek",
        "zhipu": "zhipu",
        "moonshot": "moonshot",
        "minimax": "minimax",
        "baichuan": "baichuan",
        "01ai": "o1ai",
        "iflytek": "iflytek",
        "stepfun": "stepfun",
        "xai": "xai",
        "meta": "meta",
        "together": "together",
        "groq": "groq",
        "mistral": "mistral",
        "ollama": "ollama",
        "vllm": "vllm",
    }
)


def find(name: str) -> Vendor | None:
    """The vendor that Farebox knows under this name."""
    module = MODULES.get(name)
    if module is None:
        return None
    vendor: Vendor = import_module(f"router.vendors.{module}").VENDOR
    return vendor
