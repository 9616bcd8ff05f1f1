"""The demo as operators see it: a running Farebox with some traffic behind it."""

import pytest
from support import samples
from traffic import ADMIN, send_traffic


@pytest.fixture
async def seen(running, demo):
    """A Farebox that has served `TRAFFIC`, all of it in the ledger."""
    on = await running(demo)
    await send_traffic(on)
    return on


@pytest.fixture
def ask():
    """Call the admin API: (status, JSON)."""

    async def call(on, path, *, method="GET", key=ADMIN, **how):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with on.http.request(method, f"{on.url}/admin/v1/{path}", headers=headers, **how) as reply:
            assert reply.headers["Cache-Control"] == "no-store"
            return reply.status, await reply.json()

    return call


@pytest.fixture
def look():
    """Fetch the page: (status, text)."""

    async def call(on, path="/", **how):
        async with on.http.get(on.url + path, allow_redirects=False, **how) as reply:
            return reply.status, await reply.text()

    return call


@pytest.fixture
def scrape():
    """The value of a metric, summed over the series that have these labels."""

    async def call(on, name, **labels):
        async with on.http.get(f"{on.url}/metrics") as reply:
            return sum(samples(await reply.text(), name, **labels))

    return call
