"""Mock vendors that answer at once, and a client."""

import aiohttp
import pytest

from router.mock import MockVendors


@pytest.fixture
async def mock():
    vendors = MockVendors(pace=0, clock=lambda: 1_790_000_000.5)
    vendors.url = await vendors.start()
    yield vendors
    await vendors.stop()


@pytest.fixture
async def http():
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer sk-any"}) as session:
        yield session
