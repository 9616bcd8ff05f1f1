"""An answer that is kept to be given again, and its bytes at no cost."""

import re
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from router.core.sse import events

OVERHEAD = 1024  # bytes that an answer takes besides its body, at the least
_COST = re.compile(rb'"cost":[0-9.]+,"cost_currency":"([A-Z]{3})","flagship_cost":([0-9.]+)')


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer as a client got it, but at no cost. Amounts are in nano-units."""

    at: int  # microseconds since 1970
    request_id: str
    model: str
    vendor: str
    tier: str
    price: str
    vendor_currency: str
    flagship_cost: int
    streamed: bool
    content_type: str
    body: bytes

    @property
    def size(self) -> int:
        return len(self.body) + OVERHEAD

    def pieces(self) -> list[bytes]:
        """The body as it is sent: a stream event by event."""
        return events(self.body) if self.streamed else [self.body]

    def dumps(self) -> bytes:
        """As it is stored: a line of JSON, then the body."""
        told = {name: value for name, value in asdict(self).items() if name != "body"}
        return orjson.dumps(told) + b"\n" + self.body


def loads(stored: bytes) -> Answer:
    """An answer as `dumps` has written it. Raises `ValueError` or `TypeError` for anything else."""
    head, _, body = stored.partition(b"\n")
    told: dict[str, Any] = orjson.loads(head)
    return Answer(**told, body=body)


def at_no_cost(data: bytes) -> bytes:
    """The bytes of an answer, with 0 in place of what its call has cost: the members that Farebox has added itself. All
    else stays as it is. In the text of an answer their quotes would be escaped.
    """
    if b'"cost_currency"' not in data:
        return data
    return _COST.sub(rb'"cost":0,"cost_currency":"\1","flagship_cost":\2', data)
