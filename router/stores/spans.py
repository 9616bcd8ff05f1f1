"""Sums of the ledger over time, exact to the row, without reading millions of them.

The table `spans` has the sums of each hour and each day (UTC) per set of names, which are in `names`; each row is added to
both in its own transaction, in SQLite by a trigger. A span of time is made of whole days, whole hours at its ends and single rows at the
ends of those, so that any instant may be its end.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from router.core.limits import FOREVER, MICROS
from router.core.usage import INPUTS, KINDS
from router.stores.place import Connection

HOUR, DAY = 3600 * MICROS, 86_400 * MICROS
STEPS: Mapping[str, int] = {"hour": HOUR, "day": DAY}
LABELS = ("team", "key", "route", "model", "vendor", "tier", "outcome", "currency", "vendor_currency")
"""The names by which sums are kept apart."""

_BILLED = " + ".join(f"coalesce({leaf}, 0)" for leaf in INPUTS)
_BOTH = f"basis <> 'estimated' AND outcome <> 'error' AND prompt_estimate IS NOT NULL AND {_BILLED} > 0"
# Each sum as what one row adds to it. Of prompts as estimated and as billed only rows count where both are known.
_ROW: Mapping[str, str] = {
    "attempts": "CASE WHEN attempt > 0 THEN 1 ELSE 0 END",  # an answer that was given again is none
    "requests": "final",
    "cost": "cost",
    "vendor_cost": "vendor_cost",
    "estimated_cost": "CASE WHEN basis = 'estimated' THEN cost ELSE 0 END",
    "saved": "CASE WHEN outcome <> 'error' AND flagship_cost > cost THEN flagship_cost - cost ELSE 0 END",
    **{kind: " + ".join(f"coalesce({leaf}, 0)" for leaf in leaves) for kind, leaves in KINDS.items()},
    "prompt_estimate": f"CASE WHEN {_BOTH} THEN prompt_estimate ELSE 0 END",
    "prompt_billed": f"CASE WHEN {_BOTH} THEN {_BILLED} ELSE 0 END",
    "fixed_cost": "coalesce(fixed_cost, cost)",
}
SUMS = tuple(_ROW)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a span of time, and where its sums are: those of whole days or hours, or the rows themselves."""

    kind: Literal["day", "hour", "row"]
    since: int  # microseconds since 1970
    until: int  # exclusive


def pieces(since: int | None, until: int | None, step: Literal["day", "hour"] = "day") -> list[Piece]:
    """[since, until) as whole days (not where `step` is an hour), whole hours and rest; None is open."""
    low, high = -FOREVER if since is None else since, FOREVER if until is None else until
    out: list[Piece] = []
    _cut(low, high, ("day", "hour", "row") if step == "day" else ("hour", "row"), out)
    return out


def _cut(low: int, high: int, kinds: Sequence[Literal["day", "hour", "row"]], out: list[Piece]) -> None:
    if low >= high:
        return
    kind, finer = kinds[0], kinds[1:]
    if kind == "row":
        out.append(Piece(kind, low, high))
        return
    length = STEPS[kind]
    first = low if low == -FOREVER else -(-low // length) * length
    last = high if high == FOREVER else high // length * length
    if first >= last:
        _cut(low, high, finer, out)
        return
    _cut(low, first, finer, out)
    out.append(Piece(kind, first, last))
    _cut(last, high, finer, out)


def summed(
    connection: Connection,
    groups: Sequence[str],
    names: Sequence[str] = SUMS,
    since: int | None = None,
    until: int | None = None,
    step: Literal["day", "hour"] | None = None,
    only: Mapping[str, str] | None = None,
) -> Iterator[tuple[Any, ...]]:
    """Sums over the attempts that began in [since, until), as (*groups, *names), in no order.

    Args:
        connection: to the store.
        groups: SQL of columns in `LABELS`; and before them, where `step` is given, when the day or hour began.
        names: of `SUMS`.
        since: the first instant (microseconds since 1970); None: from the first row on.
        until: exclusive; None: to the last row.
        step: by day or by hour (UTC); None: over the whole span.
        only: names of `LABELS` and what each has to be.

    """
    parts: list[str] = []
    args: list[int | str] = []
    asked = "".join(f" AND {name} = ?" for name in only or ())
    for piece in pieces(since, until, step or "day"):
        if piece.kind == "row":
            begun = f"at - at % {STEPS[step]}" if step else ""
            told = ", ".join(f"{_ROW[name]} AS {name}" for name in names)
            source = "ledger WHERE at >= ? AND at < ?"
        else:
            begun = "start" if piece.kind == step else f"start - start % {STEPS[step]}" if step else ""
            told = ", ".join(names)
            source = (
                f"spans JOIN names ON names.id = name WHERE length = {STEPS[piece.kind]} AND start >= ? AND start < ?"
            )
        head = f"{begun} AS begun, " if step else ""
        columns = "".join(f"{name}, " for name in LABELS)
        parts.append(f"SELECT {head}{columns}{told} FROM {source}{asked}")  # noqa: S608 (names of ours)
        args += (piece.since, piece.until, *(only or {}).values())
    wanted = [*(["begun"] if step else []), *groups]
    added = ", ".join(f"sum({name})" for name in names)
    if not parts:
        return
    group = f" GROUP BY {', '.join(str(i) for i in range(1, len(wanted) + 1))}" if wanted else ""
    query = f"SELECT {', '.join([*wanted, added])} FROM ({' UNION ALL '.join(parts)}) AS pieces{group}"  # noqa: S608 (names of ours)
    yield from connection.execute(query, args)


def differing(connection: Connection) -> str:
    """The first length of span ("hour" or "day") whose sums are not those of the rows; "" if none."""
    added = ", ".join(f"sum({told})" for told in _ROW.values())
    whole = connection.execute(f"SELECT {added} FROM ledger").fetchone()  # noqa: S608 (names of ours)
    names = ", ".join(f"sum({name})" for name in SUMS)
    for kind, length in STEPS.items():
        kept = connection.execute(f"SELECT {names} FROM spans WHERE length = ?", (length,)).fetchone()  # noqa: S608 (names of ours)
        if kept != whole:
            return kind
    return ""
