"""Answers on their way to a client of another dialect, turned from the vendor's into the client's.

Each reader has the usage, the failure and the text so far, whoever asks: the relay while the client is there, and the
settlement when it has left.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from router.core import jsonio
from router.core.errors import RouterError, UpstreamFailed
from router.core.failure import Failure, Fault
from router.core.sse import data_of, events
from router.core.usage import Usage
from router.dialects.pieces import WRITTEN, Listener, Piece, Speaker

# What a vendor may send can have any shape; what breaks a listener is one of these.
ODD = (LookupError, TypeError, AttributeError, ValueError)


class Lines:
    """JSON lines in any cut → blocks of whole lines; the counterpart of `sse.Splitter`."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b""

    def feed(self, chunk: bytes) -> bytes:
        data = self._tail + chunk
        end = data.rfind(b"\n") + 1
        self._tail = data[end:]
        return data[:end]

    def rest(self) -> bytes:
        tail, self._tail = self._tail, b""
        return tail


class Framing(Protocol):
    def feed(self, chunk: bytes) -> bytes:
        """All frames that are whole now, as one block."""

    def rest(self) -> bytes:
        """What the stream ended with."""


def frames(framing: Framing, block: bytes) -> Sequence[bytes]:
    """The data of each frame of a block; events without data (keep-alives, comments) have none."""
    if isinstance(framing, Lines):
        return [line for line in block.split(b"\n") if line.strip()]
    return [data for event in events(block) if (data := data_of(event))]


class Reader:
    """What readers of any kind know, from their listener."""

    __slots__ = ("listener",)

    def __init__(self, listener: Listener) -> None:
        self.listener = listener

    @property
    def usage(self) -> Usage | None:
        return self.listener.usage

    @property
    def usage_final(self) -> bool:
        return self.listener.usage_final

    @property
    def failure(self) -> Failure | None:
        return self.listener.failure

    @property
    def vendor_cost_nano(self) -> int | None:
        return self.listener.vendor_cost_nano

    @property
    def service_tier(self) -> str | None:
        return self.listener.service_tier

    def heard(self, data: bytes, *, whole: bool = False) -> tuple[Any, Sequence[Piece]]:
        """(what was told, its pieces); what cannot be read is the vendor's failure."""
        try:
            told = jsonio.loads_reply(data)
            return told, (self.listener.whole(told) if whole else self.listener.hear(told))
        except jsonio.NotJson:
            problem = "the answer is not JSON" if whole else "an event of the stream is not JSON"
        except ODD:
            problem = "the answer cannot be read" if whole else "an event of the stream cannot be read"
        self.listener.failure = self.listener.failure or Failure(Fault.GARBAGE, problem, 200)
        return None, ()


class Turn(Reader):
    """One stream from a vendor to a client of another dialect."""

    __slots__ = ("_begun", "_framing", "_said", "_speaker", "_text", "_told", "done", "written")

    def __init__(self, listener: Listener, speaker: Speaker, framing: Framing) -> None:
        super().__init__(listener)
        self._speaker = speaker
        self._framing = framing
        self._begun = False
        self._said = False  # a finish has been said, so that the stream may end
        self._told = False  # the client has been told of the failure, or of the end
        self._text: list[str] = []
        self.written = 0  # tokens that the vendor has written at the least: each piece holds one
        self.done = False

    def feed(self, chunk: bytes) -> bytes:
        """What the client gets for this chunk; b"" while nothing is whole."""
        return self._turn(block) if (block := self._framing.feed(chunk)) else b""

    def finish(self) -> bytes:
        """The vendor's side has ended: what is left, and the end if the answer is complete."""
        out = self._turn(rest) if (rest := self._framing.rest()) else b""
        self.done = self.done or (self._said and self.listener.failure is None)
        return out + self._end() if self.done else out

    def _turn(self, block: bytes) -> bytes:
        out: list[bytes] = []
        listener = self.listener
        for data in frames(self._framing, block):
            if data == b"[DONE]":
                listener.done = True
            elif listener.failure is None:
                _, pieces = self.heard(data)
                if pieces:
                    out.append(self._say(pieces))
        if listener.failure is not None:
            out.append(self._fail())
        elif listener.done:
            self.done = True
            out.append(self._end())
        return b"".join(out)

    def _say(self, pieces: Sequence[Piece]) -> bytes:
        for piece in pieces:
            if piece.kind in WRITTEN:
                self._text.append(piece.text)
                self.written += 1
            elif piece.kind == "finish":
                self._said = True
        said = self._speaker.say(pieces) if self._begun else b""
        if not self._begun:
            self._begun = True
            said = self._speaker.begin(self.listener) + self._speaker.say(pieces)
        return said

    def _end(self) -> bytes:
        if self._told:
            return b""
        self._told = True
        head = b"" if self._begun else self._speaker.begin(self.listener)
        self._begun = True
        return head + self._speaker.end(self.usage if self.usage_final else None)

    def _fail(self) -> bytes:
        """A failure, in the client's words; before anything else was said it is the relay's to tell."""
        if self._told or not self._begun:
            return b""
        return self.fail(UpstreamFailed(str(self.listener.failure)))

    def fail(self, error: RouterError) -> bytes:
        self._told = True
        return self._speaker.fail(error)

    def cut(self, _: str) -> bytes:
        """How the stream is closed when it is we who end it."""
        self._told = True
        return self._speaker.say([Piece("finish", "length")]) + self._speaker.end(None)

    def text(self) -> str:
        return "".join(self._text)


class Turned(Reader):
    """A plain answer to a client of another dialect."""

    __slots__ = ("_pieces", "_raw", "_speaker", "done")

    def __init__(self, listener: Listener, speaker: Speaker) -> None:
        super().__init__(listener)
        self._speaker = speaker
        self._raw: list[bytes] = []
        self._pieces: Sequence[Piece] = ()
        self.done = False

    def feed(self, chunk: bytes) -> bytes:
        self._raw.append(chunk)
        return b""

    def finish(self) -> bytes:
        self.read(b"".join(self._raw))
        return b""

    def read(self, raw: bytes) -> bool:
        """Whether this is an answer; else `failure` says why not."""
        _, self._pieces = self.heard(raw, whole=True)
        self.done = self.failure is None
        return self.done

    def shown(self, _: bytes) -> bytes:
        """The answer as the client gets it."""
        return self._speaker.whole(self.listener, self._pieces)

    def text(self) -> str:
        return "".join(piece.text for piece in self._pieces if piece.kind in WRITTEN)
