"""What settlement knows of a request: its ticket, the attempt that is written down for it, and its tally."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from router.core.buckets import Seat
from router.core.catalog import Caller, ChatRequest
from router.core.charge import Charge, Terms
from router.core.entry import Attempt, Charges
from router.core.failure import Failure
from router.core.limits import Budget, BudgetState
from router.core.money import Rate
from router.core.plan import Plan, shrunk
from router.core.policy import Decision
from router.core.prices import Unpriced
from router.core.reading import Reader
from router.core.usage import Usage
from router.core.value import value
from router.quotas import Share
from router.upstream import Exchange

# OpenTelemetry's names (semantic-conventions-genai, 2026-11)
OPERATIONS = {
    "chat/completions": "chat",
    "messages": "chat",
    "responses": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
}


MOST_NAME = 128  # characters of a vendor's name for an answer: the longest known have 60

# In nano-units: a million of any currency for one answer is a misreading, and would not fit the ledger's integers.
MOST_VENDOR_COST = 10**15


@dataclass(slots=True)
class Tally:
    """What one attempt has consumed so far: the one mutable thing of a request."""

    plan: Plan
    attempt: Attempt
    terms: Terms
    began: float  # seconds on the measuring clock
    budgets: Mapping[str, tuple[Budget, ...]]  # those that were configured when it began
    now: Callable[[], int]  # microseconds since 1970
    share: Share | None = None  # of a free quota, where the price has one
    seat: Seat | None = None  # at its vendor
    exchange: Exchange | None = None
    reader: Reader | None = None
    failure: Failure | None = None
    answered: bool = False  # bytes have gone out
    complete: bool = False  # the vendor's answer was read to its end
    left: bool = False  # the client went away
    lost: bool = False  # its answer reached nobody: another had begun before it, or it would not do
    capped: bool = False  # we ended the stream at its cap
    final: bool = True  # no other attempt of this request follows
    streaming: bool = False
    asked_to_think: bool | None = None  # by the body that was sent; None: as the request was read
    charged: tuple[Usage, Terms, Charge, int] | None = None  # what the client was told, and when: it is worked out once
    sent_s: float = 0.0
    first_byte_s: float | None = None
    ended_s: float | None = None
    habit: str = ""  # the route whose answers are about as long as this one: a judge's number is none of its route's

    @property
    def usage(self) -> Usage | None:
        return self.reader.usage if self.reader else None

    def is_whole(self, usage: Usage) -> bool:
        """Whether a usage can be believed and tells of the prompt and, if there is any, of the output: what is missing is
        estimated, not free. The client is told no other.
        """
        reader = self.reader
        if reader is None or not reader.usage_final:
            return False
        if self.vendor_cost is not None:
            return True
        silent = usage.output_text is None or not usage.output_total
        return usage.input_total > 0 and not (self.plan.output_cap and silent and reader.text())

    @property
    def begun(self) -> bool:
        """Whether the vendor's answer has been seen, if only its beginning."""
        return self.answered or (self.streaming and self.first_byte_s is not None)

    @property
    def vendor_cost(self) -> int | None:
        """The charge that the vendor itself reports, in nano-units, if it can be believed."""
        own = self.reader.vendor_cost_nano if self.reader and self.reader.usage_final else None
        return own if own is not None and own <= MOST_VENDOR_COST else None

    @property
    def vendor_id(self) -> str | None:
        """What the vendor calls its answer; where it has none, or none came, what its headers call the request."""
        name = self.reader.id if self.reader else ""
        headers = self.exchange.headers if self.exchange is not None else {}
        name = name or headers.get("x-request-id") or headers.get("request-id") or ""
        # without its lone surrogates, which JSON may hold and a store may not
        return name.encode("utf-8", "replace").decode()[:MOST_NAME] or None

    def charge(self, usage: Usage, terms: Terms | None = None) -> Charge:
        """What the attempt costs: the vendor's own charge where it reports one, else by the terms it began with, or by
        those given. Client and ledger are told the same: for one usage it is worked out once, and by one instant.

        Raises:
            Unpriced: the price has no rate for something that was used.

        """
        terms = terms or self.terms
        before = self.charged if self.charged is not None and self.charged[0] is usage else None
        if before is not None and before[1] is terms:
            return before[2]
        at = self.now() if before is None else before[3]
        charge = self._charge(usage, terms, at)
        self.charged = (usage, terms, charge, at)
        return charge

    def _charge(self, usage: Usage, terms: Terms, at: int) -> Charge:
        reader, share, terms = self.reader, self.share, self._as_done(usage, terms)
        told = (usage, at, reader.service_tier if reader else None)
        if (own := self.vendor_cost) is not None:
            self.give_back()
            return terms.at_vendor_cost(own, *told)
        free = share.take(usage) if share else None
        if share is None or free is None:
            return terms.charge(*told)
        if share.quota.unit == "requests":
            return terms.nothing(*told, free_tokens=free)
        try:
            return terms.charge(*told, free_tokens=free)
        except Unpriced:
            self.give_back()
            raise

    def _as_done(self, usage: Usage, terms: Terms) -> Terms:
        """The terms by whether the model has thought, where a price depends on it: as the vendor tells, in its counts or in
        what it wrote, or else as it was asked to.
        """
        plan, prices = terms.plan, (terms.plan.price, terms.flagship, terms.fixed)
        if not any(price is not None and price.by_thinking for price in prices):
            return terms
        thought = plan.facts.thinking if self.asked_to_think is None else self.asked_to_think
        if usage.output_reasoning or (self.reader is not None and self.reader.thought):
            thought = True
        elif usage.output_reasoning is not None:
            thought = False
        return terms if thought is plan.facts.thinking else terms.with_thinking(thinking=thought)

    def served(self, usage: Usage) -> str:
        """The model that the answer names, if the price books sell it at another price than the one that was asked for."""
        reader, model = self.reader, self.plan.model
        if reader is None or (other := model.others.get(reader.model)) is None or other is model.timeline:
            return ""
        try:
            price = other.at(self.attempt.at)
        except Unpriced:
            return ""
        terms = self._as_done(usage, self.terms)
        return reader.model if terms.costs_otherwise(price, usage, self.now(), reader.service_tier) else ""

    @property
    def free_charges(self) -> Charges:
        """What was taken from a free quota, where that is to be counted as money is."""
        return () if self.share is None else self.share.charges()

    def give_back(self) -> None:
        """Take nothing from a free quota after all."""
        if self.share is not None:
            self.share.take(Usage())

    @property
    def after_s(self) -> float:
        """What was ours after the vendor's last byte, where its answer was plain."""
        if self.streaming or self.ended_s is None or self.first_byte_s is None:
            return 0.0
        return self.ended_s - self.first_byte_s


@value()
class Ticket:
    """One request, as settlement needs to know it."""

    id: str
    chat: ChatRequest
    caller: Caller
    decision: Decision
    rates: Mapping[str, Rate]
    currency: str
    booked: str = ""  # the route that it is written down under, where that is not its own: a judge's


def new_request_id(now: int) -> str:
    """Unique, and rising with time, so that the ledger's index grows at its end."""
    return f"fb-{now:014x}{random.getrandbits(48):012x}"


def terms_of(ticket: Ticket, plan: Plan, states: Sequence[BudgetState]) -> Terms:
    flagship, fixed = ticket.decision.flagship, ticket.decision.fixed
    accounts = tuple((state.budget.account, state.starts, state.budget.currency) for state in states)
    return Terms(plan, ticket.rates, flagship[1] if flagship else None, accounts, fixed[1] if fixed else None)


def needs_of(ticket: Ticket, plan: Plan, states: Sequence[BudgetState], cap: int) -> Charges:
    """What an attempt would set aside with an output cap that is not above `cap`."""
    return terms_of(ticket, shrunk(plan, min(cap, plan.output_cap), "budget"), states).bound().accounts


def attempt_of(ticket: Ticket, attempt_id: str, number: int, terms: Terms, now: int, *, free: bool = False) -> Attempt:
    """The attempt as it is written down; `free` if a quota covers all of it, so that nothing is held."""
    plan = terms.plan
    usage = plan.bound_usage()
    bound = terms.bound(usage, free=free)
    propensity = ticket.decision.propensity if number == 1 and plan.model is ticket.decision.plans[0].model else None
    model = plan.model
    return Attempt(  # in the order of its fields, since names cost four times as much
        attempt_id, ticket.id, number, now, ticket.caller.team, ticket.caller.key,
        ticket.booked or ticket.decision.route.name, model.name, model.vendor, model.tier, plan.price.label,
        ticket.currency, plan.price.currency, bound.cost, bound.vendor, bound.flagship, bound.accounts, usage,
        ticket.decision.reason, ticket.chat.wishes.tags, OPERATIONS[ticket.chat.endpoint],
        plan.tokens.tokens, plan.tokens.high, propensity, bound.fixed,
    )  # fmt: skip
