"""Breakers and waits: what each kind of failure closes, for how long, and what opens it again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.catalog import Access
from router.core.failure import Failure, Fault
from router.core.health import LONGEST_S, OPEN_S, STREAK, VENDORS, Health
from tests.fakes import VENDOR, model


def of(*keys, name="small"):
    found = model(name)
    object.__setattr__(found, "access", Access(VENDOR, VENDOR.base_url, keys))
    return found


def fails(health, whom, fault, now, key="a", **more):
    health.tell(whom, key, Failure(fault, "no", **more), now, heard=False)


def answers(health, whom, now, key="a"):
    health.tell(whom, key, None, now, heard=True)


@pytest.mark.parametrize("fault", [Fault.AUTH, Fault.QUOTA_EXHAUSTED])
def test_an_empty_or_refused_credential_is_closed_for_every_model(fault):
    health, small, large = Health(), of("a"), of("a", name="large")
    fails(health, small, fault, 0)
    for whom in (small, large):
        assert health.look(whom, 1).fault is fault
        assert health.breaker_open(whom, 1)
    assert health.look(of("b"), 1) is None  # another credential at the same address


@pytest.mark.parametrize("fault", [Fault.PERMISSION, Fault.NOT_FOUND])
def test_a_model_that_a_credential_may_not_use_is_closed_alone(fault):
    health, small, large = Health(), of("a"), of("a", name="large")
    fails(health, small, fault, 0)
    assert health.look(small, 1).fault is fault
    assert health.look(large, 1) is None


def test_a_rate_limit_is_waited_out_as_long_as_the_vendor_says_and_is_no_illness():
    health, small = Health(), of("a")
    fails(health, small, Fault.RATE_LIMITED, 0, retry_after_s=7)
    assert health.look(small, 2).wait_s == 5
    assert not health.breaker_open(small, 2)
    assert health.look(small, 7) is None
    health.take(small, 7)
    assert health.look(small, 7) is None  # no probe: a full bucket serves everybody


def test_while_it_is_unwell_one_request_at_a_time_may_try_it():
    health, small = Health(), of("a")
    fails(health, small, Fault.RATE_LIMITED, 0, retry_after_s=7)
    assert not health.look(small, 1).busy
    health.take(small, 1)
    assert health.look(small, 1).busy
    health.tell(small, "a", None, 2, heard=False)
    assert not health.look(small, 2).busy
    health.take(small, 3)
    answers(health, small, 4)
    assert health.look(small, 4) is None


def test_without_a_word_of_the_vendors_the_wait_doubles_up_to_its_bound():
    health, small, now, waits = Health(), of("a"), 0.0, []
    for _ in range(9):
        fails(health, small, Fault.RATE_LIMITED, now)
        waits.append(health.look(small, now).wait_s)
        now += waits[-1]
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_a_wait_that_a_vendor_asks_for_is_bounded():
    health, small = Health(), of("a")
    fails(health, small, Fault.RATE_LIMITED, 0, retry_after_s=1e9)
    assert health.look(small, 0).wait_s == LONGEST_S


def test_answers_of_many_that_were_under_way_count_as_one():
    health, small = Health(), of("a")
    for moment in range(20):
        fails(health, small, Fault.QUOTA_EXHAUSTED, moment / 100)
    assert health.look(small, 1).wait_s <= OPEN_S[Fault.QUOTA_EXHAUSTED][0]


@pytest.mark.parametrize("fault", sorted(VENDORS))
def test_faults_of_the_vendors_own_close_after_a_streak(fault):
    health, small = Health(), of("a")
    for _ in range(STREAK - 1):
        fails(health, small, fault, 0)
    assert health.look(small, 0) is None
    answers(health, small, 0)  # an answer between them: it is not down
    for _ in range(STREAK - 1):
        fails(health, small, fault, 0)
    assert health.look(small, 0) is None
    fails(health, small, fault, 0)
    assert health.breaker_open(small, 0)


@pytest.mark.parametrize("fault", [Fault.BAD_REQUEST, Fault.CONTENT_FILTERED, Fault.CONTEXT_TOO_LONG])
def test_the_callers_faults_say_nothing_of_the_vendor(fault):
    health, small = Health(), of("a")
    for _ in range(3 * STREAK):
        fails(health, small, fault, 0)
    assert health.look(small, 0) is None


def test_after_the_wait_one_request_tries_and_its_answer_opens_for_all():
    health, small = Health(), of("a")
    fails(health, small, Fault.AUTH, 0)
    assert health.look(small, 30) is None
    assert health.take(small, 30) == "a"
    assert health.look(small, 30).wait_s == 1  # the others wait for it
    answers(health, small, 31)
    assert health.look(small, 31) is None
    assert not health.breaker_open(small, 31)


def test_a_failed_try_closes_for_twice_as_long():
    health, small = Health(), of("a")
    fails(health, small, Fault.AUTH, 0)
    health.take(small, 10)
    fails(health, small, Fault.AUTH, 11)
    assert health.look(small, 11).wait_s == 19  # before its time it says nothing new
    health.take(small, 30)
    fails(health, small, Fault.AUTH, 31)
    assert health.look(small, 31).wait_s == 60


def test_a_try_that_nobody_waited_for_lets_the_next_one_try():
    health, small = Health(), of("a")
    fails(health, small, Fault.AUTH, 0)
    health.take(small, 30)
    health.tell(small, "a", None, 31, heard=False)  # its client left
    assert health.look(small, 31) is None


def test_credentials_take_turns_and_the_unwell_are_left_out():
    health, small = Health(), of("a", "b", "c")
    assert [health.take(small, 0) for _ in range(6)] == ["a", "b", "c", "a", "b", "c"]
    fails(health, small, Fault.QUOTA_EXHAUSTED, 0, key="b")
    assert {health.take(small, 1) for _ in range(6)} == {"a", "c"}
    assert health.look(small, 1) is None
    fails(health, small, Fault.RATE_LIMITED, 1, key="a", retry_after_s=9)
    fails(health, small, Fault.RATE_LIMITED, 1, key="c", retry_after_s=3)
    assert health.look(small, 1).wait_s == 3
    assert health.take(small, 1) == "c"  # nobody is well: the one that is so soonest


FAULTS = st.sampled_from([None, *Fault])


@given(st.lists(st.tuples(FAULTS, st.sampled_from("ab"), st.floats(0, 700), st.booleans()), max_size=60))
def test_whatever_comes_every_credential_can_be_asked_again_some_day(events):
    health, small, now = Health(), of("a", "b"), 0.0
    for fault, key, after, asked in events:
        now += after
        used = health.take(small, now) if asked else key
        failure = None if fault is None else Failure(fault, "no")
        health.tell(small, used, failure, now, heard=fault is None)
        unwell = health.look(small, now)
        assert unwell is None or 0 < unwell.wait_s <= LONGEST_S
    assert health.look(small, now + LONGEST_S) is None
