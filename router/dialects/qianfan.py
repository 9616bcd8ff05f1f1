"""Requests for Baidu Qianfan's first wire (cloud.baidu.com/doc/WENXINWORKSHOP/s/clntwmv7t and qianfan 0.4.12.3, 2026-11): a
chat completion, translated, or refused by the name of what has no place there.

Clients do not speak it. A model is a path, the token is in the address, and functions are called one at a time.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from router.core import jsonio
from router.core.catalog import ChatRequest, Model
from router.core.failure import AttemptFailed, Failure, Fault
from router.dialects.carry import Carries
from router.dialects.hub import demanded, is_system, spoken
from router.dialects.sent import Sent

CHAT = "/rpc/2.0/ai_custom/v1/wenxinworkshop/chat"
# Models whose path is not their name in lower case (qianfan/resources/llm/chat_completion.py, 0.4.12.3).
PATHS: Mapping[str, str] = {
    "ernie-4.0-8k": "completions_pro",
    "ernie-4.0-8k-preview-0518": "completions_adv_pro",
    "ernie-3.5-8k": "completions",
    "ernie-speed-8k": "ernie_speed",
    "ernie-lite-8k-0922": "eb-instant",
    "ernie-lite-8k-0308": "ernie-lite-8k",
    "ernie-character-8k": "ernie-char-8k",
    "ernie-character-fiction-8k": "ernie-char-fiction-8k",
    "ernie-functions-8k": "ernie-func-8k",
}
LEAST_CAP = 2  # max_output_tokens
LEAST_TEMPERATURE = 0.01  # 0 itself is refused
MAX_STOPS, MAX_STOP = 4, 20  # sequences, characters of each

CARRIES = Carries(
    fields=frozenset(
        {
            "model", "messages", "stream", "max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "tools",
            "tool_choice", "parallel_tool_calls", "response_format", "user",
        }
    ),
    own=frozenset({"penalty_score", "disable_search", "enable_citation", "enable_trace"}),
    dropped={"reasoning_effort": "no model of this wire thinks"},
    formats=frozenset({"text", "json_object"}),
)  # fmt: skip


def request(chat: ChatRequest, model: Model, cap: int, key: str, *, must: bool) -> Sent:  # noqa: ARG001 (always told)
    """The call, with its token. Raises `AttemptFailed`: the wire cannot be told so low a cap."""
    if cap < LEAST_CAP:
        told = f"what is left pays for {cap} token, and its wire cannot be told a cap below {LEAST_CAP}"
        raise AttemptFailed(Failure(Fault.BAD_REQUEST, told))
    name = model.wire_name
    path = quote(PATHS.get(name.lower(), name.lower()), safe="")
    url = f"{model.access.base_url}{CHAT}/{path}?access_token={quote(key, safe='')}"
    return Sent(url, {}, jsonio.dumps(translate(chat.said, cap, chat.stream)))


def translate(hub: Mapping[str, Any], cap: int, stream: bool) -> dict[str, Any]:  # noqa: FBT001 (as told)
    """A chat completion's body."""
    system = "\n\n".join(
        text for message in hub["messages"] if is_system(message) and (text := spoken(message.get("content")))
    )
    messages = _messages(hub["messages"])
    body: dict[str, Any] = {"messages": messages or [{"role": "user", "content": system}], "stream": stream}
    if system and messages:
        body["system"] = system
    body["max_output_tokens"] = cap
    if (temperature := hub.get("temperature")) is not None:
        body["temperature"] = min(1, max(LEAST_TEMPERATURE, temperature))
    if (top_p := hub.get("top_p")) is not None:
        body["top_p"] = min(1, max(0, top_p))
    if stop := hub.get("stop"):
        body["stop"] = [stop] if isinstance(stop, str) else stop
    if (hub.get("response_format") or {}).get("type") == "json_object":
        body["response_format"] = "json_object"
    if hub.get("user"):
        body["user_id"] = hub["user"]
    if hub.get("tools") and hub.get("tool_choice") != "none":
        body["functions"] = [_function(tool["function"]) for tool in hub["tools"]]
        if (named := demanded(hub)) is not None:
            body["tool_choice"] = {"type": "function", "function": {"name": named}}
    return body | {field: hub[field] for field in sorted(CARRIES.own) if hub.get(field) is not None}


def _function(function: Mapping[str, Any]) -> dict[str, Any]:
    """A function; all three fields are needed there."""
    parameters = function.get("parameters") or {"type": "object", "properties": {}}
    return {
        "name": function.get("name"),
        "description": function.get("description") or function.get("name"),
        "parameters": parameters,
    }


def _messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The turns; neighbours of one role are one, as they have to take turns."""
    out: list[dict[str, Any]] = []
    names: dict[str, Any] = {}
    for message in messages:
        if is_system(message):
            continue
        made = _message(message, names)
        if out and made["role"] == out[-1]["role"] and "function_call" not in out[-1]:
            text = "\n\n".join(text for text in (out[-1]["content"], made["content"]) if text)
            out[-1] = {**out[-1], **made, "content": text}
        else:
            out.append(made)
    return out


def _message(message: Mapping[str, Any], names: dict[str, Any]) -> dict[str, Any]:
    text = spoken(message.get("content"))
    if message["role"] == "tool":
        return {"role": "function", "name": names.get(str(message.get("tool_call_id"))), "content": text}
    made: dict[str, Any] = {"role": message["role"], "content": text}
    for call in message.get("tool_calls") or ():
        function = call.get("function") or {}
        names[str(call.get("id"))] = function.get("name")
        made["function_call"] = {"name": function.get("name"), "arguments": function.get("arguments") or "{}"}
    return made


# What cannot be carried


def cannot(chat: ChatRequest) -> str:
    """Why a chat completion cannot be put on this wire."""
    hub = chat.said
    if chat.output_cap is not None and chat.output_cap < LEAST_CAP:
        return f"`{chat.cap_field or 'max_tokens'}` cannot be less than {LEAST_CAP} on its wire"
    return CARRIES.refusal(hub) or _beyond(hub) or _order(hub["messages"])


def _beyond(hub: Mapping[str, Any]) -> str:
    stop = hub.get("stop")
    stops = [stop] if isinstance(stop, str) else stop or []
    if len(stops) > MAX_STOPS or any(len(text) > MAX_STOP for text in stops):
        return f"`stop` cannot be more than {MAX_STOPS} texts of {MAX_STOP} characters on its wire"
    tools, told = hub.get("tools") or (), hub.get("tool_choice")
    for i, tool in enumerate(tools):
        if tool.get("type") != "function" or not isinstance(tool.get("function"), dict):
            return f"`tools[{i}]` of type {tool.get('type')} cannot be carried to its wire"
    names = {tool["function"].get("name") for tool in tools}
    if tools and told is not None and told not in ("auto", "none") and demanded(hub) not in names:
        return "`tool_choice` cannot be carried to its wire, where one function can be demanded, or none"
    return ""


def _order(messages: Sequence[Mapping[str, Any]]) -> str:
    """User (or function) and assistant take turns, from a user's message to a user's or a function's; one call each turn."""
    names: set[str] = set()
    turns = [(i, message) for i, message in enumerate(messages) if not is_system(message)]
    for i, message in turns:
        calls = message.get("tool_calls") or ()
        if len(calls) > 1:
            return f"`messages[{i}].tool_calls` are more than the one that a turn may have on its wire"
        names |= {str(call.get("id")) for call in calls}
        if message["role"] == "tool" and str(message.get("tool_call_id")) not in names:
            return f"`messages[{i}].tool_call_id` names no call of an earlier message, as its wire needs"
    if turns and turns[0][1]["role"] != "user":
        return f"`messages[{turns[0][0]}]` is not a user's, with which a conversation begins on its wire"
    if turns and turns[-1][1]["role"] == "assistant":
        return f"`messages[{turns[-1][0]}]` is an answer that is begun, which its wire does not continue"
    for (_, before), (i, message) in itertools.pairwise(turns):
        roles = (before["role"], message["role"])
        if "tool" in roles and "assistant" not in roles:
            return f"`messages[{i}]` stands between a result and its answer, which its wire does not take"
        if roles == ("assistant", "assistant") and before.get("tool_calls"):
            return f"`messages[{i}]` follows a call that has no result, which its wire does not take"
    return ""
