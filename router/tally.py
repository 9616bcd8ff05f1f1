"""What settlement knows of a request: its ticket, the attempt that is written down for it, and its tally."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from router.core.catalog import Caller, ChatRequest
from router.core.charge import Charge, Terms
from router.core.entry import Attempt
from router.core.failure import Failure
from router.core.limits import Budget, BudgetState
from router.core.money import Rate
from router.core.policy import Decision, Plan
from router.core.usage import Usage
from router.upstream import Exchange

# OpenTelemetry's names (semantic-conventions-genai, 2026-11)
OPERATIONS = {"chat/completions": "chat", "completions": "text_completion", "embeddings": "embeddings"}


class Reader(Protocol):
    """What reads a vendor's answer, for the client and, when it has left, for the bill."""

    usage: Usage | None
    failure: Failure | None

    def feed(self, chunk: bytes) -> bytes:
        """Take a piece; returns what the client gets."""

    def finish(self) -> bytes:
        """The answer has ended."""

    def text(self) -> str:
        """The output so far, to be counted if no usage comes."""


@dataclass(slots=True)
class Tally:
    """What one attempt has consumed so far: the one mutable thing of a request."""

    plan: Plan
    attempt: Attempt
    terms: Terms
    began: float  # seconds on the measuring clock
    budgets: Mapping[str, tuple[Budget, ...]]  # those that were configured when it began
    exchange: Exchange | None = None
    reader: Reader | None = None
    failure: Failure | None = None
    answered: bool = False  # bytes have gone out
    complete: bool = False  # the vendor's answer was read to its end
    left: bool = False  # the client went away
    capped: bool = False  # we ended the stream at its cap
    final: bool = True  # no other attempt of this request follows
    streaming: bool = False
    charged: tuple[Usage, Charge] | None = None  # what the client was told, so that it is worked out once
    sent_s: float = 0.0
    first_byte_s: float | None = None
    ended_s: float | None = None

    @property
    def usage(self) -> Usage | None:
        return self.reader.usage if self.reader else None

    def charge(self, usage: Usage) -> Charge:
        """The charge by the terms it began with. Raises `Unpriced`."""
        if self.charged is None or self.charged[0] is not usage:
            self.charged = (usage, self.terms.charge(usage))
        return self.charged[1]

    def overhead_s(self, request_began: float) -> float:
        """The time that is ours: until the vendor was called, and for a plain answer from its last byte on."""
        after = 0.0
        if not self.streaming and self.ended_s is not None and self.first_byte_s is not None:
            after = self.ended_s - self.first_byte_s
        return self.sent_s - request_began + after


@dataclass(frozen=True, slots=True)
class Ticket:
    """One request, as settlement needs to know it."""

    id: str
    chat: ChatRequest
    caller: Caller
    decision: Decision
    rates: Mapping[str, Rate]
    currency: str


def new_request_id(now: int) -> str:
    """Unique, and rising with time, so that the ledger's index grows at its end."""
    return f"fb-{now:014x}{random.getrandbits(48):012x}"


def terms_of(ticket: Ticket, plan: Plan, states: Sequence[BudgetState]) -> Terms:
    flagship = ticket.decision.flagship
    accounts = tuple((state.budget.account, state.starts, state.budget.currency) for state in states)
    return Terms(plan, ticket.rates, flagship[1] if flagship else None, accounts)


def attempt_of(ticket: Ticket, attempt_id: str, number: int, terms: Terms, now: int) -> Attempt:
    plan, bound = terms.plan, terms.bound()
    return Attempt(
        id=attempt_id,
        request_id=ticket.id,
        number=number,
        at=now,
        team=ticket.caller.team,
        key=ticket.caller.key,
        route=ticket.decision.route.name,
        model=plan.model.name,
        vendor=plan.model.vendor,
        tier=plan.model.tier,
        price=plan.price.label,
        currency=ticket.currency,
        vendor_currency=plan.price.currency,
        held=bound.cost,
        held_vendor=bound.vendor,
        held_flagship=bound.flagship,
        holds=bound.accounts,
        bound=plan.bound_usage(),
        reason=ticket.decision.reason,
        tags=ticket.chat.wishes.tags,
        operation=OPERATIONS[ticket.chat.endpoint],
    )
