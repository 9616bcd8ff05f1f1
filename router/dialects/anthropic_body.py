"""Requests for vendors on the Anthropic wire: a client's own, patched; or a chat completion, translated."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from router.core import jsonio
from router.core.catalog import ChatRequest, Model
from router.dialects.anthropic_stream import FOREIGN
from router.dialects.carry import Carries
from router.dialects.fields import text_of
from router.dialects.hub import arguments
from router.dialects.sent import Sent, credential, under

VERSION = "2023-06-01"  # the only one there is (docs.anthropic.com/en/api/versioning)
LEAST_THINKING = 1024  # tokens; less is refused
BUDGETS = {"minimal": LEAST_THINKING, "low": 4096, "medium": 16_384, "high": 32_768, "xhigh": 32_768}
BREAKPOINT = {"type": "ephemeral"}
UNMARKED = ("thinking", "redacted_thinking")  # blocks that may not be marked themselves
NOT_IN_AN_ID = re.compile(r"[^a-zA-Z0-9_-]")

CARRIES = Carries(
    fields=frozenset(
        {
            "model", "messages", "stream", "max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "tools",
            "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort", "user",
        }
    ),
    own=frozenset({"top_k", "thinking", "output_config", "container", "mcp_servers", "context_management", "inference_geo"}),
    parts=frozenset({"text", "image_url", "file"}),
    formats=frozenset({"text", "json_schema"}),
)  # fmt: skip


def request(chat: ChatRequest, model: Model, cap: int, key: str, *, must: bool) -> Sent:
    """The call to a vendor of this wire."""
    credentials = credential(model.access.vendor.quirks.key_header or "x-api-key", key)
    headers = {"anthropic-version": VERSION, **credentials, **chat.passed}
    if chat.endpoint == "messages":
        body = patch(chat, model, cap if must else None)
    else:
        body = jsonio.dumps(translate(chat.said, model, cap, chat.marks.get(model.name, ())))
    return Sent(under(model.access.base_url, "/v1", "/messages"), headers, body)


def cannot(chat: ChatRequest) -> str:
    """Why a chat completion cannot be put on this wire."""
    return CARRIES.refusal(chat.said) or _unreadable(chat.said["messages"])


def _unreadable(messages: Sequence[Any]) -> str:
    """What has to be understood to be carried, and cannot: arguments that are no object, pictures that are no address."""
    for i, message in enumerate(messages):
        for j, call in enumerate(message.get("tool_calls") or ()):
            if arguments(call) is None:
                return f"`messages[{i}].tool_calls[{j}].function.arguments` is not a JSON object, as its wire needs"
        content = message.get("content")
        for j, part in enumerate(content if isinstance(content, list) else ()):
            if part.get("type") in {"image_url", "file"} and _block(part) is None:
                return f"`messages[{i}].content[{j}]` holds neither an address nor data, as its wire needs"
    return ""


def patch(chat: ChatRequest, model: Model, cap: int | None) -> bytes:
    """A client's own body: the model's name, and a lower cap where the budget asks for one; all else as it came."""
    body = {name: value for name, value in chat.body.items() if name != "farebox"}
    body["model"] = model.wire_name
    if marks := chat.marks.get(model.name):
        mark(body, marks)
    if cap is not None:
        told = body.get("max_tokens")
        body["max_tokens"] = min(told, cap) if isinstance(told, int) else cap
        thinking = body.get("thinking")
        if isinstance(thinking, dict) and isinstance(budget := thinking.get("budget_tokens"), int):
            if body["max_tokens"] <= LEAST_THINKING:  # no room is left for the least that may be thought
                _do_not_think(body)
            elif budget >= body["max_tokens"]:
                body["thinking"] = {**thinking, "budget_tokens": body["max_tokens"] - 1}
    if any(_is_foreign(block) for message in body["messages"] for block in _blocks(message)):
        own = [_without_foreign(message) for message in body["messages"]]
        body["messages"] = [message for message in own if message.get("content") != []]  # which is refused
    if _began_without_thoughts(body):
        _do_not_think(body)
    return jsonio.dumps(body)


def mark(body: dict[str, Any], cuts: Sequence[int]) -> None:
    """Say up to where the prompt is to be kept in the vendor's cache: at cut 0 with its tools and system prompt, at cut n
    with its first n messages (docs.anthropic.com/en/docs/build-with-claude/prompt-caching). What cannot be marked is not:
    a thought, an empty text.
    """
    for cut in cuts:
        if cut == 0:
            name = "system" if body.get("system") else "tools"
            if body.get(name):
                body[name] = _marked(body[name])
        else:
            message = body["messages"][cut - 1]
            own = {**message, "content": _marked(message.get("content"))}
            body["messages"] = [*body["messages"][: cut - 1], own, *body["messages"][cut:]]


def _marked(content: Any) -> Any:
    """The blocks with the last one marked."""
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) and content else content
    last = blocks[-1] if isinstance(blocks, list) and blocks else None
    if not isinstance(last, dict) or last.get("type") in UNMARKED or last.get("text") == "":
        return content
    return [*blocks[:-1], {**last, "cache_control": BREAKPOINT}]


def _began_without_thoughts(body: Mapping[str, Any]) -> bool:
    """Whether a turn goes on, after its tools, that another vendor began or that did not begin with a thought, where a
    budget for thinking is refused (docs.anthropic.com/en/docs/build-with-claude/extended-thinking, 2026-11).
    """
    thinking = body.get("thinking")
    if not isinstance(thinking, dict) or thinking.get("type") != "enabled":
        return False
    *earlier, last = body["messages"]
    within = any(isinstance(block, dict) and block.get("type") == "tool_result" for block in _blocks(last))
    turn = next((message for message in reversed(earlier) if message.get("role") == "assistant"), None)
    if not within or turn is None:
        return False
    first = next(iter(_blocks(turn)), None)
    return not isinstance(first, dict) or first.get("type") not in ("thinking", "redacted_thinking")


def _do_not_think(body: dict[str, Any]) -> None:
    """Take thinking out, and what has a meaning only beside it."""
    del body["thinking"]
    managed = body.get("context_management")
    if isinstance(managed, dict) and isinstance(edits := managed.get("edits"), list):
        kept = [edit for edit in edits if not (isinstance(edit, dict) and "thinking" in str(edit.get("type")))]
        body["context_management"] = {**managed, "edits": kept}


def _blocks(message: Any) -> Sequence[Any]:
    content = message.get("content") if isinstance(message, dict) else None
    return content if isinstance(content, list) else ()


def _is_foreign(block: Any) -> bool:
    """A thought of another vendor's, from an earlier turn of this conversation, which Anthropic cannot verify."""
    return (
        isinstance(block, dict)
        and block.get("type") == "thinking"
        and str(block.get("signature") or FOREIGN).startswith(FOREIGN)
    )


def _without_foreign(message: dict[str, Any]) -> dict[str, Any]:
    if not any(_is_foreign(block) for block in _blocks(message)):
        return message
    return {**message, "content": [block for block in _blocks(message) if not _is_foreign(block)]}


def translate(hub: Mapping[str, Any], model: Model, cap: int, marks: Sequence[int] = ()) -> dict[str, Any]:
    """A chat completion's body as one for a message; see `mark` for the marks."""
    system, messages = _messages(hub["messages"], marks)
    body: dict[str, Any] = {"model": model.wire_name, "max_tokens": cap, "messages": messages}
    if system:
        body["system"] = system[0]["text"] if len(system) == 1 and len(system[0]) == 2 else system
    if hub.get("stream"):
        body["stream"] = True
    if hub.get("temperature") is not None:
        body["temperature"] = min(1, hub["temperature"])  # from 0 to 1 here, to 2 in the hub
    elif hub.get("top_p") is not None:  # newer models take one of the two
        body["top_p"] = hub["top_p"]
    if hub.get("stop"):
        body["stop_sequences"] = [hub["stop"]] if isinstance(hub["stop"], str) else hub["stop"]
    if hub.get("user"):
        body["metadata"] = {"user_id": hub["user"]}
    body |= {name: hub[name] for name in CARRIES.own if hub.get(name) is not None}
    if tools := [_tool(tool) for tool in hub.get("tools") or ()]:
        if 0 in marks:
            tools[-1]["cache_control"] = BREAKPOINT
        body["tools"] = tools
        if choice := _choice(hub):
            body["tool_choice"] = choice
    form = hub.get("response_format")
    if isinstance(form, dict) and form.get("type") == "json_schema":
        schema = (form.get("json_schema") or {}).get("schema") or {"type": "object"}
        body["output_config"] = {**body.get("output_config", {}), "format": {"type": "json_schema", "schema": schema}}
    if "thinking" not in body and _may_think(hub, body):
        budget = min(BUDGETS.get(hub["reasoning_effort"], LEAST_THINKING), cap - 1)
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}
    if body.get("thinking", {}).get("type") == "enabled":
        body.pop("temperature", None)  # refused together
        body.pop("top_p", None)
    return body


def _may_think(hub: Mapping[str, Any], body: Mapping[str, Any]) -> bool:
    """Whether an effort can be asked for: there is room, no tool is forced, and the turn did not begin without thoughts,
    each of which this wire refuses to combine (docs.anthropic.com/en/docs/build-with-claude/extended-thinking, 2026-11).
    """
    effort = hub.get("reasoning_effort")
    forced = body.get("tool_choice", {}).get("type") in {"any", "tool"}
    within_a_turn = hub["messages"][-1].get("role") == "tool"
    return effort not in {None, "none"} and body["max_tokens"] > LEAST_THINKING and not forced and not within_a_turn


def _messages(
    hub: Sequence[Mapping[str, Any]], marks: Sequence[int] = ()
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(the system's blocks, the messages): what follows one another in the same role becomes one message."""
    system: list[dict[str, Any]] = []
    out: list[dict[str, Any]] = []
    for cut, message in enumerate(hub, 1):
        role = message["role"]
        if role in {"system", "developer"}:
            system += _content(message.get("content"))
            if cut in marks and system:
                system[-1]["cache_control"] = BREAKPOINT
            continue
        blocks = _content(message.get("content"))
        if role == "tool":
            text = text_of(message.get("content") or "", "content")
            blocks = [{"type": "tool_result", "tool_use_id": _id(message.get("tool_call_id")), "content": text}]
        for call in message.get("tool_calls") or ():
            name = (call.get("function") or {}).get("name")
            blocks.append({"type": "tool_use", "id": _id(call.get("id")), "name": name, "input": arguments(call)})
        if cut in marks and blocks:
            blocks[-1]["cache_control"] = BREAKPOINT
        told = "assistant" if role == "assistant" else "user"
        if out and out[-1]["role"] == told:
            out[-1]["content"] += blocks
        elif blocks:
            out.append({"role": told, "content": blocks})
    for message in out:
        only = message["content"]
        if len(only) == 1 and only[0].keys() == {"type", "text"}:
            message["content"] = only[0]["text"]
    return system, out


def _content(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []  # an empty block is refused
    return [block for part in content or () if (block := _block(part)) is not None]


def _block(part: Mapping[str, Any]) -> dict[str, Any] | None:
    extra = {"cache_control": part["cache_control"]} if part.get("cache_control") else {}
    kind = part.get("type")
    if kind in {"text", "refusal"}:
        text = part.get(str(kind))
        return {"type": "text", "text": text, **extra} if text else None
    if kind == "image_url":
        told = part.get("image_url")
        url = told.get("url") if isinstance(told, dict) else told
        source = _source(url)
        return {"type": "image", "source": source, **extra} if source else None
    file = part.get("file")
    source = _source(file.get("file_data")) if isinstance(file, dict) else None
    return {"type": "document", "source": source, **extra} if source else None


def _source(url: Any) -> dict[str, Any] | None:
    if not isinstance(url, str):
        return None
    if url.startswith("data:"):
        head, _, data = url[5:].partition(",")
        return {"type": "base64", "media_type": head.removesuffix(";base64"), "data": data}
    return {"type": "url", "url": url} if url.startswith(("http://", "https://")) else None


def _id(told: Any) -> str:
    """A call's id in the letters that this wire allows; the same for a call and its result."""
    return NOT_IN_AN_ID.sub("_", str(told or "")) or "call"


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = tool.get("function") or {}
    told = {
        "name": function.get("name"),
        "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
    }
    if function.get("description"):
        told["description"] = function["description"]
    if function.get("strict"):
        told["strict"] = True
    if tool.get("cache_control"):
        told["cache_control"] = tool["cache_control"]
    return told


def _choice(hub: Mapping[str, Any]) -> dict[str, Any]:
    told = hub.get("tool_choice")
    choice: dict[str, Any] = {}
    if isinstance(told, dict):
        choice = {"type": "tool", "name": (told.get("function") or {}).get("name")}
    elif told is not None:
        choice = {"type": {"required": "any", "none": "none"}.get(told, "auto")}
    if hub.get("parallel_tool_calls") is False and choice.get("type") != "none":
        choice = {"type": "auto", **choice, "disable_parallel_tool_use": True}
    return choice
