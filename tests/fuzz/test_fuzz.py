"""Every target for a moment, from one seed; `make fuzz` goes on for longer, from others."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutate import inputs
from targets import TARGETS

ROUNDS = {"config": 25}
SOME = 300


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_comes_is_read_or_refused(name):
    target, corpus = TARGETS[name]
    for number, data in enumerate(itertools.islice(inputs(corpus, 1), ROUNDS.get(name, SOME))):
        try:
            target(data)
        except Exception as error:
            pytest.fail(f"{name}, seed 1, input {number}: {type(error).__name__}: {error}\n{data[:2000]!r}")


@pytest.mark.parametrize("name", [name for name in TARGETS if name not in ROUNDS and "-" not in name])
def test_bytes_that_resemble_nothing_are_read_or_refused(name):
    @settings(max_examples=100, deadline=None, database=None)
    @given(st.binary(max_size=200))
    def go(data):
        TARGETS[name][0](data)

    go()
