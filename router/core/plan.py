"""One candidate as an attempt that could be made: its price, its estimate, its output cap, what it may cost.

It reads no clock and asks nobody: the market is an argument, so that a plan can be made again and explained.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from router.core.catalog import ChatRequest, Model, Route
from router.core.health import Unwell
from router.core.money import Rate, nano_from_pico, show
from router.core.prices import Facts, Price, Quota, Unpriced, charge_pico_with_free
from router.core.tokens import Estimate, Learnt, Measure, estimate
from router.core.usage import Usage
from router.core.value import value

DEFAULT_OUTPUT_CAP = 4096  # what an answer may come to where neither the client, the route nor the price book says
DEFAULT_EXPECTED_OUTPUT = 256  # an ordinary chat answer, until the route's own habit is known


@value(eq=False)
class Plan:
    """One attempt as it would be made: whom to ask, at what price, with what output cap. Amounts are in pico-units of the
    price's currency unless they say otherwise.
    """

    model: Model
    price: Price
    facts: Facts
    tokens: Estimate
    output_cap: int  # per choice
    choices: int
    capped_by: str  # "client", "route", "model", "window", "default", "max_cost" or "budget": who set the cap
    input_pico: int  # most that the prompt can cost
    per_output_pico: int  # most that an output token can cost
    expected_nano: int  # expected cost in nano-units of the reporting currency
    expected_output: int  # per choice
    likely_output: int | None = None  # per choice: an answer is not likely to be longer; None: nobody knows
    expected_cached: int = 0  # of the prompt's tokens, those that it is expected to read from its cache
    warm_nano: int = 0  # how much less that is expected to cost, in `expected_nano` already

    @property
    def bound_pico(self) -> int:
        """The most that this attempt can cost if the vendor honours the cap."""
        return self.input_pico + self.per_output_pico * self.output_cap * self.choices

    @property
    def worth(self) -> int:
        """The output cap per choice that is worth waiting for: what an answer is likely to come to, or at least usually."""
        return self.expected_output if self.likely_output is None else self.likely_output

    def holds_at(self, at: int) -> bool:
        """Whether it is made at the price of this instant: a retry may begin, or money be waited for, past a change."""
        try:
            return self.model.timeline.at(at) is self.price
        except Unpriced:
            return False

    def bound_usage(self) -> Usage:
        return Usage(input_fresh=self.tokens.high, output_text=self.output_cap * self.choices)


def _nothing_known(_route: str) -> int | None:
    return None


def _all_well(_model: Model) -> Unwell | None:
    return None


def _all_cold(_model: Model, _tokens: int) -> int:
    return 0


def _nothing_free(_model: Model, _quota: Quota, _at: int) -> int:
    return 0


@value()
class Market:
    """What prices and habits look like to one decision."""

    at: int
    rates: Mapping[str, Rate]  # currency → reporting currency, at this instant
    expected_output: Callable[[str], int | None]  # route → tokens an answer usually has
    learnt: Callable[
        [Model, bool, bool], Learnt | None
    ]  # (model, CJK?, tools?) → what its bills have taught of its count
    free_left: Callable[[Model, Quota, int], int] = _nothing_free  # what is left of a free quota, in its unit
    unwell: Callable[[Model], Unwell | None] = _all_well  # why a model cannot be asked for now
    likely_output: Callable[[str], int | None] = _nothing_known  # route → tokens beyond which an answer seldom goes
    warm: Callable[[Model, int], int] = _all_cold  # (model, the prompt's tokens) → those of them that are in its cache


def plan_of(chat: ChatRequest, route: Route, model: Model, measure: Measure, market: Market) -> tuple[Plan | None, str]:
    """The attempt that this model would be, or why it cannot be made."""
    learnt = market.learnt(model, measure.cjk, measure.prompt.tools)
    tokens = estimate(measure, model.counting, learnt)
    if measure.prompt.unseen:
        if model.context_window is None:
            return None, "the vendor adds to its prompt what is not seen here, and its window is not known: no bound"
        tokens = tokens._replace(high=max(tokens.high, model.context_window), exact=False)
    if model.context_window is not None and tokens.tokens > model.context_window:
        return None, f"the prompt of about {tokens.tokens} tokens does not fit its window of {model.context_window}"
    cap, capped_by = _cap(chat, route, model, tokens)
    facts = Facts(market.at, tokens.tokens, 0, chat.thinking, chat.service_tier)
    try:
        price = model.timeline.at(market.at)
        input_pico, per_output = price.bounds_pico(tokens.low, tokens.high, cap, facts.service_tier)
        habit = market.expected_output(route.name)
        expected = 0 if not cap else max(1, min(cap, DEFAULT_EXPECTED_OUTPUT if habit is None else habit))
        free = market.free_left(model, price.quota, market.at) if price.quota else 0
        cached = min(tokens.tokens, market.warm(model, tokens.tokens))
        expected_pico = cold_pico = _expected_pico(price, facts, expected * chat.choices, free)
        if cached and not free:
            expected_pico = _expected_pico(price, facts, expected * chat.choices, 0, cached)
    except Unpriced as error:
        return None, f"unpriced: {error}"
    rate = market.rates.get(price.currency)
    if rate is None:
        return None, f"unpriced: no exchange rate for {price.currency}"
    expected_nano = nano_from_pico(expected_pico, rate)
    likely, warm_nano = (
        market.likely_output(route.name),
        nano_from_pico(cold_pico, rate) - expected_nano if cached else 0,
    )
    plan = Plan(  # in the order of its fields, since names cost four times as much
        model, price, facts, tokens, cap, chat.choices, capped_by, input_pico, per_output, expected_nano, expected,
        likely, cached, warm_nano,
    )  # fmt: skip
    return within(plan, chat.wishes.max_cost, rate)


def cold(plan: Plan) -> int:
    """What it is expected to cost if nothing is in its cache."""
    return plan.expected_nano + plan.warm_nano


def _expected_pico(price: Price, facts: Facts, output: int, free: int, cached: int = 0) -> int:
    """What an answer of this length would cost, with so much of the price's free quota left or so many tokens in the
    vendor's cache.
    """
    if cached:
        usage = Usage(input_fresh=facts.input_tokens - cached, cache_read=cached, output_text=output)
        return price.cost_pico(usage, replace(facts, output_tokens=output))
    if free and price.quota is not None:
        usage = Usage(input_fresh=facts.input_tokens, output_text=output)
        whole = price.quota.unit == "requests"
        return 0 if whole else charge_pico_with_free(price, usage, replace(facts, output_tokens=output), free)
    flat = price.flat if facts.service_tier is None else None
    if flat is not None and flat.by_token_alone:  # both are known: the usual case, without detours
        return facts.input_tokens * (flat.input or 0) + output * (flat.output or 0)
    usage = Usage(input_fresh=facts.input_tokens, output_text=output)
    return price.cost_pico(usage, replace(facts, output_tokens=output))


def _cap(chat: ChatRequest, route: Route, model: Model, tokens: Estimate) -> tuple[int, str]:
    """The most output tokens per choice, and who says so."""
    if chat.endpoint == "embeddings":
        return 0, "client"
    least, who = chat.output_cap, "client"
    for cap, other in ((route.max_output_tokens, "route"), (model.max_output, "model")):
        if cap is not None and (least is None or cap < least):
            least, who = cap, other
    if chat.output_cap is None and model.context_window is not None:
        window = max(1, model.context_window - tokens.high)
        if least is None:
            return (window, "window") if window <= DEFAULT_OUTPUT_CAP else (DEFAULT_OUTPUT_CAP, "default")
        return (window, "window") if window < least else (least, who)
    return (DEFAULT_OUTPUT_CAP, "default") if least is None else (least, who)


def within(plan: Plan, most: int | None, rate: Rate) -> tuple[Plan, str]:
    """The plan, made smaller if need be, so that it cannot cost more than `most` nano-units of the reporting currency; or why
    it cannot be.
    """
    if most is None or nano_from_pico(plan.bound_pico, rate) <= most:
        return plan, ""
    bound = show(nano_from_pico(plan.bound_pico, rate))
    if plan.capped_by != "client" and plan.per_output_pico:
        pico = most * 1000 * rate.denominator // rate.numerator
        cap = (pico - plan.input_pico) // (plan.per_output_pico * plan.choices)
        if cap >= 1:
            return shrunk(plan, cap, "max_cost"), ""
    return plan, f"could cost up to {bound}, above max_cost {show(most)}"


def shrunk(plan: Plan, cap: int, who: str) -> Plan:
    """The same attempt with a lower output cap."""
    return replace(plan, output_cap=cap, capped_by=who, expected_output=min(plan.expected_output, cap))


def renewed(
    plans: Sequence[Plan], at: int, rates: Mapping[str, Rate], max_cost: int | None
) -> tuple[tuple[Plan, ...], str]:
    """The same attempts at the prices of a later instant, without those that have none then or could cost more than they
    may; and why the last one could.
    """
    out, why = [], ""
    for plan in plans:
        facts, tokens = replace(plan.facts, at=at), plan.tokens
        try:
            price = plan.model.timeline.at(at)
            most = price.bounds_pico(tokens.low, tokens.high, plan.output_cap, facts.service_tier)
        except Unpriced:
            continue
        if price.currency == plan.price.currency:  # whose exchange rate is known
            own = replace(plan, price=price, facts=facts, input_pico=most[0], per_output_pico=most[1])
            own, dear = within(own, max_cost, rates[price.currency])
            if dear:
                why = f"{plan.model.name}: {dear}"
            else:
                out.append(own)
    return tuple(out), why
