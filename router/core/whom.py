"""Whom a prompt of some size would go to, asked of `policy.decide` as seldom as possible.

While no price changes, a candidate's expected cost is a straight line over the prompt's tokens, between the lengths at
which a price has another rate or a window is full. So a model that is the cheapest of two prompts, by more than rounding,
is the cheapest of every prompt between them: a decision is only made where two known ones do not settle it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from router.core.catalog import Caller, Candidate, ChatRequest, Endpoint, Model, Route, Wishes
from router.core.conditions import ANY
from router.core.currency import ExchangeRates
from router.core.errors import RouterError
from router.core.plan import DEFAULT_EXPECTED_OUTPUT, Market, Plan
from router.core.policy import Decision, decide
from router.core.prices import Timeline
from router.core.tokens import Learnt, Measure, Prompt

CLEAR = 2  # nano-units by which the cheapest has to be cheaper, at both ends, so that rounding decides nothing between


class Target(NamedTuple):
    """Where an attempt goes."""

    name: str  # vendor/model
    timeline: Timeline


class Unserved(NamedTuple):
    """Why an attempt goes nowhere."""

    why: str


@dataclass(frozen=True, slots=True)
class Change:
    """What is different."""

    stay: bool = False  # each attempt at the model that served it
    quality: float | None = None  # needed of every route, whatever route or team say
    vendors: Callable[[str], bool] = lambda _: True  # who may be asked


@dataclass(slots=True)
class _Stretch:
    """Sizes over which costs are straight lines, and what is known of it."""

    sizes: list[int] = field(default_factory=list)
    targets: list[tuple[Target | Unserved, bool]] = field(default_factory=list)  # (whom, by more than rounding)


@dataclass(slots=True)
class Known:
    """What is known of one route, need and kind of request while no price changes."""

    starts: list[int]  # of the stretches
    stretches: list[_Stretch]
    straight: bool  # costs are straight lines at all


class Chooser:
    """Whom the server would ask, as far as the ledger can tell: everybody is well, and nobody's wishes are known."""

    def __init__(self, rates: ExchangeRates, expected: Callable[[str], int | None], change: Change) -> None:
        self.rates = rates
        self.expected = expected
        self.change = change
        self.decided = 0

    def known(self, route: Route) -> Known:
        """Nothing yet."""
        habit = self.expected(route.name)
        habit = DEFAULT_EXPECTED_OUTPUT if habit is None else habit
        starts, straight = {0}, True
        for model in (*route.models, *route.fallback):
            if (window := model.context_window) is not None:
                starts |= {window - habit - 1, window - habit, window - habit + 1, window - 1, window, window + 1}
            for rates in (rates for price in model.timeline.prices for rates in price.rates):
                span = rates.when.input_tokens
                starts |= {span.above + 1, *(() if span.to is None else (span.to + 1,))}
                straight = straight and rates.when.output_tokens == ANY
        ordered = sorted(start for start in starts if start >= 0)
        return Known(ordered, [_Stretch() for _ in ordered], straight)

    def whom(self, known: Known, route: Route, caller: Caller, at: int, tokens: int, *, thinking: bool) -> Target | Unserved:  # fmt: skip
        """Who is asked."""
        stretch = known.stretches[bisect_right(known.starts, tokens) - 1]
        i = bisect_left(stretch.sizes, tokens)
        if i < len(stretch.sizes):
            (above, sure) = stretch.targets[i]
            if stretch.sizes[i] == tokens:
                return above
            if sure and i and stretch.targets[i - 1] == (above, True):
                return above
        found = self._decide(route, caller, at, tokens, thinking=thinking)
        stretch.sizes.insert(i, tokens)
        stretch.targets.insert(i, (found[0], found[1] and known.straight))
        return found[0]

    def settled(self, known: Known, low: int, high: int) -> bool:
        """Whether what is known settles all prompts between two that were asked for."""
        stretch = known.stretches[bisect_right(known.starts, low) - 1]
        first, last = bisect_right(stretch.sizes, low) - 1, bisect_left(stretch.sizes, high)
        if first < 0 or last == len(stretch.sizes):
            return False
        targets = stretch.targets[first : last + 1]
        return targets[0][1] and all(target == targets[0] for target in targets)

    def _decide(
        self, route: Route, caller: Caller, at: int, tokens: int, *, thinking: bool
    ) -> tuple[Target | Unserved, bool]:
        """(whom the server would ask, whether nobody else comes near)."""
        self.decided += 1
        models = dict.fromkeys((*route.models, *route.fallback))
        embeds = all(model.kind == "embedding" for model in route.models)
        endpoint: Endpoint = "embeddings" if embeds else "chat/completions"
        wishes = Wishes(quality=self.change.quality)
        chat = ChatRequest(endpoint, {}, route.name, Prompt(tokens=tokens), thinking=thinking, wishes=wishes)
        counts = dict.fromkeys((model.counting.encoding for model in models), 0)
        considered = tuple(Candidate(model, self._lost(model, embeds=embeds)) for model in models)
        market = Market(at, self.rates.at(at), self.expected, _as_billed)
        try:
            decision = decide(chat, route, caller, considered, Measure(chat.prompt, counts), market)
        except RouterError as error:
            return Unserved(f"{error.code}: no model of {route.name!r} can serve it"), True
        model = decision.plans[0].model
        return Target(f"{model.vendor}/{model.name}", model.timeline), _clear(decision)

    def _lost(self, model: Model, *, embeds: bool) -> str:
        if not self.change.vendors(model.vendor):
            return f"vendor {model.vendor} is not to be asked"
        return "" if embeds or model.kind == "chat" else "makes embeddings only"


def _clear(decision: Decision) -> bool:
    """Whether the cheapest is so by more than rounding. Those who compete come in the order of their costs; one who is
    cheaper than the first is there only in case it fails, and then so is whoever follows.
    """
    first = decision.plans[0]
    for other in decision.plans[1:]:
        gap = other.expected_nano - first.expected_nano
        if gap or not _same_cost(first, other):
            return gap < 0 or gap >= CLEAR
    return True


def _same_cost(one: Plan, other: Plan) -> bool:
    """Whether two cost the same to the last pico-unit. Then the first in the configuration is asked; and as costs are
    straight lines it is so too for prompts toward one for which the other is dearer.
    """
    return (
        one.price.currency == other.price.currency
        and one.price.rates == other.price.rates
        and one.tokens.tokens == other.tokens.tokens
        and one.expected_output == other.expected_output
    )


def _as_billed(model: Model, _cjk: bool, _tools: bool) -> Learnt:  # noqa: FBT001 (the port's signature)
    """The prompt's tokens are known: they were billed."""
    return Learnt(1.0, -float(model.counting.per_request), over=0.0)
