"""What a price may depend on: length, clock, day, holiday, service tier, what is priced each, what is free; and that a hold
is never below the charge, whatever it depends on.
"""

from dataclasses import replace
from datetime import UTC, date, datetime
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from router import calendars
from router.core.charge import Terms
from router.core.limits import micros
from router.core.money import ONE, Rate, show
from router.core.prices import (
    FREE_FIRST,
    Facts,
    Price,
    Quota,
    Rates,
    Span,
    Timeline,
    Unpriced,
    When,
    charge_pico_with_free,
    special,
)
from router.core.usage import LEAVES, Usage
from router.pricebook import PriceBook, read_books
from router.snapshot import load
from router.yamlfile import BadConfiguration

SHANGHAI = ZoneInfo("Asia/Shanghai")
BUILTIN = read_books([(("prices",), "builtin")], ["deepseek", "anthropic", "openai", "groq"])


def at(text, zone=SHANGHAI):
    return micros(datetime.fromisoformat(text).replace(tzinfo=zone))


def book(tmp_path, text) -> PriceBook:
    """The book that the YAML says."""
    path = tmp_path / "book.yaml"
    path.write_text(text)
    return read_books([(("prices", 0), path)], None)


def refused(tmp_path, text):
    with pytest.raises(BadConfiguration) as caught:
        book(tmp_path, text)
    return str(caught.value)


def one(tmp_path, entry, top=""):
    """The only price of a book with one model, written as the inside of a flow mapping."""
    text = f"vendor: check\n{top}\nmodels: {{m: {{tier: mid, prices: [{{currency: USD, {entry}}}]}}}}\n"
    return book(tmp_path, text).find("check", "m").timelines["USD"].prices[0]


def terms(price, when, tier=None, *, thinking=False):
    plan = SimpleNamespace(price=price, facts=Facts(when, 0, 0, thinking, tier))
    return Terms(plan, {price.currency: ONE}, None, ())


def costs(price, usage, when, ended=None, tier=None):
    return show(terms(price, when).charge(usage, ended, tier).vendor)


MILLION = Usage(input_fresh=10**6, output_text=10**6)


# Length


@pytest.mark.parametrize(("tokens", "told"), [(31_999, "0.031999"), (32_000, "0.032"), (32_001, "0.064002"), (0, "0")])
def test_past_a_tier_of_32k_every_token_costs_what_the_longer_prompt_does(tmp_path, tokens, told):
    price = one(tmp_path, "rates: [{when: {input_tokens: {to: 32000}}, input: 1, output: 2}, {input: 2, output: 4}]")
    assert costs(price, Usage(input_fresh=tokens), 0) == told
    cached = Usage(cache_read=tokens - tokens // 2, input_fresh=tokens // 2)
    assert costs(price, cached, 0) == told  # the tier looks at the whole prompt


# The clock of a vendor in China


PEAK, VALLEY = "5.28", "2.64"  # a million in and a million out of deepseek-v4-pro, in USD


@pytest.mark.parametrize(
    ("when", "told"),
    [
        ("2026-11-24T08:59", VALLEY),  # a Tuesday
        ("2026-11-24T09:00", PEAK),
        ("2026-11-24T11:59:59", PEAK),
        ("2026-11-24T12:00", VALLEY),
        ("2026-11-24T13:59", VALLEY),
        ("2026-11-24T14:00", PEAK),
        ("2026-11-24T17:59", PEAK),
        ("2026-11-24T18:00", VALLEY),
        ("2026-11-21T10:00", VALLEY),  # a Saturday
        ("2026-11-22T15:00", VALLEY),  # a Sunday
        ("2026-10-01T10:00", VALLEY),  # National Day, a Thursday
        ("2026-10-07T15:00", VALLEY),  # its last day, a Wednesday
        ("2026-10-08T10:00", PEAK),
        ("2026-09-25T10:00", VALLEY),  # the Mid-Autumn Festival, a Friday
        ("2026-10-10T10:00", VALLEY),  # a Saturday that is worked in exchange: the vendor's rule is Monday to Friday
        ("2027-01-01T10:00", PEAK),  # nobody has published the holidays of 2027: an ordinary Friday
        ("2026-08-22T10:00", PEAK),  # a Saturday before weekends became off-peak
        ("2026-08-23T10:00", VALLEY),
        ("2026-08-16T10:00", "1.305"),  # before the tariff
    ],
)
def test_peak_hours_are_those_of_beijing_on_working_weekdays(when, told):
    timeline = BUILTIN.find("deepseek", "deepseek-v4-pro").timelines["USD"]
    assert costs(timeline.at(at(when)), MILLION, at(when)) == told


def test_a_request_that_begins_in_peak_and_completes_off_peak_is_charged_off_peak():
    price = BUILTIN.find("deepseek", "deepseek-v4-pro").timelines["USD"].at(at("2026-11-24T11:59"))
    begun, ended = at("2026-11-24T11:59:50"), at("2026-11-24T12:00:00")
    assert price.evaluated == "completion"
    assert costs(price, MILLION, begun, ended) == VALLEY
    assert costs(price, MILLION, begun, ended - 1) == PEAK
    assert costs(price, MILLION, begun) == PEAK  # as long as nobody knows when it ended
    assert costs(price, MILLION, ended - 60 * 10**6, at("2026-11-24T14:00")) == PEAK


def test_a_hold_is_made_of_the_peak_rates_at_any_hour():
    price = BUILTIN.find("deepseek", "deepseek-v4-pro").timelines["USD"].at(at("2026-11-22T03:00"))
    assert price.bounds_pico(0, 10, 10) == (13_200_000, 3_960_000)


def test_most_prices_are_judged_by_the_start(tmp_path):
    price = one(tmp_path, 'rates: [{when: {hours: "09:00-12:00"}, input: 2, output: 2}, {input: 1, output: 1}]')
    begun, ended = at("2026-11-24T11:59", UTC), at("2026-11-24T12:01", UTC)
    assert costs(price, MILLION, begun, ended) == "4"


@pytest.mark.parametrize(
    ("utc", "holds"),
    [
        ("2026-03-28T08:59", False),  # Berlin is an hour ahead of UTC in winter
        ("2026-03-28T09:00", True),
        ("2026-03-29T07:59", False),  # and two in summer
        ("2026-03-29T08:00", True),
        ("2026-10-25T08:59", False),
        ("2026-10-25T09:00", True),
    ],
)
def test_hours_of_a_zone_move_with_its_clock(utc, holds):
    assert When(minutes=(600, 1080), zone=ZoneInfo("Europe/Berlin")).holds_at(at(utc, UTC)) is holds


def test_both_passes_of_the_hour_that_comes_twice_are_that_hour():
    when = When(minutes=(120, 180), zone=ZoneInfo("Europe/Berlin"))
    held = [when.holds_at(at(f"2026-10-25T{hour:02}:30", UTC)) for hour in range(4)]
    assert held == [True, True, False, False]


def test_weekdays_are_those_of_the_zone():
    monday = When(weekdays=frozenset({0}), zone=SHANGHAI)
    assert monday.holds_at(at("2026-11-23T00:00")) and not monday.holds_at(at("2026-11-22T23:59"))
    assert not When(weekdays=frozenset({0})).holds_at(at("2026-11-23T00:00"))  # still Sunday in UTC


# Holidays


def test_the_calendar_of_china_is_as_it_was_published():
    told = yaml.safe_load((Path(calendars.__file__).parents[1] / "config/calendars/china.yaml").read_text())
    lengths = {
        year: sum(((h.get("through", h["from"]) - h["from"]).days + 1) for h in days["holidays"])
        for year, days in told["years"].items()
    }
    assert lengths == {2024: 28, 2025: 28, 2026: 33}
    assert all(day.weekday() >= 5 for days in told["years"].values() for day in days["working_days"])
    assert all(day.year == year for year, days in told["years"].items() for day in days["working_days"])
    assert all(h["from"].year == year for year, days in told["years"].items() for h in days["holidays"])


@pytest.mark.parametrize(
    ("day", "works"),
    [
        ("2026-02-17", False),  # Spring Festival
        ("2026-02-14", True),  # the Saturday worked for it
        ("2026-02-21", False),  # a Saturday in it
        ("2026-03-02", True),
        ("2026-03-07", False),
        ("2030-10-01", True),  # nobody knows
    ],
)
def test_a_working_day_is_told_by_the_calendar(day, works):
    assert calendars.find("china").works(date.fromisoformat(day).toordinal()) is works


def test_rates_may_be_those_of_working_days(tmp_path):
    price = one(
        tmp_path,
        "rates: [{when: {timezone: Asia/Shanghai, working_days: true}, input: 2, output: 2}, {input: 1, output: 1}]",
        "calendar: china",
    )
    assert costs(price, MILLION, at("2026-02-14T12:00")) == "4"
    assert costs(price, MILLION, at("2026-02-17T12:00")) == "2"


@pytest.mark.parametrize(
    ("entry", "top", "told"),
    [
        ("rates: [{when: {holidays: true}, input: 1, output: 1}]", "", "which holidays"),
        ("input: 1, output: 1", "calendar: mars", "no calendar is called 'mars'"),
        ("rates: [{when: {timezone: Mars/Base, thinking: true}, input: 1, output: 1}]", "", "is not a time zone"),
        ('rates: [{when: {hours: "09:00-09:00"}, input: 1, output: 1}]', "", "never hold"),
        ("input: 1, output: 1, tiers: {default: 2}", "", "is the ordinary tier"),
        ("input: 0.000001, output: 1, free: true, tiers: {flex: 0.5}", "", "not plausible"),
        ("input: 0.001001, output: 1, tiers: {flex: 0.1}", "", "more than 6 decimal places"),
        ("input: 1, output: 1, per_search: 10", "", "for one is not plausible"),
        ("input: 1, output: 1, free_quota: {per: day}", "", "either `tokens` or `requests`"),
        ("input: 1, output: 1, free_quota: {tokens: 0, per: day}", "", "greater than 0"),
        ("input: 1, output: 1, free_quota: {tokens: 5, per: week}", "", "day"),
        ("input: 1, output: 1, promotion: true, from: 2026-01-01", "", "begins (`from`) and ends (`to`)"),
        ("input: 1, output: 1, evaluated: later", "", "completion"),
        ("input: 1, rates: [{input: 1, output: 1}]", "", "not both"),
        (
            "tiers: {flex: 0.5}, rates: [{when: {service_tier: flex}, input: 1, output: 1}, {input: 1, output: 1}]",
            "",
            "both under `tiers` and in a `when`",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(tmp_path, entry, top, told):
    text = f"vendor: check\n{top}\nmodels:\n  m:\n    tier: mid\n    prices:\n      - {{currency: USD, {entry}}}\n"
    message = refused(tmp_path, text)
    assert told in message and "book.yaml:" in message


# Service tiers


def test_an_answer_that_names_its_service_tier_is_charged_at_that(tmp_path):
    price = one(tmp_path, 'input: 3, cache_read: "0.3", output: 15, per_search: "0.01", tiers: {flex: "0.5", fast: 2}')
    usage = Usage(input_fresh=1000, cache_read=1000, output_text=1000, searches=1)
    assert costs(price, usage, 0) == "0.0283"
    assert costs(price, usage, 0, tier="flex") == "0.01915"  # the search costs what it does
    assert costs(price, usage, 0, tier="FAST") == "0.0466"
    for ordinary in ("default", "standard", "auto", "on_demand", "scale", "standard_only", ""):
        assert costs(price, usage, 0, tier=ordinary) == "0.0283"


def test_a_tier_that_the_price_does_not_know_has_no_price(tmp_path):
    price = one(tmp_path, "input: 3, output: 15, tiers: {flex: 0.5}")
    with pytest.raises(Unpriced, match="'priority'"):
        costs(price, MILLION, 0, tier="priority")
    with pytest.raises(Unpriced, match="'priority'"):
        price.bounds_pico(0, 10, 10, "priority")


def test_a_tier_may_have_amounts_of_its_own_and_be_for_short_prompts_only():
    price = BUILTIN.find("openai", "gpt-5.5").timelines["USD"].prices[0]
    short, long = Usage(input_fresh=272_000), Usage(input_fresh=272_001)
    assert costs(price, short, 0, tier="priority") == "3.4"
    with pytest.raises(Unpriced, match="no rate for a request like this"):
        costs(price, long, 0, tier="priority")
    assert costs(price, long, 0, tier="flex") == "1.360005"
    mini = BUILTIN.find("openai", "gpt-4o-mini").timelines["USD"].at(at("2026-11-01"))
    assert costs(mini, MILLION, 0, tier="priority") == "1.25"


def test_a_hold_covers_the_tier_that_is_asked_for_and_the_ordinary_one(tmp_path):
    price = one(tmp_path, "input: 3, output: 15, tiers: {flex: 0.5, priority: 2}")
    assert price.bounds_pico(0, 10, 10) == (30_000_000, 15_000_000)
    assert price.bounds_pico(0, 10, 10, "auto") == (30_000_000, 15_000_000)
    assert price.bounds_pico(0, 10, 10, "flex") == (30_000_000, 15_000_000)
    assert price.bounds_pico(0, 10, 10, "priority") == (60_000_000, 30_000_000)


def test_anthropics_long_cache_writes_cost_twice_the_input_and_batches_half_of_all():
    price = BUILTIN.find("anthropic", "claude-opus-5").timelines["USD"].prices[0]
    usage = Usage(cache_write_5m=10**6, cache_write_1h=10**6, output_text=10**6)
    assert costs(price, usage, 0) == "41.25"  # 6.25 + 10 + 25
    assert costs(price, usage, 0, tier="batch") == "20.625"
    assert costs(price, usage, 0, tier="fast") == "82.5"


def test_flex_at_groq_costs_what_is_listed():
    price = BUILTIN.find("groq", "openai/gpt-oss-120b").timelines["USD"].prices[0]
    assert costs(price, MILLION, 0, tier="flex") == costs(price, MILLION, 0)


# What is priced each


def test_a_request_a_search_and_a_picture_are_priced_each(tmp_path):
    price = one(tmp_path, 'input: 1, output: 1, per_request: "0.005", per_search: "0.01", per_image: "0.04"')
    assert costs(price, Usage(input_fresh=1, searches=3, images=2), 0) == "0.115001"
    assert costs(price, Usage(), 0) == "0"
    assert costs(price, Usage(input_fresh=0), 0) == "0"
    assert price.bounds_pico(0, 1000, 10) == (5_000_000_000 + 1_000_000_000, 1_000_000)


def test_a_search_without_a_price_is_never_free(tmp_path):
    price = one(tmp_path, "input: 1, output: 1")
    with pytest.raises(Unpriced, match="2 searches"):
        costs(price, Usage(input_fresh=1, searches=2), 0)
    assert costs(price, Usage(input_fresh=1, searches=0), 0) == "0.000001"


def test_sound_and_pictures_cost_their_own_rate_and_what_is_prepaid_nothing(tmp_path):
    price = one(tmp_path, "input: 1, output: 2, input_audio: 10, output_audio: 20")
    usage = Usage(input_audio=10**6, input_image=10**6, output_audio=10**6, output_rejected=10**6)
    assert costs(price, usage, 0) == "33"
    assert costs(price, Usage(input_prepaid=10**6, output_prepaid=10**6), 0) == "0"


def test_every_leaf_has_a_rate():
    rates = Rates(1, 1, per_search=1, per_image=1)
    assert all(isinstance(rates.cost_pico(Usage(**{leaf: 1})), int) for leaf in LEAVES)


# What is free


def test_free_tokens_are_taken_from_the_prompt_first_and_the_length_is_that_of_all(tmp_path):
    price = one(
        tmp_path,
        "free_quota: {tokens: 1000, per: day, timezone: Asia/Shanghai}, "
        "rates: [{when: {input_tokens: {to: 100}}, input: 1, output: 2}, {input: 10, cache_read: 5, output: 20}]",
    )
    usage = Usage(input_fresh=100, cache_read=50, output_text=30)
    facts = Facts(0, usage.input_total, usage.output_total)
    costs = {free: charge_pico_with_free(price, usage, facts, free) for free in (0, 40, 100, 120, 150, 160, 180, 500)}
    full = 100 * 10 + 50 * 5 + 30 * 20
    assert {free: pico // 10**6 for free, pico in costs.items()} == {
        0: full, 40: full - 400, 100: full - 1000, 120: full - 1100, 150: 600, 160: 400, 180: 0, 500: 0,
    }  # fmt: skip
    assert show(terms(price, 0).charge(usage, free_tokens=120).vendor) == "0.00075"


def test_a_fee_and_a_search_are_not_paid_by_free_tokens(tmp_path):
    price = one(tmp_path, 'input: 1, output: 1, per_request: "0.005", per_search: "0.01"')
    usage = Usage(input_fresh=10, input_prepaid=5, searches=1)
    assert charge_pico_with_free(price, usage, Facts(0), 100) == 15_000_000_000


@given(
    st.builds(Usage, **dict.fromkeys(FREE_FIRST, st.none() | st.integers(0, 1000))),
    st.integers(0, 5000),
    st.integers(0, 5000),
)
def test_more_free_tokens_never_cost_more_and_all_of_them_cost_nothing(usage, some, more):
    price = Price("USD", (Rates(3, 7, cache_read=1, cache_write_1h=6, reasoning=9, input_audio=30, output_image=50),))
    paid = [charge_pico_with_free(price, usage, Facts(0), free) for free in (0, min(some, some + more), some + more)]
    assert paid[0] >= paid[1] >= paid[2] >= 0
    assert charge_pico_with_free(price, usage, Facts(0), usage.input_total + usage.output_total) == 0


def test_a_free_quota_has_a_window_and_an_end(tmp_path):
    price = one(
        tmp_path,
        "input: 1, output: 1, free_quota: {requests: 50, per: day, from: 2026-01-01, to: 2026-07-01}",
        "timezone: Asia/Shanghai",
    )
    quota = price.quota
    assert quota == Quota("requests", 50, "day", SHANGHAI, at("2026-01-01T00:00"), at("2026-07-01T00:00"))
    assert quota.window(at("2026-03-05T15:00")) == (at("2026-03-05T00:00"), at("2026-03-06T00:00"))
    assert quota.applies(at("2026-06-30T23:59")) and not quota.applies(at("2026-07-01T00:00"))


# Dates


def test_dates_are_those_of_the_book_and_instants_of_any_zone(tmp_path):
    text = """
vendor: check
timezone: Asia/Shanghai
models:
  m:
    tier: mid
    prices:
      - {currency: CNY, input: 1, output: 1}
      - {currency: CNY, input: 2, output: 2, from: 2026-08-17T00:00:00+08:00}
      - {currency: CNY, input: 3, output: 3, from: 2026-09-01}
      - {currency: CNY, input: 4, output: 4, from: 2026-09-01T16:00:00-07:00}
"""
    timeline = book(tmp_path, text).find("check", "m").timelines["CNY"]
    for instant, told in (
        ("2026-08-16T15:59:59", "2"),
        ("2026-08-16T16:00:00", "4"),
        ("2026-08-31T15:59:59", "4"),
        ("2026-08-31T16:00:00", "6"),
        ("2026-09-01T22:59:59", "6"),
        ("2026-09-01T23:00:00", "8"),
    ):
        when = at(instant, UTC)
        assert costs(timeline.at(when), MILLION, when) == told


PROMOTED = """
vendor: check
models:
  m:
    tier: mid
    prices:
      - {currency: CNY, input: 10, output: 10, from: 2026-01-01}
      - {currency: CNY, input: 8, output: 8, from: 2026-03-15}
      - {currency: CNY, input: 1, output: 1, from: 2026-02-01, to: 2026-02-08, promotion: true}
      - {currency: CNY, input: 2, output: 2, from: 2026-03-01, to: 2026-04-01, promotion: true}
"""


@pytest.mark.parametrize(
    ("day", "told", "label"),
    [
        ("2026-01-31", "20", "CNY 10/10 from 2026-01-01"),
        ("2026-02-01", "2", "CNY 1/1 from 2026-02-01"),
        ("2026-02-07", "2", "CNY 1/1 from 2026-02-01"),
        ("2026-02-08", "20", "CNY 10/10 from 2026-02-08"),
        ("2026-02-28", "20", "CNY 10/10 from 2026-02-08"),
        ("2026-03-01", "4", "CNY 2/2 from 2026-03-01"),
        ("2026-03-20", "4", "CNY 2/2 from 2026-03-01"),  # the ordinary price changed beneath it
        ("2026-04-01", "16", "CNY 8/8 from 2026-04-01"),
    ],
)
def test_a_promotion_lies_over_the_ordinary_price_until_it_ends(tmp_path, day, told, label):
    timeline = book(tmp_path, PROMOTED).find("check", "m").timelines["CNY"]
    price = timeline.at(at(day, UTC))
    assert (costs(price, MILLION, at(day, UTC)), price.label) == (told, label)


def test_two_promotions_at_once_are_refused(tmp_path):
    more = "      - {currency: CNY, input: 3, output: 3, from: 2026-02-05, to: 2026-02-20, promotion: true}\n"
    assert "still in force" in refused(tmp_path, PROMOTED + more)


RE_POINTED = """
vendor: check
timezone: Asia/Shanghai
models:
  v2:
    tier: cheap
    aliases: [{name: chat, from: 2024-05-06, to: 2024-12-26}]
    prices: [{currency: CNY, input: 1, output: 2, from: 2024-05-06}]
  v3:
    tier: mid
    aliases: [v3-latest, {name: chat, from: 2024-12-26}]
    prices:
      - {currency: CNY, input: "0.5", output: 1, from: 2024-12-01, to: 2025-02-09}
      - {currency: CNY, input: 2, output: 8, from: 2025-02-09}
"""


def test_an_alias_that_is_re_pointed_costs_what_the_model_behind_it_does(tmp_path):
    found = book(tmp_path, RE_POINTED)
    timeline = found.find("check", "chat").timelines["CNY"]
    with pytest.raises(Unpriced):
        timeline.at(at("2024-05-05T23:59:59"))
    for day, model, told in (
        ("2024-05-06T00:00", "v2", "3"),
        ("2024-12-25T23:59", "v2", "3"),
        ("2024-12-26T00:00", "v3", "1.5"),
        ("2025-02-08T23:59", "v3", "1.5"),
        ("2025-02-09T00:00", "v3", "10"),
    ):
        assert costs(timeline.at(at(day)), MILLION, at(day)) == told
        assert found.find("check", "chat", at(day)).name == model
    assert found.find("check", "chat").tier == "mid"
    assert timeline.at(at("2024-12-27T00:00")).label == "CNY 0.5/1 from 2024-12-26"
    assert found.find("check", "v3-latest", at("2026-01-01T00:00")).name == "v3"


def test_an_alias_of_two_models_at_once_is_refused(tmp_path):
    assert "still in force" in refused(tmp_path, RE_POINTED.replace("to: 2024-12-26}", "to: 2025-01-01}"))
    assert "alias without dates" in refused(
        tmp_path,
        RE_POINTED.replace("tier: cheap\n", "tier: cheap\n", 1).replace(
            "aliases: [v3-latest,", "aliases: [v3-latest, chat,"
        ),
    )


def test_a_retired_name_is_billed_as_the_model_that_serves_it():
    timeline = BUILTIN.find("deepseek", "deepseek-v4-flash").timelines["USD"]
    eve, day = at("2026-09-09T23:59"), at("2026-09-10T00:00")
    assert costs(timeline.at(eve), MILLION, eve) == "0.88"
    assert costs(timeline.at(day), MILLION, day) == "0.75"
    assert BUILTIN.find("deepseek", "deepseek-v4-flash", day).name == "deepseek-flash"
    assert BUILTIN.find("deepseek", "deepseek-v4-flash", eve).name == "deepseek-v4-flash"


def test_a_timeline_is_cut_at_both_ends():
    timeline = Timeline("m", [Price("USD", (Rates(1, 1),), 0, label="a"), Price("USD", (Rates(2, 2),), 100, label="b")])
    assert [(p.start, p.end, p.label) for p in timeline.cut(50, 150, "50")] == [
        (50, 100, "a from 50"), (100, 150, "b"),
    ]  # fmt: skip
    assert timeline.cut(None, 0) == [] and [p.label for p in timeline.cut(None, None)] == ["a", "b"]


# The main configuration


def test_a_price_in_the_configuration_takes_all_of_it(tmp_path):
    path = tmp_path / "farebox.yaml"
    path.write_text("""
vendors: {check: {dialect: openai, base_url: "http://127.0.0.1:1/v1", api_key: k}}
models:
  m:
    vendor: check
    tier: mid
    price:
      - {currency: USD, input: 9, output: 9, from: 2026-06-01, to: 2026-07-01, promotion: true}
      - currency: USD
        evaluated: completion
        free_quota: {tokens: 1000, per: month}
        per_request: "0.001"
        tiers: {flex: "0.5"}
        rates:
          - {when: {calendar: china, timezone: Asia/Shanghai, holidays: true}, input: 1, output: 1}
          - {input: 2, output: 2, input_audio: 3}
routes: {auto: {models: [m]}}
teams: {t: {budgets: []}}
""")
    timeline = load(path, environment={}).catalog.models["m"].timeline
    begun, holiday = at("2026-09-30T23:00"), at("2026-10-01T00:30")
    price = timeline.at(begun)
    assert costs(price, MILLION, begun) == "4.001" and costs(price, MILLION, begun, holiday) == "2.001"
    assert costs(price, MILLION, begun, holiday, "flex") == "1.001"
    assert price.quota == Quota("tokens", 1000, "month", ZoneInfo("UTC"))
    assert costs(timeline.at(at("2026-06-15T00:00")), MILLION, 0) == "18"


# A hold is never below the charge

small = st.integers(0, 50)
known = st.integers(0, 1000).map(lambda nano: nano * 1000)  # whole nano-units, so that rounding hides nothing
rate = st.none() | known
spans = st.builds(Span, above=st.integers(-1, 120), to=st.none() | st.integers(0, 400))
whens = st.builds(
    When,
    input_tokens=st.just(Span()) | spans,
    output_tokens=st.just(Span()) | spans,
    thinking=st.none() | st.booleans(),
    minutes=st.none() | st.tuples(st.integers(0, 1439), st.integers(0, 1439)),
    weekdays=st.frozensets(st.integers(0, 6), max_size=5),
    zone=st.sampled_from([None, SHANGHAI, ZoneInfo("America/New_York")]),
    calendar=st.just(calendars.find("china")),
    holidays=st.none() | st.booleans(),
    working_days=st.none() | st.booleans(),
    service_tier=st.sampled_from([None, None, "flex", "priority"]),
)
any_rates = st.builds(
    Rates,
    input=known, output=known, cache_read=rate, cache_write_5m=rate, cache_write_1h=rate, reasoning=rate,
    input_audio=rate, input_image=rate, output_audio=rate, output_image=rate, per_request=rate, when=whens,
)  # fmt: skip
token_usages = st.builds(
    Usage, **dict.fromkeys([leaf for leaf in LEAVES if "put" in leaf or "cache" in leaf], st.none() | small)
)


@settings(max_examples=400)
@given(
    st.lists(any_rates, max_size=4),
    st.builds(replace, any_rates, when=st.sampled_from([When(), When(service_tier="flex")])),
    token_usages,
    st.integers(at("2024-01-01T00:00"), at("2027-12-31T00:00"))
    | st.sampled_from([at("2026-10-01T10:00"), at("2026-02-17T15:00")]),
    st.integers(0, 10**12),
    st.booleans(),
    st.sampled_from([None, "flex", "priority", "auto"]),
    st.booleans(),
    st.sampled_from(["start", "completion"]),
)
def test_a_hold_is_never_below_the_charge(rates, rest, usage, begun, took, thinking, asked, served, evaluated):
    """Whatever the conditions, the clock and the leaves: if the answer is served as asked, or as an ordinary one."""
    price = Price("USD", (*rates, rest), evaluated=evaluated)
    got = asked if served else "default"
    try:
        prompt, per_output = price.bounds_pico(usage.input_total, usage.input_total, usage.output_total, asked)
        charge = terms(price, begun, asked, thinking=thinking).charge(usage, begun + took, got)
    except Unpriced:
        return
    assert charge.vendor <= -(-(prompt + per_output * usage.output_total) // 1000)


@given(st.integers(1, 10**9), st.fractions(min_value=Fraction(1, 100), max_value=10, max_denominator=100))
def test_a_multiplier_is_exact_or_refused(pico, factor):
    rate = Rate(factor.numerator, factor.denominator)
    try:
        got = Rates(pico, pico).times(rate, When(service_tier="flex"))
    except ValueError:
        assert (pico * factor).denominator != 1
        return
    assert got.input == got.output == pico * factor


def test_the_ordinary_tier_has_many_names():
    assert {special(name) for name in (None, "", "default", "Standard", "auto", "on_demand", "scale")} == {None}
    assert special("FLEX") == "flex"
