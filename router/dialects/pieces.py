"""The hub of answers: what a vendor's reply says, whatever its wire, as a row of pieces.

Between two dialects an answer goes through here, so that N readers and M writers do instead of N times M translators.
A *listener* turns one vendor's reply or stream into pieces; a *speaker* turns pieces into what one client understands.
Requests have their hub too: the body of a chat completion (see `openai`).
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from router.core.errors import RouterError
from router.core.failure import Failure
from router.core.usage import Minus, Usage, heard

Kind = Literal["text", "thinking", "signature", "redacted", "refusal", "call", "arguments", "finish"]
Finish = Literal["stop", "length", "tool_calls", "content_filter"]


class Piece(NamedTuple):
    """A part of an answer, in the order in which it was written."""

    kind: Kind
    text: str = ""
    """The text; of `arguments` a part of their JSON; of `finish` why the answer ended, in OpenAI's words; of `signature`
    and `redacted` what only the vendor can read. A signature with an id is that of the call which comes next."""
    choice: int = 0
    call: int = 0  # place among the choice's tool calls
    id: str = ""  # of a call, or of the one that is signed
    name: str = ""  # of a call


WRITTEN = frozenset({"text", "thinking", "refusal", "arguments"})
"""Pieces whose text the model has written, and a vendor counts."""


class Listener:
    """What one answer of a vendor has told so far. A dialect gives `hear` and `whole`."""

    __slots__ = ("done", "failure", "id", "model", "service_tier", "sound", "usage", "usage_final", "vendor_cost_nano")

    def __init__(self) -> None:
        self.id = ""
        self.model = ""
        self.usage: Usage | None = None
        self.usage_final = True  # False while it is not all, or cannot be believed
        self.sound = True  # False where the newest usage contradicts itself, or more was written after it
        self.vendor_cost_nano: int | None = None  # what the vendor itself says it charges
        self.service_tier: str | None = None  # the tier that the vendor says it served
        self.failure: Failure | None = None
        self.done = False  # the vendor said that this is all

    def consume(self, usage_of: Callable[[Minus], Usage | None], *, final: bool = True) -> None:
        """Take in what the vendor says was used, if it says something. What contradicts itself is no report, so that the
        row is marked as estimated; the answer is passed on all the same.
        """
        usage, sound = heard(self.usage, usage_of)
        if usage is not None:
            self.usage, self.sound, self.usage_final = usage, sound, final and sound

    def hear(self, told: dict[str, Any]) -> Sequence[Piece]:
        """One event of a stream, parsed."""
        raise NotImplementedError

    def whole(self, told: dict[str, Any]) -> Sequence[Piece]:
        """A whole reply, parsed."""
        raise NotImplementedError


Bill = Callable[[Usage], bytes]
"""The JSON members (without braces) that tell what a usage costs; b"" where that is not known."""


class Speaker(Protocol):
    """Writes one answer in a client's dialect."""

    def begin(self, listener: Listener) -> bytes:
        """What a stream opens with."""

    def say(self, pieces: Sequence[Piece]) -> bytes:
        """The events for these pieces."""

    def end(self, usage: Usage | None) -> bytes:
        """What closes a stream: the finish, where the dialect tells it with the usage, the usage, the end."""

    def fail(self, error: RouterError) -> bytes:
        """The stream cannot go on."""

    def whole(self, listener: Listener, pieces: Sequence[Piece]) -> bytes:
        """A plain answer."""
