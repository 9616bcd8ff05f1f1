"""Entries as values, and a ledger to write them to."""

import contextlib
from pathlib import Path

from router.core.entry import Attempt, Entry
from router.core.usage import Usage
from router.stores.opening import ledger_of

AT = 1_795_000_000_000_000


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
