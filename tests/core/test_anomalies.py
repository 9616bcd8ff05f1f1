"""When an hour's spend is out of proportion: the rule, on hours that were made up."""

import random

import pytest

from router.core.alerts import HOUR, Spend, bound
from router.core.limits import MICROS

NOON = 494_508  # an hour since 1970 that begins at 12:00 UTC
USD = 10**9


def spend(days, like, hour=NOON):
    """A team with `like(hour)` in each hour of so many days before."""
    out = Spend()
    out.load(("search", each, like(each)) for each in range(hour - 24 * days, hour))
    return out


def found(record, nano, hour=NOON, least=0):
    record.add("search", hour * HOUR + 10 * 60 * MICROS, nano)
    return record.unusual("search", hour * HOUR + 10 * 60 * MICROS, least, "USD")


def test_an_hour_as_all_others_is_none():
    assert found(spend(14, lambda _: 10 * USD), 19 * USD) is None


def test_more_than_twice_the_usual_is_one_where_spend_is_steady():
    alert = found(spend(14, lambda _: 10 * USD), 21 * USD)
    assert round(float(alert.data["usual"]), 6) == 10
    assert round(float(alert.data["bound"]), 6) == 20
    assert "team search has spent 21 USD since 2026-05-31T12:00:00Z" in alert.text


def test_it_is_the_hour_of_the_day_that_is_compared():
    def working(hour):
        return 100 * USD if 8 <= hour % 24 < 18 else USD

    assert found(spend(14, working), 150 * USD) is None
    night = NOON + 12
    assert found(spend(14, working, night), 10 * USD, night) is not None


def test_a_runaway_of_yesterday_hides_none_of_today():
    record = spend(14, lambda hour: 1000 * USD if NOON - 30 < hour < NOON - 20 else 10 * USD)
    assert found(record, 25 * USD) is not None


def test_a_team_that_is_new_has_no_habits():
    assert found(spend(6, lambda _: 10 * USD), 900 * USD) is None
    assert found(spend(8, lambda _: 10 * USD), 900 * USD) is not None


def test_small_change_is_none():
    record = spend(14, lambda _: 1000)
    assert found(record, USD // 2, least=USD) is None
    assert found(record, USD, least=USD) is not None


def test_a_team_is_told_of_once_a_day():
    record = spend(14, lambda _: 10 * USD)
    first = found(record, 50 * USD)
    assert found(record, 50 * USD).id == first.id
    assert found(record, 90 * USD, NOON + 3).id == first.id
    assert found(record, 90 * USD, NOON + 20).id != first.id


def test_hours_without_spend_have_no_part_in_what_is_usual_but_in_how_much_is_known():
    record = spend(14, lambda hour: 10 * USD if hour % 24 == 12 else 0)
    assert len(record.like("search", NOON)) == 41
    usual, most = bound(record.like("search", NOON))
    assert (round(usual / USD, 6), round(most / USD, 6)) == (10, 20)


def test_where_no_hour_cost_anything_whatever_does_is_unusual():
    record = spend(14, lambda hour: 10 * USD if 8 <= hour % 24 < 18 else 0, NOON + 12)
    assert found(record, USD // 2, NOON + 12, least=USD) is None
    assert found(record, USD, NOON + 12, least=USD) is not None


def test_what_is_remembered_is_bounded():
    record = Spend()
    for hour in range(NOON, NOON + 2000):
        record.add("search", hour * HOUR, USD)
    assert len(record._hours["search"]) <= 15 * 24 + 1


@pytest.mark.parametrize("sigma", [0.3, 0.5, 1.0])
def test_of_usual_hours_however_wide_they_vary_one_in_two_thousand_is_told(sigma):
    chance, told, hours = random.Random(7), 0, 10_000
    for _ in range(hours):
        before = [int(USD * chance.lognormvariate(2, sigma)) for _ in range(41)]
        _, most = bound(before)
        told += USD * chance.lognormvariate(2, sigma) > most
    assert told <= hours / 1000


def test_seven_times_the_usual_is_found_where_hours_vary_by_half():
    chance = random.Random(7)
    bounds = sorted(bound([int(USD * chance.lognormvariate(0, 0.5)) for _ in range(41)])[1] for _ in range(1001))
    assert 6 * USD < bounds[500] < 8 * USD
