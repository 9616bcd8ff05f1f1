"""A file for a ledger."""

import pytest


@pytest.fixture
def path(tmp_path):
    return tmp_path / "farebox.db"
