r"""How an alert is told to whom: bodies, signatures and what counts as heard. Pure; the time is an argument.

- generic: standardwebhooks.com: `webhook-id`, `webhook-timestamp`, `webhook-signature` with HMAC-SHA-256 over "id.timestamp.body".
- slack: docs.slack.dev/messaging/sending-messages-using-incoming-webhooks. The address is the secret; nothing is signed.
- feishu: open.feishu.cn/document/client-docs/bot-v3/add-custom-bot (Lark the same). The key of the HMAC is "timestamp\nsecret" and
  its text is empty; both go into the body; seconds. A refusal comes with status 200 and a `code` that is not 0.
- dingtalk: open.dingtalk.com/document/robots/custom-robot-access. The key is the secret, the text "timestamp\nsecret"; both go
  into the query; milliseconds. A refusal comes with status 200 and an `errcode` that is not 0.

Feishu and DingTalk refuse a timestamp that is an hour off, so each try is signed anew.
"""

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from router.core.alerts import Alert, Target, shown
from router.core.limits import MICROS

PREFIX = "whsec_"


@dataclass(frozen=True, slots=True, repr=False)  # the address is a credential
class Message:
    url: str
    headers: dict[str, str]
    body: bytes


def message(target: Target, alert: Alert, now: int) -> Message:
    """The alert as this target understands it, signed at this instant."""
    headers = {"Content-Type": "application/json; charset=utf-8"}
    secret, url = target.secret, target.url
    told: dict[str, Any]
    if target.kind == "slack":  # these three characters are Slack's markup
        told = {"text": alert.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")}
    elif target.kind == "feishu":
        told = {"msg_type": "text", "content": {"text": alert.text}}
        if secret:
            seconds = str(now // MICROS)
            told = {"timestamp": seconds, "sign": _digest(f"{seconds}\n{secret}".encode(), b""), **told}
    elif target.kind == "dingtalk":
        told = {"msgtype": "text", "text": {"content": alert.text}}
        if secret:
            millis = now // 1000
            sign = quote(_digest(secret.encode(), f"{millis}\n{secret}".encode()), safe="")
            url += f"{'&' if '?' in url else '?'}timestamp={millis}&sign={sign}"
    else:
        told = {
            "type": f"farebox.{alert.topic}", "id": alert.id, "timestamp": shown(alert.at), "text": alert.text,
            "data": dict(alert.data),
        }  # fmt: skip
    body = json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()
    if target.kind == "generic":
        headers |= _standard(secret, event_id(alert), str(now // MICROS), body)
    return Message(url, headers, body)


def event_id(alert: Alert) -> str:
    """An `id` that fits into a header: names may hold any character."""
    return "fb_" + hashlib.sha256(alert.id.encode()).hexdigest()[:32]


def key_of(secret: str) -> bytes:
    """`whsec_` and base64 as the specification has it, or any text. Raises `ValueError`: not base64."""
    if not secret.startswith(PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise ValueError(f"what follows {PREFIX} is not base64") from None


def refusal(target: Target, status: int, body: bytes) -> str:
    """Why the other side has not taken it, without a word of its own; blank if it has."""
    if not 200 <= status < 300:
        return f"status {status}"
    if target.kind not in {"feishu", "dingtalk"}:
        return ""
    try:
        told = json.loads(body)
    except ValueError:
        told = None
    code = told.get("errcode" if target.kind == "dingtalk" else "code") if isinstance(told, dict) else None
    if not isinstance(code, int):
        return "an answer without a code"
    return f"code {code}" if code else ""


def _standard(secret: str, name: str, seconds: str, body: bytes) -> dict[str, str]:
    headers = {"webhook-id": name, "webhook-timestamp": seconds}
    if secret:
        headers["webhook-signature"] = "v1," + _digest(key_of(secret), f"{name}.{seconds}.".encode() + body)
    return headers


def _digest(key: bytes, text: bytes) -> str:
    return base64.b64encode(hmac.digest(key, text, "sha256")).decode()
