import json
import subprocess
import sys

import numpy as np
import pytest
from made_up import rows

from router.quality import Model, Request, evaluate, train
from router.quality.fit import SHAPE_WEIGHT, Spooled, solve
from router.quality.model import BadModel
from router.quality.request import SHAPE
from router.quality.spool import Spool
from router.quality.training import TooFew


@pytest.fixture(scope="module")
def model():
    return train(rows(600), hold=0.3, source="made up", date="2026-11-25")


def test_it_tells_what_the_cheap_model_can_do_in_either_language(model):
    for easy, hard in (
        ("translate this line about music", "prove the theorem of music"),
        ("名字怎么写", "证明这个定理"),
    ):
        one, two = model.score(easy), model.score(hard)
        assert set(one) == {"big", "small"} and all(0 <= p <= 1 for p in (*one.values(), *two.values()))
        assert one["small"] - two["small"] > 0.1
        assert abs(one["big"] - two["big"]) < 0.15


def test_one_request_and_many_are_scored_alike(model):
    asked = ["spell the word", {"messages": [{"role": "user", "content": "spell the word"}]}, Request("spell the word")]
    many = model.score(asked)
    assert many == [model.score(each) for each in asked]
    assert many[0] == many[1] == many[2]


def test_what_was_held_back_is_measured_and_what_was_trained_on_is_not(model):
    found = evaluate(model, rows(600))
    assert (found.left_out, found.requests) == (model.card["requests"], model.card["requests_held_out"])
    whole, *parts = found.pairs
    told = whole.as_json()
    assert (told["flagship"], told["cheap"], told["n"]) == ("big", "small", found.requests)
    assert told["apgr"]["learnt"] > 0.65 and told["apgr"]["oracle"] > told["apgr"]["learnt"]
    assert abs(told["apgr"]["random mix"] - 0.5) < 1e-6
    for level in ("0.90", "0.95"):
        saved = told["saved"][level]
        assert saved["oracle"] > saved["learnt"] > saved["random mix"]
        low, high = told["intervals"][level]
        assert low <= saved["learnt"] <= high
    assert {pair.part for pair in parts} == {"language:en", "language:zh"}
    assert sum(pair.n for pair in parts) == whole.n


def test_the_artefact_is_one_file_and_the_same_again(model, tmp_path):
    path = tmp_path / "quality.model"
    model.save(path)
    again = train(rows(600), hold=0.3, source="made up", date="2026-11-25")
    assert path.read_bytes() == again.dump()
    loaded = Model.load(path)
    assert loaded.hash == model.hash and loaded.score("find the integral") == model.score("find the integral")
    assert loaded.card["requests"] + loaded.card["requests_held_out"] == 600
    assert loaded.card["cross_validated"]["pairs"]["small"]["n"] == loaded.card["requests"]


def test_an_artefact_that_was_altered_or_is_none_is_refused(model, tmp_path):
    raw = bytearray(model.dump())
    raw[len(raw) // 2] ^= 1
    for bad in (bytes(raw), b"something else", model.dump()[:-200]):
        (tmp_path / "bad").write_bytes(bad)
        with pytest.raises(BadModel, match="bad"):
            Model.load(tmp_path / "bad")


def test_a_route_is_a_hint_that_few_labels_hardly_give():
    def prompts(count, seed):
        for row in rows(count, seed, route=True):
            yield row | {"prompt": f"number {row['prompt'].split()[-1]}"}  # the text tells nothing

    many = train(prompts(400, 1))
    assert many.score("number 7", route="easy")["small"] - many.score("number 7", route="hard")["small"] > 0.4
    unknown = many.score("number 7", route="new")["small"]
    assert many.score("number 7", route="hard")["small"] < unknown < many.score("number 7", route="easy")["small"]
    few = [*rows(300, 2), *({**row, "route": "odd"} for row in rows(2, 3, hard=1.0))]
    model = train(few)
    said = model.score("say hello to music"), model.score("say hello to music", route="odd")
    assert abs(said[0]["small"] - said[1]["small"]) < 0.1


def test_differences_between_models_survive_the_limits_of_a_probability(model):
    far = Model(
        **{
            name: getattr(model, name)
            for name in Model.__dataclass_fields__
            if not name.startswith("_") and name != "constant"
        },
        constant=model.constant + np.float32(0.4) * ~np.array(model.by_gap),
    )
    for prompt in ("translate this line", "prove the theorem of"):
        one, two = model.score(prompt), far.score(prompt)
        assert max(two.values()) <= 1
        assert two["big"] - two["small"] == pytest.approx(one["big"] - one["small"], abs=1e-5)


def test_labels_of_one_model_a_row_train_the_same_model():
    single = [
        {"prompt": row["prompt"], "model": name, "score": row["scores"][name], "cost": row["costs"][name]}
        for name in ("big", "small")
        for row in rows(200)
    ]
    assert train(single).score("spell the word") == train(rows(200)).score("spell the word")


def test_more_models_than_two_and_labels_that_are_missing():
    made = []
    for number, row in enumerate(rows(400)):
        row["scores"]["middle"] = row["scores"]["big"] if number % 3 else row["scores"]["small"]
        if number % 4 == 0:
            del row["scores"]["small"]
        made.append(row)
    model = train(made)
    assert model.flagship == "big" and set(model.score("spell the word")) == {"big", "small", "middle"}
    assert model.card["labels_per_model"] == {"big": 400, "small": 300, "middle": 400}


def test_neighbours_by_the_users_own_embeddings_move_what_is_said():
    made = []
    for row in rows(300, route=True):
        row["embedding"] = [1.0, 0.1] if row["route"] == "hard" else [0.1, 1.0]
        made.append({**row, "prompt": "the same words for all " + row["prompt"].split()[-1], "route": ""})
    model = Model.parse(train(made).dump())
    near = [model.score(Request("the same words for all", embedding=at))["small"] for at in ((1.0, 0.1), (0.1, 1.0))]
    assert near[1] - near[0] > 0.2
    with pytest.raises(ValueError, match="3 numbers"):
        model.score(Request("x", embedding=(1.0, 2.0, 3.0)))


def test_what_spills_to_disk_trains_the_same_weights():
    assert train(rows(300), room=0).dump() == train(rows(300)).dump()


def test_the_ridge_is_the_one_that_the_normal_equations_give():
    rng = np.random.default_rng(0)
    with Spool() as spool:
        dense = np.zeros((60, 40))
        for row in dense:
            chosen = np.sort(rng.choice(40, 8, replace=False)).astype(np.uint32)
            spool.add(chosen)
            row[chosen] = 1 / np.sqrt(8)
        shapes = rng.normal(size=(60, len(SHAPE))).astype(np.float32) * SHAPE_WEIGHT
        whole = np.hstack([dense, shapes])
        y = rng.random(60)
        y[5] = np.nan  # a request without this label
        found = solve(Spooled(spool, shapes), y[None].astype(np.float32), (3.0,), steps=40)
    known = np.isfinite(y)
    x, target = whole[known] - whole[known].mean(0), y[known] - y[known].mean()
    exact = np.linalg.solve(x.T @ x + 3 * np.eye(x.shape[1]), x.T @ target)
    np.testing.assert_allclose(found.places[0, 0, :40], exact[:40], atol=1e-4)
    np.testing.assert_allclose(found.shape[0, 0], exact[40:], atol=1e-4)
    assert found.constant[0, 0] == pytest.approx(y[known].mean() - whole[known].mean(0) @ exact, abs=1e-4)


def test_too_few_labels_are_refused():
    with pytest.raises(TooFew, match="12 labelled requests"):
        train(rows(12))
    with pytest.raises(TooFew, match="no label is of 'gpt'"):
        train(rows(100), flagship="gpt")


def test_what_serves_requests_imports_no_training_and_nothing_heavy():
    script = (
        "import sys, json; import router.quality; before = 'numpy' in sys.modules\n"
        "from router.quality import Model, Certificate, Watch\n"
        "print(json.dumps([before, [n for n in ('router.quality.training', 'router.quality.fit', 'sklearn', 'torch', 'scipy') if n in sys.modules]]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [False, []]
