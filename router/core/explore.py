"""Randomised routing: now and then a request goes to the other side of its route, so that what is learnt from answers is
not only what the policy already believed.

The sides are the flagships and everything below them. Only plans that could have been chosen are drawn: what a hard
constraint forbids is never tried, and neither is a request whose answer depends on who gave the one before.
"""

from collections.abc import Callable
from dataclasses import replace

from router.core.catalog import ChatRequest, Tier
from router.core.checks import in_tool_loop
from router.core.plan import Plan
from router.core.policy import Decision, Verdict

COMPARED = frozenset({"chat/completions", "messages", "responses"})
"""Endpoints whose answers can be told apart by how good they are."""


def _any(_: Plan) -> bool:
    return True


def explore(decision: Decision, rate: float, draw: float, may: Callable[[Plan], bool] = _any) -> Decision:
    """The decision with its first plan drawn: the other side's cheapest with probability `rate`, else as it was.

    Where there was something to draw, the decision tells the probability with which its first plan came to be first;
    where there was not, it is returned as it is.

    Args:
        decision: as the policy made it.
        rate: the probability, from 0 to 1.
        draw: uniform in [0, 1).
        may: whether a plan may be drawn besides, such as whether every budget can pay for it whole.

    """
    first = decision.plans[0]
    other = alternative(decision, first.model.tier, may) if rate > 0 else None
    if other is None:
        return decision
    if draw >= rate:
        return replace(decision, propensity=round(1 - rate, 9))
    return replace(
        decision,
        plans=(other, *(plan for plan in decision.plans if plan.model is not other.model)),
        verdicts=tuple(_taken(verdict) if verdict.model is other.model else verdict for verdict in decision.verdicts),
        reason=f"explored: {other.model.name} instead of {first.model.name}, which is done with {rate:g} of requests",
        propensity=rate,
        explored=True,
    )


def alternative(decision: Decision, tier: Tier, may: Callable[[Plan], bool] = _any) -> Plan | None:
    """The cheapest plan of the other side than a tier's that nothing but the quality needed has kept from being chosen."""
    if decision.route.pinned:
        return None
    own = {id(model) for model in decision.route.models}
    plans = [
        verdict.plan
        for verdict in decision.verdicts
        if verdict.plan is not None
        and (verdict.plain or not verdict.lost)
        and verdict.unwell is None
        and id(verdict.model) in own
        and (verdict.model.tier is Tier.FLAGSHIP) is not (tier is Tier.FLAGSHIP)
        and verdict.plan.capped_by != "max_cost"
        and may(verdict.plan)
    ]
    return min(plans, key=lambda plan: plan.expected_nano, default=None)


def _taken(verdict: Verdict) -> Verdict:
    return replace(verdict, lost="", plain=False)


def comparable(chat: ChatRequest) -> bool:
    """Whether another model could have been asked for the same answer: a chat, of which nothing is kept at a vendor."""
    return chat.endpoint in COMPARED and not chat.prompt.unseen


def explorable(chat: ChatRequest) -> bool:
    """Whether a request may go to the other side: not where it says itself how good its answer must be, and not in the
    middle of a tool loop.
    """
    return comparable(chat) and chat.wishes.quality is None and not in_tool_loop(chat.said)
