"""A cascade's certificate: the statistic, and the command that makes one.

The judge of the made-up labels says roughly how good a cheap answer is; the flagship's are always good.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from router.quality import CannotCertify, Certificate, calibrate
from router.quality.cascade import certify_cascade
from router.quality.labels import BadLabels

EPSILON, DELTA = 0.05, 0.05


def judged(count, seed, *, knows=True, costs=True):
    """Rows whose cheap answer is good in seven of ten; the judge's word is better for good ones, if it knows."""
    rng, out = np.random.default_rng(seed), []
    for _ in range(count):
        good = bool(rng.random() < 0.7)
        centre = (0.8 if good else 0.3) if knows else 0.6
        row = {
            "judge": round(float(np.clip(rng.normal(centre, 0.15), 0, 1)), 1),
            "scores": {"large": 1, "small": int(good)},
        }
        out.append(row | ({"costs": {"large": 1.0, "small": 0.1}} if costs else {}))
    return out


def made(rows, scored=("judge",), epsilon=EPSILON, delta=DELTA, **more):
    return certify_cascade(rows, scored, epsilon, delta, flagship="large", cheap="small", **more)


def test_the_threshold_is_that_of_the_one_test_for_routing():
    rows = judged(800, 1)
    found = made(rows)
    said = np.array([row["judge"] for row in rows])
    lost = np.array([1 - row["scores"]["small"] for row in rows])
    assert found.threshold == -calibrate(-said, lost, EPSILON, DELTA).threshold
    accepted = said >= found.threshold
    assert (found.kind, found.n, found.routed_down) == ("cascade", 800, accepted.mean())
    assert found.loss == (lost * accepted).mean() <= EPSILON
    assert found.saving == pytest.approx(accepted.mean() - 0.1)  # every cheap answer is paid, accepted or not
    assert found.naive_threshold <= found.threshold


def test_what_is_promised_is_broken_by_at_most_one_sample_in_twenty():
    everybody = judged(40_000, 2)
    said = np.array([row["judge"] for row in everybody])
    lost = np.array([1 - row["scores"]["small"] for row in everybody])
    rng, broken, runs = np.random.default_rng(3), 0, 200
    for _ in range(runs):
        take = rng.integers(0, len(everybody), 400)
        threshold = made([everybody[at] for at in take]).threshold
        broken += (lost * (said >= threshold)).mean() > EPSILON
    assert broken / runs <= DELTA


def test_a_judge_that_knows_nothing_certifies_nothing():
    with pytest.raises(CannotCertify, match="800 labels do not certify"):
        made(judged(800, 4, knows=False), epsilon=0.01)


def test_too_few_labels_are_refused_with_how_many_it_would_take():
    with pytest.raises(CannotCertify) as told:
        made(judged(20, 5))
    assert told.value.needed > 20


def test_what_saves_nothing_since_every_cheap_answer_is_paid_is_refused():
    rows = [row | {"costs": {"large": 1.0, "small": 0.95}} for row in judged(800, 6)]
    with pytest.raises(CannotCertify, match="cost what the accepted ones spare"):
        made(rows)


def test_an_answer_without_a_score_is_one_that_is_not_accepted():
    rows = judged(600, 7)
    without = [{**row, "judge": None, "scores": {"large": 1, "small": 0}} for row in judged(200, 8)]
    found = made(rows + without)
    accepted = sum(row["judge"] >= found.threshold for row in rows)
    assert (found.n, found.routed_down) == (800, accepted / 800)


def test_of_checker_and_judge_the_lower_score_counts_and_only_the_routes_own_rows():
    rows = [{**row, "checker": 1.0, "route": "mine"} for row in judged(600, 9)]
    others = [{**row, "checker": 0.0, "judge": 1.0, "route": "mine"} for row in judged(200, 10)]
    foreign = [{**row, "checker": 1.0, "judge": 1.0, "route": "another"} for row in judged(300, 11)]
    found = made(rows + others + foreign, ("checker", "judge"), route="mine")
    accepted = sum(row["judge"] >= found.threshold for row in rows)
    assert (found.route, found.n, found.routed_down) == ("mine", 800, accepted / 800)


@pytest.mark.parametrize(
    ("odd", "told"),
    [
        ({"judge": 7}, "row 1: a score of judge is 7"),
        ({"judge": "good"}, "row 1: could not convert"),
        ({"judge": "nan"}, "row 1: a score of judge is nan"),
        ({"scores": {"large": 1}}, "row 1: `scores` of both 'large' and 'small' are needed"),
    ],
)
def test_a_row_that_is_none_is_told(odd, told):
    with pytest.raises(BadLabels, match=told):
        made([{**judged(1, 1)[0], **odd}])


def test_a_certificate_accepts_from_its_threshold_on_and_decides_nothing_before_there_is_an_answer(tmp_path):
    found = made(judged(800, 1))
    found.save(tmp_path / "cascade.json")
    found = Certificate.load(tmp_path / "cascade.json", "any")
    assert found.accepts(found.threshold) and found.accepts(1.0)
    assert not found.accepts(np.nextafter(found.threshold, 0)) and not found.accepts(None)
    assert found.decide({"large": 0.1, "small": 0.9}) == "large"
    assert not calibrate([0.0] * 400, [0.0] * 400, EPSILON, DELTA).accepts(1.0)  # one of routing is about no answers


def farebox(folder, *words, code=0):
    done = subprocess.run(
        [sys.executable, "-m", "router", "quality", *map(str, words)], cwd=folder, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": ""},
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done


def test_the_command_writes_a_certificate_and_refuses_what_labels_cannot_support(tmp_path):
    (tmp_path / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in judged(800, 1)))
    pair = ("--flagship", "large", "--cheap", "small")
    told = farebox(tmp_path, "cascade", "labels.jsonl", *pair, "--judge", "mini", "--date", "2026-11-25")
    found = Certificate.load(tmp_path / "cascade.json")
    assert (found.artefact, found.date, found.threshold) == ("judge mini", "2026-11-25", made(judged(800, 1)).threshold)
    assert "of the cheap answers accepted, from 800 labels of 2026-11-25" in told.stdout
    assert f"threshold {found.threshold:.4f}" in told.stdout and "scores of judge mini" in told.stdout
    assert farebox(tmp_path, "show", "cascade.json").stdout == told.stdout
    (tmp_path / "cascade.json").unlink()
    refused = farebox(tmp_path, "cascade", "labels.jsonl", *pair, "--judge", "mini", "--epsilon", "0.0001", code=1)
    assert "800 labels do not certify" in refused.stderr and not (tmp_path / "cascade.json").exists()
    assert "say whose scores" in farebox(tmp_path, "cascade", "labels.jsonl", *pair, code=2).stderr
