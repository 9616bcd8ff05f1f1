"""A plain answer, in the dialect of the client that gets it, as the checks see it."""

from collections.abc import Mapping
from typing import Any

from router.core import jsonio
from router.core.catalog import Endpoint
from router.core.checks import Answer
from router.dialects.turn import ODD


def answer_of(endpoint: Endpoint, raw: bytes) -> Answer | None:
    """None for what has no words (embeddings), or cannot be read."""
    read = READ.get(endpoint)
    if read is None:
        return None
    try:
        return read(jsonio.loads(raw))
    except ODD:
        return None


def _chat(told: Mapping[str, Any]) -> Answer:
    choice = told["choices"][0]
    message = choice["message"]
    calls = [_call(call) for call in message.get("tool_calls") or ()]
    if isinstance(old := message.get("function_call"), Mapping):
        calls.append((old["name"], old.get("arguments")))
    content = message.get("content") or ""
    text = content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
    tokens = (told.get("usage") or {}).get("completion_tokens")
    return Answer(text, choice.get("finish_reason") or "", message.get("refusal") or "", calls, tokens)


def _call(call: Mapping[str, Any]) -> tuple[str, Any]:
    kind = "custom" if call.get("type") == "custom" else "function"
    return call[kind]["name"], call[kind].get("arguments" if kind == "function" else "input")


def _messages(told: Mapping[str, Any]) -> Answer:
    parts = told["content"]
    text = "".join(part["text"] for part in parts if part.get("type") == "text")
    calls = [(part["name"], part.get("input")) for part in parts if part.get("type") == "tool_use"]
    tokens = (told.get("usage") or {}).get("output_tokens")
    return Answer(text, told.get("stop_reason") or "", "", calls, tokens)


def _responses(told: Mapping[str, Any]) -> Answer:
    text, refusal, calls = [], "", []
    for item in told["output"]:
        if item.get("type") in ("function_call", "custom_tool_call"):
            calls.append((item["name"], item.get("arguments", item.get("input"))))
        for part in item.get("content") or ():
            if part.get("type") == "output_text":
                text.append(part["text"])
            refusal = part.get("refusal") or refusal
    finish = told.get("status") or ""
    reason = (told.get("incomplete_details") or {}).get("reason")
    tokens = (told.get("usage") or {}).get("output_tokens")
    return Answer("".join(text), reason if reason == "content_filter" else finish, refusal, calls, tokens)


READ = {"chat/completions": _chat, "messages": _messages, "responses": _responses}
