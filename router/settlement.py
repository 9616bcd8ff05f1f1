"""Money set aside before a vendor is called, and settled afterwards, whatever happens in between.

A reservation is a scope. Entering it finds a plan that every budget can pay, sets the upper bound aside in all accounts
or in none, and writes the attempt down durably. Leaving it, by any road, hands the tally to a task that settlement
owns: what the vendor still has to say is read, the usage becomes a charge, the ledger is written (the truth first), the
hold is replaced by the charge, and those who watch are told. Nothing that happens to the request can cancel that task.

When money is short, in this order: the output cap is lowered to what is left, but not below what an answer usually
needs while it is only other requests' holds that are in the way; then a later candidate is taken; then it waits for
those holds; then the cap is lowered as far as the route allows; then it is refused.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol

from router.clock import Clock
from router.core.catalog import Caller, ChatRequest
from router.core.charge import Fit, Terms, fit
from router.core.entry import Attempt, Entry, Outcome
from router.core.errors import OverBudget, Overloaded
from router.core.failure import UNBILLED, AttemptFailed, Failure
from router.core.limits import BudgetState, moment
from router.core.money import Rate, show
from router.core.policy import Decision, Plan
from router.core.prices import Unpriced
from router.core.usage import Usage
from router.habits import Habits
from router.stores.ports import Accounts, Ledger, StoreDown
from router.tokenizer import Tokenizer
from router.upstream import Exchange

log = logging.getLogger("farebox.settlement")

DRAIN_S = 60.0  # how long a stream is read on after its client has left; then what was seen is charged as an estimate
RETRY_S = (0.05, 0.2, 1.0, 5.0, 15.0)  # waits between tries to write an entry; a hold stays until it is written


class Reader(Protocol):
    """What reads a vendor's answer, for the client and, when it has left, for the bill."""

    usage: Usage | None
    failure: Failure | None

    def feed(self, chunk: bytes) -> bytes:
        """Take a piece; returns what the client gets."""

    def finish(self) -> bytes:
        """The answer has ended."""

    def text(self) -> str:
        """The output so far, to be counted if no usage comes."""


@dataclass(slots=True)
class Tally:
    """What one attempt has consumed so far: the one mutable thing of a request."""

    plan: Plan
    attempt: Attempt
    terms: Terms
    began: float  # seconds on the measuring clock
    exchange: Exchange | None = None
    reader: Reader | None = None
    failure: Failure | None = None
    answered: bool = False  # bytes have gone out
    complete: bool = False  # the vendor's answer was read to its end
    left: bool = False  # the client went away
    capped: bool = False  # we ended the stream at its cap
    final: bool = True  # no other attempt of this request follows
    streaming: bool = False
    sent_s: float = 0.0
    first_byte_s: float | None = None
    ended_s: float | None = None

    @property
    def usage(self) -> Usage | None:
        return self.reader.usage if self.reader else None

    def overhead_s(self, request_began: float) -> float:
        """The time that is ours: until the vendor was called, and for a plain answer from its last byte on."""
        after = 0.0
        if not self.streaming and self.ended_s is not None and self.first_byte_s is not None:
            after = self.ended_s - self.first_byte_s
        return self.sent_s - request_began + after


@dataclass(frozen=True, slots=True)
class Ticket:
    """One request, as settlement needs to know it."""

    id: str
    chat: ChatRequest
    caller: Caller
    decision: Decision
    rates: Mapping[str, Rate]
    currency: str


@dataclass(slots=True)
class Settlement:
    """Owns every open reservation and every closing task."""

    accounts: Accounts
    ledger: Ledger
    tokenizer: Tokenizer
    habits: Habits
    clock: Clock
    observers: list[Callable[[Entry], None]] = field(default_factory=list)
    wait_s: float = 5.0
    drain_s: float = DRAIN_S
    _closing: set[asyncio.Task[None]] = field(default_factory=set)

    def reserve(self, ticket: Ticket, plans: Sequence[Plan], number: int) -> "Reservation":
        """The scope of one attempt; entering it may raise `OverBudget` or `Overloaded`."""
        return Reservation(self, ticket, plans, number)

    async def drain(self, timeout_s: float) -> None:
        """Wait for every closing task; what is not done by then is left to the next start's recovery."""
        if self._closing:
            await asyncio.wait(self._closing, timeout=timeout_s)

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

    async def _enter(self, ticket: Ticket, plans: Sequence[Plan], number: int) -> Tally:
        attempt_id = f"{ticket.id}.{number}"
        deadline = self.clock.seconds() + self.wait_s
        while True:
            plan, states = await self._affordable(ticket, plans, deadline)
            terms = _terms(ticket, plan, states)
            attempt = _attempt(ticket, attempt_id, number, terms, self.clock.now())
            if not attempt.holds or await self.accounts.reserve(attempt_id, ticket.caller.budgets, attempt.holds):
                break
        try:
            await self.ledger.open(attempt)
        except StoreDown as error:
            await self.accounts.settle(attempt_id, ())
            log.error("an attempt could not be written down, so it is not made", extra={"error": str(error)})  # noqa: TRY400 (the cause is in the message)
            raise Overloaded("the ledger cannot be written; nothing is served unrecorded", retry_after_s=5) from None
        except BaseException:  # cancelled while the row was being written: nobody was called
            self._start(self._release(attempt_id, terms, attempt))
            raise
        return Tally(plan, attempt, terms, self.clock.seconds())

    async def _affordable(
        self, ticket: Ticket, plans: Sequence[Plan], deadline: float
    ) -> tuple[Plan, Sequence[BudgetState]]:
        """The first plan that every budget can pay, whole or made smaller. Raises `OverBudget`."""
        budgets = ticket.caller.budgets
        if not budgets:
            return plans[0], ()
        least = ticket.decision.route.min_output_tokens
        while True:
            states = await self.accounts.states(budgets, self.clock.now())
            waiting = self.clock.seconds() < deadline and any(state.held for state in states)
            fits: list[Fit] = []
            for plan in plans:
                found = fit(plan, states, ticket.rates, plan.expected_output if waiting else least)
                if found.plan is not None:
                    return found.plan, states
                fits.append(found)
            if waiting and any(found.others for found in fits):
                await self.accounts.changed(deadline - self.clock.seconds())
                continue
            if not waiting:
                raise _over_budget(fits[0], plans[0])
            deadline = 0.0  # nobody's hold is in the way: the last resort, at once

    # Leaving

    def _leave(self, tally: Tally) -> None:
        self._start(self._close(tally))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close(self, tally: Tally) -> None:
        """Learn, charge, write, settle, tell."""
        try:
            if not tally.complete and not tally.capped and tally.failure is None:
                await self._learn(tally)
        finally:
            if tally.exchange is not None:
                tally.exchange.close()
        entry = await self._entry(tally)
        await self._write(entry)

    async def _release(self, attempt_id: str, terms: Terms, attempt: Attempt) -> None:
        """Close an attempt that was written down, or may have been, but never made."""
        nothing = terms.charge(Usage())
        await self._write(
            Entry(
                attempt, "error", "reported", Usage(), 0, 0, 0, nothing.accounts, fault="cancelled before it was sent"
            )
        )
        await self.accounts.settle(attempt_id, ())

    async def _write(self, entry: Entry) -> None:
        for wait_s in (*RETRY_S, None):
            try:
                await self.ledger.close(entry)
                break
            except StoreDown as error:
                log.error("an entry could not be written", extra={"id": entry.attempt.id, "error": str(error)})  # noqa: TRY400 (the cause is in the message)
                if wait_s is None:
                    return  # the attempt stays open in the store: the next start charges its hold
                await asyncio.sleep(wait_s)
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

    async def _entry(self, tally: Tally) -> Entry:
        """What became of the attempt, and what it costs."""
        failure = tally.failure or (tally.reader.failure if tally.reader else None)
        usage, basis = tally.usage, "reported"
        if usage is None and failure is not None and failure.fault in UNBILLED and not tally.answered:
            usage = Usage()
        elif usage is None:
            usage, basis = await self._estimated(tally), "estimated"
        try:
            charge = tally.terms.charge(usage)
        except Unpriced as error:  # more was used than any condition of the price foresees: the dearest rates hold
            log.warning("a usage is outside its price", extra={"id": tally.attempt.id, "error": str(error)})
            charge, basis = tally.terms.dearest(usage), "estimated"
        outcome = _outcome(tally, failure)
        if outcome == "ok" and usage.output_total:
            self.habits.observe(tally.attempt.route, usage.output_total / max(1, tally.plan.choices))
        ended = tally.ended_s or self.clock.seconds()
        return Entry(
            attempt=tally.attempt,
            outcome=outcome,
            basis=basis,  # type: ignore[arg-type]  # one of the two above
            usage=usage,
            cost=charge.cost,
            vendor_cost=charge.vendor,
            flagship_cost=charge.flagship if outcome != "error" else charge.cost,
            charges=charge.accounts,
            final=tally.final,
            first_byte_ms=None if tally.first_byte_s is None else round((tally.first_byte_s - tally.began) * 1000),
            total_ms=round((ended - tally.began) * 1000),
            fault=str(failure.fault) if failure else "",
        )

    async def _estimated(self, tally: Tally) -> Usage:
        """The usage of an answer that reported none: the prompt as estimated and the output as counted. Where the answer
        was never seen, its bound: the vendor may bill all of it, and a cap must hold against its bill.
        """
        plan = tally.plan
        seen = tally.reader is not None and (tally.answered or tally.reader.text())
        if tally.reader is None or not seen:
            return Usage(input_fresh=plan.tokens.tokens, output_text=plan.output_cap * plan.choices)
        text = tally.reader.text()
        counting = plan.model.counting
        count = await asyncio.to_thread(self.tokenizer.count, counting.encoding, text)
        return Usage(input_fresh=plan.tokens.tokens, output_text=-(-count * counting.factor // 1000))


class Reservation:
    """`async with settlement.reserve(...) as tally`: one attempt, which ends as exactly one ledger row."""

    __slots__ = ("_args", "_settlement", "_tally")

    def __init__(self, settlement: Settlement, ticket: Ticket, plans: Sequence[Plan], number: int) -> None:
        self._settlement = settlement
        self._args = (ticket, plans, number)
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


def new_request_id(now: int) -> str:
    """Unique, and rising with time, so that the ledger's index grows at its end."""
    return f"fb-{now:014x}{secrets.token_hex(6)}"


def _terms(ticket: Ticket, plan: Plan, states: Sequence[BudgetState]) -> Terms:
    flagship = ticket.decision.flagship
    accounts = tuple((state.budget.account, state.starts, state.budget.currency) for state in states)
    return Terms(plan, ticket.rates, flagship[1] if flagship else None, accounts)


def _attempt(ticket: Ticket, attempt_id: str, number: int, terms: Terms, now: int) -> Attempt:
    plan, bound = terms.plan, terms.bound()
    return Attempt(
        id=attempt_id,
        request_id=ticket.id,
        number=number,
        at=now,
        team=ticket.caller.team,
        key=ticket.caller.key,
        route=ticket.decision.route.name,
        model=plan.model.name,
        vendor=plan.model.vendor,
        tier=plan.model.tier,
        price=plan.price.label,
        currency=ticket.currency,
        vendor_currency=plan.price.currency,
        held=bound.cost,
        held_vendor=bound.vendor,
        held_flagship=bound.flagship,
        holds=bound.accounts,
        bound=plan.bound_usage(),
        reason=ticket.decision.reason,
        tags=ticket.chat.wishes.tags,
    )


def _outcome(tally: Tally, failure: Failure | None) -> Outcome:
    if tally.left:
        return "left"
    if failure is not None:
        return "cut" if tally.answered else "error"
    return "cut" if tally.capped or not tally.complete else "ok"


def _over_budget(found: Fit, plan: Plan) -> OverBudget:
    """Which budget, what is left of it, and when it begins anew."""
    state = found.tight
    if state is None:
        return OverBudget("no budget can pay for this request")
    budget = state.budget
    left = max(0, budget.limit - state.settled - state.held)
    resets = None if budget.per == "total" else moment(state.ends).isoformat().replace("+00:00", "Z")
    held = f", {show(state.held)} of it held by requests in flight" if state.held else ""
    again = f"; it begins anew at {resets}" if resets else ""
    return OverBudget(
        f"{budget.describe()} has {show(left)} {budget.currency} left of {show(budget.limit)}{held}; "
        f"a prompt of up to {plan.tokens.high} tokens to {plan.model.name} does not fit{again}",
        details={
            "budget": {
                "owner": budget.owner,
                "per": budget.per,
                "currency": budget.currency,
                "limit": show(budget.limit),
                "spent": show(state.settled),
                "held": show(state.held),
                "remaining": show(left),
                "resets_at": resets,
            }
        },
    )
