"""What of a request is scored: hashed pieces of its text, and its shape.

The text's bytes (UTF-8, ASCII letters in lower case) give every run of 3 to 6 bytes, every word and every pair of
neighbouring words, so that any language is read without a tokenizer. Each is hashed to one of 2^18 places; a place counts
once. A prefix hash P[i] = sum of b[j]·K^j (mod 2^64) makes any window's hash two operations on whole arrays, and K is odd,
so dividing by K^i is a multiplication.

Long texts are read at both ends, where the instruction usually is: the first and the last 1,500 characters.
"""

import numpy as np
from numpy.typing import NDArray

BITS = 18
PLACES = 1 << BITS
ORDERS = (3, 4, 5, 6)  # bytes; a Chinese character has three
EDGE = 1500  # characters at either end of a text that are read

Places = NDArray[np.uint32]

_LONGEST = 2 * EDGE * 4 + 8
_K = 0x9E3779B97F4A7C15  # odd: the golden ratio, as in Fibonacci hashing
_MASK = (1 << 64) - 1


def _powers(base: int, count: int) -> NDArray[np.uint64]:
    out, value = np.empty(count, np.uint64), 1
    for i in range(count):
        out[i] = value
        value = value * base & _MASK
    return out


_UP = _powers(_K, _LONGEST)
_DOWN = _powers(pow(_K, -1, 1 << 64), _LONGEST)
_SHIFT = np.uint64(64 - BITS)
_FOLD, _SPREAD = np.uint64(29), np.uint64(0xBF58476D1CE4E5B9)
_OF_WORDS, _OF_PAIRS = (
    np.uint64(0xD6E8FEB86659FD93),
    np.uint64(0xC2B2AE3D27D4EB4F),
)  # a word is not the run of its bytes

_LOWER = np.arange(256, dtype=np.uint8)
_LOWER[65:91] += 32
_WORD = np.zeros(256, bool)
for _span in ((48, 58), (65, 91), (97, 123), (128, 256)):
    _WORD[_span[0] : _span[1]] = True


def clip(text: str) -> str:
    """The part of a text that is read."""
    return text if len(text) <= 2 * EDGE else f"{text[:EDGE]}\n{text[-EDGE:]}"


def places(text: str) -> Places:
    """The places of a text's pieces, each once and in ascending order."""
    raw = np.frombuffer(f" {clip(text)} ".encode("utf-8", "replace"), np.uint8)
    lower = _LOWER[raw]
    size = len(lower)
    prefix = np.zeros(size + 1, np.uint64)
    np.cumsum((lower.astype(np.uint64) + np.uint64(1)) * _UP[:size], out=prefix[1:])
    inside = _WORD[lower]
    edges = (inside[1:] != inside[:-1]).nonzero()[0] + 1  # the text begins and ends with a space
    starts, ends = edges[::2], edges[1::2]
    words = (prefix[ends] - prefix[starts]) * _DOWN[starts]
    hashes = np.empty(sum(max(0, size + 1 - order) for order in ORDERS) + max(0, 2 * len(words) - 1), np.uint64)
    at = 0
    for order in ORDERS:
        if size >= order:
            windows = hashes[at : at + size + 1 - order]
            np.subtract(prefix[order:], prefix[:-order], out=windows)
            windows *= _DOWN[: size + 1 - order]
            at += len(windows)
    if len(words):
        np.bitwise_xor(words, _OF_WORDS, out=hashes[at : at + len(words)])
        at += len(words)
        pairs = hashes[at:]
        np.multiply(words[:-1], _OF_PAIRS, out=pairs)
        pairs += words[1:]
    hashes ^= hashes >> _FOLD
    hashes *= _SPREAD
    hashes >>= _SHIFT
    every = hashes.astype(np.uint32)
    every.sort()
    keep = np.empty(len(every), bool)
    keep[:1] = True
    np.not_equal(every[1:], every[:-1], out=keep[1:])
    return every[keep]
