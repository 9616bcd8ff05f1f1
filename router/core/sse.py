"""Server-sent events, split without decoding: whatever the cuts, the bytes that go in come out, in order and unchanged.

An event ends with a blank line; a line ends with LF, CRLF or CR. The splitter yields whole events with their blank line
and keeps an unfinished tail. Most streams use LF only, which has a path of its own.
"""

import re

from router.core.failure import AttemptFailed, Failure, Fault

_LINE_END = rb"(?:\r\n|\n|\r(?!\n))"
_END = re.compile(_LINE_END + _LINE_END)
_DATA_LINE = re.compile(rb"(?:^|(?<=[\r\n]))data: ?([^\r\n]*)")
_DATA = re.compile(rb"^data:[ ]?(.*)$", re.MULTILINE)


MAX_EVENT = 32 * 2**20  # bytes: a picture in one event comes to some 20 MB; what is larger is no event of an answer
MAX_PLAIN = 64 * 2**20  # bytes of one plain answer: embeddings of thousands of inputs are the largest known
MAX_TEXT = 16 * 2**20  # characters of one answer: four million tokens, several times what any model writes


def bound(size: int, most: int, what: str) -> None:
    """Do not keep what has no end. Raises `AttemptFailed`."""
    if size > most:
        raise AttemptFailed(Failure(Fault.GARBAGE, f"{what} is larger than {most} bytes", 200))


class Splitter:
    """Bytes in any cut → blocks of whole events. One per stream. Raises `AttemptFailed` for an event without an end."""

    __slots__ = ("_cr", "_pieces", "_size", "_tail")

    def __init__(self) -> None:
        self._tail = b""
        self._pieces: list[bytes] = []  # of an event that comes in many, kept apart so that each is copied once
        self._size = 0
        self._cr = False  # has a carriage return been seen, so that the slower search is needed

    def feed(self, chunk: bytes) -> bytes:
        """All events that are whole now, as one block of bytes; b"" while none is."""
        if self._tail and not self._cr and not _may_end(self._tail, chunk):
            if not self._pieces:
                self._pieces.append(self._tail)
                self._size = len(self._tail)
            self._pieces.append(chunk)
            self._size += len(chunk)
            self._tail = chunk[-1:] or self._tail
            self._bound(self._size)
            return b""
        data = self._whole() + chunk if self._tail else chunk
        if not self._cr and b"\r" not in data:
            end = data.rfind(b"\n\n") + 2
            if end == 1:
                return self._keep(data)
        else:
            self._cr = True
            end = 0
            for match in _END.finditer(data, 0, len(data) - data.endswith(b"\r")):
                end = match.end()
            if not end:
                return self._keep(data)
        self._tail = data[end:]
        return data[:end] if end < len(data) else data

    def _keep(self, data: bytes) -> bytes:
        self._tail = data
        self._bound(len(data))
        return b""

    def _bound(self, size: int) -> None:
        try:
            bound(size, MAX_EVENT, "an event of the stream")
        except AttemptFailed:
            self._tail = b""  # nobody can use it
            self._pieces.clear()
            raise

    def _whole(self) -> bytes:
        if self._pieces:
            self._tail = b"".join(self._pieces)
            self._pieces.clear()
        return self._tail

    def rest(self) -> bytes:
        """What the stream ended with, if it did not end with a blank line."""
        tail, self._tail = self._whole(), b""
        return tail


def _may_end(tail: bytes, chunk: bytes) -> bool:
    """Whether an event may end in the chunk, or where the two meet."""
    return b"\n\n" in chunk or b"\r" in chunk or (chunk[:1] == b"\n" and tail[-1:] == b"\n")


def events(block: bytes) -> list[bytes]:
    """The single events of a block of whole events; joined they are the block."""
    if b"\r" not in block:
        parts = block.split(b"\n\n")
        out = [part + b"\n\n" for part in parts[:-1]]
        return [*out, parts[-1]] if parts[-1] else out
    out, start = [], 0
    for match in _END.finditer(block):
        out.append(block[start : match.end()])
        start = match.end()
    if start < len(block):
        out.append(block[start:])
    return out


def data_of(event: bytes) -> bytes:
    """The data of one event: its `data:` lines, with or without the space after the colon, joined by LF."""
    if event.startswith(b"data: ") and event.endswith(b"\n\n") and event.count(b"\n") == 2 and b"\r" not in event:
        return event[6:-2]
    return b"\n".join(_DATA.findall(event.replace(b"\r\n", b"\n").replace(b"\r", b"\n")))


def with_data(event: bytes, data: bytes) -> bytes:
    """The event with other data in place of its own; its other lines and its line ends stay."""
    found = [match.span(1) for match in _DATA_LINE.finditer(event)]
    if len(found) == 1:
        (start, end), *_ = found
        return event[:start] + data + event[end:]
    kept = b"".join(line for line in event.splitlines(keepends=True) if line.strip() and not line.startswith(b"data:"))
    if kept and not kept.endswith((b"\n", b"\r")):  # the last line of a stream that broke off
        kept += b"\n"
    return kept + b"data: " + data + b"\n\n"
