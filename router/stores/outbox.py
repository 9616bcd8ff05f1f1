"""Alerts in the store: each is written down for each target before it is sent, and marked when it was heard.

What is in the table was found; what has no `done` is still to be sent. So nothing is told twice, not even by a process that
takes over or starts again, and nothing is lost in between. Where several processes share the store, one at a time tells what
waits there: it has the turn for as long as something does.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence

import orjson

from router.core.alerts import DAYS_BACK, HOUR, Alert
from router.core.limits import MICROS
from router.stores.ledgerfile import connect
from router.stores.place import Connection, Place
from router.stores.ports import StoreDown

MAX_WAITING = 1000  # alerts to be sent; those that come when so many wait are found again while they hold, or not told

TURN_S = 60  # that a process which is not heard of keeps the turn: longer than it takes to tell every target


class Outbox:
    """Calls that wait for the disk: not for the event loop's thread. All raise `StoreDown`."""

    def __init__(self, place: Place, holder: str = "") -> None:
        """`holder` is a name of this process alone, where others share the store."""
        self._place, self._holder = place, holder

    def put(self, alerts: Sequence[Alert], target: str, now: int) -> bool | None:
        """Write down what was found for a target; only the last of them is to be sent, and only if it is new, which is
        returned. None: it could not be written down, since too many wait.
        """
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            (waiting,) = connection.execute("SELECT count(*) FROM alerts WHERE done IS NULL").fetchone()
            if waiting >= MAX_WAITING:
                connection.execute("ROLLBACK")
                return None
            new = False
            for alert in alerts:
                sent = alert is alerts[-1]
                found = connection.execute(
                    "INSERT INTO alerts (id, target, at, body, done) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    (alert.id, target, now, orjson.dumps(alert), None if sent else now),
                )
                new = sent and found.rowcount == 1
            connection.execute("COMMIT")
        return new

    def waiting(self, now: int) -> list[tuple[Alert, str, int]] | None:
        """What is to be sent, to whom, and since when, oldest first; None where another process is about to send it."""
        with self._open() as connection:
            query = "SELECT body, target, at FROM alerts WHERE done IS NULL ORDER BY at, id"
            found = connection.execute(query).fetchall()
            if self._holder and not self._has_turn(connection, now, wanted=bool(found)):
                return None
            return [(Alert(**orjson.loads(body)), target, at) for body, target, at in found]

    def _has_turn(self, connection: Connection, now: int, *, wanted: bool) -> bool:
        """Take or keep the turn, or let it go."""
        if not wanted:
            connection.execute("UPDATE turns SET until = 0 WHERE name = 'alerts' AND holder = ?", (self._holder,))
            return True
        connection.execute("INSERT INTO turns (name, holder, until) VALUES ('alerts', '', 0) ON CONFLICT DO NOTHING")
        query = "UPDATE turns SET holder = ?, until = ? WHERE name = 'alerts' AND (holder = ? OR until < ?)"
        return connection.execute(query, (self._holder, now + TURN_S * MICROS, self._holder, now)).rowcount == 1

    def done(self, alert_id: str, target: str, now: int) -> None:
        with self._open() as connection:
            connection.execute("UPDATE alerts SET done = ? WHERE id = ? AND target = ?", (now, alert_id, target))

    def hours(self, now: int, currency: str) -> list[tuple[str, int, int]]:
        """What each team has spent in each hour of the last days: (team, hour since 1970, nano-units)."""
        since = (now // HOUR - (DAYS_BACK + 1) * 24) * HOUR
        query = """SELECT team, at / ?, SUM(cost) FROM ledger WHERE at >= ? AND currency = ? GROUP BY 1, 2"""
        with self._open(write=False) as connection:
            return list(connection.execute(query, (HOUR, since, currency)))

    @contextlib.contextmanager
    def _open(self, *, write: bool = True) -> Iterator[Connection]:
        try:
            with contextlib.closing(connect(self._place, write=write)) as connection:
                yield connection
        except sqlite3.Error as error:
            raise StoreDown(f"{self._place}: {error}") from None
