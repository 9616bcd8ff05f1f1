"""Shadow calls: now and then the other side's model is asked what a client has just been answered, and both are judged.

It happens after the answer, on nobody's time and on a budget of its own. A shadow call is an ordinary attempt, held,
charged and written down as one, of the team `shadow` and the key that is its route's name; it is no request of a client's,
so its row is not `final`, and it saves nothing. Nothing of it is kept but its cost and the scores.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from router.clock import Clock
from router.core.cascade import Function, Webhook
from router.core.catalog import Caller, ChatRequest, Quirks, Shadowing, Tier, Wishes
from router.core.charge import fit
from router.core.entry import SHADOW
from router.core.errors import OverBudget, RouterError
from router.core.explore import alternative, comparable
from router.core.failure import Failure, Fault
from router.core.labels import Label
from router.core.limits import Budget
from router.core.plan import Plan
from router.dialects.registry import CLIENTS, DIALECTS
from router.dialects.turn import Gathered
from router.relay import Reach, Reply, relay
from router.settlement import Settlement
from router.tally import Ticket
from router.turns import Turns

log = logging.getLogger("farebox.shadow")

MOST_KEPT = 2**20  # bytes of an answer: what is longer is not compared
CHECK_S = 120.0  # how long a checker may take


class Checker(Protocol):
    """Judges an answer."""

    async def score(self, asked: bytes, answer: bytes, model: str, route: str) -> float | None:
        """How good an answer is, from 0 to 1; None where it cannot say.

        Args:
            asked: the client's body.
            answer: the whole answer in the client's dialect, gathered if it was streamed.
            model: that gave it.
            route: that was asked for.

        """


class Kept:
    """The way back to a client that also keeps what went there; or to nobody, and only keeps it."""

    __slots__ = ("_client", "body", "headers", "over", "status", "streamed")

    def __init__(self, client: Reply | None = None) -> None:
        self._client = client
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.streamed = False
        self.over = False
        self.body = bytearray()

    def _keep(self, data: bytes) -> None:
        self.over = self.over or len(self.body) + len(data) > MOST_KEPT
        if self.over:
            self.body.clear()
        else:
            self.body += data

    async def send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.status, self.headers = status, headers
        self._keep(body)
        if self._client is not None:
            await self._client.send(status, body, headers)

    async def begin(self, headers: Mapping[str, str]) -> None:
        self.status, self.headers, self.streamed = 200, headers, True
        if self._client is not None:
            await self._client.begin(headers)

    async def write(self, data: bytes) -> None:
        self._keep(data)
        if self._client is not None:
            await self._client.write(data)

    def whole(self, chat: ChatRequest) -> bytes | None:
        """The answer as a client that wants no stream gets it; None if it is none, did not end, or is too long."""
        if self.over or self.status != 200:
            return None
        if not self.streamed:
            return bytes(self.body)
        client = CLIENTS[chat.endpoint]
        if client.speaker is None:
            return None
        speaker = client.speaker(chat, self.headers.get("x-farebox-model", ""), 0, 0, lambda _: b"")
        reader = Gathered(DIALECTS[client.dialect].listener(Quirks()), speaker)
        return reader.shown(b"") if reader.read(bytes(self.body)) else None


@dataclass(slots=True)
class Shadow:
    """Every shadow call of one process."""

    settlement: Settlement
    turns: Turns
    reach: Reach
    clock: Clock
    shared: Callable[[], tuple[Budget, ...]]  # everybody's budgets, which pay for it too
    busy: Callable[[], bool]
    give: Callable[[list[Label]], Awaitable[None]]
    checkers: Callable[[Webhook | Function], Checker | None]
    chance: Callable[[], float] = random.random
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)  # by (route, outcome)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _under_way: Counter[str] = field(default_factory=Counter)
    _stopped: bool = False

    def wants(self, ticket: Ticket) -> bool:
        """Whether this request is one of those, before it is answered, so that its answer is kept. Its place among those
        under way is taken at once, which bounds what is kept too; `offer` or `drop` gives it back.
        """
        route = ticket.decision.route
        told = route.shadow
        if told is None or self._stopped or not comparable(ticket.chat) or self.chance() >= told.rate:
            return False
        if self.checkers(told.checker) is None:
            self.outcomes[route.name, "unscored"] += 1
        elif self._under_way[route.name] >= told.concurrent or self.busy():
            self.outcomes[route.name, "busy"] += 1
        else:
            self._under_way[route.name] += 1
            return True
        return False

    def drop(self, ticket: Ticket, outcome: str = "incomplete") -> None:
        """Nothing comes of a request that was wanted."""
        route = ticket.decision.route.name
        self._under_way[route] -= 1
        self.outcomes[route, outcome] += 1

    def offer(self, ticket: Ticket, asked: bytes, kept: Kept) -> None:
        """The request was answered: ask the other side's model in its own time, unless there is too much else to do."""
        told = ticket.decision.route.shadow
        if told is None or self._stopped or self.busy():
            self.drop(ticket, "stopped" if self._stopped else "busy")
            return
        task = asyncio.get_running_loop().create_task(self._shadow(ticket, told, asked, kept))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """End what is under way; what was asked is settled as for a client that left."""
        self._stopped = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _shadow(self, ticket: Ticket, told: Shadowing, asked: bytes, kept: Kept) -> None:
        outcome = "stopped"
        try:
            outcome = await self._compare(ticket, told, asked, kept)
        except OverBudget:
            outcome = "budget"
        except RouterError:
            outcome = "failed"
        except Exception:
            outcome = "failed"
            log.exception("a shadow call failed in a way that is a bug", extra={"request_id": ticket.id})
        finally:
            self.drop(ticket, outcome)

    async def _compare(self, ticket: Ticket, told: Shadowing, asked: bytes, kept: Kept) -> str:
        """Ask, judge, label: what came of it."""
        chat, answer = ticket.chat, kept.whole(ticket.chat)
        served = _model_of(ticket, kept)
        if answer is None or served is None:
            return "incomplete"
        plan = alternative(ticket.decision, served.model.tier)
        if plan is None:
            return "alone"
        caller = Caller(SHADOW, ticket.decision.route.name, (told.budget, *self.shared()))
        states = await self.settlement.accounts.states(caller.budgets, self.clock.now())
        if fit(plan, states, ticket.rates, plan.output_cap).plan is not plan:
            return "budget"
        if self.turns.look(plan) is not None:
            return "unwell"
        other = await self._ask(ticket, plan, caller)
        theirs = None if other is None else other.whole(chat)
        if theirs is None:
            return "failed"
        checker, route = self.checkers(told.checker), ticket.decision.route.name
        labels = []
        for model, tier, said in (
            (served.model.name, served.model.tier, answer),
            (plan.model.name, plan.model.tier, theirs),
        ):
            score = None if checker is None else await _score(checker, asked, said, model, route)
            if score is not None:
                labels.append(self._label(ticket.id, model, tier, score))
        if labels:
            await self.give(labels)
        return "scored" if len(labels) == 2 else "unscored"

    def _label(self, request_id: str, model: str, tier: Tier, score: float) -> Label:
        return Label(request_id, model, str(tier), "checker", score, self.clock.now(), SHADOW)

    async def _ask(self, ticket: Ticket, plan: Plan, caller: Caller) -> Kept | None:
        """One attempt; None if it was not answered, or not under the terms that it should be compared under."""
        decision = replace(
            ticket.decision, plans=(plan,), flagship=None, reason="shadow", propensity=None, explored=False
        )  # no flagship: it saves nothing
        chat = replace(ticket.chat, wishes=Wishes(tags={SHADOW: ticket.id}))
        own = Ticket(f"{ticket.id}-s", chat, caller, decision, ticket.rates, ticket.currency)
        turn = await self.turns.pick(own.decision.plans, caller)
        if not turn.plans:
            return None
        kept = Kept()
        try:
            async with self.settlement.reserve(own, turn.plans, 1, turn.claim) as tally:
                tally.seat, tally.final = turn.take(), False
                if tally.plan.output_cap == plan.output_cap:
                    await relay(chat, tally, kept, self.reach)
                else:
                    tally.failure = Failure(Fault.CONNECT, "its answer would have been shortened: not asked")
        finally:
            turn.give_back()
        return kept if tally.answered and tally.complete else None


def _model_of(ticket: Ticket, kept: Kept) -> Plan | None:
    """The plan that answered, by what its answer says of itself."""
    name = kept.headers.get("x-farebox-model")
    plans = (*ticket.decision.plans, *ticket.decision.below)  # a cascade's first is not among the chosen
    return next((plan for plan in plans if plan.model.name == name), None)


async def _score(checker: Checker, asked: bytes, answer: bytes, model: str, route: str) -> float | None:
    try:
        async with asyncio.timeout(CHECK_S):
            score = await checker.score(asked, answer, model, route)
    except Exception as error:  # noqa: BLE001 (the user's own code: whatever it does, an answer is not judged)
        log.warning("a checker failed", extra={"error": type(error).__name__, "route": route})
        return None
    return min(1.0, max(0.0, score)) if score is not None and score == score else None  # noqa: PLR0124 (NaN)
