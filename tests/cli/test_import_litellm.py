"""`farebox import litellm`: configurations of the kinds that LiteLLM's documentation shows, and what `farebox check` says."""

import re
import stat

import pytest
import yaml

from router.migration.litellm_names import period
from router.snapshot import load

SIMPLE = """\
model_list:
  - model_name: gpt-4o
    litellm_params:
      model: gpt-4o
      api_key: os.environ/OPENAI_API_KEY
  - model_name: sonnet
    litellm_params: {model: anthropic/claude-opus-4-5, api_key: os.environ/ANTHROPIC_API_KEY}
  - model_name: gemini-pro
    litellm_params: {model: gemini/gemini-2.5-pro}
"""
BALANCED = """\
model_list:
  - model_name: chat
    litellm_params:
      model: azure/west-4o
      api_base: https://west.openai.azure.com/
      api_key: os.environ/AZURE_WEST
      api_version: "2024-10-21"
      rpm: 6
    model_info: {base_model: azure/gpt-4o}
  - model_name: chat
    litellm_params: {model: azure/east-4o, api_base: "https://east.openai.azure.com/", api_key: os.environ/AZURE_EAST, tpm: 90000}
    model_info: {base_model: azure/gpt-4o}
  - model_name: chat
    litellm_params: {model: openai/gpt-4o, api_key: os.environ/KEY_A}
    rpm: 500
  - model_name: chat
    litellm_params: {model: openai/gpt-4o, api_key: os.environ/KEY_B}
    rpm: 500
  - model_name: small
    litellm_params: {model: groq/llama-3.1-8b-instant, api_key: os.environ/GROQ_API_KEY, timeout: 30, stream_timeout: 10}
router_settings:
  routing_strategy: usage-based-routing-v2
  num_retries: 2
  fallbacks: [{chat: [small]}]
  model_group_alias: {gpt-4: chat, quiet: {model: small, hidden: true}}
"""
OWN = """\
model_list:
  - model_name: llama
    litellm_params: {model: hosted_vllm/meta-llama/Llama-3.1-8B-Instruct, api_base: "http://10.0.0.5:8000/v1"}
  - model_name: local
    litellm_params: {model: ollama/qwen2.5, api_base: "http://127.0.0.1:11434"}
  - model_name: tuned
    litellm_params:
      model: openai/tuned
      api_base: http://10.0.0.6:8000/v1
      api_key: none
      input_cost_per_token: 0.0000005
      output_cost_per_token: 1.5e-06
  - model_name: embed
    litellm_params: {model: openai/text-embedding-3-small, api_key: os.environ/OPENAI_API_KEY}
    model_info: {mode: embedding}
"""
GOVERNED = """\
model_list:
  - model_name: qwen
    litellm_params: {model: dashscope/qwen-plus}
  - model_name: deepseek
    litellm_params: {model: deepseek/deepseek-chat, api_key: os.environ/DEEPSEEK_API_KEY, temperature: 0.2}
litellm_settings:
  drop_params: true
  max_budget: 250.5
  budget_duration: 30d
  default_team_settings:
    - {team_id: research, max_budget: 20, budget_duration: 1d, rpm_limit: 60}
  fallbacks: [{"*": [deepseek]}]
general_settings:
  master_key: os.environ/LITELLM_MASTER_KEY
  database_url: os.environ/DATABASE_URL
  alerting: [slack]
environment_variables: {LANGFUSE_HOST: "https://example.org"}
"""
NOT_ALL = """\
model_list:
  - model_name: claude-aws
    litellm_params: {model: bedrock/anthropic.claude-3-sonnet, aws_region_name: us-east-1}
  - model_name: "openai/*"
    litellm_params: {model: "openai/*", api_key: os.environ/OPENAI_API_KEY}
  - model_name: nobody-knows
    litellm_params: {model: openai/gpt-nobody-knows, api_key: os.environ/OPENAI_API_KEY}
  - model_name: draw
    litellm_params: {model: openai/dall-e-3}
    model_info: {mode: image_generation}
  - model_name: gpt-4o-mini
    litellm_params: {model: gpt-4o-mini}
router_settings:
  fallbacks: [{gpt-4o-mini: [claude-aws]}, {claude-aws: [gpt-4o-mini]}]
general_settings: {master_key: sk-1234}
"""


@pytest.fixture
def imported(run, tmp_path, monkeypatch):
    """What a configuration becomes: (compiled, as YAML, what standard error said). `check` has agreed to it."""

    def work(text):
        source, made = tmp_path / "config.yaml", tmp_path / "made.yaml"
        source.write_text(text)
        result = run("import", "litellm", source)
        made.write_text(result.stdout)
        for name in re.findall(r"\$\{(\w+)\}", result.stdout):
            monkeypatch.setenv(name, "https://example.org/hook" if name.endswith("URL") else f"value-of-{name}")
        assert "is right" in run("check", made).stdout
        return load(made), yaml.safe_load(result.stdout), result.stderr

    return work


@pytest.mark.parametrize("text", [SIMPLE, BALANCED, OWN, GOVERNED, NOT_ALL])
def test_what_it_becomes_is_right_and_every_route_has_a_priced_model(imported, text):
    snapshot, _, _ = imported(text)
    for route in snapshot.catalog.routes.values():
        assert route.models


def test_clients_go_on_with_the_names_that_they_use(imported):
    snapshot, told, _ = imported(SIMPLE)
    assert set(snapshot.catalog.routes) == {"gpt-4o", "sonnet", "gemini-pro"}
    assert told["vendors"] == {
        "openai": {"api_keys": ["${OPENAI_API_KEY}"]},
        "anthropic": {"api_keys": ["${ANTHROPIC_API_KEY}"]},
        "google": {"api_keys": ["${GEMINI_API_KEY}"]},
    }
    (model,) = snapshot.catalog.routes["sonnet"].models
    assert (model.wire_name, model.access.vendor.dialect) == ("claude-opus-4-5", "anthropic")


def test_entries_of_one_name_are_models_of_one_route_and_those_that_differ_by_key_are_one(imported):
    snapshot, told, notes = imported(BALANCED)
    chat = snapshot.catalog.routes["chat"]
    assert [model.name for model in chat.models] == ["chat@azure-openai", "chat@azure-openai-2", "chat@openai"]
    assert snapshot.catalog.models["chat@openai"].access.keys == ("value-of-KEY_A", "value-of-KEY_B")
    west, east = chat.models[:2]
    assert west.access.base_url == "https://west.openai.azure.com/openai?api-version=2024-10-21"
    assert east.access.base_url == "https://east.openai.azure.com/openai/v1"
    assert dict(east.access.headers)["api-key"] == "value-of-AZURE_EAST"
    assert (
        west.timeline.at(1_790_000_000_000_000).listed(0).input
        == east.timeline.at(1_790_000_000_000_000).listed(0).input
    )
    assert west.limits.requests_per_minute == 6
    assert east.limits.tokens_per_minute == 90_000
    assert snapshot.catalog.models["chat@openai"].limits.requests_per_minute == 500
    assert told["vendors"]["groq"]["timeout"] == {"total": "30s", "first_byte": "10s"}
    assert "router_settings.routing_strategy: " in notes


def test_fallbacks_and_aliases_are_routes(imported):
    snapshot, _, _ = imported(BALANCED)
    routes = snapshot.catalog.routes
    assert [model.name for model in routes["chat"].fallback] == ["small@groq"]
    assert routes["gpt-4"].models == routes["chat"].models
    assert routes["quiet"].models == routes["small"].models


def test_servers_of_ones_own_are_free_unless_a_cost_is_given_and_it_says_so(imported):
    _, told, notes = imported(OWN)
    assert told["models"]["llama@vllm"]["price"] == "free"
    assert "models.llama@vllm: free, as LiteLLM counts it" in notes
    assert told["models"]["tuned@own-openai"]["price"] == {"currency": "USD", "input": "0.5", "output": "1.5"}
    assert told["vendors"]["own-openai"] == {"dialect": "openai", "base_url": "http://10.0.0.6:8000/v1"}
    assert told["models"]["embed@openai"]["kind"] == "embedding"


def test_budgets_teams_and_the_master_key(imported):
    snapshot, told, notes = imported(GOVERNED)
    assert told["budgets"] == [{"limit": "250.5", "currency": "USD", "per": "month"}]
    assert told["teams"]["research"]["budgets"] == [{"limit": "20", "currency": "USD", "per": "day"}]
    assert told["teams"]["research"]["limits"] == {"requests_per_minute": 60}
    assert told["server"]["admin_key"] == "${LITELLM_MASTER_KEY}"
    assert {caller.team for caller in snapshot.callers.values()} == {"default"}
    assert told["vendors"]["alibaba"]["currency"] == "USD"  # LiteLLM asks it abroad
    assert told["alerts"] == [{"name": "slack", "kind": "slack", "url": "${SLACK_WEBHOOK_URL}"}]
    assert told["routes"]["qwen"]["fallback"] == ["deepseek@deepseek"]
    for part in (
        "temperature: not carried",
        "general_settings.database_url: ",
        "environment_variables.LANGFUSE_HOST: ",
    ):
        assert part in notes


def test_what_cannot_be_carried_is_told_and_nothing_of_unknown_price_is_free(imported):
    snapshot, told, notes = imported(NOT_ALL)
    assert set(snapshot.catalog.models) == {"gpt-4o-mini@openai"}
    assert "fallback" not in told["routes"]["gpt-4o-mini"]
    for part in (
        "model_list[0] (claude-aws): bedrock/anthropic.claude-3-sonnet: no vendor of Farebox's is called so",
        "model_list[1] (openai/*): a wildcard is not carried",
        "model_list[2] (nobody-knows): openai/gpt-nobody-knows has no price in force",
        "model_list[3] (draw): mode image_generation is not served",
        "router_settings.fallbacks.gpt-4o-mini: claude-aws was not carried",
        "general_settings.master_key: is shorter than 8 characters",
    ):
        assert part in notes
    assert snapshot.callers == {}


def test_the_notes_are_in_the_file_as_comments_too(run, tmp_path):
    (tmp_path / "config.yaml").write_text(NOT_ALL)
    assert "# - model_list[1] (openai/*): a wildcard" in run("import", "litellm", tmp_path / "config.yaml").stdout


def test_a_file_is_written_for_its_owner_and_never_over_another(run, tmp_path):
    (tmp_path / "config.yaml").write_text(SIMPLE)
    made = tmp_path / "made.yaml"
    assert run("import", "litellm", tmp_path / "config.yaml", "--output", made).stdout == ""
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert "File exists" in run("import", "litellm", tmp_path / "config.yaml", "--output", made, code=1).stderr


@pytest.mark.parametrize(
    "text", ["", "- 1\n", "model_list: {}\n", "a: [", "model_list: []\n", "model_list: [3, {model_name: x}]\n"]
)
def test_what_is_no_configuration_of_litellms_is_a_no(run, tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    result = run("import", "litellm", tmp_path / "config.yaml", code=1)
    assert str(tmp_path / "config.yaml") in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("told", "per", "exact"),
    [("30d", "month", True), ("24h", "day", True), ("7d", "week", True), (None, "total", True), ("10d", "week", False),
     ("45s", "hour", False), ("2mo", "quarter", False), ("daily", "day", True), ("odd", "month", False)],
)  # fmt: skip
def test_a_duration_is_the_nearest_calendar_window(told, per, exact):
    assert period(told) == (per, exact)
