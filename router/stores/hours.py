"""The ledger by the hour, for what is shown over time: the past from the sums that are kept, what comes row by row, in the order
of numbers.
"""

from dataclasses import dataclass
from typing import Any

from router.stores.ledgerfile import SUMMED, SUMS_SQL
from router.stores.place import Connection
from router.stores.ports import Total
from router.stores.spans import summed

HOUR = 3600 * 10**6
NEWEST = 5000  # rows among which the newest requests of a team are looked for


@dataclass(slots=True)
class Cell(Total):
    """Sums of one hour; `outcome` is "error" or "ok", and routes are not told apart."""

    at: int = 0  # the hour's first instant, in microseconds since 1970
    first_ms: int = 0  # to the first byte, summed over
    first_count: int = 0  # so many attempts; none of an hour that is long past


_NAMES = ("team", "model", "vendor", "tier", "outcome", "currency")
_FIELDS = ("at", *_NAMES, *SUMMED, "first_ms", "first_count")
_OUTCOME = "CASE outcome WHEN 'error' THEN 'error' ELSE 'ok' END"
_GROUPS = tuple(_OUTCOME if name == "outcome" else name for name in _NAMES)
_HOURS = f"""SELECT at - at % {HOUR}, {", ".join(_GROUPS)}, {SUMS_SQL}, coalesce(sum(first_byte_ms), 0), count(first_byte_ms)
    FROM ledger WHERE {{}} GROUP BY 1, 2, 3, 4, 5, 6, 7"""  # noqa: S608 (names of ours)
_BEHIND, _SINCE = _HOURS.format("seq > ? AND seq <= ?"), _HOURS.format("at >= ?")
_LAST = "SELECT coalesce(max(seq), 0) FROM ledger"


def past(connection: Connection, since: int, recent: int) -> tuple[int, list[Cell], list[Cell]]:
    """(last number there is, sums by the hour from `since` on, sums by the day of all time), as of one moment. Hours from
    `recent` on are read from the rows, as only those tell the time to the first byte.
    """
    connection.execute("BEGIN")
    try:
        last: int = connection.execute(_LAST).fetchone()[0]
        hours = [*summed(connection, _GROUPS, SUMMED, since, recent, "hour")]
        hours += connection.execute(_SINCE, (max(since, recent),))
        days = [*summed(connection, _GROUPS, SUMMED, step="day")]
    finally:
        connection.rollback()
    return last, [_cell(values) for values in hours], [_cell(values) for values in days]


def hours(connection: Connection, after: int) -> tuple[int, list[Cell]]:
    """(last number there is, sums by the hour) of the rows behind `after`."""
    last: int = connection.execute(_LAST).fetchone()[0]
    return last, [_cell(values) for values in connection.execute(_BEHIND, (after, last))]


def _cell(values: tuple[Any, ...]) -> Cell:
    """From the kept sums there are no times to the first byte."""
    return Cell(route="", vendor_currency="", **dict(zip(_FIELDS, values, strict=False)))


def newest(connection: Connection, limit: int, team: str | None = None) -> list[str]:
    """The requests that ended last, newest first, among the last rows."""
    where, args = ("AND team = ?", (team,)) if team is not None else ("", ())
    query = f"""SELECT request_id FROM ledger WHERE seq > (SELECT coalesce(max(seq), 0) FROM ledger) - {NEWEST}
        AND final <> 0 {where} ORDER BY seq DESC LIMIT ?"""  # noqa: S608 (fixed text)
    return [name for (name,) in connection.execute(query, (*args, limit))]
