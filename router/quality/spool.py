"""The pieces of many requests, kept where there is room: in memory up to a limit, in a temporary file beyond it.

A block is a matrix of zeros and ones divided by the root of each row's count, held by row and by place, so that both
products of the fit are a gather and a running sum.
"""

import tempfile
from collections.abc import Iterator
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from router.quality.features import Places

BLOCK = 1 << 20  # pieces in a block: what is in work at a time is some ten times that in bytes
ROOM = 64 << 20  # pieces that stay in memory, at 8 bytes each

Floats = NDArray[np.float32]


class Block(NamedTuple):
    """Rows `first` to `first + len(starts)`."""

    first: int
    places: Places  # row by row
    starts: NDArray[np.int64]
    scale: Floats  # of each row: 1 / sqrt(its pieces)
    order: NDArray[np.uint32]  # the row (from `first`) of each piece, place by place
    used: Places  # the places that occur
    begins: NDArray[np.int64]

    def times(self, weights: Floats) -> Floats:
        """Each row's sum of weights, one column of weights."""
        return np.add.reduceat(weights.take(self.places), self.starts) * self.scale

    def back(self, values: Floats, into: Floats) -> None:
        """Adds each row's value to the places of its pieces."""
        into[self.used] += np.add.reduceat((values * self.scale).take(self.order), self.begins)


class Spool:
    """Blocks in the order of their rows."""

    def __init__(self, room: int = ROOM) -> None:
        self.rows = 0
        self._room = room
        self._kept: list[Block] = []
        self._file = tempfile.TemporaryFile(prefix="farebox-quality-")  # noqa: SIM115 (closed with the spool)
        self._index: list[tuple[int, int, list[int]]] = []
        self._pending: list[Places] = []
        self._pieces = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._kept.clear()

    def add(self, places: Places) -> None:
        """The next row. Every row has a piece, be its text empty: the two spaces around it."""
        self._pending.append(places if len(places) else np.zeros(1, np.uint32))
        self._pieces += len(self._pending[-1])
        self.rows += 1
        if self._pieces >= BLOCK:
            self._close()

    def _close(self) -> None:
        sizes = np.array([len(row) for row in self._pending])
        first, flat = self.rows - len(sizes), np.concatenate(self._pending)
        self._pending, self._pieces = [], 0
        by_place = np.argsort(flat, kind="stable")
        order = np.repeat(np.arange(len(sizes), dtype=np.uint32), sizes)[by_place]
        used, begins = np.unique(flat[by_place], return_index=True)
        scale = (1 / np.sqrt(sizes)).astype(np.float32)
        block = Block(first, flat, np.cumsum(sizes) - sizes, scale, order, used, begins)
        if self._room > 0:
            self._room -= len(flat)
            self._kept.append(block)
        else:
            at = self._file.seek(0, 2)
            for part in block[1:]:
                part.tofile(self._file)
            self._file.flush()
            self._index.append((first, at, [len(part) for part in block[1:]]))

    def blocks(self) -> Iterator[Block]:
        """All of them; those of the file are read as they are asked for."""
        if self._pending:
            self._close()
        yield from self._kept
        kinds = (np.uint32, np.int64, np.float32, np.uint32, np.uint32, np.int64)
        for first, at, sizes in self._index:
            self._file.seek(at)
            parts = [np.fromfile(self._file, kind, size) for kind, size in zip(kinds, sizes, strict=True)]
            yield Block(first, *parts)
