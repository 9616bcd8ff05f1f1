"""The ledger's rows replayed: priced by SQLite where that is exact, handed to `core.replay` where it takes a look."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from router.core.conditions import ORDINARY_TIERS
from router.core.replay import GroupKey, Replay
from router.core.reprice import Consumed
from router.core.usage import LEAVES, MOST, Usage

_USUAL = ("input_fresh", "cache_read", "cache_write_5m", "cache_write_1h", "output_text", "output_reasoning")
_OTHERS = " OR ".join(leaf for leaf in LEAVES if leaf not in _USUAL)  # NULL, which is false, where all are
_ORDINARY = ", ".join(f"'{name}'" for name in sorted({"", *ORDINARY_TIERS}))
_ODD = f"""free_tokens IS NOT NULL OR {_OTHERS}
    OR (service_tier IS NOT NULL AND lower(service_tier) NOT IN ({_ORDINARY}))"""
_COLUMNS = f"""seq, at, team, route, model, vendor, vendor_currency, final,
    CASE WHEN currency = ? THEN cost END, {", ".join(f"ifnull({leaf}, 0)" for leaf in _USUAL)}, {_ODD}"""
_CONSUMED = (
    "at", "total_ms", "team", "model", "vendor", "cost", "currency", "vendor_cost", "vendor_currency", "service_tier",
    "free_tokens", *LEAVES,
)  # fmt: skip


CHUNK = 20_000  # rows for which a read is kept open, so that it never holds up the server's checkpoints for long
_TERMS = (
    "team", "route", "model", "vendor", "own", "thinking", "low", "high", *(f"r{i}" for i in range(len(_USUAL))), "num",
    "den", "dry", "tally",
)  # fmt: skip
_SIZE = " + ".join(f"ifnull({leaf}, 0)" for leaf in _USUAL[:4])
_PICO = " + ".join(f"ifnull({leaf}, 0) * r{i}" for i, leaf in enumerate(_USUAL))
# Exact, and in 64 bits: what is left of a division is multiplied apart. See `_fits`.
_AMOUNT = f"({_PICO}) / den * num + (({_PICO}) % den * num + den - 1) / den"
_MATCH = f"""terms.team = ledger.team AND terms.route = ledger.route AND terms.model = ledger.model
    AND terms.vendor = ledger.vendor AND own = vendor_currency AND thinking = (ifnull(output_reasoning, 0) > 0)
    AND low <= {_SIZE} AND high >= {_SIZE}
    AND (NOT dry OR ifnull(output_text, 0) + ifnull(output_reasoning, 0) = 0)"""
_SPAN = "seq > ?1 AND seq <= ?2 AND at >= ?3 AND at < ?4"
_PRICED = f"""SELECT tally, count(*), sum(final), sum(cost), sum({_AMOUNT}) FROM ledger CROSS JOIN terms ON {_MATCH}
    WHERE {_SPAN} AND currency = ?5 AND NOT ifnull({_ODD}, 0) GROUP BY tally"""  # noqa: S608 (names of ours)
_ALL = f"SELECT {_COLUMNS.replace('?', '?5')} FROM ledger WHERE {_SPAN}"  # noqa: S608 (names of ours)
_REST = f"""SELECT {_COLUMNS.replace("?", "?5")} FROM ledger WHERE {_SPAN}
    AND (currency <> ?5 OR ifnull({_ODD}, 0) OR NOT EXISTS (SELECT 1 FROM terms WHERE {_MATCH}))"""  # noqa: S608 (names of ours)


def replayed(connection: sqlite3.Connection, replay: Replay, since: int, until: int) -> Iterator[int]:
    """Replay the attempts that began in [since, until); yields how many are done, now and then.

    SQLite prices what needs no look of its own, by a table of which rows are priced how; the rest goes row by row.
    """
    reporting = replay.rates.reporting
    span = "SELECT min(seq) - 1, max(seq) FROM ledger WHERE at >= ? AND at < ?"
    after, last = connection.execute(span, (since, until)).fetchone()
    if after is None:
        return
    connection.execute("PRAGMA temp_store = MEMORY")
    key = "team, route, model, vendor, own, thinking, low"
    connection.execute(f"CREATE TEMP TABLE terms ({', '.join(_TERMS)}, PRIMARY KEY ({key})) WITHOUT ROWID")
    keys = connection.execute("SELECT DISTINCT team, route, model, vendor, vendor_currency FROM names").fetchall()
    tables: dict[tuple[int, int], _Table] = {}
    filled: tuple[int, int] | None = None
    while after < last:
        upto = min(last, after + CHUNK)
        bounds = "SELECT min(at), max(at), count(*) FROM ledger WHERE seq > ? AND seq <= ? AND at >= ? AND at < ?"
        oldest, newest, count = connection.execute(bounds, (after, upto, since, until)).fetchone()
        at = oldest
        while count and at <= newest:
            window = replay.window(at)
            if window is not None and window not in tables:
                table = _table(replay, keys, at)
                if (window := replay.window(at)) is not None:
                    tables[window] = table
            if window is None:  # there is a price that the clock decides: each row is looked at
                replay.add(connection.execute(_ALL, (after, upto, max(at, since), newest + 1, reporting)).fetchall())
                break
            table = tables[window]
            if window != filled:
                _fill(connection, table)
                filled = window
            args = (after, upto, max(at, since), min(window[1], newest + 1), reporting)
            done = 0
            for place, *sums in connection.execute(_PRICED, args):
                done += sums[0]
                for i, amount in enumerate(sums):
                    table.tallies[place][i] += amount
            whole = args[2] == max(oldest, since) and args[3] == newest + 1
            if done < (count if whole else _count(connection, args[:4])):
                replay.add(connection.execute(_REST, args).fetchall())
            at = args[3]
        after = upto
        yield count


def _count(connection: sqlite3.Connection, args: Sequence[Any]) -> int:
    found: int = connection.execute(f"SELECT count(*) FROM ledger WHERE {_SPAN}", args).fetchone()[0]  # noqa: S608 (names of ours)
    return found


def _fill(connection: sqlite3.Connection, table: "_Table") -> None:
    connection.execute("DELETE FROM terms")
    places = ", ".join("?" * len(_TERMS))
    connection.executemany(f"INSERT INTO terms VALUES ({places})", table.rows)  # noqa: S608 (question marks)
    connection.commit()  # or the view of the ledger that it began would be kept to the end


@dataclass(slots=True)
class _Table:
    """Which rows are priced how within a window, and the tallies that they go to, in the order of their numbers."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    tallies: list[list[int]] = field(default_factory=list)


def _table(replay: Replay, keys: Sequence[GroupKey], at: int) -> _Table:
    """The table of the window around an instant."""
    while True:
        window, table, numbers = replay.window(at), _Table(), dict[int, int]()
        for key in keys:
            for thinking in (False, True):
                for low, high, terms in replay.intervals(key, at, thinking=thinking):
                    tally, *rates, num, den, dry = terms
                    if not _fits(rates, num, den):
                        continue
                    if (place := numbers.get(id(tally))) is None:
                        place = numbers[id(tally)] = len(table.tallies)
                        table.tallies.append(tally)
                    table.rows.append((*key, thinking, low, high, *rates, num, den, dry, place))
        if replay.window(at) == window:  # looking for prices may have found one that changes meanwhile
            return table


def _fits(rates: Sequence[int], num: int, den: int) -> bool:
    """Whether no amount can be more than 64 bits hold, however many tokens there are."""
    pico = sum(rates) * MOST
    return max(pico, den * num + den, pico * num // den + num) < 2**62


def reader(connection: sqlite3.Connection) -> Callable[[int], Consumed]:
    """One row in full, by its number."""
    query = f"SELECT {', '.join(_CONSUMED)} FROM ledger WHERE seq = ?"  # noqa: S608 (names of ours)

    def read(seq: int) -> Consumed:
        found = connection.execute(query, (seq,)).fetchone()
        at, took_ms, team, model, vendor, cost, currency, own, own_currency, tier, free, *leaves = found
        ended, usage = at + 1000 * (took_ms or 0), Usage(*leaves)
        return Consumed(at, ended, team, model, vendor, cost, currency, own, own_currency, usage, tier, free)

    return read
