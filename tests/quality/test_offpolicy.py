"""What a certificate would have scored, from traffic of which a known share was routed by lot."""

import base64
import json
import random

import pytest
from click.testing import CliRunner

from router.cli.quality import command
from router.quality import Certificate, Request, train
from router.quality.certificate import save
from router.quality.offpolicy import off_policy
from router.quality.request import request_of

WORDS = ["rice", "wheat", "oil", "price", "month", "year", "market", "tax", "river", "road"]


def text(draw):
    return " ".join([draw.choice(("easy", "hard")), *draw.choices(WORDS, k=6)])


def worth(said, model):
    return 1.0 if model == "large" or said.startswith("easy") else 0.0


@pytest.fixture(scope="module")
def learnt():
    draw = random.Random(1)
    texts = [text(draw) for _ in range(300)]
    model = train(
        [{"prompt": t, "scores": {"large": 1.0, "small": worth(t, "small")}} for t in texts], flagship="large"
    )
    kind = {"kind": "two-tier", "flagship": "large", "models": ("small",), "epsilon": 0.05, "delta": 0.05, "n": 300}
    return model, Certificate(**kind, method="made up", threshold=0.5, artefact=model.hash)


def logged(count, seed, *, words=True):
    """Traffic of a policy that sends everything to the flagship, but for a tenth."""
    draw = random.Random(seed)
    for _ in range(count):
        said, cheap = text(draw), draw.random() < 0.1
        model = "small" if cheap else "large"
        row = {
            "model": model,
            "propensity": 0.1 if cheap else 0.9,
            "scores": {model: worth(said, model)},
            "route": "auto",
        }
        if words:
            yield row | {"prompt": said}
        else:
            request = Request(said)
            features = base64.b64encode(request.places().astype("<u4").tobytes()).decode()
            yield row | {"features": features, "shape": {"figures": request.shape().tolist()}}


@pytest.mark.parametrize("words", [True, False])
def test_both_estimates_find_what_the_certificate_would_have_scored(learnt, words):
    model, certificate = learnt
    truth = 1.0  # easy ones go down and are answered well, hard ones do not
    found = off_policy(logged(3000, 2, words=words), model, {"": certificate})
    for one in (found.inverse_propensity, found.doubly_robust):
        assert one.low - 0.02 <= truth <= one.high + 0.02
        assert one.n > 2500
    wide, narrow = found.inverse_propensity, found.doubly_robust
    assert narrow.high - narrow.low < wide.high - wide.low
    assert found.served == pytest.approx(0.95, abs=0.02)


def test_a_request_whose_text_was_not_kept_is_scored_as_if_it_were(learnt):
    model, _ = learnt
    rows = list(logged(20, 5)), list(logged(20, 5, words=False))
    for one, other in zip(*rows, strict=True):
        assert model.score(request_of(one)) == pytest.approx(model.score(request_of(other)))


def test_what_was_not_drawn_says_nothing(learnt):
    model, certificate = learnt
    with pytest.raises(ValueError, match="routed by lot"):
        off_policy([row | {"propensity": None} for row in logged(50, 3)], model, {"": certificate})


def test_eval_tells_it(learnt, tmp_path):
    model, certificate = learnt
    model.save(tmp_path / "quality.model")
    save([certificate], tmp_path / "quality.json")
    labels = [*logged(400, 4)]
    labels += [
        {"prompt": row["prompt"], "scores": {n: worth(row["prompt"], n) for n in ("large", "small")}}
        for row in logged(80, 6)
    ]
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, labels)))
    args = [
        "eval",
        str(tmp_path / "quality.model"),
        str(tmp_path / "labels.jsonl"),
        "--certificates",
        str(tmp_path / "quality.json"),
    ]
    told = CliRunner().invoke(command, args)
    assert told.exit_code == 0, told.output
    assert "doubly robust" in told.output and "inverse propensity" in told.output
    told = CliRunner().invoke(command, [*args, "--format", "json"])
    assert 0.9 < json.loads(told.output)["off_policy"]["doubly_robust"]["value"] < 1.1
