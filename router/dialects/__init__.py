"""Wire formats, as pure functions over bytes. A dialect holds no state but its readers, one per response.

`DIALECTS` has what vendors speak, `CLIENTS` what clients speak. Where both sides speak the same, an answer is passed on
and watched; where they do not, it is turned from one into the other (`pieces`).
"""

from router.dialects.registry import (
    CLIENTS,
    DIALECTS,
    Dialect,
    PlainReader,
    StreamReader,
    cannot,
    plain_reader,
    read,
    request,
    show_error,
    stream_reader,
    wire_of,
)

__all__ = [
    "CLIENTS", "DIALECTS", "Dialect", "PlainReader", "StreamReader", "cannot", "plain_reader", "read", "request",
    "show_error", "stream_reader", "wire_of",
]  # fmt: skip
