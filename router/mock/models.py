"""What each pretended vendor sells, for `GET /v1/models`. Any other model name is answered too."""

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
    "iflytek": ("spark-max", "spark-pro", "spark-lite", "4.0Ultra"),
    "stepfun": ("step-1-8k", "step-1-32k", "step-1-flash", "step-2-16k"),
    "xai": ("grok-2", "grok-3", "grok-3-mini"),
    "meta": ("Llama-3.3-70B-Instruct", "Llama-3.3-8B-Instruct"),
    "together": ("meta-llama/Llama-3.3-70B-Instruct-Turbo", "mistralai/Mixtral-8x7B-Instruct-v0.1"),
    "groq": ("llama-3.3-70b-versatile", "llama-3.1-8b-instant"),
    "mistral": ("mistral-large-latest", "mistral-small-latest", "mistral-embed"),
    "ollama": ("llama3.2", "qwen2.5", "nomic-embed-text"),
}


def names(vendor: str) -> tuple[str, ...]:
    return _BY_VENDOR.get(vendor, _BY_VENDOR["openai"])


def of(vendor: str) -> list[dict[str, object]]:
    """As OpenAI lists them."""
    return [{"id": name, "object": "model", "created": 1_700_000_000, "owned_by": vendor} for name in names(vendor)]


def vendors() -> tuple[str, ...]:
    return tuple(_BY_VENDOR)
