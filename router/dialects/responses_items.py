"""The input of a Responses request as the hub's messages: texts, pictures, calls, results and thoughts of earlier turns."""

from collections.abc import Mapping, Sequence
from typing import Any

from router.core.errors import InvalidRequest
from router.dialects.openai import MAX_MESSAGES

ROLES = frozenset({"user", "assistant", "system", "developer"})


def messages_of(body: Mapping[str, Any], stays: list[str], unseen: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages; what cannot be said in them is named in `stays`, and as it is in `unseen`.

    Raises:
        InvalidRequest: `instructions` or `input` is not what this wire has.

    """
    told = body.get("input")
    reader = _Reader(stays, unseen)
    instructions = body.get("instructions")
    if instructions is not None and not isinstance(instructions, str):
        raise InvalidRequest("`instructions` must be a string", param="instructions")
    if instructions:
        reader.out.append({"role": "system", "content": instructions})
    if isinstance(told, str):
        reader.out.append({"role": "user", "content": told})
    elif isinstance(told, list):
        if len(told) > MAX_MESSAGES:
            raise InvalidRequest(f"`input` has {len(told)} items; at most {MAX_MESSAGES} are allowed", param="input")
        for i, item in enumerate(told):
            if not isinstance(item, dict):
                raise InvalidRequest(f"`input[{i}]` must be an object", param=f"input[{i}]")
            reader.take(item, f"input[{i}]")
        reader.end()
    elif told is not None:
        raise InvalidRequest("`input` must be a string or an array of items", param="input")
    return reader.out


class _Reader:
    """Items, one after another. Thoughts, the words after them and calls are one message of the assistant's in the hub."""

    def __init__(self, stays: list[str], unseen: list[dict[str, Any]]) -> None:
        self.out: list[dict[str, Any]] = []
        self._stays = stays
        self._unseen = unseen
        self._open: dict[str, Any] | None = None  # the assistant's message that goes on
        self._pictures: list[dict[str, Any]] = []  # of results, which the hub's tool messages cannot hold

    def take(self, item: dict[str, Any], at: str) -> None:
        kind = item.get("type", "message" if "role" in item else "item_reference")
        if kind == "function_call_output":
            self._open = None
            text, pictures = self._result(item, at)
            self.out.append({"role": "tool", "tool_call_id": str(item.get("call_id") or ""), "content": text})
            self._pictures += pictures
            return
        self._show()
        if kind == "message":
            self._message(item, at)
        elif kind == "reasoning":
            if thoughts := _thoughts(item):
                message = self._assistant()
                message["reasoning_content"] = message.get("reasoning_content", "") + thoughts
        elif kind == "function_call":
            function = {"name": item.get("name"), "arguments": item.get("arguments") or "{}"}
            call = {"id": item.get("call_id"), "type": "function", "function": function}
            self._assistant().setdefault("tool_calls", []).append(call)
        else:
            self._stays.append(f"`{at}` of type {kind}")
            self._unseen.append(item)

    def end(self) -> None:
        self._show()
        # thoughts alone are no message, and vendors refuse one without words and calls
        self.out[:] = [m for m in self.out if m["role"] != "assistant" or m["content"] or m.get("tool_calls")]

    def _assistant(self) -> dict[str, Any]:
        if self._open is None:
            self._open = {"role": "assistant", "content": None}
            self.out.append(self._open)
        return self._open

    def _show(self) -> None:
        if self._pictures:
            self.out.append({"role": "user", "content": self._pictures})
            self._pictures = []

    def _message(self, item: dict[str, Any], at: str) -> None:
        role, content = item.get("role"), item.get("content")
        if str(role) not in ROLES:
            raise InvalidRequest(f"`{at}.role` must be user, assistant, system or developer", param=f"{at}.role")
        if isinstance(content, str):
            parts = [{"type": "text", "text": content}]
        elif isinstance(content, list) and all(isinstance(part, dict) for part in content):
            parts = self._parts(content, f"{at}.content")
        else:
            raise InvalidRequest(f"`{at}.content` must be a string or an array of parts", param=f"{at}.content")
        if role == "assistant":
            if self._open is not None and (self._open["content"] is not None or "tool_calls" in self._open):
                self._open = None  # two messages are not one
            self._assistant()["content"] = "".join(part.get("text", "") for part in parts)
            return
        self._open = None
        told = "system" if role == "developer" else role  # which every vendor knows
        if parts:
            plain = len(parts) == 1 and parts[0]["type"] == "text"
            self.out.append({"role": told, "content": parts[0]["text"] if plain else parts})

    def _parts(self, parts: Sequence[dict[str, Any]], at: str) -> list[dict[str, Any]]:
        out = []
        for j, part in enumerate(parts):
            if (made := _part(part, f"{at}[{j}]")) is not None:
                out.append(made)
            else:
                self._stays.append(f"`{at}[{j}]` of type {part.get('type')}")
                self._unseen.append(part)
        return out

    def _result(self, item: dict[str, Any], at: str) -> tuple[str, list[dict[str, Any]]]:
        output = item.get("output")
        if output is None or isinstance(output, str):
            return output or "", []
        if not isinstance(output, list) or not all(isinstance(part, dict) for part in output):
            raise InvalidRequest(f"`{at}.output` must be a string or an array of parts", param=f"{at}.output")
        parts = self._parts(output, f"{at}.output")
        texts = [part["text"] for part in parts if part["type"] == "text"]
        return "\n".join(texts), [part for part in parts if part["type"] != "text"]


def _part(part: Mapping[str, Any], at: str) -> dict[str, Any] | None:
    """A part of a content as the hub has it; None if it has nothing like it."""
    kind = str(part.get("type"))
    if kind in {"input_text", "output_text", "text", "refusal"}:
        name = "refusal" if kind == "refusal" else "text"
        if not isinstance(part.get(name), str):
            raise InvalidRequest(f"`{at}.{name}` must be a string", param=f"{at}.{name}")
        return {"type": "text", "text": part[name]}
    if kind == "input_image" and isinstance(part.get("image_url"), str):
        detail = {"detail": part["detail"]} if part.get("detail") not in (None, "auto") else {}
        return {"type": "image_url", "image_url": {"url": part["image_url"], **detail}}
    if kind == "input_file" and isinstance(part.get("file_data"), str):
        name = str(part.get("filename") or "document.pdf")
        return {"type": "file", "file": {"filename": name, "file_data": part["file_data"]}}
    if kind == "input_audio" and isinstance(part.get("input_audio"), dict):
        return {"type": "input_audio", "input_audio": part["input_audio"]}
    return None


def _thoughts(item: Mapping[str, Any]) -> str:
    """What can be read of thoughts; what is encrypted nobody but its author can."""
    for name in ("content", "summary"):
        parts = item.get(name)
        found = [part.get("text") for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
        if texts := [text for text in found if isinstance(text, str) and text]:
            return "\n\n".join(texts)
    return ""
