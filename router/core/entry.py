"""One line of the ledger, from the moment an attempt is about to be made until it is closed.

An `Attempt` is written down before the vendor is called, an `Entry` when the attempt is over; the entry is the fact
from which budgets, metrics, reports and the page are folded. Whatever ends the process in between, the attempt is
there to be closed.
"""

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

from router.core.limits import moment
from router.core.money import show
from router.core.usage import Usage
from router.core.value import value

Outcome = Literal["ok", "error", "cut", "left", "abandoned"]
Basis = Literal["reported", "vendor_cost", "estimated"]

SHADOW = "shadow"
"""The team of attempts that nobody asked for: see `router/shadow.py`."""
JUDGE = "judge"
"""The tag of a judge's attempts, with the request whose answer they were asked about."""

Charges = tuple[tuple[str, int, int], ...]
"""(account, start of its window in microseconds, nano-units of the account's currency)"""


@value()
class Attempt:
    """One call to one model, as it is about to be made. Amounts are in nano-units."""

    id: str
    request_id: str
    number: int  # from 1; 0 where no call is made, because an answer was kept
    at: int  # microseconds since 1970
    team: str
    key: str
    route: str
    model: str
    vendor: str
    tier: str
    price: str
    currency: str  # of `held` and of the entry's cost: the reporting currency
    vendor_currency: str
    held: int  # the most it can cost, in the reporting currency
    held_vendor: int  # the same in the vendor's
    held_flagship: int  # what the same tokens would cost at the flagship
    holds: Charges
    bound: Usage  # the usage that `held` is made of
    reason: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    operation: str = "chat"  # as OpenTelemetry names it; for metrics, not part of the row
    prompt_estimate: int | None = None  # what the prompt was estimated at, in tokens
    prompt_high: int | None = None  # the most that it was held for, in tokens
    propensity: float | None = None  # with which its model was drawn; None: nothing was drawn
    held_fixed: int | None = None  # as `held_flagship`, at the one model that would do for everything

    @property
    def kept(self) -> bool:
        """Whether no vendor is called: the answer of another request is given again."""
        return self.number == 0


@value()
class Entry:
    """A closed attempt: what became of it and what it cost. Amounts are in nano-units."""

    attempt: Attempt
    outcome: Outcome
    basis: Basis
    usage: Usage
    cost: int
    vendor_cost: int
    flagship_cost: int
    charges: Charges
    final: bool = True  # no other attempt of this request follows
    first_byte_ms: int | None = None
    total_ms: int | None = None
    fault: str = ""  # why it failed, for metrics and the log; not part of the row
    list_cost: int | None = None  # by the price book, in the vendor's currency: where the vendor's own charge was taken
    service_tier: str | None = None  # that served it, as the vendor says
    free_tokens: int | None = None  # of its tokens, taken from a free quota
    served: str = ""  # another model that the answer names, at which it would cost something else; not part of the row
    vendor_id: str | None = None  # what the vendor calls its answer, or else the request: invoices are matched by it
    fixed_cost: int | None = None
    """What the same would have cost at the cheapest model of the route that would do for everything: the other measure of
    savings. None in rows of before it was kept.
    """

    @property
    def saved(self) -> int:
        """What the flagship would have cost more, never less than nothing."""
        return max(0, self.flagship_cost - self.cost) if self.outcome != "error" else 0

    @property
    def disputed(self) -> bool:
        """Whether the vendor's own charge is not what the price book says: by more than rounding, a nano-unit, and by
        more than one per cent.
        """
        if self.list_cost is None:
            return False
        apart = abs(self.vendor_cost - self.list_cost)
        return apart > 1 and apart * 100 > self.list_cost


def abandoned(attempt: Attempt) -> Entry:
    """How an attempt is closed that a dead process left open: charged at its hold, since the vendor may have served and
    billed all of it, and marked as estimated.
    """
    return Entry(
        attempt=attempt,
        outcome="abandoned",
        basis="estimated",
        usage=attempt.bound,
        cost=attempt.held,
        vendor_cost=attempt.held_vendor,
        flagship_cost=attempt.held_flagship,
        charges=attempt.holds,
        fixed_cost=attempt.held_fixed,
        final=attempt.team != SHADOW,  # which no client asked for
    )


def row(entry: Entry) -> dict[str, Any]:
    """The entry as it is exported, without the hash that the ledger adds; amounts are decimal strings."""
    attempt = entry.attempt
    return {
        "id": attempt.id,
        "request_id": attempt.request_id,
        "attempt": attempt.number,
        "at": moment(attempt.at).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "team": attempt.team,
        "key": attempt.key,
        "route": attempt.route,
        "model": attempt.model,
        "vendor": attempt.vendor,
        "tier": attempt.tier,
        "outcome": entry.outcome,
        "basis": entry.basis,
        "usage": entry.usage.as_dict(),
        "cost": show(entry.cost),
        "currency": attempt.currency,
        "vendor_cost": show(entry.vendor_cost),
        "vendor_currency": attempt.vendor_currency,
        "flagship_cost": show(entry.flagship_cost),
        "held": show(attempt.held),
        "price": attempt.price,
        "reason": attempt.reason,
        "tags": dict(attempt.tags),
        "final": entry.final,
        "first_byte_ms": entry.first_byte_ms,
        "total_ms": entry.total_ms,
        "prompt_estimate": attempt.prompt_estimate,
        "prompt_high": attempt.prompt_high,
        "service_tier": entry.service_tier,
        "free_tokens": entry.free_tokens,
        "vendor_id": entry.vendor_id,
        "list_cost": None if entry.list_cost is None else show(entry.list_cost),
        "fixed_cost": None if entry.fixed_cost is None else show(entry.fixed_cost),
        "propensity": attempt.propensity,
    }
