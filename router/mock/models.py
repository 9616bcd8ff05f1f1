"""What each pretended vendor sells, for `GET /v1/models`. Any other model name is answered too. Pure."""

from collections.abc import Mapping
from typing import Any

_BY_VENDOR: dict[str, tuple[str, ...]] = {
    "openai": (
        "gpt-4o",
        "gpt-4o-mini",
        "gpt-4-turbo",
        "o1",
        "o3-mini",
        "text-embedding-3-small",
        "text-embedding-3-large",
    ),
    "anthropic": ("claude-opus-4-5", "claude-sonnet-4-6", "claude-sonnet-4-5", "claude-haiku-4-5"),
    "google": ("gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.5-flash-lite", "gemini-embedding-001"),
    "alibaba": ("qwen-max", "qwen-plus", "qwen-turbo", "qwen-long", "text-embedding-v3"),
    "baidu": ("ernie-4.0-8k", "ernie-4.0-turbo-8k", "ernie-3.5-8k", "ernie-speed-128k", "ernie-lite-8k"),
    "tencent": ("hunyuan-pro", "hunyuan-standard", "hunyuan-turbo", "hunyuan-lite", "hunyuan-embedding"),
    "bytedance": ("doubao-pro-32k", "doubao-pro-128k", "doubao-lite-32k", "doubao-embedding"),
    "deepseek": ("deepseek-chat", "deepseek-reasoner"),
    "zhipu": ("glm-4", "glm-4-plus", "glm-4-air", "glm-4-flash", "embedding-3"),
    "moonshot": ("moonshot-v1-8k", "moonshot-v1-32k", "moonshot-v1-128k"),
    "minimax": ("abab6.5-chat", "abab6.5s-chat", "MiniMax-Text-01"),
    "baichuan": ("Baichuan4", "Baichuan3-Turbo", "Baichuan2-Turbo"),
    "01ai": ("yi-large", "yi-large-turbo", "yi-medium", "yi-lightning"),
    "iflytek": ("lite", "generalv3", "pro-128k", "generalv3.5", "max-32k", "4.0Ultra"),
    "stepfun": ("step-1-8k", "step-1-32k", "step-1-flash", "step-2-16k"),
    "xai": ("grok-2", "grok-3", "grok-3-mini"),
    "meta": ("Llama-3.3-70B-Instruct", "Llama-3.3-8B-Instruct"),
    "together": ("meta-llama/Llama-3.3-70B-Instruct-Turbo", "mistralai/Mixtral-8x7B-Instruct-v0.1"),
    "groq": ("llama-3.3-70b-versatile", "llama-3.1-8b-instant"),
    "mistral": ("mistral-large-latest", "mistral-small-latest", "mistral-embed"),
    "ollama": ("llama3.2", "qwen2.5", "nomic-embed-text"),
    "vllm": ("meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-8B"),
}


def names(vendor: str) -> tuple[str, ...]:
    return _BY_VENDOR.get(vendor, _BY_VENDOR["openai"])


def one(style: str, vendor: str, name: str) -> dict[str, Any]:
    """A model as `openai`, `anthropic` or `google` describes it."""
    if style == "anthropic":
        return {"type": "model", "id": name, "display_name": name, "created_at": "2025-01-01T00:00:00Z"}
    if style == "google":
        verbs = ["embedContent"] if "embedding" in name else ["generateContent", "countTokens"]
        return {"name": f"models/{name}", "displayName": name, "version": "001", "supportedGenerationMethods": verbs}
    return {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": vendor}


def every(style: str, vendor: str) -> dict[str, Any]:
    """The list of a vendor's models."""
    listed = [one(style, vendor, name) for name in names(vendor)]
    if style == "anthropic":
        return {"data": listed, "has_more": False, "first_id": listed[0]["id"], "last_id": listed[-1]["id"]}
    return {"models": listed} if style == "google" else {"object": "list", "data": listed}


def style_of(path: str, headers: Mapping[str, str]) -> str:
    """Whose client asks, told by where it asks and what it says about itself; header names are lower-case."""
    if "/openai/" in path:  # Google's and Groq's, whatever else a client says
        return "openai"
    if "/v1beta/" in path or "x-goog-api-key" in headers:
        return "google"
    return "anthropic" if "anthropic-version" in headers else "openai"


def vendors() -> tuple[str, ...]:
    return tuple(_BY_VENDOR)
