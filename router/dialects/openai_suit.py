"""What a chat completion has to look like for one vendor on the OpenAI wire, beyond names and ranges; and what it cannot do."""

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from router.core.catalog import ChatRequest, Model, Quirks
from router.dialects.carry import DEFAULTS


def unsuited(chat: ChatRequest, model: Model) -> str:
    """Why this model cannot serve a chat completion; "" if it can."""
    quirks, said = model.access.vendor.quirks, chat.said
    for prefix, names in quirks.refuses:
        if not model.wire_name.startswith(prefix):
            continue
        for name, value in said.items():
            if name in names and value is not None and value not in DEFAULTS.get(name, ()):
                return f"`{name}` is not for this model"
    choice = said.get("tool_choice")
    kind = choice.get("type") if isinstance(choice, dict) else choice
    if quirks.choices is not None and said.get("tools") and kind is not None and kind not in quirks.choices:
        return f"`tool_choice` {kind} is not for this model"
    return ""


def unthinking(model: Model) -> bool:
    """Whether a model has to be told not to think for a plain answer."""
    pattern = model.access.vendor.quirks.plain_unthinking
    return bool(pattern) and re.fullmatch(pattern, model.wire_name) is not None


def suited(messages: Any, quirks: Quirks) -> Any:
    """The messages in this vendor's form; the same ones where they are in it."""
    if not isinstance(messages, list):
        return messages
    if quirks.joins_texts:
        messages = [_joined(message) for message in messages]
    if quirks.call_ids is not None:
        messages = [_with_ids(message, quirks.call_ids) for message in messages]
    return messages


def _joined(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """A message whose content of text parts is one string."""
    parts = message.get("content")
    if not isinstance(parts, list) or not parts or not all(_is_text(part) for part in parts):
        return message
    return {**message, "content": "\n\n".join(part["text"] for part in parts)}


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)


def _with_ids(message: Mapping[str, Any], length: int) -> Mapping[str, Any]:
    """A message whose ids of tool calls are in this vendor's form."""
    told = message.get("tool_call_id")
    calls = message.get("tool_calls")
    if isinstance(told, str):
        message = {**message, "tool_call_id": _id(told, length)}
    if isinstance(calls, list):
        message = {**message, "tool_calls": _with_id(calls, length)}
    return message


def _with_id(calls: Sequence[Any], length: int) -> list[Any]:
    return [
        {**call, "id": _id(call["id"], length)} if isinstance(call, dict) and isinstance(call.get("id"), str) else call
        for call in calls
    ]


def _id(told: str, length: int) -> str:
    """The same id for the same one, so that a call and its result still belong together."""
    return told if re.fullmatch(f"[a-zA-Z0-9]{{{length}}}", told) else sha256(told.encode()).hexdigest()[:length]
