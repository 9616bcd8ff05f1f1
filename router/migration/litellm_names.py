"""What LiteLLM calls things: its prefixes of model names, its durations, its references to the environment.

As in docs.litellm.ai/docs/providers and docs/proxy/configs, November 2026.
"""

import re
from typing import Any

# prefix → vendor here
VENDORS = {
    "openai": "openai", "text-completion-openai": "openai", "azure": "azure-openai", "anthropic": "anthropic", "gemini": "google",
    "dashscope": "alibaba", "deepseek": "deepseek", "moonshot": "moonshot", "minimax": "minimax", "zai": "zhipu",
    "volcengine": "bytedance", "xai": "xai", "groq": "groq", "mistral": "mistral", "together_ai": "together",
    "meta_llama": "meta", "ollama": "ollama", "ollama_chat": "ollama", "hosted_vllm": "vllm",
}  # fmt: skip
# prefix → address of a vendor that Farebox has no file for, but whose wire is OpenAI's
ADDRESSES = {
    "openrouter": "https://openrouter.ai/api/v1", "fireworks_ai": "https://api.fireworks.ai/inference/v1",
    "deepinfra": "https://api.deepinfra.com/v1/openai", "cerebras": "https://api.cerebras.ai/v1",
    "nvidia_nim": "https://integrate.api.nvidia.com/v1", "perplexity": "https://api.perplexity.ai",
    "openai_like": "", "custom_openai": "", "litellm_proxy": "", "lm_studio": "", "llamafile": "",
}  # fmt: skip
OWN = {"vllm", "ollama", "openai_like", "custom_openai", "lm_studio", "llamafile"}
"""Servers of one's own: LiteLLM counts them as nothing where no cost is given."""
ABROAD = {
    "dashscope": "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "moonshot": "https://api.moonshot.ai/v1",
    "minimax": "https://api.minimax.io/v1", "zai": "https://api.z.ai/api/paas/v4",
}  # fmt: skip
"""Where LiteLLM asks these where the file does not say: at their addresses abroad, which bill in USD."""
KEYS = {
    "openai": "OPENAI_API_KEY", "azure-openai": "AZURE_API_KEY", "anthropic": "ANTHROPIC_API_KEY", "google": "GEMINI_API_KEY",
    "alibaba": "DASHSCOPE_API_KEY", "deepseek": "DEEPSEEK_API_KEY", "moonshot": "MOONSHOT_API_KEY", "minimax": "MINIMAX_API_KEY",
    "zhipu": "ZAI_API_KEY", "bytedance": "VOLCENGINE_API_KEY", "xai": "XAI_API_KEY", "groq": "GROQ_API_KEY",
    "mistral": "MISTRAL_API_KEY", "together": "TOGETHERAI_API_KEY", "meta": "LLAMA_API_KEY", "openrouter": "OPENROUTER_API_KEY",
    "fireworks_ai": "FIREWORKS_AI_API_KEY", "deepinfra": "DEEPINFRA_API_KEY", "cerebras": "CEREBRAS_API_KEY",
    "nvidia_nim": "NVIDIA_NIM_API_KEY", "perplexity": "PERPLEXITYAI_API_KEY",
}  # fmt: skip
"""Where LiteLLM looks for a key that the file does not give."""
_BARE = (
    (r"(gpt|chatgpt|o[134])[-\d]|o[134]$|text-embedding-", "openai"),
    (r"claude", "anthropic"),
    (r"gemini", "google"),
    (r"deepseek", "deepseek"),
    (r"(mistral|ministral|codestral|open-mistral)", "mistral"),
)
PERIODS = {
    "1h": "hour", "60m": "hour", "3600s": "hour", "1d": "day", "24h": "day", "86400s": "day", "7d": "week", "1w": "week",
    "30d": "month", "31d": "month", "1mo": "month", "90d": "quarter", "3mo": "quarter", "365d": "year", "1y": "year", "12mo": "year",
}  # fmt: skip
WORDS = {"hourly": "hour", "daily": "day", "weekly": "week", "monthly": "month", "yearly": "year"}


def split(model: str) -> tuple[str, str]:
    """("azure", "my-deployment"); a bare name's prefix is guessed, and blank where it cannot be."""
    prefix, slash, rest = model.partition("/")
    if slash and (prefix in VENDORS or prefix in ADDRESSES):
        return prefix, rest.removeprefix("responses/")
    if slash:
        return prefix, rest
    for pattern, vendor in _BARE:
        if re.match(pattern, model):
            return {"google": "gemini"}.get(vendor, vendor), model
    return "", model


def reference(value: Any) -> Any:
    """`os.environ/X` as `${X}`; all else as it is."""
    if isinstance(value, str) and value.startswith("os.environ/"):
        return "${" + value.removeprefix("os.environ/") + "}"
    return value


def period(duration: Any) -> tuple[str, bool]:
    """The calendar window that is nearest to a duration, and whether it is just as long."""
    if not duration:
        return "total", True
    told = str(duration).strip().lower()
    if told in WORDS:
        return WORDS[told], True
    if told in PERIODS:
        return PERIODS[told], True
    found = re.fullmatch(r"(\d+)\s*(s|m|h|d|w|mo|y)", told)
    if not found:
        return "month", False
    days = int(found[1]) * {"s": 1 / 86400, "m": 1 / 1440, "h": 1 / 24, "d": 1, "w": 7, "mo": 30, "y": 365}[found[2]]
    lengths = {"hour": 1 / 24, "day": 1, "week": 7, "month": 30, "quarter": 91, "year": 365}
    return min(lengths, key=lambda name: abs(lengths[name] - days) / max(lengths[name], days)), False
