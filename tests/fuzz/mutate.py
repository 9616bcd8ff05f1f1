"""Inputs from other inputs: bytes that are flipped, cut, doubled and spliced, and JSON of which one value is another.

A generator of one seed gives the same inputs again, so a failure is told by its seed and its number.
"""

import json
import random

ODD = (
    None, True, False, 0, -1, 1, 2**31, 2**53 + 1, 2**63, 2**64, 10**400, -(10**30), 0.5, -0.0, 1e308, "", "0", "1e400", "null", "[DONE]",
    "\ud800", "词", "\0", "\n\ndata: [DONE]\n\n", "a" * 4097, [], {}, [None], [[]], {"": None}, [{}], {"usage": {}}, {"error": {}},
    {"text": None}, [{"type": "text"}], "data:image/png;base64,====", "length", "content_filter", "error",
)  # fmt: skip
BYTES = (
    b"\n\n", b"\r", b"\r\n\r\n", b"data:", b"data: ", b"data: [DONE]\n\n", b": ping\n\n", b"event: error\n", b'"usage":', b'"error":', b"{", b"}",
    b"[", b"]", b"null", b"NaN", b"Infinity", b"-", b"1e999", b"\\ud800", b"\\", b'"', b"\xff", b"\xef\xbb\xbf", b"\0", b"[" * 600, b'{"a":' * 300,
    b"9" * 5000, b'"id":""', b'"finish_reason":"length"', b"${X:-y}", b"&a [*a]", b"<<: ", b"!!python/object:x", b"---\n",
)  # fmt: skip


def bent(value, rng):
    """The same JSON with one value another, gone, doubled or moved."""
    value = json.loads(json.dumps(value))
    nodes = list(walk(value))
    if not nodes:
        return rng.choice(ODD)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        parent, key = rng.choice(nodes)
        try:
            match rng.randrange(6):
                case 0 | 1 | 2:
                    parent[key] = rng.choice(ODD)
                case 3:
                    del parent[key]
                case 4:
                    other, place = rng.choice(nodes)
                    parent[key] = json.loads(json.dumps(other[place]))
                case _ if isinstance(parent, dict):
                    parent[rng.choice(("usage", "id", "type", "error", "choices", "content", "index", "", "text"))] = (
                        parent[key]
                    )
                case _:
                    parent.insert(key, parent[key])
        except (KeyError, IndexError, ValueError, RecursionError):
            continue
    return value


def walk(value):
    if isinstance(value, dict):
        for key, child in value.items():
            yield value, key
            yield from walk(child)
    elif isinstance(value, list):
        for key, child in enumerate(value):
            yield value, key
            yield from walk(child)


def torn(data, rng, corpus):
    """The same bytes but for a few."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at, size = rng.randrange(len(data) + 1), rng.choice((1, 1, 2, 8, 64, 512))
        match rng.randrange(7):
            case 0 if data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            case 1:
                del data[at : at + size]
            case 2:
                data[at:at] = rng.choice(BYTES)
            case 3:
                data[at:at] = data[at : at + size]
            case 4:
                other = rng.choice(corpus)
                begin = rng.randrange(len(other) + 1)
                data[at:at] = other[begin : begin + size]
            case 5:
                del data[at:]
            case _:
                data[at : at + 1] = rng.randbytes(rng.choice((1, 4)))
    return bytes(data[:65_536])


def json_in(data, rng):
    """A document, or the events of a stream, with JSON bent where there is some."""
    try:
        return dump(bent(json.loads(data), rng))
    except (ValueError, RecursionError):
        pass
    lines = data.split(b"\n")
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(lines))
        head, _, told = lines[at].partition(b": ") if lines[at].startswith(b"data: ") else (b"", b"", lines[at])
        try:
            lines[at] = (head + b": " if head else b"") + dump(bent(json.loads(told), rng))
        except (ValueError, RecursionError):
            lines[at:at] = [rng.choice(lines)]
    return b"\n".join(lines)


def dump(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def inputs(corpus, seed):
    """Without end: each from one of the corpus."""
    rng = random.Random(seed)
    yield from corpus
    while True:
        data = rng.choice(corpus)
        way = rng.randrange(4)
        if way:
            data = json_in(data, rng)
        if way in {0, 3}:
            data = torn(data, rng, corpus)
        yield data
