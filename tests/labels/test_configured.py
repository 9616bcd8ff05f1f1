"""What a configuration may say of labels, and what `farebox check` and `farebox quality labels` make of it."""

import base64
import json

import pytest
import yaml
from click.testing import CliRunner
from graded import Grades, stand_in

from router.cli import cli
from router.snapshot import load
from router.yamlfile import BadConfiguration

SHADOW = {"rate": 0.02, "budget": {"limit": 5, "per": "day"}, "checker": {"webhook": "http://127.0.0.1:9/grades"}}


@pytest.fixture
def loaded(tmp_path):
    def read(settings):
        file = tmp_path / "farebox.yaml"
        file.write_text(yaml.safe_dump(settings, sort_keys=False))
        return load(file)

    return read


def real(settings):
    del settings["mock"]
    settings["vendors"] = {name: {"api_key": "key-of-a-vendor"} for name in settings["vendors"]}
    return settings


@pytest.mark.parametrize(
    ("route", "key"),
    [
        ({"explore": 0.2}, "routes.auto.explore"),
        ({"explore": 0.001}, "routes.auto.explore"),
        ({"explore": "much"}, "routes.auto.explore"),
        ({"shadow": {**SHADOW, "rate": 0}}, "routes.auto.shadow.rate"),
        ({"shadow": {"rate": 0.1, "checker": {"webhook": "http://127.0.0.1:9/x"}}}, "routes.auto.shadow.budget"),
        ({"shadow": {"rate": 0.1, "budget": SHADOW["budget"]}}, "routes.auto.shadow.checker"),
        ({"shadow": {**SHADOW, "budget": {"limit": 5, "per": "day", "timezone": "Asia/Shangai"}}}, "routes.auto.shadow.budget.timezone"),
        ({"shadow": {**SHADOW, "colour": "red"}}, "routes.auto.shadow.colour"),
        ({"labels": "often"}, "routes.auto.labels"),
    ],
)  # fmt: skip
def test_what_a_route_may_not_say_is_told_with_its_key(config, loaded, route, key):
    with pytest.raises(BadConfiguration) as caught:
        loaded(real(config(route)))
    assert [problem.key for problem in caught.value.problems] == [key]
    assert caught.value.problems[0].line > 1


@pytest.mark.parametrize(
    ("team", "key"),
    [({"retention_days": 0}, "teams.search.retention_days"), ({"store_prompts": "some"}, "teams.search.store_prompts")],
)
def test_what_a_team_may_not_say_is_told_with_its_key(config, loaded, team, key):
    with pytest.raises(BadConfiguration) as caught:
        loaded(real(config(None, team)))
    assert [problem.key for problem in caught.value.problems] == [key]


def test_the_name_of_shadow_calls_is_no_teams(config, loaded):
    settings = real(config({"shadow": SHADOW}))
    settings["teams"]["shadow"] = {"budgets": []}
    with pytest.raises(BadConfiguration) as caught:
        loaded(settings)
    assert [problem.key for problem in caught.value.problems] == ["teams.shadow"]


def test_exploring_where_there_is_one_side_only_is_warned_of(config, loaded):
    settings = real(config({"explore": 0.02}))
    settings["routes"]["auto"]["tiers"] = ["cheap"]
    assert [warning.key for warning in loaded(settings).warnings] == ["routes.auto"]


def test_exploring_and_shadowing_keep_labels_without_being_told_to(config, loaded):
    routes = loaded(real(config({"explore": 0.02}))).catalog.routes
    assert (routes["auto"].labels, routes["auto"].explore, routes["plain"].labels) == (True, 0.02, False)
    found = loaded(real(config({"shadow": SHADOW})))
    assert found.catalog.routes["auto"].labels and found.catalog.routes["auto"].shadow.budget in found.budgets
    assert found.catalog.routes["auto"].shadow.budget.owner == "shadow/auto"


def exported(on, *options, code=0):
    found = CliRunner().invoke(cli, ["quality", "labels", "--config", str(on.farebox.snapshot.path), *options])
    assert found.exit_code == code, found.output
    return [json.loads(line) for line in found.stdout.splitlines()] if not code else found.stderr


async def test_labels_are_exported_beside_the_running_server(start, config, say, judge):
    on = await start(config({"labels": True, "shadow": SHADOW}), sample=0.0, checker=Grades(qwen_plus=0.5, gpt_4o=1.0))
    name, _, _ = await say(on)
    await on.farebox.labels.shadow.stop()
    second, _, _ = await say(on, "Nobody has judged this. out=3")
    await judge(on, {"request_id": name, "score": 0.75})
    await on.farebox.labels.store.flush()
    (row,) = exported(on)
    assert row["request_id"] == name and base64.b64decode(row["features"]) == stand_in("Why do prices fall? out=5")
    assert row["scores"]["qwen-plus"] == 0.75
    assert [one["request_id"] for one in exported(on, "--all")] == [name, second]
    assert exported(on, "--all", "--route", "plain") == exported(on, "--until", "2020-01-01") == []
    assert len(exported(on, "--since", "2020-01-01", "--route", "auto")) == 1


async def test_where_there_are_no_labels_yet_it_says_so(start, config):
    on = await start(config())
    assert "there are no labels yet" in exported(on, code=1)
