"""Requests for vendors on the Spark wire, a WebSocket: a chat completion, translated, or refused by the name of what has no
place there (xfyun.cn/doc/spark/Web.html, 2026-11; its functions are in the edition of Spark 3.0, 2023-10).

Clients do not speak it. Who asks is told twice: the application's id in the message, and a signature in the address
(xfyun.cn/doc/spark/general_url_authentication.html, 2026-11), so that the credential is `APPID:APIKey:APISecret`.
"""

import hmac
from base64 import b64encode
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from router.core import jsonio
from router.core.catalog import ChatRequest, Model
from router.core.failure import AttemptFailed, Failure, Fault
from router.dialects.carry import Carries
from router.dialects.fields import text_of
from router.dialects.sent import Sent, is_formed

# Models (`domain`) → where each is asked.
PATHS: Mapping[str, str] = {
    "lite": "/v1.1/chat",
    "general": "/v1.1/chat",
    "generalv2": "/v2.1/chat",
    "generalv3": "/v3.1/chat",
    "generalv3.5": "/v3.5/chat",
    "4.0Ultra": "/v4.0/chat",
    "pro-128k": "/chat/pro-128k",
    "max-32k": "/chat/max-32k",
}
CREDENTIAL = "APPID:APIKey:APISecret"
TEMPERATURES = (0.01, 1)  # above 0; what is outside is brought inside
TOP_K = (1, 6)
MAX_UID = 32  # characters
PARTS = frozenset({"text", "refusal"})  # of a message; each says its text under its own name

CARRIES = Carries(
    fields=frozenset(
        {
            "model", "messages", "stream", "max_tokens", "max_completion_tokens", "temperature", "top_p", "tools",
            "tool_choice", "parallel_tool_calls", "user",
        }
    ),
    own=frozenset({"top_k"}),
    dropped={"reasoning_effort": "each model thinks as it does"},
)  # fmt: skip


def request(chat: ChatRequest, model: Model, cap: int, key: str, *, must: bool) -> Sent:  # noqa: ARG001 (always told)
    """The call to a vendor of this wire: its address is not signed yet, its body is the one message that is sent."""
    hub, domain = chat.said, model.wire_name
    body: dict[str, Any] = {
        "header": {"app_id": _credential(key)[0]},
        "parameter": {"chat": _parameters(hub, domain, cap)},
        "payload": {"message": {"text": _messages(hub["messages"])}},
    }
    if hub.get("user"):
        body["header"]["uid"] = str(hub["user"])[:MAX_UID]
    if functions := _functions(hub):
        body["payload"]["functions"] = {"text": functions}
    return Sent(_address(model.access.base_url, domain), {}, jsonio.dumps(body))


def sign(sent: Sent, key: str, now: int) -> Sent:
    """The call with who asks in its address: host, date and path under the secret. It holds for five minutes.

    Raises:
        AttemptFailed: the credential is not of the three parts that this takes.

    """
    _, api_key, secret = _credential(key)
    parts, date = urlsplit(sent.url), formatdate(now, usegmt=True)
    told = f"host: {parts.netloc}\ndate: {date}\nGET {parts.path} HTTP/1.1"
    signature = b64encode(hmac.digest(secret.encode(), told.encode(), "sha256")).decode()
    who = f'api_key="{api_key}", algorithm="hmac-sha256", headers="host date request-line", signature="{signature}"'
    query = {"authorization": b64encode(who.encode()).decode(), "date": date, "host": parts.netloc}
    return Sent(f"{sent.url}?{urlencode(query, quote_via=quote)}", sent.headers, sent.body)


def cannot(chat: ChatRequest) -> str:
    """Why a chat completion cannot be put on this wire."""
    hub = chat.said
    if hub.get("top_p") not in {None, 1}:
        return "`top_p` cannot be carried to its wire"
    return CARRIES.refusal(hub) or _tools_beyond(hub) or _messages_beyond(hub)


def _tools_beyond(hub: Mapping[str, Any]) -> str:
    tools = hub.get("tools") or ()
    for i, tool in enumerate(tools):
        if tool.get("type") != "function" or not isinstance(tool.get("function"), dict):
            return f"`tools[{i}]` of type {tool.get('type')} cannot be carried to its wire"
    if tools and hub.get("tool_choice") not in {None, "auto", "none"}:
        return "`tool_choice` can only be auto or none on its wire"
    return ""


def _messages_beyond(hub: Mapping[str, Any]) -> str:
    """Calls and their results have no place in the history."""
    for i, message in enumerate(hub["messages"]):
        if message["role"] == "tool":
            return f"`messages[{i}].role` tool cannot be carried to its wire"
        if message.get("tool_calls") or message.get("function_call"):
            return f"`messages[{i}].tool_calls` cannot be carried to its wire"
    return ""


def _credential(key: str) -> tuple[str, str, str]:
    if not is_formed(key, CREDENTIAL):
        raise AttemptFailed(Failure(Fault.AUTH, f"the vendor's credential has to be {CREDENTIAL}"))
    app_id, api_key, secret = key.split(":", 2)
    return app_id, api_key, secret


def _address(base_url: str, domain: str) -> str:
    """Where a model is asked: the address that was configured if that is a whole one, else the model's own path."""
    base = f"ws{base_url.removeprefix('http')}" if base_url.startswith("http") else base_url
    if "/chat" in urlsplit(base).path:
        return base
    if domain not in PATHS:
        told = (
            f"no address is known for {domain}, only for {', '.join(PATHS)}; set base_url to the model's whole address"
        )
        raise AttemptFailed(Failure(Fault.NOT_FOUND, told))
    return base + PATHS[domain]


def _parameters(hub: Mapping[str, Any], domain: str, cap: int) -> dict[str, Any]:
    told: dict[str, Any] = {"domain": domain, "max_tokens": cap}
    for name, (least, most) in {"temperature": TEMPERATURES, "top_k": TOP_K}.items():
        if hub.get(name) is not None:
            told[name] = min(max(hub[name], least), most)
    return told


def _messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The turns; what the system says is one message, and the first."""
    system = [_text(message) for message in messages if message["role"] in {"system", "developer"}]
    turns = [
        {"role": message["role"], "content": _text(message)}
        for message in messages
        if message["role"] in {"user", "assistant"}
    ]
    return [{"role": "system", "content": "\n\n".join(system)}, *turns] if system else turns


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, list):
        content = [{"text": part.get(str(part.get("type")))} for part in content if part.get("type") in PARTS]
    return text_of(content, "content")


def _functions(hub: Mapping[str, Any]) -> list[Any]:
    """What may be called; nothing where nothing may."""
    if hub.get("tool_choice") == "none":
        return []
    names = ("name", "description", "parameters")
    return [
        {name: tool["function"][name] for name in names if tool["function"].get(name) is not None}
        for tool in hub.get("tools") or ()
    ]
