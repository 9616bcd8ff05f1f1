"""How rows get into the sums that SQLite keeps: later than they are written, and many at once.

A row belongs to three sums, of its hour, its day and all time, each on a page of its own where there are many teams, while
a thousand rows touch hardly more pages than a hundred do. So they are folded together, by the writer when nobody waits for
it, or when many are behind. What a fold adds is gathered first, then each length is written on its own, so that nobody
waits long. Sums and the mark that says up to which row they are whole are one transaction; whoever reads adds the rows
behind the mark (`spans.unfolded`).
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from router.stores.spans import HOUR, LABELS, SUMS, added

ROWS = 1000  # that are behind before an idle writer folds; and so many are folded at once
MOST = 4000  # that may be behind before a busy one does

_LABELS, _SUMS = ", ".join(LABELS), ", ".join(SUMS)
_PART = f"CREATE TEMP TABLE part (start INTEGER, name INTEGER, {_SUMS})"
_ROWS = "FROM ledger WHERE seq > ?1 AND seq <= ?2"
_NAMES = f"""INSERT OR IGNORE INTO names ({_LABELS}) SELECT DISTINCT {_LABELS} {_ROWS} AND NOT EXISTS (
    SELECT 1 FROM names WHERE {" AND ".join(f"names.{name} = ledger.{name}" for name in LABELS)})"""  # noqa: S608 (names of ours)
_GATHER = f"""INSERT INTO part SELECT at - at % {HOUR} AS begun, names.id, {added(SUMS)}
    FROM ledger CROSS JOIN names USING ({_LABELS}) WHERE seq > ?1 AND seq <= ?2 GROUP BY begun, names.id"""  # noqa: S608 (names of ours)
# In the order of the pages that they go to. `max` makes 0 of a length that is 0: then there is one start.
_ADD = f"""INSERT INTO spans (length, start, name, {_SUMS})
    SELECT ?1, CASE ?1 WHEN 0 THEN 0 ELSE start - start % max(?1, 1) END AS begun, name, {_SUMS}
    FROM part WHERE true ORDER BY begun, name
    ON CONFLICT DO UPDATE SET {", ".join(f"{name} = {name} + excluded.{name}" for name in SUMS)}"""  # noqa: S608 (names of ours)
_LAST = "SELECT coalesce(max(seq), 0) FROM ledger"
_MARK = "UPDATE folds SET seq = ?3 WHERE length = ?1 AND seq = ?2"


@dataclass(slots=True)
class Folding:
    """What one writer, by its connection, has still to fold."""

    behind: int = 0  # rows that no fold has begun with: those that it wrote itself, until it looks
    _from: int = 0  # what was gathered: the rows behind this one
    _upto: int = 0
    _lengths: list[int] = field(default_factory=list)  # that it is still to be written to

    def due(self, *, idle: bool) -> bool:
        """Whether to take a step, if nobody waits for the writer or if somebody does."""
        behind = self.behind + (self._upto - self._from if self._lengths else 0)
        return behind >= MOST or (idle and (bool(self._lengths) or behind >= ROWS))

    def step(self, connection: sqlite3.Connection, most: int = ROWS) -> bool:
        """Gather rows or write what was gathered to one length; False if there is nothing to do. What fails leaves all as it
        was, and it is begun anew when as many rows more are written.
        """
        lengths, self._lengths = self._lengths, []
        if not lengths:
            self.behind = 0
            return self._gather(connection, most)
        length, *lengths = lengths
        with _transaction(connection):
            if connection.execute(_MARK, (length, self._from, self._upto)).rowcount:  # else another process was faster
                connection.execute(_ADD, (length,))
        self._lengths = lengths
        return True

    def _gather(self, connection: sqlite3.Connection, most: int) -> bool:
        connection.execute("PRAGMA temp_store=MEMORY")
        connection.execute("DROP TABLE IF EXISTS temp.part")
        connection.execute(_PART)
        with _transaction(connection):
            marks = dict(connection.execute("SELECT length, seq FROM folds ORDER BY length DESC"))
            (last,) = connection.execute(_LAST).fetchone()
            begin = min(marks.values(), default=last)
            upto = min([begin + most, last, *(mark for mark in marks.values() if mark > begin)])
            if upto > begin:
                for statement in (_NAMES, _GATHER):
                    connection.execute(statement, (begin, upto))
        self.behind = max(0, last - upto)
        self._from, self._upto = begin, upto
        self._lengths = [length for length, mark in marks.items() if mark == begin] if upto > begin else []
        return bool(self._lengths)

    def add(self, rows: int) -> None:
        """So many were written."""
        self.behind += rows


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise
