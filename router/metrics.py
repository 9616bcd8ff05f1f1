"""Prometheus: counters that are folds over ledger entries, gauges read from the accounts when scraped.

Money is kept as integers and divided only when it is shown, so a counter equals the ledger to the last nano-unit (a
double holds that up to nine million units). Counters begin with what the ledger already has, so a restart is no reset.
Label values are configured names; anything else becomes `other`.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from router.core.calibration import Calibrator
from router.core.entry import Entry
from router.core.limits import MICROS, BudgetState
from router.core.money import NANO
from router.core.prices import Unpriced
from router.core.usage import KINDS
from router.quotas import Standing
from router.snapshot import Snapshot
from router.stores.ports import Labels, Total, labels_of

OTHER = "other"
# OpenTelemetry's buckets for the GenAI metrics (semantic-conventions-genai, 2026-11)
TOKEN_BUCKETS = tuple(4**i for i in range(14))
SECONDS_BUCKETS = tuple(0.01 * 2**i for i in range(14))
ERROR_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # from what cannot be better to what is no estimate
OVERHEAD_BUCKETS = (0.00025, 0.0005, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Now:
    """What a scrape looks at."""

    snapshot: Snapshot
    at: int
    budgets: Iterable[BudgetState]
    in_flight: int
    ledger_waiting_s: float
    calibrator: Calibrator = field(default_factory=Calibrator)
    free: Iterable[Standing] = ()
    open_breakers: Mapping[tuple[str, str], bool] = field(default_factory=dict)  # (vendor, model) → whether it is open
    waiting: Mapping[str, int] = field(default_factory=dict)  # for whose rate limit → requests in line
    cut: Mapping[str, int] = field(default_factory=dict)  # clients that were sent away, by why
    store_down: bool = False
    journalled: Mapping[str, int] = field(default_factory=dict)  # attempts that began without the ledger, by team
    cascades: Mapping[tuple[str, ...], int] = field(default_factory=dict)  # (route, outcome) → cheap answers looked at


class Metrics(Collector):
    """Every metric of docs/metrics.md."""

    def __init__(self, now: Callable[[], Now]) -> None:
        self._now = now
        self._totals: dict[Labels, Total] = {}
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
        self._tokens.observe(entry.usage.input_total, (*key, "input"))
        self._tokens.observe(entry.usage.output_total, (*key, "output"))
        if entry.total_ms is not None:
            self._duration.observe(entry.total_ms / 1000, key)
        if entry.first_byte_ms is not None:
            self._first_chunk.observe(entry.first_byte_ms / 1000, key)

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
        known = _Known(now.snapshot)
        yield from self._money(known)
        yield from self._counts(known)
        yield from _budget_gauges(now)
        yield _prices(now)
        yield _breakers(now)
        yield _free(now)
        yield from _learnt(now)
        for distribution in (self.overhead, self._estimate_error, self._tokens, self._duration, self._first_chunk):
            yield distribution.family()
        yield GaugeMetricFamily("farebox_in_flight", "Requests being served", value=now.in_flight)
        waiting = GaugeMetricFamily("farebox_waiting", "Requests in line for a rate limit", labels=["limit"])
        for limit, count in now.waiting.items():
            waiting.add_metric([limit], count)
        yield waiting
        yield _counter(
            "farebox_clients_cut", "Connections ended for what their clients did", ("why",),
            {(why,): n for why, n in now.cut.items()},
        )  # fmt: skip
        yield GaugeMetricFamily("farebox_store_down", "1 while the ledger cannot be written", value=int(now.store_down))
        journalled = _fold({(team,): n for team, n in now.journalled.items()}, lambda k: (known.team(k[0]),))
        yield _counter(
            "farebox_journalled", "Attempts made while the ledger could not be written", ("team",), journalled
        )
        tried = _fold(now.cascades, lambda k: (known.route(k[0]), k[1]))
        yield _counter(
            "farebox_cascade", "Requests for which a cheap model was tried first", ("route", "outcome"), tried
        )
        yield GaugeMetricFamily(
            "farebox_ledger_lag_seconds",
            "Age of the oldest ledger write that is not durable yet",
            value=now.ledger_waiting_s,
        )

    def _money(self, known: "_Known") -> Iterator[Metric]:
        """Counters that equal the ledger."""
        sums = _Sums()
        for total in self._totals.values():
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
        yield _counter("farebox_requests", "Requests by what became of them", (*place_labels, "outcome"), sums.requests)
        yield _money("farebox_cost", "Spend in the reporting currency", (*place_labels, "currency"), sums.cost)
        yield _money(
            "farebox_vendor_cost", "Spend in the vendor's currency", ("vendor", "model", "currency"), sums.vendor_cost
        )
        yield _counter("farebox_tokens", "Billed tokens", ("team", "model", "vendor", "kind"), sums.tokens)
        yield _money(
            "farebox_saved", "What the flagship would have cost more", ("team", "route", "currency"), sums.saved
        )
        told = "What everything would have cost at the cheapest model of the route that would do"
        yield _money("farebox_fixed_model_cost", told, ("team", "route", "currency"), sums.fixed)
        yield _money("farebox_estimated_cost", "Spend that no vendor reported", ("team", "currency"), sums.estimated)

    def _counts(self, known: "_Known") -> Iterator[Metric]:
        refused = _fold(self.refused, lambda k: (known.team(k[0]), k[1]))
        attempts = _fold(self.attempts, lambda k: (known.vendor(k[0]), known.model(k[1]), k[2]))
        fallbacks = _fold(self.fallbacks, lambda k: (known.route(k[0]), known.model(k[1]), known.model(k[2])))
        unpriced = _fold(self.unpriced, lambda k: (known.vendor(k[0]), known.model(k[1])))
        disputed = _fold(self.disputed, lambda k: (known.vendor(k[0]), known.model(k[1])))
        served = _fold(self.served, lambda k: (known.vendor(k[0]), known.model(k[1])))
        yield _counter("farebox_refused", "Requests refused before any attempt", ("team", "reason"), refused)
        yield _counter("farebox_attempts", "Calls to vendors by result", ("vendor", "model", "result"), attempts)
        yield _counter("farebox_fallbacks", "Moves to the next candidate", ("route", "from", "to"), fallbacks)
        hits = _fold(self.cache_hits, lambda k: (known.team(k[0]), known.route(k[1])))
        yield _counter("farebox_cache_hits", "Requests answered without a call to a vendor", ("team", "route"), hits)
        yield _counter("farebox_unpriced", "Candidates passed over for want of a price", ("vendor", "model"), unpriced)
        yield _counter(
            "farebox_vendor_cost_mismatch",
            "Charges of a vendor's own that are not its list price",
            ("vendor", "model"),
            disputed,
        )
        yield _counter(
            "farebox_served_at_another_price",
            "Answers that name a model with another price than the one asked for",
            ("vendor", "model"),
            served,
        )
        broken = _fold(self.bound_broken, lambda k: (known.vendor(k[0]), known.model(k[1])))
        yield _counter(
            "farebox_estimate_bound_broken", "Prompts billed beyond their bound", ("vendor", "model"), broken
        )
        yield _money("farebox_overrun", "Charges beyond what was held for them", ("team", "currency"), self.overrun)
        yield _counter(
            "farebox_config_reloads",
            "Reloads of the configuration",
            ("result",),
            {(k,): v for k, v in self.reloads.items()},
        )


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


class _Known:
    """Label values that may appear: names of the configuration."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._vendors = snapshot.vendors

    def team(self, name: str) -> str:
        return name if name in self._snapshot.teams else OTHER

    def model(self, name: str) -> str:
        return name if name in self._snapshot.catalog.models else OTHER

    def vendor(self, name: str) -> str:
        return name if name in self._vendors else OTHER

    def route(self, name: str) -> str:
        catalog = self._snapshot.catalog
        return name if name in catalog.routes or name in catalog.models or name in catalog.by_vendor else OTHER


class _Sums:
    def __init__(self) -> None:
        self.requests: Counter[tuple[str, ...]] = Counter()
        self.cost: Counter[tuple[str, ...]] = Counter()
        self.vendor_cost: Counter[tuple[str, ...]] = Counter()
        self.estimated: Counter[tuple[str, ...]] = Counter()
        self.saved: Counter[tuple[str, ...]] = Counter()
        self.fixed: Counter[tuple[str, ...]] = Counter()
        self.tokens: Counter[tuple[str, ...]] = Counter()


def _fold(counts: Mapping[tuple[str, ...], int], label: Callable[..., tuple[str, ...]]) -> Counter[tuple[str, ...]]:
    out: Counter[tuple[str, ...]] = Counter()
    for key, value in counts.items():
        out[label(key)] += value
    return out


def _counter(name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _money(name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for key, nano in values.items():
        family.add_metric(key, nano / NANO)
    return family


def _budget_gauges(now: Now) -> Iterator[Metric]:
    """The tightest budget for each owner, period and currency, if there are several time zones."""
    labels = ("team", "per", "currency")
    names = {
        "limit": "What may be spent in the window",
        "spent": "What was spent in the window",
        "held": "What requests in flight have set aside",
        "remaining": "What nobody has spent or set aside",
        "forecast": "What will have been spent when the window ends, at this pace",
        "resets_seconds": "Time until the window ends",
    }
    families = {name: GaugeMetricFamily(f"farebox_budget_{name}", text, labels=labels) for name, text in names.items()}
    tightest: dict[tuple[str, ...], BudgetState] = {}
    for state in now.budgets:
        key: tuple[str, ...] = (state.budget.owner, state.budget.per, state.budget.currency)
        if key not in tightest or state.free < tightest[key].free:
            tightest[key] = state
    for key, state in tightest.items():
        families["limit"].add_metric(key, state.budget.limit / NANO)
        families["spent"].add_metric(key, state.settled / NANO)
        families["held"].add_metric(key, state.held / NANO)
        families["remaining"].add_metric(key, max(0, state.free) / NANO)
        families["forecast"].add_metric(key, state.forecast(now.at) / NANO)
        if state.budget.per != "total":
            families["resets_seconds"].add_metric(key, (state.ends - now.at) / MICROS)
    yield from families.values()


def _breakers(now: Now) -> Metric:
    family = GaugeMetricFamily(
        "farebox_breaker_open",
        "1 while a model is not asked because of what its vendor answered",
        labels=("vendor", "model"),
    )
    for key, is_open in now.open_breakers.items():
        family.add_metric(key, int(is_open))
    return family


def _prices(now: Now) -> Metric:
    """What each model costs at this instant; absent where nothing is known. Of several rates, the first that the clock allows."""
    family = GaugeMetricFamily(
        "farebox_price", "Price per million tokens now", labels=("vendor", "model", "kind", "currency")
    )
    for model in now.snapshot.catalog.models.values():
        try:
            price = model.timeline.at(now.at)
        except Unpriced:
            continue
        rates = price.listed(now.at)
        shown = {
            "input": rates.input,
            "cache_read": rates.cache_read,
            "cache_write": rates.cache_write_5m,
            "output": rates.output,
        }
        for kind, pico in shown.items():
            if pico is not None:
                family.add_metric((model.vendor, model.name, kind, price.currency), pico / 10**6)
    return family


def _learnt(now: Now) -> Iterator[Metric]:
    """What the bills of each model have taught of its count; absent until one came."""
    labels = ("vendor", "model", "script", "tools")
    factor = GaugeMetricFamily("farebox_estimate_factor", "Billed prompt tokens to a counted one", labels=labels)
    hidden = GaugeMetricFamily("farebox_estimate_hidden_tokens", "Prompt tokens billed but not sent", labels=labels)
    for model in now.snapshot.catalog.models.values():
        for cjk, tools, learnt in now.calibrator.kinds(model):
            key = (model.vendor, model.name, "cjk" if cjk else "latin", "yes" if tools else "no")
            factor.add_metric(key, learnt.factor)
            hidden.add_metric(key, learnt.hidden)
    yield factor
    yield hidden


def _free(now: Now) -> Metric:
    """What is left of each free quota; absent where none is given now."""
    family = GaugeMetricFamily(
        "farebox_free_quota_remaining", "What is left of a free quota", labels=("vendor", "model", "unit")
    )
    for standing in now.free:
        family.add_metric((standing.vendor, standing.model, standing.unit), standing.left)
    return family
