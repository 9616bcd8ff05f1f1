"""Prompt caching as Anthropic sells it: what of a prompt was seen before is read, what is marked and new is written. Pure but for
what it remembers.
"""

import dataclasses
from collections.abc import Hashable

HOUR = 3600


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """A piece of a prompt: `digest` of everything up to its end, `tokens` up to its end, seconds it is to be kept (0: not marked)."""

    digest: bytes
    tokens: int
    ttl: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Cached:
    """Tokens of a prompt that were read from the cache, and written to be kept for five minutes or an hour."""

    read: int = 0
    written_5m: int = 0
    written_1h: int = 0


class PromptCache:
    def __init__(self) -> None:
        self._kept: dict[Hashable, tuple[float, int]] = {}  # until when, and for how long each time

    def use(self, scope: str, prefix: tuple[Block, ...], now: float) -> Cached:
        """Reads the longest known prefix and writes up to each mark behind it. A read keeps the prefix for its time again."""
        last = max((i for i, block in enumerate(prefix) if block.ttl), default=-1)
        begin = 0
        for block in reversed(prefix[: last + 1]):
            until, ttl = self._kept.get((scope, block.digest), (0.0, 0))
            if until > now:
                self._kept[scope, block.digest] = now + ttl, ttl
                begin = block.tokens
                break
        written = {False: 0, True: 0}
        at = begin
        for block in prefix[: last + 1]:
            if not block.ttl:
                continue
            self._kept[scope, block.digest] = now + block.ttl, block.ttl
            if block.tokens > at:
                written[block.ttl >= HOUR] += block.tokens - at
                at = block.tokens
        return Cached(begin, written[False], written[True])
