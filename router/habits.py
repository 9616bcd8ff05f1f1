"""How long answers are, per route: what an output is expected to cost, and the most that one is likely to come to."""

from collections import deque
from collections.abc import Iterable

from router.stores.ports import Total

WEIGHT = 0.1  # of the newest answer: about twenty answers are remembered
BLOCK, BLOCKS = 64, 8  # the longest answer is kept of each of the last 8 times 64
ENOUGH = 30  # answers from which the longest says something of the next
SPARE = 1.25  # times the longest: of answers that are alike in kind, one in 500 goes beyond the longest of 512


class _Longest:
    """The longest of the last 512 to 575 answers."""

    __slots__ = ("_blocks", "_count", "seen")

    def __init__(self) -> None:
        self._blocks: deque[float] = deque(maxlen=BLOCKS + 1)
        self._count = 0
        self.seen = 0

    def add(self, tokens: float) -> None:
        if not self._count:
            self._blocks.append(tokens)
        self._blocks[-1] = max(self._blocks[-1], tokens)
        self._count = (self._count + 1) % BLOCK
        self.seen += 1

    @property
    def value(self) -> float:
        return max(self._blocks)


class Habits:
    """A running mean of output tokens, which begins with what the ledger has seen, and the longest of late.

    Per route and not per model, so that candidates are compared at the same length of answer: a model that nobody has
    asked yet must not look dear or cheap for it.
    """

    def __init__(self) -> None:
        self._means: dict[str, float] = {}
        self._longest: dict[str, _Longest] = {}

    def load(self, totals: Iterable[Total]) -> None:
        counts: dict[str, tuple[int, int]] = {}
        for total in totals:
            if total.outcome == "ok":
                tokens, answers = counts.get(total.route, (0, 0))
                counts[total.route] = (tokens + total.output + total.reasoning, answers + total.attempts)
        for route, (tokens, answers) in counts.items():
            if answers:  # and not only what was answered without a call
                self._means[route] = tokens / answers

    def observe(self, route: str, output_tokens: float) -> None:
        mean = self._means.get(route)
        self._means[route] = output_tokens if mean is None else mean + WEIGHT * (output_tokens - mean)
        self._longest.setdefault(route, _Longest()).add(output_tokens)

    def expected_output(self, route: str) -> int | None:
        """Tokens that an answer usually has; None if none was seen."""
        mean = self._means.get(route)
        return None if mean is None else round(mean)

    def likely_output(self, route: str) -> int | None:
        """Tokens beyond which an answer is not likely to go; None if too few were seen to tell."""
        longest = self._longest.get(route)
        return None if longest is None or longest.seen < ENOUGH else round(longest.value * SPARE) + 1
