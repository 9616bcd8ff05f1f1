"""The choice: the cheapest model that is good enough, and why.

`decide` looks at every candidate and puts those that will do in the order in which they are tried. It reads no clock and
asks nobody: price, estimate and habits are arguments, so a decision can be replayed and explained.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import attrgetter

from router.core.catalog import Caller, Candidate, ChatRequest, Model, Route, Tier
from router.core.errors import ContextTooLong, InvalidRequest, NotAllowed, OverBudget
from router.core.health import Unwell
from router.core.money import Rate
from router.core.plan import Market, Plan, cold, plan_of
from router.core.prices import Price, Unpriced
from router.core.tokens import Measure
from router.core.value import value


@value()
class Verdict:
    """How one candidate fared; `lost` is empty for those that may be tried, `plan` is there once it could be priced."""

    model: Model
    lost: str
    plan: Plan | None = None
    unwell: Unwell | None = None
    """Why it is tried last, if it is."""
    plain: bool = False
    """Whether it was passed over for its quality alone, and could serve the request."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What a certified promise says of one request."""

    choice: str  # the model that will do; a flagship always does
    reason: str
    predicted: Mapping[str, float]  # model → probability that its answer is acceptable


_expected_nano = attrgetter("expected_nano")

Judge = Callable[[Mapping[str, int]], Judged]
"""Judges one request, told what each model that could serve it is expected to cost, in nano-units."""


@value(eq=False)
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
    propensity: float | None = None  # with which the first plan was drawn; None: nothing was
    explored: bool = False  # the draw has put another than the policy's choice first


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
    need = need_of(chat, route, caller)
    verdicts: list[Verdict] = []
    able: list[Plan] = []
    unwell: set[int] = set()
    for candidate in considered:
        plan: Plan | None = None
        lost = candidate.lost
        if not lost and soft and candidate.model.tier not in {Tier.CHEAP, Tier.FREE}:
            lost = soft
        if not lost:
            plan, lost = plan_of(chat, route, candidate.model, measure, market)
        ill = None
        if plan is not None and not lost:
            able.append(plan)
            if (ill := market.unwell(candidate.model)) is not None:
                unwell.add(id(candidate.model))
        verdicts.append(Verdict(candidate.model, lost, plan, ill))
    if not able:
        raise _nobody(route, verdicts, soft)
    able.sort(key=_expected_nano)
    own = _own(route, able)
    judged = judge({plan.model.name: plan.expected_nano for plan in own}) if judge is not None and need else None
    if judged is None:
        fit = [plan for plan in own if _meets(plan.model, need)]
    else:
        fit = [plan for plan in own if plan.model.name == judged.choice or plan.model.tier is Tier.FLAGSHIP]
    chosen, reason = fit, _why(route, fit, need) if judged is None else judged.reason
    if not fit:
        chosen, reason = _unmet(route, own or able, need)
    spare = [plan for model in route.fallback for plan in able if plan.model is model and plan not in chosen]
    if chosen and chosen[0].warm_nano and min(chosen, key=cold) is not chosen[0]:
        reason = f"{reason}; the beginning of the prompt is in the cache of {chosen[0].model.name}"
    plans = (*chosen, *spare)
    if unwell:
        plans, reason = _well_first(plans, unwell, reason)
    below: tuple[Plan, ...] = ()
    if len(plans) < len(able):  # some could serve it and are not good enough
        tried = {id(plan.model) for plan in plans}
        verdicts = [one if one.lost or id(one.model) in tried else _too_plain(one, need, judged) for one in verdicts]
        below = tuple(plan for plan in own if id(plan.model) not in tried and id(plan.model) not in unwell)
    flagship, fixed = _measures(route, market, need)
    return Decision(
        route, plans, tuple(verdicts), reason, need, flagship, market.at, market.rates, fixed, judged, below
    )


def _well_first(plans: tuple[Plan, ...], unwell: set[int], reason: str) -> tuple[tuple[Plan, ...], str]:
    """Those that are unwell last, and that said where it changes who is asked."""
    first = plans[0].model
    plans = tuple(sorted(plans, key=lambda plan: id(plan.model) in unwell))
    return plans, reason if plans[0].model is first else f"{reason}; passing over {first.name}, which is unwell"


def _own(route: Route, able: list[Plan]) -> list[Plan]:
    """Those by the route's own models, not by its fallback's."""
    if not route.fallback:
        return able
    main = {id(model) for model in route.models}
    return [plan for plan in able if id(plan.model) in main]


def need_of(chat: ChatRequest, route: Route, caller: Caller) -> float | None:
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


def _why(route: Route, fit: list[Plan], need: float | None) -> str:
    return "named" if route.pinned else _cheapest_of(len(fit), need)


@lru_cache(maxsize=1024)
def _cheapest_of(count: int, need: float | None) -> str:
    return f"cheapest of {count} that meet {need:g}" if need else f"cheapest of {count}"


def _unmet(route: Route, able: list[Plan], need: float | None) -> tuple[list[Plan], str]:
    """Nobody is known to be good enough: the flagships, or the best there is."""
    if not need:
        return [], "fallback: none of the route's own models can serve it"
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
    return replace(verdict, lost=f"{said}, {need or 0:g} is needed", plain=True)


def _measures(
    route: Route, market: Market, need: float | None
) -> tuple[tuple[Model, Price] | None, tuple[Model, Price] | None]:
    """What savings are measured against: the cheapest flagship of the route, and the cheapest of its models that would do
    for everything; by list price, whatever this request is like.
    """
    flagship: tuple[Model, Price] | None = None
    fixed: tuple[Model, Price] | None = None
    of_flagship = of_fixed = 0
    for model in route.models:
        leads = route.pinned or model.tier is Tier.FLAGSHIP
        does = route.pinned or _meets(model, need)
        if not leads and not does:
            continue
        try:
            price = model.timeline.at(market.at)
            per_input, per_output = price.bounds_pico(0, 1, 1)
        except Unpriced:
            continue
        if (rate := market.rates.get(price.currency)) is None:
            continue
        rank = (per_input + per_output) * rate.numerator // rate.denominator
        if leads and (flagship is None or rank < of_flagship):
            flagship, of_flagship = (model, price), rank
        if does and (fixed is None or rank < of_fixed):
            fixed, of_fixed = (model, price), rank
    return flagship, fixed or flagship


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
