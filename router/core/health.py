"""Who is well enough to be asked: breakers and waits, per credential and per credential and model.

What a failure closes depends on what it says. No money on the account or a credential that is not accepted closes the
*credential*: no model answers behind it, and only somebody can mend that. A model that is not there for it, or may not
be asked, closes the credential for that *model*. A rate limit is no illness: it is waited out. Faults of the vendor's own
close after `STREAK` in a row.

Who is unwell is asked last, and one request at a time: when nobody else can serve a request, trying costs nobody anything
and tells the truth, while a crowd waiting for a dead vendor would take the service with it. After a while it has its place
again, still for one request at a time until one was answered. A limit that is configured here (`seats`) is another
matter: whoever has used it up is not asked at all. Nothing here reads a clock: `now` is in seconds on the measuring clock.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from router.core.buckets import Seat, What
from router.core.catalog import Access, Model
from router.core.failure import Failure, Fault
from router.core.seats import Need, Seats

CREDENTIALS = frozenset({Fault.AUTH, Fault.QUOTA_EXHAUSTED})
MODELS = frozenset({Fault.PERMISSION, Fault.NOT_FOUND})
OF_THE_KEY = CREDENTIALS | MODELS | {Fault.RATE_LIMITED}
"""Another credential of the same vendor may fare better."""
VENDORS = frozenset({Fault.OVERLOADED, Fault.SERVER, Fault.TIMEOUT, Fault.CONNECT, Fault.RESET, Fault.GARBAGE})

STREAK = 5  # a vendor that answers one request in ten with a 500 is not down; five in a row seldom come by chance
OPEN_S = {  # (first time, at most), doubled each time: money and keys are mended by people, models by them or by reload
    **dict.fromkeys(CREDENTIALS, (30.0, 600.0)),
    **dict.fromkeys(MODELS, (60.0, 600.0)),
    **dict.fromkeys(VENDORS, (5.0, 120.0)),
    Fault.RATE_LIMITED: (0.5, 30.0),  # only where the vendor does not say how long
}
LONGEST_S = 3600.0  # the most that a vendor's own word is taken for: it may also mean a date of another clock
PROBE_S = 1.0  # when to come back while one request tries the vendor


@dataclass(frozen=True, slots=True)
class Unwell:
    """Why a model is passed over for now."""

    fault: Fault
    wait_s: float  # infinite where it is others that have to end first
    busy: bool = False  # it is not asked at all: another request tries it just now, or its limit here is used up
    full: What = ""  # which of its limits is used up
    by: object = None  # that limit

    def __str__(self) -> str:
        if self.full == "concurrent":
            return "as many requests are under way as its limit allows"
        if self.full == "taken":
            return "others wait for it already"
        if self.full:
            return f"its {self.full} per minute are used up for another {self.wait_s:.1f} s"
        if self.fault is Fault.RATE_LIMITED:
            return f"rate limited by its vendor for another {self.wait_s:.1f} s"
        return f"its breaker is open ({self.fault}), tried again in {self.wait_s:.0f} s"


@dataclass(slots=True)
class _Breaker:
    """One credential, or one model behind it."""

    why: Fault | None = None  # None: closed
    until: float = 0.0
    times: int = 0  # in a row that it was opened
    streak: int = 0  # faults of the vendor's own in a row
    probing: bool = False

    def unwell(self, now: float) -> Unwell | None:
        if self.why is None:
            return None
        if now < self.until:
            return Unwell(self.why, self.until - now, self.probing)
        return Unwell(self.why, PROBE_S, busy=True) if self.probing else None

    def open(self, fault: Fault, now: float, told_s: float | None = None) -> None:
        least, most = OPEN_S[fault]
        wait = min(most, least * 2 ** min(self.times, 16)) if told_s is None else min(told_s, LONGEST_S)
        if self.why is fault and now < self.until:  # others that were under way come to the same end
            self.until = max(self.until, now + wait if told_s is not None else 0.0)
            return
        self.times += 1
        self.why, self.until = fault, now + wait


Key = tuple[str, str]  # base URL, credential
JUST_ONE = Need()


@dataclass(slots=True)
class Health:
    """What is known of every credential and model. Costs nothing to speak of while all is well."""

    _credentials: dict[Key, _Breaker] = field(default_factory=dict)
    _models: dict[tuple[Key, str], _Breaker] = field(default_factory=dict)
    _turns: dict[str, int] = field(default_factory=dict)
    seats: Seats = field(default_factory=Seats)

    def look(self, model: Model, now: float, need: Need = JUST_ONE, taken: set[int] | None = None) -> Unwell | None:
        """Why none of a model's credentials can be asked for it now; None if one can.

        Args:
            model: who would be asked.
            now: when.
            need: what the request is expected to take.
            taken: the limits that those who wait already have a claim to, by `id`; those that refuse are added.

        """
        if not self._credentials and not self._models and self.seats.idle(model):
            return None
        found: list[Unwell] = []
        for key in _keys(model.access):
            unwell = self._unwell(model, key, now, need, taken)
            if unwell is None:
                return None
            found.append(unwell)
        if taken is not None:
            taken.update(id(unwell.by) for unwell in found if unwell.by is not None)
        return min(found, key=lambda unwell: (unwell.busy, unwell.wait_s))

    def seat(self, model: Model, now: float, tokens: float, *, well: bool = False) -> Seat | None:
        """Take a credential, and room for a request of so many tokens; None if it may not be asked now, or if it has to be
        well and is not.
        """
        if not self._credentials and not self._models and self.seats.idle(model):
            return Seat((), tokens, self._in_turn(model)[0])
        key, unwell = self._best(model, now, tokens)
        if unwell is not None and (well or unwell.busy):
            return None
        self._asked(model, key, now)
        return self.seats.enter(model, key, now, tokens)

    def open_breakers(self, models: Iterable[Model], now: float) -> dict[tuple[str, str], bool]:
        """Which of these are not asked, by vendor and name."""
        return {(model.vendor, model.name): self.breaker_open(model, now) for model in models}

    def breaker_open(self, model: Model, now: float) -> bool:
        """Whether it is an illness, not only a wait, that keeps every credential from being asked."""
        keys = _keys(model.access)
        ill = [unwell for key in keys if (unwell := self._unwell(model, key, now)) is not None]
        return len(ill) == len(keys) and any(unwell.fault is not Fault.RATE_LIMITED for unwell in ill)

    def take(self, model: Model, now: float) -> str:
        """The credential for the next attempt: those that are well in turn, else the one that is so soonest."""
        key, _ = self._best(model, now, 1)
        self._asked(model, key, now)
        return key

    def _in_turn(self, model: Model) -> tuple[str, ...]:
        keys = _keys(model.access)
        if len(keys) > 1:
            at = self._turns[model.access.base_url] = (self._turns.get(model.access.base_url, -1) + 1) % len(keys)
            keys = (*keys[at:], *keys[:at])
        return keys

    def _best(self, model: Model, now: float, tokens: float) -> tuple[str, Unwell | None]:
        """The credential whose turn it is, and why it is unwell if none is well."""
        keys, need = self._in_turn(model), Need(tokens)
        if not self._credentials and not self._models and self.seats.idle(model):
            return keys[0], None
        best: tuple[str, Unwell] | None = None
        for key in keys:
            unwell = self._unwell(model, key, now, need)
            if unwell is None:
                return key, None
            if best is None or (unwell.busy, unwell.wait_s) < (best[1].busy, best[1].wait_s):
                best = key, unwell
        return best or (keys[0], None)

    def _asked(self, model: Model, key: str, now: float) -> None:
        """Where it is unwell, or has only been so, this request is the one that tries."""
        for breaker in self._breakers(model, key):
            ill = breaker.why not in {None, Fault.RATE_LIMITED}
            breaker.probing = breaker.probing or ill or now < breaker.until

    def give_back(self, model: Model, seat: Seat, now: float) -> None:
        """An attempt is not made after all."""
        for breaker in self._breakers(model, seat.key):
            breaker.probing = False
        self.seats.done(model, seat.key)
        seat.give_back(now)

    def tell(self, model: Model, key: str, failure: Failure | None, now: float, *, heard: bool) -> None:
        """What became of an attempt.

        Args:
            model: who was asked.
            key: with which credential.
            failure: how it failed; None if it did not, or if nobody waited for the end.
            now: when.
            heard: whether the client got an answer, or its beginning.

        """
        fault = failure.fault if failure is not None else None
        breakers = self._breakers(model, key)
        if fault in CREDENTIALS:
            self._credential(model.access, key).open(fault, now)
        elif failure is not None and (fault in MODELS or fault is Fault.RATE_LIMITED):
            self._model(model, key).open(failure.fault, now, failure.retry_after_s)
        elif fault in VENDORS:
            self._streak(model, key, fault, now)
        elif heard:
            self._forget(model, key)
        for breaker in breakers:
            breaker.probing = False  # whatever came of it: the next may try
        self.seats.done(model, key)

    def _streak(self, model: Model, key: str, fault: Fault, now: float) -> None:
        breaker = self._model(model, key)
        breaker.streak += 1
        if breaker.streak >= STREAK or breaker.why is not None:
            breaker.open(fault, now)

    def _forget(self, model: Model, key: str) -> None:
        """An answer: both are well."""
        place = (model.access.base_url, key)
        self._credentials.pop(place, None)
        self._models.pop((place, model.wire_name), None)

    def _unwell(
        self, model: Model, key: str, now: float, need: Need = JUST_ONE, taken: set[int] | None = None
    ) -> Unwell | None:
        found = [unwell for breaker in self._breakers(model, key) if (unwell := breaker.unwell(now)) is not None]
        ill = max(found, key=lambda unwell: unwell.wait_s, default=None)
        if self.seats.idle(model):
            return ill
        refused = self.seats.refused(model, key, now, need, taken)
        if refused is None or (ill is not None and refused.told):
            return ill
        busy = not refused.told or self.seats.trying(model, key)
        wait = refused.wait_s if ill is None else max(ill.wait_s, refused.wait_s)
        return Unwell(Fault.RATE_LIMITED if ill is None else ill.fault, wait, busy, refused.what, refused.by)

    def _breakers(self, model: Model, key: str) -> Sequence[_Breaker]:
        place = (model.access.base_url, key)
        both = self._credentials.get(place), self._models.get((place, model.wire_name))
        return [breaker for breaker in both if breaker is not None]

    def _credential(self, access: Access, key: str) -> _Breaker:
        return self._credentials.setdefault((access.base_url, key), _Breaker())

    def _model(self, model: Model, key: str) -> _Breaker:
        return self._models.setdefault(((model.access.base_url, key), model.wire_name), _Breaker())


def _keys(access: Access) -> tuple[str, ...]:
    return access.keys or ("",)
