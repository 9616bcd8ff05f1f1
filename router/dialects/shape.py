"""The types of a chat completion's fields, as far as another wire has to understand them: what is odd is refused by name.

On its own wire a body passes, odd or not: there it is the vendor who says what is wrong with it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from router.core.errors import InvalidRequest
from router.dialects.fields import string

NUMBERS = ("temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty")
OBJECTS = {
    "metadata": ("user_id",),
    "thinking": ("type",),
    "tool_choice": ("type", "name"),
    "output_config": ("effort",),
}
TEXTS = ("user", "reasoning_effort")


def oddity(hub: Mapping[str, Any]) -> str:
    """The first field that has another type than the wire says, and which; "" if none has."""
    for name in NUMBERS:
        value = hub.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            return f"`{name}` must be a number"
    for name in TEXTS:
        if not isinstance(hub.get(name), str | None):
            return f"`{name}` must be a string"
    stop = hub.get("stop")
    if not isinstance(stop, str | None) and not _all(stop, str):
        return "`stop` must be a string or an array of strings"
    return _form(hub.get("response_format")) or _tools(hub) or _messages(hub["messages"])


def _all(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


def _form(told: Any) -> str:
    if told is None:
        return ""
    if not isinstance(told, dict) or not isinstance(told.get("type"), str):
        return "`response_format` must be an object with a `type`"
    schema = told.get("json_schema")
    if not isinstance(schema, dict | None) or (schema and not isinstance(schema.get("schema"), dict | None)):
        return "`response_format.json_schema` must be an object with a `schema`"
    return ""


def _tools(hub: Mapping[str, Any]) -> str:
    tools = hub.get("tools")
    if tools is not None and not isinstance(tools, list):
        return "`tools` must be an array"
    for i, tool in enumerate(tools or ()):
        if not isinstance(tool, dict):
            return f"`tools[{i}]` must be an object"
        function = tool.get("function")
        if tool.get("type") == "function" or function is not None:
            if not isinstance(function, dict) or not isinstance(function.get("name"), str):
                return f"`tools[{i}].function` must be an object with a `name`"
            if not isinstance(function.get("parameters"), dict | None):
                return f"`tools[{i}].function.parameters` must be an object"
            if not isinstance(function.get("description"), str | None):
                return f"`tools[{i}].function.description` must be a string"
    return _choice(hub.get("tool_choice"))


def _choice(told: Any) -> str:
    if isinstance(told, str | None):
        return ""
    if not isinstance(told, dict):
        return "`tool_choice` must be a string or an object"
    if told.get("type") == "allowed_tools":
        allowed = told.get("allowed_tools")
        if not isinstance(allowed, dict) or not _all(allowed.get("tools"), dict):
            return "`tool_choice.allowed_tools` must be an object with an array of `tools`"
        return (
            ""
            if all(_is_named(tool) for tool in allowed["tools"])
            else "`tool_choice.allowed_tools` must name functions"
        )
    return "" if _is_named(told) else "`tool_choice.function` must be an object with a `name`"


def _is_named(told: Mapping[str, Any]) -> bool:
    function = told.get("function")
    return isinstance(function, dict) and isinstance(function.get("name"), str)


def _messages(messages: Sequence[Any]) -> str:
    for i, message in enumerate(messages):
        at = f"messages[{i}]"
        content = message.get("content")
        for j, part in enumerate(content if isinstance(content, list) else ()):
            if problem := _part(part, f"{at}.content[{j}]"):
                return problem
        calls = message.get("tool_calls")
        if calls is not None and not isinstance(calls, list):
            return f"`{at}.tool_calls` must be an array"
        for j, call in enumerate(calls or ()):
            if not isinstance(call, dict) or not _is_named(call):
                return f"`{at}.tool_calls[{j}].function` must be an object with a `name`"
            if not isinstance(call.get("id"), str | None):
                return f"`{at}.tool_calls[{j}].id` must be a string"
        if not isinstance(message.get("tool_call_id"), str | None):
            return f"`{at}.tool_call_id` must be a string"
    return ""


def _part(part: Mapping[str, Any], at: str) -> str:
    kind = part.get("type")
    if not isinstance(kind, str):
        return f"`{at}` must have a `type`"
    told = part.get(kind)
    if kind in {"text", "refusal"} and not isinstance(told, str):
        return f"`{at}` must have a string `{kind}`"
    url = told.get("url") if isinstance(told, dict) else told
    if kind == "image_url" and not isinstance(url, str):
        return f"`{at}` must have an object `image_url` with a `url`"
    if kind in {"input_audio", "file"} and not isinstance(told, dict):
        return f"`{at}` must have an object `{kind}`"
    return ""


def message_options(body: Mapping[str, Any]) -> None:
    """The same of an Anthropic client's fields that the hub has too. Raises `InvalidRequest`."""
    for name in ("temperature", "top_p", "top_k"):
        value = body.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise InvalidRequest(f"`{name}` must be a number", param=name)
    stops = body.get("stop_sequences")
    if stops is not None and not _all(stops, str):
        raise InvalidRequest("`stop_sequences` must be an array of strings", param="stop_sequences")
    for name, texts in OBJECTS.items():
        told = body.get(name)
        if not isinstance(told, dict | None):
            raise InvalidRequest(f"`{name}` must be an object", param=name)
        for inner in texts:
            string((told or {}).get(inner), f"{name}.{inner}")
