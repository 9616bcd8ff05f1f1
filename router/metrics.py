"""Prometheus: counters that are folds over ledger entries, gauges read from the accounts when scraped.

Money is kept as integers and divided only when it is shown, so a counter equals the ledger to the last nano-unit (a
double holds that up to nine million units). Counters begin with what the ledger already has, so a restart is no reset. Where
replicas share a ledger each counts from nothing what it has written itself, so that the sum of all is right and none is counted
twice however they come and go; what all have written since ever each tells as gauges, all alike, of which the greatest is the
newest. Label values are configured names; anything else becomes `other`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from router.core.entry import Entry
from router.core.usage import KINDS
from router.distribution import Distribution, Series
from router.gauges import Known, Now, counter, fold, gauges, money
from router.stores.ports import Labels, Total, labels_of

# OpenTelemetry's buckets for the GenAI metrics (semantic-conventions-genai, 2026-11)
TOKEN_BUCKETS = tuple(4**i for i in range(14))
SECONDS_BUCKETS = tuple(0.01 * 2**i for i in range(14))
ERROR_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # from what cannot be better to what is no estimate
OVERHEAD_BUCKETS = (0.00025, 0.0005, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0)

# They count what the ledger has, from its beginning, whoever has written it; all others what one process has seen. Of a ledger that
# replicas share they count what one has written.
FROM_THE_LEDGER = frozenset(
    f"farebox_{name}"
    for name in ("requests", "cost", "vendor_cost", "tokens", "saved", "estimated_cost", "fixed_model_cost")
)


class Metrics(Collector):
    """Every metric of docs/metrics.md."""

    def __init__(self, now: Callable[[], Now]) -> None:
        self._now = now
        self._totals: dict[Labels, Total] = {}
        self.of_all: Sequence[Total] = ()  # what all replicas have written, as last read; nothing where there are none
        self.refused: Counter[tuple[str, ...]] = Counter()
        self.attempts: Counter[tuple[str, ...]] = Counter()
        self.fallbacks: Counter[tuple[str, ...]] = Counter()
        self.cache_hits: Counter[tuple[str, ...]] = Counter()
        self.unpriced: Counter[tuple[str, ...]] = Counter()
        self.overrun: Counter[tuple[str, ...]] = Counter()
        self.disputed: Counter[tuple[str, ...]] = Counter()
        self.served: Counter[tuple[str, ...]] = Counter()
        self.reloads: Counter[str] = Counter()
        self.bound_broken: Counter[tuple[str, ...]] = Counter()
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        gen_ai = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")
        self.overhead = Distribution(
            "farebox_overhead_seconds", "Time of a request that is Farebox's own", (), OVERHEAD_BUCKETS
        )
        self._estimate_error = Distribution(
            "farebox_estimate_error_ratio",
            "How far the prompt's estimate was from what was billed",
            ("vendor", "model"),
            ERROR_BUCKETS,
        )
        self._tokens = Distribution(
            "gen_ai_client_token_usage",
            "Tokens per attempt, as billed",
            (*gen_ai, "gen_ai_token_type"),
            TOKEN_BUCKETS,
        )
        self._duration = Distribution(
            "gen_ai_client_operation_duration_seconds", "Duration of an attempt", gen_ai, SECONDS_BUCKETS
        )
        self._series: dict[tuple[str, ...], tuple[Series, Series, Series, Series]] = {}  # of `_observe_gen_ai`
        self._first_chunk = Distribution(
            "gen_ai_client_operation_time_to_first_chunk_seconds",
            "Time from the call to the first chunk of the answer",
            gen_ai,
            SECONDS_BUCKETS,
        )

    def load(self, totals: Iterable[Total]) -> None:
        """Begin with what the ledger has."""
        for total in totals:
            self._totals[total.labels] = total

    def begin(self, recovered: Iterable[Entry]) -> None:
        """Begin with nothing but what was closed at the start."""
        for entry in recovered:
            self.observe(entry)

    def observe(self, entry: Entry) -> None:
        """Count one closed attempt."""
        labels, a = labels_of(entry), entry.attempt
        if (total := self._totals.get(labels)) is None:
            total = self._totals[labels] = Total(*labels)
        total.add(entry)
        if a.kept:
            self.cache_hits[a.team, a.route] += 1
            return
        self.attempts[a.vendor, a.model, entry.fault or entry.outcome] += 1
        if entry.disputed:
            self.disputed[a.vendor, a.model] += 1
        if entry.served:
            self.served[a.vendor, a.model] += 1
        for (account, _, held), (_, _, nano) in zip(a.holds, entry.charges, strict=False):
            if (over := nano - held) > 0:
                owner, _, _, currency = account.split("|")
                self.overrun[owner, currency] += over
        if entry.outcome != "error":
            self._observe_gen_ai(entry)
            self._observe_estimate(entry)

    def _observe_gen_ai(self, entry: Entry) -> None:
        key = (entry.attempt.operation, entry.attempt.vendor, entry.attempt.model)
        if (series := self._series.get(key)) is None:
            told = self._tokens.of(*key, "input"), self._tokens.of(*key, "output")
            series = self._series[key] = (*told, self._duration.of(*key), self._first_chunk.of(*key))
        read, written, duration, first_chunk = series
        read.observe(entry.usage.input_total)
        written.observe(entry.usage.output_total)
        if entry.total_ms is not None:
            duration.observe(entry.total_ms / 1000)
        if entry.first_byte_ms is not None:
            first_chunk.observe(entry.first_byte_ms / 1000)

    def _observe_estimate(self, entry: Entry) -> None:
        """How good the estimate was, where a vendor says what the prompt came to."""
        attempt, billed = entry.attempt, entry.usage.input_total
        estimate, high = attempt.prompt_estimate, attempt.prompt_high
        if estimate is None or high is None or entry.basis == "estimated" or not billed:
            return
        key = (attempt.vendor, attempt.model)
        self._estimate_error.observe(abs(billed - estimate) / billed, key)
        self.bound_broken[key] += billed > high

    def collect(self) -> Iterator[Metric]:
        now = self._now()
        known = Known(now.snapshot)
        yield from self._money(known, self._totals.values())
        yield from map(_of_all, self._money(known, self.of_all))
        yield from self._counts(known, now)
        yield from gauges(now, known)
        for distribution in (self.overhead, self._estimate_error, self._tokens, self._duration, self._first_chunk):
            yield distribution.family()

    def _money(self, known: "Known", totals: Iterable[Total]) -> Iterator[Metric]:
        """Counters that equal the ledger."""
        sums = _Sums()
        for total in totals:
            team, model, vendor = known.team(total.team), known.model(total.model), known.vendor(total.vendor)
            route = known.route(total.route)
            place = (team, route, model, vendor, total.tier)
            sums.requests[*place, total.outcome] += total.requests
            sums.cost[*place, total.currency] += total.cost
            sums.vendor_cost[vendor, model, total.vendor_currency] += total.vendor_cost
            sums.estimated[team, total.currency] += total.estimated_cost
            sums.saved[team, route, total.currency] += total.saved
            sums.fixed[team, route, total.currency] += total.fixed_cost
            for kind in KINDS:
                sums.tokens[team, model, vendor, kind] += getattr(total, kind)
        place_labels = ("team", "route", "model", "vendor", "tier")
        yield counter("farebox_requests", "Requests by what became of them", (*place_labels, "outcome"), sums.requests)
        yield money("farebox_cost", "Spend in the reporting currency", (*place_labels, "currency"), sums.cost)
        yield money(
            "farebox_vendor_cost", "Spend in the vendor's currency", ("vendor", "model", "currency"), sums.vendor_cost
        )
        yield counter("farebox_tokens", "Billed tokens", ("team", "model", "vendor", "kind"), sums.tokens)
        yield money(
            "farebox_saved", "What the flagship would have cost more", ("team", "route", "currency"), sums.saved
        )
        told = "What everything would have cost at the cheapest model of the route that would do"
        yield money("farebox_fixed_model_cost", told, ("team", "route", "currency"), sums.fixed)
        yield money("farebox_estimated_cost", "Spend that no vendor reported", ("team", "currency"), sums.estimated)

    def _counts(self, known: "Known", now: Now) -> Iterator[Metric]:
        """Counters of events. Where the labels can be known before, they begin at 0: a series that begins at 1 has grown
        by nothing for Prometheus, so the first event would be missed.
        """
        refused = fold(self.refused, lambda k: (known.team(k[0]), k[1]))
        attempts = fold(self.attempts, lambda k: (known.vendor(k[0]), known.model(k[1]), k[2]))
        fallbacks = fold(self.fallbacks, lambda k: (known.route(k[0]), known.model(k[1]), known.model(k[2])))
        unpriced = known.per_model(self.unpriced)
        disputed = known.per_model(self.disputed)
        served = known.per_model(self.served)
        yield counter("farebox_refused", "Requests refused before any attempt", ("team", "reason"), refused)
        yield counter("farebox_attempts", "Calls to vendors by result", ("vendor", "model", "result"), attempts)
        yield counter("farebox_fallbacks", "Moves to the next candidate", ("route", "from", "to"), fallbacks)
        hits = fold(self.cache_hits, lambda k: (known.team(k[0]), known.route(k[1])))
        yield counter("farebox_cache_hits", "Requests answered without a call to a vendor", ("team", "route"), hits)
        yield counter("farebox_unpriced", "Candidates passed over for want of a price", ("vendor", "model"), unpriced)
        yield counter(
            "farebox_vendor_cost_mismatch",
            "Charges of a vendor's own that are not its list price",
            ("vendor", "model"),
            disputed,
        )
        yield counter(
            "farebox_served_at_another_price",
            "Answers that name a model with another price than the one asked for",
            ("vendor", "model"),
            served,
        )
        broken = known.per_model(self.bound_broken)
        yield counter("farebox_estimate_bound_broken", "Prompts billed beyond their bound", ("vendor", "model"), broken)
        overrun = {(state.budget.owner, state.budget.currency): 0 for state in now.budgets} | self.overrun
        yield money("farebox_overrun", "Charges beyond what was held for them", ("team", "currency"), overrun)
        yield counter(
            "farebox_config_reloads",
            "Reloads of the configuration",
            ("result",),
            {(k,): self.reloads[k] for k in ("ok", "failed")},
        )


def _of_all(family: Metric) -> Metric:
    """The same as a gauge: no counter, since to add up what replicas tell alike is wrong."""
    name = family.name.replace("farebox_", "farebox_ledger_", 1)
    told = GaugeMetricFamily(name, f"{family.documentation}, as all replicas have written it")
    for sample in family.samples:
        told.add_sample(name, sample.labels, sample.value)
    return told


class _Sums:
    def __init__(self) -> None:
        self.requests: Counter[tuple[str, ...]] = Counter()
        self.cost: Counter[tuple[str, ...]] = Counter()
        self.vendor_cost: Counter[tuple[str, ...]] = Counter()
        self.estimated: Counter[tuple[str, ...]] = Counter()
        self.saved: Counter[tuple[str, ...]] = Counter()
        self.fixed: Counter[tuple[str, ...]] = Counter()
        self.tokens: Counter[tuple[str, ...]] = Counter()
