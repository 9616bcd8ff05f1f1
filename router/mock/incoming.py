"""A request as it arrived, for readers that are pure."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import orjson

from router.mock.errors import invalid


@dataclasses.dataclass(frozen=True, slots=True)
class Incoming:
    """`path` is the whole path as sent, `vendor` its first part and `rest` what is behind that, from its slash on; header names are
    lower-case; `now` is in seconds since 1970.
    """

    method: str
    path: str
    vendor: str
    rest: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    now: float

    def json(self) -> dict[str, Any]:
        try:
            asked = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            raise invalid("We could not parse the JSON body of your request.") from None
        if not isinstance(asked, dict):
            raise invalid("The JSON body of a request is an object.")
        return asked
