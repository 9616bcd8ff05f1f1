"""Usage priced once, in every currency that somebody keeps an account in; and whether a budget can pay for a plan."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from router.core.conditions import special
from router.core.currency import between
from router.core.entry import Charges
from router.core.errors import OverBudget
from router.core.limits import BudgetState, moment
from router.core.money import ONE, PICO_PER_NANO, Rate, nano_from_pico, show
from router.core.plan import Plan, shrunk
from router.core.prices import Facts, Price, Unpriced, charge_pico_with_free
from router.core.usage import Usage
from router.core.value import value

MARGIN = (
    16  # a bound that does not hold is passed by a token or a few per cent: a vendor's bills move no further at once
)


@value()
class Charge:
    """What a usage costs, in nano-units; each amount is rounded once, up, from the same exact sum."""

    vendor: int
    cost: int
    flagship: int
    fixed: int
    accounts: Charges
    by_vendor: bool = False  # the vendor's own charge
    list_cost: int | None = None  # what the price book makes of the same usage, then; None: it has no price for it
    free_tokens: int | None = None  # of the usage, taken from a free quota; None: none was


@value()
class Terms:
    """Everything but the usage that a charge depends on, fixed when the attempt begins."""

    plan: Plan
    rates: Mapping[str, Rate]
    flagship: Price | None
    accounts: tuple[tuple[str, int, str], ...]  # (account, window start, currency)
    fixed: Price | None = None  # of the one model that would do for everything; see `Decision.fixed`

    def charge(
        self, usage: Usage, ended_at: int | None = None, service_tier: str | None = None, free_tokens: int = 0
    ) -> Charge:
        """The charge for a usage.

        Args:
            usage: what was consumed.
            ended_at: when the answer was complete (microseconds since 1970), for prices that are judged by that.
            service_tier: the one that the answer names, where that is not the one that was asked for.
            free_tokens: how many of its tokens a free quota pays for.

        Raises:
            Unpriced: the price has no rate for something that was used.

        """
        plan = self.plan
        began, ended = self._facts(usage, ended_at, service_tier)
        facts = ended if plan.price.evaluated == "completion" else began
        if not free_tokens:
            return self._in_all(plan.price.cost_pico(usage, facts), self._at_others(usage, began, ended))
        pico = charge_pico_with_free(plan.price, usage, facts, free_tokens)
        others = self._at_others(usage, began, ended, free=True)
        return replace(self._in_all(pico, others), free_tokens=free_tokens)

    def with_thinking(self, *, thinking: bool) -> "Terms":
        """The same for a model that has thought, or has not."""
        return replace(self, plan=replace(self.plan, facts=replace(self.plan.facts, thinking=thinking)))

    def nothing(
        self, usage: Usage, ended_at: int | None = None, service_tier: str | None = None, free_tokens: int = 0
    ) -> Charge:
        """The charge for a request that is free as a whole, so many tokens."""
        began, ended = self._facts(usage, ended_at, service_tier)
        return replace(self._in_all(0, self._at_others(usage, began, ended, free=True)), free_tokens=free_tokens)

    def at_vendor_cost(
        self, nano: int, usage: Usage, ended_at: int | None = None, service_tier: str | None = None
    ) -> Charge:
        """The charge that the vendor itself reports, in nano-units of its currency, with the price book's beside it.

        It is fine here if the usage has no price.
        """
        began, ended = self._facts(usage, ended_at, service_tier)
        others = self._at_others(usage, began, ended, free=True)
        try:
            listed = self.charge(usage, ended_at, service_tier).vendor
        except Unpriced:
            listed = None
        return replace(self._in_all(nano * PICO_PER_NANO, others), by_vendor=True, list_cost=listed)

    def costs_otherwise(self, price: Price, usage: Usage, ended_at: int, service_tier: str | None = None) -> bool:
        """Whether a usage would cost something else at another price; where one of both is not known, nobody can say."""
        began, ended = self._facts(usage, ended_at, service_tier)
        mine = self.plan.price
        try:
            theirs, own = (p.cost_pico(usage, ended if p.evaluated == "completion" else began) for p in (price, mine))
        except Unpriced:
            return False
        return theirs != own

    def dearest(self, usage: Usage) -> Charge:
        """The charge at the dearest rates that the price has, for a usage that none of its conditions covers."""
        return self._in_all(self.plan.price.dearest_pico(usage), (None, None))

    def bound(self, usage: Usage | None = None, *, free: bool = False) -> Charge:
        """The most that the attempt can cost: what is set aside; nothing if all of it is free. `usage` is the plan's bound, for
        who has it already.
        """
        usage = self.plan.bound_usage() if usage is None else usage
        facts, _ = self._facts(usage, None, None)
        return self._in_all(0 if free else self.plan.bound_pico, self._at_others(usage, facts, facts))

    def _facts(self, usage: Usage, ended_at: int | None, service_tier: str | None) -> tuple[Facts, Facts]:
        """What a price may depend on, by when the request began and by when its answer was complete."""
        plan = self.plan
        tier = plan.facts.service_tier if service_tier is None else service_tier
        if tier is not None and special(tier) is None:
            tier = None  # the ordinary one, by one of its names
        began = Facts(plan.facts.at, usage.input_total, usage.output_total, plan.facts.thinking, tier)
        if ended_at is None:
            return began, began
        return began, Facts(ended_at, began.input_tokens, began.output_tokens, began.thinking, tier)

    def _in_all(self, pico: int, others: tuple[int | None, int | None]) -> Charge:
        currency = self.plan.price.currency
        vendor, rate = nano_from_pico(pico), self.rates[currency]
        cost = vendor if rate is ONE else nano_from_pico(pico, rate)
        accounts = []
        for account, start, own in self.accounts:
            nano = vendor if own == currency else nano_from_pico(pico, between(self.rates, currency, own))
            accounts.append((account, start, nano))
        flagship, fixed = others
        return Charge(
            vendor, cost, cost if flagship is None else flagship, cost if fixed is None else fixed, tuple(accounts)
        )

    def _at_others(
        self, usage: Usage, began: Facts, ended: Facts, *, free: bool = False
    ) -> tuple[int | None, int | None]:
        """The same usage at the flagship's price and at the fixed model's. Where something was `free`, no saving is claimed
        over the very same price.
        """
        mine, flagship, fixed = self.plan.price, self.flagship, self.fixed
        at_flagship = None if free and flagship is mine else self._at(flagship, usage, began, ended)
        if fixed is flagship:
            return at_flagship, at_flagship
        return at_flagship, None if free and fixed is mine else self._at(fixed, usage, began, ended)

    def _at(self, price: Price | None, usage: Usage, began: Facts, ended: Facts) -> int | None:
        if price is None:
            return None
        facts = ended if price.evaluated == "completion" else began
        if facts.service_tier is not None and not price.has(facts.tier):
            facts = replace(facts, service_tier=None)
        try:
            return nano_from_pico(price.cost_pico(usage, facts), self.rates[price.currency])
        except Unpriced:  # a comparison that cannot be made claims no saving
            return None


@value()
class Fit:
    """Whether a plan can be paid for now."""

    plan: Plan | None  # as it fits, perhaps with a lower output cap; None: it does not
    tight: BudgetState | None = None  # the budget that is in the way
    others: bool = False  # it would fit, were it not for what other requests hold


def fit(plan: Plan, states: Sequence[BudgetState], rates: Mapping[str, Rate], least_output: int) -> Fit:
    """The plan, whole or made smaller, if every budget can pay its upper bound.

    While a budget is ample, that is the whole of it. Worst cases are seldom true: once one would take more than half of what
    is left, it is made smaller, so that the next request finds something too, but not below what an answer is likely to
    come to. What is held is always the most that the vendor is told it may write: a vendor cannot be stopped for sure.

    A prompt's learnt bound does not hold for one in 200, see `calibration`. Far from the limit nothing comes of that; here a
    part of what is held stays free for it, of this request's prompt and of whatever others hold.

    Args:
        plan: the attempt.
        states: the budgets that pay, as they stand.
        rates: the exchange rates of this instant.
        least_output: the output cap per choice below which an answer is not worth its prompt.

    """
    tight: BudgetState | None = None
    room = room_alone = 2 * plan.bound_pico
    for state in states:
        if state.budget.on_exceed != "refuse":
            continue
        rate = between(rates, plan.price.currency, state.budget.currency)
        free = _pico(state.free - state.held // MARGIN, rate)
        if free < room:
            room, tight = free, state
        room_alone = min(room_alone, _pico(state.free + state.held, rate))
    if tight is None:
        return Fit(plan)
    own = plan.input_pico // MARGIN if plan.tokens.learnt else 0
    cap = _cap_within(plan, _share(plan, room - own))
    if cap is not None and cap >= min(least_output, plan.output_cap):
        return Fit(plan if cap == plan.output_cap else shrunk(plan, cap, "budget"), tight)
    alone = _cap_within(plan, room_alone - own)
    return Fit(None, tight, others=room_alone > room and alone is not None and alone >= 1)


def _share(plan: Plan, room: int) -> int:
    """What of a budget's room, in pico-units, one request may take: half of it, or more if an answer is likely to need it."""
    if plan.likely_output is None or not plan.per_output_pico:
        return room
    likely = plan.input_pico + plan.per_output_pico * plan.likely_output * plan.choices
    return min(room, max(likely, room // 2))


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
