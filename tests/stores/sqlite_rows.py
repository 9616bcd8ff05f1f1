"""Entries as values, and a ledger to write them to."""

import contextlib
import sqlite3
from pathlib import Path

from router.core.entry import Attempt, Entry
from router.core.usage import Usage
from router.stores.ledgerfile import sums
from router.stores.opening import ledger_of
from router.stores.schema import STEPS
from router.stores.spans import DAY, HOUR

AT = 1_795_000_000_000_000
START = AT - AT % DAY


def attempt(number=1, team="search", key="app", nano=500, holds=(), at=AT, **more):
    told = {
        "id": f"fb-{number:06d}.1", "request_id": f"fb-{number:06d}", "number": 1, "at": at, "team": team, "key": key,
        "route": "auto", "model": "small", "vendor": "check", "tier": "cheap", "price": "USD 1/2", "currency": "USD",
        "vendor_currency": "CNY", "held": nano, "held_vendor": 7 * nano, "held_flagship": 9 * nano, "holds": holds,
        "bound": Usage(100, output_text=50), "reason": "cheapest of 1",
    }  # fmt: skip
    return Attempt(**(told | more))


def entry(number=1, cost=300, outcome="ok", basis="reported", charges=(), usage=None, **more):
    """`more` are fields of the entry or of its attempt."""
    names = ("list_cost", "service_tier", "free_tokens", "vendor_id", "fixed_cost")
    own = {name: more.pop(name) for name in names if name in more}
    return Entry(
        attempt(number, **more), outcome, basis, usage or Usage(10, 2, None, None, 5, 1), cost, 7 * cost, 10 * cost,
        charges, first_byte_ms=12, total_ms=34, **own,
    )  # fmt: skip


@contextlib.asynccontextmanager
async def opened(place):
    """The ledger at a path or in a database."""
    ledger = ledger_of(place, Path("nothing-is-kept-beside-it"))
    ledger.start()
    try:
        yield ledger
    finally:
        await ledger.stop()


async def all_rows(ledger):
    return [row async for _, row in ledger.entries(limit=-1)]


def made(number):
    """Rows over three days, of every kind that a sum tells apart; some begin with an hour or a day, or end it."""
    at = START + number * 2_347_000_000 if number % 7 else START + (number // 7) * HOUR - (number % 2)
    usage = Usage(number, number % 3 or None, 2, None, 5, number % 4, 1, None, 2, 3, None, 1, None, 4)
    return entry(
        number, cost=1000 * number, outcome=("ok", "error", "left")[number % 3], at=max(START, at), usage=usage,
        basis=("reported", "estimated")[number % 5 == 0], team=("search", "support")[number % 2],
        model=("small", "large")[number % 4 == 1], prompt_estimate=number if number % 6 else None,
    )  # fmt: skip


def from_rows(connection, by, since, until):
    """The same by the rows alone, which is what they have to be."""
    where = f"at >= {-(2**62) if since is None else since} AND at < {2**62 if until is None else until}"
    with contextlib.closing(sqlite3.connect(":memory:")) as other:
        other.executescript("".join(STEPS[:6]))
        columns = [name for _, name, *_ in other.execute("PRAGMA table_info(ledger)")]
        rows = connection.execute(f"SELECT {', '.join(columns)} FROM ledger WHERE {where}").fetchall()
        other.executemany(f"INSERT INTO ledger VALUES ({', '.join('?' * len(columns))})", rows)
        other.executescript("".join(STEPS[6:]))  # filled when the schema is brought up to date
        return sorted(sums(other, by))
