"""A decision, told to people and programs: every candidate, its price, and why it was passed over."""

from typing import Any

from router.core.limits import moment
from router.core.money import show
from router.core.policy import Decision


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
                "price": verdict.price or None,
                "expected_cost": None if verdict.expected_nano is None else show(verdict.expected_nano),
                "most_cost": None if verdict.bound_nano is None else show(verdict.bound_nano),
                "place": places.get(id(verdict.model)),
                "lost": verdict.lost or None,
            }
            for verdict in sorted(
                decision.verdicts,
                key=lambda v: (
                    places.get(id(v.model), 10**6),
                    2**62 if v.expected_nano is None else v.expected_nano,
                    v.model.name,
                ),
            )
        ],
    }
