"""Requests for vendors on OpenAI's Responses wire: a client's own, patched; or a chat completion, translated."""

from collections.abc import Mapping, Sequence
from typing import Any

from router.core import jsonio
from router.core.catalog import ChatRequest, Model
from router.core.failure import AttemptFailed, Failure, Fault
from router.dialects.carry import Carries
from router.dialects.fields import text_of
from router.dialects.openai import keep_in_range
from router.dialects.responses_speak import FOREIGN
from router.dialects.sent import Sent, credential, deployed

LEAST = 16  # tokens of output that this wire takes as a cap; less is refused (recorded 2026-11)
# Fields that are the same on both wires.
SAME = (
    "stream", "temperature", "top_p", "parallel_tool_calls", "user", "metadata", "service_tier", "safety_identifier",
    "prompt_cache_key", "prompt_cache_retention",
)  # fmt: skip

CARRIES = Carries(
    fields=frozenset(
        {
            *SAME, "model", "messages", "max_tokens", "max_completion_tokens", "tools", "tool_choice", "response_format",
            "reasoning_effort", "verbosity", "store",
        }
    ),
    dropped={"top_k": "not OpenAI's; optional where it comes from"},
    parts=frozenset({"text", "image_url", "file"}),
    formats=frozenset({"text", "json_object", "json_schema"}),
)  # fmt: skip


def request(chat: ChatRequest, model: Model, cap: int, key: str, *, must: bool) -> Sent:
    """The call to a vendor of this wire.

    Raises:
        AttemptFailed: the budget leaves less than this wire takes as a cap.

    """
    access = model.access
    if must and cap < LEAST:
        told = f"{cap} tokens of output are left, and the vendor's wire takes no cap below {LEAST}"
        raise AttemptFailed(Failure(Fault.CONNECT, told))
    if chat.endpoint == "responses":
        body = patch(chat, model, cap if must else None)
    else:
        body = translate(chat, model, cap if must else None)
    keep_in_range(body, model)
    headers = credential(access.vendor.quirks.key_header or "Authorization", key)
    return Sent(deployed(access.base_url, "/responses"), headers, jsonio.dumps(body))


def patch(chat: ChatRequest, model: Model, cap: int | None) -> dict[str, Any]:
    """A client's own body: the model's name, and a lower cap where the budget asks for one; all else as it came."""
    body = {name: value for name, value in chat.body.items() if name != "farebox"}
    body["model"] = model.wire_name
    if cap is not None:
        told = body.get("max_output_tokens")
        body["max_output_tokens"] = min(told, cap) if isinstance(told, int) else cap
    items = body.get("input")
    if isinstance(items, list) and any(_is_foreign(item) for item in items):
        body["input"] = [item for item in items if not _is_foreign(item)]
    return body


def _is_foreign(item: Any) -> bool:
    """A thought of another vendor's, from an earlier turn of this conversation, which this one would look for in vain."""
    return (
        isinstance(item, dict)
        and item.get("type") == "reasoning"
        and str(item.get("id") or FOREIGN).startswith(FOREIGN)
    )


def cannot(chat: ChatRequest) -> str:
    """Why a chat completion cannot be put on this wire."""
    hub = chat.said
    if lost := CARRIES.refusal(hub):
        return lost
    if chat.output_cap is not None and chat.output_cap < LEAST:
        return f"`{chat.cap_field}` cannot be below {LEAST} on its wire"
    for i, tool in enumerate(hub.get("tools") or ()):
        if tool.get("type") != "function" or not isinstance(tool.get("function"), dict):
            return f"`tools[{i}]` of type {tool.get('type')} cannot be carried to its wire"
    for i, message in enumerate(hub["messages"]):
        for j, call in enumerate(message.get("tool_calls") or ()):
            if not isinstance(call.get("function"), dict):
                return f"`messages[{i}].tool_calls[{j}]` of type {call.get('type')} cannot be carried to its wire"
        content = message.get("content")
        for j, part in enumerate(content if isinstance(content, list) else ()):
            if _part(part) is None:
                return f"`messages[{i}].content[{j}]` holds neither an address nor data, as its wire needs"
    return ""


def translate(chat: ChatRequest, model: Model, cap: int | None) -> dict[str, Any]:
    """A chat completion's body as one for a response. What the wire stores unless told otherwise, a chat completion does
    not, and the same holds for `strict` of a function.
    """
    hub = chat.said
    body: dict[str, Any] = {"model": model.wire_name, "input": _items(hub["messages"]), "store": bool(hub.get("store"))}
    body |= {name: hub[name] for name in SAME if hub.get(name) is not None}
    caps = [told for told in (chat.output_cap, cap) if told is not None]
    if caps:
        body["max_output_tokens"] = min(caps)
    if tools := [_tool(tool["function"]) for tool in hub.get("tools") or ()]:
        body["tools"] = tools
        if hub.get("tool_choice") is not None:
            body["tool_choice"] = _choice(hub["tool_choice"])
    text = {"format": form} if (form := _format(hub.get("response_format"))) else {}
    if hub.get("verbosity"):
        text["verbosity"] = hub["verbosity"]
    if text:
        body["text"] = text
    effort = hub.get("reasoning_effort")
    thinks = any(model.wire_name.startswith(prefix) for prefix, _ in model.access.vendor.quirks.thinking)
    if effort is not None and (chat.hub is None or thinks):  # a client of this company's knows what its model takes
        body["reasoning"] = {"effort": effort}
    return body


def _items(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    for message in messages:
        role, content = message["role"], message.get("content")
        if role == "tool":
            output = text_of(content or "", "content")
            out.append({"type": "function_call_output", "call_id": message.get("tool_call_id"), "output": output})
            continue
        if content:
            out.append({"role": role, "content": _said(role, content)})
        for call in message.get("tool_calls") or ():
            told = {"name": call["function"].get("name"), "arguments": call["function"].get("arguments") or "{}"}
            out.append({"type": "function_call", "call_id": call.get("id"), **told})
    return out


def _said(role: str, content: Any) -> Any:
    if isinstance(content, str):
        return content
    if role == "assistant":
        return "".join(str(part.get(str(part.get("type"))) or "") for part in content)
    return [part for told in content if (part := _part(told))]


def _part(part: Mapping[str, Any]) -> dict[str, Any] | None:
    """A part of a content; None if it cannot be put on this wire."""
    kind = str(part.get("type"))
    told = part.get(kind)
    if kind in {"text", "refusal"}:
        return {"type": "input_text", "text": told}
    if kind == "image_url":
        picture = told if isinstance(told, dict) else {"url": told}
        if not isinstance(picture.get("url"), str):
            return None
        return {"type": "input_image", "image_url": picture["url"], "detail": picture.get("detail") or "auto"}
    fields = ("file_data", "file_id", "filename")
    file = {name: told[name] for name in fields if told.get(name)} if isinstance(told, dict) else {}
    return {"type": "input_file", **file} if "file_data" in file or "file_id" in file else None


def _tool(function: Mapping[str, Any]) -> dict[str, Any]:
    told = {
        "type": "function",
        "name": function.get("name"),
        "parameters": function.get("parameters") or {"type": "object", "properties": {}},
        "strict": bool(function.get("strict")),
    }
    return told | ({"description": function["description"]} if function.get("description") else {})


def _choice(told: Any) -> Any:
    if not isinstance(told, dict):
        return told
    if told.get("type") == "allowed_tools":
        allowed = told.get("allowed_tools") or {}
        tools = [
            {"type": "function", "name": (tool.get("function") or {}).get("name")}
            for tool in allowed.get("tools") or ()
        ]
        return {"type": "allowed_tools", "mode": allowed.get("mode") or "auto", "tools": tools}
    return {"type": "function", "name": (told.get("function") or {}).get("name")}


def _format(form: Any) -> dict[str, Any]:
    if not isinstance(form, dict) or form.get("type") == "text":
        return {}
    if form.get("type") == "json_object":
        return {"type": "json_object"}
    told = form.get("json_schema") or {}
    named = {"name": told.get("name") or "answer", "schema": told.get("schema") or {"type": "object"}}
    return {"type": "json_schema", **named, **{name: told[name] for name in ("description", "strict") if name in told}}
