"""What was let through while the ledger could not be written: an append-only file beside the store, taken in later.

The file has its room from the start, so that a full disk, the commonest reason why a ledger cannot be written, does not
stop the journal too. A line is a record: an attempt that is about to be made, or an entry that closes one; each is on disk
before it is acted on. What follows the last whole line was never acted on. To take a record in twice changes nothing.
"""

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any

import orjson

from router.core.entry import Attempt, Entry
from router.core.usage import LEAVES, Usage
from router.stores.ports import StoreDown

ROOM = 32 * 2**20  # bytes: some ten thousand attempts of 3 kB each, with their entries
Record = Attempt | Entry


def journal_of(store: Path, number: int = 0) -> "Journal":
    """The journal beside a store; each of several workers has its own."""
    return Journal(store.with_name(f"{store.name}.journal{f'-{number}' if number else ''}"))


def left_behind(store: Path, count: int = 1) -> "list[Journal]":
    """Journals of workers that there are no more, where there are so many now."""
    found = store.parent.glob(f"{store.name}.journal-*")
    numbers = [told for path in found if (told := path.name.rpartition("-")[2]).isascii() and told.isdigit()]
    return [journal_of(store, number) for number in sorted(map(int, numbers)) if number >= count]


class Journal:
    """One file; calls block for as long as a disk does. Raises `StoreDown` where it cannot be written or read."""

    def __init__(self, path: Path, room: int = ROOM) -> None:
        self.path = path
        self._room = room
        self._file: int | None = None
        self._end = 0
        self._lock = threading.Lock()  # a call goes on in its thread when whoever waited for it was cancelled

    def open(self) -> None:
        """Make the file and its room, or find the end of what is in it."""
        if self._file is not None:
            return
        with self._telling():
            self._file = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            size = os.fstat(self._file).st_size
            if size < self._room:
                _write(self._file, bytes(self._room - size), size)
                os.fsync(self._file)
            self._end = len(self._content())

    def close(self) -> None:
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def __bool__(self) -> bool:
        """Whether anything is in it."""
        return self._end > 0

    def append(self, record: Record) -> None:
        """Durable on return."""
        kind = "attempt" if isinstance(record, Attempt) else "entry"
        line = orjson.dumps({kind: record}) + b"\n"
        with self._lock, self._telling():
            if self._end + len(line) >= self._room:
                raise StoreDown(f"{self.path} is full")
            _write(self._opened(), line, self._end)
            os.fdatasync(self._opened())
            self._end += len(line)

    def records(self) -> Iterator[Record]:
        """Everything in it, in its order."""
        with self._lock, self._telling():
            content = self._content()
        for line in content.splitlines():
            yield _record(orjson.loads(line))

    def empty(self) -> None:
        """Forget what is in it: the ledger has it."""
        with self._lock, self._telling():
            _write(self._opened(), bytes(self._end), 0)
            os.fdatasync(self._opened())
            self._end = 0

    def _content(self) -> bytes:
        """Whole lines, up to the first that is not."""
        content = os.pread(self._opened(), self._room, 0).partition(b"\0")[0]
        return content[: content.rfind(b"\n") + 1]

    def _opened(self) -> int:
        if self._file is None:
            raise StoreDown(f"{self.path} is not open")
        return self._file

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreDown(f"{self.path}: {error}") from None


def _write(file: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(file, view, at)
        view, at = view[done:], at + done


def _record(told: dict[str, Any]) -> Record:
    return attempt_of(told["attempt"]) if "attempt" in told else entry_of(told["entry"])


def entry_of(told: dict[str, Any]) -> Entry:
    """An entry from its JSON."""
    attempt, usage = attempt_of(told["attempt"]), Usage(**told["usage"])
    return Entry(**told | {"attempt": attempt, "usage": usage, "charges": _tuples(told["charges"])})


def attempt_of(told: dict[str, Any] | list[Any]) -> Attempt:
    """An attempt from its JSON, or from its short form."""
    if isinstance(told, list):
        bound, *values = told
        told = {**dict(zip(_NAMES, values, strict=False)), "bound": dict(zip(LEAVES, bound, strict=False))}
    return Attempt(**told | {"bound": Usage(**told["bound"]), "holds": _tuples(told["holds"])})


# Fields are only ever added at the end, so that a form without the last ones is whole.
_NAMES = tuple(field.name for field in fields(Attempt) if field.name != "bound")
_values, _leaves = attrgetter(*_NAMES), attrgetter(*LEAVES)


def short(attempt: Attempt) -> bytes:
    """An attempt as JSON without names: a third as long, and written in a third of the time."""
    return orjson.dumps((_leaves(attempt.bound), *_values(attempt)))


def _tuples(told: Iterable[Iterable[Any]]) -> tuple[Any, ...]:
    return tuple(tuple(one) for one in told)
