"""Is the promise still kept? Evidence against it from live labels, valid at every look.

An e-process: bets that losses are above ε, each started at every moment with a share 1/(k(k+1)) of the stake, so that a
change after a long good time is seen about as fast as one at the beginning. While the mean loss is at most ε, what the
bets own together ever reaches 1/δ with probability at most δ, however often and whenever it is looked at.
"""

from collections.abc import Mapping
from math import exp, frexp, isfinite, log
from typing import Any

BETS = (0.05, 0.1, 0.2, 0.35, 0.55, 0.8)


class Watch:
    """One route's watch. `observe` a loss per live label, sampled at random: flagship's score − the served model's, 0 if served by it."""

    def __init__(self, epsilon: float, delta: float, low: float = -1.0) -> None:
        if not 0 < epsilon < 1 or not 0 < delta < 1 or low > 0:
            raise ValueError("epsilon and delta are between 0 and 1, the least loss is at most 0")
        self.epsilon, self.delta, self.low = epsilon, delta, low
        self.labels = 0
        self.total = 0.0
        self.broken_at: int | None = None
        self._own = [0.0] * len(BETS)  # in units of exp(self._log)
        self._log = 0.0
        self._peak = 1.0

    def observe(self, loss: float) -> bool:
        """One more label. True if the promise is disproved, now or before."""
        if not (isfinite(loss) and self.low <= loss <= 1):
            raise ValueError(f"a loss is between {self.low:g} and 1, not {loss}")
        self.labels += 1
        self.total += loss
        started = exp(-self._log) / (self.labels * (self.labels + 1)) / len(BETS)
        stake = 1 / (self.epsilon - self.low)  # the boldest that the least loss does not ruin
        self._own = [
            (own + started) * (1 + bet * stake * (loss - self.epsilon))
            for own, bet in zip(self._own, BETS, strict=True)
        ]
        most = max(self._own)
        if most > 1e100 or most < 1e-100:
            shift = frexp(most)[1] * log(2)
            self._own = [own * exp(-shift) for own in self._own]
            self._log += shift
        self._peak = max(self._peak, self.evidence)
        if self.broken_at is None and self.evidence >= 1 / self.delta:
            self.broken_at = self.labels
        return self.broken

    @property
    def evidence(self) -> float:
        """What the bets own now, from a stake of 1; at 1/δ the promise is disproved. At most 1e300."""
        resting = 1 / (self.labels + 1)
        own = sum(self._own)
        grown = exp(min(690.0, self._log + log(own))) if own > 0 else 0.0
        return min(1e300, resting + grown)

    @property
    def broken(self) -> bool:
        """Disproved at some time; it stays so until there is a new certificate and a new watch."""
        return self.broken_at is not None

    @property
    def loss(self) -> float | None:
        """The mean loss of the labels; None before the first."""
        return self.total / self.labels if self.labels else None

    def dump(self) -> dict[str, Any]:
        """Its state, as JSON has it."""
        return {
            "version": 1, "epsilon": self.epsilon, "delta": self.delta, "low": self.low, "labels": self.labels,
            "total": self.total, "broken_at": self.broken_at, "own": self._own, "log": self._log, "peak": self._peak,
        }  # fmt: skip

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> "Watch":
        """The watch as it was."""
        if state.get("version") != 1 or len(state["own"]) != len(BETS):
            raise ValueError("the state of another version's watch")
        watch = cls(state["epsilon"], state["delta"], state["low"])
        watch.labels, watch.total, watch.broken_at = state["labels"], state["total"], state["broken_at"]
        watch._own, watch._log, watch._peak = list(state["own"]), state["log"], state["peak"]
        return watch
