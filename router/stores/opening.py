"""The ledger of a store, whichever database that is in."""

import secrets
from pathlib import Path

from router.stores.outbox import Outbox
from router.stores.place import Place
from router.stores.reading import StoredLedger
from router.stores.sqlite import SqliteLedger


def ledger_of(place: Place, beside: Path) -> StoredLedger:
    """The ledger at a place; what a process keeps for itself is `beside` this path."""
    if isinstance(place, Path):
        return SqliteLedger(place)
    from router.stores.postgres import PostgresLedger  # noqa: PLC0415 (its driver need not be installed)

    return PostgresLedger(place, beside)


def outbox_of(ledger: StoredLedger) -> Outbox:
    """Alerts that wait in the same store."""
    return Outbox(ledger.place, secrets.token_hex(8) if ledger.shared else "")
