import json
import subprocess
import sys
from pathlib import Path

import pytest
from made_up import rows

from router.quality import Certificate, Model


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with labels and an artefact made from 60 % of them."""
    folder = tmp_path_factory.mktemp("quality")
    (folder / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(1200, route=True)))
    farebox(folder, "train", "labels.jsonl", "--hold", "0.4", "--date", "2026-11-25")
    return folder


def farebox(folder, *words, code=0, stdin=None):
    done = subprocess.run(
        [sys.executable, "-m", "router", "quality", *map(str, words)], cwd=folder, capture_output=True, text=True, check=False,
        input=stdin, env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": ""},
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done if code else done.stdout


def test_train_writes_one_file_with_its_card(place):
    told = farebox(place, "show", "quality.model", "--format", "json")
    card = json.loads(told)
    assert card == dict(Model.load(place / "quality.model").card)
    assert card["source"] == "labels.jsonl" and card["date"] == "2026-11-25"
    assert card["requests"] + card["requests_held_out"] == 1200
    assert card["hash"] in farebox(place, "show", "quality.model")


def test_eval_measures_what_was_held_out_beside_what_is_known_without(place):
    told = json.loads(farebox(place, "eval", "quality.model", "labels.jsonl", "--svg", "curve.svg", "--format", "json"))
    pair = told["pairs"][0]
    assert told["left_out"] + told["requests"] == 1200 and pair["n"] == told["requests"]
    assert pair["saved"]["0.95"]["learnt"] > pair["saved"]["0.95"]["random mix"]
    assert {each["part"] for each in told["pairs"]} == {"", "route:easy", "route:hard", "language:en", "language:zh"}
    assert (place / "curve.svg").read_text().startswith("<svg")
    text = farebox(place, "eval", "quality.model", "labels.jsonl")
    assert f"{pair['n']} requests" in text and "oracle" in text and " to " in text and "% |" in text


def test_eval_without_an_artefact_cross_validates(place):
    told = json.loads(farebox(place, "eval", "labels.jsonl", "--folds", "3", "--format", "json"))
    assert told["how"] == "cross-validated in 3 folds" and told["pairs"][0]["n"] == 1200
    assert told["pairs"][0]["apgr"]["learnt"] > 0.6


def test_score_prints_an_object_a_line(place):
    lines = farebox(place, "score", "quality.model", "labels.jsonl").splitlines()
    assert len(lines) == 1200
    model = Model.load(place / "quality.model")
    first = next(iter(rows(1, route=True)))
    assert json.loads(lines[0])["scores"] == pytest.approx(model.score(first), abs=1e-6)
    piped = farebox(
        place, "score", "quality.model", "-", stdin='{"id": "x", "messages": [{"role": "user", "content": "hello"}]}\n'
    )
    assert json.loads(piped)["id"] == "x"


def test_calibrate_certifies_on_what_was_held_out_and_show_tells(place):
    told = farebox(place, "calibrate", "quality.model", "labels.jsonl", "--epsilon", "0.1", "--prices", "2026-11-01")
    made = Certificate.load(place / "quality.json")
    model = Model.load(place / "quality.model")
    assert (made.n, made.artefact, made.prices) == (model.card["requests_held_out"], model.hash, "2026-11-01")
    assert made.saving > 0.1 and made.tell() in told
    assert made.tell() in farebox(place, "show")
    assert made.decide(model.score("spell the word apples")) == "small"


def test_calibrate_per_route_splits_delta(place):
    told = farebox(
        place, "calibrate", "quality.model", "labels.jsonl", "--epsilon", "0.15", "--per-route", "--out", "r.json", "--format", "json"
    )  # fmt: skip
    made = json.loads(told)
    assert {each["route"] for each in made} <= {"easy", "hard"} and "easy" in {each["route"] for each in made}
    assert {each["delta"] for each in made} == {0.025}


def test_calibrate_says_how_many_labels_it_would_take(place):
    done = farebox(
        place, "calibrate", "quality.model", "labels.jsonl", "--epsilon", "0.001", "--out", "no.json", code=1
    )
    assert "do not certify" in done.stderr and not (place / "no.json").exists()


def test_labels_that_were_trained_on_certify_nothing(place):
    farebox(place, "train", "labels.jsonl", "--out", "all.model")
    done = farebox(place, "calibrate", "all.model", "labels.jsonl", "--out", "no.json", code=1)
    assert "all 1200 labelled requests were trained on" in done.stderr


def test_what_is_wrong_is_said_and_exit_1(place):
    (place / "bad.jsonl").write_text('{"prompt": "a", "model": "m", "score": 7}\n')
    assert "scores are from 0 to 1" in farebox(place, "train", "bad.jsonl", "--out", "x", code=1).stderr
    assert "no quality model" in farebox(place, "score", "labels.jsonl", "labels.jsonl", code=1).stderr
    farebox(place, "eval", "quality.model", code=2)
    farebox(place, "train", code=2)
