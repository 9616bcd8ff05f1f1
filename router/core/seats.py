"""Room at vendors: the limits of each credential, and of each model behind it, as configured here and as the vendor tells.

A configured limit is never exceeded. What a vendor's headers tell is a picture that may be out of date, or wrong: who
has nobody else to ask may try all the same, one at a time (`health`). Every credential has limits of its own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from router.core.buckets import Bucket, Limiter, Seat, What
from router.core.catalog import UNLIMITED, Model

Place = tuple[str, str, str]
"""Where, with which credential, and which model: for what is configured by the vendor's name and the model's, or "" for all
models together, for what is learnt by the address and the name that the vendor knows.
"""


SOON_S = 0.05  # when to look again where it is only that others go first


class Need(NamedTuple):
    """What a request is expected to take, and who is before it at its vendor: a model's name and what that is to take."""

    tokens: float = 1.0
    ahead: Sequence[tuple[str, float]] = ()


class Refused(NamedTuple):
    """There is no room."""

    wait_s: float  # infinite where others have to leave first
    what: What
    by: object  # that limit
    told: bool = False  # it is not configured here: only the vendor has told of it


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a vendor says is left of one of its limits."""

    limit: float
    remaining: float
    reset_s: float | None = None  # until all of it is there again


@dataclass(frozen=True, slots=True)
class Told:
    """What an answer's headers say of its vendor's limits; None is not told."""

    requests: Allowance | None = None
    tokens: Allowance | None = None


@dataclass(slots=True)
class _Learnt:
    sent: float  # when the request was sent whose answer told it
    requests: Bucket | None
    tokens: Bucket | None
    probing: bool = False

    def wait(self, now: float, tokens: float, ahead: int = 0, tokens_ahead: float = 0.0) -> tuple[float, What]:
        """As a limiter's, but without a bound on requests at once."""
        most = self.requests.wait(now, 1, ahead) if self.requests is not None else 0.0
        other = self.tokens.wait(now, tokens, tokens_ahead) if self.tokens is not None else 0.0
        return (most, "requests") if most >= other else (other, "tokens")


@dataclass(slots=True)
class Seats:
    """Every vendor's limits in this process, which is one of so many `parts` that keep to them."""

    parts: int = 1
    _limiters: dict[Place, Limiter] = field(default_factory=dict)
    _learnt: dict[Place, _Learnt] = field(default_factory=dict)

    def idle(self, model: Model) -> bool:
        """Whether nothing limits it, which costs two comparisons to find out."""
        return not self._learnt and model.limits is UNLIMITED and model.access.limits is UNLIMITED

    def refused(self, model: Model, key: str, now: float, need: Need, taken: set[int] | None = None) -> Refused | None:
        """Why there is no room for such a request with this credential; None if there is. Limits that are `taken` (by
        `id`) have none to give.
        """
        found: Refused | None = None
        for name, limiter in self._of(model, key, now):
            claimed = taken is not None and id(limiter) in taken
            if not claimed and not limiter.wait(now, need.tokens)[0]:
                continue
            wait, what = limiter.wait(now, need.tokens, *_ahead(need, name))
            if found is None or wait > found.wait_s:
                found = Refused(wait or SOON_S, what if wait else "taken", limiter)
        learnt = self._learnt.get((model.access.base_url, key, model.wire_name))
        if found is None and learnt is not None:
            claimed = taken is not None and id(learnt) in taken
            if claimed or learnt.wait(now, need.tokens)[0]:
                wait, what = learnt.wait(now, need.tokens, *_ahead(need, model.name))
                return Refused(wait or SOON_S, what if wait else "taken", learnt, told=True)
        return found

    def trying(self, model: Model, key: str) -> bool:
        """Whether a request is trying it just now against the vendor's word."""
        learnt = self._learnt.get((model.access.base_url, key, model.wire_name))
        return learnt is not None and learnt.probing

    def enter(self, model: Model, key: str, now: float, tokens: float) -> Seat:
        """Take what the request is expected to use."""
        limiters = tuple(limiter for _, limiter in self._of(model, key, now))
        for limiter in limiters:
            limiter.enter(now, tokens)
        learnt = self._learnt.get((model.access.base_url, key, model.wire_name))
        if learnt is not None:
            learnt.probing = learnt.wait(now, tokens)[0] > 0 or learnt.probing
            if learnt.requests is not None:
                learnt.requests.take(1)
            if learnt.tokens is not None:
                learnt.tokens.take(tokens)
        return Seat(limiters, tokens, key)

    def told(self, model: Model, key: str, told: Told, sent: float, now: float) -> None:
        """What an answer says is left. An older answer that comes later says nothing new."""
        place = (model.access.base_url, key, model.wire_name)
        before = self._learnt.get(place)
        if before is not None and sent < before.sent:
            return
        requests, tokens = _bucket(told.requests, now), _bucket(told.tokens, now)
        if requests is None and tokens is None:
            self._learnt.pop(place, None)
            return
        self._learnt[place] = _Learnt(sent, requests, tokens, before is not None and before.probing)

    def done(self, model: Model, key: str) -> None:
        """An attempt is over, whatever came of it: the next may try."""
        learnt = self._learnt.get((model.access.base_url, key, model.wire_name))
        if learnt is not None:
            learnt.probing = False

    def share(self, model: Model, now: float, tokens: float) -> float:
        """What a request costs in a fair order: its largest part of any limit; 1 where there is none."""
        key = model.access.keys[0] if model.access.keys else ""  # all have the same limits
        return max((limiter.share(tokens) for _, limiter in self._of(model, key, now)), default=0.0) or 1.0

    def _of(self, model: Model, key: str, now: float) -> Iterator[tuple[str, Limiter]]:
        """The limits that are configured for it, with the name of the model whose they are; "" for all of the credential."""
        access = model.access
        for limits, name in ((access.limits, ""), (model.limits, model.name)):
            if limits is not UNLIMITED:
                limiter = self._limiters.setdefault((model.vendor, key, name), Limiter())
                limiter.configure(limits, now, self.parts)
                yield name, limiter


def _ahead(need: Need, name: str) -> tuple[int, float]:
    """How many are before a request at a limit, and what they take in tokens."""
    same = [tokens for model, tokens in need.ahead if name in {"", model}]
    return len(same), sum(same)


def _bucket(told: Allowance | None, now: float) -> Bucket | None:
    """What is left of a limit as a bucket that will be full when the vendor says so; None if it is full, or unreadable."""
    if told is None or told.limit <= 0 or told.remaining >= told.limit:
        return None
    remaining = max(0.0, told.remaining)
    # Not told when: these limits are per minute.
    rate = told.limit / 60 if told.reset_s is None else (told.limit - remaining) / max(told.reset_s, 0.001)
    return Bucket(told.limit, rate, remaining, now) if rate > 0 else None  # so small that it rounds to nothing
