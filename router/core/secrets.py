"""Credentials taken out of what a vendor says: some repeat the one that they do not accept."""

import re
from collections.abc import Sequence
from typing import Any

from router.core import jsonio
from router.core.sse import data_of, events, with_data

HIDDEN = "[credential]"
SHORT = 8  # characters of which a placeholder has fewer, such as EMPTY or none, which may be a part of other words


def secrets_of(key: str, token: str = "") -> tuple[str, ...]:
    """What may not be told of a call: its credential, the parts of one such as `SecretId:SecretKey`, and its token."""
    parts = [part for part in key.split(":") if len(part) >= SHORT]
    return tuple(sorted({key, token, *parts} - {""}, key=len, reverse=True))


def hide(text: str, secrets: Sequence[str]) -> str:
    """The text without them; a short one only where it is a word of its own."""
    for secret in secrets:
        if secret in text:
            pattern = re.escape(secret) if len(secret) >= SHORT else rf"(?<!\w){re.escape(secret)}(?!\w)"
            text = re.sub(pattern, HIDDEN, text)
    return text


def hide_in_events(block: bytes, secrets: Sequence[str]) -> bytes:
    """The events of a block without them. Only texts are changed, so that each stays the JSON that it was."""
    return b"".join([_hide_in_event(event, secrets) for event in events(block)])


def _hide_in_event(event: bytes, secrets: Sequence[str]) -> bytes:
    try:
        told = jsonio.loads_reply(data_of(event) or event)
        hidden = _hide(told, secrets)
        return event if hidden == told else with_data(event, jsonio.dumps(hidden))
    except (jsonio.NotJson, TypeError, RecursionError):  # no JSON, or nested more deeply than can be written
        long = [secret for secret in secrets if len(secret) >= SHORT]
        return hide(event.decode("utf-8", "surrogateescape"), long).encode("utf-8", "surrogateescape")


def _hide(told: Any, secrets: Sequence[str]) -> Any:
    if isinstance(told, str):
        return hide(told, secrets)
    if isinstance(told, list):
        return [_hide(item, secrets) for item in told]
    if isinstance(told, dict):
        return {name: _hide(item, secrets) for name, item in told.items()}
    return told
