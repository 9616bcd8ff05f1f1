"""The OpenAI wire's streams: bytes pass, usage is read on the way, the extra usage event is hidden or given its cost.

Work is done per event only in blocks that need it: a block without a usage or an error goes through whole.
"""

import re
from collections.abc import Callable
from typing import Any

from router.core import jsonio
from router.core.failure import Failure, Fault
from router.core.sse import Splitter, data_of, events, with_data
from router.core.usage import ContradictoryUsage, Usage
from router.dialects import openai

_TEXT = re.compile(rb'"(?:content|reasoning_content|arguments|text|refusal)"\s*:\s*"((?:[^"\\]|\\.)*)"')
_DONE = re.compile(rb"(?:^|[\r\n])data: ?\[DONE\]")
_FOLD = 262_144  # bytes of events kept before they are reduced to their text: most streams report usage before that


class Tap:
    """One stream from a vendor to a client of the same dialect.

    Args:
        hide_usage: the client did not ask for the usage event.
        bill: the JSON members to add to a usage that is shown.

    """

    __slots__ = ("_bill", "_hide", "_kept", "_size", "_splitter", "_text", "done", "events", "failure", "usage")

    def __init__(self, *, hide_usage: bool, bill: Callable[[Usage], bytes]) -> None:
        self._splitter = Splitter()
        self._hide = hide_usage
        self._bill = bill
        self._kept: list[bytes] = []
        self._size = 0
        self._text = bytearray()
        self.usage: Usage | None = None
        self.failure: Failure | None = None
        self.events = 0  # data events so far; each carries at least one token, but for a few at the ends
        self.done = False  # the stream said that it is complete

    def feed(self, chunk: bytes) -> bytes:
        """What the client gets for this chunk; b"" while no event is whole."""
        return self._pass(block) if (block := self._splitter.feed(chunk)) else b""

    def finish(self) -> bytes:
        """What is left when the vendor's side has ended."""
        return self._pass(rest) if (rest := self._splitter.rest()) else b""

    def _pass(self, block: bytes) -> bytes:
        # a blank line cannot stand inside JSON, so text that looks like an event is not counted
        self.events += block.startswith(b"data:") + block.count(b"\n\ndata:")
        if self.usage is None:
            self._keep(block)
        if b"[DONE]" in block and _DONE.search(block):
            self.done = True
        told = block.count(b'"usage"')
        if (told and told != block.count(b'"usage":null') + block.count(b'"usage": null')) or b'"error"' in block:
            return b"".join([self._event(event) for event in events(block)])
        return block

    def _event(self, event: bytes) -> bytes:
        if b'"error"' not in event and (
            b'"usage"' not in event or b'"usage":null' in event or b'"usage": null' in event
        ):
            return event
        data = data_of(event)
        try:
            told = jsonio.loads_reply(data)
        except jsonio.NotJson:
            return event
        if not isinstance(told, dict):
            return event
        if told.get("error"):
            self.failure = openai.failure_of(told, 200, {})
        if not isinstance(told.get("usage"), dict):
            return event
        return self._usage(event, data, told)

    def _usage(self, event: bytes, data: bytes, told: dict[str, Any]) -> bytes:
        try:
            usage = openai.usage_of(told["usage"])
        except ContradictoryUsage as error:
            self.failure = Failure(Fault.GARBAGE, str(error), 200)
            return event
        if usage is not None:
            self.usage = usage
            self._kept.clear()
        if not self._hide:
            members = self._bill(usage) if usage is not None else b""
            return with_data(event, openai.with_cost(data, told, members)) if members else event
        if not told.get("choices"):
            return b""
        return with_data(event, jsonio.dumps({name: value for name, value in told.items() if name != "usage"}))

    def _keep(self, block: bytes) -> None:
        """Remember the events until a usage makes them needless; long streams are reduced to their text."""
        self._kept.append(block)
        self._size += len(block)
        if self._size > _FOLD:
            self._fold()

    def _fold(self) -> None:
        for text in _TEXT.findall(b"".join(self._kept)):
            self._text += text
        self._kept.clear()
        self._size = 0

    def text(self) -> str:
        """The output so far, to be counted when a stream ends without usage."""
        self._fold()
        try:
            return str(jsonio.loads_reply(b'"' + bytes(self._text) + b'"'))
        except jsonio.NotJson:
            return self._text.decode("utf-8", "replace")


def final_events(model: str, reason: str) -> bytes:
    """How a stream that we end ourselves is closed: a finish reason and [DONE]."""
    chunk = {
        "id": "chatcmpl-farebox",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "delta": {}, "finish_reason": reason}],
    }
    return b"data: " + jsonio.dumps(chunk) + b"\n\ndata: [DONE]\n\n"
