"""Answers on their way to a client of another dialect, turned from the vendor's into the client's.

Each reader has the usage, the failure and the text so far, whoever asks: the relay while the client is there, and the
settlement when it has left.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from router.core import jsonio
from router.core.errors import RouterError, UpstreamFailed
from router.core.failure import NOT_BEGUN, Failure, Fault
from router.core.sse import MAX_PLAIN, MAX_TEXT, Splitter, bound, data_of, events
from router.core.usage import Usage
from router.dialects.faults import no_answer
from router.dialects.openai_errors import PLAIN
from router.dialects.pieces import WRITTEN, Listener, Piece, Speaker

# What a vendor may send can have any shape; what breaks a listener is one of these.
ODD = (LookupError, TypeError, AttributeError, ValueError)


class Framing(Protocol):
    """Bytes in any cut → blocks of whole server-sent events. One per stream."""

    def feed(self, chunk: bytes) -> bytes: ...
    def rest(self) -> bytes: ...


class Lines:
    """JSON lines in any cut → blocks of whole server-sent events, one for each line."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b""

    def feed(self, chunk: bytes) -> bytes:
        """An event for each line that is whole now; b"" while none is."""
        *lines, self._tail = (self._tail + chunk).split(b"\n")
        return b"".join(map(_event, lines))

    def rest(self) -> bytes:
        """The last line, if it did not end."""
        tail, self._tail = self._tail, b""
        return _event(tail)


def _event(line: bytes) -> bytes:
    line = line.strip()
    return b"data: " + line + b"\n\n" if line else b""


class Heard:
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
    def id(self) -> str:
        return self.listener.id

    @property
    def service_tier(self) -> str | None:
        return self.listener.service_tier

    @property
    def model(self) -> str:
        return self.listener.model

    def heard(self, data: bytes, *, whole: bool = False) -> tuple[Any, Sequence[Piece]]:
        """(what was told, its pieces); what cannot be read is the vendor's failure."""
        listener, before = self.listener, self.listener.usage
        try:
            told = jsonio.loads_reply(data)
            pieces = listener.whole(told) if whole else listener.hear(told)
        except jsonio.NotJson:
            problem = "the answer is not JSON" if whole else "an event of the stream is not JSON"
        except ODD:
            problem = "the answer cannot be read" if whole else "an event of the stream cannot be read"
        else:
            if before is not None and listener.usage is before and any(piece.kind in WRITTEN for piece in pieces):
                listener.usage_final = listener.sound = False  # it was told before all was written
            return told, pieces
        self.break_off(problem)
        return None, ()

    def _finished(self, begun: bool) -> None:  # noqa: FBT001 (what has come before is the point)
        """The stream says that it is over: an answer, if there was one."""
        self.listener.done = True
        if not begun and not self.listener.id and self.usage is None:
            self.listener.failure = self.listener.failure or Failure(Fault.RESET, NOT_BEGUN, 200)

    def break_off(self, problem: str) -> None:
        """What the vendor sent is of no use to the client."""
        self.listener.failure = self.listener.failure or Failure(Fault.GARBAGE, problem, 200)


class Turn(Heard):
    """One stream from a vendor to a client of another dialect."""

    __slots__ = (
        "_begun",
        "_odd",
        "_said",
        "_speaker",
        "_splitter",
        "_text",
        "_told",
        "_written",
        "done",
        "thought",
        "written",
    )

    def __init__(self, listener: Listener, speaker: Speaker, framing: Framing | None = None) -> None:
        super().__init__(listener)
        self._speaker = speaker
        self._splitter: Framing = framing or Splitter()
        self._begun = False
        self._odd: Any = None  # the newest event that told nothing
        self._said = False  # a finish has been said, so that the stream may end
        self._told = False  # the client has been told of the failure, or of the end
        self._text: list[str] = []
        self._written = 0  # characters
        self.written = 0  # tokens that the vendor has written at the least: each piece holds one
        self.thought = False  # thoughts have been told
        self.done = False

    def feed(self, chunk: bytes) -> bytes:
        """What the client gets for this chunk; b"" while nothing is whole."""
        return self._turn(block) if (block := self._splitter.feed(chunk)) else b""

    def finish(self) -> bytes:
        """The vendor's side has ended: what is left, and the end if the answer is complete."""
        out = self._turn(rest) if (rest := self._splitter.rest()) else b""
        self.done = self.done or (self._said and self.listener.failure is None)
        return out + self._end() if self.done else out

    def _turn(self, block: bytes) -> bytes:
        out: list[bytes] = []
        listener = self.listener
        for event in events(block):
            data = data_of(event)  # keep-alives and comments have none
            if data == b"[DONE]":
                self._finished(self._begun)
            elif data and listener.failure is None:
                told, pieces = self.heard(data)
                if pieces:
                    out.append(self._say(pieces))
                else:
                    self._odd = told
        bound(self._written, MAX_TEXT, "the text of the stream")
        if listener.done and not self._begun and listener.usage is None and listener.failure is None:
            listener.failure = no_answer(self._odd, PLAIN, "the stream has no answer")
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
                self._written += len(piece.text)
                self.written += 1
                self.thought = self.thought or piece.kind == "thinking"
            elif piece.kind == "finish":
                self._said = True
        try:
            return self._head() + self._speaker.say(pieces)
        except ODD:
            self.break_off("an event of the stream cannot be told")
            return b""

    def _head(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        return self._speaker.begin(self.listener)

    def _end(self) -> bytes:
        if self._told:
            return b""
        self._told = True
        return self._head() + self._speaker.end(self.usage if self.usage_final else None)

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


class Whole(Heard):
    """Reads a plain answer."""

    __slots__ = ("_pieces", "_raw", "_size", "_told")

    def __init__(self, listener: Listener) -> None:
        super().__init__(listener)
        self._raw: list[bytes] = []
        self._size = 0
        self._told: Any = None
        self._pieces: Sequence[Piece] = ()

    def feed(self, chunk: bytes) -> bytes:
        self._raw.append(chunk)
        self._size += len(chunk)
        bound(self._size, MAX_PLAIN, "the answer")
        return b""

    def finish(self) -> bytes:
        self.read(b"".join(self._raw))
        return b""

    def read(self, raw: bytes) -> bool:
        """Whether this is an answer; else `failure` says why not."""
        self._told, self._pieces = self.heard(raw, whole=True)
        return self.failure is None

    @property
    def thought(self) -> bool:
        """Whether thoughts are told."""
        return any(piece.kind == "thinking" for piece in self._pieces)

    def text(self) -> str:
        return "".join(piece.text for piece in self._pieces if piece.kind in WRITTEN)


class Turned(Whole):
    """A plain answer to a client of another dialect."""

    __slots__ = ("_shown", "_speaker")

    def __init__(self, listener: Listener, speaker: Speaker) -> None:
        super().__init__(listener)
        self._speaker = speaker
        self._shown = b""

    def read(self, raw: bytes) -> bool:
        return super().read(raw) and self._tell()

    def _tell(self) -> bool:
        """Put the pieces into the client's words; whether that could be done."""
        try:
            self._shown = self._speaker.whole(self.listener, self._pieces)
        except ODD:  # as arguments that are nested more deeply than can be written
            self.break_off("the answer cannot be told")
        return self.failure is None

    def shown(self, _: bytes) -> bytes:
        """The answer as the client gets it."""
        return self._shown


class Played(Turned):
    """A plain answer to a client that asked for a stream: some vendors answer so when they are busy, or to some models."""

    __slots__ = ()

    def _tell(self) -> bool:
        try:
            told = self._speaker.begin(self.listener) + self._speaker.say(self._pieces)
            self._shown = told + self._speaker.end(self.usage if self.usage_final else None)
        except ODD:
            self.break_off("the answer cannot be told")
        return self.failure is None


class Gathered(Turned):
    """A stream that was asked for because its wire has no cap, and so can only be ended by us, to a client that wants a plain
    answer. Also reads the plain answer that an error is.
    """

    __slots__ = ("_gathered", "_splitter", "written")

    def __init__(self, listener: Listener, speaker: Speaker, framing: Framing | None = None) -> None:
        super().__init__(listener, speaker)
        self._splitter: Framing = framing or Splitter()
        self._gathered: list[Piece] = []
        self._pieces = self._gathered
        self.written = 0  # tokens at the least: each piece holds one

    def feed(self, chunk: bytes) -> bytes:
        self._hear(self._splitter.feed(chunk))
        return b""

    def finish(self) -> bytes:
        rest = self._splitter.rest()
        if not self._gathered and rest.lstrip().startswith(b"{"):
            Whole.read(self, rest)  # it is told once, by who reads
        else:
            self._hear(rest)
        return b""

    def read(self, raw: bytes) -> bool:
        """Whether this, with what was fed, is an answer; else `failure` says why not."""
        self.feed(raw)
        self.finish()
        if not self.ended and self.failure is None:
            self.listener.failure = Failure(Fault.RESET, "the stream ended in the middle")
        if not self._pieces and self.usage is None and self.failure is None:
            self.break_off("the stream has no answer")
        return self.failure is None and self._tell()

    @property
    def ended(self) -> bool:
        return self.listener.done or any(piece.kind == "finish" for piece in self._pieces[-1:])

    def cut(self) -> None:
        """It is we who end it, at its cap: what was told until now is all that will be."""
        self._gathered.append(Piece("finish", "length"))
        self.listener.usage_final = self.listener.sound

    def _hear(self, block: bytes) -> None:
        for event in events(block):
            data = data_of(event)
            if data == b"[DONE]":
                self._finished(bool(self._gathered))
            elif data and self.listener.failure is None:
                _, pieces = self.heard(data)
                self._gathered += pieces
                self.written += sum(piece.kind in WRITTEN for piece in pieces)
