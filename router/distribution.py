"""A histogram for Prometheus."""

from bisect import bisect_left

from prometheus_client.core import HistogramMetricFamily, Metric


class Distribution:
    """A histogram that only one thread writes: prometheus_client's own takes a lock and walks the buckets each time."""

    __slots__ = ("_buckets", "_counts", "_labels", "_name", "_sums", "_text")

    def __init__(self, name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> None:
        self._name, self._text, self._labels, self._buckets = name, text, labels, buckets
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}

    def observe(self, value: float, labels: tuple[str, ...] = ()) -> None:
        counts = self._counts.get(labels)
        if counts is None:
            counts = self._counts[labels] = [0] * (len(self._buckets) + 1)
            self._sums[labels] = 0.0
        counts[bisect_left(self._buckets, value)] += 1
        self._sums[labels] += value

    def family(self) -> Metric:
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        for labels, counts in self._counts.items():
            upto = [(str(float(bound)), sum(counts[: i + 1])) for i, bound in enumerate(self._buckets)]
            family.add_metric(labels, [*upto, ("+Inf", sum(counts))], self._sums[labels])
        return family
