"""A SQLite file: how it is opened, and brought up to date."""

import contextlib
import sqlite3
from pathlib import Path

from router.stores.ports import StoreDown
from router.stores.schema import STEPS, VERSION


def connect_file(path: Path, *, write: bool = False) -> sqlite3.Connection:
    """A connection as the store uses it; read-only unless told otherwise. Raises `StoreDown`."""
    try:
        return _writer(path) if write else _reader(path)
    except (sqlite3.Error, OSError) as error:
        raise StoreDown(f"{path}: {error}") from None


def _reader(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10, check_same_thread=False)
    return _prepared(connection, "PRAGMA cache_size=-8000")


def _writer(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = not path.exists()
    connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
    if fresh:
        path.chmod(0o600)
    # FULL: what a commit promised survives the loss of power too
    return _prepared(connection, "PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "PRAGMA cache_size=-8000")


def _prepared(connection: sqlite3.Connection, *pragmas: str) -> sqlite3.Connection:
    try:
        for pragma in pragmas:
            connection.execute(pragma)
    except BaseException:
        connection.close()
        raise
    return connection


def migrate_file(path: Path) -> tuple[int, int]:
    """Bring the file to this version's schema: (version before, version now). Raises `StoreDown`."""
    with contextlib.closing(connect_file(path, write=True)) as connection:
        before = _version(connection, path)
        try:
            for number, step in enumerate(STEPS[before:], before + 1):
                connection.executescript(f"BEGIN IMMEDIATE; {step} PRAGMA user_version={number}; COMMIT;")
        except sqlite3.Error as error:
            raise StoreDown(f"{path}: migration {number} failed: {error}") from None
    return before, VERSION


def expect_file(path: Path) -> None:
    """Of a file that others use now nobody may change the schema: raises `StoreDown` where it is another version's."""
    with contextlib.closing(connect_file(path)) as connection:
        version = _version(connection, path)
    if version < VERSION:
        raise StoreDown(f"{path} is in use by an older Farebox (schema {version}, this one writes {VERSION})")


def _version(connection: sqlite3.Connection, path: Path) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise StoreDown(f"{path} was written by a newer Farebox (schema {version}, this one knows {VERSION})")
    return version
