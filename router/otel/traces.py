"""A request as a trace: a span for each attempt, as the GenAI conventions have it, under one for the whole request.

Spans are made when they are over, from ledger entries, so they say what was charged. Ids follow from the request's: the
spans of one request find together without being kept.
"""

import re
from collections import OrderedDict
from hashlib import sha256
from typing import Any, NamedTuple

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from router.core.entry import Entry
from router.core.money import NANO
from router.otel.names import PROVIDERS

KEPT = 10_000  # requests whose client's span, or whose first attempt, is remembered
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")


class Parent(NamedTuple):
    """The client's span."""

    trace: int
    span: int
    sampled: bool


def parent_of(traceparent: str) -> Parent | None:
    """W3C Trace Context; None for a header that is none."""
    found = _TRACEPARENT.fullmatch(traceparent.strip())
    if found is None or traceparent.startswith("ff"):
        return None
    trace, span, flags = (int(part, 16) for part in found.groups())
    return Parent(trace, span, bool(flags & 1)) if trace and span else None


class Spans:
    """Makes spans of entries."""

    def __init__(self, resource: Resource, scope: InstrumentationScope) -> None:
        self._resource, self._scope = resource, scope
        self._parents: OrderedDict[str, Parent] = OrderedDict()
        self._began: OrderedDict[str, tuple[int, int]] = OrderedDict()  # request → when, and its cost so far

    def came(self, request_id: str, traceparent: str | None) -> None:
        parent = parent_of(traceparent) if traceparent else None
        if parent is not None:
            _keep(self._parents, request_id, parent)

    def of(self, entry: Entry) -> list[ReadableSpan]:
        """The attempt's span, and the request's with the last; none where the client's trace is not recorded."""
        attempt = entry.attempt
        parent = self._parents.get(attempt.request_id)
        began, cost = self._began.pop(attempt.request_id, (attempt.at, 0))
        cost += entry.cost
        if entry.final:
            self._parents.pop(attempt.request_id, None)
        else:
            _keep(self._began, attempt.request_id, (began, cost))
        if parent is not None and not parent.sampled:
            return []
        digest = sha256(attempt.request_id.encode()).digest()
        trace = parent.trace if parent else int.from_bytes(digest[:16]) or 1
        whole = _context(trace, int.from_bytes(digest[16:24]) or 1)
        ends = (attempt.at + 1000 * (entry.total_ms or 0)) * 1000
        spans = [self._attempt(entry, trace, whole, ends)]
        if entry.final:
            spans.append(
                self._request(entry, whole, _context(parent.trace, parent.span) if parent else None, began, ends, cost)
            )
        return spans

    def _attempt(self, entry: Entry, trace: int, whole: SpanContext, ends: int) -> ReadableSpan:
        a, usage = entry.attempt, entry.usage
        told: dict[str, str | int | float | None] = {
            "gen_ai.operation.name": a.operation,
            "gen_ai.provider.name": PROVIDERS.get(a.vendor, a.vendor),
            "gen_ai.request.model": a.model,
            "gen_ai.response.id": entry.vendor_id,
            "gen_ai.usage.input_tokens": usage.input_total,
            "gen_ai.usage.output_tokens": usage.output_total,
            "gen_ai.usage.cache_read.input_tokens": usage.cache_read,
            "gen_ai.usage.cache_creation.input_tokens": (usage.cache_write_5m or 0) + (usage.cache_write_1h or 0)
            or None,
            "gen_ai.usage.reasoning.output_tokens": usage.output_reasoning,
            "error.type": entry.fault or None,
            "farebox.attempt": a.number,
            "farebox.vendor": a.vendor,
            "farebox.tier": a.tier,
            "farebox.outcome": entry.outcome,
            "farebox.basis": entry.basis,
            "farebox.cost": entry.cost / NANO,
            "farebox.currency": a.currency,
            "farebox.vendor_cost": entry.vendor_cost / NANO,
            "farebox.vendor_currency": a.vendor_currency,
            "farebox.first_byte_ms": entry.first_byte_ms,
        }
        own = int.from_bytes(sha256(a.id.encode()).digest()[:8]) or 1
        return ReadableSpan(
            f"{a.operation} {a.model}", _context(trace, own), whole, self._resource, _known(told), kind=SpanKind.CLIENT,
            status=_status(entry), start_time=a.at * 1000, end_time=ends, instrumentation_scope=self._scope,
        )  # fmt: skip

    def _request(
        self, entry: Entry, whole: SpanContext, parent: SpanContext | None, began: int, ends: int, cost: int
    ) -> ReadableSpan:
        a = entry.attempt
        told: dict[str, str | int | float | None] = {
            "farebox.request_id": a.request_id,
            "farebox.team": a.team,
            "farebox.key": a.key,
            "farebox.route": a.route,
            "farebox.model": a.model,
            "farebox.tier": a.tier,
            "farebox.reason": a.reason,
            "farebox.attempts": a.number,
            "farebox.cost": cost / NANO,
            "farebox.currency": a.currency,
            "error.type": entry.fault or None,
        }
        return ReadableSpan(
            f"route {a.route}", whole, parent, self._resource, _known(told), kind=SpanKind.SERVER,
            status=_status(entry), start_time=began * 1000, end_time=ends, instrumentation_scope=self._scope,
        )  # fmt: skip


def _context(trace: int, span: int) -> SpanContext:
    return SpanContext(trace, span, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _status(entry: Entry) -> Status:
    return Status(StatusCode.ERROR) if entry.outcome == "error" or entry.fault else Status(StatusCode.UNSET)


def _known(told: dict[str, str | int | float | None]) -> dict[str, str | int | float]:
    return {name: value for name, value in told.items() if value is not None}


def _keep(kept: OrderedDict[str, Any], request_id: str, value: Any) -> None:
    kept[request_id] = value
    if len(kept) > KEPT:
        kept.popitem(last=False)
