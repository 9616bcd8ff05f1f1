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
Hashes = NDArray[np.uint64]

_LONGEST = 2 * EDGE * 4 + 8  # bytes of a text that is read, with the spaces around it and what ends it
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
_DOWN_AFTER = _DOWN[1:]
_SHIFT, _FOLD, _SPREAD = (np.array(number, np.uint64) for number in (64 - BITS, 29, 0xBF58476D1CE4E5B9))
_OF_WORDS, _OF_PAIRS = (  # a word is not the run of its bytes
    np.array(number, np.uint64) for number in (0xD6E8FEB86659FD93, 0xC2B2AE3D27D4EB4F)
)  # arrays, since numpy is slower with a number of its own

_END = b"\xff" * (ORDERS[-1] - ORDERS[0])  # no byte of UTF-8; after a text, so that every order has as many windows
_CODE = bytes((byte + 32 * (65 <= byte <= 90) + 1) % 256 for byte in range(256))  # of a byte; 0 of what ends a text
_IN_WORD = bytes(chr(byte).isalnum() if byte < 128 else byte != _END[0] for byte in range(256))


def clip(text: str) -> str:
    """The part of a text that is read."""
    return text if len(text) <= 2 * EDGE else f"{text[:EDGE]}\n{text[-EDGE:]}"


def places(text: str) -> Places:
    """The places of a text's pieces, each once and in ascending order."""
    said = f" {clip(text)} ".encode("utf-8", "replace") + _END
    size = len(said)
    prefix = np.empty(size + 1, np.uint64)
    prefix[0] = 0
    after = prefix[1:]
    np.multiply(np.frombuffer(said.translate(_CODE), np.uint8), _UP[:size], after)
    np.add.accumulate(after, 0, None, after)
    inside = np.frombuffer(said.translate(_IN_WORD), np.bool_)
    edges = (inside[1:] != inside[:-1]).nonzero()[0]  # a text begins and ends with a space: first and last of each word
    count, each = len(edges) // 2, size + 1 - ORDERS[-1]
    runs = each * len(ORDERS)
    hashes = np.empty(runs + max(0, 2 * count - 1) + 1, np.uint64)
    _runs(prefix, hashes[:runs].reshape(len(ORDERS), each))
    if count:
        _words(after, edges, hashes[runs:-1])
    hashes ^= hashes >> _FOLD
    hashes *= _SPREAD
    hashes >>= _SHIFT
    hashes[-1] = PLACES  # above all, so that each but it is kept where another follows
    every = hashes.astype(np.uint32)
    every.sort()
    return every.compress(every[1:] != every[:-1])  # half the time of a mask, whose branches nobody can foresee


def _runs(prefix: Hashes, out: Hashes) -> None:
    """The hashes of all runs of bytes: of each order (row) one from each byte (column).

    What ends the text adds nothing to a prefix, so a run that reaches beyond the text is again the shorter one of the text.
    """
    each = out.shape[1]
    last = np.ndarray(out.shape, np.uint64, prefix, ORDERS[0] * 8, (8, 8))  # each row begins a byte (a prefix) later
    np.subtract(last, prefix[:each], out)
    out *= _DOWN[:each]


def _words(after: Hashes, edges: NDArray[np.intp], out: Hashes) -> None:
    """The hashes of all words, then of all pairs of neighbours, from the prefix hash behind each byte."""
    at, first = after.take(edges), edges[::2]
    words = out[: len(first)]
    np.subtract(at[1::2], at[::2], words)
    words *= _DOWN_AFTER.take(first)
    pairs = out[len(first) :]
    np.multiply(words[:-1], _OF_PAIRS, pairs)
    pairs += words[1:]
    words ^= _OF_WORDS
