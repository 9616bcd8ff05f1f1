"""`farebox check`: every problem at once, each with its place, and no secret."""

import re
from pathlib import Path

import pytest

from router.yamlfile import load

DEMO = Path(__file__).parents[2] / "config" / "demo.yaml"
TEMPLATE = """\
store: sqlite:///farebox.db
vendors:
  openai: {{api_key: sk-very-secret-value}}
models:
  gpt-4o: {{vendor: openai}}
{models}
routes:
  auto: {{models: [gpt-4o]}}
teams:
  search:
    keys: [{{name: app, value: fb-very-secret-value}}]
    budgets: [{budget}]
{more}
"""


@pytest.fixture
def check(run, config):
    """The problems of a configuration, as (line, key, message)."""

    def problems(text, **more):
        config.write_text(text)
        result = run("check", config, code=1, **more)
        assert result.stdout == ""
        assert "secret" not in result.stderr
        *lines, count = result.stderr.splitlines()
        assert count == f"{len(lines)} problem{'s' if len(lines) > 1 else ''}"
        pattern = re.compile(rf"{re.escape(str(config))}:(\d+): (?:([\w.\[\]-]+): )?(.+)")
        return [(int(m[1]), m[2], m[3]) for line in lines if (m := pattern.fullmatch(line))]

    return problems


def written(models="", budget="", more=""):
    return TEMPLATE.format(models=models, budget=budget, more=more)


def test_a_right_configuration_is_a_yes(run, config):
    config.write_text(written())
    assert run("check", config).stdout == f"{config} is right: 1 models, 1 routes, 1 teams, 0 budgets\n"
    assert run("check", "--config", config).exit_code == 0


def test_the_demo_is_right(run):
    assert "is right" in run("check", DEMO).stdout


def test_unknown_keys_are_problems_each_with_its_line_and_key(check):
    found = check(written(models="  gpt-4o-mini: {vendor: openai, colour: red}", more="    limit: 3\nrouter: {}"))
    assert found == [
        (6, "models.gpt-4o-mini.colour", "is not a known key"),
        (13, "teams.search.limit", "is not a known key"),
        (14, "router", "is not a known key"),
    ]


@pytest.mark.parametrize(
    ("store", "told"),
    [
        ("mysql://user:very-secret@host/db", "a store is sqlite:///"),
        ("sqlite:///", "a store is sqlite:///"),
        ("postgresql://", "a PostgreSQL store is postgresql://user@host/database"),
        ("postgresql://user:very-secret@host /db", "a PostgreSQL store is"),
        ("postgresql://user:very-secret@[host/db", "a PostgreSQL store is"),
    ],
)
def test_a_store_that_is_none_is_a_problem_that_shows_no_password(check, store, told):
    ((line, key, message),) = check(written().replace("sqlite:///farebox.db", f'"{store}"'))
    assert (line, key) == (1, "store")
    assert told in message


def test_a_driver_that_is_not_installed_is_a_problem_that_says_what_to_install(check, monkeypatch):
    monkeypatch.setattr("router.settings.find_spec", lambda _: None)
    ((_, key, message),) = check(written().replace("sqlite:///farebox.db", "postgresql://user@host/db"))
    assert key == "store"
    assert "pip install 'farebox[postgres]'" in message


@pytest.mark.parametrize(
    "store", ["postgresql://u:very-secret@h/db", "postgres://h1,h2:5433/db?user=u&password=very-secret"]
)
def test_a_database_is_a_store_under_either_name(run, config, store):
    config.write_text(written().replace("sqlite:///farebox.db", f'"{store}"'))
    assert "is right" in run("check", config).stdout


@pytest.mark.parametrize(
    ("store", "accounts", "told"),
    [
        ("postgresql://user@host/db", "http://:very-secret@host/0", "accounts are null (in the store), or redis://"),
        ("postgresql://user@host/db", "redis://:very-secret@host:port/0", "accounts are null"),
        ("postgresql://user@host/db", "redis://:very-secret@host/zero", "accounts are null"),
        ("postgresql://user@host/db", "redis://", "accounts are null"),
        ("sqlite:///farebox.db", "redis://:very-secret@host", "accounts in Redis need a store in PostgreSQL"),
    ],
)
def test_accounts_that_are_nowhere_are_a_problem_that_shows_no_password(check, store, accounts, told):
    text = written().replace("sqlite:///farebox.db", f'"{store}"')
    ((line, key, message),) = check(f'accounts: "{accounts}"\n{text}')
    assert (line, key) == (1, "accounts")
    assert told in message and "very-secret" not in message


@pytest.mark.parametrize(
    "accounts", ["redis://host", "redis://:very-secret@host:6379/0", "rediss://u:very-secret@host/1"]
)
def test_accounts_are_in_redis_under_either_name(run, config, accounts):
    text = written().replace("sqlite:///farebox.db", "postgresql://user@host/db")
    config.write_text(f'accounts: "{accounts}"\n{text}')
    assert "is right" in run("check", config).stdout


def test_what_does_not_fit_together_is_found_all_at_once(check):
    found = check(
        written(
            models="  other: {vendor: openai, tier: cheap}\n  third: {vendor: nobody, tier: cheap}",
            budget="{limit: 5, per: day, timezone: Mars/Base}",
            more="    routes: [auto, missing]\n    models: [gpt-5000]",
        )
    )
    assert [(line, key) for line, key, _ in found] == [
        (6, "models.other"),
        (7, "models.third.vendor"),
        (13, "teams.search.budgets[0].timezone"),
        (14, "teams.search.routes[1]"),
        (15, "teams.search.models[0]"),
    ]
    told = " ".join(message for _, _, message in found)
    for part in ("openai/other", "price: free", "'nobody'", "'missing'", "'gpt-5000'", "'Mars/Base'"):
        assert part in told


def test_a_variable_that_is_not_set_is_named_and_others_are_not_shown(check):
    text = written(more="    limits: {concurrent: '${FAREBOX_TEST_UNSET}'}").replace(
        "fb-very-secret-value", "'${FAREBOX_TEST_SET}'"
    )
    found = check(text, env={"FAREBOX_TEST_SET": "another-secret"})
    assert found == [(13, "teams.search.limits.concurrent", "the environment variable FAREBOX_TEST_UNSET is not set")]


def test_a_wrong_value_is_said_without_being_shown(check):
    found = check(written().replace("fb-very-secret-value", "secret"))
    assert found[0][:2] == (11, "teams.search.keys[0]")
    assert check(written().replace("sk-very-secret-value", "[secret]"))[0][:2] == (3, "vendors.openai.api_key")


@pytest.mark.parametrize("text", ["teams: {search: [", "a: b: c", "teams:\n\t- x", "models: *secret"])
def test_what_is_no_yaml_is_said_with_its_line(check, text):
    assert "not valid YAML" in check("store: x\n" + text)[0][2]


def test_a_key_that_is_written_twice_is_a_problem(check):
    assert check(written(models="  gpt-4o: {vendor: openai}")) == [(6, "models.gpt-4o", "is written twice")]


def test_a_key_that_is_written_twice_on_one_line_is_a_problem_too(check):
    mini = "  gpt-4o-mini: {vendor: openai, tier: cheap, quality: 0.8, tier: mid}"
    assert check(written(models=mini)) == [(6, "models.gpt-4o-mini.tier", "is written twice")]
    assert check(written(models="  1: {vendor: openai}\n  1: {vendor: openai}"))[-1] == (
        7,
        "models.1",
        "is written twice",
    )


MERGED = """\
  gpt-4o-mini: &small
    vendor: openai
    tier: cheap
    quality: 0.8
  gpt-4.1-mini: &other {vendor: openai, tier: mid, quality: 0.9}
  one: {<<: *small, name: gpt-4o-mini, tier: mid}
  two:
    quality: 0.7
    <<: [*small, *other]
    name: gpt-4o-mini
"""


def test_what_is_merged_gives_way_to_a_mappings_own_keys(run, config):
    config.write_text(written(models=MERGED))
    assert "is right: 5 models" in run("check", config).stdout
    models = load(config).data["models"]
    assert models["one"] == {"vendor": "openai", "tier": "mid", "quality": 0.8, "name": "gpt-4o-mini"}
    assert models["two"] == {"vendor": "openai", "tier": "cheap", "quality": 0.7, "name": "gpt-4o-mini"}
    assert models["gpt-4o-mini"] == {"vendor": "openai", "tier": "cheap", "quality": 0.8}


def test_problems_of_what_is_merged_are_told_where_it_is_written(check):
    wrong = MERGED.replace("tier: cheap", "tier: dear\n    vendor: openai")
    assert sorted(check(written(models=wrong)))[:2] == [
        (8, "models.gpt-4o-mini.tier", "Input should be 'free', 'cheap', 'mid' or 'flagship'"),
        (8, "models.two.tier", "Input should be 'free', 'cheap', 'mid' or 'flagship'"),
    ]
    twice = (9, "models.gpt-4o-mini.vendor", "is written twice")
    assert check(written(models=wrong)).count(twice) == 1
    assert len([line for line, _, _ in check(written(models=wrong)) if line == 9]) == 1
    assert check(written(models="  mini: {<<: openai}"))[0] == (
        6,
        "models.mini",
        "`<<` merges what is no mapping: give one, or a list of them",
    )


def test_a_missing_file_is_a_no(run, tmp_path):
    assert "cannot be read" in run("check", tmp_path / "none.yaml", code=1).stderr


def test_a_bad_price_book_is_named_with_its_own_file_and_line(run, config, tmp_path):
    book = tmp_path / "mine.yaml"
    book.write_text(
        "vendor: openai\nmodels:\n  gpt-4o:\n    tier: flagship\n    prices: [{currency: USD, input: -1}]\n"
    )
    config.write_text("prices: [builtin, mine.yaml]\n" + written())
    assert f"{book}:5: models.gpt-4o.prices[0]" in run("check", config, code=1).stderr


def test_what_is_wrong_in_itself_does_not_hide_what_does_not_fit(check):
    found = check(
        written(
            models="  other: {vendor: openai, tier: cheapest}\n  third: {vendor: nobody, tier: cheap}",
            more="    limits: {concurrent: '${FAREBOX_TEST_UNSET}'}\n    routes: [auto, missing]",
        )
    )
    assert [(line, key) for line, key, _ in found] == [
        (6, "models.other.tier"),
        (7, "models.third.vendor"),
        (14, "teams.search.limits.concurrent"),
        (15, "teams.search.routes[1]"),
    ]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        pytest.param("exchange_rates: {CNY: [{from: 2024-13-01, rate: 1}]}", "exchange_rates.CNY[0].from", id="date"),
        pytest.param("server: {port: " + "9" * 5000 + "}", "server.port", id="digits"),
        pytest.param("server: {port: !!int abc}", "server.port", id="tag"),
    ],
)
def test_a_value_that_yaml_cannot_hold_is_a_problem_at_its_key(check, text, place):
    found = check(written(more=text))
    assert [(line, key) for line, key, _ in found] == [(13, place)]


def test_a_date_that_is_none_does_not_hide_other_problems(check):
    found = check(written(more="exchange_rates: {CNY: [{from: 2024-02-30, rate: 1}]}\nrouter: {}"))
    assert [key for _, key, _ in found] == ["exchange_rates.CNY[0].from", "router"]


@pytest.mark.parametrize("text", ["? [a, b]\n: 1", "? {a: b}\n: 1", "2024-13-01: 1"])
def test_a_key_that_is_no_word_is_a_problem(run, config, text):
    config.write_text(text)
    assert f"{config}:1: " in run("check", config, code=1).stderr


@pytest.mark.parametrize("text", ["a: &all [*all]", "a: " + "[" * 2000 + "]" * 2000], ids=["holds itself", "deep"])
def test_what_has_no_end_is_a_problem(run, config, text):
    config.write_text(text)
    assert run("check", config, code=1).stderr.startswith(f"{config}: is nested too deeply, or holds itself\n")


@pytest.mark.parametrize(
    ("price", "problems"),
    [
        ("{currency: USD, input: -1, output: abc}", {"price.input": "negative", "price.output": "not a decimal"}),
        ("{input: 1, output: 2}", {"price.currency": "required"}),
        ("{currency: USD, input: 1, outpt: 2}", {"price.outpt": "not a known key"}),
        ("[{currency: USD, input: 1, output: .nan}]", {"price[0].output": "not a finite number"}),
        ("5", {"price": "a list of these, or `free`"}),
    ],
)
def test_of_a_price_each_amount_that_is_wrong_is_named(check, price, problems):
    found = check(written(models=f"  other: {{vendor: openai, tier: cheap, price: {price}}}"))
    assert [(line, key) for line, key, _ in found] == [(6, f"models.other.{place}") for place in problems]
    for (_, _, message), part in zip(found, problems.values(), strict=True):
        assert part in message


def test_a_budget_is_told_its_time_zone_beside_what_else_is_wrong_with_it(check):
    found = check(written(budget="{limit: -5, per: day, timezone: Mars/Base}"))
    assert [key for _, key, _ in found] == ["teams.search.budgets[0].limit", "teams.search.budgets[0].timezone"]


def test_a_price_book_that_is_not_there_is_named_where_it_is_asked_for_and_nothing_follows_from_it(check):
    [(line, key, message)] = check("prices: [builtin, ./mine]\n" + written())
    assert (line, key) == (1, "prices[1]")
    assert message.endswith("/mine: no such file or folder")
