"""Accounts in the process's own memory: for one process, rebuilt from the ledger at start.

Nothing here awaits between reading and writing, so on one event loop every call is atomic.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from router.core.entry import Charges
from router.core.limits import Budget, BudgetState
from router.stores.changes import Changes


@dataclass(slots=True)
class _Counter:
    """One window of one account, in nano-units."""

    start: int
    end: int
    settled: int = 0
    held: int = 0


@dataclass(slots=True)
class _Account:
    current: _Counter
    earlier: dict[int, _Counter] = field(default_factory=dict)  # windows that still have holds
    later: dict[int, int] = field(default_factory=dict)  # start → settled, of windows to come: the clock was set back


class MemoryAccounts:
    """See the port `Accounts`."""

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}
        self._holds: dict[str, Charges] = {}
        self._changes = Changes()

    def window(self, budget: Budget, now: int) -> int:
        """The start of the window that a budget is in: not that of `now` where the clock has been set back meanwhile."""
        return self._counter(budget, now).start

    def load(self, budget: Budget, start: int, settled: int, later: Mapping[int, int] | None = None) -> None:
        """Set what an account has settled in the window that begins at `start`, and in windows to come, to what the ledger
        says; what it holds stays held. While the ledger was asked the account may have turned to one of those to come.
        """
        counter = self._counter(budget, start)
        told = {**(later or {}), start: settled}
        counter.settled = told.get(counter.start, 0)
        self._accounts[budget.account].later = {at: nano for at, nano in told.items() if at > counter.start}

    def _counter(self, budget: Budget, now: int) -> _Counter:
        """The account's counter for now, turning to a new window when the old one is over."""
        account = self._accounts.get(budget.account)
        if account is None:
            account = self._accounts[budget.account] = _Account(_Counter(*budget.window(now)))
        if now >= account.current.end:
            if account.current.held:
                account.earlier[account.current.start] = account.current
            account.current = _Counter(*budget.window(now))
            account.current.settled = account.later.pop(account.current.start, 0)
        return account.current

    async def states(self, budgets: Sequence[Budget], now: int) -> list[BudgetState]:
        return self.look(budgets, now)

    def look(self, budgets: Sequence[Budget], now: int) -> list[BudgetState]:
        """`states` for callers that cannot wait, such as a scrape."""
        out = []
        for budget in budgets:
            counter = self._counter(budget, now)
            out.append(BudgetState(budget, counter.settled, counter.held, counter.start, counter.end))
        return out

    async def reserve(self, hold_id: str, budgets: Sequence[Budget], holds: Charges) -> bool:
        if hold_id in self._holds:
            return True
        found = []
        for budget, (account, start, nano) in zip(budgets, holds, strict=True):
            if account not in self._accounts:
                self._accounts[account] = _Account(_Counter(*budget.window(start)))
            counter = self._find(account, start)
            if counter is None:  # the window turned since the caller looked: look again
                return False
            if budget.on_exceed == "refuse" and nano > max(0, budget.limit - counter.settled - counter.held):
                return False
            found.append((counter, nano))
        for counter, nano in found:
            counter.held += nano
        self._holds[hold_id] = holds
        return True

    def adopt(self, hold_id: str, holds: Charges) -> None:
        """Take over a hold that another process has made; it has been paid for there. Windows are as `load` left them."""
        for account, start, nano in holds:
            if counter := self._find(account, start):
                counter.held += nano
        self._holds[hold_id] = tuple(hold for hold in holds if self._find(*hold[:2]))

    def holds(self) -> Mapping[str, Charges]:
        """Every hold that is open."""
        return dict(self._holds)

    async def settle(self, hold_id: str, charges: Charges) -> None:
        holds = self._holds.pop(hold_id, None)
        if holds is None:
            return
        for account, start, nano in holds:
            if counter := self._find(account, start):
                counter.held -= nano
        for account, start, nano in charges:
            if counter := self._find(account, start):
                counter.settled += nano
        for account, start, _ in holds:
            earlier = self._accounts[account].earlier
            if start in earlier and not earlier[start].held:
                del earlier[start]
        self._changes.tell()

    def _find(self, account: str, start: int) -> _Counter | None:
        found = self._accounts.get(account)
        if found is None:
            return None
        return found.current if found.current.start == start else found.earlier.get(start)

    async def changed(self, timeout_s: float, budgets: Sequence[Budget] = (), needs: Charges = ()) -> bool:  # noqa: ARG002 (all there is, is here)
        return await self._changes.wait(timeout_s)
