"""How much may be done in a time: token buckets, and the limits of one owner made of them.

A bucket refills smoothly and holds at most its size, so that in any interval of t seconds at most `size + rate * t` is
taken, wherever the interval begins: there is no edge of a window at which two windows' worth could pass. What is known
only afterwards (tokens) is taken as estimated, and put right when it is known; a bucket in debt lets nobody in until it
has been paid off. Nothing here reads a clock: `now` is in seconds on the measuring clock.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Literal

from router.core.catalog import UNLIMITED, RateLimits

NEARLY = 1e-9  # of a bucket's size: what a sum of refills may lack by rounding and is still full enough

What = Literal["", "requests", "tokens", "concurrent", "taken"]
"""Which of its limits keeps a request out; "taken": none of them, but others who came before it have a claim."""


@dataclass(slots=True)
class Bucket:
    """A token bucket; `level` is what it held at `at`."""

    size: float
    rate: float  # per second
    level: float
    at: float

    def look(self, now: float) -> float:
        """What it holds now; less than nothing while it is in debt."""
        if now > self.at:
            self.level = min(self.size, self.level + (now - self.at) * self.rate)
            self.at = now
        return self.level

    def wait(self, now: float, needed: float, ahead: float = 0.0) -> float:
        """Seconds until it holds `needed` for one after `ahead` has gone to others; 0 if it does. Who needs more than its
        size gets the whole of it, and leaves it in debt.
        """
        missing = ahead + min(needed, self.size) - self.look(now)
        return missing / self.rate if missing > NEARLY * self.size else 0.0

    def take(self, amount: float) -> None:
        """Take, also more than there is; give back what is less than nothing."""
        self.level = min(self.size, self.level - amount)

    def resize(self, size: float, now: float) -> None:
        """Another limit from now on: what was there stays, so that a change of the configuration gives no new burst."""
        self.level = min(size, self.look(now))
        self.size, self.rate = size, size / 60


def per_minute(amount: float, now: float) -> Bucket:
    """A full bucket that holds a minute's worth."""
    return Bucket(amount, amount / 60, amount, now)


@dataclass(slots=True)
class Limiter:
    """One owner's limits and how far they are used."""

    limits: RateLimits = UNLIMITED
    requests: Bucket | None = None
    tokens: Bucket | None = None
    inside: int = 0
    parts: int = 1

    def configure(self, limits: RateLimits, now: float, parts: int = 1) -> None:
        """Take over limits that may have changed: one of so many equal parts of them, where several processes keep to them."""
        if limits is self.limits and parts == self.parts:
            return
        self.requests = _changed(self.requests, limits.requests_per_minute, parts, now)
        self.tokens = _changed(self.tokens, limits.tokens_per_minute, parts, now)
        self.limits, self.parts = limits, parts

    @property
    def concurrent(self) -> int | None:
        """How many may be inside; one at least, or nobody could ever be."""
        most = self.limits.concurrent
        return None if most is None else max(1, most // self.parts)

    def wait(self, now: float, tokens: float, ahead: int = 0, tokens_ahead: float = 0.0) -> tuple[float, What]:
        """Seconds until it lets a request in, and what of: infinite where it is others that have to leave first.

        Args:
            now: when.
            tokens: what the request is expected to take.
            ahead: how many others are before it.
            tokens_ahead: what those are expected to take.

        """
        found: tuple[float, What] = 0.0, ""
        if self.requests is not None and (wait := self.requests.wait(now, 1, ahead)) > found[0]:
            found = wait, "requests"
        if self.tokens is not None and (wait := self.tokens.wait(now, tokens, tokens_ahead)) > found[0]:
            found = wait, "tokens"
        if self.concurrent is not None and self.inside + ahead >= self.concurrent:
            found = inf, "concurrent"
        return found

    def enter(self, now: float, tokens: float) -> None:
        """Let a request in."""
        self.inside += 1
        if self.requests is not None:
            self.requests.look(now)
            self.requests.take(1)
        if self.tokens is not None:
            self.tokens.look(now)
            self.tokens.take(tokens)

    def leave(self) -> None:
        """A request is over."""
        self.inside -= 1

    def correct(self, now: float, tokens: float) -> None:
        """So many tokens more, or less, than were taken."""
        if self.tokens is not None:
            self.tokens.look(now)
            self.tokens.take(tokens)

    def give_back(self, now: float, tokens: float) -> None:
        """A request that was let in is not made after all."""
        self.leave()
        if self.requests is not None:
            self.requests.look(now)
            self.requests.take(-1)
        self.correct(now, -tokens)

    def share(self, tokens: float) -> float:
        """The largest part of any of these limits that such a request takes: what it costs in a fair order."""
        parts = [0.0]
        if self.requests is not None:
            parts.append(1 / self.requests.size)
        if self.tokens is not None:
            parts.append(min(1.0, tokens / self.tokens.size))
        if self.concurrent is not None:
            parts.append(1 / self.concurrent)
        return max(parts)


def _changed(bucket: Bucket | None, limit: int | None, parts: int, now: float) -> Bucket | None:
    if limit is None:
        return None
    if bucket is None:
        return per_minute(limit / parts, now)
    bucket.resize(limit / parts, now)
    return bucket


def _nobody_waits() -> None:
    return None


@dataclass(slots=True)
class Seat:
    """What a request has been let in by, to be left once."""

    limiters: tuple[Limiter, ...]
    tokens: float  # that were taken for it
    key: str = field(default="", repr=False)  # the credential that goes with it
    freed: Callable[[], object] = _nobody_waits  # told that there may be room
    taken: bool = True

    def leave(self) -> None:
        """The request is over; safe to call twice."""
        if self.taken and self.limiters:
            for limiter in self.limiters:
                limiter.leave()
            self.freed()
        self.taken = False

    def give_back(self, now: float) -> None:
        """The request is not made after all; safe to call twice, and once it was left it does nothing."""
        if self.taken and self.limiters:
            for limiter in self.limiters:
                limiter.give_back(now, self.tokens)
            self.freed()
        self.taken = False

    def used(self, now: float, tokens: float) -> None:
        """It is known what the request has used."""
        if self.limiters and tokens != self.tokens:
            for limiter in self.limiters:
                limiter.correct(now, tokens - self.tokens)
            if tokens < self.tokens:
                self.freed()
            self.tokens = tokens
