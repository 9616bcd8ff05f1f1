"""Every purse of one replica, by account and window."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from router.core.entry import Charges
from router.core.lease import Account
from router.core.limits import Budget
from router.core.purse import Purse


class Part(NamedTuple):
    """What one hold is to take from one purse."""

    purse: Purse
    nano: int
    binds: bool  # it needs to be leased

    @property
    def short(self) -> bool:
        return self.binds and self.nano > self.purse.spare


@dataclass(slots=True)
class _Kept:
    current: Purse
    earlier: dict[int, Purse] = field(default_factory=dict)  # windows that still have holds
    later: dict[int, int] = field(default_factory=dict)  # start → settled, of windows to come: the clock was set back


@dataclass(slots=True)
class Purses:
    """By account: the purse of the window that is now, and those of earlier ones in which something is still held."""

    seconds: Callable[[], float]  # a clock that never jumps
    active: dict[Account, Purse] = field(default_factory=dict)  # used since they were looked at, or wanted by others
    over: set[Account] = field(default_factory=set)  # windows of which the store can let go
    _kept: dict[str, _Kept] = field(default_factory=dict)
    _round: int = 0

    def now(self, budget: Budget, now: int) -> Purse:
        """The account's purse for now, turning to a new window when the old one is over."""
        kept = self._kept.get(budget.account)
        if kept is None:
            kept = self._kept[budget.account] = _Kept(self._new(budget, now))
        purse = kept.current
        if now >= purse.end:
            if purse.held:
                kept.earlier[purse.start] = purse
            else:
                self._let_go(purse)
            purse = kept.current = self._new(budget, now)
            purse.others = purse.others_settled = kept.later.pop(purse.start, 0)
        if purse.limit != budget.limit:
            purse.follow(budget.limit)
        return purse

    def load(self, budget: Budget, start: int, settled: int, later: Mapping[int, int]) -> None:
        """What everybody has settled in the window that begins at `start`, which may be over by now, and in windows to come."""
        purse = self.now(budget, start)
        told = {**later, start: settled}
        if not purse.leased:
            settled = told.get(purse.start, 0)
            purse.others += settled - purse.others_settled
            purse.others_settled, purse.settled = settled, 0
        self._kept[budget.account].later = {at: nano for at, nano in told.items() if at > purse.start}

    def find(self, account: str, start: int) -> Purse | None:
        kept = self._kept.get(account)
        if kept is None:
            return None
        return kept.current if kept.current.start == start else kept.earlier.get(start)

    def parts(self, budgets: Sequence[Budget], holds: Charges) -> list[Part] | None:
        """What each purse is to hold; None where a window is no more."""
        found = []
        for budget, (account, start, nano) in zip(budgets, holds, strict=True):
            if account not in self._kept:
                self.now(budget, start)
            purse = self.find(account, start)
            if purse is None:
                return None
            found.append(Part(purse, nano, nano > 0 and budget.on_exceed == "refuse"))
        return found

    def hold(self, parts: Iterable[Part]) -> None:
        for purse, nano, _ in parts:
            purse.hold(nano)
            self.active[purse.key] = purse

    def settle(self, holds: Charges, charges: Charges) -> None:
        """Replace holds by what was spent."""
        for account, start, nano in holds:
            if purse := self.find(account, start):
                purse.settle(nano, 0)
        for account, start, nano in charges:
            if purse := self.find(account, start):
                purse.settle(0, nano)
                self.active[purse.key] = purse
        for account, start, _ in holds:
            kept = self._kept.get(account)
            if kept is not None and start in kept.earlier and not kept.earlier[start].held:
                self._let_go(kept.earlier.pop(start))

    def start_over(self) -> None:
        """Everything that was open has been charged: nothing is held here and nothing leased."""
        self.active.clear()
        self.over.clear()
        for kept in self._kept.values():
            kept.earlier.clear()
            kept.current.start_over()

    def some(self, most: int) -> Iterator[Purse]:
        """So many of the current purses; the next time those that follow."""
        kept = list(self._kept.values())
        for i in range(min(most, len(kept))):
            yield kept[(self._round + i) % len(kept)].current
        self._round = (self._round + most) % len(kept) if kept else 0

    def _new(self, budget: Budget, now: int) -> Purse:
        return Purse(budget.account, *budget.window(now), budget.limit, moved=self.seconds())

    def _let_go(self, purse: Purse) -> None:
        """Nothing will be asked or settled in it any more."""
        self.active.pop(purse.key, None)
        if purse.leased:
            self.over.add(purse.key)
