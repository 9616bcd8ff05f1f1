"""Replicas on one store, and everything goes wrong at random, for a few seconds; `tests/bench/replicas.py` does it for minutes."""

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "bench"))

from replicas import arguments, main


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("store", ["sqlite", "postgres", "redis"])
async def test_no_bill_passes_a_cap_and_every_call_has_its_row(tmp_path, store):
    seed = str(random.randrange(10**6))
    print(f"seed {seed}")
    told = await main(
        arguments().parse_args(["--store", store, "--seconds", "12", "--every", "4", "--steady", "0", "--seed", seed]),
        tmp_path,
    )
    print(told)
    assert told["calls_billed"] > 20 and sum(told["events"].values()) > 2
    assert told["wrong"] == [], told
