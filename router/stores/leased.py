"""Accounts of one replica among several: it spends by itself what it has leased, and draws more before that ends.

Reserving and settling are local and do not wait while a lease suffices. Where one does not, whoever waits shares one
operation of the store, over all accounts that somebody waits for, and the next that come share the next. Every `RENEW_S`
a replica tells that it lives and is told what others want; in one operation then it gives back what it does not need and
fills up what runs low.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from router.core.entry import Charges
from router.core.errors import Overloaded
from router.core.lease import RENEW_S, TTL_S, Account, Ask
from router.core.limits import Budget, BudgetState
from router.core.purse import Purse
from router.stores.changes import Changes
from router.stores.leases import Buried, Leases
from router.stores.ports import StoreDown
from router.stores.purses import Part, Purses

log = logging.getLogger("farebox.leases")

AGAIN_S = 3 * RENEW_S  # after the store was away: the others could not renew either, and are not dead for that
POLL_S = 0.25  # how often the store is asked again for what others were asked to give back
FRESH_S = 1.0  # how old a sum may be where little is left
TIGHT = 20  # little is less than one part of so many of the limit
TRIES = 8  # draws for one reservation: where others wait too, each gets a part at a time
LOOKED_AT = 500  # purses that nobody uses, whose sums are read at a renewal


class LeasedAccounts:
    """See the port `Accounts`."""

    def __init__(
        self,
        leases: Leases,
        seconds: Callable[[], float],
        name: Callable[[], str],
        become: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Nothing is asked before `join`.

        Args:
            leases: where.
            seconds: a clock that never jumps.
            name: a name that no replica ever had, each time another.
            become: is told this replica's name, each time it gets one.

        """
        self.replica = ""
        self.live = 1
        self.lasting = False  # what is leased stays so, whatever becomes of this replica: see `leases.JOURNAL`
        self.operations: Counter[str] = Counter()  # of the store
        self._leases, self._seconds, self._name, self._become = leases, seconds, name, become
        self._purses = Purses(seconds)
        self._valid_until = self._down_until = self._again = float("-inf")
        self._missed = False  # a renewal
        self._recalled: frozenset[Account] = frozenset()  # at the last one
        self._holds: dict[str, Charges] = {}
        self._changes = Changes()
        self._turn = asyncio.Lock()  # one draw at a time: each says what is counted on when it is sent
        self._asked: dict[Account, tuple[Purse, list[int]]] = {}
        self._answer: asyncio.Future[StoreDown | None] | None = None
        self._drawing: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()

    # The port

    async def states(self, budgets: Sequence[Budget], now: int) -> list[BudgetState]:
        if any(self._is_stale(budget, now) for budget in budgets):
            await self._draw((self._purses.now(budget, now), 0) for budget in budgets if self._is_stale(budget, now))
        return self.look(budgets, now)

    def look(self, budgets: Iterable[Budget], now: int) -> list[BudgetState]:
        """`states` for callers that cannot wait, such as a scrape."""
        out = []
        for budget in budgets:
            purse = self._purses.now(budget, now)
            out.append(BudgetState(budget, purse.all_settled, purse.all_held, purse.start, purse.end))
        return out

    async def reserve(self, hold_id: str, budgets: Sequence[Budget], holds: Charges) -> bool:
        for _ in range(TRIES):
            if hold_id in self._holds:
                return True
            parts = self._purses.parts(budgets, holds)
            if parts is None:  # a window turned since the caller looked: look again
                return False
            short = [part for part in parts if part.short]
            if not short and (self.is_valid or not any(part.binds for part in parts)):
                self._hold(hold_id, holds, parts)
                return True
            if not self.is_valid or await self._draw((part.purse, part.nano) for part in short):
                raise Overloaded("budgets cannot be asked for: the store does not answer", retry_after_s=1)
            if any(part.nano > max(part.purse.spare, part.purse.left) for part in short):
                return False
        return False

    async def settle(self, hold_id: str, charges: Charges) -> None:
        holds = self._holds.pop(hold_id, None)
        if holds is not None:
            self._purses.settle(holds, charges)
            self._changes.tell()

    async def changed(self, timeout_s: float, budgets: Sequence[Budget] = (), needs: Charges = ()) -> bool:
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        while (left := end - loop.time()) > 0:
            short = [part for part in self._purses.parts(budgets, needs) or () if part.short] if needs else []
            before = [part.purse.spare for part in short]
            due = [(part.purse, part.nano) for part in short if self._is_due(part)]
            if due and not await self._draw(due) and not any(part.short for part in short):
                return True
            if await self._changes.wait(min(left, POLL_S) if needs else left):
                return True
            if needs and (not short or before != [part.purse.spare for part in short]):
                return True
        return False

    # What the app asks

    @property
    def is_valid(self) -> bool:
        """Whether nobody can have lent to others what this replica has leased."""
        return self.lasting or self._seconds() < self._valid_until

    def window(self, budget: Budget, now: int) -> int:
        """The start of the window that a budget is in: not that of `now` where the clock has been set back meanwhile."""
        return self._purses.now(budget, now).start

    def load(self, budget: Budget, start: int, settled: int, later: Mapping[int, int] | None = None) -> None:
        """What everybody has settled in a budget's window, and in windows to come, as the ledger says while this replica
        settles nothing.
        """
        self._purses.load(budget, start, settled, later or {})

    def holds(self) -> Mapping[str, Charges]:
        """Every hold that is open."""
        return dict(self._holds)

    async def join(self) -> None:
        """Begin to live. Raises `StoreDown`."""
        name, sent = self._name(), self._seconds()
        self.operations["join"] += 1
        renewed = await self._leases.join(name)
        self.replica, self.live = name, max(1, renewed.live)
        self._valid_until = sent + TTL_S
        self._become(name)

    async def tend(
        self, bury: Callable[[str], Awaitable[object]], told: Callable[[], Awaitable[object]], every_s: float = RENEW_S
    ) -> None:
        """Live: renew again and again, `bury` those that do not live, and say each time that it was `told` something."""
        failing = False
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(every_s):
                    await self._hurry.wait()
            self._hurry.clear()
            try:
                for name in await self._renew():  # in Redis nobody is lent more before they are buried
                    await bury(name)
                await self._give_and_take()
                await told()
            except StoreDown as error:
                if not failing:
                    log.error("leases cannot be renewed", extra={"error": str(error)})  # noqa: TRY400 (the cause is in the message)
                failing = True
            except Exception:  # without renewals nothing that has a budget would be served
                log.exception("leases could not be tended, which is a bug")
            else:
                failing = False

    async def beat(self) -> tuple[str, ...]:
        """Tell that this replica lives, give back and fill up: the replicas that are to be buried. Raises `StoreDown`."""
        dead = await self._renew()
        await self._give_and_take()
        return dead

    async def _renew(self) -> tuple[str, ...]:
        sent = self._seconds()
        self.operations["renew"] += 1
        try:
            renewed = await self._leases.renew(self.replica)
        except Buried:
            await self._start_over()
            return ()
        except StoreDown:
            self._missed = True
            raise
        if self._missed:
            self._missed, self._again = False, sent
        self._valid_until = max(self._valid_until, sent + TTL_S)
        self.live, self._recalled = max(1, renewed.live), renewed.recalled
        return renewed.dead if sent - self._again >= AGAIN_S else ()

    async def _give_and_take(self) -> None:
        """Balance what others want, what is low and what is too much, and look around."""
        recalled, self._recalled = self._recalled, frozenset()
        async with self._turn:
            await self._balance(recalled)
            await self._look_around()

    async def refresh(self, budgets: Iterable[Budget], now: int) -> None:
        """Know how these stand. Raises `StoreDown`."""
        async with self._turn:
            await self._look([self._purses.now(budget, now) for budget in budgets])

    async def leave(self) -> None:
        """Spend nothing more. Raises `StoreDown`."""
        self._valid_until = float("-inf")
        async with self._turn:
            self.operations["leave"] += 1
            await self._leases.leave(self.replica)

    def _hold(self, hold_id: str, holds: Charges, parts: Iterable[Part]) -> None:
        self._purses.hold(parts)
        self._holds[hold_id] = holds

    # What others do with purses

    def purse(self, budget: Budget, now: int) -> Purse:
        """What this replica has of an account."""
        return self._purses.now(budget, now)

    def used(self, purse: Purse) -> None:
        """Something has been held or settled in it by others than these accounts."""
        self._purses.active[purse.key] = purse

    def draw_soon(self, wanted: Sequence[tuple[Purse, int]]) -> None:
        """Ask for so much more, without waiting for it."""
        if wanted and self.is_valid:
            self._begin_draw(wanted)

    # Drawing

    async def _draw(self, wanted: Iterable[tuple[Purse, int]]) -> StoreDown | None:
        """Ask for more (or, for nothing more, how it stands) with everybody who waits; why that failed."""
        return await asyncio.shield(self._begin_draw(wanted))  # whoever stops waiting leaves it to the others

    def _begin_draw(self, wanted: Iterable[tuple[Purse, int]]) -> "asyncio.Future[StoreDown | None]":
        for purse, nano in wanted:
            nanos = self._asked.setdefault(purse.key, (purse, []))[1]
            if nano:
                nanos.append(nano)
        loop = asyncio.get_running_loop()
        answer = self._answer = self._answer or loop.create_future()
        if self._drawing is None or self._drawing.done():
            self._drawing = loop.create_task(self._draw_all())
        return answer

    async def _draw_all(self) -> None:
        while (answer := self._answer) is not None:
            async with self._turn:
                asked, self._asked, self._answer = self._asked, {}, None
                asked = {key: told for key, told in asked.items() if key not in self._purses.over}
                purses = [purse for purse, _ in asked.values()]
                error = await self._exchange(purses, [purse.draw(nanos, self.live) for purse, nanos in asked.values()])
            answer.set_result(error)

    async def _exchange(self, purses: Sequence[Purse], asks: Sequence[Ask]) -> StoreDown | None:
        over = tuple(self._purses.over)
        self.operations["draw"] += 1
        try:
            leases = await self._leases.draw(self.replica, asks, over)
        except StoreDown as error:
            self._down_until = self._seconds() + FRESH_S
            if isinstance(error, Buried):
                self._valid_until = float("-inf")
                self._hurry.set()
            return error
        now = self._seconds()
        for purse, lease in zip(purses, leases, strict=True):
            purse.got(lease, now)
        self._purses.over.difference_update(over)
        return None

    def _is_stale(self, budget: Budget, now: int) -> bool:
        """Whether so little is left that it is worth asking how it stands."""
        if budget.on_exceed != "refuse":
            return False
        purse, at = self._purses.now(budget, now), self._seconds()
        return (
            purse.left * TIGHT < purse.limit and at - purse.seen > FRESH_S and self._down_until < at < self._valid_until
        )

    def _is_due(self, part: Part) -> bool:
        """Whether asking for it again may bring something."""
        return part.nano <= part.purse.left or self._seconds() - part.purse.seen >= POLL_S

    async def _balance(self, recalled: frozenset[Account]) -> None:
        """Give back what is too much, ask for what will be needed, and know how those stand that are used."""
        now, active = self._seconds(), self._purses.active
        purses, asks = list[Purse](), list[Ask]()
        for key in recalled:
            if (purse := self._purses.find(*key)) is not None:
                active[key] = purse
        for key, purse in list(active.items()):
            moved = purse.look(now, wanted=key in recalled)
            ask = purse.tend(self.live)
            if ask is not None or (moved and purse.leased):
                asks.append(ask or purse.draw((), self.live))
                purses.append(purse)
            if not (moved or purse.pace or purse.wanted):
                del active[key]
        if (asks or self._purses.over) and (error := await self._exchange(purses, asks)) is not None:
            raise error

    async def _look_around(self) -> None:
        """Know how some of those stand that are not drawn on; at the next renewal they give back what is too much."""
        active = self._purses.active
        purses = [p for p in self._purses.some(LOOKED_AT) if not p.leased or p.key not in active]
        active.update((purse.key, purse) for purse in purses if purse.leased and purse.spare > 0)
        if purses:
            await self._look(purses)

    async def _look(self, purses: Sequence[Purse]) -> None:
        before = [purse.settled for purse in purses]
        self.operations["look"] += 1
        leases = await self._leases.look(self.replica, [purse.key for purse in purses])
        now = self._seconds()
        for purse, lease, settled in zip(purses, leases, before, strict=True):
            purse.saw(lease, now, settled)

    async def _start_over(self) -> None:
        """What was open has been charged, and nothing is leased."""
        log.error("this replica was taken for dead and starts over", extra={"reason": self.replica})
        async with self._turn:
            await self.join()
            self._holds.clear()
            self._purses.start_over()
        self._changes.tell()
