"""Calendar windows in any time zone."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.limits import FOREVER, Budget, BudgetState, micros, moment, window

PERIODS = ["hour", "day", "week", "month", "quarter", "year"]
zones = st.sampled_from(sorted(available_timezones() - {"localtime"})).map(ZoneInfo)
instants = st.datetimes(datetime(2020, 1, 1), datetime(2035, 12, 31), timezones=st.just(UTC)).map(micros)  # noqa: DTZ001


@given(st.sampled_from(PERIODS), zones, instants)
def test_a_window_holds_its_instant_and_the_next_begins_where_it_ends(per, zone, at):
    start, end = window(per, zone, at)
    assert start <= at < end
    assert window(per, zone, start) == (start, end)
    assert window(per, zone, end - 1) == (start, end)
    assert window(per, zone, end)[0] == end


SHANGHAI, BERLIN, NEW_YORK = ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")


@pytest.mark.parametrize(
    ("per", "zone", "at", "start", "end"),
    [
        ("month", SHANGHAI, "2026-10-31T16:00+00:00", "2026-11-01T00:00+08:00", "2026-12-01T00:00+08:00"),
        ("month", SHANGHAI, "2026-10-31T15:59+00:00", "2026-10-01T00:00+08:00", "2026-11-01T00:00+08:00"),
        ("day", BERLIN, "2026-03-29T12:00+02:00", "2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00"),  # 23 hours
        ("day", BERLIN, "2026-10-25T12:00+01:00", "2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00"),  # 25 hours
        ("week", NEW_YORK, "2026-11-01T12:00-05:00", "2026-10-26T00:00-04:00", "2026-11-02T00:00-05:00"),
        ("quarter", UTC, "2026-12-31T23:59+00:00", "2026-10-01T00:00+00:00", "2027-01-01T00:00+00:00"),
        ("year", SHANGHAI, "2027-12-31T16:00+00:00", "2028-01-01T00:00+08:00", "2029-01-01T00:00+08:00"),
        ("month", UTC, "2028-02-29T12:00+00:00", "2028-02-01T00:00+00:00", "2028-03-01T00:00+00:00"),
        (
            "hour",
            ZoneInfo("Asia/Kolkata"),
            "2026-11-22T03:45+00:00",
            "2026-11-22T09:00+05:30",
            "2026-11-22T10:00+05:30",
        ),
    ],
)
def test_windows_begin_at_local_midnight(per, zone, at, start, end):
    found = window(per, zone, micros(datetime.fromisoformat(at)))
    assert found == (micros(datetime.fromisoformat(start)), micros(datetime.fromisoformat(end)))


def test_the_two_equal_hours_of_an_autumn_night_are_two_windows():
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)  # 02:30 summer time in Berlin
    assert window("hour", BERLIN, micros(first)) != window("hour", BERLIN, micros(first + timedelta(hours=1)))


def test_a_total_never_ends():
    assert window("total", UTC, 5) == (0, FOREVER)


def test_an_instant_survives_the_round_trip_to_the_microsecond():
    assert micros(moment(1_795_000_000_123_457)) == 1_795_000_000_123_457


def test_the_account_of_a_budget_does_not_depend_on_its_limit():
    one = Budget("search", 5, "USD", "day", UTC)
    assert one.account == Budget("search", 9, "USD", "day", UTC).account
    assert one.account != Budget("search", 5, "CNY", "day", UTC).account


def test_a_forecast_goes_on_at_the_pace_so_far():
    state = BudgetState(Budget("search", 100, "USD", "day", UTC), 30, 0, 0, 1000)
    assert state.forecast(500) == 60
    assert state.forecast(0) == 30
