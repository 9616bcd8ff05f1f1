"""Money set aside before a vendor is called, and settled afterwards, whatever happens in between.

A reservation is a scope. Entering it finds a plan that every budget can pay, sets the upper bound aside in all accounts
or in none, and writes the attempt down durably. Leaving it, by any road, hands the tally to a task that settlement
owns: what the vendor still has to say is read, the usage becomes a charge, the ledger is written (the truth first), the
hold is replaced by the charge, and those who watch are told. Nothing that happens to the request can cancel that task.

When money is short, in this order: a free quota that covers all of it takes the place of the hold; the output cap is
lowered, so that one request takes no more than half of what is left or what an answer is likely to need, and while it is
only others' holds that are in the way not below that need; then a later candidate is taken; then it waits for those
holds; then the cap is lowered as far as the route allows; then it is refused.
"""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from math import ceil
from types import TracebackType

from router.clock import Clock
from router.core.calibration import Calibrator
from router.core.catalog import Caller
from router.core.charge import Fit, Terms, fit, over_budget
from router.core.entry import Attempt, Basis, Entry, Outcome
from router.core.errors import NotAllowed, OverBudget, Overloaded, RateLimited
from router.core.failure import UNBILLED, AttemptFailed, Failure, Fault
from router.core.limits import Budget, BudgetState
from router.core.plan import Plan, renewed
from router.core.prices import Unpriced
from router.core.usage import Usage
from router.habits import Habits
from router.quotas import Quotas
from router.stores.ports import Accounts, Recording, StoreDown, Unsure
from router.tally import Tally, Ticket, attempt_of, needs_of, terms_of
from router.tokenizer import Tokenizer

log = logging.getLogger("farebox.settlement")

DRAIN_S = 60.0  # how long a stream is read on after its client has left; then what was seen is charged as an estimate
RETRY_S = (0.05, 0.2, 1.0, 5.0)  # between tries to write an entry, the last again and again: its hold stays until then


@dataclass(slots=True)
class Settlement:
    """Owns every open reservation and every closing task."""

    accounts: Accounts
    ledger: Recording
    tokenizer: Tokenizer
    habits: Habits
    clock: Clock
    observers: list[Callable[[Entry], None]] = field(default_factory=list)
    wait_s: float = 5.0
    drain_s: float = DRAIN_S
    budgets: Mapping[str, tuple[Budget, ...]] = field(default_factory=dict)  # by owner, as configured now
    calibrator: Calibrator = field(default_factory=Calibrator)
    quotas: Quotas = field(default_factory=Quotas)
    _closing: set[asyncio.Task[None]] = field(default_factory=set)
    _writing: int = 0
    _go: asyncio.Event = field(default_factory=asyncio.Event)
    _quiet: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._go.set()
        self._quiet.set()

    def reserve(
        self, ticket: Ticket, plans: Sequence[Plan], number: int, claim: Callable[[Plan], bool] = lambda _: True
    ) -> "Reservation":
        """The scope of one attempt; entering it may raise `OverBudget`, `RateLimited` or `Overloaded`. `claim` says whether
        there is room at the vendor of the plan that can be paid for.
        """
        return Reservation(self, ticket, plans, number, claim)

    def own(self, work: Coroutine[None, None, None]) -> None:
        """Do somebody else's closing as its own: nothing that happens to a request cancels it, and `drain` waits for it."""
        self._start(work)

    async def drain(self, timeout_s: float) -> None:
        """Wait for every closing task; what is not done by then is left to the next start's recovery."""
        if self._closing:
            await asyncio.wait(self._closing, timeout=timeout_s)

    @asynccontextmanager
    async def still(self) -> AsyncIterator[None]:
        """Nothing is charged inside: for a change of the budgets, so that a new one counts every row exactly once, those
        before it from the ledger and those after it as they come.
        """
        self._go.clear()
        try:
            await self._quiet.wait()
            yield
        finally:
            self._go.set()

    async def only_cheap(self, caller: Caller) -> str | None:
        """Why only the cheap tier is left to this caller, if a soft limit has been passed."""
        budgets = [budget for budget in caller.budgets if budget.soft is not None]
        if not budgets:
            return None
        for state in await self.accounts.states(budgets, self.clock.now()):
            if state.settled >= (state.budget.soft or 0):
                return f"{state.budget.describe()} is past its soft limit: only the cheap tier is left"
        return None

    # Entering

    async def _enter(self, ticket: Ticket, plans: Sequence[Plan], number: int, claim: Callable[[Plan], bool]) -> Tally:
        attempt_id = f"{ticket.id}.{number}"
        deadline = self.clock.seconds() + self.wait_s
        while True:
            plan, states, free = await self._affordable(ticket, plans, deadline)
            now = self.clock.now()
            if not plan.holds_at(now):
                plans = _renewed(ticket, plans, now)
                continue
            if not claim(plan):
                plans = [other for other in plans if other.model is not plan.model]
                if not plans:
                    raise RateLimited("no vendor that can be paid for has room now", retry_after_s=1)
                continue
            if plan.price.flat is None:  # hours are those of this attempt
                plan = replace(plan, facts=replace(plan.facts, at=now))
            terms = terms_of(ticket, plan, states)
            attempt = attempt_of(ticket, attempt_id, number, terms, now, free=free)
            if free and not self.quotas.covers(plan, now):  # the window has turned since
                continue
            share = self.quotas.open(attempt_id, plan, now, promise=free)
            if not attempt.holds or await self.accounts.reserve(attempt_id, ticket.caller.budgets, attempt.holds):
                break
            self.quotas.close(attempt_id)
        try:
            await self.ledger.open(attempt)
        except StoreDown as error:
            self.quotas.close(attempt_id)
            if isinstance(error, Unsure) and attempt.holds:
                self._start(self._release(terms, attempt))  # others may charge it until it is closed
            else:
                await self.accounts.settle(attempt_id, ())
            log.error("an attempt could not be written down, so it is not made", extra={"error": str(error)})  # noqa: TRY400 (the cause is in the message)
            raise Overloaded("the ledger cannot be written; nothing is served unrecorded", retry_after_s=5) from None
        except BaseException:  # cancelled while the row was being written: nobody was called
            self._start(self._release(terms, attempt))
            raise
        habit, began = ticket.decision.route.name, self.clock.seconds()
        return Tally(plan, attempt, terms, began, self.budgets, self.clock.now, share, habit=habit)

    async def _affordable(
        self, ticket: Ticket, plans: Sequence[Plan], deadline: float
    ) -> tuple[Plan, Sequence[BudgetState], bool]:
        """The first plan that every budget can pay, or else that a free quota covers whole, or else that can be paid for
        once it is made smaller; and whether it is the quota that does. Raises `OverBudget`.
        """
        budgets = ticket.caller.budgets
        if not budgets:
            return plans[0], (), False
        least = ticket.decision.route.min_output_tokens
        while True:
            states = await self.accounts.states(budgets, self.clock.now())
            waiting = self.clock.seconds() < deadline and any(state.held for state in states)
            fits: list[Fit] = []
            for plan in plans:
                found = fit(plan, states, ticket.rates, plan.worth if waiting else least)
                if found.plan is not plan and self.quotas.covers(plan, self.clock.now()):
                    return plan, states, True
                if found.plan is not None:
                    return found.plan, states, False
                fits.append(found)
            if hoped := [plan for plan, found in zip(plans, fits, strict=True) if waiting and found.others]:
                needs = needs_of(ticket, hoped[0], states, hoped[0].worth)
                await self.accounts.changed(deadline - self.clock.seconds(), budgets, needs)
                continue
            if not waiting:
                raise over_budget(fits[0], plans[0])
            deadline = 0.0  # nobody's hold is in the way: the last resort, at once

    # Leaving

    def _leave(self, tally: Tally) -> None:
        self._start(self._close(tally))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closed)

    def _closed(self, task: asyncio.Task[None]) -> None:
        """Nobody awaits a closing task, so its failure is told here: money may still be held for it."""
        self._closing.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("an attempt could not be closed, which is a bug", exc_info=error)

    async def _close(self, tally: Tally) -> None:
        """Learn, charge, write, settle, tell."""
        try:
            if not tally.complete and not tally.capped and tally.failure is None:
                await self._learn(tally)
        finally:
            if tally.exchange is not None:
                tally.exchange.close()
            if tally.seat is not None:
                tally.seat.leave()
        usage, basis = self._told(tally) or (await self._estimated(tally), "estimated")
        if tally.seat is not None:
            tally.seat.used(self.clock.seconds(), usage.input_total + usage.output_total)
        await self._go.wait()  # budgets that come now count rows that are written; this one has to be charged to them
        await self.write(self._entry(tally, usage, basis))
        tally.reader = None  # it bills by the tally: a circle, which the collector would have to look for

    async def _release(self, terms: Terms, attempt: Attempt) -> None:
        """Close an attempt that was written down, or may have been, but never made."""
        nothing = terms.charge(Usage())
        await self.write(
            Entry(
                attempt, "error", "reported", Usage(), 0, 0, 0, nothing.accounts, fault="cancelled before it was sent"
            )
        )

    async def write(self, entry: Entry) -> None:
        """Write an entry, settle it, tell those who watch; not while the budgets change, see `still`."""
        if not self._go.is_set():
            await self._go.wait()
        self._writing += 1
        self._quiet.clear()
        try:
            await self._write(entry)
        finally:
            self._writing -= 1
            if not self._writing:
                self._quiet.set()

    async def _write(self, entry: Entry) -> None:
        for wait_s in itertools.chain(RETRY_S, itertools.repeat(RETRY_S[-1])):  # if the process ends first: recovery
            try:
                await self.ledger.close(entry)
                break
            except StoreDown as error:
                log.error("an entry could not be written", extra={"id": entry.attempt.id, "error": str(error)})  # noqa: TRY400 (the cause is in the message)
                await asyncio.sleep(wait_s)
        self.quotas.close(entry.attempt.id)
        if entry.charges and not entry.attempt.holds:  # its budgets came after it
            await self.accounts.reserve(entry.attempt.id, (), ())
        await self.accounts.settle(entry.attempt.id, entry.charges)
        for observe in self.observers:
            observe(entry)

    async def _learn(self, tally: Tally) -> None:
        """Read on, without the client, until the vendor says what it bills."""
        exchange, reader = tally.exchange, tally.reader
        if exchange is None:
            return
        try:
            async with asyncio.timeout(self.drain_s):
                await exchange.response()
                if exchange.status >= 400:
                    tally.failure = Failure(Fault.SERVER, "an error that nobody waited for", exchange.status)
                if reader is None or exchange.status >= 400:
                    return
                while chunk := await exchange.chunk():
                    reader.feed(chunk)
                reader.finish()
                tally.complete = True
        except TimeoutError:
            log.warning("a vendor did not come to an end after its client left", extra={"id": tally.attempt.id})
        except AttemptFailed as error:
            tally.failure = error.failure
        except Exception:  # the money is held until there is a row, whatever a reader thinks of an answer
            log.exception("an answer could not be read on, which is a bug", extra={"id": tally.attempt.id})
            tally.failure = Failure(Fault.GARBAGE, "the answer cannot be read", 200)

    def _told(self, tally: Tally) -> tuple[Usage, Basis] | None:
        """What the attempt consumed, and who says so; None where it has to be estimated."""
        reader = tally.reader
        if tally.usage is not None and tally.is_whole(tally.usage):
            return tally.usage, "reported"
        failure = _failure(tally)
        refused = failure is not None and failure.fault in UNBILLED and not tally.answered
        if refused and tally.usage is None and not (reader and tally.streaming and reader.text()):
            return Usage(), "reported"
        return None

    def _entry(self, tally: Tally, usage: Usage, basis: Basis) -> Entry:
        """What became of the attempt, and what it costs."""
        failure, outcome = _failure(tally), _outcome(tally)
        terms = self._terms_now(tally)
        try:
            charge = tally.charge(usage, terms)
        except Unpriced as error:  # more was used than any condition of the price foresees: the dearest rates hold
            log.warning("a usage is outside its price", extra={"id": tally.attempt.id, "error": str(error)})
            charge, basis = terms.dearest(usage), "estimated"
        if charge.by_vendor:
            basis = "vendor_cost"
        if basis != "estimated" and outcome != "error":
            self.calibrator.observe(tally.plan.model, tally.plan.tokens, usage.input_total)
        if outcome == "ok" and usage.output_total and not tally.lost:
            self.habits.observe(tally.habit, usage.output_total / max(1, tally.plan.choices))
        ended = tally.ended_s or self.clock.seconds()
        flagship, fixed = charge.flagship, charge.fixed
        if outcome == "error":
            flagship = fixed = charge.cost
        if tally.lost:
            flagship, fixed = charge.cost, 0
        first_byte_ms = None if tally.first_byte_s is None else round((tally.first_byte_s - tally.began) * 1000)
        return Entry(  # in the order of its fields, since names cost four times as much
            tally.attempt, outcome, basis, usage, charge.cost, charge.vendor, flagship,
            charge.accounts + tally.free_charges, tally.final, first_byte_ms, round((ended - tally.began) * 1000),
            str(failure.fault) if failure else "", charge.list_cost,
            tally.reader.service_tier if tally.reader else None, charge.free_tokens,
            tally.served(usage) if basis == "reported" else "", tally.vendor_id, fixed,
        )  # fmt: skip

    def _terms_now(self, tally: Tally) -> Terms:
        """The attempt's terms, charged also to budgets that were configured after it had begun."""
        attempt, terms = tally.attempt, tally.terms
        if tally.budgets is self.budgets:
            return terms
        known = {account for account, _, _ in terms.accounts}
        owners = (f"{attempt.team}/{attempt.key}", attempt.team, "*")
        new = [b for owner in owners for b in self.budgets.get(owner, ()) if b.account not in known]
        added = tuple((b.account, b.window(attempt.at)[0], b.currency) for b in new)
        return replace(terms, accounts=(*terms.accounts, *added))

    async def _estimated(self, tally: Tally) -> Usage:
        """The usage of an answer that did not report it, or the prompt's part only: that part as reported or estimated, and
        the output as counted. Where the answer was never seen, its bound: the vendor may bill all of it, and a cap must
        hold against its bill.
        """
        plan, failure = tally.plan, _failure(tally)
        told = tally.usage or Usage()
        if not told.input_total:  # no prompt has no tokens
            told = replace(told, input_fresh=plan.tokens.tokens)
        text = tally.reader.text() if tally.reader else ""
        if not text and not tally.begun and not (failure is not None and failure.fault in UNBILLED):
            return replace(told, output_text=plan.output_cap * plan.choices)
        count = await asyncio.to_thread(self.tokenizer.count, plan.model.counting.encoding, text)
        written = ceil(count * self.calibrator.factor(plan.model, text))
        if not tally.capped:  # it kept to the cap that it was told: what is counted beyond that is the count's error
            written = min(written, plan.output_cap * plan.choices)
        return replace(told, output_text=(told.output_text or 0) + max(0, written - told.output_total))


class Reservation:
    """`async with settlement.reserve(...) as tally`: one attempt, which ends as exactly one ledger row."""

    __slots__ = ("_args", "_settlement", "_tally")

    def __init__(
        self,
        settlement: Settlement,
        ticket: Ticket,
        plans: Sequence[Plan],
        number: int,
        claim: Callable[[Plan], bool],
    ) -> None:
        self._settlement = settlement
        self._args = (ticket, plans, number, claim)
        self._tally: Tally | None = None

    async def __aenter__(self) -> Tally:
        self._tally = await self._settlement._enter(*self._args)  # noqa: SLF001 (two halves of one thing)
        return self._tally

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tally is not None:
            if isinstance(error, asyncio.CancelledError):
                self._tally.left = True
            self._settlement._leave(self._tally)  # noqa: SLF001 (two halves of one thing)


def _renewed(ticket: Ticket, plans: Sequence[Plan], now: int) -> Sequence[Plan]:
    """The plans at the prices of now. Raises `NotAllowed` or `OverBudget`: there is none any more."""
    left, dear = renewed(plans, now, ticket.rates, ticket.chat.wishes.max_cost)
    if not left and dear:
        raise OverBudget(dear)
    if not left:
        raise NotAllowed(f"unpriced: the price of {plans[0].model.name} ended while the request was served")
    return left


def _failure(tally: Tally) -> Failure | None:
    return tally.failure or (tally.reader.failure if tally.reader else None)


def _outcome(tally: Tally) -> Outcome:
    if tally.left:
        return "left"
    if _failure(tally) is not None:
        return "cut" if tally.answered else "error"
    return "cut" if tally.capped or not tally.complete else "ok"
