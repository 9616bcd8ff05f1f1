"""Reading a chat completion's messages for wires that have other words for them."""

from collections.abc import Mapping
from typing import Any

from router.core import jsonio


def arguments(call: Mapping[str, Any]) -> dict[str, Any] | None:
    """A call's arguments as an object; None if they are none."""
    told = (call.get("function") or {}).get("arguments")
    try:
        value = jsonio.loads(told.encode()) if told else {}
    except (jsonio.NotJson, AttributeError, UnicodeEncodeError):
        return None
    return value if isinstance(value, dict) else None
