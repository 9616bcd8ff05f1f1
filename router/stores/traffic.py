"""The ledger's rows replayed: priced by SQLite where that is exact, handed to `core.replay` where it takes a look."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from router.core.conditions import ORDINARY_TIERS
from router.core.limits import FOREVER
from router.core.replay import GroupKey, Replay
from router.core.reprice import Consumed
from router.core.usage import LEAVES, MOST, Usage
from router.stores.place import Connection

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


ANSWER = 20_000  # rows that are fetched at once where they are elsewhere
CHUNK = 2000  # rows that SQLite sorts at once; also, a read is never kept open so long that it held up checkpoints
_TERMS = (  # the name that tells most apart first, so that a look is short
    "model", "team", "route", "vendor", "own", "thinking", "low", "high", *(f"r{i}" for i in range(len(_USUAL))), "num",
    "den", "dry", "tally",
)  # fmt: skip
_SIZE = " + ".join(f"ifnull({leaf}, 0)" for leaf in _USUAL[:4])
_PICO = " + ".join(f"ifnull({leaf}, 0) * r{i}" for i, leaf in enumerate(_USUAL))
_AMOUNT = "pico / den * num + (pico % den * num + den - 1) / den"  # exact, rounded up, and in 64 bits: see `_fits`
_MATCH = f"""terms.team = ledger.team AND terms.route = ledger.route AND terms.model = ledger.model
    AND terms.vendor = ledger.vendor AND own = vendor_currency AND thinking = (ifnull(output_reasoning, 0) > 0)
    AND low <= {_SIZE} AND high >= {_SIZE}
    AND (NOT dry OR ifnull(output_text, 0) + ifnull(output_reasoning, 0) = 0)"""
# The plus keeps SQLite from the index of `at`, which it would go through from end to end for each chunk.
_SPAN = "seq > ?1 AND seq <= ?2 AND +at >= ?3 AND +at < ?4"
_USUALLY = f"currency = ?5 AND NOT ifnull({_ODD}, 0)"
# The limit keeps it to few columns that are sorted, not all those that `pico` is made of. Rows without a tally are the rest.
_PRICED = f"""SELECT tally, count(*), sum(final), sum(cost), sum({_AMOUNT}) FROM (
    SELECT tally, final, cost, num, den, {_PICO} AS pico FROM ledger LEFT JOIN terms ON {_MATCH} AND {_USUALLY}
    WHERE {_SPAN} LIMIT -1) GROUP BY tally"""  # noqa: S608 (names of ours)
_ALL = f"SELECT {_COLUMNS.replace('?', '?5')} FROM ledger WHERE {_SPAN}"  # noqa: S608 (names of ours)
# The same for any database, in the order of numbers; nothing is priced there.
_ODDLY = " OR ".join(
    [
        "free_tokens IS NOT NULL",
        *(f"coalesce({leaf}, 0) <> 0" for leaf in LEAVES if leaf not in _USUAL),
        f"(service_tier IS NOT NULL AND lower(service_tier) NOT IN ({_ORDINARY}))",
    ]
)
_PLAIN = f"""SELECT seq, at, team, route, model, vendor, vendor_currency, final, CASE WHEN currency = ?5 THEN cost END,
    {", ".join(f"coalesce({leaf}, 0)" for leaf in _USUAL)}, CASE WHEN {_ODDLY} THEN 1 ELSE 0 END
    FROM ledger WHERE {_SPAN} ORDER BY seq"""  # noqa: S608 (names of ours)
_REST = f"{_ALL} AND NOT ({_USUALLY} AND EXISTS (SELECT 1 FROM terms WHERE {_MATCH}))"  # noqa: S608 (names of ours)
_TIMES = f"SELECT min(at), max(at) FROM ledger WHERE {_SPAN}"  # noqa: S608 (names of ours)


def replayed(connection: Connection, replay: Replay, since: int, until: int) -> Iterator[int]:
    """Replay the attempts that began in [since, until); yields how many are done, now and then.

    SQLite prices what needs no look of its own, by a table of which rows are priced how; the rest goes row by row, and
    all of what is in another database.
    """
    after, last, oldest, newest = _ends(connection, since, until)
    if oldest is None:
        return
    if not isinstance(connection, sqlite3.Connection):
        yield from _row_by_row(connection, replay, range(after, last), (oldest, newest + 1))
        return
    connection.execute("PRAGMA temp_store = MEMORY")
    columns, key = ", ".join(_TERMS), ", ".join(_TERMS[:7])
    connection.execute(f"CREATE TEMP TABLE terms ({columns}, PRIMARY KEY ({key})) WITHOUT ROWID")
    walk = _Walk(connection, replay)
    while after < last:
        upto = min(last, after + CHUNK)
        yield walk.chunk(after, upto, oldest, newest)
        after = upto


def _row_by_row(connection: Connection, replay: Replay, numbers: range, times: tuple[int, int]) -> Iterator[int]:
    for after in numbers[::ANSWER]:
        upto = min(numbers.stop, after + ANSWER)
        found = connection.execute(_PLAIN, (after, upto, *times, replay.rates.reporting)).fetchall()
        replay.add(found)
        yield len(found)


def _ends(connection: Connection, since: int, until: int) -> tuple[Any, ...]:
    """(number before the first row, of the last, oldest, newest); None where there is no row.

    Without bounds each is at an end of an index; with them the rows' numbers have to be looked through.
    """
    if (since, until) == (-FOREVER, FOREVER):
        ends = ("min(seq) - 1", "max(seq)", "min(at)", "max(at)")
        query = f"SELECT {', '.join(f'(SELECT {end} FROM ledger)' for end in ends)}"  # noqa: S608 (names of ours)
        args: tuple[int, ...] = ()
    else:
        query = "SELECT min(seq) - 1, max(seq), min(at), max(at) FROM ledger WHERE at >= ? AND at < ?"
        args = (since, until)
    found: tuple[Any, ...] = connection.execute(query, args).fetchone()
    return found


class _Walk:
    """Goes through the rows in the order of their numbers, which is about that of time."""

    def __init__(self, connection: sqlite3.Connection, replay: Replay) -> None:
        self.connection, self.replay = connection, replay
        keys = "SELECT DISTINCT team, route, model, vendor, vendor_currency FROM names"
        self._keys: list[GroupKey] = connection.execute(keys).fetchall()
        self._tables: dict[tuple[int, int], _Table] = {}
        self._filled: tuple[int, int] | None = None  # the window whose table SQLite has

    def chunk(self, after: int, upto: int, oldest: int, newest: int) -> int:
        """Count the rows whose numbers are in (after, upto] and times in [oldest, newest]; returns how many there are."""
        window = self._window(oldest)
        if window is not None and newest >= window[1]:  # not all of one window: which has this chunk?
            oldest, newest = self.connection.execute(_TIMES, (after, upto, oldest, newest + 1)).fetchone()
        done, at, reporting = 0, oldest, self.replay.rates.reporting
        while at is not None and at <= newest:
            window = self._window(at)
            end = newest + 1 if window is None else min(window[1], newest + 1)
            args = (after, upto, at, end, reporting)
            done += self._each(_ALL, args) if window is None else self._at_once(self._tables[window], args)
            at = end
        return done

    def _window(self, at: int) -> tuple[int, int] | None:
        """The window of an instant, whose table SQLite has afterwards; None: there is a price that the clock decides, so
        that each row is looked at.
        """
        window = self.replay.window(at)
        if window is not None and window not in self._tables:
            table = _table(self.replay, self._keys, at)
            if (window := self.replay.window(at)) is not None:
                self._tables[window] = table
        if window is not None and window != self._filled:
            _fill(self.connection, self._tables[window])
            self._filled = window
        return window

    def _at_once(self, table: "_Table", args: Sequence[Any]) -> int:
        done = rest = 0
        for place, count, *sums in self.connection.execute(_PRICED, args):
            done += count
            if place is None:
                rest = count
                continue
            for i, amount in enumerate((count, *sums)):
                table.tallies[place][i] += amount
        if rest:
            self._each(_REST, args)
        return done

    def _each(self, query: str, args: Sequence[Any]) -> int:
        rows = self.connection.execute(query, args).fetchall()
        self.replay.add(rows)
        return len(rows)


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
                    team, route, model, *whose = key
                    table.rows.append((model, team, route, *whose, thinking, low, high, *rates, num, den, dry, place))
        if replay.window(at) == window:  # looking for prices may have found one that changes meanwhile
            return table


def _fits(rates: Sequence[int], num: int, den: int) -> bool:
    """Whether no amount can be more than 64 bits hold, however many tokens there are."""
    pico = sum(rates) * MOST
    return max(pico, den * num + den, pico * num // den + num) < 2**62


PIECE = 100_000  # rows whose reasons are read at once
_STATED = "'certified: ' || ?5 || ', ' || model || ' will do'"
_CERTIFIED = f"""SELECT route, vendor || '/' || model, sum(final) FROM ledger
    WHERE {_SPAN} AND substr(reason, 1, length({_STATED})) = {_STATED}
    AND reason NOT LIKE '%; cascade: %' GROUP BY 1, 2"""  # noqa: S608 (names of ours)


def certified(connection: Connection, stated: str, since: int, until: int) -> Mapping[tuple[str, str], int]:
    """(route, vendor/model) → requests of [since, until) that a promise of these words has sent to that model."""
    after, last, *times = _ends(connection, since, until)
    out: dict[tuple[str, str], int] = {}
    while after is not None and after < last:
        upto = min(last, after + PIECE)
        for route, model, requests in connection.execute(_CERTIFIED, (after, upto, times[0], times[1] + 1, stated)):
            out[route, model] = out.get((route, model), 0) + requests
        after = upto
    return out


def reader(connection: Connection) -> Callable[[int], Consumed]:
    """One row in full, by its number."""
    query = f"SELECT {', '.join(_CONSUMED)} FROM ledger WHERE seq = ?"  # noqa: S608 (names of ours)

    def read(seq: int) -> Consumed:
        found = connection.execute(query, (seq,)).fetchone()
        at, took_ms, team, model, vendor, cost, currency, own, own_currency, tier, free, *leaves = found
        ended, usage = at + 1000 * (took_ms or 0), Usage(*leaves)
        return Consumed(at, ended, team, model, vendor, cost, currency, own, own_currency, usage, tier, free)

    return read
