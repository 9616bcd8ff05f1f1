"""Plain answers of the OpenAI wire to its own clients: the body passes, with its usage read and the cost added."""

from collections.abc import Mapping

from router.core import jsonio
from router.core.catalog import Quirks
from router.core.failure import Failure, Fault
from router.core.sse import MAX_PLAIN, bound
from router.core.usage import Usage, heard
from router.dialects import openai_errors, openai_usage
from router.dialects.faults import no_answer
from router.dialects.openai_errors import PLAIN
from router.dialects.openai_stream import has_thoughts, name_of, texts_in, unquoted
from router.dialects.pieces import Bill


def _no_bill(_: Usage) -> bytes:
    return b""


class Plain:
    """Reads a plain answer: the whole body, then its usage."""

    __slots__ = (
        "_bill", "_pieces", "_quirks", "_size", "done", "failure", "id", "model", "service_tier", "told", "usage", "usage_final",
        "usage_told", "vendor_cost_nano",
    )  # fmt: skip

    def __init__(self, quirks: Quirks = PLAIN, bill: Bill = _no_bill) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._quirks = quirks
        self._bill = bill
        self.told: Mapping[str, object] = {}
        self.id = ""  # the vendor's name of the answer
        self.done = False
        self.usage: Usage | None = None
        self.usage_final = True  # False if what is told contradicts itself
        self.usage_told: Mapping[str, object] = {}  # the same as the vendor wrote it
        self.vendor_cost_nano: int | None = None  # what the vendor itself says it charges
        self.service_tier: str | None = None
        self.model = ""  # that the vendor says it served
        self.failure: Failure | None = None

    def feed(self, chunk: bytes) -> bytes:
        self._pieces.append(chunk)
        self._size += len(chunk)
        bound(self._size, MAX_PLAIN, "the answer")
        return b""

    def finish(self) -> bytes:
        self.read(b"".join(self._pieces))
        return b""

    def read(self, raw: bytes) -> bool:
        """Whether this is an answer; else `failure` says why not."""
        self._pieces = [raw]
        try:
            told = jsonio.loads_reply(raw)
        except jsonio.NotJson:
            self.failure = Failure(Fault.GARBAGE, "the answer is not JSON", 200)
            return False
        if not isinstance(told, dict):
            self.failure = Failure(Fault.GARBAGE, "the answer is not a JSON object", 200)
            return False
        self.told = told
        self.id = name_of(told)
        self._consumed(told)
        self.failure = openai_errors.failure_of(told, 200, {}, self._quirks)
        if self.failure is not None:
            return False
        if not any(isinstance(told.get(name), list) for name in ("choices", "data")):
            self.failure = no_answer(
                told, self._quirks, "the answer has neither choices nor data", openai_errors.FAULTS
            )
            return False
        failure, carried = openai_errors.finish_failure(told, self._quirks), openai_errors.carries(told)
        if failure is not None and not (failure.callers and carried):
            self.failure = failure  # a part of an answer is passed on, and written down as what it is
        self.done = self.failure is None or carried
        return self.done

    def shown(self, raw: bytes) -> bytes:
        """The answer as the client gets it."""
        members = self._bill(self.usage) if self.usage is not None else b""
        return openai_usage.with_cost(raw, self.told, self.usage_told, members) if members else raw

    def _consumed(self, told: Mapping[str, object]) -> None:
        self.service_tier, self.model = openai_usage.service_tier(told), openai_usage.model_of(told)
        found = openai_usage.find(told, self._quirks)
        if found is None:
            return
        self.usage, self.usage_final = heard(None, lambda less: openai_usage.usage_of(found, self._quirks, less))
        self.usage_told = found
        self.vendor_cost_nano = openai_usage.vendor_cost_nano(found, self._quirks)

    @property
    def thought(self) -> bool:
        """Whether thoughts are told."""
        return any(map(has_thoughts, self._pieces))

    def text(self) -> str:
        return unquoted(texts_in(b"".join(self._pieces)))
