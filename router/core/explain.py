"""A decision, told to people and programs: every candidate, its price, and why it was passed over."""

from collections.abc import Mapping
from typing import Any

from router.core.limits import moment
from router.core.money import Rate, nano_from_pico, show
from router.core.policy import Decision, Verdict


def explain(decision: Decision, currency: str) -> dict[str, Any]:
    """The decision as JSON values. Amounts are decimal strings in the reporting currency."""
    first = decision.plans[0] if decision.plans else None
    places = {id(plan.model): place for place, plan in enumerate(decision.plans, 1)}
    flagship = decision.flagship[0].name if decision.flagship else None
    return {
        "route": decision.route.name,
        "at": moment(decision.at).isoformat().replace("+00:00", "Z"),
        "chosen": first.model.name if first else None,
        "reason": decision.reason,
        "quality_needed": decision.need,
        "currency": currency,
        "flagship": flagship,
        "prompt": first
        and {
            "tokens": first.tokens.tokens,
            "low": first.tokens.low,
            "high": first.tokens.high,
            "exact": first.tokens.exact,
        },
        "output_cap": first and first.output_cap,
        "expected_output": first and first.expected_output,
        "candidates": [
            {
                "model": verdict.model.name,
                "vendor": verdict.model.vendor,
                "tier": str(verdict.model.tier),
                "quality": verdict.model.quality,
                **_amounts(verdict, decision.rates),
                "expected_cached": verdict.plan.expected_cached if verdict.plan else None,
                "place": places.get(id(verdict.model)),
                "lost": verdict.lost or None,
                "unwell": verdict.unwell and str(verdict.unwell),
            }
            for verdict in sorted(
                decision.verdicts, key=lambda v: (places.get(id(v.model), 10**6), _rank(v), v.model.name)
            )
        ],
    }


def _rank(verdict: Verdict) -> int:
    return verdict.plan.expected_nano if verdict.plan else 2**62


def _amounts(verdict: Verdict, rates: Mapping[str, Rate]) -> dict[str, str | None]:
    plan = verdict.plan
    if plan is None:
        return {"price": None, "expected_cost": None, "most_cost": None}
    most = nano_from_pico(plan.bound_pico, rates[plan.price.currency])
    return {"price": plan.price.label, "expected_cost": show(plan.expected_nano), "most_cost": show(most)}
