"""`farebox explain`: the server's own decision, without a server."""

import json
from pathlib import Path

import pytest
from small_ledger import both, entry

from router.core.usage import Usage

DEMO = Path(__file__).parents[2] / "config" / "demo.yaml"
BODY = {"model": "auto", "messages": [{"role": "user", "content": "Why do prices fall?"}], "max_tokens": 100}


@pytest.fixture
def explain(run):
    def call(body=BODY, *words, code=0):
        told = body if isinstance(body, str) else json.dumps(body)
        return json.loads(run("explain", "--format", "json", *words, "-", input=told, code=code).stdout)

    return call


def places(told):
    return [(candidate["model"], candidate["place"], candidate["lost"]) for candidate in told["candidates"]]


def test_every_candidate_has_a_place_or_a_reason(explain):
    told = explain()
    assert places(told) == [("small", 1, None), ("large", 2, None)]
    assert (told["team"], told["route"], told["chosen"]) == ("search", "auto", "small")
    assert told["candidates"][1]["most_cost"] > told["candidates"][1]["expected_cost"] > "0"
    assert explain(BODY, "--quality", "0.9")["candidates"][1]["lost"] == "quality 0.8, 0.9 is needed"


def test_the_teams_quality_beats_the_routes_and_the_options_beats_both(explain):
    assert explain(BODY, "--team", "support")["chosen"] == "large"
    told = explain(BODY, "--team", "support", "--quality", "0.5")
    assert (told["chosen"], told["quality_needed"]) == ("small", 0.5)


def test_the_model_of_the_option_beats_the_bodys_and_the_first_route_is_the_default(explain):
    assert explain(BODY, "--model", "best")["chosen"] == "large"
    assert explain({**BODY, "model": "best"})["chosen"] == "large"
    assert explain({"messages": BODY["messages"]})["route"] == "auto"
    assert explain(BODY, "--model", "small")["reason"] == "named"


def test_plain_text_is_the_one_user_message(explain, run):
    told, short = explain("Why do prices fall?" * 50), explain("Why?")
    assert told["prompt"]["tokens"] > short["prompt"]["tokens"]
    assert "begins like JSON but is not" in run("explain", input='{"model": ').stderr


def test_a_file_is_read_as_standard_input_is(run, tmp_path):
    (tmp_path / "body.json").write_text(json.dumps(BODY))
    told = run("explain", tmp_path / "body.json").stdout
    assert told == run("explain", input=json.dumps(BODY)).stdout
    for part in ("chosen   small: cheapest of 2 that meet 0.7", "100 at most", "asked by team search"):
        assert part in told


def test_who_cannot_be_served_is_told_why_and_the_answer_is_no(explain, run):
    assert explain(BODY, "--model", "missing", code=1)["error"]["code"] == "model_not_found"
    assert explain(BODY, "--team", "support", "--model", "best", code=1)["error"]["code"] == "not_allowed"
    told = explain({**BODY, "farebox": {"max_cost": "0.00000001"}}, code=1)["error"]
    assert told["code"] == "budget_exceeded"
    assert "small: could cost up to" in told["message"]
    assert "model_not_found: no route or model" in run("explain", "--model", "x", input="hi", code=1).stderr
    assert "configured are search, support" in run("explain", "--team", "x", input="hi", code=1).stderr
    assert explain("[1]", code=1)["error"]["code"] == "invalid_request"


def test_a_quality_that_is_none_is_wrong_usage(run):
    run("explain", "--quality", "2", input="hi", code=2)
    run("explain", "no-such-file", code=2)


def test_habits_come_from_the_ledger_which_is_not_written(explain, ledger, store):
    assert explain()["expected_output"] == 100  # capped by the request
    assert not store.exists()
    ledger([entry(1, usage=Usage(input_fresh=1, output_text=40, output_reasoning=2))])
    before = store.read_bytes()
    assert explain()["expected_output"] == 42
    assert store.read_bytes() == before


@both
def test_a_soft_limit_that_is_passed_leaves_only_the_cheap_tier(explain, ledger):
    assert explain(BODY, "--team", "support")["budgets"][0]["spent"] == "0"
    ledger([entry(1, {"team": "support"}, cost=5 * 10**9, vendor_cost=5 * 10**9)])
    told = explain(BODY, "--team", "support")
    assert told["budgets"] == [
        {"budget": "the total budget of team support", "limit": "10", "spent": "5", "currency": "USD"}
    ]
    assert told["chosen"] == "small"
    assert "soft limit" in places(told)[1][2]


def test_the_demo_can_be_explained_without_its_mock_vendors(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = json.loads(run("explain", "--config", DEMO, "--format", "json", input="Why do prices fall?").stdout)
    assert len(told["candidates"]) >= 6
    bodies = (({"input": "x"}, "embeddings"), ({"prompt": "x", "stream": True}, "bulk"))
    responses = (
        ({"input": "x", "max_output_tokens": 9}, "bulk"),
        ({"input": [{"role": "user", "content": "x"}]}, "bulk"),
    )
    for body, model in bodies + responses:
        assert run("explain", "--config", DEMO, "--model", model, input=json.dumps(body)).exit_code == 0
