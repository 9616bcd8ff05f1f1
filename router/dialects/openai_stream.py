"""The OpenAI wire's streams: bytes pass, usage is read on the way, the extra usage event is hidden or given its cost.

Work is done per event only in blocks that need it: a block without a usage or an error goes through whole.
"""

import contextlib
import re
from collections.abc import Callable
from typing import Any

from router.core import jsonio
from router.core.catalog import Quirks
from router.core.errors import RouterError, UpstreamFailed
from router.core.failure import NOT_BEGUN, Failure, Fault
from router.core.sse import MAX_TEXT, Splitter, bound, data_of, events, with_data
from router.core.usage import Usage, heard
from router.dialects import openai
from router.dialects.faults import no_answer
from router.dialects.openai_errors import FAULTS, PLAIN, choices_of, failure_of, finish_failure
from router.dialects.openai_usage import find, model_of, service_tier, usage_of, vendor_cost_nano, with_cost, without

_TEXT = re.compile(rb'"(?:content|reasoning_content|reasoning|arguments|text|refusal)"\s*:\s*"((?:[^"\\]|\\.)*)"')
_THOUGHT = re.compile(rb'"reasoning(?:_content)?"\s*:\s*"(?!")|"type"\s*:\s*"thinking"')
_FINISH = re.compile(rb'"finish_reason"\s*:\s*"[^"]')
# Events of a stream that carry no token: the role, the finish reason, the usage, the end, and a vendor's own.
FREE_EVENTS = 16
_NAMED_BY = 4  # events: those before may be empty ones, such as a vendor's first with the prompt's moderation
_FOLD = 262_144  # bytes of events kept before they are reduced to their text: most streams report usage before that


class Tap:
    """One stream from a vendor to a client of the same dialect.

    Args:
        hide_usage: the client did not ask for the usage event.
        bill: the JSON members to add to a usage that is shown.
        quirks: the vendor's.

    """

    __slots__ = (
        "_bill", "_counted", "_finished", "_hide", "_kept", "_late", "_odd", "_quirks", "_size", "_sound", "_splitter", "_text", "_thought",
        "_watch",
        "done", "events", "failure", "id", "model", "service_tier", "usage", "vendor_cost_nano",
    )  # fmt: skip

    def __init__(self, *, hide_usage: bool, bill: Callable[[Usage], bytes], quirks: Quirks = PLAIN) -> None:
        self._splitter = Splitter()
        self._hide = hide_usage
        self._bill = bill
        self._quirks = quirks
        self._watch = _watch(quirks)
        self._kept: list[bytes] = []
        self._size = 0
        self._text = bytearray()
        self._finished = False  # a finish reason was in what has been kept no longer
        self._counted = 0  # of what is kept, the events up to the newest usage
        self._thought = False  # thoughts were in what has been kept no longer
        self._late = False  # something was written after it
        self._odd: bytes | None = b""  # the events as long as none is of an answer
        self._sound = True  # the newest usage does not contradict itself or an earlier one
        self.usage: Usage | None = None  # the last that had counts: they grow where each chunk has some
        self.vendor_cost_nano: int | None = None  # what the vendor itself says it charges
        self.id = ""  # the vendor's name of the answer
        self.service_tier: str | None = None  # the tier that the vendor says it served
        self.model = ""  # that the vendor says it served
        self.failure: Failure | None = None
        self.events = 0  # data events so far; each carries at least one token, but for a few at the ends
        self.done = False  # the stream said that it is complete: by [DONE], or by the usage that closes it

    def feed(self, chunk: bytes) -> bytes:
        """What the client gets for this chunk; b"" while no event is whole."""
        return self._pass(block) if (block := self._splitter.feed(chunk)) else b""

    def finish(self) -> bytes:
        """What is left when the vendor's side has ended."""
        return self._pass(rest) if (rest := self._splitter.rest()) else b""

    def _pass(self, block: bytes) -> bytes:
        if not self.id and self.events <= _NAMED_BY:
            self.id = _named(block)
        # a blank line cannot stand inside JSON, so text that looks like an event is not counted
        self.events += block.startswith(b"data:") + block.count(b"\n\ndata:")
        if b"\r" in block:
            self.events += block.count(b"\r\n\r\ndata:") + block.count(b"\r\rdata:")
        if b"[DONE]" in block and _says_done(block):
            self.done = True
        if self._tells(block):
            block = b"".join([self._event(event) for event in events(block)])
        else:
            self._keep(block)
        if self.done and self.usage is None and self.failure is None:
            empty = self.events <= 1 and not self._has_begun()
            self.failure = Failure(Fault.RESET, NOT_BEGUN, 200) if empty else self._nothing()
        return block

    def _nothing(self) -> Failure | None:
        """The failure of a stream that has ended without an answer, be it one without a word."""
        self._fold()
        if self._odd is None:
            return None
        told: Any = None
        for event in events(self._odd):
            with contextlib.suppress(jsonio.NotJson):
                told = jsonio.loads_reply(data_of(event))
        return no_answer(told, self._quirks, "the stream has no answer", FAULTS)

    def _tells(self, raw: bytes) -> bool:
        """Whether these bytes may hold a usage or an error; nothing is parsed to find out."""
        told = raw.count(b'"usage"')
        return (
            (told > 0 and told != raw.count(b'"usage":null') + raw.count(b'"usage": null'))
            or b'"error"' in raw
            or (self._watch is not None and self._watch.search(raw) is not None)
        )

    def _event(self, event: bytes) -> bytes:
        self._keep(event)
        if not self._tells(event):
            return event
        data = data_of(event)
        try:
            told = jsonio.loads_reply(data or event)  # or a body that is no event at all
        except jsonio.NotJson:
            return event
        if not isinstance(told, dict):
            return event
        if (failure := failure_of(told, 200, {}, self._quirks)) is not None:
            self.failure = failure
            # what is no error by the client's dialect is told in its words
            return event if data and told.get("error") else openai.show_error_event(UpstreamFailed(str(failure)))
        failure = finish_failure(told, self._quirks)
        if failure is not None and not (failure.callers and self._carried()):
            self.failure = failure
        usage = find(told, self._quirks)
        try:
            return event if usage is None else self._usage(event, data, told, usage)
        except TypeError:  # nested more deeply than can be written: it passes as it came
            return event

    def _usage(self, event: bytes, data: bytes, told: dict[str, Any], found: dict[str, Any]) -> bytes:
        usage, sound = heard(self.usage, lambda less: usage_of(found, self._quirks, less))
        choices = choices_of(told)
        again = told.get("object") == "chat.completion"  # a closing frame that repeats the whole message
        if again:
            told, choices = self._without_message(told, choices)
            data = jsonio.dumps(told)
            event = with_data(event, data)
        ends = any(choice.get("finish_reason") for choice in choices)
        if usage is not None:
            self.usage, self._sound = usage, sound
            self.vendor_cost_nano = vendor_cost_nano(found, self._quirks)
            self.service_tier = service_tier(told)
            self.model = model_of(told)
            self.done = self.done or ends or not choices
            self._counted, self._late = len(self._kept), False
        self._finished = self._finished or ends
        if not self._hide:
            members = self._bill(usage) if usage is not None and sound else b""
            return with_data(event, with_cost(data, told, found, members)) if members else event
        if "usage" not in told or told["usage"] is None:
            return event
        return with_data(event, without(data, told)) if choices else b""

    def _without_message(
        self, told: dict[str, Any], choices: list[dict[str, Any]]
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """That frame as a chunk: its usage, and its finish reason if none was sent before it."""
        seen = self._finished or len(_FINISH.findall(b"".join(self._kept))) > 1  # its own is one
        left: list[dict[str, Any]] = (
            [] if seen else [{"index": 0, "delta": {}, "finish_reason": c.get("finish_reason")} for c in choices]
        )
        return {**told, "object": "chat.completion.chunk", "choices": left}, left

    def _has_begun(self) -> bool:
        """Whether anything but keep-alives and the end has come; for the first few events only."""
        told = (data_of(event) for event in events(b"".join(self._kept)))
        return any(data not in {b"", b"[DONE]"} for data in told)

    def _carried(self) -> bool:
        """Whether the model has written anything so far."""
        return (self.usage is not None and self.usage.output_total > 0) or bool(self.text())

    def _keep(self, block: bytes) -> None:
        """Remember the events, reduced to their text now and then: a usage may leave out what was written."""
        self._kept.append(block)
        self._size += len(block)
        if self._size > _FOLD:
            self._fold()
            bound(len(self._text), MAX_TEXT, "the text of the stream")

    def _fold(self) -> None:
        self._look_for_late()
        kept = b"".join(self._kept)
        self._text += texts_in(kept)
        self._finished = self._finished or _FINISH.search(kept) is not None
        self._thought = self._thought or has_thoughts(kept)
        if self._odd is not None:
            self._odd = None if self._text or b'"choices"' in kept else self._odd + kept
        self._kept.clear()
        self._size = self._counted = 0

    def _look_for_late(self) -> None:
        """Whether anything was written after the newest usage; what was looked at is not looked at again."""
        if self.usage is not None and self._counted < len(self._kept):
            self._late = self._late or bool(texts_in(b"".join(self._kept[self._counted :])))
            self._counted = len(self._kept)

    @property
    def thought(self) -> bool:
        """Whether thoughts have been told."""
        self._fold()
        return self._thought

    @property
    def usage_final(self) -> bool:
        """Whether the newest usage can be believed, and nothing was written after it."""
        self._look_for_late()
        return self._sound and not self._late

    @property
    def written(self) -> int:
        """Tokens that the vendor has written at the least."""
        return self.events - FREE_EVENTS

    def cut(self, model: str) -> bytes:
        """How the stream is closed when it is we who end it at its cap."""
        return final_events(model, "length")

    def fail(self, error: RouterError) -> bytes:
        """The stream cannot go on."""
        return openai.show_error_event(error)

    def text(self) -> str:
        """The output so far, to be counted when a stream ends without usage."""
        self._fold()
        return unquoted(bytes(self._text))


def texts_in(raw: bytes) -> bytes:
    """What the model has written in these bytes of JSON, with its escapes."""
    return b"".join(_TEXT.findall(raw))


def has_thoughts(raw: bytes) -> bool:
    """Whether these bytes of JSON tell thoughts."""
    return _THOUGHT.search(raw) is not None


def unquoted(text: bytes) -> str:
    """The inside of a JSON string as text."""
    try:
        return str(jsonio.loads_reply(b'"' + text + b'"'))
    except jsonio.NotJson:
        return text.decode("utf-8", "replace")


def name_of(told: object) -> str:
    """What the vendor calls an answer; "" if it does not."""
    name = told.get("id") if isinstance(told, dict) else None
    return name if isinstance(name, str) else ""


def _named(block: bytes) -> str:
    """The name that the first events of a stream tell; only they are parsed for it."""
    for event in events(block)[:_NAMED_BY]:
        if data := data_of(event):
            try:
                if name := name_of(jsonio.loads_reply(data)):
                    return name
            except jsonio.NotJson:
                continue
    return ""


def _says_done(block: bytes) -> bool:
    """Whether one of its lines is `data: [DONE]`; the words may stand in a text too."""
    for line in (b"data: [DONE]", b"data:[DONE]"):
        at = block.find(line)
        while at > 0 and block[at - 1] not in b"\r\n":
            at = block.find(line, at + 1)
        if at >= 0:
            return True
    return False


def _watch(quirks: Quirks) -> re.Pattern[bytes] | None:
    """What may tell of a failure in this vendor's streams besides an error; None where nothing else does."""
    signs = []
    if quirks.verdict is not None:
        name = re.escape(quirks.verdict[0].rpartition(".")[2].encode())
        signs.append(rb'"%s"\s*:(?!\s*0\s*[,}])' % name)
    if quirks.finishes:
        signs.append(rb'"finish_reason"\s*:\s*"(?:%s)"' % b"|".join(re.escape(r.encode()) for r in quirks.finishes))
    return re.compile(b"|".join(signs)) if signs else None


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
