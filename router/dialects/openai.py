"""The OpenAI wire: chat completions, completions and embeddings. It is the hub, and most vendors speak it.

Bodies pass through: what nobody listed here survives in both directions, and a reply is patched in place rather than
serialised again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from router.core import jsonio
from router.core.catalog import ChatRequest, Endpoint, Model, Quirks
from router.core.errors import InvalidRequest, RouterError
from router.core.tokens import Prompt, chat_prompt
from router.dialects import thinking
from router.dialects.fields import flag, integer, parse
from router.dialects.openai_suit import suited, unthinking
from router.dialects.sent import Sent, credential, deployed
from router.dialects.wishes import read_wishes

MAX_MESSAGES = 2048  # OpenAI's own limit for the array
MAX_CHOICES = 128  # OpenAI's own limit for `n`

CAP_FIELDS = ("max_completion_tokens", "max_tokens")
SIGNED = (
    "extra_content"  # of a message or a call: what Google's models sign it with (ai.google.dev/gemini-api/docs/openai)
)


# What clients send


def read(endpoint: Endpoint, raw: bytes, headers: Mapping[str, str]) -> ChatRequest:
    """A client's request. Only what a decision needs is looked at; the rest is the vendor's business.

    Raises:
        InvalidRequest: not JSON, or a field that a decision needs has the wrong type; `param` names it.

    """
    body, asked = parse(raw)
    stream = flag(body, "stream")
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise InvalidRequest("`stream_options` must be an object", param="stream_options")
    cap_field, output_cap = _cap(body)
    prompt, needs = _chat(body) if endpoint == "chat/completions" else (_texts(body, endpoint), frozenset())
    choices = integer(body, "n", 1, MAX_CHOICES) or 1
    prompts = len(body["prompt"]) if endpoint == "completions" and _many(body.get("prompt")) else 1
    return ChatRequest(
        endpoint=endpoint,
        body=body,
        asked=asked,
        prompt=prompt,
        stream=stream,
        wants_usage=stream and bool(options and options.get("include_usage")),
        choices=max(choices, integer(body, "best_of", 1, MAX_CHOICES) or 1) * prompts,
        output_cap=output_cap,
        cap_field=cap_field,
        needs=needs,
        thinking=thinking.asks(body),
        service_tier=tier if isinstance(tier := body.get("service_tier"), str) else None,
        wishes=read_wishes(headers, body.get("farebox")),
    )


def _cap(body: Mapping[str, Any]) -> tuple[str | None, int | None]:
    caps = [(name, cap) for name in CAP_FIELDS if (cap := integer(body, name, 1, 2**31)) is not None]
    return min(caps, key=lambda item: item[1]) if caps else (None, None)


def _chat(body: Mapping[str, Any]) -> tuple[Prompt, frozenset[str]]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("`messages` must be a non-empty array", param="messages")
    if len(messages) > MAX_MESSAGES:
        raise InvalidRequest(
            f"`messages` has {len(messages)} entries; at most {MAX_MESSAGES} are allowed", param="messages"
        )
    needs = set()
    for i, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise InvalidRequest(f"`messages[{i}]` must be an object with a `role`", param=f"messages[{i}]")
        content = message.get("content")
        if content is not None and not isinstance(content, str | list):
            raise InvalidRequest(
                f"`messages[{i}].content` must be a string or an array of parts", param=f"messages[{i}].content"
            )
        if isinstance(content, list):
            needs |= _needs_of(content, i)
    tools = body.get("tools") or body.get("functions") or []
    if not isinstance(tools, list):
        raise InvalidRequest("`tools` must be an array", param="tools")
    if tools:
        needs.add("tools")
    form = body.get("response_format")
    if isinstance(form, dict) and form.get("type") == "json_schema":
        needs.add("json_schema")
    return chat_prompt(messages, tools, form, jsonio.dumps), frozenset(needs)


def _needs_of(parts: Sequence[Any], i: int) -> set[str]:
    needs = set()
    for part in parts:
        if not isinstance(part, dict):
            raise InvalidRequest(f"`messages[{i}].content` must hold objects", param=f"messages[{i}].content")
        kind = part.get("type")
        if kind == "image_url":
            needs.add("images")
        elif kind == "input_audio":
            needs.add("audio")
    return needs


def _many(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], str | list)


def _texts(body: Mapping[str, Any], endpoint: Endpoint) -> Prompt:
    """The prompt of a completion or the input of an embedding: a text, texts, token ids, or lists of those."""
    name = "input" if endpoint == "embeddings" else "prompt"
    value = body.get(name)
    items = value if isinstance(value, list) else [value]
    texts = [item for item in items if isinstance(item, str)]
    ids = sum(len(item) if isinstance(item, list) else 1 for item in items if not isinstance(item, str))
    if not items or value is None or any(not isinstance(item, str | list | int) for item in items):
        raise InvalidRequest(f"`{name}` must be a string, an array of strings or token ids", param=name)
    return Prompt(tuple(texts), sum(len(text.encode()) for text in texts), 0, tokens=ids)


# What vendors are sent


def request(chat: ChatRequest, model: Model, cap: int, key: str, *, must: bool) -> Sent:
    """The call to a vendor on this wire."""
    access = model.access
    endpoint = chat.endpoint if chat.hub is None else "chat/completions"
    headers = credential(access.vendor.quirks.key_header or "Authorization", key)
    url = deployed(access.base_url, f"/{endpoint}", model.wire_name)
    return Sent(url, headers, patch(chat, model, cap if must else None))


def patch(chat: ChatRequest, model: Model, cap: int | None) -> bytes:
    """The body for one model: its name, the usage event asked for, the output cap where one must be set, and what this
    vendor knows by another name or in a narrower range; all else as it came.
    """
    body = {name: value for name, value in chat.said.items() if name != "farebox"}
    body["model"] = model.wire_name
    quirks = model.access.vendor.quirks
    if chat.hub is not None:
        _adapt(body, model)
    elif not quirks.signatures_back and chat.endpoint == "chat/completions":
        body["messages"] = _unsigned(body["messages"])
    if chat.endpoint != "completions" and "messages" in body:
        body["messages"] = suited(body["messages"], quirks)
    if not chat.stream and unthinking(model) and (chat.hub is not None or body.get("enable_thinking") is None):
        body["enable_thinking"] = False
    if not quirks.asks_stream_usage:
        body.pop("stream_options", None)
    elif chat.stream:
        body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    for name, own in quirks.renamed.items():
        if name in body:
            value = body.pop(name)
            body.setdefault(own, value)
    keep_in_range(body, model)
    _limit(body, chat, quirks, cap)
    return jsonio.dumps(body)


def keep_in_range(body: dict[str, Any], model: Model) -> None:
    """Bring numbers that the vendor would refuse to the nearest that it takes."""
    quirks = model.access.vendor.quirks
    own = next((own for prefix, own in quirks.model_ranges if model.wire_name.startswith(prefix)), {})
    for name, (least, most) in {**quirks.ranges, **own}.items():
        value = body.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and not least <= value <= most:
            body[name] = least if value < least else most


def _adapt(body: dict[str, Any], model: Model) -> None:
    """What came in another dialect as this vendor knows it: how hard to think, and thoughts of earlier turns, which most
    refuse and some need.
    """
    quirks = model.access.vendor.quirks
    body.pop("top_k", None)  # not OpenAI's; optional where it comes from
    effort = body.pop("reasoning_effort", None)
    how = next((how for prefix, how in quirks.thinking if model.wire_name.startswith(prefix)), None)
    if effort is not None and how is not None:
        thinks = effort != "none"
        kind = {"type": "enabled" if thinks else "disabled"}
        told: dict[str, Any] = {"effort": effort, "type": kind, "enable": thinks}
        body[{"effort": "reasoning_effort", "type": "thinking", "enable": "enable_thinking"}[how]] = told[how]
    if not quirks.thoughts_back:
        body["messages"] = [
            {name: value for name, value in message.items() if name != "reasoning_content"}
            for message in body["messages"]
        ]


def _unsigned(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages without the signatures of Google's models, which the vendor of an earlier turn may have been (Groq and
    Mistral refuse the field; NousResearch/hermes-agent #38543, 2026-06).
    """
    if not any(SIGNED in message or any(SIGNED in call for call in _calls(message)) for message in messages):
        return messages
    out = []
    for message in messages:
        told = {name: value for name, value in message.items() if name != SIGNED}
        if calls := _calls(message):
            told["tool_calls"] = [{name: v for name, v in call.items() if name != SIGNED} for call in calls]
        out.append(told)
    return out


def _calls(message: Mapping[str, Any]) -> Sequence[dict[str, Any]]:
    calls = message.get("tool_calls")
    return calls if isinstance(calls, list) and all(isinstance(call, dict) for call in calls) else ()


def _limit(body: dict[str, Any], chat: ChatRequest, quirks: Quirks, cap: int | None) -> None:
    """The output cap, ours and the client's, under the name that the vendor knows."""
    plain = "max_tokens" if chat.endpoint == "completions" else quirks.cap_field
    told = {name: body[name] for name in CAP_FIELDS if body.get(name) is not None}
    if quirks.one_cap_field and told:
        for name in told:
            del body[name]
        told = {plain: min(told.values())}
    if cap is not None:
        told = {name: min(value, cap) for name, value in told.items()} or {plain: cap}
    body.update(told)


# What clients are shown


def show_error(error: RouterError, _: str | None = None) -> bytes:
    """`{"error": {"message", "type", "param", "code"}}`, and details where there are some."""
    return jsonio.dumps(
        {
            "error": {
                "message": error.message,
                "type": error.kind,
                "param": error.param,
                "code": error.code,
                **error.details,
            }
        }
    )


def show_error_event(error: RouterError) -> bytes:
    """The same inside a stream that has begun."""
    return b"data: " + show_error(error) + b"\n\n"


def show_models(names: Sequence[str], created: int) -> dict[str, Any]:
    return {"object": "list", "data": [show_model(name, created) for name in names]}


def show_model(name: str, created: int) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": "farebox"}
