"""Tells a collector over OTLP/HTTP. Only here, and below, is OpenTelemetry imported."""

import asyncio
import logging
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.core import Metric

from router import __version__
from router.core.entry import Entry
from router.otel import metrics
from router.otel.traces import Spans
from router.settings import OtelSettings

log = logging.getLogger("farebox.otel")

WAITING = 10_000  # spans that wait for the collector; the oldest are dropped
AT_ONCE = 500
TRACES_S = 5.0  # at the latest
TIMEOUT_S = 10.0
LAST_S = 5.0  # for what is left at the end


class Exporting:
    """Metrics every so often, spans soon; what the collector does not take is not tried again for ever."""

    def __init__(
        self, settings: OtelSettings, collect: Callable[[], Awaitable[Iterable[Metric]]] | None, currency: str
    ) -> None:
        self._settings, self._collect = settings, collect
        self._resource = Resource.create(
            {
                "service.name": settings.service, "service.version": __version__,
                "service.instance.id": f"{socket.gethostname()}:{time.time_ns():x}", "farebox.currency": currency,
            }
        )  # fmt: skip
        self._scope = InstrumentationScope("farebox", __version__)
        self._spans = Spans(self._resource, self._scope)
        self._waiting: deque[ReadableSpan] = deque(maxlen=WAITING)
        base = settings.endpoint.rstrip("/")
        headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
        self._to_metrics = OTLPMetricExporter(f"{base}/v1/metrics", headers=headers, timeout=TIMEOUT_S)
        self._to_traces = OTLPSpanExporter(f"{base}/v1/traces", headers=headers, timeout=TIMEOUT_S)
        self._began = time.time_ns()

    def came(self, request_id: str, traceparent: str | None) -> None:
        if self._settings.traces:
            self._spans.came(request_id, traceparent)

    def observe(self, entry: Entry) -> None:
        if self._settings.traces:
            self._waiting.extend(self._spans.of(entry))

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + self._settings.every
        while True:
            await asyncio.sleep(max(0.0, min(TRACES_S, self._settings.every, due - loop.time())))
            await self._send_spans()
            if loop.time() >= due:
                due = loop.time() + self._settings.every
                await self._send_metrics()

    async def stop(self) -> None:
        try:
            async with asyncio.timeout(LAST_S):
                await self._send_spans()
                await self._send_metrics()
        except TimeoutError:
            log.warning("the collector did not take what was left")
        for exporter in (self._to_traces, self._to_metrics):
            await asyncio.to_thread(exporter.shutdown)

    async def _send_spans(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
            if not await asyncio.to_thread(self._taken, batch):
                return

    def _taken(self, batch: Sequence[ReadableSpan]) -> bool:
        """In a thread: the exporter blocks, and tries a collector that is busy again until its timeout."""
        return self._to_traces.export(batch).value == 0

    async def _send_metrics(self) -> None:
        if self._collect is None:
            return
        families = list(await self._collect())  # here, where what they are read from does not change meanwhile
        told = metrics.data(families, metrics.When(self._began, time.time_ns()), self._resource, self._scope)
        await asyncio.to_thread(self._to_metrics.export, told)
