"""The Anthropic wire as clients speak it: a request for a message, read and put in the hub's words; errors as they expect.

What the hub cannot say (Anthropic's own tools, documents by id, containers) goes to vendors of this wire only; the
request then names the field that keeps it here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from router.core import jsonio
from router.core.catalog import ChatRequest
from router.core.errors import InvalidRequest, RouterError
from router.core.tokens import chat_prompt
from router.dialects.fields import flag, integer, parse, string, text_of
from router.dialects.openai import MAX_MESSAGES
from router.dialects.shape import message_options
from router.dialects.wishes import read_wishes

KINDS = {
    "invalid_api_key": "authentication_error",
    "not_allowed": "permission_error",
    "model_not_found": "not_found_error",
    "not_found": "not_found_error",
    "budget_exceeded": "billing_error",
    "request_too_large": "request_too_large",
    "rate_limited": "rate_limit_error",
    "overloaded": "overloaded_error",
    "upstream_error": "api_error",
    "upstream_timeout": "timeout_error",
    "internal_error": "api_error",
}
PASSED = ("anthropic-beta", "anthropic-version")  # headers that change what a vendor of this wire does
# Fields that the hub knows too, or that are hints which an answer is complete without.
CARRIED = frozenset(
    {
        "model", "messages", "system", "max_tokens", "stream", "temperature", "top_p", "top_k", "stop_sequences", "tools",
        "tool_choice", "thinking", "metadata", "output_config", "service_tier", "cache_control", "farebox", "inference_geo",
        "diagnostics", "context_management",
    }
)  # fmt: skip
ADDING = frozenset({"container", "mcp_servers"})  # fields by which the vendor itself adds to the prompt
EFFORTS = ((4096, "low"), (16_384, "medium"))  # tokens of thinking up to which an effort is called so


def read(raw: bytes, headers: Mapping[str, str]) -> ChatRequest:
    """A request for a message.

    Raises:
        InvalidRequest: not JSON, or a field that a decision needs has the wrong type; `param` names it.

    """
    body, asked = parse(raw)
    cap = integer(body, "max_tokens", 1, 2**31)
    hub, stays = to_hub(body)
    messages = hub["messages"]
    needs = {"tools"} if hub.get("tools") else set()
    if "response_format" in hub:
        needs.add("json_schema")
    if any(isinstance(part, dict) and part.get("type") == "image_url" for m in messages for part in _parts(m)):
        needs.add("images")
    stream = flag(body, "stream")
    prompt = chat_prompt(messages, hub.get("tools") or (), hub.get("response_format"), jsonio.dumps)
    return ChatRequest(
        endpoint="messages",
        body=body,
        asked=asked,
        prompt=replace(prompt, unseen=_adds(body, stays)),
        stream=stream,
        wants_usage=True,
        output_cap=cap,
        cap_field="max_tokens",
        needs=frozenset(needs),
        thinking=isinstance(thinks := body.get("thinking"), dict) and thinks.get("type") not in (None, "disabled"),
        service_tier="fast" if body.get("speed") == "fast" else None,
        wishes=read_wishes(headers, body.get("farebox")),
        hub=hub,
        stays=", ".join(dict.fromkeys(stays)),
        passed={name: value for name in PASSED if (value := headers.get(name))},
    )


def _adds(body: Mapping[str, Any], stays: Sequence[str]) -> bool:
    """Whether the vendor adds to the prompt what is not in the request; a field that nobody listed is taken for an option."""
    options = {f"`{name}`" for name in body if name not in CARRIED and name not in ADDING}
    return any(place not in options for place in stays)


def _parts(message: Mapping[str, Any]) -> Sequence[Any]:
    content = message.get("content")
    return content if isinstance(content, list) else ()


def to_hub(body: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """(the body as a chat completion's, what of it a chat completion cannot say).

    Raises:
        InvalidRequest: `messages`, a role, a content or a tool is not what this wire has.

    """
    stays = [f"`{name}`" for name in body if name not in CARRIED and body[name] is not None]
    message_options(body)
    messages = _messages(body, stays)
    hub: dict[str, Any] = {"model": body["model"], "messages": messages}
    for name in ("stream", "temperature", "top_p", "top_k"):
        if body.get(name) is not None:
            hub[name] = body[name]
    if body.get("max_tokens") is not None:
        hub["max_completion_tokens"] = body["max_tokens"]
    if body.get("stop_sequences"):
        hub["stop"] = body["stop_sequences"]
    if isinstance(metadata := body.get("metadata"), dict) and metadata.get("user_id"):
        hub["user"] = metadata["user_id"]
    if tools := body.get("tools"):
        hub["tools"] = _tools(tools, stays)
    _choice(body.get("tool_choice"), hub)
    _thinking(body.get("thinking"), hub)
    config = body.get("output_config")
    if isinstance(config, dict):
        if isinstance(form := config.get("format"), dict):
            schema = {"name": "answer", "schema": form.get("schema"), "strict": True}
            hub["response_format"] = {"type": "json_schema", "json_schema": schema}
        if config.get("effort") and "reasoning_effort" in hub:
            hub["reasoning_effort"] = {"max": "high", "xhigh": "high"}.get(config["effort"], config["effort"])
    return hub, stays


def _messages(body: Mapping[str, Any], stays: list[str]) -> list[dict[str, Any]]:
    told = body.get("messages")
    if not isinstance(told, list) or not told:
        raise InvalidRequest("`messages` must be a non-empty array", param="messages")
    if len(told) > MAX_MESSAGES:
        raise InvalidRequest(
            f"`messages` has {len(told)} entries; at most {MAX_MESSAGES} are allowed", param="messages"
        )
    out: list[dict[str, Any]] = []
    system = body.get("system")
    if system:
        out.append({"role": "system", "content": text_of(system, "system")})
    for i, message in enumerate(told):
        at = f"messages[{i}]"
        if not isinstance(message, dict) or message.get("role") not in ("user", "assistant", "system"):
            raise InvalidRequest(f"`{at}` must be an object with the `role` user or assistant", param=at)
        content = message.get("content")
        if isinstance(content, str):
            out.append({"role": message["role"], "content": content})
        elif isinstance(content, list) and all(isinstance(block, dict) for block in content):
            for j, block in enumerate(content):
                string(block.get("type"), f"{at}.content[{j}].type")
            say = _assistant if message["role"] == "assistant" else _user
            out += say(content, at, stays)
        else:
            raise InvalidRequest(f"`{at}.content` must be a string or an array of blocks", param=f"{at}.content")
    return out


def _user(blocks: Sequence[dict[str, Any]], at: str, stays: list[str]) -> list[dict[str, Any]]:
    """Results of tools are messages of their own in the hub, before what the user says besides."""
    results: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for j, block in enumerate(blocks):
        kind, place = block.get("type"), f"{at}.content[{j}]"
        if kind == "tool_result":
            text, images = _result(block, place, stays)
            results.append({"role": "tool", "tool_call_id": str(block.get("tool_use_id") or ""), "content": text})
            parts += images
        elif (part := _part(block, place)) is not None:
            parts.append(part)
        else:
            stays.append(f"`{place}` of type {kind}")
    said = [{"role": "user", "content": _plain(parts)}] if parts else []
    return [*results, *said]


def _part(block: dict[str, Any], place: str) -> dict[str, Any] | None:
    """A block as the hub has it; None if it has nothing like it."""
    kind, source = block.get("type"), block.get("source")
    if kind == "text":
        if not isinstance(block.get("text"), str):
            raise InvalidRequest(f"`{place}.text` must be a string", param=f"{place}.text")
        return {"type": "text", "text": block["text"]}
    if kind not in ("image", "document") or not isinstance(source, dict):
        return None
    for name in ("type", "media_type", "data", "url"):
        string(source.get(name), f"{place}.source.{name}")
    if source.get("type") == "text" and kind == "document":
        return {"type": "text", "text": str(source.get("data") or "")}
    if source.get("type") == "base64":
        url = f"data:{source.get('media_type')};base64,{source.get('data')}"
        if kind == "image":
            return {"type": "image_url", "image_url": {"url": url}}
        return {"type": "file", "file": {"filename": str(block.get("title") or "document.pdf"), "file_data": url}}
    if source.get("type") == "url" and kind == "image":
        return {"type": "image_url", "image_url": {"url": source.get("url")}}
    return None


def _plain(parts: list[dict[str, Any]]) -> Any:
    """A single text as a string, which every vendor takes."""
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


def _result(block: dict[str, Any], place: str, stays: list[str]) -> tuple[str, list[dict[str, Any]]]:
    """(the text of a tool's result, pictures in it, which the hub's tool messages cannot hold)."""
    content = block.get("content")
    if content is None or isinstance(content, str):
        texts, images = [content or ""], list[dict[str, Any]]()
    elif isinstance(content, list) and all(isinstance(item, dict) for item in content):
        texts, images = [], []
        for k, item in enumerate(content):
            part = _part(item, f"{place}.content[{k}]")
            if part is None:
                stays.append(f"`{place}.content[{k}]` of type {item.get('type')}")
            elif part["type"] == "text":
                texts.append(part["text"])
            else:
                images.append(part)
    else:
        raise InvalidRequest(f"`{place}.content` must be a string or an array of blocks", param=f"{place}.content")
    text = "\n".join(texts)
    return (f"Error: {text}" if block.get("is_error") else text), images


def _assistant(blocks: Sequence[dict[str, Any]], at: str, stays: list[str]) -> list[dict[str, Any]]:
    message: dict[str, Any] = {"role": "assistant", "content": None}
    texts, thoughts, calls = [], [], []
    for j, block in enumerate(blocks):
        kind = block.get("type")
        if kind == "text":
            string(block.get("text"), f"{at}.content[{j}].text")
            texts.append(block.get("text") or "")
        elif kind == "thinking":
            thoughts.append(str(block.get("thinking") or ""))
        elif kind == "tool_use":
            string(block.get("name"), f"{at}.content[{j}].name")
            string(block.get("id"), f"{at}.content[{j}].id")
            if not isinstance(block.get("input"), dict | None):
                raise InvalidRequest(f"`{at}.content[{j}].input` must be an object", param=f"{at}.content[{j}].input")
            function = {"name": block.get("name") or "", "arguments": jsonio.dumps(block.get("input") or {}).decode()}
            calls.append({"id": block.get("id"), "type": "function", "function": function})
        elif kind != "redacted_thinking":  # which nobody but its author can read
            stays.append(f"`{at}.content[{j}]` of type {kind}")
    if texts:
        message["content"] = "".join(texts)
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    return [message] if texts or calls else []


def _tools(tools: Any, stays: list[str]) -> list[dict[str, Any]]:
    if not isinstance(tools, list):
        raise InvalidRequest("`tools` must be an array", param="tools")
    out = []
    for i, tool in enumerate(tools):
        if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
            raise InvalidRequest(f"`tools[{i}]` must be an object with a `name`", param=f"tools[{i}]")
        if tool.get("type", "custom") != "custom":
            stays.append(f"`tools[{i}]`, Anthropic's own {tool['type']}")
            continue
        string(tool.get("description"), f"tools[{i}].description")
        if not isinstance(tool.get("input_schema"), dict | None):
            raise InvalidRequest(f"`tools[{i}].input_schema` must be an object", param=f"tools[{i}].input_schema")
        function = {"name": tool["name"], "parameters": tool.get("input_schema") or {"type": "object"}}
        if tool.get("description"):
            function["description"] = tool["description"]
        if tool.get("strict"):
            function["strict"] = True
        out.append({"type": "function", "function": function})
    return out


def _choice(told: Any, hub: dict[str, Any]) -> None:
    if not isinstance(told, dict) or "tools" not in hub:
        return
    kind = told.get("type")
    if kind == "tool":
        hub["tool_choice"] = {"type": "function", "function": {"name": told.get("name")}}
    else:
        hub["tool_choice"] = {"any": "required", "none": "none"}.get(str(kind), "auto")
    if told.get("disable_parallel_tool_use"):
        hub["parallel_tool_calls"] = False


def _thinking(told: Any, hub: dict[str, Any]) -> None:
    """How much to think: a budget in tokens here, one of three efforts in the hub."""
    if not isinstance(told, dict) or told.get("type") in (None, "disabled"):
        return
    budget = told.get("budget_tokens")
    budget = budget if isinstance(budget, int) else EFFORTS[-1][0]
    hub["reasoning_effort"] = next((name for most, name in EFFORTS if budget <= most), "high")


# What clients are shown


def show_error(error: RouterError, request_id: str | None = None) -> bytes:
    """`{"type": "error", "error": {"type", "message"}, "request_id"}`, with Farebox's code and details besides."""
    told = {"type": KINDS.get(error.code, "invalid_request_error"), "message": error.message, "code": error.code}
    if error.param is not None:
        told["param"] = error.param
    return jsonio.dumps({"type": "error", "error": {**told, **error.details}, "request_id": request_id})


def show_error_event(error: RouterError) -> bytes:
    """The same inside a stream that has begun."""
    return b"event: error\ndata: " + show_error(error) + b"\n\n"


def show_count(tokens: int) -> dict[str, Any]:
    return {"input_tokens": tokens}
