"""Answers on their way to a client of the same dialect, where that is not the hub's: bytes pass, and what they tell is read.

(The OpenAI wire has readers of its own, `openai_stream` and `openai_plain`: it has the most quirks, and the most traffic.)
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from router.core import jsonio
from router.core.catalog import Quirks
from router.core.errors import RouterError
from router.core.sse import MAX_TEXT, Splitter, bound, data_of, events, with_data
from router.dialects.openai_usage import MARK, OURS
from router.dialects.pieces import WRITTEN, Bill, Listener
from router.dialects.turn import Heard, Whole

FOLD = 262_144  # bytes of events kept before they are reduced to their text: most streams report usage before that


def with_members(told: dict[str, Any], place: Sequence[str], members: bytes) -> bytes | None:
    """`told` with JSON members added to its object at `place`, whose amounts stay exact; None if nothing is there."""
    usage: Any = told
    for name in place:
        usage = usage.get(name) if isinstance(usage, dict) else None
    if not isinstance(usage, dict):
        return None
    for name in OURS:
        usage.pop(name, None)
    usage[MARK] = 0
    try:
        return jsonio.dumps(told).replace(b'"' + MARK.encode() + b'":0', members)
    except TypeError:  # nested more deeply than can be written: it passes as it came
        return None
    finally:
        del usage[MARK]


@dataclass(frozen=True, slots=True)
class Watching:
    """How a dialect's own streams are watched."""

    listener: Callable[[Quirks], Listener]
    tells: re.Pattern[bytes]
    """What an event looks like that is worth reading."""
    delta: bytes
    """What each event that holds a token has."""
    place: tuple[str, ...]
    """Where the usage stands that a client is shown the cost in."""
    closing: Callable[["Watch"], bytes]
    """How a stream is closed when it is we who end it at its cap."""
    error: Callable[[RouterError, "Watch"], bytes]
    """How a stream tells of an error."""
    opens: re.Pattern[bytes] | None = None
    """What events look like that come before anything is written: they wait for the next, as that may tell of an error,
    after which another candidate is asked. None: the dialect has none that would matter."""


class Watch(Heard):
    """One stream from a vendor to a client of the same dialect: bytes pass; events that tell something are read."""

    __slots__ = (
        "_bill", "_how", "_kept", "_opening", "_quirks", "_size", "_splitter", "_text", "_thought", "_words", "done", "last", "written",
    )  # fmt: skip

    def __init__(self, how: Watching, quirks: Quirks, bill: Bill) -> None:
        super().__init__(how.listener(quirks))
        self._how = how
        self._quirks = quirks
        self._bill = bill
        self._splitter = Splitter()
        self._kept: list[bytes] = []
        self._size = 0
        self._text = ""
        self._thought = False
        self._words = ""  # of the text what is neither thought nor an argument
        self._opening: list[bytes] | None = None if how.opens is None else []  # events that wait; None: no more of them
        self.last = b""  # the newest events that were passed on
        self.written = 0  # tokens that the vendor has written at the least: each delta holds one
        self.done = False

    def feed(self, chunk: bytes) -> bytes:
        return self._pass(block) if (block := self._splitter.feed(chunk)) else b""

    def finish(self) -> bytes:
        return self._pass(rest) if (rest := self._splitter.rest()) else b""

    def _pass(self, block: bytes) -> bytes:
        self.written += block.count(self._how.delta)  # with its quotes, which a text has escaped
        if self.usage is None or not self.usage_final:
            self._keep(block)
        if self._how.tells.search(block) is not None:
            block = b"".join(
                [self._event(event) if self._how.tells.search(event) else event for event in events(block)]
            )
            self.done = self.listener.done
        if self._opening is not None and not (block := self._open(block, self._opening)):
            return b""
        self.last = block
        return block

    def _open(self, block: bytes, waiting: list[bytes]) -> bytes:
        """The block with what has waited for it; b"" while it has only such events itself."""
        opens = self._how.opens
        waiting.append(block)
        if self.failure is None and opens is not None and all(opens.search(event) for event in events(block)):
            return b""
        self._opening = None
        return b"".join(waiting)

    def _event(self, event: bytes) -> bytes:
        before = self.usage
        told, _ = self.heard(data_of(event))
        usage = self.usage
        if told is None or usage is None or usage is before or not self.usage_final:
            return event
        members = self._bill(usage)
        data = with_members(told, self._how.place, members) if members else None
        return event if data is None else with_data(event, data)

    def _keep(self, block: bytes) -> None:
        self._kept.append(block)
        self._size += len(block)
        if self._size > FOLD:
            self._fold()
            bound(len(self._text), MAX_TEXT, "the text of the stream")

    def _fold(self) -> None:
        reader = Heard(self._how.listener(self._quirks))
        for event in events(b"".join(self._kept)):
            if data := data_of(event):
                pieces = reader.heard(data)[1]
                self._text += "".join(piece.text for piece in pieces if piece.kind in WRITTEN)
                self._thought = self._thought or any(piece.kind == "thinking" for piece in pieces)
                self._words += "".join(piece.text for piece in pieces if piece.kind == "text")
        self._kept.clear()
        self._size = 0

    def fail(self, error: RouterError) -> bytes:
        return self._how.error(error, self)

    def cut(self, _: str) -> bytes:
        return self._how.closing(self)

    def text(self) -> str:
        self._fold()
        return self._text

    @property
    def thought(self) -> bool:
        """Whether thoughts have been told."""
        self._fold()
        return self._thought

    def words(self) -> str:
        """The text without thoughts and arguments."""
        self._fold()
        return self._words


class Watched(Whole):
    """A plain answer to a client of the same dialect: only its cost is added."""

    __slots__ = ("_bill",)

    def __init__(self, listener: Listener, bill: Bill) -> None:
        super().__init__(listener)
        self._bill = bill

    def shown(self, raw: bytes) -> bytes:
        """The answer as the client gets it."""
        members = self._bill(self.usage) if self.usage is not None else b""
        return (with_members(self._told, ("usage",), members) if members else None) or raw
