"""Token buckets and limiters: what goes through in any interval, and whether the wait that is told is true."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.buckets import Limiter, Seat, per_minute
from router.core.catalog import RateLimits

gaps = st.floats(0, 90, allow_nan=False)
needs = st.integers(1, 400)


def limiter(**limits):
    made = Limiter()
    made.configure(RateLimits(**limits), 0)
    return made


@given(st.integers(1, 200), st.lists(st.tuples(gaps, needs), max_size=80))
def test_in_any_interval_no_more_is_taken_than_the_bucket_and_what_flows_in(size, asked):
    bucket, now, taken = per_minute(size, 0), 0.0, []
    for gap, need in asked:
        now += gap
        if need <= size and not bucket.wait(now, need):
            bucket.take(need)
            taken.append((now, need))
    for i, (begin, _) in enumerate(taken):
        total = 0
        for end, need in taken[i:]:
            total += need
            assert total <= size + size / 60 * (end - begin) + 1e-6 * size


@given(st.integers(1, 200), st.lists(st.tuples(gaps, needs), max_size=40), needs, st.integers(0, 500))
def test_the_wait_that_is_told_is_true_and_no_longer_than_it_must_be(size, asked, need, ahead):
    bucket, now = per_minute(size, 0), 0.0
    for gap, took in asked:
        now += gap
        if not bucket.wait(now, took):
            bucket.take(took)  # more than its size leaves it in debt
    wait = bucket.wait(now, need, ahead)
    if wait > 0.001:
        early = per_minute(size, 0)
        early.level, early.at = bucket.level, bucket.at
        assert early.wait(now + wait * 0.99, need, ahead) > 0
    bucket.take(ahead)  # those before it got theirs
    assert bucket.wait(now + wait, need) == 0


def test_a_bucket_that_was_idle_for_a_day_holds_no_more_than_a_minutes_worth():
    bucket = per_minute(60, 0)
    bucket.take(60)
    assert bucket.look(86_400) == 60


def test_a_clock_that_stands_still_or_steps_back_gives_nothing():
    bucket = per_minute(60, 100)
    bucket.take(60)
    assert bucket.look(50) == 0
    assert bucket.look(101) == pytest.approx(1)


def test_a_changed_limit_gives_no_new_burst():
    found = limiter(requests_per_minute=60)
    for _ in range(60):
        found.enter(0, 1)
    found.configure(RateLimits(requests_per_minute=600), 0)
    assert found.wait(0, 1) == (0.1, "requests")
    found.configure(RateLimits(requests_per_minute=6), 60)
    assert found.requests.level == 6
    found.configure(RateLimits(), 60)
    assert found.wait(60, 10**9) == (0, "")


def test_the_longest_of_several_waits_is_told_with_its_name():
    found = limiter(requests_per_minute=60, tokens_per_minute=600, concurrent=2)
    found.enter(0, 600)
    assert found.wait(0, 60) == (pytest.approx(6), "tokens")
    found.enter(0, 0)
    assert found.wait(0, 0) == (inf, "concurrent")
    found.leave()
    assert found.wait(0, 0)[0] == 0


def test_a_request_that_needs_more_than_a_minutes_worth_gets_the_whole_of_it_and_pays_it_off():
    found = limiter(tokens_per_minute=600)
    assert found.wait(0, 1500)[0] == 0
    found.enter(0, 1500)
    assert found.wait(0, 1) == (pytest.approx(90.1), "tokens")
    assert found.wait(0, 9999)[0] == pytest.approx(150)


@given(st.lists(st.sampled_from(["enter", "leave", "back", "used"]), max_size=60))
def test_a_seat_is_left_once_however_often_it_is_told(steps):
    found, seats, now = limiter(concurrent=1000, requests_per_minute=10_000, tokens_per_minute=10**6), [], 0.0
    for step in steps:
        if step == "enter" or not seats:
            found.enter(now, 100)
            seats.append(Seat((found,), 100))
        elif step == "leave":
            seats[-1].leave()
        elif step == "back":
            seats[-1].give_back(now)
        else:
            seats[-1].used(now, 70)
            seats[-1].used(now, 70)
    assert found.inside == sum(seat.taken for seat in seats)
    for seat in seats:
        seat.leave()
        seat.give_back(now)
    assert found.inside == 0


def test_what_is_given_back_is_there_again():
    found = limiter(requests_per_minute=1, tokens_per_minute=100, concurrent=1)
    found.enter(0, 100)
    Seat((found,), 100).give_back(0)
    assert found.wait(0, 100) == (0, "")


def test_a_request_costs_the_largest_part_that_it_takes_of_any_limit():
    found = limiter(requests_per_minute=100, tokens_per_minute=1000, concurrent=50)
    assert (found.share(1), found.share(500), found.share(5000)) == (0.02, 0.5, 1.0)


def test_one_of_several_processes_keeps_to_its_part_and_lets_somebody_in_at_all():
    shared = Limiter()
    shared.configure(RateLimits(requests_per_minute=60, tokens_per_minute=1000, concurrent=3), 0, 4)
    assert (shared.requests.size, shared.requests.rate, shared.tokens.size) == (15, 0.25, 250)
    assert shared.concurrent == 1
    shared.enter(0, 100)
    assert shared.wait(0, 1) == (inf, "concurrent")
    shared.configure(shared.limits, 0, 2)  # others have gone
    assert (shared.requests.size, shared.requests.level, shared.concurrent) == (30, 14, 1)
