"""Where a store is, and what is asked of a connection to it, whichever database it is to.

SQL that both run is written in what they share: `?` for a value, `coalesce`, `ON CONFLICT`, whole numbers instead of truth
values. `BEGIN IMMEDIATE` makes the transaction the ledger's only writer; `BEGIN` begins one view of everything.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

SCHEMES = ("postgresql://", "postgres://")
NO_LEDGER = "there is no ledger yet; it is made by `farebox serve` or `farebox migrate`"
_HIDDEN = "***"


@dataclass(frozen=True, slots=True)
class Postgres:
    """A database of a PostgreSQL server, or of its kin. As text it has no password."""

    url: str = field(repr=False)

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        user, _, hosts = parts.netloc.rpartition("@")
        user = f"{user.partition(':')[0]}@" if user else ""
        return f"postgresql://{user}{hosts}{parts.path}"

    def scrub(self, text: object) -> str:
        """A message without what nobody may read."""
        out = str(text).strip()
        for secret in sorted(self._secrets(), key=len, reverse=True):
            out = out.replace(secret, _HIDDEN)
        return out

    def _secrets(self) -> set[str]:
        parts = urlsplit(self.url)
        written = parts.netloc.rpartition("@")[0].partition(":")[2]
        asked = {value for name, value in parse_qsl(parts.query) if "password" in name}
        return {secret for secret in (self.url, written, unquote(written), *asked) if secret}


Place = Path | Postgres


def is_postgres(url: str) -> bool:
    """Whether this can be the URL of a database; who is asked with it says the rest."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return bool(parts.netloc or parts.path.strip("/") or parts.query) and not re.search(r"\s", url)


def is_redis(url: str) -> bool:
    """Whether this can be the URL of a database of Redis."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    there = parts.scheme in {"redis", "rediss"} and parts.hostname is not None and port != 0
    return there and re.fullmatch(r"/?\d*", parts.path) is not None


class Rows(Protocol):
    """What a statement has found."""

    @property
    def rowcount(self) -> int: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """What `sqlite3` and `pgconnection` have in common. Nothing is open between statements unless `BEGIN` said so."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Rows: ...

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Rows: ...

    def commit(self) -> None: ...

    def rollback(self) -> None: ...

    def close(self) -> None: ...
