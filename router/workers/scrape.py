"""One scrape for all workers: what each counts is added up, and what is one fact for all is told once.

Counters and histograms are sums. Those of money and tokens are the ledger's own sums where that is in a file, which any worker
reads for all, so they are never added. Of gauges it depends on what they mean. What a worker has counted it writes down before it tells: who takes
its place after it died goes on from there, so that no counter ever goes back.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from math import fsum
from pathlib import Path
from statistics import fmean
from typing import Any

import orjson
from prometheus_client.core import Metric

from router.metrics import FROM_THE_LEDGER

Combined = Callable[[Iterable[float]], float]

GAUGES: Mapping[str, Combined] = {
    **dict.fromkeys(
        (
            "farebox_in_flight", "farebox_waiting", "process_virtual_memory_bytes", "process_resident_memory_bytes",
            "process_open_fds",
        ),
        fsum,
    ),
    **dict.fromkeys(
        (
            "farebox_store_down", "farebox_breaker_open", "farebox_ledger_lag_seconds", "farebox_quality_broken",
            "farebox_quality_stale",
        ),
        max,
    ),
    **dict.fromkeys(("process_start_time_seconds", "process_max_fds"), min),
    **dict.fromkeys(("farebox_estimate_factor", "farebox_estimate_hidden_tokens"), fmean),
}  # fmt: skip
"""Gauges that are no single fact; of all others the worker that is asked tells its own."""

Told = list[list[Any]]  # families as JSON: [name, text, type, [[sample, labels, value], ...]]


def adds_up(family: Metric, facts: AbstractSet[str]) -> bool:
    """Whether each worker has a part of it that lasts longer than the worker."""
    return family.type in {"counter", "histogram"} and family.name not in facts


def together(
    own: Sequence[Metric], others: Iterable[Sequence[Metric]], facts: AbstractSet[str] = FROM_THE_LEDGER
) -> list[Metric]:
    """What all have told, as one; counters that are `facts` each has read for all."""
    found = {family.name: family for family in own}
    parts: dict[str, list[Metric]] = {family.name: [family] for family in own}
    for families in others:
        for family in families:
            if family.name not in found:  # another configuration, for a moment
                found[family.name], parts[family.name] = family, []
            parts[family.name].append(family)
    return [_one(family, parts[name], facts) for name, family in found.items()]


def _one(family: Metric, parts: Sequence[Metric], facts: AbstractSet[str]) -> Metric:
    combined = fsum if adds_up(family, facts) else GAUGES.get(family.name)
    if combined is None or len(parts) == 1:
        return family
    values: dict[tuple[str, tuple[tuple[str, str], ...]], list[float]] = {}
    for part in parts:
        for sample in part.samples:
            values.setdefault((sample.name, tuple(sorted(sample.labels.items()))), []).append(sample.value)
    out = Metric(family.name, family.documentation, family.type)
    for (name, labels), found in values.items():
        out.add_sample(name, _ordered(labels), combined(found))
    return out


def _ordered(labels: Iterable[tuple[str, str]]) -> dict[str, str]:
    """With the bucket's bound last, as Prometheus writes it."""
    return dict(sorted(labels, key=lambda label: label[0] == "le"))


def to_json(families: Iterable[Metric]) -> Told:
    return [
        [family.name, family.documentation, family.type, [[s.name, s.labels, s.value] for s in family.samples]]
        for family in families
    ]


def of_json(told: Told) -> list[Metric]:
    out = []
    for name, text, kind, samples in told:
        family = Metric(name, text, kind)
        for sample in samples:
            family.add_sample(*sample)
        out.append(family)
    return out


class Counted:
    """What the worker of one number has counted so far, and those that had the number before it."""

    def __init__(self, file: Path, facts: AbstractSet[str] = FROM_THE_LEDGER) -> None:
        self._file, self._facts = file, facts
        self._before = last_told(file)

    def tell(self, own: Sequence[Metric]) -> list[Metric]:
        """What is to be told, once it is written down."""
        found = together(own, [self._before], self._facts) if self._before else list(own)
        part = self._file.with_suffix(".part")
        part.write_bytes(orjson.dumps(to_json(family for family in found if adds_up(family, self._facts))))
        part.replace(self._file)
        return found


def last_told(file: Path) -> list[Metric]:
    """The counters of whoever has written this as they were last told; nothing if nobody has."""
    try:
        return of_json(orjson.loads(file.read_bytes()))
    except FileNotFoundError:
        return []


class Families:
    """Families that were collected already, where a registry is wanted."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Sequence[Metric]:
        return self._families
