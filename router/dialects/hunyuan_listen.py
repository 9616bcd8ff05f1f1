"""Answers of Tencent Hunyuan's own ChatCompletions as pieces (cloud.tencent.com/document/product/1729/105701, types and
errorcodes.py of tencentcloud-sdk-python-hunyuan 3.1.180, 2026-11).

A plain answer, and any error before a stream, is inside `Response`; a stream's events are bare, each with a usage that
grows, and `ErrorMsg` if it cannot go on. Every status is 200. `CachedTokens` is a string. Nothing says what was thought.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from router.core.catalog import Quirks
from router.core.failure import Failure, Fault
from router.core.usage import Minus, Usage, count, minus
from router.dialects.faults import classify, no_answer, read_error, wait
from router.dialects.pieces import Finish, Listener, Piece

FAULTS: Mapping[str, Fault] = {
    "AuthFailure": Fault.AUTH,
    "UnauthorizedOperation": Fault.PERMISSION,
    "OperationDenied": Fault.PERMISSION,
    "OperationDenied.TextIllegalDetected": Fault.CONTENT_FILTERED,
    "OperationDenied.ImageIllegalDetected": Fault.CONTENT_FILTERED,
    "FailedOperation.GenerateImageFailed": Fault.CONTENT_FILTERED,  # "the picture has sensitive content"
    "FailedOperation.ServiceStopArrears": Fault.QUOTA_EXHAUSTED,
    "FailedOperation.ResourcePackExhausted": Fault.QUOTA_EXHAUSTED,
    "FailedOperation.FreeResourcePackExhausted": Fault.QUOTA_EXHAUSTED,
    "ResourceInsufficient": Fault.QUOTA_EXHAUSTED,  # .ChargeResourceExhaust
    "ResourceUnavailable": Fault.QUOTA_EXHAUSTED,  # .InArrears, .LowBalance
    "ResourceUnavailable.NotExist": Fault.PERMISSION,  # the service was never switched on
    "ResourceUnavailable.StopUsing": Fault.PERMISSION,
    "FailedOperation.ServiceNotActivated": Fault.PERMISSION,
    "FailedOperation.ServiceStop": Fault.PERMISSION,
    "FailedOperation.UserUnAuthError": Fault.PERMISSION,
    "FailedOperation.PartnerAccountUnSupport": Fault.PERMISSION,
    "LimitExceeded": Fault.RATE_LIMITED,
    "RequestLimitExceeded": Fault.RATE_LIMITED,
    "FailedOperation.EngineServerLimitExceeded": Fault.OVERLOADED,
    "FailedOperation.EngineRequestTimeout": Fault.TIMEOUT,
    "FailedOperation": Fault.SERVER,
    "InternalError": Fault.SERVER,
    "InvalidParameter": Fault.BAD_REQUEST,
    "InvalidParameterValue": Fault.BAD_REQUEST,
    "MissingParameter": Fault.BAD_REQUEST,
    "UnknownParameter": Fault.BAD_REQUEST,
    "UnsupportedOperation": Fault.BAD_REQUEST,
    "RequestSizeLimitExceeded": Fault.BAD_REQUEST,
    "ResourceNotFound": Fault.NOT_FOUND,
    "4000": Fault.SERVER,  # of `ErrorMsg`
    "4001": Fault.TIMEOUT,
}
FINISHES: Mapping[str, Finish] = {"stop": "stop", "tool_calls": "tool_calls", "length": "length"}
SENSITIVE = "sensitive"  # the check of what was written has stopped it


def error(status: int, raw: bytes, headers: Mapping[str, str], quirks: Quirks) -> Failure:
    """Whose fault an error reply is; the vendor's message is kept. It uses no status but 200, what stands in between may."""
    return read_error(status, raw, headers, lambda told: failure_of(told, status, headers, quirks))


def failure_of(told: Mapping[str, Any], status: int, headers: Mapping[str, str], quirks: Quirks) -> Failure | None:
    """The failure that a body or an event tells of; None if it tells of none."""
    inner = told.get("Response")
    inner = inner if isinstance(inner, dict) else told
    if isinstance(said := inner.get("Error"), dict):
        code, message = said.get("Code"), said.get("Message")
    elif isinstance(said := inner.get("ErrorMsg"), dict) and count(said.get("Code")) != 0:
        code, message = said.get("Code"), said.get("Msg")
    else:
        return None
    fault = classify(code, None, message, status, quirks, FAULTS, ())
    return Failure(fault, str(message or "no message"), status, None if code is None else str(code), wait(headers))


def usage_of(told: Any, less: Minus = minus) -> Usage | None:
    """A Usage as disjoint leaves; None if it holds no counts. Raises `ContradictoryUsage`."""
    if not isinstance(told, dict):
        return None
    prompt, written = count(told.get("PromptTokens")), count(told.get("CompletionTokens"))
    if prompt is None or not (prompt or written):
        return None
    details = told.get("PromptTokensDetails")
    cached = count(details.get("CachedTokens")) if isinstance(details, dict) else None
    return Usage(
        input_fresh=less(prompt, cached, "PromptTokens", "CachedTokens"), cache_read=cached, output_text=written or 0
    )


class HunyuanListener(Listener):
    """One answer."""

    __slots__ = ("_calls", "_finished", "_last", "_quirks", "_wrote")

    def __init__(self, quirks: Quirks) -> None:
        super().__init__()
        self._quirks = quirks
        self._calls: dict[str, int] = {}  # id → place
        self._last = 0  # the call that arguments without an id belong to
        self._wrote = False
        self._finished = False

    def hear(self, told: dict[str, Any]) -> Sequence[Piece]:
        return self._read(told, "Delta")

    def whole(self, told: dict[str, Any]) -> Sequence[Piece]:
        self._finished = True
        out = self._read(told, "Message")
        self.done = True
        if self.failure is None and not out:
            self.failure = no_answer(told, self._quirks, "the answer has no choices")
        return out

    def _read(self, told: dict[str, Any], name: str) -> list[Piece]:
        out: list[Piece] = []
        inner = told.get("Response")
        inner = inner if isinstance(inner, dict) else told
        failure = failure_of(told, 200, {}, self._quirks)
        if failure is None:
            self.id = self.id or str(inner.get("Id") or inner.get("RequestId") or "")
            for choice in inner.get("Choices") or ():
                self._choice(choice, name, out)
        else:
            self.failure = failure
        self.consume(lambda less: usage_of(inner.get("Usage"), less), final=self._finished)
        return out

    def _choice(self, choice: Mapping[str, Any], name: str, out: list[Piece]) -> None:
        part = choice.get(name) or {}
        for kind, field in (("thinking", "ReasoningContent"), ("text", "Content")):
            if isinstance(text := part.get(field), str) and text:
                out.append(Piece("thinking" if kind == "thinking" else "text", text))
        for call in part.get("ToolCalls") or ():
            self._call(call, out)
        self._wrote = self._wrote or bool(out)
        reason = choice.get("FinishReason")
        if not isinstance(reason, str) or not reason:
            return
        self._finished = True
        if reason == SENSITIVE and not self._wrote:
            self.failure = Failure(Fault.CONTENT_FILTERED, "the vendor's check stopped the answer", 200, reason)
        elif reason == SENSITIVE:
            out.append(Piece("finish", "content_filter"))
        else:
            finish = FINISHES.get(reason, "stop")
            out.append(Piece("finish", "tool_calls" if finish == "stop" and self._calls else finish))

    def _call(self, call: Mapping[str, Any], out: list[Piece]) -> None:
        """A call, or a part of one: parts of one call share its id."""
        function = call.get("Function") or {}
        call_id = str(call.get("Id") or "")
        if call_id and call_id not in self._calls:
            self._last = self._calls[call_id] = len(self._calls)
            out.append(Piece("call", "", 0, self._last, call_id, str(function.get("Name") or "")))
        place = self._calls.get(call_id, self._last)
        if isinstance(arguments := function.get("Arguments"), str) and arguments:
            out.append(Piece("arguments", arguments, 0, place))
