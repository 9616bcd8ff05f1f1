"""Reading a chat completion's messages for wires that have other words for them."""

from collections.abc import Mapping, Sequence
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


def is_system(message: Mapping[str, Any]) -> bool:
    return message["role"] in {"system", "developer"}


def names_of(calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Ids of calls → their functions, by which some wires know a result."""
    return {str(call.get("id")): (call.get("function") or {}).get("name") for call in calls}


def spoken(content: Any) -> str:
    """The text of a content, whatever else it holds."""
    if not isinstance(content, list):
        return content or ""
    texts = [part.get(str(part.get("type"))) for part in content if part.get("type") in {"text", "refusal"}]
    return "\n\n".join(text for text in texts if text)


def demanded(hub: Mapping[str, Any]) -> Any:
    """The name of the one function that has to be called; None if there is none. `required` is that where there is but one."""
    told, tools = hub.get("tool_choice"), hub.get("tools") or []
    if told == "required" and len(tools) == 1:
        return tools[0]["function"].get("name")
    if isinstance(told, dict) and told.get("type") == "function":
        return (told.get("function") or {}).get("name")
    return None


def data_url(url: Any) -> tuple[str, str] | None:
    """(kind, base64) of a data URL; None if it is none."""
    if not isinstance(url, str) or not url.startswith("data:"):
        return None
    head, _, data = url[5:].partition(",")
    kind, *more = head.lower().split(";")
    return (kind, data) if "base64" in more and data else None
