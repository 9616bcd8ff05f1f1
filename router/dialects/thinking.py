"""Whether a request asks its model to think, on any wire: some prices depend on it."""

from collections.abc import Mapping
from typing import Any

SWITCHES = ("enable_thinking", "EnableThinking", "think")
"""Alibaba's and vLLM's, Tencent's and Ollama's: a boolean, or how hard."""
NOT_AT_ALL = (None, "none", "disabled", False, 0)


def asks(body: Mapping[str, Any]) -> bool:
    """Whether a body asks for thinking; where it says both, what turns it on or off goes before how hard it is to be."""
    template = body.get("chat_template_kwargs")  # vLLM's
    for place in (body, template if isinstance(template, dict) else {}):
        if (told := next((place[name] for name in SWITCHES if place.get(name) is not None), None)) is not None:
            return told not in NOT_AT_ALL
    thinking, reasoning = body.get("thinking"), body.get("reasoning")
    if isinstance(thinking, dict):  # Anthropic's, and of many on the OpenAI wire
        return thinking.get("type") not in NOT_AT_ALL
    if isinstance(reasoning, dict):
        return reasoning.get("effort") not in NOT_AT_ALL or reasoning.get("enabled") is True
    if (config := body.get("generationConfig")) and isinstance(config, dict):
        wanted = config.get("thinkingConfig")
        wanted = wanted if isinstance(wanted, dict) else {}
        return wanted.get("thinkingLevel") is not None or wanted.get("thinkingBudget") not in NOT_AT_ALL
    return body.get("reasoning_effort") not in NOT_AT_ALL
