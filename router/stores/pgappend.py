"""Entries into PostgreSQL: rows in the chain, and the sums that are kept of them, in one transaction.

Whoever appends has the row of `head` locked from before the chain is gone on with until the commit, so that numbers have no
gaps and are in the order of commits. All that can be is worked out before, since every replica waits for that lock.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from router.core.entry import Entry
from router.core.lease import GRACE_S, MICROS
from router.stores import spans
from router.stores.leases import JOURNAL
from router.stores.ledgerfile import GENESIS, closed, hashed, values_of
from router.stores.pgconnection import NOW, Raw
from router.stores.pgschema import by_month, make_month, month_after, month_of
from router.stores.ports import SUMS, TOTAL_FIELDS, Total, labels_of
from router.stores.schema import COLUMNS
from router.stores.spans import DAY, HOUR, LABELS

Names = tuple[str, ...]
_MOST_NAMES = 100_000  # ids that are remembered, so that they need not be asked for
_COPY = f"COPY ledger (seq, hash, {', '.join(COLUMNS)}) FROM STDIN"
_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


def _arrays(texts: int, numbers: int) -> str:
    return ", ".join(["%s::text[]"] * texts + ["%s::bigint[]"] * numbers)


def _added(table: str, names: Iterable[str]) -> str:
    return ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in names)


_ADD_SPEND = f"""INSERT INTO spend (account, start, nano) SELECT * FROM unnest({_arrays(1, 2)})
    ON CONFLICT (account, start) DO UPDATE SET nano = spend.nano + excluded.nano"""  # noqa: S608 (names of ours)
_ADD_TOTALS = f"""INSERT INTO totals ({", ".join(TOTAL_FIELDS)}) SELECT * FROM unnest({_arrays(8, len(SUMS))})
    ON CONFLICT ({", ".join(TOTAL_FIELDS[:8])}) DO UPDATE SET {_added("totals", SUMS)}"""  # noqa: S608 (names of ours)
_ADD_SPANS = f"""INSERT INTO spans (length, start, name, {", ".join(spans.SUMS)})
    SELECT * FROM unnest({_arrays(0, 3 + len(spans.SUMS))})
    ON CONFLICT (length, start, name) DO UPDATE SET {_added("spans", spans.SUMS)}"""  # noqa: S608 (names of ours)
_ADD_NAMES = f"""INSERT INTO names ({", ".join(LABELS)}) SELECT * FROM unnest({_arrays(len(LABELS), 0)})
    ON CONFLICT DO NOTHING"""  # noqa: S608 (names of ours)
_FIND_NAMES = f"""SELECT id, {", ".join(f"names.{name}" for name in LABELS)} FROM names
    JOIN unnest({_arrays(len(LABELS), 0)}) AS asked({", ".join(LABELS)}) USING ({", ".join(LABELS)})"""  # noqa: S608 (names of ours)
_SETTLE = f"""UPDATE leases SET settled = leases.settled + paid.nano FROM unnest({_arrays(1, 2)}) AS paid(account, start, nano)
    WHERE leases.account = paid.account AND leases.start = paid.start AND leases.replica = %s"""  # noqa: S608 (names of ours)
_LEFT = "SELECT body FROM attempts WHERE replica = %s ORDER BY id"
_ORPHANS = "SELECT body FROM attempts WHERE replica NOT IN (SELECT id FROM replicas) ORDER BY id"
# Its row goes first: nothing can be opened under its name from then on.
_DIES = f"DELETE FROM replicas WHERE id = %s AND (%s OR until < {NOW} - %s)"  # noqa: S608 (fixed text)


@dataclass(slots=True)
class _Sum(Total):
    """Sums as spans have them."""

    prompt_estimate: int = 0
    prompt_billed: int = 0

    def count(self, entry: Entry) -> None:
        self.add(entry)
        estimate, billed = entry.attempt.prompt_estimate, entry.usage.input_total
        if estimate is not None and billed and entry.basis != "estimated" and entry.outcome != "error":
            self.prompt_estimate += estimate
            self.prompt_billed += billed


@dataclass(slots=True)
class Batch:
    """Entries, made ready to be written; each of them once."""

    entries: list[Entry]
    hashed: list[bytes] = field(default_factory=list)  # what of each goes into the chain
    lines: list[str] = field(default_factory=list)  # each as COPY reads it, from the first of `COLUMNS` on
    spend: dict[tuple[str, int], int] = field(default_factory=dict)
    sums: dict[tuple[int, Names], _Sum] = field(default_factory=dict)  # by hour

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> "Batch":
        batch = cls(list({entry.attempt.id: entry for entry in reversed(list(entries))}.values())[::-1])
        for entry in batch.entries:
            batch._add(entry)
        return batch

    def _add(self, entry: Entry) -> None:
        values = values_of(entry)
        line = "\t".join(map(_cell, values))
        if "\0" in line:  # which PostgreSQL keeps in no text
            values = tuple(v.replace("\0", "\ufffd") if isinstance(v, str) else v for v in values)
            line = "\t".join(map(_cell, values))
        self.hashed.append(hashed(values))
        self.lines.append(line)
        for account, start, nano in entry.charges:
            self.spend[account, start] = self.spend.get((account, start), 0) + nano
        a = entry.attempt
        key = a.at - a.at % HOUR, (
            a.team, a.key, a.route, a.model, a.vendor, a.tier, entry.outcome, a.currency, a.vendor_currency,
        )  # fmt: skip
        if (found := self.sums.get(key)) is None:
            found = self.sums[key] = _Sum(*labels_of(entry))
        found.count(entry)

    def names(self) -> set[Names]:
        return {names for _, names in self.sums}

    def spans(self, ids: dict[Names, int]) -> list[tuple[int, ...]]:
        """What is added to the sums of hours and days."""
        out: dict[tuple[int, int, int], list[int]] = {}
        for (hour, names), found in self.sums.items():
            added = [getattr(found, name) for name in spans.SUMS]
            for length, start in ((HOUR, hour), (DAY, hour - hour % DAY)):
                _plus(out, (length, start, ids[names]), added)
        return [(*key, *sums) for key, sums in out.items()]

    def totals(self) -> list[tuple[Any, ...]]:
        """What is added to the sums of all time."""
        out: dict[Names, list[int]] = {}
        for found in self.sums.values():
            _plus(out, found.labels, [getattr(found, name) for name in SUMS])
        return [(*labels, *sums) for labels, sums in out.items()]


def _plus(sums: dict[Any, list[int]], key: Any, added: list[int]) -> None:
    there = sums.get(key)
    sums[key] = added if there is None else [a + b for a, b in zip(there, added, strict=True)]


def _cell(value: Any) -> str:
    """A value in COPY's text."""
    if value is None:
        return r"\N"
    if isinstance(value, str):
        return value if value.isprintable() and "\\" not in value else value.translate(_ESCAPES)
    return repr(value)


class Appender:
    """What one connection knows of the database that it appends to."""

    def __init__(self) -> None:
        self._by_month: bool | None = None
        self._months: set[int] = set()
        self._names: dict[Names, int] = {}

    def write(self, raw: Raw, entries: Iterable[Entry], replica: str) -> None:
        """Append in a transaction of its own; entries that are there already change nothing. Raises `psycopg.Error`."""
        batch = Batch.of(entries)
        self.prepare(raw, batch)
        try:
            self._transact(raw, batch, replica)
        except psycopg.errors.UniqueViolation:  # some are there already
            raw.execute("ROLLBACK")
            self._transact(raw, batch, replica, again=True)
        except psycopg.errors.CheckViolation:  # somebody has taken a part away
            raw.execute("ROLLBACK")
            self._months.clear()
            self.prepare(raw, batch)
            self._transact(raw, batch, replica, again=True)

    def _transact(self, raw: Raw, batch: Batch, replica: str, *, again: bool = False) -> None:
        raw.execute("BEGIN")
        seq, last = lock_head(raw)
        ids = [entry.attempt.id for entry in batch.entries]
        if again:
            batch = without(raw, batch)
        self.append(raw, batch, seq, last, replica)
        raw.execute("DELETE FROM attempts WHERE id = ANY(%s)", (ids,))
        raw.execute("COMMIT")

    def prepare(self, raw: Raw, batch: Batch) -> None:
        """See that there is a part of the ledger for each row, and one for the month after, and that names have their ids."""
        if self._by_month is None:
            self._by_month = by_month(raw)
        if self._by_month:
            months = {month_of(entry.attempt.at) for entry in batch.entries}
            if months:
                months.add(month_after(max(months)))
            for start in sorted(months - self._months):
                make_month(raw, start)
                self._months.add(start)
        missing = sorted(batch.names() - self._names.keys())
        if missing:
            if len(self._names) > _MOST_NAMES:
                self._names.clear()
                missing = sorted(batch.names())
            columns = _turned(missing)
            raw.execute(_ADD_NAMES, columns)
            for number, *names in raw.execute(_FIND_NAMES, columns):
                self._names[tuple(names)] = number

    def append(self, raw: Raw, batch: Batch, seq: int, last: bytes, replica: str) -> None:
        """Rows and sums, within the transaction that has locked the end of the chain."""
        if not batch.entries:
            return
        out = []
        for one, line in zip(batch.hashed, batch.lines, strict=True):
            seq, last = seq + 1, hashlib.sha256(last + one).digest()
            out.append(f"{seq}\t\\\\x{last.hex()}\t{line}\n")
        with raw.cursor() as cursor, cursor.copy(_COPY) as copy:
            copy.write("".join(out))
        with raw.pipeline():
            paid = [(*key, nano) for key, nano in sorted(batch.spend.items())]
            if paid:
                raw.execute(_ADD_SPEND, _turned(paid))
                if replica:
                    raw.execute(_SETTLE, (*_turned(paid), replica))
            raw.execute(_ADD_TOTALS, _turned(batch.totals()))
            raw.execute(_ADD_SPANS, _turned(batch.spans(self._names)))
            raw.execute("UPDATE head SET seq = %s, hash = %s WHERE id = 1", (seq, last))

    def bury(self, raw: Raw, replica: str | None = None, *, surely: bool = False) -> list[Entry]:
        """Close at their holds the attempts of a replica that is dead, in the transaction that forgets it; without one those
        of all that are unknown. What they cost is nobody's who has leased.
        """
        find, args = (_LEFT, (replica,)) if replica is not None else (_ORPHANS, ())
        while True:
            left = raw.execute(find, args).fetchall()
            batch = Batch.of(closed(body) for (body,) in left)
            self.prepare(raw, batch)
            raw.execute("BEGIN")
            if replica is not None and raw.execute(_DIES, (replica, surely, int(GRACE_S * MICROS))).rowcount != 1:
                raw.execute("ROLLBACK")  # it lives, or somebody was faster
                return []
            seq, last = lock_head(raw)
            if raw.execute(find, args).fetchall() != left:  # it has opened another until just now
                raw.execute("ROLLBACK")
                continue
            ids = [entry.attempt.id for entry in batch.entries]
            batch = without(raw, batch)
            self.append(raw, batch, seq, last, "")
            raw.execute("DELETE FROM attempts WHERE id = ANY(%s)", (ids,))
            if replica is not None and not replica.startswith(JOURNAL):
                raw.execute("DELETE FROM leases WHERE replica = %s", (replica,))
            raw.execute("COMMIT")
            return batch.entries


def lock_head(raw: Raw) -> tuple[int, bytes]:
    """Make this transaction the only one that appends: (the last row's number, its hash)."""
    query = "SELECT seq, hash FROM head WHERE id = 1 FOR UPDATE"
    found: tuple[int, bytes] | None = raw.execute(query).fetchone()
    return found or (0, GENESIS)


def without(raw: Raw, batch: Batch) -> Batch:
    """A batch without what is in the ledger already; the end of the chain is locked."""
    if not batch.entries:
        return batch
    ats = [entry.attempt.at for entry in batch.entries]
    query = "SELECT id FROM ledger WHERE id = ANY(%s) AND at >= %s AND at <= %s"
    there = {
        name for (name,) in raw.execute(query, ([entry.attempt.id for entry in batch.entries], min(ats), max(ats)))
    }
    return Batch.of(entry for entry in batch.entries if entry.attempt.id not in there)


def _turned(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Rows as one array for each column."""
    return [list(column) for column in zip(*rows, strict=True)]
