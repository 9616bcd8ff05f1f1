"""The file that labels are kept in: its schema, how it is opened, bounded and read. The writer is in `labels`.

It is no part of the ledger and may be removed at any time. What is deleted is overwritten, and the file shrinks.
"""

import base64
import contextlib
import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from router.core.entry import SHADOW
from router.core.labels import Asked, Label, best
from router.core.limits import FOREVER, moment
from router.core.money import show
from router.stores.ports import StoreDown

VERSION = 1
DAY = 86_400_000_000  # microseconds
SPARE = 0.9  # of the bound that is filled again after it was reached, so that not every write deletes
PAGE = 500

_SCHEMA = """
    CREATE TABLE requests (
        id TEXT PRIMARY KEY, at INTEGER NOT NULL, team TEXT NOT NULL, route TEXT NOT NULL, model TEXT NOT NULL,
        tier TEXT NOT NULL, propensity REAL, explored INTEGER NOT NULL, need REAL, size INTEGER, shape TEXT,
        candidates TEXT NOT NULL, features BLOB, labelled INTEGER NOT NULL
    );
    CREATE INDEX requests_at ON requests (labelled, at);
    CREATE INDEX requests_time ON requests (at);
    CREATE TABLE labels (
        request_id TEXT NOT NULL, model TEXT NOT NULL, source TEXT NOT NULL, tier TEXT NOT NULL, score REAL NOT NULL,
        word TEXT, at INTEGER NOT NULL, by TEXT NOT NULL, PRIMARY KEY (request_id, model, source)
    ) WITHOUT ROWID;
    CREATE TABLE costs (
        request_id TEXT NOT NULL, model TEXT NOT NULL, nano INTEGER NOT NULL, PRIMARY KEY (request_id, model)
    ) WITHOUT ROWID;
    CREATE TABLE prompts (request_id TEXT PRIMARY KEY, team TEXT NOT NULL, at INTEGER NOT NULL, text TEXT NOT NULL);
    CREATE INDEX prompts_at ON prompts (team, at);
"""
_FIELDS = (
    "id", "at", "team", "route", "model", "tier", "propensity", "explored", "need", "size", "shape", "candidates",
    "features",
)  # fmt: skip
_ASK = f"""INSERT INTO requests ({", ".join(_FIELDS)}, labelled)
    VALUES ({", ".join("?" * len(_FIELDS))}, EXISTS (SELECT 1 FROM labels WHERE request_id = ?))
    ON CONFLICT (id) DO """  # noqa: S608 (names of ours)
_UPDATE = f"UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _FIELDS[1:])}"
_LABEL = """INSERT INTO labels VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    tier = excluded.tier, score = excluded.score, word = excluded.word, at = excluded.at, by = excluded.by"""
_COST = "INSERT INTO costs VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET nano = excluded.nano"


def open_to_write(path: Path) -> sqlite3.Connection:
    """The file, made if it is not there. Raises `StoreDown`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
    except (sqlite3.Error, OSError) as error:
        raise StoreDown(f"{path}: {error}") from None
    try:
        for pragma in ("auto_vacuum=INCREMENTAL", "journal_mode=WAL", "synchronous=NORMAL", "secure_delete=ON"):
            connection.execute(f"PRAGMA {pragma}")
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise StoreDown(f"{path} was written by a newer Farebox (schema {version}, this one knows {VERSION})")
        if version < VERSION:
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version={VERSION}; COMMIT;")
    except sqlite3.Error as error:
        connection.close()
        raise StoreDown(f"{path}: {error}") from None
    except StoreDown:
        connection.close()
        raise
    return connection


def open_to_read(path: Path) -> sqlite3.Connection:
    """Raises `StoreDown`."""
    try:
        return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)
    except sqlite3.Error as error:
        raise StoreDown(f"{path}: {error}") from None


# Writing


def write_asked(connection: sqlite3.Connection, asked: Asked, features: bytes, prompt: str | None) -> None:
    """A request; one that only the ledger knew so far is completed, and never the other way round."""
    values = (
        asked.id, asked.at, asked.team, asked.route, asked.model, asked.tier, asked.propensity, int(asked.explored),
        asked.need, asked.size, None if asked.shape is None else orjson.dumps(asked.shape).decode(),
        orjson.dumps(asked.candidates).decode(), packed(features) if features else None,
    )  # fmt: skip
    connection.execute(_ASK + (_UPDATE if asked.shape is not None else "NOTHING"), (*values, asked.id))
    if asked.cost is not None:
        write_cost(connection, asked.id, asked.model, asked.cost)
    if prompt is not None:
        text = prompt.encode("utf-8", "replace").decode()
        connection.execute("INSERT OR REPLACE INTO prompts VALUES (?, ?, ?, ?)", (asked.id, asked.team, asked.at, text))


def write_label(connection: sqlite3.Connection, label: Label) -> None:
    values = (
        label.request_id, label.model, label.source, label.tier, label.score, label.word, label.at, label.by,
    )  # fmt: skip
    connection.execute(_LABEL, values)
    connection.execute("UPDATE requests SET labelled = 1 WHERE id = ? AND NOT labelled", (label.request_id,))


def write_cost(connection: sqlite3.Connection, request_id: str, model: str, nano: int) -> None:
    connection.execute(_COST, (request_id, model, nano))


def labels_of(connection: sqlite3.Connection, request_id: str) -> list[Label]:
    query = "SELECT request_id, model, tier, source, score, at, by, word FROM labels WHERE request_id = ?"
    return [Label(*found) for found in connection.execute(query, (request_id,))]


def route_of(connection: sqlite3.Connection, request_id: str) -> tuple[str, str]:
    """A request's route, and the model that the policy chose for it and that answered: "" where a draw chose."""
    query = "SELECT route, CASE WHEN explored THEN '' ELSE model END FROM requests WHERE id = ?"
    found: tuple[str, str] | None = connection.execute(query, (request_id,)).fetchone()
    return found or ("", "")


# Bounds


def prune(connection: sqlite3.Connection, now: int, days: int, max_bytes: int, prompt_days: Mapping[str, int]) -> None:
    """Delete what is too old, and of what is too much the oldest, those without a label first. Prompts are kept for as long as
    their team says, and of a team that does not say so any more not at all.
    """
    connection.execute("BEGIN IMMEDIATE")
    known = [team for (team,) in connection.execute("SELECT DISTINCT team FROM prompts")]
    for team in known:
        oldest = now - prompt_days[team] * DAY if team in prompt_days else FOREVER
        connection.execute("DELETE FROM prompts WHERE team = ? AND at < ?", (team, oldest))
    _delete(connection, "SELECT id FROM requests WHERE at < ?", (now - days * DAY,))
    # What was said of requests that are not here: a label or a cost that came after they were deleted.
    for table in ("labels", "costs"):
        connection.execute(f"DELETE FROM {table} WHERE request_id NOT IN (SELECT id FROM requests)")  # noqa: S608 (names of ours)
    if size(connection) > max_bytes:
        while size(connection) > SPARE * max_bytes:
            if not _delete(connection, "SELECT id FROM requests ORDER BY labelled, at LIMIT ?", (PAGE,)):
                break
    connection.execute("COMMIT")
    connection.executescript("PRAGMA incremental_vacuum;")  # as a script: `execute` frees one page
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def size(connection: sqlite3.Connection) -> int:
    """Bytes of the file that are in use."""
    pages, free, page = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    used: int = (pages - free) * page
    return used


def _delete(connection: sqlite3.Connection, which: str, args: Sequence[Any]) -> int:
    gone = [(name,) for (name,) in connection.execute(which, args)]
    for table in ("labels", "costs", "prompts"):
        connection.executemany(f"DELETE FROM {table} WHERE request_id = ?", gone)  # noqa: S608 (names of ours)
    connection.executemany("DELETE FROM requests WHERE id = ?", gone)
    return len(gone)


# Features: ascending 32-bit numbers, whose bytes of equal weight resemble each other; that makes a quarter of them


def packed(features: bytes) -> bytes:
    return zlib.compress(b"".join(features[i::4] for i in range(4)), 1)


def unpacked(blob: bytes) -> bytes:
    planes = zlib.decompress(blob)
    out, step = bytearray(len(planes)), -(-len(planes) // 4)
    at = 0
    for i in range(4):
        count = len(range(i, len(planes), 4))
        out[i::4] = planes[at : at + count]
        at += count
    return bytes(out) if step else b""


# Reading


def rows(
    connection: sqlite3.Connection, since: int | None = None, until: int | None = None, route: str | None = None,
    *, labelled: bool = True,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Requests as docs/labels.md has them, oldest first, page by page, so that no read is open for long."""
    where = "(at, id) > (?, ?) AND at < ? AND (? IS NULL OR route = ?) AND (labelled OR NOT ?)"
    query = f"SELECT {', '.join(_FIELDS)} FROM requests WHERE {where} ORDER BY at, id LIMIT ?"  # noqa: S608 (names of ours)
    after = (-1 if since is None else since - 1, "\U0010ffff")
    while True:
        args = (*after, FOREVER if until is None else until, route, route, labelled, PAGE)
        page = connection.execute(query, args).fetchall()
        for values in page:
            yield _row(connection, dict(zip(_FIELDS, values, strict=True)))
        if len(page) < PAGE:
            return
        after = (page[-1][1], page[-1][0])


def _row(connection: sqlite3.Connection, told: dict[str, Any]) -> dict[str, Any]:
    labels, features = labels_of(connection, told["id"]), told.pop("features")
    costs = connection.execute("SELECT model, nano FROM costs WHERE request_id = ?", (told["id"],))
    prompt = connection.execute("SELECT text FROM prompts WHERE request_id = ?", (told["id"],)).fetchone()
    candidates = [
        {**one, "expected": show(one["expected"])} if "expected" in one else one
        for one in orjson.loads(told["candidates"])
    ]
    row = {
        "request_id": told["id"],
        "at": _shown(told["at"]),
        "team": told["team"],
        "route": told["route"],
        "model": told["model"],
        "tier": told["tier"],
        "propensity": told["propensity"],
        "explored": bool(told["explored"]),
        "quality_needed": told["need"],
        "scores": {model: label.score for model, label in best(labels).items()},
        "costs": {model: show(nano) for model, nano in costs},
        "labels": [
            {
                "model": one.model, "tier": one.tier, "source": one.source, "score": one.score, "label": one.word,
                "at": _shown(one.at), "by": one.by, "shadow": one.by == SHADOW,
            }
            for one in sorted(labels, key=lambda one: one.at)
        ],
        "candidates": candidates,
        "length": told["size"],
        "shape": None if told["shape"] is None else orjson.loads(told["shape"]),
        "features": None if features is None else base64.b64encode(unpacked(features)).decode(),
    }  # fmt: skip
    return row if prompt is None else {**row, "prompt": prompt[0]}


def _shown(at: int) -> str:
    return moment(at).isoformat(timespec="microseconds").replace("+00:00", "Z")


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Raises `StoreDown`."""
    with contextlib.closing(open_to_read(path)) as connection:
        try:
            yield connection
        except sqlite3.Error as error:
            raise StoreDown(f"{path}: {error}") from None
