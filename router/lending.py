"""One store for two processes, while one takes the place of the other.

The process that comes owns the ledger and the accounts. The one that goes still has requests in flight, and asks it, over
the socket on which the store was handed over, for what these need: holds, rows, settlements. So budgets hold over both,
every row goes through one writer, and nothing has to wait until the last stream of the old process has ended.

Messages are lines of JSON: a request has a number, its answer the same.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from router.core.entry import Attempt, Charges, Entry, abandoned
from router.core.errors import Overloaded
from router.core.limits import Budget, BudgetState
from router.stores.journal import attempt_of, entry_of
from router.stores.memory import MemoryAccounts
from router.stores.ports import Recording, StoreDown

POLL_S = 0.05  # how often somebody who waits for money looks again
GONE = "this process is being replaced, and the new one does not answer"


class Borrowed:
    """The ports `Accounts` and `Recording` of the process that goes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._number = 0
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._closed: set[str] = set()  # with the close the owner has settled too
        self._going = asyncio.Event()
        self._over = False

    async def answers(self) -> None:
        """Hand on what the owner says; from here on it is asked, until it is gone."""
        self._going.set()
        with contextlib.suppress(ConnectionError, ValueError):
            while line := await self._reader.readline():
                told = orjson.loads(line)
                future = self._asked.pop(told["n"], None)
                if future is not None and not future.done():
                    future.set_result(told)
        self.end()

    def end(self) -> None:
        """Nobody answers any more."""
        self._over = True
        self._going.set()
        for future in self._asked.values():
            if not future.done():
                future.set_exception(StoreDown(GONE))
        self._writer.close()

    async def _ask(self, do: str, **told: Any) -> Any:
        await self._going.wait()
        if self._over:
            raise StoreDown(GONE)
        self._number += 1
        future = self._asked[self._number] = asyncio.get_running_loop().create_future()
        self._writer.write(orjson.dumps({"n": self._number, "do": do, **told}) + b"\n")
        found = await future
        if "error" in found:
            raise StoreDown(found["error"])
        return found["found"]

    async def open(self, attempt: Attempt) -> None:
        await self._ask("open", attempt=attempt)

    async def close(self, entry: Entry) -> None:
        await self._ask("close", entry=entry)
        self._closed.add(entry.attempt.id)

    async def states(self, budgets: Sequence[Budget], now: int) -> list[BudgetState]:
        found = await self._money("states", accounts=[budget.account for budget in budgets])
        return [
            BudgetState(budget, 0, 0, *budget.window(now)) if told is None else BudgetState(budget, *told)
            for budget, told in zip(budgets, found, strict=True)
        ]

    async def reserve(self, hold_id: str, budgets: Sequence[Budget], holds: Charges) -> bool:  # noqa: ARG002 (the owner's budgets count)
        return hold_id in self._closed or bool(await self._money("reserve", id=hold_id, holds=holds))

    async def settle(self, hold_id: str, charges: Charges) -> None:
        if hold_id in self._closed:
            self._closed.discard(hold_id)
        else:
            await self._money("settle", id=hold_id, charges=charges)

    async def changed(self, timeout_s: float, budgets: Sequence[Budget] = (), needs: Charges = ()) -> bool:  # noqa: ARG002 (it is asked again)
        await asyncio.sleep(min(POLL_S, max(0.0, timeout_s)))
        return timeout_s > POLL_S

    async def _money(self, do: str, **told: Any) -> Any:
        try:
            return await self._ask(do, **told)
        except StoreDown as error:
            raise Overloaded(str(error), retry_after_s=1) from None


class Writing(Protocol):
    """What of the settlement is needed here."""

    accounts: Any
    ledger: Recording

    async def write(self, entry: Entry) -> None:
        """Write an entry, settle it, tell those who watch."""


@dataclass(slots=True)
class Lender:
    """The owner's side, for one process that goes. What that leaves behind, the owner closes."""

    settlement: Writing
    accounts: MemoryAccounts
    budgets: Callable[[], Mapping[str, Budget]]  # by account, as configured now
    now: Callable[[], int]
    holds: set[str] = field(default_factory=set)
    attempts: dict[str, Attempt] = field(default_factory=dict)  # that are on their way there

    def adopt(self, holds: Mapping[str, Charges], attempts: Sequence[Attempt]) -> None:
        """Take note of what was on its way when the store changed hands."""
        for hold_id, charges in holds.items():
            self.accounts.adopt(hold_id, charges)
        self.holds |= holds.keys()
        self.attempts |= {attempt.id: attempt for attempt in attempts}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer until the other process has ended, then close what it has left open."""
        tasks = set[asyncio.Task[None]]()
        try:
            with contextlib.suppress(ConnectionError, ValueError):
                while line := await reader.readline():
                    task = asyncio.create_task(self._answer(orjson.loads(line), writer))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._bury()
        finally:
            for task in tasks:
                task.cancel()
            writer.close()

    async def _answer(self, told: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        do: Callable[[dict[str, Any]], Awaitable[Any]] = getattr(self, f"_{told['do']}")
        try:
            answer = {"n": told["n"], "found": await do(told)}
        except StoreDown as error:
            answer = {"n": told["n"], "error": str(error)}
        writer.write(orjson.dumps(answer) + b"\n")

    async def _open(self, told: dict[str, Any]) -> None:
        attempt = attempt_of(told["attempt"])
        await self.settlement.ledger.open(attempt)
        self.attempts[attempt.id] = attempt

    async def _close(self, told: dict[str, Any]) -> None:
        entry = entry_of(told["entry"])
        await self.settlement.write(entry)
        self._forget(entry.attempt.id)

    async def _states(self, told: dict[str, Any]) -> list[tuple[int, int, int, int] | None]:
        known = self.budgets()
        found = [budget for name in told["accounts"] if (budget := known.get(name)) is not None]
        states = {state.budget.account: state for state in await self.accounts.states(found, self.now())}
        return [
            (state.settled, state.held, state.starts, state.ends) if (state := states.get(name)) else None
            for name in told["accounts"]
        ]

    async def _reserve(self, told: dict[str, Any]) -> bool:
        known = self.budgets()
        holds: Charges = tuple((name, start, nano) for name, start, nano in told["holds"] if name in known)
        done = await self.accounts.reserve(told["id"], [known[name] for name, _, _ in holds], holds)
        if done:
            self.holds.add(told["id"])
        return done

    async def _settle(self, told: dict[str, Any]) -> None:
        await self.accounts.settle(told["id"], tuple((name, start, nano) for name, start, nano in told["charges"]))
        self._forget(told["id"])

    def _forget(self, attempt_id: str) -> None:
        self.holds.discard(attempt_id)
        self.attempts.pop(attempt_id, None)

    async def _bury(self) -> None:
        """What a process leaves open that has ended: attempts are charged at their holds, and holds are given back."""
        for attempt in list(self.attempts.values()):
            await self.settlement.write(abandoned(attempt))
            self._forget(attempt.id)
        for hold_id in list(self.holds):
            await self.accounts.settle(hold_id, ())
            self.holds.discard(hold_id)
