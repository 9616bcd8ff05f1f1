"""Server-sent events, split without decoding: whatever the cuts, the bytes that go in come out, in order and unchanged.

An event ends with a blank line; a line ends with LF, CRLF or CR. The splitter yields whole events with their blank line
and keeps an unfinished tail. Most streams use LF only, which has a path of its own.
"""

import re

from router.core.failure import AttemptFailed, Failure, Fault

MAX_EVENT = 16 * 2**20  # bytes: pictures come as text, and the largest known have a few million
_LINE_END = rb"(?:\r\n|\n|\r(?!\n))"
_END = re.compile(_LINE_END + _LINE_END)
_DATA_LINE = re.compile(rb"(?:^|(?<=[\r\n]))data: ?([^\r\n]*)")
_DATA = re.compile(rb"^data:[ ]?(.*)$", re.MULTILINE)


class Splitter:
    """Bytes in any cut → blocks of whole events. One per stream."""

    __slots__ = ("_cr", "_tail")

    def __init__(self) -> None:
        self._tail = b""
        self._cr = False  # has a carriage return been seen, so that the slower search is needed

    def feed(self, chunk: bytes) -> bytes:
        """All events that are whole now, as one block of bytes; b"" while none is. Raises `AttemptFailed`: one does not end."""
        data = self._tail + chunk if self._tail else chunk
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
        if len(data) > MAX_EVENT:
            self._tail = b""
            raise AttemptFailed(Failure(Fault.GARBAGE, f"an event of the stream is larger than {MAX_EVENT} bytes", 200))
        self._tail = data
        return b""

    def rest(self) -> bytes:
        """What the stream ended with, if it did not end with a blank line."""
        tail, self._tail = self._tail, b""
        return tail


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
