"""A file for a ledger, and places that are in each database in turn."""

import pytest

from router.stores.place import Postgres


@pytest.fixture
def path(tmp_path):
    return tmp_path / "farebox.db"


@pytest.fixture(params=["sqlite", "postgres"], scope="module")
def places(request, tmp_path_factory):
    """Makes a place that is new and empty."""
    if request.param == "postgres":
        server = request.getfixturevalue("postgres")
        return lambda: Postgres(server.database())
    return lambda: tmp_path_factory.mktemp("ledger") / "farebox.db"


@pytest.fixture
def place(places):
    return places()
