"""One running Farebox: its parts, what they are told, and the configuration that can be swapped under them."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from router.alerts import Alerts
from router.checkpoints import keep_checkpoint
from router.clock import Clock
from router.core.catalog import Caller
from router.core.entry import Charges
from router.core.explain import explain
from router.core.health import Health
from router.core.labels import Labelled
from router.core.limits import Budget, BudgetState
from router.core.policy import Decision
from router.gate import Gate
from router.gauges import Now
from router.habits import Habits
from router.handover import Taken, store_let_go
from router.kept import Decisions
from router.labels import LabelMetrics, Labels
from router.lean import LeanUpstream
from router.lending import Borrowed, Lender
from router.logs import observe as log_entry
from router.metrics import Metrics
from router.otel import Telemetry, connect
from router.promises import Promises
from router.room import Room
from router.services import Services
from router.settlement import Settlement
from router.sharing import Alone, Sharing
from router.snapshot import Snapshot, load
from router.sockets import Sockets
from router.stores.answers import AnswerFile
from router.stores.journal import journal_of, left_behind
from router.stores.leased import LeasedAccounts
from router.stores.memory import MemoryAccounts
from router.stores.opening import ledger_of, outbox_of
from router.stores.ports import StoreDown
from router.stores.reading import StoredLedger
from router.stores.recorder import Recorder
from router.tokenizer import Tokenizer
from router.turns import Turns
from router.upstream import AiohttpUpstream, Upstream
from router.workers.answers import families
from router.workers.siblings import Siblings
from router.yamlfile import BadConfiguration

log = logging.getLogger("farebox")

REST_S = 0.1  # for so long nothing happens to a file that is whole: part of one that is being written may be valid too
CHECKPOINT_S = 3600.0  # how often the log tells how far the ledger has come, where nothing else is configured


@dataclass(slots=True)
class Farebox:
    """Everything that lives as long as the process serves."""

    snapshot: Snapshot
    clock: Clock
    mock_url: str | None = None
    upstream: Upstream | None = None
    shared: bool = False  # other processes of this machine have the store too
    siblings: Siblings = field(default_factory=Siblings)
    ledger: StoredLedger = field(init=False)
    recorder: Recorder = field(init=False)
    sharing: Sharing | Alone = field(init=False)
    accounts: MemoryAccounts | LeasedAccounts = field(init=False)
    tokenizer: Tokenizer = field(init=False)
    habits: Habits = field(init=False)
    metrics: Metrics = field(init=False)
    telemetry: Telemetry = field(init=False)
    settlement: Settlement = field(init=False)
    services: Services = field(init=False)
    gate: Gate = field(init=False)
    room: Room = field(init=False)
    callers: Mapping[str, Caller] = field(init=False)
    kept: Decisions = field(default_factory=Decisions)
    problems: tuple[str, ...] = ()  # why the newest configuration is not the one in force
    ready: bool = False
    leaving: bool = False  # what comes is still served, and nothing more is to be sent here
    lender: Lender = field(init=False)
    labels: Labels = field(init=False)
    promises: Promises = field(init=False)
    alerts: Alerts = field(init=False)
    _given: bool = False  # the store, to another process
    _watching: list[asyncio.Task[None]] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _stamp: tuple[tuple[str, int, int], ...] = ()
    _reloading: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        server = self.snapshot.settings.server
        self.ledger = ledger_of(self.snapshot.settings.place, self.snapshot.settings.store_path, shared=self.shared)
        journal = journal_of(self.ledger.path, self.siblings.number)
        left = left_behind(self.ledger.path, self.siblings.count) if self.siblings.first else ()
        self.recorder = Recorder(self.ledger, journal, server.on_store_failure, left)
        self.sharing = Sharing.of(self.recorder, self.clock.seconds, self.snapshot.settings.accounts)
        self.accounts = self.sharing.accounts
        self.tokenizer = Tokenizer()
        self.habits = Habits()
        self.metrics = Metrics(self._now)
        self.telemetry = connect(
            self.snapshot.settings.otel,
            lambda: families(self),
            self.snapshot.rates.reporting,
            metrics=self.siblings.first,
        )
        self.callers = self.snapshot.callers
        self.gate = Gate(self.clock, server.rate_wait)
        self.room = Room(self.clock)
        self.settlement = Settlement(
            self.accounts, self.recorder, self.tokenizer, self.habits, self.clock,
            observers=[self.metrics.observe, self.gate.observe, log_entry, self.telemetry.observe], wait_s=server.budget_wait,
        )  # fmt: skip
        lent = self.accounts if isinstance(self.accounts, MemoryAccounts) else MemoryAccounts()
        self.lender = Lender(self.settlement, lent, self._by_account, self.clock.now)
        self.sharing.serve(self.settlement, self.clock.now)
        self.sharing.heard.append(self._take_part)
        if self.upstream is None:
            self.upstream = Sockets(AiohttpUpstream() if server.http_client == "aiohttp" else LeanUpstream())
        self.alerts = Alerts(self.clock, self.upstream, outbox_of(self.ledger), self.accounts.look)
        self.settlement.observers.append(self.alerts.observe)
        health = Health()
        self.labels = Labels(lambda: self.snapshot, self.settlement, self.clock)
        self.promises = Promises.beside(self.ledger.path)
        self.labels.observers.append(self.hold_promises_to)
        self.metrics.registry.register(LabelMetrics(self.labels))
        self.services = Services(
            self.tokenizer, self.upstream, self.settlement, self.habits, self.gate, health,
            Turns(health, self.clock, server.rate_wait), self.clock,
            on_decision=self._keep, on_fallback=self._fell_back, on_overhead=self.metrics.overhead.observe,
            labels=self.labels, promises=self.promises,
        )  # fmt: skip
        self.services.cache.store = AnswerFile(self.ledger.path.with_name(f"{self.ledger.path.name}.answers"))
        self.labels.begin(self.services.turns, self.services.reach, self.room)

    @property
    def is_ready(self) -> bool:
        """Whether requests are served."""
        return self.ready and not self.leaving and not self.recorder.refuses

    # Life

    async def start(self, taken: Taken | None = None, *, patient: bool = False) -> None:
        """Take the store, close what a dead process left open, count what was spent, and be ready. What a process that
        hands over has on its way stays open. Raises `StoreDown`; if `patient`, only when a process that ends does not.
        """
        warm = asyncio.create_task(self.tokenizer.warm(self.snapshot.encodings))
        try:
            if taken is not None:
                await warm
            lent = await self._take(taken, patient=patient)
            await self.recorder.start()
            recovered = [] if lent else await self.ledger.recover()
            if recovered:
                log.warning(
                    "attempts of an earlier process were closed at their holds", extra={"count": len(recovered)}
                )
            await self.sharing.begin()
            totals = await self.ledger.totals()
            if self.ledger.shared:  # each process counts its own, and their sum is everything
                self.metrics.begin(recovered)
            else:
                self.metrics.load(totals)
            self.habits.load(totals)
            await self._open_accounts(self.snapshot)
            if taken is not None and lent:
                self.lender.adopt(taken.holds, await self.ledger.open_attempts())
            await self.refresh_keys()
            await self.services.upstream.start()
        except BaseException:
            warm.cancel()
            await self._let_go()
            raise
        await warm
        self._stamp = self.snapshot.stamp()
        if self.siblings.first:
            self._own(self._checkpoints())
        self._own(self._cut_slow())
        self._own(self.labels.tend())
        self._own(self.telemetry.run())
        self._own(self.sharing.run(self._count_again))
        self._keep_watch()
        self.ready = True

    def _keep_watch(self) -> None:
        self._watching = [self._own(work) for work in (self._watch(), self.recorder.mend())]
        if self.siblings.first:
            self._watching.append(self._own(self.alerts.run()))

    async def _take(self, taken: Taken | None, *, patient: bool) -> bool:
        """Begin to write the ledger; whether another process borrows it from now on."""
        lent = taken is not None and await taken.store()
        if patient and not lent:
            await store_let_go(self.ledger.start)
        else:
            self.ledger.start()
        return lent

    # Another process takes over

    def lend(self, taken: Taken) -> None:
        """Serve the process that has handed over with what its last requests need."""
        if taken.streams is not None and taken.lent:
            taken.ready()
            self._own(self.lender.serve(*taken.streams))

    @contextlib.asynccontextmanager
    async def giving(self, borrowed: Borrowed) -> AsyncIterator[Mapping[str, Charges]]:
        """Let the store go; from here on `borrowed` is asked. Inside, with the holds that are open, nothing is charged."""
        async with self._reloading, self.settlement.still():
            self._given = True
            for task in self._watching:
                task.cancel()
            self.settlement.accounts, self.settlement.ledger = borrowed, borrowed
            await self.ledger.stop()
            self.recorder.stop()
            yield self.accounts.holds()

    async def take_back(self) -> None:
        """Nobody has taken it. Raises `StoreDown`."""
        self.ledger.start()
        await self.recorder.start()
        self.settlement.accounts, self.settlement.ledger = self.accounts, self.recorder
        self._given = False
        self._keep_watch()

    def _take_part(self, live: int) -> None:
        """Keep to an equal part of what is configured for all that serve from the store."""
        self.gate.parts = self.services.health.seats.parts = max(live, self.siblings.count)

    def _by_account(self) -> Mapping[str, Budget]:
        return {budget.account: budget for budget in self.snapshot.budgets}

    async def stop(self) -> None:
        """Settle what is open, write it down, let everything go."""
        self.ready = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.services.cache.stop()
        await self.labels.stop_asking()
        await self.settlement.drain(self.snapshot.settings.server.drain)
        await self.telemetry.stop()
        await self.services.upstream.stop()
        if self._stamp:  # it had started
            await self.sharing.end()
            await keep_checkpoint(self.snapshot.settings.checkpoints, self.ledger, self.clock.now())
        await self._let_go()
        await self.labels.stop()
        self.promises.keep()
        self.tokenizer.close()

    async def _let_go(self) -> None:
        await self.sharing.close()
        await self.ledger.stop()
        self.recorder.stop()

    def _own(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _open_accounts(self, snapshot: Snapshot) -> None:
        """Know what every budget's window has cost so far, also of budgets that are new."""
        now = self.clock.now()
        accounts = [(budget, self.accounts.window(budget, now)) for budget in snapshot.budgets]
        spent = await self.ledger.spent(accounts, snapshot.rates.at(now))
        later = await self.ledger.spent_later(accounts)
        for budget, start in accounts:
            self.accounts.load(budget, start, spent[budget.account], later[budget.account])
        await self.sharing.know(snapshot.budgets, now)
        await self.settlement.quotas.load(snapshot.catalog.models.values(), now, self.ledger)
        self.settlement.budgets = snapshot.budgets_by_owner()
        await self.alerts.follow(snapshot)

    async def _count_again(self) -> None:
        async with self._reloading, self.settlement.still():
            await self._open_accounts(self.snapshot)

    # Configuration

    async def reload(self) -> bool:
        """Swap in the configuration as it is on disk; a bad one changes nothing, is counted and shown."""
        path = self.snapshot.path
        if path is None:
            return False
        async with self._reloading:  # the watcher, a signal and the admin API may all ask at once
            return await self._reload(path)

    async def _reload(self, path: Path) -> bool:
        if self._given:
            return False  # the process that has the store now has the configuration too
        try:
            snapshot = await asyncio.to_thread(load, path, self.mock_url)
            if snapshot.settings.store != self.snapshot.settings.store:
                log.warning("the store can only be changed by a restart", extra={"store": str(snapshot.settings.place)})
            await self.tokenizer.warm(snapshot.encodings)
            await self.recorder.follow(snapshot.settings.server.on_store_failure)
            async with self.settlement.still():
                await self.recorder.retry()  # what only the journal has must be counted too
                await self._open_accounts(snapshot)
                self.snapshot = snapshot
        except (BadConfiguration, StoreDown) as error:
            self.problems = tuple(str(error).splitlines())
            self.metrics.reloads["failed"] += 1
            log.error("the configuration was not reloaded", extra={"problems": list(self.problems)})  # noqa: TRY400 (the cause is in the problems)
            return False
        self.services.cache.keep_only({name: route.cache for name, route in snapshot.catalog.routes.items()})
        self.settlement.wait_s = snapshot.settings.server.budget_wait
        self.gate.wait_s = self.services.turns.wait_s = snapshot.settings.server.rate_wait
        self.labels.follow()
        await self.refresh_keys()
        self.problems = ()
        self.metrics.reloads["ok"] += 1
        log.info("the configuration was reloaded")
        self.siblings.say(reloaded=True)
        return True

    def reload_soon(self) -> None:
        """Reload without waiting for it: for signals."""
        self._own(self.reload())

    async def refresh_keys(self) -> None:
        """Take note of keys that were made or revoked."""
        self.callers = self.snapshot.with_keys(await self.ledger.keys())

    async def _watch(self) -> None:
        """Reload when a file changed; a file is marked as seen only after it was tried. Keys are read anew each time."""
        while True:
            await asyncio.sleep(self.snapshot.settings.server.reload_every)
            with contextlib.suppress(StoreDown):
                await self.refresh_keys()
            stamp = await asyncio.to_thread(self.snapshot.stamp)
            if stamp == self._stamp:
                continue
            await asyncio.sleep(REST_S)
            rests = stamp == await asyncio.to_thread(self.snapshot.stamp)
            if rests and (await self.reload() or not self.recorder.down):
                self._stamp = stamp

    async def _checkpoints(self) -> None:
        """Write down now and then how far the ledger has come."""
        while True:
            settings = self.snapshot.settings.checkpoints
            await keep_checkpoint(settings, self.ledger, self.clock.now())
            await asyncio.sleep(settings.every if settings else CHECKPOINT_S)

    async def _cut_slow(self) -> None:
        """Look for clients that keep their answers waiting."""
        while True:
            server = self.snapshot.settings.server
            await asyncio.sleep(min(1.0, server.client_timeout / 4))
            self.room.cut_slow(server)

    # What the pipeline tells

    def _keep(self, request_id: str, caller: Caller, decision: Decision) -> None:
        self.kept.keep(request_id, caller.team, decision)
        for verdict in decision.verdicts:
            if verdict.lost.startswith("unpriced"):
                self.metrics.unpriced[verdict.model.vendor, verdict.model.name] += 1

    def hold_promises_to(self, label: Labelled) -> None:
        self.promises.observe(self.snapshot.promised, label)
        route = self.snapshot.catalog.routes.get(label.route)
        self.promises.observe_cascade(route.cascade.certified if route and route.cascade else None, label)

    def _fell_back(self, route: str, tried: str, then: str) -> None:
        self.metrics.fallbacks[route, tried, then] += 1

    # What others look at

    def explained(self, request_id: str) -> dict[str, Any] | None:
        """A decision that is still kept, as JSON values."""
        kept = self.kept.get(request_id)
        if kept is None:
            return None
        return {"id": kept.id, "team": kept.team, **explain(kept.decision, self.snapshot.rates.reporting)}

    def budgets(self) -> list[BudgetState]:
        """Every budget as it stands."""
        return self.accounts.look(self.snapshot.budgets, self.clock.now())

    def _now(self) -> Now:
        return Now(
            self.snapshot, self.clock.now(), self.budgets(), self.room.in_flight, self.ledger.lag(self.clock.seconds()),
            self.settlement.calibrator, self.settlement.quotas.standing(self.snapshot.catalog.models, self.clock.now()), self.services.health.open_breakers(self.snapshot.catalog.models.values(), self.clock.seconds()),
            {"team": self.gate.lines.count(), "vendor": self.services.turns.lines.count()}, self.room.cut, self.recorder.down, self.recorder.let_through, self.services.cascades.outcomes,
            tuple(self.promises.standings(self.snapshot.promised, self.snapshot.catalog, self.clock.now())),
            self.sharing.operations,
        )  # fmt: skip
