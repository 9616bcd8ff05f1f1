"""Rate limits per team and per key: requests, tokens and requests at once.

A request takes one from its team's and its key's buckets, and as many tokens as it is expected to need; the rest is taken,
or given back, when its usage is known. Where there is no room it stands in its team's line, in which the keys take fair
turns, but only if its turn can come within the deadline; else it is told when to come back, and that is so: what all those
take who are in the line is counted in.
"""

from dataclasses import dataclass, field
from math import isfinite
from types import TracebackType
from typing import NamedTuple, Self

from router.clock import Clock
from router.core.buckets import Limiter, Seat, What
from router.core.catalog import UNLIMITED, Caller
from router.core.entry import Entry
from router.core.errors import RateLimited
from router.waiting import Lines

UNKNOWN_S = 1.0  # when to come back where it is others' requests that have to end: nobody knows when they will


class Want(NamedTuple):
    """What a request needs to be let in."""

    caller: Caller
    tokens: float


class _Found(NamedTuple):
    wait_s: float
    what: What
    limiter: Limiter
    name: str


@dataclass(slots=True)
class Gate:
    """Every team's and key's limits, for one process."""

    clock: Clock
    wait_s: float = 0.0  # how long a request may stand in line
    parts: int = 1  # processes that keep to the same limits, each to its part
    lines: Lines[Want] = field(init=False)
    _limiters: dict[str, Limiter] = field(default_factory=dict)
    _promised: dict[str, float] = field(default_factory=dict)  # tokens taken for requests that have no entry yet

    def __post_init__(self) -> None:
        self.lines = Lines(self.clock, self._enter, lambda _, seat: seat.give_back(self.clock.seconds()))

    def admit(self, caller: Caller, request_id: str, tokens: float) -> "Admission":
        """The scope of one request. Entering it may raise `RateLimited`, with when to come back."""
        return Admission(self, caller, request_id, tokens)

    def observe(self, entry: Entry) -> None:
        """Put right what was taken, now that it is known what an attempt has used."""
        if not self._limiters:
            return
        attempt, usage = entry.attempt, entry.usage
        more = usage.input_total + usage.output_total - self._promised.pop(attempt.request_id, 0.0)
        now = self.clock.seconds()
        for name in (attempt.team, f"{attempt.team}/{attempt.key}"):
            if (limiter := self._limiters.get(name)) is not None:
                limiter.correct(now, more)
        if more < 0:
            self.lines.wake(attempt.team)

    def _of(self, caller: Caller, now: float) -> list[tuple[str, Limiter]]:
        """The limits that apply, with whose they are: the key's, then the team's."""
        told = ((f"{caller.team}/{caller.key}", caller.key_limits), (caller.team, caller.limits))
        found = []
        for name, limits in told:
            if limits is not UNLIMITED:
                limiter = self._limiters.setdefault(name, Limiter())
                limiter.configure(limits, now, self.parts)
                found.append((name, limiter))
        return found

    def _longest(self, want: Want, now: float, before: list[Want]) -> _Found | None:
        """The limit that keeps a request out longest, after those who are before it; None if none does."""
        longest: _Found | None = None
        for name, limiter in self._of(want.caller, now):
            same = [one for one in before if name == one.caller.team or one.caller.key == want.caller.key]
            wait, what = limiter.wait(now, want.tokens, len(same), sum(one.tokens for one in same))
            if wait > 0 and (longest is None or wait > longest.wait_s):
                longest = _Found(wait, what, limiter, name)
        return longest

    def _enter(self, want: Want, claimed: set[int]) -> Seat | float:
        """Let somebody in from the line. Who is kept out by the team's limit has the next claim to it; who is kept out by its
        key's alone keeps nobody else out.
        """
        now = self.clock.seconds()
        limiters = [limiter for _, limiter in self._of(want.caller, now)]
        for limiter in limiters:
            wait, _ = limiter.wait(now, want.tokens)
            if not wait and id(limiter) in claimed:
                wait = float("inf")
            if wait > 0:
                claimed.add(id(limiter))
                return wait
        for limiter in limiters:
            limiter.enter(now, want.tokens)
        return Seat(tuple(limiters), want.tokens, freed=lambda: self.lines.wake(want.caller.team))

    async def _admit(self, want: Want) -> Seat:
        now, team = self.clock.seconds(), want.caller.team
        if not self.lines.is_open(team) and not isinstance(seat := self._enter(want, set()), float):
            return seat
        if self.wait_s > 0 and self._hopeful(want, now):
            cost = max((limiter.share(want.tokens) for _, limiter in self._of(want.caller, now)), default=1.0)
            waited = await self.lines.wait(team, want.caller.key, 1.0, cost, want, self.wait_s)
            if waited is not None:
                return waited
        raise _refusal(self._longest(want, self.clock.seconds(), self.lines.ahead(team)))

    def _hopeful(self, want: Want, now: float) -> bool:
        """Whether its turn may come in time."""
        found = self._longest(want, now, self.lines.before(want.caller.team, want.caller.key, 1.0))
        return found is None or found.wait_s <= self.wait_s or not isfinite(found.wait_s)


@dataclass(slots=True)
class Admission:
    """`async with gate.admit(...) as admission`: one request inside its team's limits."""

    gate: Gate
    caller: Caller
    request_id: str
    tokens: float
    asked: bool = False  # an attempt was made: an entry will tell what it used
    _seat: Seat | None = None

    async def __aenter__(self) -> Self:
        if self.caller.limits is not UNLIMITED or self.caller.key_limits is not UNLIMITED:
            self._seat = await self.gate._admit(Want(self.caller, self.tokens))  # noqa: SLF001 (two halves of one thing)
            self.gate._promised[self.request_id] = self.tokens  # noqa: SLF001
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._seat is None:
            return
        gate = self.gate
        if not self.asked and gate._promised.pop(self.request_id, None) is not None:  # noqa: SLF001
            self._seat.used(gate.clock.seconds(), 0)
        self._seat.leave()


def _refusal(found: _Found | None) -> RateLimited:
    if found is None:
        return RateLimited("too many requests wait for their turn", retry_after_s=UNKNOWN_S)
    limits, inside = found.limiter.limits, found.limiter.inside
    who = f"key {found.name}" if "/" in found.name else f"team {found.name}"
    told = {
        "tokens": f"has used its {limits.tokens_per_minute} tokens per minute",
        "requests": f"has sent its {limits.requests_per_minute} requests per minute",
    }.get(found.what, f"has {inside} requests in flight, its limit of {limits.concurrent}")
    return RateLimited(f"{who} {told}", retry_after_s=found.wait_s if isfinite(found.wait_s) else UNKNOWN_S)
