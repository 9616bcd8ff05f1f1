"""Savings and their intervals."""

import random

import pytest

from router.core.savings import saving


def test_a_saving_is_a_share_of_what_it_would_have_cost_and_may_be_a_loss():
    found = saving([(30, 100), (50, 100)])
    assert (found.nano, found.share, found.low, found.days) == (120, 0.6, None, 2)
    assert saving([(120, 100)]).share == pytest.approx(-0.2)
    assert saving([]) is None
    assert saving([(5, 0)]) is None


def test_days_that_are_alike_leave_no_doubt_and_days_that_differ_do():
    alike, apart = saving([(40, 100)] * 10), saving([(10, 100), (70, 100)] * 5)
    assert alike.low == alike.share == alike.high == 0.6
    assert apart.share == 0.6
    assert apart.low == pytest.approx(0.6 - 1.96 * 0.3 / 3)


def test_the_interval_holds_the_true_share_about_as_often_as_it_says():
    draw, held = random.Random(7), 0
    for _ in range(400):
        days = []
        for _ in range(30):
            base = draw.randrange(50, 150)
            days.append((round(base * draw.uniform(0.3, 0.7)), base))
        found = saving(days)
        held += found.low <= 0.5 <= found.high
    assert held > 400 * 0.9
