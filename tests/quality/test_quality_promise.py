"""Certificates, the watch, and estimates: what is promised is kept."""

import json

import numpy as np
import pytest

from router.quality import CannotCertify, Certificate, Watch, calibrate, doubly_robust, inverse_propensity
from router.quality.certificate import load, save
from router.quality.certify import calibrate_judged, calibrate_list


def population(size=20_000, seed=0):
    """P(flagship) − P(cheap) of requests, and what was really lost by the cheap one."""
    rng = np.random.default_rng(seed)
    need = rng.normal(0.2, 0.2, size)
    lost = (rng.random(size) < np.clip(need + 0.1, 0, 1)).astype(float) - (rng.random(size) < 0.1)
    return need, lost


@pytest.mark.parametrize(("n", "epsilon"), [(300, 0.1), (1000, 0.05)])
def test_the_promise_is_broken_no_more_often_than_it_says(n, epsilon):
    need, lost = population()
    rng = np.random.default_rng(1)
    broken, saved, naive = 0, [], 0
    for _ in range(200):
        take = rng.integers(0, len(need), n)
        made = calibrate(need[take], lost[take], epsilon, 0.05)
        broken += np.where(need <= made.threshold, lost, 0).mean() > epsilon
        naive += np.where(need <= made.naive_threshold, lost, 0).mean() > epsilon
        saved.append((need <= made.threshold).mean())
        assert made.saving_low <= made.saving <= made.saving_high
    assert broken <= 17  # of 200; 10 are allowed on average, 18 would be one in a hundred
    assert naive > 50
    assert np.mean(saved) > 0.3


def test_labels_that_cannot_support_the_promise_are_told_how_many_would():
    need, lost = population(100)
    with pytest.raises(CannotCertify, match=r"100 labels do not certify a loss of at most 0\.01.*take about") as caught:
        calibrate(need, lost, 0.01, 0.05)
    assert caught.value.needed > 200
    with pytest.raises(CannotCertify, match="no number of such labels") as caught:
        calibrate(np.zeros(500), np.ones(500), 0.05, 0.05)
    assert caught.value.needed is None
    with pytest.raises(CannotCertify, match="0 labels"):
        calibrate([], [], 0.05, 0.05)


@pytest.mark.parametrize("bad", [([1], [2]), ([1, 2], [0]), ([float("nan")], [0]), ([[1]], [[0]])])
def test_what_are_no_losses_is_refused(bad):
    with pytest.raises(ValueError, match=r"loss|scores"):
        calibrate(*bad, 0.05, 0.05)


def test_a_share_of_the_flagships_quality_is_a_stricter_promise_than_as_many_points():
    need, lost = population(3000)
    flagship = np.clip(lost, 0, 1) * 0.6
    points = calibrate(need, lost, 0.05, 0.05, flagship_scores=flagship)
    share = calibrate(need, lost, 0.05, 0.05, flagship_scores=flagship, basis="share")
    assert share.threshold < points.threshold
    assert share.quality == 0.95 and points.quality == pytest.approx(1 - 0.05 / flagship.mean())
    assert share.meets(0.95) and not share.meets(0.96) and not share.meets(0.9, "another model")


def test_two_tiers_are_decided_by_the_threshold_and_in_doubt_by_the_flagship():
    made = Certificate("two-tier", "big", ("small",), 0.05, 0.05, 1000, "test", threshold=0.1)
    assert made.decide({"big": 0.9, "small": 0.85}) == "small"
    assert made.decide({"big": 0.9, "small": 0.75}) == "big"
    assert made.decide({"big": 0.9}) == made.decide({"small": 1.0}) == made.decide({}) == "big"


def test_a_list_is_decided_by_worth_less_cost_and_keeps_its_promise():
    rng = np.random.default_rng(3)
    p = {"big": np.full(4000, 0.95), "mid": rng.uniform(0.4, 1, 4000), "small": rng.uniform(0, 1, 4000)}
    true = {name: (rng.random(4000) < value).astype(float) for name, value in p.items()}
    costs = {"big": 1.0, "mid": 0.3, "small": 0.05}
    half = slice(0, 2000)
    made = calibrate_list(
        {name: value[half] for name, value in p.items()}, {name: value[half] for name, value in true.items()}, costs, 0.05, 0.05,
        flagship="big",
    )  # fmt: skip
    chosen = [made.decide({name: float(value[at]) for name, value in p.items()}, costs) for at in range(2000, 4000)]
    got = np.mean([true[name][at] for name, at in zip(chosen, range(2000, 4000), strict=True)])
    paid = np.mean([costs[name] for name in chosen])
    assert set(chosen) == {"big", "mid", "small"}
    assert got >= true["big"][2000:].mean() - 0.05
    assert 1 - paid == pytest.approx(made.saving, abs=0.05)
    assert made.decide({name: float(value[0]) for name, value in p.items()}) in p  # with the costs of the labels


def test_a_judge_is_corrected_by_people_and_believed_no_further():
    need, lost = population(4000)
    rng = np.random.default_rng(4)
    blind = np.where(rng.random(4000) < 0.5, 0, lost)  # overlooks half of what is lost
    people = np.where(np.arange(4000) < 400, lost, np.nan)
    made = calibrate_judged(need, blind, people, 0.1, 0.05)
    assert made.human == 400 and "prediction-powered" in made.method
    assert np.where(need <= made.threshold, lost, 0).mean() <= 0.1
    assert made.threshold < calibrate(need, blind, 0.1, 0.05).threshold
    good = calibrate_judged(need, lost, people, 0.1, 0.05)
    assert good.saving >= calibrate(need[:400], lost[:400], 0.1, 0.05).saving
    with pytest.raises(CannotCertify, match="a judge alone"):
        calibrate_judged(need, blind, np.full(4000, np.nan), 0.1, 0.05)


def test_certificates_are_stored_per_route_and_found_again(tmp_path):
    need, lost = population(1000)
    made = calibrate(
        need, lost, 0.1, 0.05, flagship="big", cheap="small", date="2026-11-25", artefact="abc", prices="2026-11-01"
    )
    special = calibrate(need, lost, 0.2, 0.05, flagship="big", cheap="small", route="bulk")
    save([made, special], tmp_path / "c.json")
    assert load(tmp_path / "c.json") == (made, special)
    assert Certificate.load(tmp_path / "c.json", "bulk") == special
    assert Certificate.load(tmp_path / "c.json", "auto") == made
    assert "95 % confidence" in made.tell() and "1000 labels of 2026-11-25" in made.tell()
    stored = json.loads((tmp_path / "c.json").read_text())
    stored["certificates"][0]["version"] = 9
    (tmp_path / "c.json").write_text(json.dumps(stored))
    with pytest.raises(ValueError, match="version 9"):
        load(tmp_path / "c.json")


def test_a_watch_gives_few_false_alarms_at_the_very_limit():
    rng = np.random.default_rng(5)
    alarms = 0
    for _ in range(200):
        watch = Watch(0.1, 0.05)
        for lost in (rng.random(500) < 0.1).tolist():
            watch.observe(float(lost))
        alarms += watch.broken
    assert alarms <= 17  # as above


def test_a_watch_sees_a_change_after_a_long_good_time_and_does_not_forget_it():
    rng = np.random.default_rng(6)
    watch = Watch(0.05, 0.05)
    for lost in (rng.random(3000) < 0.02).tolist():
        watch.observe(float(lost))
    assert not watch.broken
    while not watch.observe(float(rng.random() < 0.3)):
        pass
    assert watch.labels - 3000 < 200
    for _ in range(2000):
        watch.observe(0.0)
    assert watch.broken and watch.evidence < 20  # now it looks good again; what was promised was still broken


def test_a_watch_goes_on_where_it_was_stored():
    rng = np.random.default_rng(7)
    losses = rng.choice([-1.0, 0.0, 0.5, 1.0], 400, p=[0.05, 0.75, 0.1, 0.1]).tolist()
    whole, part = Watch(0.05, 0.05), Watch(0.05, 0.05)
    for number, lost in enumerate(losses):
        whole.observe(lost)
        part.observe(lost)
        if number % 50 == 0:
            part = Watch.load(json.loads(json.dumps(part.dump())))
    assert part.dump() == whole.dump() and part.loss == pytest.approx(np.mean(losses))
    with pytest.raises(ValueError, match="a loss is between"):
        whole.observe(1.5)


def test_evidence_has_bounds_however_long_it_goes_on():
    watch = Watch(0.05, 0.05)
    for _ in range(3000):
        watch.observe(1.0)
    assert 1e299 < watch.evidence <= 1e300
    for _ in range(20_000):
        watch.observe(0.0)
    assert 0 < watch.evidence <= 1e300


def logged(seed, count=4000):
    """Traffic that was routed by lot: the outcome, the odds, whether the other policy would have chosen the same, predictions."""
    rng = np.random.default_rng(seed)
    hard = rng.random(count) < 0.5
    odds_cheap = np.where(hard, 0.1, 0.9)
    cheap = rng.random(count) < odds_cheap
    truth = np.where(hard, np.where(cheap, 0.2, 0.9), np.where(cheap, 0.8, 0.9))
    outcome = (rng.random(count) < truth).astype(float)
    return outcome, np.where(cheap, odds_cheap, 1 - odds_cheap), cheap, hard


def test_traffic_routed_by_lot_tells_what_another_policy_would_have_scored():
    true = 0.5 * 0.2 + 0.5 * 0.8  # of always the cheap model
    inside = {"ips": 0, "normalised": 0, "robust": 0}
    widths = {name: [] for name in inside}
    for seed in range(40):
        outcome, odds, cheap, hard = logged(seed)
        wanted = cheap.astype(float)
        guess = np.where(hard, 0.25, 0.75)
        for name, found in (
            ("ips", inverse_propensity(outcome, odds, wanted)),
            ("normalised", inverse_propensity(outcome, odds, wanted, normalised=True)),
            ("robust", doubly_robust(outcome, odds, wanted, guess, guess)),
        ):
            inside[name] += found.low <= true <= found.high
            widths[name].append(found.high - found.low)
    assert all(count >= 34 for count in inside.values()), inside
    assert np.mean(widths["robust"]) < np.mean(widths["ips"])
    assert (
        abs(np.mean([logged(seed)[0][logged(seed)[2]].mean() for seed in range(5)]) - true) > 0.1
    )  # the plain mean is off


def test_odds_that_are_none_are_refused():
    for odds, wanted in (([0.0], [1]), ([1.5], [1]), ([0.5], [2]), ([], []), ([0.5], [1, 1])):
        with pytest.raises(ValueError, match=r"propensit|odds"):
            inverse_propensity([1.0], odds, wanted)
    with pytest.raises(ValueError, match="done nothing"):
        inverse_propensity([1.0], [0.5], [0.0], normalised=True)
