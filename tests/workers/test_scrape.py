"""What several workers tell at a scrape, as one: sums where each has a part, one value where there is one fact."""

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from router.workers.scrape import Counted, last_told, of_json, to_json, together


def counter(name, **values):
    family = CounterMetricFamily(name, "counted", labels=["team"])
    for team, value in values.items():
        family.add_metric([team], value)
    return family


def gauge(name, value):
    return GaugeMetricFamily(name, "is so", value=value)


def histogram(*counts):
    family = HistogramMetricFamily("farebox_overhead_seconds", "took", labels=[])
    upto = [sum(counts[: i + 1]) for i in range(len(counts))]
    family.add_metric([], list(zip(("0.1", "10.0", "+Inf"), upto, strict=True)), sum_value=sum(counts) / 4)
    return family


def values(families, name):
    return {
        tuple(sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
        if sample.name == name
    }


def test_counters_are_added_up_by_their_labels():
    told = together([counter("farebox_refused", search=2, batch=1)], [[counter("farebox_refused", search=3, labs=4)]])
    assert values(told, "farebox_refused_total") == {("search",): 5, ("batch",): 1, ("labs",): 4}


def test_money_and_tokens_are_the_ledgers_own_sums_and_never_added():
    told = together([counter("farebox_cost", search=2)], [[counter("farebox_cost", search=1.5)]])
    assert values(told, "farebox_cost_total") == {("search",): 2}


def test_histograms_are_added_bucket_by_bucket_in_their_order():
    (told,) = together([histogram(1, 2, 0)], [[histogram(0, 4, 1)]])
    assert values([told], "farebox_overhead_seconds_bucket") == {("0.1",): 1, ("10.0",): 7, ("+Inf",): 8}
    assert values([told], "farebox_overhead_seconds_sum") == {(): 2.0}
    assert [sample.labels.get("le") for sample in told.samples][:3] == ["0.1", "10.0", "+Inf"]


def test_gauges_are_what_they_mean():
    mine = [gauge("farebox_in_flight", 2), gauge("farebox_breaker_open", 0), gauge("farebox_budget_limit", 10)]
    other = [gauge("farebox_in_flight", 3), gauge("farebox_breaker_open", 1), gauge("farebox_budget_limit", 9)]
    told = {family.name: family.samples[0].value for family in together(mine, [other])}
    assert told == {"farebox_in_flight": 5, "farebox_breaker_open": 1, "farebox_budget_limit": 10}


def test_a_family_that_only_another_has_is_told():
    told = together([], [[counter("farebox_refused", search=1)], [counter("farebox_refused", search=1)]])
    assert values(told, "farebox_refused_total") == {("search",): 2}


def test_families_survive_json():
    families = [counter("farebox_refused", search=2), histogram(1, 0, 2)]
    assert [family.samples for family in of_json(to_json(families))] == [family.samples for family in families]


def test_who_takes_a_dead_workers_place_counts_on_from_what_it_last_told(tmp_path):
    file = tmp_path / "1.counted"
    assert last_told(file) == []
    before = Counted(file)
    before.tell(
        [counter("farebox_refused", search=7), gauge("farebox_in_flight", 3), counter("farebox_cost", search=1)]
    )
    assert [family.name for family in last_told(file)] == ["farebox_refused"]  # what lasts longer than the worker
    after = Counted(file)
    told = after.tell([counter("farebox_refused", search=1), gauge("farebox_in_flight", 0)])
    assert values(told, "farebox_refused_total") == {("search",): 8}
    assert values(told, "farebox_in_flight") == {(): 0}
    assert values(after.tell([counter("farebox_refused", search=2)]), "farebox_refused_total") == {("search",): 9}
    assert values(last_told(file), "farebox_refused_total") == {("search",): 9}
