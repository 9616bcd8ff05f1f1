"""One account in one window, as one replica has it: what it may spend, and how much more to ask for or to give back.

A replica looks at each of its purses when it tells the store that it lives, every `RENEW_S`: what a purse has used since
the last time is its pace. It is filled up to a few times that, so that requests seldom wait for the store, but never with
more than a share of what nobody has yet; near the end of a budget that share comes to nothing, and every request draws
exactly what it needs. What is too much is given back: when others want it, when the share has become smaller, and when it
has not been used for long.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from router.core.lease import Account, Ask, Lease

FULL = 4  # times what it uses between two looks: so much a purse is filled up to
LOW = 2  # and when it has less than so many times that
IDLE_S = 600.0  # without any use, after which it is emptied


@dataclass(slots=True)
class Purse:
    """In nano-units. `settled` and `held` are this replica's own, since it has the purse."""

    account: str
    start: int
    end: int
    limit: int
    lease: int = 0
    settled: int = 0
    held: int = 0
    others: int = 0  # what everybody else has of the limit, as last known
    others_settled: int = 0  # of it, what has been spent
    leased: bool = False  # the store knows of this purse
    pace: int = 0  # what is used between two looks, lately
    slice: int = 0  # beyond what is needed, asked for with the last draw
    wanted: bool = False  # by others: nothing is kept that is not needed
    seen: float = float("-inf")  # when the store told how it stands, on a clock that never jumps
    moved: float = 0.0  # when it was last seen to be used
    life: int = 0  # how often it has started over
    _mark: int = 0  # what was used at the last look
    _high: int = 0  # the most that was used since

    @property
    def key(self) -> Account:
        return self.account, self.start

    @property
    def used(self) -> int:
        return self.settled + self.held

    @property
    def spare(self) -> int:
        return self.lease - self.settled - self.held

    @property
    def all_settled(self) -> int:
        """By everybody, as last known, and by this replica."""
        return self.others_settled + self.settled

    @property
    def all_held(self) -> int:
        """What requests hold here, and what others have leased and not spent."""
        return self.held + self.others - self.others_settled

    @property
    def left(self) -> int:
        """What of the limit nobody else has, and this replica does not use: its spare is in it."""
        return self.limit - self.others - self.settled - self.held

    def follow(self, limit: int) -> None:
        """The limit has been changed: what is beyond it is not counted on any more."""
        self.limit = limit
        self.lease = min(self.lease, max(self.used, limit - self.others))

    def hold(self, nano: int) -> None:
        self.held += nano
        self._high = max(self._high, self.settled + self.held)

    def settle(self, hold: int, charge: int) -> None:
        """Replace a hold by what was spent."""
        self.held -= hold
        self.settled += charge
        self._high = max(self._high, self.settled + self.held)

    # Asking

    def draw(self, nanos: Sequence[int], live: int) -> Ask:
        """Ask for what requests need that wait for it: for all of them if that is there, else for the least of them. For
        none, ask how things stand.
        """
        self._begin()
        if not nanos:
            return self._ask(0, 0)
        together = sum(nanos)
        need = together if together <= self.left else min(nanos)
        self.slice = 0 if self.wanted else max(2 * self.slice, FULL * self.pace, 2 * max(nanos))
        return self._ask(need, together + self.slice, live)

    def tend(self, live: int) -> Ask | None:
        """Give back what is too much, or ask for more before it is needed; None if neither. What is given back is not
        counted on any more.
        """
        if not self.leased:
            return None
        spare, share = self.spare, max(0, self.left) // (2 * live)
        keep = 0 if self.wanted else share
        if spare > 2 * keep:
            self.lease = self.used + keep
            return self._ask(0, 0)
        if self.wanted or spare >= LOW * self.pace or (more := min(FULL * self.pace, share)) <= spare:
            return None
        return self._ask(max(0, spare), more, live)

    def got(self, lease: Lease, now: float) -> None:
        """The answer to the last ask."""
        self.lease, self.others, self.others_settled = lease
        self.seen = now

    def saw(self, lease: Lease, now: float, before: int) -> None:
        """How it stands, without having asked for anything. What was settled `before` the question is in it where the store
        does not know of this purse.
        """
        self.others, self.others_settled, self.seen = lease.others, lease.settled, now
        if not self.leased:
            self._forget(before)

    def look(self, now: float, *, wanted: bool) -> bool:
        """Some time has passed; whether it was used meanwhile."""
        step = self._high - self._mark
        moved = step > 0 or self.used != self._mark
        self.pace = max(step, self.pace * 3 // 4)
        self._mark = self._high = self.used
        if moved or self.held:
            self.moved = now
        self.slice = 0
        self.wanted = wanted or now - self.moved > IDLE_S
        return moved

    def start_over(self) -> None:
        """The store has charged all that was open, and knows this purse no more."""
        self.lease = self.settled = self.held = self._mark = self._high = 0
        self.leased = False
        self.life += 1

    def _begin(self) -> None:
        """The store learns of this purse: what was settled before is in everybody's sum."""
        if not self.leased:
            self.leased = True
            self.others += self.settled
            self.others_settled += self.settled
            self._forget(self.settled)

    def _forget(self, settled: int) -> None:
        self.settled -= settled
        self._mark -= settled
        self._high -= settled

    def _ask(self, need: int, want: int, live: int = 1) -> Ask:
        """Ask for so much beyond what is used, but for not less than there is."""
        keep, used = max(self.lease, self.used), self.used
        return Ask(self.account, self.start, self.limit, keep, max(used + need, keep), max(used + want, keep), 2 * live)
