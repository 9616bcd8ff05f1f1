"""A histogram for Prometheus."""

from bisect import bisect_left

from prometheus_client.core import HistogramMetricFamily, Metric


class Series:
    """The observations of one set of labels."""

    __slots__ = ("_buckets", "counts", "sum")

    def __init__(self, buckets: tuple[float, ...]) -> None:
        self._buckets = buckets
        self.counts = [0] * (len(buckets) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self._buckets, value)] += 1
        self.sum += value


class Distribution:
    """A histogram that only one thread writes: prometheus_client's own takes a lock and walks the buckets each time."""

    __slots__ = ("_buckets", "_labels", "_name", "_series", "_text")

    def __init__(self, name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> None:
        self._name, self._text, self._labels, self._buckets = name, text, labels, buckets
        self._series: dict[tuple[str, ...], Series] = {}

    def of(self, *labels: str) -> Series:
        """What is observed under these labels; to be kept by who observes often."""
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = Series(self._buckets)
        return series

    def observe(self, value: float, labels: tuple[str, ...] = ()) -> None:
        self.of(*labels).observe(value)

    def family(self) -> Metric:
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        for labels, series in self._series.items():
            counts = series.counts
            if not sum(counts):
                continue
            upto = [(str(float(bound)), sum(counts[: i + 1])) for i, bound in enumerate(self._buckets)]
            family.add_metric(labels, [*upto, ("+Inf", sum(counts))], series.sum)
        return family
