"""The choice: the cheapest model that is good enough, and why.

`decide` looks at every candidate and puts those that will do in the order in which they are tried. It reads no clock and
asks nobody: price, estimate and habits are arguments, so a decision can be replayed and explained.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from router.core.catalog import Caller, Candidate, ChatRequest, Model, Route, Tier
from router.core.errors import ContextTooLong, InvalidRequest, NotAllowed, OverBudget
from router.core.health import Unwell
from router.core.money import Rate, nano_from_pico, show
from router.core.prices import Facts, Price, Quota, Unpriced, charge_pico_with_free
from router.core.tokens import Estimate, Learnt, Measure, estimate
from router.core.usage import Usage

DEFAULT_OUTPUT_CAP = 4096  # what an answer may come to where neither the client, the route nor the price book says
DEFAULT_EXPECTED_OUTPUT = 256  # an ordinary chat answer, until the route's own habit is known


@dataclass(frozen=True, slots=True, eq=False)
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

    def holds_at(self, at: int) -> bool:
        """Whether it is made at the price of this instant: a retry may begin, or money be waited for, past a change."""
        try:
            return self.model.timeline.at(at) is self.price
        except Unpriced:
            return False

    def bound_usage(self) -> Usage:
        return Usage(input_fresh=self.tokens.high, output_text=self.output_cap * self.choices)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one candidate fared; `lost` is empty for those that may be tried, `plan` is there once it could be priced."""

    model: Model
    lost: str
    plan: Plan | None = None
    unwell: Unwell | None = None
    """Why it is tried last, if it is."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What a certified promise says of one request."""

    choice: str  # the model that will do; a flagship always does
    reason: str
    predicted: Mapping[str, float]  # model → probability that its answer is acceptable


Judge = Callable[[Mapping[str, int]], Judged]
"""Judges one request, told what each model that could serve it is expected to cost, in nano-units."""


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """Whom to ask, in order, and why not the others."""

    route: Route
    plans: tuple[Plan, ...]
    verdicts: tuple[Verdict, ...]
    reason: str
    need: float | None
    flagship: tuple[Model, Price] | None  # what savings are measured against
    at: int
    rates: Mapping[str, Rate]
    fixed: tuple[Model, Price] | None = None
    """The other measure of savings: the one model of the route that everything could be sent to for the same quality."""
    judged: Judged | None = None  # where a certified promise chose
    below: tuple[Plan, ...] = ()  # could serve it too, and are not known to be good enough: for a cascade


def _nothing_known(_route: str) -> int | None:
    return None


def _all_well(_model: Model) -> Unwell | None:
    return None


def _all_cold(_model: Model, _tokens: int) -> int:
    return 0


def _nothing_free(_model: Model, _quota: Quota, _at: int) -> int:
    return 0


@dataclass(frozen=True, slots=True)
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


def decide(
    chat: ChatRequest,
    route: Route,
    caller: Caller,
    considered: tuple[Candidate, ...],
    measure: Measure,
    market: Market,
    soft: str | None = None,
    judge: Judge | None = None,
) -> Decision:
    """Order the candidates that will do, cheapest first, and say why the others will not.

    Args:
        chat: the request as read.
        route: what it asked for.
        caller: who asks.
        considered: the route's models, with the reason for those that cannot serve it.
        measure: the prompt's size.
        market: prices, rates and habits at this instant.
        soft: why only the cheap tier is left, when a soft limit has been passed.
        judge: what meets the need by a promise that is in force; without one, the configured `quality` of models says.

    Raises:
        ContextTooLong: the prompt fits nobody's window.
        OverBudget: nobody's price fits `max_cost`, or only dearer tiers are left.
        InvalidRequest, NotAllowed: no candidate can serve it, or none has a price.

    """
    need = _need(chat, route, caller)
    verdicts: list[Verdict] = []
    able: list[Plan] = []
    for candidate in considered:
        plan: Plan | None = None
        lost = candidate.lost
        if not lost and soft and candidate.model.tier not in {Tier.CHEAP, Tier.FREE}:
            lost = soft
        if not lost:
            plan, lost = _plan(chat, route, candidate.model, measure, market)
        verdicts.append(Verdict(candidate.model, lost, plan, None if lost else market.unwell(candidate.model)))
        if plan is not None and not lost:
            able.append(plan)
    if not able:
        raise _nobody(route, verdicts, soft)
    able.sort(key=lambda plan: plan.expected_nano)
    main = {id(model) for model in route.models}
    own = [plan for plan in able if id(plan.model) in main]
    judged = judge({plan.model.name: plan.expected_nano for plan in own}) if judge is not None and need else None
    if judged is None:
        fit = [plan for plan in own if _meets(plan.model, need)]
    else:
        fit = [plan for plan in own if plan.model.name == judged.choice or plan.model.tier is Tier.FLAGSHIP]
    chosen, reason = fit, _why(route, fit, need) if judged is None else judged.reason
    if not fit:
        chosen, reason = _unmet(route, own or able, need)
    spare = [plan for model in route.fallback for plan in able if plan.model is model and plan not in chosen]
    if chosen[0].warm_nano and min(chosen, key=_cold) is not chosen[0]:
        reason = f"{reason}; the beginning of the prompt is in the cache of {chosen[0].model.name}"
    plans = (*chosen, *spare)
    if unwell := {id(verdict.model) for verdict in verdicts if verdict.unwell is not None}:
        first = plans[0].model
        plans = tuple(sorted(plans, key=lambda plan: id(plan.model) in unwell))
        if plans[0].model is not first:
            reason = f"{reason}; passing over {first.name}, which is unwell"
    tried = {id(plan.model) for plan in plans}
    verdicts = [
        verdict if verdict.lost or id(verdict.model) in tried else _too_plain(verdict, need, judged)
        for verdict in verdicts
    ]
    flagship = _cheapest(route, market, lambda model: route.pinned or model.tier is Tier.FLAGSHIP)
    fixed = _cheapest(route, market, lambda model: route.pinned or _meets(model, need)) or flagship
    below = tuple(plan for plan in own if id(plan.model) not in tried and id(plan.model) not in unwell)
    return Decision(
        route, plans, tuple(verdicts), reason, need, flagship, market.at, market.rates, fixed, judged, below
    )


def _need(chat: ChatRequest, route: Route, caller: Caller) -> float | None:
    """The share of flagship quality needed: the request's word beats the team's, which beats the route's. Naming a model
    is a choice already made, so there it asks for nothing.
    """
    if route.pinned:
        return None
    for need in (chat.wishes.quality, caller.quality, route.quality):
        if need is not None:
            return need
    return None


def _meets(model: Model, need: float | None) -> bool:
    return not need or (model.quality is not None and model.quality >= need)


def _plan(chat: ChatRequest, route: Route, model: Model, measure: Measure, market: Market) -> tuple[Plan | None, str]:
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
    plan = Plan(
        model=model,
        price=price,
        facts=facts,
        tokens=tokens,
        output_cap=cap,
        choices=chat.choices,
        capped_by=capped_by,
        input_pico=input_pico,
        per_output_pico=per_output,
        expected_nano=nano_from_pico(expected_pico, rate),
        expected_output=expected,
        likely_output=market.likely_output(route.name),
        expected_cached=cached,
        warm_nano=nano_from_pico(cold_pico, rate) - nano_from_pico(expected_pico, rate),
    )
    most = chat.wishes.max_cost
    if most is not None and nano_from_pico(plan.bound_pico, rate) > most:
        return _within(plan, most, rate)
    return plan, ""


def _cold(plan: Plan) -> int:
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
    limits = [(chat.output_cap, "client"), (route.max_output_tokens, "route"), (model.max_output, "model")]
    if model.context_window is not None and chat.output_cap is None:
        limits.append((max(1, model.context_window - tokens.high), "window"))
    known = [(cap, who) for cap, who in limits if cap is not None]
    if all(who == "window" for _, who in known):
        known.append((DEFAULT_OUTPUT_CAP, "default"))
    return min(known, key=lambda item: item[0])


def _within(plan: Plan, most: int, rate: Rate) -> tuple[Plan | None, str]:
    """The plan made smaller so that it cannot cost more than `most` nano-units of the reporting currency."""
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


def renewed(plans: Sequence[Plan], at: int) -> tuple[Plan, ...]:
    """The same attempts at the prices of a later instant, and without those that have none then."""
    out = []
    for plan in plans:
        facts, tokens = replace(plan.facts, at=at), plan.tokens
        try:
            price = plan.model.timeline.at(at)
            most = price.bounds_pico(tokens.low, tokens.high, plan.output_cap, facts.service_tier)
        except Unpriced:
            continue
        if price.currency == plan.price.currency:  # whose exchange rate is known
            out.append(replace(plan, price=price, facts=facts, input_pico=most[0], per_output_pico=most[1]))
    return tuple(out)


def _why(route: Route, fit: list[Plan], need: float | None) -> str:
    if route.pinned:
        return "named"
    if need:
        return f"cheapest of {len(fit)} that meet {need:g}"
    return f"cheapest of {len(fit)}"


def _unmet(route: Route, able: list[Plan], need: float | None) -> tuple[list[Plan], str]:
    """Nobody is known to be good enough: the flagships, or the best there is."""
    if route.on_unmet == "refuse":
        raise InvalidRequest(f"no model of route {route.name!r} is known to meet quality {need:g}", param="quality")
    flagships = [plan for plan in able if plan.model.tier is Tier.FLAGSHIP]
    if flagships:
        return flagships, f"flagship: none is known to meet {need:g}"
    best = max(plan.model.quality or 0.0 for plan in able)
    return [
        plan for plan in able if (plan.model.quality or 0.0) == best
    ], f"best there is: none is known to meet {need:g}"


def _too_plain(verdict: Verdict, need: float | None, judged: Judged | None) -> Verdict:
    if judged is not None:
        chance = judged.predicted.get(verdict.model.name)
        said = (
            "no promise covers it"
            if chance is None
            else f"acceptable with {chance:.0%}: not enough for what is promised"
        )
        return replace(verdict, lost=said)
    quality = verdict.model.quality
    said = "its quality is not configured" if quality is None else f"quality {quality:g}"
    return replace(verdict, lost=f"{said}, {need or 0:g} is needed")


def _cheapest(route: Route, market: Market, counts: Callable[[Model], bool]) -> tuple[Model, Price] | None:
    """Of the route's models that count the cheapest by list price, whatever this request is like."""
    best: tuple[int, Model, Price] | None = None
    for model in route.models:
        if not counts(model):
            continue
        try:
            price = model.timeline.at(market.at)
            per_input, per_output = price.bounds_pico(0, 1, 1)
        except Unpriced:
            continue
        if (rate := market.rates.get(price.currency)) is None:
            continue
        rank = (per_input + per_output) * rate.numerator // rate.denominator
        if best is None or rank < best[0]:
            best = rank, model, price
    return best and (best[1], best[2])


def _nobody(route: Route, verdicts: list[Verdict], soft: str | None) -> Exception:
    """The one error that tells why no candidate was left."""
    told = "; ".join(f"{verdict.model.name}: {verdict.lost}" for verdict in verdicts) or "it has no models"
    message = f"no model of {route.name!r} can serve this request: {told}"
    reasons = [verdict.lost for verdict in verdicts]
    if reasons and all("does not fit its window" in lost for lost in reasons):
        return ContextTooLong(message, param="messages")
    if any("above max_cost" in lost for lost in reasons) or (soft and soft in reasons):
        return OverBudget(message)
    if reasons and all(lost.startswith("unpriced") for lost in reasons):
        return NotAllowed(message)
    return InvalidRequest(message)
