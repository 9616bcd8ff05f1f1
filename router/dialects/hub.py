"""Reading a chat completion's messages for wires that have other words for them."""

from collections.abc import Mapping, Sequence
from typing import Any

from router.core import jsonio

SYSTEM = frozenset({"system", "developer"})


def text_in(content: Any) -> str:
    """The text of a message's content; parts are joined by an empty line."""
    if isinstance(content, str):
        return content
    return "\n\n".join(text for part in content or () if (text := part.get("text") or part.get("refusal")))


def turns(messages: Sequence[Mapping[str, Any]]) -> tuple[str, list[tuple[str, str]]]:
    """(the system's text, the rest as (role, text)) for wires of text only: neighbours of one role become one turn."""
    system: list[str] = []
    out: list[tuple[str, str]] = []
    for message in messages:
        role, text = message["role"], text_in(message.get("content"))
        if not text:
            continue  # an empty message is refused where roles have to alternate
        if role in SYSTEM:
            system.append(text)
        elif out and out[-1][0] == role:
            out[-1] = (role, f"{out[-1][1]}\n\n{text}")
        else:
            out.append((role, text))
    return "\n\n".join(system), out


def calls_refused(messages: Sequence[Mapping[str, Any]]) -> str:
    """Why a wire without tools cannot carry these messages; "" if it can."""
    for i, message in enumerate(messages):
        if message["role"] == "tool":
            return f"`messages[{i}].role` tool cannot be carried to its wire"
        if message.get("tool_calls") or message.get("function_call"):
            return f"`messages[{i}].tool_calls` cannot be carried to its wire"
    return ""


def arguments(call: Mapping[str, Any]) -> dict[str, Any] | None:
    """A call's arguments as an object; None if they are none."""
    told = (call.get("function") or {}).get("arguments")
    try:
        value = jsonio.loads(told.encode()) if told else {}
    except (jsonio.NotJson, AttributeError, UnicodeEncodeError):
        return None
    return value if isinstance(value, dict) else None


def address_of(part: Mapping[str, Any]) -> Any:
    """Where the picture of an `image_url` part is: an address or a data URL."""
    told = part.get("image_url")
    return told.get("url") if isinstance(told, dict) else told


def stops(hub: Mapping[str, Any]) -> list[str]:
    """`stop` as a list."""
    told = hub.get("stop")
    return [told] if isinstance(told, str) else list(told or ())


def within(value: float, least: float, most: float) -> float:
    """A number brought into a range; what lies in it stays as it was written."""
    return least if value < least else min(value, most)
