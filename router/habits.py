"""How long answers usually are, per route: what an output is expected to cost before it is known."""

from collections.abc import Iterable

from router.stores.ports import Total

WEIGHT = 0.1  # of the newest answer: about twenty answers are remembered


class Habits:
    """A running mean of output tokens. Begins with what the ledger has seen.

    Per route and not per model, so that candidates are compared at the same length of answer: a model that nobody has
    asked yet must not look dear or cheap for it.
    """

    def __init__(self) -> None:
        self._means: dict[str, float] = {}

    def load(self, totals: Iterable[Total]) -> None:
        counts: dict[str, tuple[int, int]] = {}
        for total in totals:
            if total.outcome == "ok":
                tokens, answers = counts.get(total.route, (0, 0))
                counts[total.route] = (tokens + total.output + total.reasoning, answers + total.attempts)
        for route, (tokens, answers) in counts.items():
            self._means[route] = tokens / answers

    def observe(self, route: str, output_tokens: float) -> None:
        mean = self._means.get(route)
        self._means[route] = output_tokens if mean is None else mean + WEIGHT * (output_tokens - mean)

    def expected_output(self, route: str) -> int | None:
        """Tokens that an answer usually has; None if none was seen."""
        mean = self._means.get(route)
        return None if mean is None else round(mean)
