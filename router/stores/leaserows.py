"""What leases in Redis keep in the ledger's database: who lives, in which epoch of Redis it has said what it has, and what
each has settled of which account since it began to lease of it.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from router.core.lease import Account
from router.stores.sqlleases import Connection, SqlLeases

_MOST = 500  # accounts to one statement


class Sums(NamedTuple):
    """One account in one window."""

    base: int  # settled by nobody who has a row
    settled: Mapping[str, int]  # by those who have one
    least: Mapping[str, int]  # what each of those has at least

    @property
    def all(self) -> int:
        return self.base + sum(self.settled.values())


class LeaseRows(SqlLeases):
    """`join`, `renew`, `leave` of the port `Leases`. Rows of `leases` have no amount, but of those whose journal counts: see
    `leases.JOURNAL`.
    """

    async def enter(self, replica: str, epoch: str) -> bool:
        """It has said in this epoch what it has; whether all have, whose leases nobody has let go of. Raises `Buried`."""

        def work(connection: Connection) -> bool:
            self._take_turn(connection, replica)
            connection.execute("UPDATE replicas SET epoch = ? WHERE id = ?", (epoch, replica))
            elsewhere = connection.execute("SELECT count(*) FROM replicas WHERE epoch <> ?", (epoch,))
            return not elsewhere.fetchone()[0]

        return await self._run(work)

    async def moved(self, epoch: str) -> bool:
        """Whether somebody who lives is in another epoch than this one."""

        def work(connection: Connection) -> bool:
            query = "SELECT count(*) FROM replicas WHERE epoch <> ? AND epoch <> '' AND until >= ?"
            return bool(connection.execute(query, (epoch, self._dialect.now(connection))).fetchone()[0])

        return await self._run(work)

    async def begin(self, replica: str, accounts: Collection[Account]) -> None:
        """It will lease of these: from now on what it settles is counted as its own. Raises `Buried`."""

        def work(connection: Connection) -> None:
            self._take_turn(connection, replica)
            connection.executemany(
                """INSERT INTO leases (account, start, replica, nano, settled, wanted) VALUES (?, ?, ?, 0, 0, 0)
                ON CONFLICT (account, start, replica) DO NOTHING""",
                [(*key, replica) for key in sorted(accounts)],
            )

        await self._run(work)

    async def keep(self, replica: str, leases: Mapping[Account, int]) -> None:
        """Write down what it has leased, so that it stays so when the replica is buried and Redis is lost. Raises `Buried`."""

        def work(connection: Connection) -> None:
            self._take_turn(connection, replica)
            connection.executemany(
                "UPDATE leases SET nano = ? WHERE account = ? AND start = ? AND replica = ?",
                [(nano, *key, replica) for key, nano in sorted(leases.items())],
            )

        await self._run(work)

    async def sums(self, accounts: Sequence[Account]) -> dict[Account, Sums]:
        """How these stand, all at one instant."""

        def work(connection: Connection) -> dict[Account, Sums]:
            spend = dict[Account, int]()
            settled, least = (defaultdict[Account, dict[str, int]](dict) for _ in range(2))
            keys = sorted(accounts)
            for part in (keys[i : i + _MOST] for i in range(0, len(keys), _MOST)):
                places, values = ", ".join(["(?, ?)"] * len(part)), [value for key in part for value in key]
                among = f"(account, start) IN (VALUES {places})"
                found = connection.execute(
                    f"""SELECT account, start, '', nano, 0 FROM spend WHERE {among}
                    UNION ALL SELECT account, start, replica, settled, nano FROM leases WHERE {among}""",  # noqa: S608 (fixed text)
                    (*values, *values),
                )
                for account, start, replica, spent, leased in found.fetchall():
                    if replica:
                        settled[account, start][replica] = spent
                        least[account, start][replica] = max(spent, leased)
                    else:
                        spend[account, start] = spent
            return {
                key: Sums(max(0, spend.get(key, 0) - sum(settled[key].values())), settled[key], least[key])
                for key in accounts
            }

        return await self._run(work)
