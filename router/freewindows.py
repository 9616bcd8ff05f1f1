"""One window of a free quota: counted by the only process that takes from it, or leased by one of several as budgets are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from router.core.entry import Charges
from router.core.limits import Budget
from router.core.purse import Purse


class FreeWindow(Protocol):
    """In the quota's unit."""

    @property
    def end(self) -> int:
        """Microseconds since 1970."""

    def left(self, amount: int) -> int:
        """What nobody has taken or was promised, of what may be taken here."""

    def keep(self, more: int) -> None:
        """Keep more, or less, for attempts that are not in the ledger yet."""

    def close(self, taken: int) -> None:
        """So much is in the ledger, and is kept no more."""

    def charges(self, taken: int) -> Charges:
        """As what the ledger has to count it too; () if that is not necessary."""


@dataclass(slots=True)
class Window:
    """Counted here."""

    end: int
    settled: int = 0  # taken by rows of the ledger
    open: int = 0  # taken by, or promised to, attempts that are not in the ledger yet

    def left(self, amount: int) -> int:
        return amount - self.settled - self.open

    def keep(self, more: int) -> None:
        self.open += more

    def close(self, taken: int) -> None:
        self.settled += taken

    def charges(self, taken: int) -> Charges:  # noqa: ARG002 (the ledger's rows are counted at the next start)
        return ()


class Lent(Protocol):
    """Accounts that lease."""

    live: int

    def purse(self, budget: Budget, now: int) -> Purse:
        """What this replica has of an account."""

    def used(self, purse: Purse) -> None:
        """Something has been held or settled in it by others than these accounts."""

    def draw_soon(self, wanted: Sequence[tuple[Purse, int]]) -> None:
        """Ask for so much more, without waiting for it."""


@dataclass(slots=True)
class LeasedWindow:
    """Leased: what a replica has not got yet is not free for it. What was taken is settled with what the attempt costs."""

    purse: Purse
    lent: Lent
    life: int

    @property
    def end(self) -> int:
        return self.purse.end

    @property
    def lives(self) -> bool:
        """Whether the purse is still that which was taken from: a replica that was taken for dead has new ones."""
        return self.purse.life == self.life

    def left(self, amount: int) -> int:
        purse = self.purse
        return min(purse.spare, amount - purse.others - purse.used) if self.lives else 0

    def keep(self, more: int) -> None:
        if self.lives:
            self.purse.hold(more)
            self.lent.used(self.purse)

    def close(self, taken: int) -> None:
        """See `charges`."""

    def charges(self, taken: int) -> Charges:
        return ((*self.purse.key, taken),) if taken else ()


def first_part(purse: Purse, live: int) -> int:
    """What to ask for that nobody has asked for yet, so that something is there when it is needed; 0: there is enough."""
    wanted = min(purse.limit // (8 * live), max(0, purse.left) // (2 * live))
    return wanted if purse.spare < wanted // 2 and not purse.wanted else 0
