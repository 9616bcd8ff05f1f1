"""Usage priced once, in every currency that somebody keeps an account in; and whether a budget can pay for a plan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from router.core.currency import between
from router.core.entry import Charges
from router.core.errors import OverBudget
from router.core.limits import BudgetState, moment
from router.core.money import PICO_PER_NANO, Rate, nano_from_pico, show
from router.core.policy import Plan, shrunk
from router.core.prices import Facts, Price, Unpriced
from router.core.usage import Usage


@dataclass(frozen=True, slots=True)
class Charge:
    """What a usage costs, in nano-units; each amount is rounded once, up, from the same exact sum."""

    vendor: int
    cost: int
    flagship: int
    accounts: Charges


@dataclass(frozen=True, slots=True)
class Terms:
    """Everything but the usage that a charge depends on, fixed when the attempt begins."""

    plan: Plan
    rates: Mapping[str, Rate]
    flagship: Price | None
    accounts: tuple[tuple[str, int, str], ...]  # (account, window start, currency)

    def charge(self, usage: Usage) -> Charge:
        """The charge for a usage.

        Raises:
            Unpriced: the price has no rate for something that was used.

        """
        plan = self.plan
        facts = Facts(plan.facts.at, usage.input_total, usage.output_total, plan.facts.thinking)
        return self._in_all(plan.price.cost_pico(usage, facts), self._at_flagship(usage, facts))

    def dearest(self, usage: Usage) -> Charge:
        """The charge at the dearest rates that the price has, for a usage that none of its conditions covers."""
        inputs = [rates.dearest_input or 0 for rates in self.plan.price.rates]
        outputs = [rates.dearest_output or 0 for rates in self.plan.price.rates]
        return self._in_all(usage.input_total * max(inputs) + usage.output_total * max(outputs), None)

    def bound(self) -> Charge:
        """The most that the attempt can cost: what is set aside."""
        usage = self.plan.bound_usage()
        facts = Facts(self.plan.facts.at, usage.input_total, usage.output_total, self.plan.facts.thinking)
        return self._in_all(self.plan.bound_pico, self._at_flagship(usage, facts))

    def _in_all(self, pico: int, flagship: int | None) -> Charge:
        currency = self.plan.price.currency
        cost = nano_from_pico(pico, self.rates[currency])
        return Charge(
            vendor=nano_from_pico(pico),
            cost=cost,
            flagship=cost if flagship is None else flagship,
            accounts=tuple(
                (account, start, nano_from_pico(pico, between(self.rates, currency, own)))
                for account, start, own in self.accounts
            ),
        )

    def _at_flagship(self, usage: Usage, facts: Facts) -> int | None:
        if self.flagship is None:
            return None
        try:
            return nano_from_pico(self.flagship.cost_pico(usage, facts), self.rates[self.flagship.currency])
        except Unpriced:  # a comparison that cannot be made claims no saving
            return None


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether a plan can be paid for now."""

    plan: Plan | None  # as it fits, perhaps with a lower output cap; None: it does not
    tight: BudgetState | None = None  # the budget that is in the way
    others: bool = False  # it would fit, were it not for what other requests hold


def fit(plan: Plan, states: Sequence[BudgetState], rates: Mapping[str, Rate], least_output: int) -> Fit:
    """The plan, whole or made smaller, if every budget can pay its upper bound.

    Args:
        plan: the attempt.
        states: the budgets that pay, as they stand.
        rates: the exchange rates of this instant.
        least_output: the output cap per choice below which an answer is not worth its prompt.

    """
    tight: BudgetState | None = None
    room = room_alone = plan.bound_pico
    for state in states:
        if state.budget.on_exceed != "refuse":
            continue
        rate = between(rates, plan.price.currency, state.budget.currency)
        free = _pico(state.free, rate)
        if free < room:
            room, tight = free, state
        room_alone = min(room_alone, _pico(state.free + state.held, rate))
    if tight is None:
        return Fit(plan)
    cap = _cap_within(plan, room)
    if cap is not None and cap >= min(least_output, plan.output_cap):
        return Fit(shrunk(plan, cap, "budget"), tight)
    alone = _cap_within(plan, room_alone)
    return Fit(None, tight, others=room_alone > room and alone is not None and alone >= 1)


def _pico(nano: int, rate: Rate) -> int:
    """Budget money as pico-units of the vendor's currency, rounded down, so that a hold within it never rounds past it."""
    return nano * PICO_PER_NANO * rate.denominator // rate.numerator


def _cap_within(plan: Plan, pico: int) -> int | None:
    """The highest output cap per choice that `pico` pays for; None if it does not even pay for the prompt."""
    if pico < plan.input_pico:
        return None
    if not plan.per_output_pico or not plan.output_cap:
        return plan.output_cap if pico >= plan.bound_pico else None
    return min(plan.output_cap, (pico - plan.input_pico) // (plan.per_output_pico * plan.choices))


def over_budget(found: Fit, plan: Plan) -> OverBudget:
    """Which budget, what is left of it, and when it begins anew."""
    state = found.tight
    if state is None:
        return OverBudget("no budget can pay for this request")
    budget = state.budget
    left = max(0, budget.limit - state.settled - state.held)
    resets = None if budget.per == "total" else moment(state.ends).isoformat().replace("+00:00", "Z")
    held = f", {show(state.held)} of it held by requests in flight" if state.held else ""
    again = f"; it begins anew at {resets}" if resets else ""
    return OverBudget(
        f"{budget.describe()} has {show(left)} {budget.currency} left of {show(budget.limit)}{held}; "
        f"a prompt of up to {plan.tokens.high} tokens to {plan.model.name} does not fit{again}",
        details={
            "budget": {
                "owner": budget.owner,
                "per": budget.per,
                "currency": budget.currency,
                "limit": show(budget.limit),
                "spent": show(state.settled),
                "held": show(state.held),
                "remaining": show(left),
                "resets_at": resets,
            }
        },
    )
