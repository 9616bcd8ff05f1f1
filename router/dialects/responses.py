"""OpenAI's Responses wire as clients speak it: a request for a response, read and put in the hub's words.

What the hub cannot say (a conversation that the vendor keeps, its own tools, prompts by id) goes to vendors of this wire
only; the request then names the field that keeps it there. Fields and items are those of the openai package 3.54, 2026-11.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from router.core import jsonio
from router.core.catalog import ChatRequest
from router.core.errors import InvalidRequest
from router.core.tokens import Prompt, chat_prompt
from router.dialects import responses_tools
from router.dialects.fields import flag, integer, parse
from router.dialects.responses_items import messages_of
from router.dialects.wishes import read_wishes

# Fields that the hub knows too, or that are hints which an answer is complete without.
CARRIED = frozenset(
    {
        "model", "input", "instructions", "stream", "max_output_tokens", "temperature", "top_p", "tools", "tool_choice",
        "parallel_tool_calls", "text", "reasoning", "user", "farebox", "include", "metadata", "store", "stream_options",
        "truncation", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_options",
        "prompt_cache_retention",
    }
)  # fmt: skip
SAYS_NOTHING: Mapping[str, tuple[Any, ...]] = {
    "background": (False,),
    "top_logprobs": (0,),
}  # the same as leaving it out
ADDING = frozenset({"previous_response_id", "conversation", "prompt"})  # fields by which the vendor adds to the prompt
LOGPROBS = "message.output_text.logprobs"  # the one thing to include that no answer of another wire can be given


def read(raw: bytes, headers: Mapping[str, str]) -> ChatRequest:
    """A request for a response.

    Raises:
        InvalidRequest: not JSON, or a field that a decision needs has the wrong type; `param` names it.

    """
    body, asked = parse(raw)
    stream = flag(body, "stream")
    if flag(body, "background") and not stream:
        told = "`background` without `stream` is answered later; Farebox fetches no answers, so its cost would not be known"
        raise InvalidRequest(told, param="background")
    cap = integer(body, "max_output_tokens", 1, 2**31)
    hub, stays, unseen = to_hub(body)
    needs = {"tools"} if body.get("tools") else set()
    if hub.get("response_format", {}).get("type") == "json_schema":
        needs.add("json_schema")
    kinds = [part["type"] for message in hub["messages"] for part in _parts(message)]
    needs |= {need for kind, need in (("image_url", "images"), ("input_audio", "audio")) if kind in kinds}
    return ChatRequest(
        endpoint="responses",
        body=body,
        asked=asked,
        prompt=replace(_prompt(body, hub, unseen), unseen=_adds(body, unseen)),
        stream=stream,
        wants_usage=True,
        output_cap=cap,
        cap_field="max_output_tokens",
        needs=frozenset(needs),
        thinking=hub.get("reasoning_effort") not in (None, "none"),
        service_tier=tier if isinstance(tier := body.get("service_tier"), str) else None,
        wishes=read_wishes(headers, body.get("farebox")),
        hub=hub,
        stays=", ".join(dict.fromkeys(stays)),
    )


def _parts(message: Mapping[str, Any]) -> Sequence[Any]:
    content = message.get("content")
    return content if isinstance(content, list) else ()


def to_hub(body: Mapping[str, Any]) -> tuple[dict[str, Any], list[str], list[dict[str, Any]]]:
    """(the body as a chat completion's, what of it a chat completion cannot say, the items and tools among that).

    Raises:
        InvalidRequest: `input`, a role, a content or a tool is not what this wire has.

    """
    stays = [
        f"`{name}`"
        for name, value in body.items()
        if name not in CARRIED and value is not None and value not in SAYS_NOTHING.get(name, ())
    ]
    unseen: list[dict[str, Any]] = []
    messages = messages_of(body, stays, unseen)
    if not messages and not stays:
        raise InvalidRequest("`input` must be a string or a non-empty array of items", param="input")
    hub: dict[str, Any] = {"model": body["model"], "messages": messages}
    for name in ("stream", "temperature", "top_p", "user"):
        if body.get(name) is not None:
            hub[name] = body[name]
    if body.get("max_output_tokens") is not None:
        hub["max_completion_tokens"] = body["max_output_tokens"]
    responses_tools.to_hub(body, hub, stays, unseen)
    _text(body.get("text"), hub, stays)
    _reasoning(body.get("reasoning"), hub, stays)
    include = body.get("include")
    if isinstance(include, list) and LOGPROBS in include:
        stays.append(f"`include` of {LOGPROBS}")
    return hub, stays, unseen


def _text(told: Any, hub: dict[str, Any], stays: list[str]) -> None:
    """The form of the answer. How long it should be is a hint."""
    form = told.get("format") if isinstance(told, dict) else None
    if not isinstance(form, dict):
        return
    kind = form.get("type")
    if kind == "json_schema":
        schema = {
            name: form[name] for name in ("name", "description", "schema", "strict") if form.get(name) is not None
        }
        hub["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif kind == "json_object":
        hub["response_format"] = {"type": "json_object"}
    elif kind != "text":
        stays.append(f"`text.format` of type {kind}")


def _reasoning(told: Any, hub: dict[str, Any], stays: list[str]) -> None:
    """How hard to think. Whether thoughts are told is a hint: what a vendor tells of them is passed on."""
    if not isinstance(told, dict):
        return
    if told.get("effort") is not None:
        hub["reasoning_effort"] = told["effort"]
    if told.get("mode") not in (None, "standard"):
        stays.append("`reasoning.mode`")


# What is counted


def _prompt(body: Mapping[str, Any], hub: Mapping[str, Any], unseen: Sequence[dict[str, Any]]) -> Prompt:
    """What is put before the model, also of items and tools that only vendors of this wire understand."""
    prompt = chat_prompt(hub["messages"], hub.get("tools") or (), hub.get("response_format"), jsonio.dumps)
    texts, images = list(prompt.texts), prompt.images
    for text in (text for item in unseen for text in _strings(item)):
        if text.startswith("data:"):
            images += 1
        else:
            texts.append(text)
    size = prompt.size + sum(len(text.encode("utf-8", "surrogatepass")) for text in texts[len(prompt.texts) :])
    given = body.get("input")
    images += sum(_sealed(item) for item in (given if isinstance(given, list) else ()))
    return replace(prompt, texts=tuple(texts), size=size, images=images, tools=bool(body.get("tools")))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield str(name)
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _sealed(item: Any) -> int:
    """Thoughts that are encrypted, which cannot be counted, as so many pictures: of 3,000 letters of base64 each, so that
    the bound of a picture is above a token for two bytes.
    """
    sealed = item.get("encrypted_content") if isinstance(item, dict) else None
    return -(-len(sealed) // 3000) if isinstance(sealed, str) else 0


def _adds(body: Mapping[str, Any], unseen: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the vendor adds to the prompt what is not in the request: what it keeps, finds, or fetches."""
    if any(body.get(name) is not None for name in ADDING):
        return True
    return any(str(item.get("type")) not in responses_tools.OF_THE_CLIENT for item in unseen)
