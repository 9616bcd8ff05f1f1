"""Prices times usages times dates, against an independent calculation in decimals."""

from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal, localcontext

import pytest
from fakes import model
from hypothesis import given
from hypothesis import strategies as st

from router.core.limits import micros
from router.core.money import Rate, amount_nano, nano_from_pico, price_pico, scaled, show, show_price
from router.core.plan import Plan, shrunk, within
from router.core.prices import EACH, PER_TOKEN, Facts, Price, Rates, Span, Timeline, Unpriced, When
from router.core.rates import PLACES
from router.core.usage import LEAVES, Usage

amounts = st.decimals(min_value=0, max_value=1000, places=6, allow_nan=False, allow_infinity=False)
counts = st.none() | st.integers(0, 10**9)
usages = st.builds(Usage, **dict.fromkeys(LEAVES, counts))
blank = st.none() | amounts
each = st.none() | st.decimals(min_value=0, max_value=5, places=12, allow_nan=False, allow_infinity=False)
rates_written = st.fixed_dictionaries(
    {
        "input": amounts,
        "output": amounts,
        **dict.fromkeys((*PER_TOKEN[1:6], *PER_TOKEN[7:]), blank),
        "per_request": each,
        "per_search": st.decimals(min_value=0, max_value=5, places=12),
        "per_image": st.decimals(min_value=0, max_value=5, places=12),
    }
)
exchange = st.decimals(min_value="0.000001", max_value=10000, places=6, allow_nan=False, allow_infinity=False)


def rates_of(written):
    pico = {
        name: None if value is None else scaled(value, PLACES) if name in EACH else price_pico(value)
        for name, value in written.items()
    }
    return Rates(**pico)


def by_hand(written, usage, rate):
    """The bill as finance would work it out: in decimals, per million, rounded up once at the ninth place."""

    def first(*names):
        return next(written[name] for name in names if written[name] is not None)

    per_million = {
        "input_fresh": written["input"],
        "cache_read": first("cache_read", "input"),
        "cache_write_5m": first("cache_write_5m", "input"),
        "cache_write_1h": first("cache_write_1h", "cache_write_5m", "input"),
        "input_audio": first("input_audio", "input"),
        "input_image": first("input_image", "input"),
        "output_text": written["output"],
        "output_reasoning": first("reasoning", "output"),
        "output_audio": first("output_audio", "output"),
        "output_image": first("output_image", "output"),
        "output_rejected": written["output"],
    }
    total = sum((Decimal(getattr(usage, leaf) or 0) * price for leaf, price in per_million.items()), Decimal(0)) / 10**6
    total += (usage.searches or 0) * written["per_search"] + (usage.images or 0) * written["per_image"]
    if any(usage.as_dict().values()):
        total += written["per_request"] or 0
    return (total * rate * 10**9).to_integral_value(ROUND_CEILING)


@given(rates_written, usages, exchange)
def test_a_charge_is_what_finance_works_out_in_decimals(written, usage, rate):
    with localcontext() as context:
        context.prec = 60
        expected = by_hand(written, usage, rate)
    assert nano_from_pico(rates_of(written).cost_pico(usage), Rate.of(rate)) == expected


@given(
    st.lists(st.tuples(st.integers(0, 2000), amounts), min_size=1, max_size=8, unique_by=lambda item: item[0]),
    st.integers(-10, 2100),
)
def test_the_price_of_an_instant_is_the_newest_that_has_begun(entries, day):
    epoch = datetime(2024, 1, 1, tzinfo=UTC)
    prices = [
        Price("USD", (Rates(price_pico(amount), 0),), micros(epoch + timedelta(days=start)), label=str(start))
        for start, amount in entries
    ]
    timeline = Timeline("model", prices)
    begun = [(start, amount) for start, amount in entries if start <= day]
    instant = micros(epoch + timedelta(days=day))
    if not begun:
        with pytest.raises(Unpriced):
            timeline.at(instant)
        return
    assert timeline.at(instant).rates[0].input == price_pico(max(begun)[1])


@given(st.decimals(min_value=0, max_value=10**9, places=9, allow_nan=False, allow_infinity=False))
def test_an_amount_survives_being_written_and_shown(amount):
    assert Decimal(show(amount_nano(amount))) == amount


@given(amounts)
def test_a_price_survives_being_written_and_shown(amount):
    assert Decimal(show_price(price_pico(amount))) == amount


def test_the_smallest_price_in_use_is_exact():
    assert price_pico("0.0375") == 37_500


def test_a_yaml_float_is_the_decimal_that_was_written():
    assert amount_nano(0.1) == 100_000_000
    assert price_pico(0.8) == 800_000


@pytest.mark.parametrize("bad", ["-1", "nan", "inf", "1e-7", "one", "", None, "1,5"])
def test_what_is_no_exact_price_is_refused(bad):
    with pytest.raises(ValueError):
        price_pico(bad)


@pytest.mark.parametrize("bad", ["0", "-1", "nan", "x"])
def test_what_is_no_rate_is_refused(bad):
    with pytest.raises(ValueError):
        Rate.of(bad)


def test_rounding_happens_once_and_up():
    assert nano_from_pico(1) == 1
    assert nano_from_pico(1000) == 1
    assert nano_from_pico(1001) == 2
    assert nano_from_pico(0) == 0


def test_two_prices_in_force_at_once_are_refused():
    first = Price("USD", (Rates(1, 1),), 0, 100, label="first")
    with pytest.raises(ValueError, match="still in force"):
        Timeline("m", [first, Price("USD", (Rates(2, 2),), 99, label="second")])


def test_a_price_that_has_ended_is_unknown_and_not_the_last_one():
    timeline = Timeline("m", [Price("USD", (Rates(1, 1),), 0, 100, label="promotion")])
    assert timeline.at(99).label == "promotion"
    with pytest.raises(Unpriced, match="has ended"):
        timeline.at(100)


def test_a_doubtful_price_is_unknown_until_somebody_confirms_it():
    timeline = Timeline("m", [Price("USD", (Rates(1, 1),), label="rumour", confidence="doubtful")])
    with pytest.raises(Unpriced, match="doubtful"):
        timeline.at(0)


def test_tokens_without_a_known_rate_are_never_free():
    with pytest.raises(Unpriced):
        Rates(input=1).cost_pico(Usage(input_fresh=1, output_text=1))
    assert Rates(input=1).cost_pico(Usage(input_fresh=7, output_text=0)) == 7


SHORT, LONG = Rates(1, 2, when=When(Span(to=32_000))), Rates(3, 4, when=When(Span(above=32_000)))


@pytest.mark.parametrize(("tokens", "rates"), [(0, SHORT), (31_999, SHORT), (32_000, SHORT), (32_001, LONG)])
def test_past_a_context_tier_the_whole_request_is_re_rated(tokens, rates):
    assert Price("USD", (SHORT, LONG)).rates_for(Facts(0, tokens)) is rates


def test_a_hold_near_a_tier_is_made_of_the_dearer_rate():
    price = Price("USD", (SHORT, LONG))
    assert price.bounds_pico(31_000, 31_500, 10) == (31_500, 2)
    assert price.bounds_pico(31_000, 33_000, 10) == (33_000 * 3, 4)


def test_a_price_that_no_condition_of_holds_is_unknown():
    with pytest.raises(Unpriced):
        Price("USD", (SHORT,)).rates_for(Facts(0, 40_000))


def test_hours_wrap_past_midnight_and_weekdays_are_those_of_utc():
    night = When(minutes=(16 * 60 + 30, 30))
    at = lambda *when: micros(datetime(*when, tzinfo=UTC))
    assert night.holds_at(at(2025, 3, 1, 16, 30)) and night.holds_at(at(2025, 3, 1, 0, 29, 59))
    assert not night.holds_at(at(2025, 3, 1, 16, 29, 59)) and not night.holds_at(at(2025, 3, 1, 0, 30))
    workdays = When(weekdays=frozenset(range(5)))
    assert workdays.holds_at(at(2026, 11, 20)) and not workdays.holds_at(at(2026, 11, 21))  # a Friday, a Saturday


@given(
    st.integers(1, 10**7), st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**4), st.integers(1, 8),
    st.integers(1, 5000), st.integers(1, 10**6), st.integers(1, 10**6),
)  # fmt: skip
def test_a_plan_within_max_cost_cannot_cost_more_by_any_rounding(
    most, input_pico, per_output, cap, choices, asked, numerator, denominator
):
    rate = Rate(numerator, denominator)
    plan = Plan(model(), None, None, None, asked or cap, choices, "default", input_pico, per_output, 0, 1)
    fitted, why = within(plan, most, rate)
    if not why:
        assert nano_from_pico(fitted.bound_pico, rate) <= most
    if not why and fitted is not plan:  # as large as it may be
        assert nano_from_pico(shrunk(fitted, fitted.output_cap + 1, "").bound_pico, rate) > most
