"""What the core asks of a store.

*Accounts* answers "may this be spent?" and must be atomic; *Ledger* is the truth and must be durable. Counters can be
rebuilt from the ledger, so the ledger is written first and accounts follow.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from router.core.answers import Answer
from router.core.entry import Attempt, Charges, Entry
from router.core.limits import Budget, BudgetState


class StoreDown(Exception):
    """The store cannot be written or read; nothing was promised."""


class Unsure(StoreDown):
    """What was to be written may have been written all the same."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key made with `farebox keys create`; only its hash is kept."""

    id: str
    team: str
    name: str
    sha256: str
    created: int  # microseconds since 1970
    expires: int | None = None
    revoked: int | None = None


class FreeSpan(NamedTuple):
    """Which rows may have taken from one free quota: a vendor's models, of the attempts that began in [since, until)."""

    vendor: str
    models: tuple[str, ...]
    since: int  # microseconds since 1970
    until: int


class FreeTaken(NamedTuple):
    """What they took."""

    rows: int
    tokens: int


class Accounts(Protocol):
    """Money set aside and spent, per budget and window. Every call is atomic."""

    async def states(self, budgets: Sequence[Budget], now: int) -> list[BudgetState]:
        """The budgets as they stand."""

    async def reserve(self, hold_id: str, budgets: Sequence[Budget], holds: Charges) -> bool:
        """Set `holds` aside in all accounts or in none; False if one cannot pay. Nothing can always be paid. Idempotent by
        `hold_id`.
        """

    async def settle(self, hold_id: str, charges: Charges) -> None:
        """Replace a hold by what was spent. Idempotent: an unknown or settled `hold_id` changes nothing."""

    async def changed(self, timeout_s: float, budgets: Sequence[Budget] = (), needs: Charges = ()) -> bool:
        """Wait until a hold has been settled somewhere, or until others have given back what is needed; False after
        `timeout_s`.
        """


class Recording(Protocol):
    """What writes the record. Calls are durable when they return and idempotent by the attempt's id."""

    async def open(self, attempt: Attempt) -> None:
        """Write down that an attempt is about to be made. Raises `StoreDown`."""

    async def close(self, entry: Entry) -> None:
        """Append what became of it; a second close of the same attempt changes nothing. Raises `StoreDown`."""


class Answers(Protocol):
    """Where answers outlive the process. What fails is logged and is as if nothing were there."""

    async def get(self, key: bytes, oldest: int) -> Answer | None:
        """An answer that is younger than `oldest` (microseconds since 1970)."""

    async def put(self, key: bytes, route: str, answer: Answer, most: int, oldest: int) -> None:
        """Keep an answer, and of its route not more than `most` bytes, the newest, and none that is not younger than
        `oldest`.
        """

    async def close(self) -> None:
        """Let it go."""


class Ledger(Recording, Protocol):
    """The append-only record."""

    async def recover(self) -> list[Entry]:
        """Close every attempt that an earlier process left open, by the rule of `entry.abandoned`."""

    def entries(self, after: int = 0, limit: int = 1000) -> AsyncIterator[tuple[int, dict[str, Any]]]:
        """Rows as exported, with their sequence numbers, in the order in which they were closed."""

    async def spent(self, accounts: Iterable[tuple[Budget, int]]) -> Mapping[str, int]:
        """What each budget's account has settled in the window that starts at the given instant."""

    async def spent_later(self, accounts: Sequence[tuple[Budget, int]]) -> Mapping[str, Mapping[int, int]]:
        """What each budget's account has settled in windows after the one that starts at the given instant."""

    async def free_taken(self, spans: Sequence[FreeSpan]) -> list[FreeTaken]:
        """What rows took from free quotas, for each span."""

    async def count_free(self, accounts: Sequence[tuple[FreeSpan, str, int, str]]) -> None:
        """Set what has been settled in accounts of free quotas to what rows took: (rows, account, start, unit) each."""

    async def totals(self, since: int | None = None, until: int | None = None) -> list["Total"]:
        """Every sum that metrics start from; for a span of time [since, until), the same counted from its rows."""

    async def apart(self, since: int | None = None, until: int | None = None, *, days: bool = False) -> list["Apart"]:
        """The same sums for each key, and for each day (UTC) where `days`."""

    async def of_requests(self, ids: Iterable[str]) -> Mapping[str, list[dict[str, Any]]]:
        """The rows of each of these requests, first attempt first; none for one that is not in the ledger."""


@runtime_checkable
class Burying(Protocol):
    """A ledger that several replicas write; see the port `Leases`."""

    replica: str  # who writes, as its attempts and settlements are marked. Opening raises `Buried` where it is unknown.

    async def is_even_again(self) -> bool:
        """Whether others, who had other budgets when `Ledger.spent` was asked last, have the same now: then ask again."""

    async def bury(self, replica: str, *, surely: bool = False) -> list[Entry]:
        """Close at its holds what a dead replica had left open, and let go of itself and, unless its name says that a journal
        may know more (see `leases.JOURNAL`), of its leases, in one transaction: the entries that were written. Nothing is
        done where it is not dead by the store's clock (unless the caller knows that it is `surely`), and nothing where it
        is buried already.
        """

    async def release(self, names: str) -> list[str]:
        """Let go of the leases of replicas that are buried and whose names begin so: which these are."""


Labels = tuple[str, str, str, str, str, str, str, str]


@dataclass(slots=True)
class Total:
    """Sums over ledger entries that share their labels. Amounts are in nano-units."""

    team: str
    route: str
    model: str
    vendor: str
    tier: str
    outcome: str
    currency: str
    vendor_currency: str
    attempts: int = 0
    requests: int = 0
    cost: int = 0
    vendor_cost: int = 0
    estimated_cost: int = 0
    saved: int = 0
    fixed_cost: int = 0  # at the best fixed model; where nobody knows, what was paid
    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0

    @property
    def labels(self) -> Labels:
        return (
            self.team, self.route, self.model, self.vendor, self.tier, self.outcome, self.currency, self.vendor_currency,
        )  # fmt: skip

    def add(self, entry: Entry) -> None:
        """Count one more entry."""
        usage = entry.usage
        self.attempts += not entry.attempt.kept
        self.requests += entry.final
        self.cost += entry.cost
        self.vendor_cost += entry.vendor_cost
        self.estimated_cost += entry.cost if entry.basis == "estimated" else 0
        self.saved += entry.saved
        self.fixed_cost += entry.cost if entry.fixed_cost is None else entry.fixed_cost
        read, written = usage.cache_read or 0, (usage.cache_write_5m or 0) + (usage.cache_write_1h or 0)
        reasoning = usage.output_reasoning or 0
        self.input += usage.input_total - read - written
        self.cache_read += read
        self.cache_write += written
        self.output += usage.output_total - reasoning
        self.reasoning += reasoning


@dataclass(slots=True)
class Apart(Total):
    """Such sums of one key, and perhaps of one day."""

    key: str = ""  # as team/name
    day: str = ""


SUMS = (
    "attempts", "requests", "cost", "vendor_cost", "estimated_cost", "saved", "input", "cache_read", "cache_write",
    "output", "reasoning", "fixed_cost",
)  # fmt: skip


def labels_of(entry: Entry) -> Labels:
    """The labels of the total that an entry belongs to."""
    a = entry.attempt
    return (a.team, a.route, a.model, a.vendor, a.tier, entry.outcome, a.currency, a.vendor_currency)


TOTAL_FIELDS = ("team", "route", "model", "vendor", "tier", "outcome", "currency", "vendor_currency", *SUMS)
