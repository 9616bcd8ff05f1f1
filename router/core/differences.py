"""How a line of an invoice and what the ledger has for it differ, and why. Pure; amounts are in 10^-18."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from router.core.invoice import ATTO
from router.core.money import NANO

MATCHED, MISSING_HERE, MISSING_THERE = "matched", "missing here", "missing there"
PRICE, ESTIMATE, USAGE = "price differs", "estimate differs", "usage differs"
CLASSES = (MATCHED, MISSING_HERE, MISSING_THERE, PRICE, ESTIMATE, USAGE)


class Billed(NamedTuple):
    """What an invoice says of one request, or of a model's day: the sum of its lines."""

    key: str
    line: int  # the first
    lines: int
    at: int | None
    model: str
    counts: tuple[int | None, ...]  # as in invoice.COUNTS; None where it says nothing
    amount: int


class Recorded(NamedTuple):
    """What the ledger has of the same: the sum of its rows."""

    key: str
    id: str  # the first row's
    rows: int
    at: int
    model: str
    fresh: int  # tokens, each counted once
    cache_read: int
    cache_write: int
    output: int
    reasoning: int
    nano: int
    estimated: int  # rows of which the usage was counted here
    price: str
    outcome: str


class Difference(NamedTuple):
    """The two sides of one thing, what kind of difference there is, and why."""

    kind: str
    billed: Billed | None
    recorded: Recorded | None
    why: str

    @property
    def billed_amount(self) -> int:
        return self.billed.amount if self.billed else 0

    @property
    def recorded_amount(self) -> int:
        return self.recorded.nano * NANO if self.recorded else 0

    @property
    def amount(self) -> int:
        """Billed more than recorded here."""
        return self.billed_amount - self.recorded_amount


def compare(billed: Billed | None, recorded: Recorded | None, half: int, how: str = "") -> Difference:
    """What kind of difference there is.

    Args:
        billed: the invoice's side.
        recorded: the ledger's.
        half: of one in the last decimal that the invoice writes, which each of its lines may be rounded by; a row may be
            rounded by a nano-unit.
        how: by what the two were matched, where it was not by their names.

    """
    if recorded is None:
        return Difference(MISSING_HERE, billed, None, "the ledger has nothing for it")
    if billed is None:
        counted = "counted here" if recorded.estimated else "as reported"
        return Difference(
            MISSING_THERE, None, recorded, f"{recorded.outcome}, {counted}; the invoice has nothing for it"
        )
    apart = billed.amount - recorded.nano * NANO
    rounded = abs(apart) <= billed.lines * half + recorded.rows * NANO
    same, told = same_usage(billed.counts, recorded), any(count is not None for count in billed.counts)
    if not same or (recorded.estimated and not told and not rounded):
        kind = ESTIMATE if recorded.estimated else USAGE
        why = _usage(billed, recorded) if told else f"{recorded.estimated} of {recorded.rows} rows were counted here"
    elif rounded:
        kind, why = MATCHED, ""
    else:
        percent = f" ({apart * 100 / (recorded.nano * NANO):+.2f} %)" if recorded.nano else ""
        usage = "the same usage" if told else "no usage on the invoice"
        kind, why = PRICE, f"{usage}; here at {recorded.price or 'several prices'}{percent}"
    return Difference(kind, billed, recorded, "; ".join(filter(None, (why, how))))


def same_usage(counts: Sequence[int | None], recorded: Recorded) -> bool:
    """Whether the invoice counts what the ledger does; vendors count a cache inside their input or beside it, and reasoning
    inside their output or beside it.
    """
    told, written = (recorded.fresh, recorded.fresh + recorded.cache_read), recorded.output + recorded.reasoning
    prompt = told[1] + recorded.cache_write
    possible = (
        {*told, prompt}, {recorded.cache_read}, {recorded.cache_write}, {recorded.output, written},
        {recorded.reasoning}, {prompt + written},
    )  # fmt: skip
    return all(count is None or count in wanted for count, wanted in zip(counts, possible, strict=True))


def _usage(billed: Billed, recorded: Recorded) -> str:
    shown = [
        f"{count} {name}"
        for name, count in zip(
            ("in", "cache read", "cache write", "out", "reasoning", "tokens"), billed.counts, strict=True
        )
        if count is not None
    ]
    prompt = recorded.fresh + recorded.cache_read + recorded.cache_write
    return f"billed {', '.join(shown)}; here {prompt} in, {recorded.output + recorded.reasoning} out"


@dataclass(slots=True)
class Sums:
    """Totals of each kind of difference."""

    lines: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CLASSES, 0))
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CLASSES, 0))
    billed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CLASSES, 0))
    recorded: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CLASSES, 0))
    apart: int = 0  # the sum of all differences that are more than rounding, none against another

    def add(self, found: Difference) -> None:
        self.lines[found.kind] += found.billed.lines if found.billed else 0
        self.rows[found.kind] += found.recorded.rows if found.recorded else 0
        self.billed[found.kind] += found.billed_amount
        self.recorded[found.kind] += found.recorded_amount
        if found.kind != MATCHED:
            self.apart += abs(found.amount)

    def table(self) -> list[Mapping[str, str | int]]:
        """A row for each kind that there is, and their sum."""
        kinds = [kind for kind in CLASSES if self.lines[kind] or self.rows[kind]]
        out = [self._row(kind, [kind]) for kind in kinds]
        return [*out, self._row("total", kinds)]

    def _row(self, name: str, kinds: Sequence[str]) -> Mapping[str, str | int]:
        billed, recorded = (sum(side[kind] for kind in kinds) for side in (self.billed, self.recorded))
        return {
            "class": name, "lines": sum(self.lines[kind] for kind in kinds), "rows": sum(self.rows[kind] for kind in kinds),
            "billed": show_exact(billed), "recorded": show_exact(recorded), "difference": show_exact(billed - recorded),
        }  # fmt: skip


def show_exact(amount: int) -> str:
    """An amount in 10^-18 as a plain decimal string."""
    sign, amount = ("-", -amount) if amount < 0 else ("", amount)
    whole, part = divmod(amount, 10**ATTO)
    return f"{sign}{whole}.{part:0{ATTO}d}".rstrip("0").rstrip(".") if part else f"{sign}{whole}"
