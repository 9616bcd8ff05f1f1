"""Requests for Ollama's own chat (github.com/ollama/ollama/blob/main/docs/api.md; types of the ollama package 0.6, 2026-11):
a chat completion, translated, or refused by the name of what has no place there.

Clients do not speak it. Embeddings go to the server's OpenAI layer, whose bodies are the client's own.
"""

from collections.abc import Mapping
from typing import Any

from router.core import jsonio
from router.core.catalog import ChatRequest, Model
from router.dialects import openai
from router.dialects.carry import DEFAULTS, Carries
from router.dialects.hub import arguments, data_url, is_system, names_of, spoken
from router.dialects.sent import Sent, credential

# Fields that are `options` under the same name.
OPTIONS = ("temperature", "top_p", "top_k", "min_p", "seed", "presence_penalty", "frequency_penalty", "repeat_penalty")
LEVELS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high"}
BY_LEVEL = ("gpt-oss",)  # models that are told how hard to think; the others only whether to

CARRIES = Carries(
    fields=frozenset(
        {
            "model", "messages", "stream", "max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "seed",
            "presence_penalty", "frequency_penalty", "tools", "tool_choice", "parallel_tool_calls", "response_format",
            "reasoning_effort",
        }
    ),
    own=frozenset({"top_k", "min_p", "repeat_penalty", "options", "keep_alive"}),
    dropped={"user": "a server of one's own asks for no name of the end user"},
    parts=frozenset({"text", "image_url"}),
    formats=frozenset({"text", "json_object", "json_schema"}),
)  # fmt: skip


def request(chat: ChatRequest, model: Model, cap: int, key: str, *, must: bool) -> Sent:  # noqa: ARG001 (always told)
    """The call to a server of this wire."""
    access = model.access
    base = access.base_url.removesuffix("/api")
    headers = credential(access.vendor.quirks.key_header or "Authorization", key)
    if chat.endpoint == "embeddings":
        return Sent(f"{base}/v1/embeddings", headers, openai.patch(chat, model, None))
    return Sent(f"{base}/api/chat", headers, jsonio.dumps(translate(chat.said, model.wire_name, cap, chat.stream)))


def translate(hub: Mapping[str, Any], name: str, cap: int, stream: bool) -> dict[str, Any]:  # noqa: FBT001 (as told)
    """A chat completion's body as one for a model of this name."""
    body: dict[str, Any] = {"model": name, "stream": stream, "messages": _messages(hub["messages"])}
    if hub.get("tools") and hub.get("tool_choice") != "none":
        body["tools"] = hub["tools"]
    form = hub.get("response_format") or {}
    if form.get("type") == "json_object":
        body["format"] = "json"
    elif form.get("type") == "json_schema":
        body["format"] = (form.get("json_schema") or {}).get("schema") or "json"
    effort = hub.get("reasoning_effort")
    if effort == "none":
        body["think"] = False
    elif effort in LEVELS:
        body["think"] = LEVELS[effort] if name.startswith(BY_LEVEL) else True
    if hub.get("keep_alive") is not None:
        body["keep_alive"] = hub["keep_alive"]
    body["options"] = _options(hub, cap)
    return body


def _options(hub: Mapping[str, Any], cap: int) -> dict[str, Any]:
    """The client's own `options`, then what a chat completion has a word for. The cap is always ours."""
    told = {
        name: hub[name] for name in OPTIONS if hub.get(name) is not None and hub[name] not in DEFAULTS.get(name, ())
    }
    stop = hub.get("stop")
    stops = {"stop": [stop] if isinstance(stop, str) else stop} if stop else {}
    own = hub.get("options")
    return {**(own if isinstance(own, dict) else {}), **told, **stops, "num_predict": cap}


def _messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    names: dict[str, Any] = {}
    for message in messages:
        content = message.get("content")
        if message["role"] == "tool":
            told = message.get("tool_call_id")
            result = {"role": "tool", "content": spoken(content)}
            out.append({**result, "tool_name": names.get(str(told)), "tool_call_id": told})
            continue
        made: dict[str, Any] = {"role": "system" if is_system(message) else message["role"], "content": spoken(content)}
        if images := _images(content):
            made["images"] = images
        if message["role"] == "assistant":
            calls = message.get("tool_calls") or ()
            names |= names_of(calls)
            if isinstance(thought := message.get("reasoning_content"), str) and thought:
                made["thinking"] = thought
            if calls:
                made["tool_calls"] = [_call(call) for call in calls]
        out.append(made)
    return out


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    """A call of an earlier turn; its id is for newer servers, the others know a result by its function's name."""
    function = {"name": (call.get("function") or {}).get("name"), "arguments": arguments(call)}
    return {"id": call["id"], "function": function} if call.get("id") else {"function": function}


def _images(content: Any) -> list[str]:
    parts = content if isinstance(content, list) else ()
    return [data for part in parts if part.get("type") == "image_url" and (data := _picture(part))]


def _picture(part: Mapping[str, Any]) -> str:
    """The bare base64 of a picture; "" if it is none."""
    told = part.get("image_url")
    found = data_url(told.get("url") if isinstance(told, dict) else told)
    return found[1] if found is not None and found[0].startswith("image/") else ""


def cannot(chat: ChatRequest) -> str:
    """Why a chat completion cannot be put on this wire."""
    hub = chat.said
    return CARRIES.refusal(hub) or _beyond(hub) or _unreadable(hub)


def _beyond(hub: Mapping[str, Any]) -> str:
    tools = hub.get("tools")
    for i, tool in enumerate(tools or ()):
        if tool.get("type") != "function" or not isinstance(tool.get("function"), dict):
            return f"`tools[{i}]` of type {tool.get('type')} cannot be carried to its wire"
    if tools and hub.get("tool_choice") not in (None, "auto", "none"):
        return "`tool_choice` cannot be carried to its wire, where the model may always choose"
    if tools and hub.get("parallel_tool_calls") is False:
        return "`parallel_tool_calls` cannot be switched off on its wire"
    return ""


def _unreadable(hub: Mapping[str, Any]) -> str:
    """What has to be understood to be carried, and cannot."""
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
            if part.get("type") != "image_url":
                continue
            if message["role"] == "tool":
                return f"`messages[{i}].content[{j}]` is no text, as its wire needs there"
            if not _picture(part):
                return f"`messages[{i}].content[{j}]` is no picture as data, and its wire fetches none"
    return ""
