"""A scrape as OpenTelemetry's metrics: the same counters, gauges and histograms, cumulative."""

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.core import Metric as Family

from router.metrics import FROM_THE_LEDGER
from router.otel import names


class When(NamedTuple):
    """Nanoseconds since 1970."""

    began: int  # the process
    now: int


def data(families: Iterable[Family], when: When, resource: Resource, scope: InstrumentationScope) -> MetricsData:
    """Everything of a scrape, but for families without a series."""
    told = [metric for family in families if (metric := _metric(family, when)) is not None]
    return MetricsData([ResourceMetrics(resource, [ScopeMetrics(scope, told, "")], "")])


def _metric(family: Family, when: When) -> Metric | None:
    name, unit = names.metric(family.name)
    if not family.samples:
        return None
    return Metric(name, family.documentation, unit, _points(family, when))


def _points(family: Family, when: When) -> Sum | Gauge | Histogram:
    if family.type == "histogram":
        return Histogram(_distributions(family, when), AggregationTemporality.CUMULATIVE)
    # a restart is no reset of these: no start is told, or a collector that makes differences of them would count all of it
    # anew after each restart
    start = 0 if family.name in FROM_THE_LEDGER else when.began
    points = [
        NumberDataPoint(names.attributes(sample.labels), start, when.now, sample.value)
        for sample in family.samples
        if not sample.name.endswith("_created")
    ]
    return Gauge(points) if family.type != "counter" else Sum(points, AggregationTemporality.CUMULATIVE, True)


def _distributions(family: Family, when: When) -> list[HistogramDataPoint]:
    """Cumulative buckets by upper bound become counts between bounds."""
    upto: defaultdict[tuple[tuple[str, str], ...], list[tuple[float, int]]] = defaultdict(list)
    sums: dict[tuple[tuple[str, str], ...], float] = {}
    for sample in family.samples:
        labels = tuple((label, value) for label, value in sample.labels.items() if label != "le")
        if sample.name.endswith("_bucket"):
            upto[labels].append((float(sample.labels["le"]), int(sample.value)))
        elif sample.name.endswith("_sum"):
            sums[labels] = sample.value
    points = []
    for labels, buckets in upto.items():
        buckets.sort()
        counts = [count for _, count in buckets]
        between = [count - before for count, before in zip(counts, [0, *counts], strict=False)]
        bounds = [bound for bound, _ in buckets[:-1]]
        points.append(
            HistogramDataPoint(
                names.attributes(dict(labels)), when.began, when.now, counts[-1], sums[labels], between, bounds,
                min=None, max=None,  # type: ignore[arg-type]  # not known, and optional on the wire
            )
        )  # fmt: skip
    return points
