"""Rate limits per team: requests, tokens and requests at once.

Buckets refill smoothly and hold a minute's worth. A request takes one from its bucket when it comes; tokens are taken
when they are known, after the answer, and a bucket in debt lets nobody in until it has been paid off.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from router.clock import Clock
from router.core.catalog import Caller
from router.core.entry import Entry
from router.core.errors import RateLimited


@dataclass(slots=True)
class Bucket:
    """A token bucket: `per_minute` is both its rate and its size."""

    per_minute: int
    level: float
    at: float  # seconds on the measuring clock

    def wait(self, now: float, needed: float) -> float:
        """Seconds until it holds `needed`; 0 if it does."""
        self.level = min(self.per_minute, self.level + (now - self.at) * self.per_minute / 60)
        self.at = now
        return max(0.0, (needed - self.level) * 60 / self.per_minute)

    def take(self, amount: float) -> None:
        """Take more or less than there is; it may go into debt."""
        self.level -= amount


class Gate:
    """Every team's buckets, for one process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: dict[tuple[str, str], Bucket] = {}
        self._inside: dict[str, int] = {}

    def _bucket(self, team: str, kind: str, per_minute: int) -> Bucket:
        bucket = self._buckets.get((team, kind))
        if bucket is None or bucket.per_minute != per_minute:
            bucket = self._buckets[team, kind] = Bucket(per_minute, per_minute, self._clock.seconds())
        return bucket

    @contextmanager
    def admit(self, caller: Caller) -> Iterator[None]:
        """The scope of one request. Raises `RateLimited`, with when to come back."""
        limits, now = caller.limits, self._clock.seconds()
        inside = self._inside.get(caller.team, 0)
        if limits.concurrent is not None and inside >= limits.concurrent:
            raise RateLimited(f"team {caller.team} has {inside} requests in flight, its limit", retry_after_s=1)
        if limits.tokens_per_minute is not None:
            tokens = self._bucket(caller.team, "tokens", limits.tokens_per_minute)
            if (wait := tokens.wait(now, 1)) > 0:
                raise RateLimited(
                    f"team {caller.team} has used its {limits.tokens_per_minute} tokens per minute", retry_after_s=wait
                )
        if limits.requests_per_minute is not None:
            requests = self._bucket(caller.team, "requests", limits.requests_per_minute)
            if (wait := requests.wait(now, 1)) > 0:
                raise RateLimited(
                    f"team {caller.team} has sent its {limits.requests_per_minute} requests per minute",
                    retry_after_s=wait,
                )
            requests.take(1)
        self._inside[caller.team] = inside + 1
        try:
            yield
        finally:
            self._inside[caller.team] -= 1

    def observe(self, entry: Entry, teams: Mapping[str, Caller]) -> None:
        """Take what an attempt has used."""
        team = teams.get(entry.attempt.team)
        if team is not None and team.limits.tokens_per_minute is not None:
            used = entry.usage.input_total + entry.usage.output_total
            self._bucket(team.team, "tokens", team.limits.tokens_per_minute).take(used)
