"""Requests for vendors on the Gemini wire: a chat completion, translated, or refused by the name of what has no place there.

Clients do not speak it. Embeddings go to the vendor's OpenAI layer, whose bodies are the client's own.
"""

from collections.abc import Mapping
from typing import Any

from router.core import jsonio
from router.core.catalog import ChatRequest, Model
from router.dialects import openai
from router.dialects.carry import Carries
from router.dialects.gemini_body import choice_of, part_of, translate
from router.dialects.hub import arguments, is_system, names_of
from router.dialects.sent import Sent, credential, under

MAX_CANDIDATES = 8  # ai.google.dev/api/generate-content, 2026-11
MAX_STOPS = 5  # the same

CARRIES = Carries(
    fields=frozenset(
        {
            "model", "messages", "stream", "max_tokens", "max_completion_tokens", "temperature", "top_p", "n", "stop", "seed",
            "presence_penalty", "frequency_penalty", "tools", "tool_choice", "parallel_tool_calls", "response_format",
            "reasoning_effort",
        }
    ),
    own=frozenset({"top_k", "safetySettings"}),
    dropped={"user": "Google asks for no name of the end user"},
    parts=frozenset({"text", "image_url", "input_audio", "file"}),
    formats=frozenset({"text", "json_object", "json_schema"}),
)  # fmt: skip


def request(chat: ChatRequest, model: Model, cap: int, key: str, *, must: bool) -> Sent:  # noqa: ARG001 (always told)
    """The call to a vendor of this wire."""
    access = model.access
    if chat.endpoint == "embeddings":
        url = under(access.base_url, "/v1beta", "/openai/embeddings")
        return Sent(url, credential("Authorization", key), openai.patch(chat, model, None))
    name = model.wire_name.removeprefix("models/")
    path = name if "/" in name else f"models/{name}"  # tuned models have a folder of their own
    call = "streamGenerateContent?alt=sse" if chat.stream else "generateContent"
    headers = credential(access.vendor.quirks.key_header or "x-goog-api-key", key)
    body = jsonio.dumps(translate(chat.said, name, cap))
    return Sent(under(access.base_url, "/v1beta", f"/{path}:{call}"), headers, body)


def cannot(chat: ChatRequest) -> str:
    """Why a chat completion cannot be put on this wire."""
    hub = chat.said
    return CARRIES.refusal(hub) or _beyond(hub) or _tools(hub) or _messages(hub)


def _beyond(hub: Mapping[str, Any]) -> str:
    """More than the wire has room for."""
    if (hub.get("n") or 1) > MAX_CANDIDATES:
        return f"`n` cannot be more than {MAX_CANDIDATES} on its wire"
    stop = hub.get("stop")
    if isinstance(stop, list) and len(stop) > MAX_STOPS:
        return f"`stop` cannot have more than {MAX_STOPS} entries on its wire"
    return ""


def _tools(hub: Mapping[str, Any]) -> str:
    tools = hub.get("tools")
    for i, tool in enumerate(tools or ()):
        if tool.get("type") != "function" or not isinstance(tool.get("function"), dict):
            return f"`tools[{i}]` of type {tool.get('type')} cannot be carried to its wire"
    if tools and hub.get("parallel_tool_calls") is False:
        return "`parallel_tool_calls` cannot be switched off on its wire"
    told = hub.get("tool_choice")
    if tools and told is not None and not choice_of(told)[0]:
        return "`tool_choice` cannot be carried to its wire"
    return ""


def _messages(hub: Mapping[str, Any]) -> str:
    """What has to be understood to be carried, and cannot: arguments that are no object, results of no call, pictures and
    files that are neither data nor an address that Google reads.
    """
    names: dict[str, Any] = {}
    for i, message in enumerate(hub["messages"]):
        calls = message.get("tool_calls") or ()
        for j, call in enumerate(calls):
            if arguments(call) is None:
                return f"`messages[{i}].tool_calls[{j}].function.arguments` is not a JSON object, as its wire needs"
        names |= names_of(calls)
        if message["role"] == "tool" and not names.get(str(message.get("tool_call_id"))):
            return f"`messages[{i}].tool_call_id` names no call of an earlier message, as its wire needs"
        content = message.get("content")
        for j, part in enumerate(content if isinstance(content, list) else ()):
            if (is_system(message) or message["role"] == "tool") and part.get("type") != "text":
                return f"`messages[{i}].content[{j}]` is no text, as its wire needs there"
            if part_of(part) is None:
                return f"`messages[{i}].content[{j}]` is neither data nor an address of a kind that its wire takes"
    return ""
