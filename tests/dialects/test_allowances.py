"""What headers say is left of a vendor's limits, and what is no saying of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.seats import Allowance, Told
from router.dialects.allowances import LONGEST_S, read_allowances

NOW = 1_795_000_000_000_000  # 2026-11-18T11:06:40Z


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [("1s", 1), ("6m0s", 360), ("12ms", 0.012), ("1m30.5s", 90.5), ("2h3m", 7380), ("1d", 86400), ("7.66s", 7.66), ("0.5", 0.5),
     ("", None), ("soon", None), ("-1", None), ("1795000000000", None), ("2026-11-18T11:06:50Z", 10), ("2026-11-18T11:06:30Z", 0),
     ("2026-11-18T11:06:50", None), ("٣s", None)],
)  # fmt: skip
def test_a_reset_is_a_duration_a_number_or_an_instant(reset, seconds):
    headers = {
        "x-ratelimit-limit-tokens": "150000", "x-ratelimit-remaining-tokens": "49984", "x-ratelimit-reset-tokens": reset
    }  # fmt: skip
    assert read_allowances(headers, NOW) == Told(None, Allowance(150_000, 49_984, seconds))


def test_anthropics_names_are_the_other_way_round():
    headers = {
        "anthropic-ratelimit-requests-limit": "1000", "anthropic-ratelimit-requests-remaining": "9",
        "anthropic-ratelimit-requests-reset": "2026-11-18T11:06:41Z", "anthropic-ratelimit-tokens-limit": "80000",
        "anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": "2026-11-18T11:07:40+00:00",
    }  # fmt: skip
    assert read_allowances(headers, NOW) == Told(Allowance(1000, 9, 1), Allowance(80_000, 0, 60))


def test_while_half_of_it_is_left_there_is_nothing_to_know():
    names = {"limit": "100", "reset": "1s"}
    for left, told in (("51", None), ("50", Allowance(100, 50, 1))):
        headers = {f"x-ratelimit-{name}-requests": value for name, value in (names | {"remaining": left}).items()}
        assert read_allowances(headers, NOW) == Told(told)


def test_what_is_left_of_an_unknown_limit_says_nothing():
    assert read_allowances({"x-ratelimit-remaining-requests": "7"}, NOW) == Told()
    assert read_allowances({"retry-after": "7", "x-ratelimit-reset": "9"}, NOW) is None


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_whatever_a_vendor_sends_is_read_or_left_out(limit, remaining, reset):
    headers = {
        f"x-ratelimit-{n}-requests": v for n, v in (("limit", limit), ("remaining", remaining), ("reset", reset))
    }
    told = read_allowances(headers, NOW).requests
    if told is not None:
        assert told.limit >= 0 and told.remaining >= 0
        assert told.reset_s is None or 0 <= told.reset_s <= LONGEST_S
