"""Alerts out: a fold over ledger entries, and the one task that tells targets what it found.

An entry only marks what it touched. The task looks at that, writes down what is new in the store, and sends what waits
there, each target's oldest first, one at a time and paced; a target that does not take it is tried again, later and later.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from router.clock import Alarm, Clock
from router.core.alerts import Alert, Spend, Target, passed, share_of
from router.core.catalog import Timeouts
from router.core.entry import Entry
from router.core.failure import AttemptFailed
from router.core.limits import MICROS, Budget, BudgetState
from router.snapshot import Snapshot
from router.stores.outbox import Outbox
from router.stores.ports import StoreDown
from router.upstream import Upstream, UpstreamCall
from router.webhooks import message, refusal

log = logging.getLogger("farebox.alerts")

RETRY_S = (1.0, 5.0, 30.0, 120.0, 600.0)  # waits between tries of a target, the last again and again
GIVE_UP_S = 24 * 3600.0  # how old an alert may become; what is older is no news
PACE_S = 3.0  # between two alerts to a target: DingTalk takes 20 a minute, Feishu 100, Slack one a second
STORE_S = 5.0  # until the store is tried again
MAX_REPLY = 2**16  # bytes of an answer that are looked at
TIMEOUTS = Timeouts(connect=5.0, first_byte=10.0, idle=5.0, total=15.0)


@dataclass(slots=True)
class _Standing:
    """How a target has taken things so far."""

    failed: int = 0
    due: float = 0.0  # on the clock that measures


@dataclass(slots=True)
class Alerts:
    """See the module. `look` says how budgets stand."""

    clock: Clock
    upstream: Upstream
    outbox: Outbox
    look: Callable[[Sequence[Budget], int], list[BudgetState]]
    idle: bool = True  # nothing to look at and nothing to send now
    _targets: tuple[Target, ...] = ()
    _budgets: dict[str, Budget] = field(default_factory=dict)
    _currency: str = ""
    _spend: Spend = field(default_factory=Spend)
    _accounts: set[str] = field(default_factory=set)  # touched since the task looked
    _teams: set[str] = field(default_factory=set)
    _found: dict[tuple[str, str], object] = field(default_factory=dict)  # what need not be written down again
    _standing: dict[str, _Standing] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _alarm: Alarm | None = None
    _next: float | None = None  # when the outbox is to be looked at again; None: when something was put into it

    async def follow(self, snapshot: Snapshot) -> None:
        """Take over a configuration; nothing may be charged meanwhile. Raises `StoreDown`."""
        now, hours = self.clock.now(), list[tuple[str, int, int]]()
        if any("anomaly" in target.topics for target in snapshot.targets):
            hours = await asyncio.to_thread(self.outbox.hours, now, snapshot.settings.currency)
        self._spend.load(hours)
        self._targets = snapshot.targets
        self._budgets = {budget.account: budget for budget in snapshot.budgets if budget.alert_at}
        self._currency = snapshot.settings.currency
        self._found.clear()
        self._accounts = set(self._budgets)
        self._next = self.clock.seconds()  # what an earlier process did not get rid of
        self._wake.set()

    def observe(self, entry: Entry) -> None:
        """Mark what one closed attempt touched."""
        attempt = entry.attempt
        counts = entry.cost and attempt.currency == self._currency
        accounts = (account for account, _, _ in entry.charges)
        self.hear(accounts, [(attempt.team, attempt.at, entry.cost)] if counts else ())

    def hear(self, accounts: Iterable[str], spends: Iterable[tuple[str, int, int]]) -> None:
        """Mark accounts, and what teams have spent: (team, when, nano-units)."""
        if not self._targets:
            return
        self._accounts.update(accounts)
        for team, at, cost in spends:
            self._spend.add(team, at, cost)
            self._teams.add(team)
        self._wake.set()

    async def run(self) -> None:
        """Find and tell until cancelled."""
        while True:
            self.idle = True
            await self._wake.wait()
            self._wake.clear()
            self.idle = False
            if not self._targets:
                continue
            try:
                await self._find()
                if self._next is not None and self._next <= self.clock.seconds():
                    await self._tell()
            except StoreDown as error:
                log.error("alerts cannot be written down", extra={"error": str(error)})  # noqa: TRY400 (the cause is in the message)
                self._again(STORE_S)
            except Exception:  # whatever it is, the next one is told
                log.exception("alerts could not be told, which is a bug")
                self._again(RETRY_S[-1])

    def _again(self, seconds: float) -> None:
        """Look into the outbox again after so long."""
        self._next = self.clock.seconds() + seconds
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self.clock.later(max(0.0, seconds), self._wake.set)

    # Finding

    async def _find(self) -> None:
        now = self.clock.now()
        budgets = [self._budgets[account] for account in self._accounts if account in self._budgets]
        for state in self.look(budgets, now):
            share = share_of(state)
            if share is None:
                continue
            alerts = passed(state, now) if self._is_news(state.budget.account, (state.starts, share)) else []
            await self._note(state.budget.account, (state.starts, share), alerts)
        self._accounts.clear()
        for team in tuple(self._teams):
            for target in self._targets:
                found = self._spend.unusual(team, now, target.least, self._currency)
                if found and self._found.get((team, target.name)) != found.id and target.wants(found):
                    await self._put(target, [found], team, found.id)
        self._teams.clear()

    def _is_news(self, subject: str, fact: object) -> bool:
        return any(self._found.get((subject, target.name)) != fact for target in self._targets)

    async def _note(self, subject: str, fact: object, alerts: list[Alert]) -> None:
        for target in self._targets if alerts else ():
            if target.wants(alerts[-1]):
                await self._put(target, alerts, subject, fact)
            else:
                self._found[subject, target.name] = fact

    async def _put(self, target: Target, alerts: list[Alert], subject: str, fact: object) -> None:
        new = await asyncio.to_thread(self.outbox.put, alerts, target.name, self.clock.now())
        if new is not None:
            self._found[subject, target.name] = fact
        if new:
            self._next = self.clock.seconds()

    # Telling

    async def _tell(self) -> None:
        """Send what is due, one alert to each target, and wake when the next is."""
        targets, firsts = {target.name: target for target in self._targets}, dict[str, Alert]()
        more, now = set[str](), self.clock.now()
        found = await asyncio.to_thread(self.outbox.waiting, now)
        if found is None:  # another process is at it
            self._again(STORE_S)
            return
        for alert, name, since in found:
            if name not in targets or now - since > GIVE_UP_S * MICROS:
                log.warning("an alert to %s was given up", name)
                await asyncio.to_thread(self.outbox.done, alert.id, name, now)
            elif name in firsts:
                more.add(name)
            else:
                firsts[name] = alert
        measured = self.clock.seconds()
        due = [name for name in firsts if self._stands(name).due <= measured]
        told = await asyncio.gather(*(self._send(targets[name], firsts[name]) for name in due))
        heard = {name for name, well in zip(due, told, strict=True) if well}
        self._next = None
        waiting = [self._stands(name).due for name in firsts if name not in heard or name in more]
        if waiting:
            self._again(min(waiting) - self.clock.seconds())

    def _stands(self, name: str) -> _Standing:
        return self._standing.setdefault(name, _Standing())

    async def _send(self, target: Target, alert: Alert) -> bool:
        """Tell one target one thing; whether it was heard."""
        standing = self._stands(target.name)
        why, later = await self._post(target, alert)
        if not why:
            standing.failed, standing.due = 0, self.clock.seconds() + PACE_S
            await asyncio.to_thread(self.outbox.done, alert.id, target.name, self.clock.now())
            return True
        wait = max(RETRY_S[min(standing.failed, len(RETRY_S) - 1)], min(later, RETRY_S[-1]))
        standing.failed, standing.due = standing.failed + 1, self.clock.seconds() + wait
        log.warning("an alert was not taken by %s", target.name, extra={"error": why, "attempts": standing.failed})
        return False

    async def _post(self, target: Target, alert: Alert) -> tuple[str, float]:
        """Why it was not taken, and the seconds after which to ask again if the other side says so. No address is told: it
        is a credential.
        """
        sent = message(target, alert, self.clock.now())
        exchange = self.upstream.open(UpstreamCall(sent.url, sent.headers, sent.body, TIMEOUTS))
        body = b""
        try:
            await exchange.response()
            while len(body) < MAX_REPLY and (piece := await exchange.chunk()):
                body += piece
        except AttemptFailed as error:
            return str(error.failure.fault), 0.0
        finally:
            exchange.close()
        asked = exchange.headers.get("Retry-After", exchange.headers.get("retry-after", ""))
        return refusal(target, exchange.status, body), float(asked) if asked.isascii() and asked.isdigit() else 0.0
