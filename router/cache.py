"""Never paying twice: answers that are kept, and identical requests that share one call.

A request whose route has a `cache` gets the answer that its team got before for the very same request, while that is
young enough; while that is still on its way it reads along. Either way it is a row of its own, numbered 0 as no call was
made, which costs nothing, holds nothing and tells what was saved. Answers that failed, broke off, met a cap of ours or came
from a later candidate are passed on but not kept.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from router.clock import Clock, Stopwatch
from router.core.answers import Answer, at_no_cost
from router.core.cachekey import asked_to_skip, cache_key, uncached
from router.core.catalog import CacheRule
from router.core.entry import Attempt, Entry, Outcome
from router.core.errors import Overloaded
from router.core.usage import Usage
from router.flight import Flight, Place
from router.relay import ClientLeft, Reply
from router.settlement import Settlement
from router.stores.ports import Answers, StoreDown
from router.tally import OPERATIONS, Ticket
from router.told import one_line

log = logging.getLogger("farebox.cache")

FOLLOWED = 2  # calls of others that a request waits for and that come to nothing, before it makes its own alone

Call = Callable[[Reply], Awaitable[None]]


@dataclass(slots=True)
class Shelf:
    """One route's answers in memory: the one that was used longest ago goes first."""

    size: int = 0
    answers: OrderedDict[bytes, Answer] = field(default_factory=OrderedDict)

    def get(self, key: bytes, oldest: int) -> Answer | None:
        answer = self.answers.get(key)
        if answer is None:
            return None
        if answer.at <= oldest:
            self.drop(key)
            return None
        self.answers.move_to_end(key)
        return answer

    def put(self, key: bytes, answer: Answer, most: int) -> None:
        self.drop(key)
        self.answers[key] = answer
        self.size += answer.size
        while self.size > most:
            self.drop(next(iter(self.answers)))

    def drop(self, key: bytes) -> None:
        if (answer := self.answers.pop(key, None)) is not None:
            self.size -= answer.size


@dataclass(slots=True)
class Cache:
    """Every route's answers and the calls that are on their way."""

    settlement: Settlement
    clock: Clock
    store: Answers | None = None
    _shelves: dict[str, Shelf] = field(default_factory=dict)
    _flights: dict[bytes, Flight] = field(default_factory=dict)  # that can be joined
    _open: dict[str, tuple[bytes, Flight, CacheRule]] = field(default_factory=dict)  # by request
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def answer(
        self, ticket: Ticket, headers: Mapping[str, str], reply: Reply, call: Call, watch: Stopwatch
    ) -> None:
        """Answer a request by what is kept, by a call that is on its way, or by making it. Raises what the call raises."""
        rule = ticket.decision.route.cache
        if rule is None:
            await call(reply)
            return
        anew, never = asked_to_skip(headers)
        key = None if never or uncached(ticket.chat, rule) else _key(ticket)
        if key is None:
            await call(reply)
        elif anew:
            await self._lead(key, rule, ticket, reply, call, joined=False)
        else:
            await self._shared(key, rule, ticket, reply, call, watch)

    async def _shared(
        self, key: bytes, rule: CacheRule, ticket: Ticket, reply: Reply, call: Call, watch: Stopwatch
    ) -> None:
        followed = 0
        until = self.clock.seconds() + ticket.decision.plans[0].model.access.timeouts.first_byte
        while True:
            if (answer := self._shelf(ticket).get(key, self._oldest(rule))) is not None:
                await self._give(answer, ticket, reply, watch)
                return
            flight = self._flights.get(key)
            if flight is None or flight.full:
                if await self._lead(key, rule, ticket, reply, call):
                    return
            elif followed == FOLLOWED or self.clock.seconds() >= until:
                await call(reply)
                return
            elif flight.ended:  # it may be kept in a moment
                await self._in_time(asyncio.shield(flight.entry), until, watch)
            elif await self._follow(flight, ticket, reply, until, watch):
                return
            else:
                followed += 1

    async def _in_time(self, what: Awaitable[object], until: float, watch: Stopwatch) -> None:
        """Wait for something, but no longer than this; it is not our own time."""
        watch.pause()
        late: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        alarm = self.clock.later(max(0.0, until - self.clock.seconds()), late.cancel)
        task: asyncio.Future[object] = asyncio.ensure_future(what)
        try:
            await asyncio.wait([task, late], return_when=asyncio.FIRST_COMPLETED)
        finally:
            alarm.cancel()
            task.cancel()
            watch.resume()

    def _shelf(self, ticket: Ticket) -> Shelf:
        return self._shelves.setdefault(ticket.decision.route.name, Shelf())

    def _oldest(self, rule: CacheRule) -> int:
        return self.clock.now() - int(rule.ttl_s * 1_000_000)

    def keep_only(self, rules: Mapping[str, CacheRule | None]) -> None:
        """The configuration has changed: forget the routes that are gone or keep nothing any more."""
        self._shelves = {name: shelf for name, shelf in self._shelves.items() if rules.get(name) is not None}

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.store is not None:
            await self.store.close()

    # Calling

    async def _lead(
        self, key: bytes, rule: CacheRule, ticket: Ticket, reply: Reply, call: Call, *, joined: bool = True
    ) -> bool:
        """Make the call, for everybody who asks the same meanwhile; False if the store had the answer after all."""
        flight, place = Flight(ticket, rule.max_answer_bytes), Place()
        flight.places.add(place)
        self._open[ticket.id] = key, flight, rule
        if joined:
            self._flights[key] = flight
        task = asyncio.get_running_loop().create_task(self._run(key, flight, rule, call, look=joined))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            if await flight.begun():
                await _read(flight, place, reply, {**(flight.head or {}), "x-farebox-cache": "miss"}, free=False)
        finally:
            flight.leave(place)
        await asyncio.shield(task)
        if flight.error is not None:
            raise flight.error
        return flight.head is not None

    async def _run(self, key: bytes, flight: Flight, rule: CacheRule, call: Call, *, look: bool) -> None:
        """The call itself, which no client's leaving cancels. What it raises is in the flight."""
        error: BaseException | None = None
        try:
            if look and await self._found(key, flight.ticket, rule):
                return
            await call(flight)
        except ClientLeft as left:
            error = left if flight.head is None else None
        except Exception as told:  # noqa: BLE001 (it is the client's that asked first, and raised there)
            error = told
        except asyncio.CancelledError:
            error = ClientLeft()
            raise
        finally:
            flight.end(error)
            if flight.head is None or flight.full or not flight.places:
                self._leave_out(key, flight)
            if flight.head is None:
                self._close(flight, None)

    async def _found(self, key: bytes, ticket: Ticket, rule: CacheRule) -> bool:
        """Whether the store has the answer, which is in memory then."""
        if self.store is None or not rule.max_store_bytes:
            return False
        found = await self.store.get(key, self._oldest(rule))
        if found is not None:
            self._shelf(ticket).put(key, found, rule.max_bytes)
        return found is not None

    def _leave_out(self, key: bytes, flight: Flight) -> None:
        """Nobody joins it any more."""
        if self._flights.get(key) is flight:
            del self._flights[key]

    def _close(self, flight: Flight, entry: Entry | None) -> None:
        self._open.pop(flight.ticket.id, None)
        if not flight.entry.done():
            flight.entry.set_result(entry)

    def observe(self, entry: Entry) -> None:
        """An attempt is over and written down: if it answered a shared call, keep the answer."""
        found = self._open.get(entry.attempt.request_id)
        if found is None or entry.attempt.kept or not entry.final:  # another attempt answers, or tells that nobody does
            return
        key, flight, rule = found
        if entry.outcome == "error":
            if flight.head is not None:
                self._leave_out(key, flight)
                self._close(flight, None)
            return
        if _is_worth_keeping(entry, flight):  # all of it was passed on before it was written down
            answer = _answer(entry, flight)
            self._shelf(flight.ticket).put(key, answer, rule.max_bytes)
            if self.store is not None and rule.max_store_bytes:
                route = flight.ticket.decision.route.name
                self.settlement.own(self.store.put(key, route, answer, rule.max_store_bytes, self._oldest(rule)))
        self._leave_out(key, flight)
        self._close(flight, entry)

    # Answering without a call

    async def _follow(self, flight: Flight, ticket: Ticket, reply: Reply, until: float, watch: Stopwatch) -> bool:
        """Read along with a call; False if there is no answer, or if it has not begun in time."""
        place = Place()
        flight.places.add(place)
        try:
            await self._in_time(flight.begun(), until, watch)
            if flight.head is None:
                return False
            seen = _seen(flight)
            async with self._row(ticket, seen, flight.entry, watch):
                await _read(flight, place, reply, _headers(ticket, seen), free=True)
        finally:
            flight.leave(place)
        return True

    async def _give(self, answer: Answer, ticket: Ticket, reply: Reply, watch: Stopwatch) -> None:
        """An answer that is kept."""
        age = max(0, self.clock.now() - answer.at) // 1_000_000
        head = {**_headers(ticket, answer), "age": str(age)}
        async with self._row(ticket, answer, None, watch):
            if not answer.streamed:
                await reply.send(200, answer.body, head)
                return
            await reply.begin(head)
            for piece in answer.pieces():
                await reply.write(piece)

    @asynccontextmanager
    async def _row(
        self, ticket: Ticket, seen: Answer, call: "asyncio.Future[Entry | None] | None", watch: Stopwatch
    ) -> AsyncIterator[None]:
        """The scope of an answer without a call: one row at no cost, whatever becomes of it. `call` is known once the call
        whose answer it is has been written down; None: it was long ago.
        """
        attempt, began = _attempt(ticket, seen, self.clock.now()), self.clock.seconds()
        outcome: Outcome = "left"
        try:
            await self.settlement.ledger.open(attempt)
        except StoreDown as error:
            log.error("an answer could not be written down, so it is not given", extra={"error": str(error)})  # noqa: TRY400 (the cause is in the message)
            raise Overloaded("the ledger cannot be written; nothing is served unrecorded", retry_after_s=5) from None
        except BaseException:  # cancelled while the row was being written
            self.settlement.own(self._close_row(attempt, outcome, 0, 0, None))
            raise
        watch.pause()  # the client takes it at its own pace
        try:
            yield
            outcome = "ok"
        finally:
            took_ms = round((self.clock.seconds() - began) * 1000)
            self.settlement.own(self._close_row(attempt, outcome, took_ms, seen.flagship_cost, call))

    async def _close_row(
        self,
        attempt: Attempt,
        outcome: Outcome,
        took_ms: int,
        flagship: int,
        call: "asyncio.Future[Entry | None] | None",
    ) -> None:
        if call is not None and (entry := await asyncio.shield(call)) is not None:
            flagship = entry.flagship_cost
            outcome = "cut" if outcome == "ok" and entry.outcome == "cut" else outcome
        entry = Entry(attempt, outcome, "reported", Usage(), 0, 0, flagship, (), total_ms=took_ms)
        await self.settlement.write(entry)


async def _read(flight: Flight, place: Place, reply: Reply, head: Mapping[str, str], *, free: bool) -> None:
    """One client's share of a call. Raises `ClientLeft`."""
    if not flight.streamed:
        body = await flight.next(place) or b""
        await reply.send(flight.status, at_no_cost(body) if free else body, head)
        return
    await reply.begin(head)
    while (piece := await flight.next(place)) is not None:
        await reply.write(at_no_cost(piece) if free else piece)


def _key(ticket: Ticket) -> bytes | None:
    decision = ticket.decision
    models = (f"{plan.model.vendor}/{plan.model.name}/{plan.model.wire_name}" for plan in decision.plans)
    route = f"{decision.route.name} {ticket.currency}"
    return cache_key(ticket.chat, ticket.caller.team, route, decision.need, models)


def _seen(flight: Flight) -> Answer:
    """What is known of an answer while it comes."""
    head = flight.head or {}
    plan = next(plan for plan in flight.ticket.decision.plans if one_line(plan.model.name) == head["x-farebox-model"])
    return Answer(
        at=0, request_id=flight.ticket.id, model=plan.model.name, vendor=plan.model.vendor, tier=str(plan.model.tier),
        price=plan.price.label, vendor_currency=plan.price.currency, flagship_cost=0, streamed=flight.streamed,
        content_type=head.get("content-type", "application/json"), body=b"",
    )  # fmt: skip


def _answer(entry: Entry, flight: Flight) -> Answer:
    """The whole of it, as it is kept from now on."""
    body = b"".join(map(at_no_cost, flight.pieces))
    price, at = entry.attempt.price, entry.attempt.at + 1000 * (entry.total_ms or 0)
    return replace(_seen(flight), at=at, price=price, flagship_cost=entry.flagship_cost, body=body)


def _is_worth_keeping(entry: Entry, flight: Flight) -> bool:
    """Whether an answer is whole, and no worse than the next one would be: by the first candidate, which was given all the
    room that the request or the route leaves it and did not need more.
    """
    attempt, chat = entry.attempt, flight.ticket.chat
    if entry.outcome != "ok" or attempt.number != 1 or flight.full or flight.error is not None:
        return False
    plan = next((plan for plan in flight.ticket.decision.plans if plan.model.name == attempt.model), None)
    if plan is None or plan.capped_by == "max_cost":
        return False
    if chat.endpoint == "embeddings":
        return True
    room, written = attempt.bound.output_text or 0, entry.usage.output_total
    if not written or room < plan.output_cap * plan.choices:
        return False
    return written < room or plan.capped_by in {"client", "model", "window"}


def _headers(ticket: Ticket, seen: Answer) -> dict[str, str]:
    """What an answer without a call says about itself."""
    return {
        "content-type": seen.content_type,
        "server": "farebox",
        "x-farebox-request-id": ticket.id,
        "x-farebox-model": one_line(seen.model),
        "x-farebox-vendor": one_line(seen.vendor),
        "x-farebox-tier": seen.tier,
        "x-farebox-reason": _reason(seen),
        "x-farebox-cost": "0",
        "x-farebox-cache": "hit",
    }


def _reason(seen: Answer) -> str:
    return f"cache: the answer of {seen.request_id}"


def _attempt(ticket: Ticket, seen: Answer, now: int) -> Attempt:
    """The row of an answer without a call, as it is written down before the answer is given: nothing is held for it."""
    return Attempt(
        id=f"{ticket.id}.0",
        request_id=ticket.id,
        number=0,
        at=now,
        team=ticket.caller.team,
        key=ticket.caller.key,
        route=ticket.decision.route.name,
        model=seen.model,
        vendor=seen.vendor,
        tier=seen.tier,
        price=seen.price,
        currency=ticket.currency,
        vendor_currency=seen.vendor_currency,
        held=0,
        held_vendor=0,
        held_flagship=0,
        holds=(),
        bound=Usage(),
        reason=_reason(seen),
        tags=ticket.chat.wishes.tags,
        operation=OPERATIONS[ticket.chat.endpoint],
    )
