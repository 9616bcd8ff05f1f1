"""What is true at the moment of a scrape, as Prometheus metrics: budgets, prices, breakers, lines, what was learnt."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from router.core.calibration import Calibrator
from router.core.entry import SHADOW
from router.core.limits import MICROS, BudgetState
from router.core.money import NANO
from router.core.prices import Unpriced
from router.promises import PromiseState
from router.quotas import Standing
from router.snapshot import Snapshot

OTHER = "other"
CUT = ("turned_away", "sends_slowly", "reads_slowly")  # why a client was: see `room`


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
    promises: Iterable[PromiseState] = ()
    lease_operations: Mapping[str, int] = field(default_factory=dict)  # of the store, by what was asked


class Known:
    """Label values that may appear: names of the configuration."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._vendors = snapshot.vendors

    def team(self, name: str) -> str:
        return name if name in self._snapshot.teams or name == SHADOW else OTHER

    def model(self, name: str) -> str:
        return name if name in self._snapshot.catalog.models else OTHER

    def vendor(self, name: str) -> str:
        return name if name in self._vendors else OTHER

    def route(self, name: str) -> str:
        catalog = self._snapshot.catalog
        return name if name in catalog.routes or name in catalog.models or name in catalog.by_vendor else OTHER

    def per_model(self, counts: Mapping[tuple[str, ...], int]) -> Mapping[tuple[str, ...], int]:
        """Counts of (vendor, model), with a zero for each that is configured."""
        zeros = {(model.vendor, model.name): 0 for model in self._snapshot.catalog.models.values()}
        return zeros | fold(counts, lambda k: (self.vendor(k[0]), self.model(k[1])))


def gauges(now: Now, known: "Known") -> Iterator[Metric]:
    """Everything that is read when it is asked for."""
    yield from budget_gauges(now.budgets, now.at)
    yield _prices(now)
    yield _breakers(now)
    yield _free(now)
    yield from _learnt(now)
    yield from _promises(now)
    yield GaugeMetricFamily("farebox_in_flight", "Requests being served", value=now.in_flight)
    waiting = GaugeMetricFamily("farebox_waiting", "Requests in line for a rate limit", labels=["limit"])
    for limit, count in now.waiting.items():
        waiting.add_metric([limit], count)
    yield waiting
    yield counter(
        "farebox_clients_cut", "Connections ended for what their clients did", ("why",),
        {(why,): now.cut.get(why, 0) for why in CUT},
    )  # fmt: skip
    yield GaugeMetricFamily("farebox_store_down", "1 while the ledger cannot be written", value=int(now.store_down))
    teams = dict.fromkeys(now.snapshot.teams, 0) | dict(now.journalled)
    journalled = fold({(team,): n for team, n in teams.items()}, lambda k: (known.team(k[0]),))
    yield counter("farebox_journalled", "Attempts made while the ledger could not be written", ("team",), journalled)
    tried = fold(now.cascades, lambda k: (known.route(k[0]), k[1]))
    yield counter("farebox_cascade", "Requests for which a cheap model was tried first", ("route", "outcome"), tried)
    yield counter(
        "farebox_lease_operations", "Operations of the store that budgets over several processes took", ("operation",),
        {(name,): now.lease_operations.get(name, 0) for name in ("join", "renew", "draw", "look", "leave")},
    )  # fmt: skip
    yield GaugeMetricFamily(
        "farebox_ledger_lag_seconds",
        "Age of the oldest ledger write that is not durable yet",
        value=now.ledger_waiting_s,
    )


def fold(counts: Mapping[tuple[str, ...], int], label: Callable[..., tuple[str, ...]]) -> Counter[tuple[str, ...]]:
    out: Counter[tuple[str, ...]] = Counter()
    for key, value in counts.items():
        out[label(key)] += value
    return out


def counter(name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def money(name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for key, nano in values.items():
        family.add_metric(key, nano / NANO)
    return family


def budget_gauges(budgets: Iterable[BudgetState], at: int) -> Iterator[Metric]:
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
    for state in budgets:
        key: tuple[str, ...] = (state.budget.owner, state.budget.per, state.budget.currency)
        if key not in tightest or state.free < tightest[key].free:
            tightest[key] = state
    for key, state in tightest.items():
        families["limit"].add_metric(key, state.budget.limit / NANO)
        families["spent"].add_metric(key, state.settled / NANO)
        families["held"].add_metric(key, state.held / NANO)
        families["remaining"].add_metric(key, max(0, state.free) / NANO)
        families["forecast"].add_metric(key, state.forecast(at) / NANO)
        if state.budget.per != "total":
            families["resets_seconds"].add_metric(key, (state.ends - at) / MICROS)
    yield from families.values()


def _promises(now: Now) -> Iterator[Metric]:
    """What is promised of each route, to each team that may ask it; nothing once the promise is broken."""
    bound = GaugeMetricFamily(
        "farebox_quality_bound", "Certified least share of the flagship's quality", labels=("route", "team")
    )
    broken = GaugeMetricFamily(
        "farebox_quality_broken", "1 once live labels have disproved a promise", labels=("route",)
    )
    stale = GaugeMetricFamily("farebox_quality_stale", "1 if a promise had better be made anew", labels=("route",))
    seen = GaugeMetricFamily("farebox_quality_labels", "Live labels that a promise was held to", labels=("route",))
    lost = GaugeMetricFamily("farebox_quality_loss", "Mean loss of score of those labels", labels=("route",))
    for one in now.promises:
        broken.add_metric([one.route], int(one.broken))
        stale.add_metric([one.route], int(bool(one.stale)))
        seen.add_metric([one.route], one.labels)
        if one.loss is not None:
            lost.add_metric([one.route], one.loss)
        for name, team in now.snapshot.teams.items():
            if not one.broken and (team.routes is None or one.route in team.routes):
                bound.add_metric([one.route, name], one.certificate.quality)
    yield from (bound, broken, stale, seen, lost)


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
