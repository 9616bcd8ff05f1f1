"""The beginnings of a prompt: what a vendor may still have in its prompt cache from an earlier turn.

A prompt is cut after its tools and after each message, and each cut has the digest of all that is before it. So a turn's
cuts are the last turn's and a few more, and one of them that was seen before says how much of the prompt is the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from router.core import jsonio
from router.core.catalog import ChatRequest

LEAST = 1024  # tokens: no vendor whose discount is worth a thought caches a shorter beginning
_MARK = b'"cache_control":'  # as a member: in a text its quotes are escaped


@dataclass(frozen=True, slots=True)
class Prefix:
    """A prompt's cuts: the first one after the tools (and the system prompt, where that stands apart from the messages),
    the next ones after each message.
    """

    digests: tuple[bytes, ...] = ()
    sizes: tuple[int, ...] = ()  # bytes up to each cut
    head: int = 0  # the cut after the system prompt
    marked: bool = False  # the client has said itself what is to be cached

    @property
    def last(self) -> int:
        return len(self.digests) - 1

    def tokens(self, cut: int, whole: int) -> int:
        """How many of the prompt's tokens are before a cut, by its bytes."""
        return whole * self.sizes[cut] // max(1, self.sizes[-1])


NOTHING = Prefix()


def prefix_of(chat: ChatRequest) -> Prefix:
    """The cuts of a request's prompt; none where it is too short to be cached, or has no messages."""
    if chat.prompt.size < LEAST or chat.prompt.unseen:  # a token has at least one byte
        return NOTHING
    native = chat.endpoint == "messages"
    said = chat.body if native else chat.said
    messages = said.get("messages")
    if not isinstance(messages, list):
        return NOTHING
    head = 0 if native else _leading(messages)
    digests, sizes, marked = list[bytes](), list[int](), "cache_control" in said
    digest, size = b"", 0
    first = {"tools": said.get("tools"), "system": _blocks(said.get("system")) if native else None}
    try:
        for part in (first, *messages):
            written = jsonio.dumps(_ordered(part))
            if _MARK in written:
                marked, written = True, jsonio.dumps(_without_marks(_ordered(part)))
            digest = blake2b(digest + written, digest_size=16).digest()
            size += len(written)
            digests.append(digest)
            sizes.append(size)
    except TypeError:  # nested too deep to be written
        return NOTHING
    return Prefix(tuple(digests), tuple(sizes), head, marked)


def _leading(messages: Sequence[Any]) -> int:
    """How many messages at the beginning are the system's."""
    count = 0
    while count < len(messages) and isinstance(messages[count], dict) and messages[count].get("role") in _SYSTEM:
        count += 1
    return count


_SYSTEM = ("system", "developer")


def _blocks(content: Any) -> Any:
    """A text as the block that it is the short form of: clients that mark it write it out."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _ordered(part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    out = {name: part[name] for name in sorted(part)}
    if "content" in out:
        out["content"] = _blocks(out["content"])
    return out


def _without_marks(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_marks(inner) for name, inner in value.items() if name != "cache_control"}
    return [_without_marks(inner) for inner in value] if isinstance(value, list) else value
