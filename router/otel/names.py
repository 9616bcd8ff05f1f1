"""What is called otherwise in OpenTelemetry's semantic conventions (semantic-conventions-genai, 2026-11)."""

# Vendors for which the conventions have a value of `gen_ai.provider.name`; any other is told by its name.
PROVIDERS = {
    "azure-openai": "azure.ai.openai",
    "google": "gcp.gemini",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "xai": "x_ai",
}

# The scrape's name → name and unit
METRICS = {
    "gen_ai_client_token_usage": ("gen_ai.client.token.usage", "{token}"),
    "gen_ai_client_operation_duration_seconds": ("gen_ai.client.operation.duration", "s"),
    "gen_ai_client_operation_time_to_first_chunk_seconds": ("gen_ai.client.operation.time_to_first_chunk", "s"),
    "process_cpu_seconds": ("process.cpu.time", "s"),
    "process_resident_memory_bytes": ("process.memory.usage", "By"),
    "process_virtual_memory_bytes": ("process.memory.virtual", "By"),
    "process_open_fds": ("process.unix.file_descriptor.count", "{file_descriptor}"),
}

ATTRIBUTES = {
    "gen_ai_operation_name": "gen_ai.operation.name",
    "gen_ai_provider_name": "gen_ai.provider.name",
    "gen_ai_request_model": "gen_ai.request.model",
    "gen_ai_token_type": "gen_ai.token.type",
}


def metric(name: str) -> tuple[str, str]:
    """Name and unit of a metric: ours keep their words, and lose a unit that is told beside."""
    if name in METRICS:
        return METRICS[name]
    stem = name.removesuffix("_seconds")
    return stem.replace("farebox_", "farebox.", 1).replace("process_", "process.", 1), "s" if stem != name else ""


def attributes(labels: dict[str, str]) -> dict[str, str]:
    named = {ATTRIBUTES.get(label, label): value for label, value in labels.items()}
    if provider := named.get("gen_ai.provider.name"):
        named["gen_ai.provider.name"] = PROVIDERS.get(provider, provider)
    return named
