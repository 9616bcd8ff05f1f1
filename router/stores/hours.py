"""The ledger by the hour, read as it grows: for what is shown over time. Rows are folded once, in the order of their numbers."""

import sqlite3
from dataclasses import dataclass
from typing import Any

from router.stores.ledgerfile import SUMMED, SUMS_SQL
from router.stores.ports import Total

HOUR = 3600 * 10**6
NEWEST = 5000  # rows among which the newest requests of a team are looked for


@dataclass(slots=True)
class Cell(Total):
    """Sums of one hour; `outcome` is "error" or "ok", and routes are not told apart."""

    at: int = 0  # the hour's first instant, in microseconds since 1970
    first_ms: int = 0  # to the first byte, summed over
    first_count: int = 0  # so many attempts


_FIELDS = (
    "at", "team", "model", "vendor", "tier", "outcome", "currency", *SUMMED, "first_ms", "first_count",
)  # fmt: skip
_HOURS = f"""SELECT at - at % {HOUR}, team, model, vendor, tier, CASE outcome WHEN 'error' THEN 'error' ELSE 'ok' END,
    currency, {SUMS_SQL}, ifnull(sum(first_byte_ms), 0), count(first_byte_ms)
    FROM ledger WHERE seq > ? AND seq <= ? GROUP BY 1, 2, 3, 4, 5, 6, 7"""  # noqa: S608 (names of ours)


def hours(connection: sqlite3.Connection, after: int, limit: int) -> tuple[int, int, list[Cell]]:
    """(last number read, last number there is, sums by the hour) of the rows behind `after`, at most `limit` of them."""
    last: int = connection.execute("SELECT ifnull(max(seq), 0) FROM ledger").fetchone()[0]
    upto = min(last, after + limit)
    if upto <= after:
        return after, last, []
    found = connection.execute(_HOURS, (after, upto))
    return upto, last, [_cell(values) for values in found]


def _cell(values: tuple[Any, ...]) -> Cell:
    return Cell(route="", vendor_currency="", **dict(zip(_FIELDS, values, strict=True)))


def newest(connection: sqlite3.Connection, limit: int, team: str | None = None) -> list[str]:
    """The requests that ended last, newest first, among the last rows."""
    where, args = ("AND team = ?", (team,)) if team is not None else ("", ())
    query = f"""SELECT request_id FROM ledger WHERE seq > (SELECT ifnull(max(seq), 0) FROM ledger) - {NEWEST}
        AND final {where} ORDER BY seq DESC LIMIT ?"""  # noqa: S608 (fixed text)
    return [name for (name,) in connection.execute(query, (*args, limit))]
