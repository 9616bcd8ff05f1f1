"""The charts' arithmetic: scales, layers, columns, spans."""

import re
from datetime import UTC, datetime

import pytest

from router.admin.charts import Chart, Series, layers, stacked, ticks
from router.admin.spans import DAY, MOST_COLUMNS, span
from router.core.limits import micros
from router.stores.hours import HOUR

NOW = micros(datetime(2026, 11, 25, 13, 37, tzinfo=UTC))


@pytest.mark.parametrize(
    ("most", "scale"),
    [(1, [0, 1]), (4, [0, 1, 2, 3, 4]), (5, [0, 2, 4, 6]), (7, [0, 2, 4, 6, 8]), (21, [0, 10, 20, 30]), (4001, [0, 2000, 4000, 6000])],
)  # fmt: skip
def test_a_scale_is_round_and_reaches_above_what_it_measures(most, scale):
    assert ticks(most) == scale


def test_a_scale_has_few_steps_whatever_the_amount():
    for most in [3**i for i in range(1, 45)]:
        scale = ticks(most)
        assert 2 <= len(scale) <= 5
        assert scale[-1] >= most
        assert re.fullmatch(r"[125]0*", str(scale[1]))


def test_columns_stack_to_their_sums_and_say_what_they_are_made_of():
    series = [Series("<a>", "m0", [1, 0, 3]), Series("b", "m1", [1, 0, 1])]
    drawn = stacked(Chart("in words", ["", "", "x"], ["one", "two", "three"], series, str), str)
    heights = re.findall(r'<rect class="m(\d)" [^>]*height="([\d.]+)%"', drawn)
    assert heights == [("0", "25.00"), ("1", "25.00"), ("0", "75.00"), ("1", "25.00")]
    assert re.findall(r'<rect class="m1" [^>]*y="([\d.]+)%"', drawn) == ["50.00", "0.00"]
    assert "<title>three: 4\nb 1\n&lt;a&gt; 3</title>" in drawn
    assert "<title>two</title>" in drawn
    assert 'role="img" aria-label="in words"' in drawn


def test_dates_are_below_their_columns_and_none_beyond_the_plot():
    drawn = stacked(Chart("in words", ["11-01", "", "11-03", "11-04"], list("abcd"), [], str), str)
    found = re.findall(r'<text x="([\d.]+%)" y="1em" text-anchor="(\w+)">(11-\d\d)', drawn)
    assert found == [("12.50%", "middle", "11-01"), ("62.50%", "middle", "11-03"), ("100%", "end", "11-04")]


def test_the_largest_names_have_a_layer_each_and_the_others_one():
    amounts = {(name, i): size for name, size in (("a", 5), ("b", 9), ("c", 1), ("d", 2), ("e", 0)) for i in range(2)}
    found = layers(amounts, 2, "others", ["m0", "m1", "rest"], 2)
    assert [(one.name, one.kind, list(one.amounts)) for one in found] == [
        ("b", "m0", [9, 9]), ("a", "m1", [5, 5]), ("others", "rest", [3, 3]),
    ]  # fmt: skip
    kinds = ["m0", "m1", "m2", "rest"]
    assert [one.name for one in layers(amounts, 2, "others", kinds, 3)] == ["b", "a", "d", "c"]  # no layer of one name


@pytest.mark.parametrize(
    ("name", "step", "columns", "since"),
    [
        ("day", HOUR, 24, datetime(2026, 11, 24, 14, tzinfo=UTC)),
        ("week", 6 * HOUR, 28, datetime(2026, 11, 18, 18, tzinfo=UTC)),
        ("month", DAY, 30, datetime(2026, 10, 27, tzinfo=UTC)),
    ],
)
def test_a_span_ends_with_the_running_column(name, step, columns, since):
    found = span(name, NOW, None)
    assert (found.step, found.columns, found.since) == (step, columns, micros(since))
    assert found.column(NOW) == columns - 1
    assert found.column(found.since) == 0
    assert len(found.labels()) == len(found.titles()) == columns
    assert 3 <= sum(bool(label) for label in found.labels()) <= 6


@pytest.mark.parametrize("days", [0, 3, 29, 59, 60, 200, 419, 420, 900, 1700])
def test_all_time_has_all_of_it_in_columns_that_can_be_told_apart(days):
    first = NOW - NOW % DAY - days * DAY
    found = span("all", NOW, first)
    assert found.since <= first
    assert first < found.since + max(7, 2) * found.step
    assert found.column(NOW) == found.columns - 1
    assert found.since + found.columns * found.step > NOW
    assert 2 <= found.columns <= MOST_COLUMNS + 1
    assert 1 <= sum(bool(label) for label in found.labels()) <= 6


def test_all_time_without_anything_is_a_week():
    assert span("nonsense", NOW, None).columns == 7
