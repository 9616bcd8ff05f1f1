"""The ledger of a store, whichever database that is in."""

import secrets
from pathlib import Path

from router.stores.leaserows import LeaseRows
from router.stores.leases import Leases
from router.stores.outbox import Outbox
from router.stores.place import Place
from router.stores.reading import StoredLedger
from router.stores.sharedsqlite import SharedSqliteLedger, leases_in
from router.stores.sqlite import SqliteLedger
from router.stores.sqlleases import POSTGRES, SqlLeases


def ledger_of(place: Place, beside: Path, *, shared: bool = False) -> StoredLedger:
    """The ledger at a place; what a process keeps for itself is `beside` this path. A file is `shared` where other
    processes write it too; they do with PostgreSQL in any case.
    """
    if isinstance(place, Path):
        return SharedSqliteLedger(place) if shared else SqliteLedger(place)
    from router.stores.postgres import PostgresLedger  # noqa: PLC0415 (its driver need not be installed)

    return PostgresLedger(place, beside)


def outbox_of(ledger: StoredLedger) -> Outbox:
    """Alerts that wait in the same store."""
    return Outbox(ledger.place, secrets.token_hex(8) if ledger.shared else "")


def leases_of(place: Place, redis: str | None = None) -> Leases:
    """Leases beside the ledger at a place, or in Redis."""
    if isinstance(place, Path):
        return leases_in(place)
    from router.stores.pgconnection import connect  # noqa: PLC0415

    if redis is None:
        return SqlLeases(lambda: connect(place, write=True), POSTGRES)
    from router.stores.redis import RedisLeases  # noqa: PLC0415 (its client need not be installed)

    return RedisLeases(redis, LeaseRows(lambda: connect(place, write=True), POSTGRES))
