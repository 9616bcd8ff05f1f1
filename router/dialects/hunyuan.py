"""Requests for Tencent Hunyuan's own ChatCompletions, version 2023-09-01 (cloud.tencent.com/document/product/1729/105701, types
of tencentcloud-sdk-python-hunyuan 3.1.180, 2026-11): a chat completion, translated, or refused by the name of what has no
place there.

Clients do not speak it. It has no word for an output cap: each call asks for a stream, which is ended at the cap.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from router.core import jsonio
from router.core.catalog import ChatRequest, Model
from router.dialects.carry import Carries
from router.dialects.hub import demanded, is_system, spoken
from router.dialects.sent import Sent

ACTION, VERSION = "ChatCompletions", "2023-09-01"
REGION = "ap-guangzhou"  # where its documentation calls, if neither the address nor a configured header names another
MAX_MESSAGES = 40
SEEDS = range(1, 10_001)
SWITCHED = ("hunyuan-a13b",)  # models whose thinking can be switched off

# `stop` is refused: its text would be part of the answer here ("stops after what matches", as the types say).
CARRIES = Carries(
    fields=frozenset(
        {
            "model", "messages", "stream", "max_tokens", "max_completion_tokens", "temperature", "top_p", "seed", "tools",
            "tool_choice", "parallel_tool_calls", "reasoning_effort",
        }
    ),
    own=frozenset(
        {
            "EnableEnhancement", "ForceSearchEnhancement", "EnableSpeedSearch", "EnableDeepSearch", "SearchInfo", "Citation",
            "StreamModeration", "WebSearchOptions", "TopicChoice",
        }
    ),
    dropped={"user": "Tencent asks for no name of the end user"},
    parts=frozenset({"text", "image_url"}),
)  # fmt: skip


def request(chat: ChatRequest, model: Model, cap: int, key: str, *, must: bool) -> Sent:  # noqa: ARG001 (signed later; no cap)
    """The call, to be signed."""
    access = model.access
    headers = {"Content-Type": "application/json", "X-TC-Action": ACTION, "X-TC-Version": VERSION}
    if not any(name.lower() == "x-tc-region" for name, _ in access.headers):
        headers["X-TC-Region"] = _region(access.base_url)
    return Sent(f"{access.base_url}/", headers, jsonio.dumps(translate(chat.said, model.wire_name)))


def _region(base_url: str) -> str:
    """The region that an address names, as `hunyuan.ap-beijing.tencentcloudapi.com` does."""
    parts = (urlsplit(base_url).hostname or "").split(".")
    return parts[1] if len(parts) == 4 and "-" in parts[1] else REGION  # service.region.domain.com


def translate(hub: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A chat completion's body as one for a model of this name."""
    body: dict[str, Any] = {"Model": name, "Messages": _messages(hub["messages"]), "Stream": True}
    temperature, top_p = hub.get("temperature"), hub.get("top_p")
    if temperature is not None:
        body["Temperature"] = min(2, max(0, temperature))
    if top_p is not None:
        body["TopP"] = min(1, max(0, top_p))
    if hub.get("seed") in SEEDS:
        body["Seed"] = hub["seed"]
    if hub.get("tools"):
        body |= _tools(hub)
    if hub.get("reasoning_effort") is not None and name.startswith(SWITCHED):
        body["EnableThinking"] = hub["reasoning_effort"] != "none"
    return body | {field: hub[field] for field in sorted(CARRIES.own) if hub.get(field) is not None}


def _tools(hub: Mapping[str, Any]) -> dict[str, Any]:
    tools = [_tool(tool["function"]) for tool in hub["tools"]]
    told = {"Tools": tools}
    named = demanded(hub)
    if named is not None:
        custom = next((tool for tool in tools if tool["Function"]["Name"] == named), None)
        return {**told, "ToolChoice": "custom", "CustomTool": custom}
    choice = hub.get("tool_choice")
    return {**told, "ToolChoice": choice} if choice in {"auto", "none"} else told


def _tool(function: Mapping[str, Any]) -> dict[str, Any]:
    told = {"Name": function.get("name"), "Parameters": jsonio.dumps(function.get("parameters") or {}).decode()}
    if function.get("description"):
        told["Description"] = function["description"]
    return {"Type": "function", "Function": told}


# Messages


def _messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the system says in front, then the turns; neighbours of one role are one, as they have to take turns."""
    system = "\n\n".join(
        text for message in messages if is_system(message) and (text := spoken(message.get("content")))
    )
    out: list[dict[str, Any]] = []
    for message in messages:
        if is_system(message):
            continue
        made = _message(message)
        if out and made["Role"] == out[-1]["Role"] and made["Role"] != "tool":
            out[-1] = _joined(out[-1], made)
        else:
            out.append(made)
    if not system:
        return out
    return [{"Role": "system", "Content": system}, *out] if out else [{"Role": "user", "Content": system}]


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    made: dict[str, Any] = {"Role": message["role"]}
    parts = content if isinstance(content, list) else ()
    if any(part.get("type") == "image_url" for part in parts):
        made["Contents"] = [_part(part) for part in parts]
    else:
        made["Content"] = spoken(content)
    if message["role"] == "tool":
        made["ToolCallId"] = message.get("tool_call_id")
    if calls := message.get("tool_calls"):
        made["ToolCalls"] = [_call(call, i) for i, call in enumerate(calls)]
    return made


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    if part.get("type") != "image_url":
        return {"Type": "text", "Text": part.get(str(part.get("type"))) or ""}
    told = part.get("image_url")
    return {"Type": "image_url", "ImageUrl": {"Url": told.get("url") if isinstance(told, dict) else told}}


def _call(call: Mapping[str, Any], index: int) -> dict[str, Any]:
    function = call.get("function") or {}
    told = {"Name": function.get("name"), "Arguments": function.get("arguments") or "{}"}
    return {"Id": call.get("id"), "Type": "function", "Function": told, "Index": index}


def _joined(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Two messages of one role as one."""
    made = {"Role": first["Role"]}
    if "Contents" in first or "Contents" in second:
        made["Contents"] = [*_contents(first), *_contents(second)]
    else:
        made["Content"] = "\n\n".join(text for text in (first["Content"], second["Content"]) if text)
    calls = [*first.get("ToolCalls", ()), *second.get("ToolCalls", ())]
    return {**made, "ToolCalls": [{**call, "Index": i} for i, call in enumerate(calls)]} if calls else made


def _contents(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    text = message.get("Content")
    return message.get("Contents") or ([{"Type": "text", "Text": text}] if text else [])


# What cannot be carried


def cannot(chat: ChatRequest) -> str:
    """Why a chat completion cannot be put on this wire."""
    hub = chat.said
    return CARRIES.refusal(hub) or _beyond(hub) or _order(hub["messages"])


def _beyond(hub: Mapping[str, Any]) -> str:
    tools, told = hub.get("tools") or (), hub.get("tool_choice")
    for i, tool in enumerate(tools):
        if tool.get("type") != "function" or not isinstance(tool.get("function"), dict):
            return f"`tools[{i}]` of type {tool.get('type')} cannot be carried to its wire"
    if not tools:
        return ""
    if hub.get("parallel_tool_calls") is False:
        return "`parallel_tool_calls` cannot be switched off on its wire"
    names = {tool["function"].get("name") for tool in tools}
    if told not in (None, "auto", "none") and demanded(hub) not in names:
        return "`tool_choice` cannot be carried to its wire, where one function can be demanded, or none"
    return ""


def _order(messages: Sequence[Mapping[str, Any]]) -> str:
    """User and assistant take turns, from a user's message to a user's or a tool's."""
    turns = [(i, message) for i, message in enumerate(messages) if not is_system(message)]
    if not turns:
        return ""
    (first, begins), (last, ends) = turns[0], turns[-1]
    if begins["role"] != "user":
        return f"`messages[{first}]` is not a user's, with which a conversation begins on its wire"
    if ends["role"] == "assistant":
        return f"`messages[{last}]` is an answer that is begun, which its wire does not continue"
    for (_, before), (i, message) in itertools.pairwise(turns):
        if {before["role"], message["role"]} == {"user", "tool"}:
            return f"`messages[{i}]` stands between a result and its answer, which its wire does not take"
        if message["role"] == "tool" and spoken(message.get("content")) == "":
            return f"`messages[{i}]` is empty, which its wire does not take"
    if len(_messages(messages)) > MAX_MESSAGES:
        return f"`messages` are more than {MAX_MESSAGES} on its wire"
    for i, message in turns:
        content = message.get("content")
        for j, part in enumerate(content if isinstance(content, list) else ()):
            if part.get("type") == "image_url" and message["role"] != "user":
                return f"`messages[{i}].content[{j}]` is no text, as its wire needs there"
    return ""
