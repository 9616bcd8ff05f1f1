"""Sums of the ledger over time, exact to the row, without reading millions of them.

The table `spans` has the sums of each hour and each day (UTC) per set of names, which are in `names`. A span of time is made
of whole days, whole hours at its ends and single rows at the ends of those, so that any instant may be its end. PostgreSQL
adds each row to both in its own transaction; in SQLite they are folded later (see `folding`), and whoever asks adds the
rows that are not folded yet.
"""

import sqlite3
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
_LENGTHS: Mapping[str, int] = {**STEPS, "all": 0}  # of what SQLite keeps; PostgreSQL has all time in `totals`


def added(names: Sequence[str]) -> str:
    """SQL of what a group of rows adds to these sums."""
    return ", ".join(f"sum({_ROW[name]})" for name in names)


def folds(connection: Connection) -> bool:
    """Whether rows get into the sums later, those of all time too."""
    return isinstance(connection, sqlite3.Connection)


def unfolded(length: int) -> str:
    """SQL of which rows are not in the sums of this length yet. To be read in one statement with the sums, or in one
    transaction.
    """
    return f"seq > (SELECT seq FROM folds WHERE length = {length})"  # noqa: S608 (a number)


Kind = Literal["all", "day", "hour", "row"]


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a span of time, and where its sums are: those of whole days or hours, or the rows themselves."""

    kind: Kind
    since: int  # microseconds since 1970
    until: int  # exclusive


def pieces(since: int | None, until: int | None, step: Literal["day", "hour"] = "day") -> list[Piece]:
    """[since, until) as whole days (not where `step` is an hour), whole hours and rest; None is open."""
    low, high = -FOREVER if since is None else since, FOREVER if until is None else until
    out: list[Piece] = []
    _cut(low, high, ("day", "hour", "row") if step == "day" else ("hour", "row"), out)
    return out


def _cut(low: int, high: int, kinds: Sequence[Kind], out: list[Piece]) -> None:
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
    columns = "".join(f"{name}, " for name in LABELS)
    row = ", ".join(f"{_ROW[name]} AS {name}" for name in names)
    later = folds(connection)
    whole = later and since is None and until is None and step is None
    for piece in [Piece("all", -FOREVER, FOREVER)] if whole else pieces(since, until, step or "day"):
        begun = f"at - at % {STEPS[step]} AS begun, " if step else ""
        rows = f"SELECT {begun}{columns}{row} FROM ledger WHERE"  # noqa: S608 (names of ours)
        sources = [f"{rows} at >= ? AND at < ?{asked}"]
        if piece.kind != "row":
            length = _LENGTHS[piece.kind]
            begun = f"start - start % {STEPS[step]} AS begun, " if step else ""
            kept = f"spans JOIN names ON names.id = name WHERE length = {length} AND start >= ? AND start < ?"
            sources = [f"SELECT {begun}{columns}{', '.join(names)} FROM {kept}{asked}"]  # noqa: S608 (names of ours)
            if later:  # the pluses keep SQLite from the index of `at`
                sources.append(f"{rows} {unfolded(length)} AND +at >= ? AND +at < ?{asked}")
        for source in sources:
            parts.append(source)
            args += (piece.since, piece.until, *(only or {}).values())
    wanted = [*(["begun"] if step else []), *groups]
    if not parts:
        return
    told = ", ".join(f"sum({name})" for name in names)
    group = f" GROUP BY {', '.join(str(i) for i in range(1, len(wanted) + 1))}" if wanted else ""
    query = f"SELECT {', '.join([*wanted, told])} FROM ({' UNION ALL '.join(parts)}) AS pieces{group}"  # noqa: S608 (names of ours)
    yield from connection.execute(query, args)


def differing(connection: Connection) -> str:
    """The first length of span ("hour", "day" or "all") whose sums are not those of the rows that are in them; "" if none."""
    names = ", ".join(f"sum({name})" for name in SUMS)
    later = folds(connection)
    for kind, length in (_LENGTHS if later else STEPS).items():
        where = f" WHERE NOT {unfolded(length)}" if later else ""
        whole = connection.execute(f"SELECT {added(SUMS)} FROM ledger{where}").fetchone()  # noqa: S608 (names of ours)
        kept = connection.execute(f"SELECT {names} FROM spans WHERE length = ?", (length,)).fetchone()  # noqa: S608 (names of ours)
        if kept != whole:
            return kind
    return ""
