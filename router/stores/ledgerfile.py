"""The ledger, whichever database it is in: how it is opened, brought up to date, read and proved. Writers are in `sqlite` and
`postgres`.
"""

import contextlib
import hashlib
import math
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import orjson

from router.core.entry import Entry, abandoned
from router.core.limits import Budget, moment
from router.core.money import Rate, convert_nano, show
from router.core.reprice import Consumed
from router.core.usage import KINDS, LEAVES, Usage
from router.stores import spans
from router.stores.journal import attempt_of
from router.stores.place import Connection, Place
from router.stores.ports import TOTAL_FIELDS, Apart, FreeSpan, FreeTaken, StoredKey, StoreDown, Total
from router.stores.schema import ALWAYS_HASHED, COLUMNS
from router.stores.sqlitefile import connect_file, migrate_file

GENESIS = bytes(32)  # what the first row's hash follows


def connect(place: Place, *, write: bool = False) -> Connection:
    """A connection as the store uses it; read-only unless told otherwise. Raises `StoreDown`."""
    if isinstance(place, Path):
        return connect_file(place, write=write)
    from router.stores import pgconnection  # noqa: PLC0415 (its driver need not be installed)

    return pgconnection.connect(place, write=write)


def migrate(place: Place) -> tuple[int, int]:
    """Bring the store to this version's schema: (version before, version now). Raises `StoreDown`."""
    if isinstance(place, Path):
        return migrate_file(place)
    from router.stores import pgschema  # noqa: PLC0415 (its driver need not be installed)

    return pgschema.migrate(place)


def exists(place: Place) -> bool:
    """Whether there is a store that can be read. Raises `StoreDown`."""
    if isinstance(place, Path):
        return place.exists()
    from router.stores import pgschema  # noqa: PLC0415 (its driver need not be installed)

    return pgschema.exists(place)


def chain(last: bytes, values: Sequence[Any]) -> bytes:
    """The hash of a row: over the one before it and its own columns, so that no row can be changed, added or removed unseen."""
    return hashlib.sha256(last + hashed(values)).digest()


def hashed(values: Sequence[Any]) -> bytes:
    """What of a row is hashed. Columns that were added later count up to the last that is not NULL: see `ALWAYS_HASHED`."""
    end = len(values)
    while end > ALWAYS_HASHED and values[end - 1] is None:
        end -= 1
    return orjson.dumps(values[:end])


def values_of(entry: Entry) -> tuple[Any, ...]:
    """An entry as the ledger's columns."""
    a, u = entry.attempt, entry.usage
    return (
        a.id, a.request_id, a.number, a.at, a.team, a.key, a.route, a.model, a.vendor, a.tier, entry.outcome,
        entry.basis, u.input_fresh, u.cache_read, u.cache_write_5m, u.cache_write_1h, u.output_text, u.output_reasoning,
        entry.cost, a.currency, entry.vendor_cost, a.vendor_currency, entry.flagship_cost, a.held, a.price, a.reason,
        orjson.dumps(dict(a.tags)).decode() if a.tags else "{}", int(entry.final), entry.first_byte_ms, entry.total_ms,
        u.input_audio, u.input_image, u.input_prepaid, u.output_audio, u.output_image, u.output_rejected,
        u.output_prepaid, u.searches, u.images, entry.list_cost, entry.service_tier, entry.free_tokens,
        a.prompt_estimate, a.prompt_high, entry.vendor_id, entry.fixed_cost, a.propensity,
    )  # fmt: skip


def rows(connection: Connection, after: int = 0, limit: int = -1) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows in the contract's form, with their sequence numbers."""
    yield from _rows(connection, "seq > ? ORDER BY seq LIMIT ?", (after, sys.maxsize if limit < 0 else limit))


def rows_of(connection: Connection, request_id: str) -> Iterator[dict[str, Any]]:
    """One request's rows, found by their ids, which are the request's and the attempt's number."""
    for _, row in _rows(connection, "id > ? AND id < ? ORDER BY attempt", (f"{request_id}.", f"{request_id}/")):
        yield row


def _rows(connection: Connection, where: str, args: Sequence[Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    columns = ", ".join(COLUMNS)
    found = connection.execute(f"SELECT seq, hash, {columns} FROM ledger WHERE {where}", args)  # noqa: S608 (names of ours)
    for seq, digest, *values in found:
        row: dict[str, Any] = dict(zip(COLUMNS, values, strict=True))
        usage = {name: count for name in LEAVES if (count := row.pop(name)) is not None}
        for name in ("cost", "vendor_cost", "flagship_cost", "held", "list_cost", "fixed_cost"):
            row[name] = None if row[name] is None else show(row[name])
        row["at"] = moment(row["at"]).isoformat(timespec="microseconds").replace("+00:00", "Z")
        row["tags"] = orjson.loads(row["tags"])
        row["final"] = bool(row["final"])
        yield seq, {**row, "usage": usage, "hash": digest.hex()}


def totals(connection: Connection, since: int | None = None, until: int | None = None) -> list[Total]:
    """The sums that are kept; for a span of time [since, until), the same from those of its days, hours and rows."""
    fields = TOTAL_FIELDS
    if since is None and until is None and not spans.folds(connection):
        found: Iterable[Any] = connection.execute(f"SELECT {', '.join(fields)} FROM totals")  # noqa: S608 (names of ours)
    else:
        found = spans.summed(connection, fields[:8], fields[8:], since, until)
    return [Total(**dict(zip(fields, values, strict=True))) for values in found]


def apart(
    connection: Connection, since: int | None = None, until: int | None = None, *, days: bool = False
) -> list[Apart]:
    """The sums of a span of time for each key, and for each day (UTC) where `days`."""
    groups, out = (*TOTAL_FIELDS[:8], GROUPS["key"]), []
    for values in spans.summed(connection, groups, TOTAL_FIELDS[8:], since, until, "day" if days else None):
        begun, found = (values[0], values[1:]) if days else (0, values)
        named = dict(zip((*TOTAL_FIELDS[:8], "key", *TOTAL_FIELDS[8:]), found, strict=True))
        out.append(Apart(**named, day=moment(begun).date().isoformat() if days else ""))
    return out


def counted(connection: Connection) -> list[Total]:
    """What `totals` has to be: the rows, added up."""
    labels = ", ".join(TOTAL_FIELDS[:8])
    fields = (*TOTAL_FIELDS[:8], *SUMMED, "vendor_cost")
    found = connection.execute(f"SELECT {labels}, {SUMS_SQL}, sum(vendor_cost) FROM ledger GROUP BY {labels}")  # noqa: S608 (names of ours)
    return [Total(**dict(zip(fields, values, strict=True))) for values in found]


def verify(connection: Connection) -> Iterator[tuple[int, bool]]:
    """Walk the chain: (sequence number, whether the row is as it was written and follows the one before it)."""
    last, expected, after = GENESIS, 1, -sys.maxsize
    query = f"SELECT seq, hash, {', '.join(COLUMNS)} FROM ledger WHERE seq > ? ORDER BY seq LIMIT {PAGE}"  # noqa: S608 (names of ours)
    while True:
        found = 0
        for found, (seq, digest, *values) in enumerate(connection.execute(query, (after,)), 1):  # noqa: B007 (its last)
            whole = math.inf not in values and -math.inf not in values  # JSON writes them as it does NULL
            yield seq, whole and seq == expected and chain(last, values) == digest
            last, expected = digest, seq + 1
        if found < PAGE:
            return
        after = expected - 1


def head(connection: Connection) -> tuple[int, bytes] | None:
    """The number and the hash of the last row as it was written, which the ledger's end has to be; None while there is none."""
    found: tuple[int, bytes] = connection.execute("SELECT seq, hash FROM head").fetchone() or (0, GENESIS)
    return found if found[0] else None


def last_row(connection: Connection) -> tuple[int, bytes] | None:
    """The number and the hash of the newest row; None while there is none."""
    found: tuple[int, bytes] | None = connection.execute(
        "SELECT seq, hash FROM ledger ORDER BY seq DESC LIMIT 1"
    ).fetchone()
    return found


_SET_SPEND = """INSERT INTO spend (account, start, nano) VALUES (?, ?, ?)
    ON CONFLICT (account, start) DO UPDATE SET nano = excluded.nano"""


def open_attempts(connection: Connection) -> list[Entry]:
    return [closed(body) for (body,) in connection.execute("SELECT body FROM attempts ORDER BY id")]


def closed(body: bytes) -> Entry:
    """How an attempt is closed that a dead process has left open, as it was stored."""
    return abandoned(attempt_of(orjson.loads(body)))


def spent(
    connection: Connection, accounts: Sequence[tuple[Budget, int]], rates: Mapping[str, Rate], replica: str = ""
) -> tuple[Mapping[str, int], bool]:
    """(settled money per account, whether all who write have the same accounts). An account that was not live when rows
    were written is counted anew from the rows, so that a budget added in the middle of a month knows what the month has
    cost. While a replica has other accounts than this one it writes rows that do not count in all of them: none becomes
    live until then, and none ceases to be.
    """
    out: dict[str, int] = {}
    connection.execute("BEGIN IMMEDIATE")
    even = not replica or _says(connection, replica, config_of(accounts))
    live = {name for (name,) in connection.execute("SELECT account FROM accounts WHERE live <> 0")}
    for budget, start in sorted(accounts, key=lambda one: (one[0].account, one[1])):  # as draws on leases lock them
        if budget.account not in live:
            spent = _count_anew(connection, budget, start, rates)
            connection.execute(_SET_SPEND, (budget.account, start, spent))
            connection.execute(
                "INSERT INTO accounts (account, live) VALUES (?, ?) ON CONFLICT (account) DO UPDATE SET live = excluded.live",
                (budget.account, int(even)),
            )
            live.add(budget.account)
        found = connection.execute(
            "SELECT nano FROM spend WHERE account = ? AND start = ?", (budget.account, start)
        ).fetchone()
        out[budget.account] = found[0] if found else 0
    gone = live - {budget.account for budget, _ in accounts}
    if even:
        connection.executemany("UPDATE accounts SET live = 0 WHERE account = ?", [(name,) for name in gone])
    connection.execute("COMMIT")
    return out, even


def config_of(accounts: Iterable[tuple[Budget, int]]) -> str:
    """Tells one set of accounts from another."""
    return hashlib.sha256("\n".join(sorted(budget.account for budget, _ in accounts)).encode()).hexdigest()[:16]


def _says(connection: Connection, replica: str, config: str) -> bool:
    """Say which accounts a replica has; whether all have the same."""
    connection.execute("UPDATE replicas SET config = ? WHERE id = ?", (config, replica))
    return is_even(connection, config)


def is_even(connection: Connection, config: str) -> bool:
    """Whether all replicas have these accounts."""
    found = connection.execute("SELECT count(*) FROM replicas WHERE config <> ?", (config,)).fetchone()
    return bool(found[0] == 0)


def spent_later(connection: Connection, accounts: Iterable[tuple[Budget, int]]) -> Mapping[str, Mapping[int, int]]:
    """Settled money per account in windows that start after the given instant: there is some where a clock was set back."""
    query = "SELECT start, nano FROM spend WHERE account = ? AND start > ?"
    return {budget.account: dict(connection.execute(query, (budget.account, start))) for budget, start in accounts}


def settled(
    connection: Connection, accounts: Iterable[tuple[Budget, int]], rates: Mapping[str, Rate]
) -> Mapping[str, int]:
    """What each budget's account has settled in the window that starts at the given instant; writes nothing."""
    live = {name for (name,) in connection.execute("SELECT account FROM accounts WHERE live <> 0")}
    query = "SELECT nano FROM spend WHERE account = ? AND start = ?"
    out: dict[str, int] = {}
    for budget, start in accounts:
        if budget.account in live:
            found = connection.execute(query, (budget.account, start)).fetchone()
            out[budget.account] = found[0] if found else 0
        else:
            out[budget.account] = _count_anew(connection, budget, start, rates)
    return out


def _count_anew(connection: Connection, budget: Budget, start: int, rates: Mapping[str, Rate]) -> int:
    """What a budget's window has cost, from the sums of its days and hours and the rows of its first."""
    team, _, key = budget.owner.partition("/")
    only = {} if budget.owner == "*" else {"team": team, "key": key} if key else {"team": team}
    found = spans.summed(connection, ("currency", "vendor_currency"), ("cost", "vendor_cost"), start, only=only)
    total = 0
    for currency, vendor_currency, cost, vendor_cost in found:
        if vendor_currency == budget.currency:
            total += vendor_cost
        elif currency == budget.currency:
            total += cost
        else:
            total += convert_nano(cost, rates[currency].then(rates[budget.currency].inverse()))
    return total


def count_free(connection: Connection, accounts: Iterable[tuple[FreeSpan, str, int, str]]) -> None:
    """Set what has been settled in accounts of free quotas to what rows took."""
    connection.execute("BEGIN IMMEDIATE")
    for span, account, start, unit in accounts:
        taken = free_taken(connection, span)
        connection.execute(_SET_SPEND, (account, start, taken.tokens if unit == "tokens" else taken.rows))
    connection.execute("COMMIT")


def free_taken(connection: Connection, span: FreeSpan) -> FreeTaken:
    """What the rows of a span took from a free quota; a row that took nothing has NULL."""
    names = ", ".join("?" * len(span.models))
    query = f"""SELECT count(*), coalesce(sum(free_tokens), 0) FROM ledger WHERE free_tokens IS NOT NULL
        AND vendor = ? AND model IN ({names}) AND at >= ? AND at < ?"""  # noqa: S608 (fixed text)
    return FreeTaken(*connection.execute(query, (span.vendor, *span.models, span.since, span.until)).fetchone())


# What a report may be grouped by, as SQL; a key's name is only unique within its team. Days are a step, not a name.
GROUPS: Mapping[str, str] = {
    "team": "team", "key": "team || '/' || key", "route": "route", "model": "model", "vendor": "vendor",
    "tier": "tier", "outcome": "outcome", "day": "",
}  # fmt: skip
_TOKENS = ", ".join(" + ".join(f"coalesce(sum({leaf}), 0)" for leaf in leaves) for leaves in KINDS.values())
SUMS_SQL = f"""sum(CASE WHEN attempt > 0 THEN 1 ELSE 0 END), sum(final), sum(cost),
    sum(CASE WHEN outcome <> 'error' AND flagship_cost > cost THEN flagship_cost - cost ELSE 0 END),
    sum(CASE WHEN basis = 'estimated' THEN cost ELSE 0 END), {_TOKENS}, sum(coalesce(fixed_cost, cost))"""
SUMMED = ("attempts", "requests", "cost", "saved", "estimated_cost", *KINDS, "fixed_cost")
# Prompt tokens as estimated and as billed, of the attempts where both are known.
PROMPTS = ("prompt_estimate", "prompt_billed")


def sums(
    connection: Connection, by: Sequence[str], since: int | None = None, until: int | None = None
) -> Iterator[tuple[Any, ...]]:
    """Sums over the attempts that began in [since, until), as (*groups, currency, *SUMMED, *PROMPTS); amounts are
    nano-units. In the order of days where they are asked for, else the dearest first.
    """
    groups = [*(GROUPS[name] for name in by if name != "day"), "currency"]
    step: Literal["day"] | None = "day" if "day" in by else None
    names = (*SUMMED, *PROMPTS)
    found = []
    for values in spans.summed(connection, groups, names, since, until, step):
        labels = list(values[: len(groups) + bool(step)])
        if step:
            labels.insert(by.index("day"), moment(labels.pop(0)).date().isoformat())
        found.append((*labels, *values[len(labels) :]))
    cost = len(by) + 1 + SUMMED.index("cost")
    day = by.index("day") if step else 0
    found.sort(key=lambda row: (row[day] if step else "", -row[cost], row))
    yield from found


_CONSUMED = (
    "seq", "at", "total_ms", "team", "model", "vendor", "cost", "currency", "vendor_cost", "vendor_currency",
    "service_tier", "free_tokens", *LEAVES,
)  # fmt: skip
PAGE = 5000  # rows for which a read is kept open, so that a slow reader never holds up the server's checkpoints


def count_of(connection: Connection, since: int, until: int) -> int:
    """How many attempts began in [since, until)."""
    found: int = connection.execute("SELECT count(*) FROM ledger WHERE at >= ? AND at < ?", (since, until)).fetchone()[
        0
    ]
    return found


def consumed(connection: Connection, since: int, until: int) -> Iterator[Consumed]:
    """The attempts that began in [since, until), page by page, as a price may depend on them."""
    query = f"SELECT {', '.join(_CONSUMED)} FROM ledger WHERE seq > ? AND seq <= ? AND attempt > 0 AND at >= ? AND at < ? ORDER BY seq LIMIT ?"  # noqa: S608 (names of ours)
    span = "SELECT min(seq) - 1, max(seq) FROM ledger WHERE at >= ? AND at < ?"
    after, last = connection.execute(span, (since, until)).fetchone()
    while after is not None and after < last:
        page = connection.execute(query, (after, last, since, until, PAGE)).fetchall()
        if not page:
            return
        for seq, at, took_ms, team, model, vendor, cost, currency, own, own_currency, tier, free, *leaves in page:
            after, ended = seq, at + 1000 * (took_ms or 0)
            usage = Usage(*leaves)
            yield Consumed(at, ended, team, model, vendor, cost, currency, own, own_currency, usage, tier, free)


def read_keys(connection: Connection) -> list[StoredKey]:
    columns = "id, team, name, sha256, created, expires, revoked"
    return [StoredKey(*found) for found in connection.execute(f"SELECT {columns} FROM keys ORDER BY created")]  # noqa: S608 (names of ours)


def add_key(place: Place, key: StoredKey) -> None:
    """Store a key's hash. Raises `StoreDown`."""
    with contextlib.closing(connect(place, write=True)) as connection:
        try:
            connection.execute(
                "INSERT INTO keys (id, team, name, sha256, created, expires, revoked) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (key.id, key.team, key.name, key.sha256, key.created, key.expires, key.revoked),
            )
        except sqlite3.Error as error:
            raise StoreDown(f"{place}: {error}") from None


def revoke_key(place: Place, key_id: str, now: int) -> bool:
    """Revoke a key; False if there is no such key that is still valid. Raises `StoreDown`."""
    with contextlib.closing(connect(place, write=True)) as connection:
        try:
            done = connection.execute("UPDATE keys SET revoked = ? WHERE id = ? AND revoked IS NULL", (now, key_id))
        except sqlite3.Error as error:
            raise StoreDown(f"{place}: {error}") from None
        return done.rowcount == 1
