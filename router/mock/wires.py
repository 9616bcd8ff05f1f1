"""What a wire is: how a vendor is spoken to, as functions that know nothing of sockets and time."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from router.mock.ask import Ask
from router.mock.errors import Refused
from router.mock.incoming import Incoming
from router.mock.reply import Reply
from router.mock.steer import Knobs

Told = tuple[int, Any, dict[str, str]]  # status, body, headers


class Frame(NamedTuple):
    """One event of a stream: JSON, and the output tokens it carries; `thought` says that they are thinking."""

    data: Any
    tokens: int = 0
    thought: bool = False
    event: str = ""


def _no_events(_ask: Ask, _reply: Reply, _knobs: Knobs) -> Iterator[Frame]:
    return iter(())


def _no_midway(_refused: Refused, _ask: Ask, _reply: Reply, _sent: int) -> Iterable[Frame]:
    return ()


def _no_headers(_ask: Ask, _reply: Reply) -> dict[str, str]:
    return {}


@dataclasses.dataclass(frozen=True, slots=True)
class Wire:
    """`authorise` and `read` raise `Refused`; `refuse` says it in the vendor's shape (the text is the request's serial number);
    `midway` is an error inside a stream that began well, after so many frames; `framing` is how frames are written: `sse`, `sse-done` (with a last
    `[DONE]`), `lines` or `array`; `blocks`: a prompt that the filter stops is no error but an answer, which is billed.
    """

    authorise: Callable[[Incoming], None]
    read: Callable[[Incoming], Ask]
    plain: Callable[[Ask, Reply, Knobs], Any]
    refuse: Callable[[Refused, str], Told]
    events: Callable[[Ask, Reply, Knobs], Iterator[Frame]] = _no_events
    midway: Callable[[Refused, Ask, Reply, int], Iterable[Frame]] = _no_midway
    headers: Callable[[Ask, Reply], dict[str, str]] = _no_headers
    framing: str = "sse"
    request_id: str = "x-request-id"
    billed: bool = True
    blocks: bool = False
