"""Room at vendors: what is configured is kept, what is learnt is a picture that newer answers replace."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.catalog import UNLIMITED, Access, RateLimits
from router.core.seats import Allowance, Need, Seats, Told
from tests.fakes import VENDOR, model


def of(limits=UNLIMITED, own=UNLIMITED, keys=("a",), name="small"):
    return dataclasses.replace(model(name), access=Access(VENDOR, VENDOR.base_url, keys, limits=limits), limits=own)


def tokens(limit, remaining, reset_s):
    return Told(tokens=Allowance(limit, remaining, reset_s))


def test_what_nothing_limits_is_idle_until_something_is_learnt():
    seats, small = Seats(), of()
    assert seats.idle(small)
    seats.told(small, "a", tokens(100, 0, 60), 0, 0)
    assert not seats.idle(small)
    seats.told(small, "a", tokens(100, 100, 0), 1, 1)
    assert seats.idle(small)


def test_a_credentials_limit_is_for_all_its_models_and_a_models_for_itself():
    both = RateLimits(concurrent=3)
    small, large = of(both, RateLimits(concurrent=1)), of(both, name="large")
    seats = Seats()
    seats.enter(small, "a", 0, 1)
    assert seats.refused(small, "a", 0, Need()).what == "concurrent" and seats.refused(large, "a", 0, Need()) is None
    seats.enter(large, "a", 0, 1)
    seats.enter(large, "a", 0, 1)
    assert seats.refused(large, "a", 0, Need()).what == "concurrent"
    assert seats.refused(large, "b", 0, Need()) is None  # another credential


def test_what_is_learnt_refills_until_the_vendor_says_it_is_full():
    seats, small = Seats(), of()
    seats.told(small, "a", tokens(1000, 0, 60), 0, 0)
    assert seats.refused(small, "a", 0, Need(100)).wait_s == pytest.approx(6)
    assert seats.refused(small, "a", 30, Need(500)) is None
    assert seats.refused(small, "a", 30, Need(501)) is not None
    assert seats.refused(small, "a", 90, Need(10**6)) is None  # more than it can ever hold: all of it


def test_an_older_answer_that_comes_later_says_nothing_new():
    seats, small = Seats(), of()
    seats.told(small, "a", tokens(1000, 0, 60), 5, 6)
    seats.told(small, "a", tokens(1000, 900, 6), 1, 7)
    assert seats.refused(small, "a", 7, Need(900)) is not None
    seats.told(small, "a", tokens(1000, 900, 6), 6, 8)
    assert seats.refused(small, "a", 8, Need(900)) is None


def test_those_who_are_before_a_request_are_counted_where_they_take_the_same():
    seats, small = Seats(), of(own=RateLimits(requests_per_minute=60))
    for _ in range(60):
        seats.enter(small, "a", 0, 1)
    ahead = [("small", 1.0), ("large", 1.0), ("small", 1.0)]
    assert seats.refused(small, "a", 0, Need(1, ahead)).wait_s == pytest.approx(3)


amounts = st.floats(-10, 10**9, allow_nan=False)


@given(st.lists(st.tuples(amounts, amounts, st.none() | st.floats(0, 86400)), max_size=20), amounts)
def test_whatever_is_learnt_is_over_within_a_day(told, need):
    seats, small, now = Seats(), of(), 0.0
    for limit, remaining, reset in told:
        seats.told(small, "a", Told(Allowance(limit, remaining, reset), Allowance(limit, remaining, reset)), now, now)
        now += 1
    assert seats.refused(small, "a", now + 86401, Need(max(1.0, need))) is None
