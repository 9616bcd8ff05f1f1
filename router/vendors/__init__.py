"""Who bills: one file each, `VENDOR = Vendor(...)`. An OpenAI-wire server without quirks needs no file, only configuration."""

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from types import MappingProxyType

from router.core.catalog import DialectName, Quirks, Vendor
from router.core.tokens import OPENAI, Counting

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


def speaking(vendor: Vendor, dialect: DialectName | None, base_url: str | None) -> Vendor:
    """A vendor in the dialect that was configured, or in the one whose address was: its own by default."""
    for wire in vendor.also:
        if wire.dialect == dialect or (dialect is None and base_url and base_url.rstrip("/").endswith(wire.tail)):
            return replace(vendor, dialect=wire.dialect, base_url=wire.base_url, quirks=wire.quirks)
    if dialect is None or dialect == vendor.dialect:
        return vendor
    return replace(vendor, dialect=dialect, quirks=Quirks(), endpoints=frozenset())


def counting(vendor: Vendor, name: str) -> Counting:
    """How a model of this name counts: exactly, where its vocabulary is known, else as its vendor's default says."""
    matches = [(len(prefix), encoding) for prefix, encoding in vendor.exact_models if name.startswith(prefix)]
    if not matches:
        return vendor.counting
    return replace(OPENAI, encoding=max(matches)[1])
