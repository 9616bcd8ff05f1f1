"""The ledger of a store, whichever database that is in."""

from pathlib import Path

from router.stores.place import Place
from router.stores.reading import StoredLedger
from router.stores.sqlite import SqliteLedger


def ledger_of(place: Place, beside: Path) -> StoredLedger:
    """The ledger at a place; what a process keeps for itself is `beside` this path."""
    if isinstance(place, Path):
        return SqliteLedger(place)
    from router.stores.postgres import PostgresLedger  # noqa: PLC0415 (its driver need not be installed)

    return PostgresLedger(place, beside)
