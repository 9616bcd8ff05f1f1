"""OpenTelemetry, for who has a collector: `otel:` in the configuration and `pip install farebox[otel]`.

Nothing of it is imported, and nothing is done, without that setting. What is exported are the figures of `/metrics`, read
at the same place, and a trace of each request, made of its ledger entries. No prompt, no answer, no key and no tag.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from prometheus_client.core import Metric

from router.core.entry import Entry
from router.settings import OtelSettings


class Telemetry(Protocol):
    """What tells a collector."""

    def came(self, request_id: str, traceparent: str | None) -> None:
        """A request has come; `traceparent` is its client's header (W3C Trace Context)."""

    def observe(self, entry: Entry) -> None:
        """An attempt was closed."""

    async def run(self) -> None:
        """Export now and then, until cancelled."""

    async def stop(self) -> None:
        """Export what is left, for a few seconds at most."""


class Silent:
    """Where there is no collector."""

    def came(self, request_id: str, traceparent: str | None) -> None:
        pass

    def observe(self, entry: Entry) -> None:
        pass

    async def run(self) -> None:
        pass

    async def stop(self) -> None:
        pass


Collect = Callable[[], Awaitable[Iterable[Metric]]]


def connect(settings: OtelSettings | None, collect: Collect, currency: str, *, metrics: bool) -> Telemetry:
    """What tells the collector of the settings, if there is one; `metrics` where this is the process that does it for all."""
    if settings is None:
        return Silent()
    from router.otel.export import Exporting  # noqa: PLC0415 (OpenTelemetry is an extra)

    return Exporting(settings, collect if metrics and settings.metrics else None, currency)
