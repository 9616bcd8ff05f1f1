"""Azure OpenAI under both of its addresses: what is asked where, what its own golden answers become, and a mock of it."""

import json
from pathlib import Path

import pytest
from fakes import Conversation, answer, snapshot_of
from support import KEY, serving

from router.core.errors import ContentFiltered, ContextTooLong, UpstreamFailed
from router.core.tokens import OPENAI
from router.dialects.sent import deployed

WIRE = Path(__file__).parent.parent / "wire/azure_openai"
RESOURCE = "https://res.openai.azure.com/openai"
CLASSIC = f"{RESOURCE}?api-version=2024-10-21"


def azure(tmp_path, *answers, base_url=CLASSIC, **more):
    """A conversation whose cheap model is a deployment that its owner has called `our-mini`."""
    vendors = {"azure-openai": {"api_key": "sk-azure", "base_url": base_url}}
    models = {"small": {"vendor": "azure-openai", "name": "our-mini", **more}}
    return Conversation(snapshot_of(tmp_path, vendors=vendors, models=models), *answers)


def fixture(name):
    case = json.loads((WIRE / name).read_text())
    return case["status"], json.dumps(case["body"]).encode()


@pytest.mark.parametrize(
    ("base_url", "address"),
    [
        (f"{RESOURCE}/v1", f"{RESOURCE}/v1/chat/completions"),
        (CLASSIC, f"{RESOURCE}/deployments/our-mini/chat/completions?api-version=2024-10-21"),
        (
            f"{RESOURCE}/?api-version=2024-10-21",
            f"{RESOURCE}/deployments/our-mini/chat/completions?api-version=2024-10-21",
        ),
        (
            f"{RESOURCE}/deployments/another/chat/completions?api-version=2025-01-01-preview",
            f"{RESOURCE}/deployments/our-mini/chat/completions?api-version=2025-01-01-preview",
        ),
        (
            "https://res.services.ai.azure.com/models?api-version=2024-05-01-preview",
            "https://res.services.ai.azure.com/models/chat/completions?api-version=2024-05-01-preview",
        ),
        ("https://gateway.example/openai?tenant=7", "https://gateway.example/openai/chat/completions?tenant=7"),
    ],
    ids=["v1", "classic", "with a slash", "pasted from the portal", "another product", "a gateway's query"],
)
async def test_each_address_is_asked_as_it_was_meant(tmp_path, base_url, address):
    talk = azure(tmp_path, answer(), base_url=base_url)
    await talk.ask()
    (call,) = talk.upstream.calls
    assert call.url == address
    assert call.headers["api-key"] == "sk-azure" and "Authorization" not in call.headers


async def test_a_client_of_responses_is_answered_under_the_resource_itself(tmp_path):
    talk = azure(tmp_path, (404, b"{}"))
    with pytest.raises(UpstreamFailed):
        await talk.ask(endpoint="responses", model="small", input="hi")
    assert talk.upstream.calls[0].url == f"{RESOURCE}/responses?api-version=2024-10-21"


def test_a_deployments_name_cannot_leave_its_place_in_the_path():
    assert deployed(CLASSIC, "/embeddings", "a/../b?c").startswith(f"{RESOURCE}/deployments/a%2F..%2Fb%3Fc/embeddings?")


async def test_a_plain_answer_passes_and_is_charged_by_the_configured_price(tmp_path):
    talk = azure(tmp_path, fixture("nonstream.json"))
    reply = await talk.ask()
    told = json.loads(reply.body)
    assert told["choices"][0]["message"]["content"] == "Understood." and told["prompt_filter_results"]
    assert talk.rows == [("small", "ok", "reported", 20 * 1000 + 5 * 2000)]


async def test_a_stream_whose_first_chunk_has_no_choices_passes(tmp_path):
    talk = azure(tmp_path, [(WIRE / "stream.sse").read_bytes()])
    reply = await talk.ask(stream=True)
    assert b"prompt_filter_results" in reply.body and reply.body.endswith(b"data: [DONE]\n\n")
    assert talk.sent[0]["stream_options"] == {"include_usage": True}
    assert talk.rows == [("small", "ok", "reported", 20 * 1000 + 5 * 2000)]


@pytest.mark.parametrize(
    ("name", "error", "fault"),
    [
        ("error_400_context.json", ContextTooLong, "context_too_long"),
        ("error_content_filter.json", ContentFiltered, "content_filtered"),
        ("error_401.json", UpstreamFailed, "auth"),
        ("error_404_deployment.json", UpstreamFailed, "not_found"),
    ],
)
async def test_an_error_is_whose_fault_it_is(tmp_path, name, error, fault):
    talk = azure(tmp_path, fixture(name))
    with pytest.raises(error):
        await talk.ask(model="small")
    assert talk.ledger.closed[0].fault == fault


async def test_a_deployment_is_priced_and_counted_as_the_model_that_it_is(tmp_path):
    snapshot = snapshot_of(
        tmp_path,
        vendors={"azure-openai": {"api_key": "sk-azure", "base_url": CLASSIC}},
        models={
            "mini": {"vendor": "azure-openai", "name": "our-mini", "priced_as": "gpt-4o-mini", "quality": 0.8},
            "listed": {"vendor": "azure-openai", "name": "gpt-4o-mini"},
        },
    )
    mini = snapshot.catalog.models["mini"]
    assert mini.timeline.prices == snapshot.catalog.models["listed"].timeline.prices
    assert mini.counting == OPENAI and mini.counting.exact


async def test_the_mock_answers_under_both_addresses_and_wants_azures_header(tmp_path):
    mini = {"tier": "cheap", "price": {"currency": "USD", "input": 1, "output": 2}}
    config = {
        "server": {"port": 0},
        "store": f"sqlite:///{tmp_path}/farebox.db",
        "mock": {"pace": 0},
        "vendors": {"azure-openai": {}},
        "models": {"small": {"vendor": "azure-openai", "name": "our-mini", **mini}},
        "routes": {"auto": {"models": ["small"]}},
        "teams": {"search": {"keys": [{"name": "app", "value": KEY}], "budgets": []}},
    }
    asked = {"model": "auto", "messages": [{"role": "user", "content": "Why do prices fall? out=12 in=40"}]}
    async with serving(config, tmp_path) as farebox:
        async with farebox.post(json=asked) as reply:
            assert (await reply.json())["usage"]["completion_tokens"] == 12
        classic = f"{farebox.farebox.mock_url}/azure-openai/openai?api-version=2024-10-21"
        config["vendors"] = {"azure-openai": {"base_url": classic, "api_key": "sk-azure"}}
        config["store"] = f"sqlite:///{tmp_path}/other.db"
        async with serving({**config, "mock": None}, tmp_path) as other, other.post(json=asked) as reply:
            assert (await reply.json())["usage"]["completion_tokens"] == 12
        assert [(line.vendor, line.model) for line in farebox.mock.bill] == [("azure-openai", "our-mini")] * 2
        url, key = classic.replace("?", "/deployments/our-mini/chat/completions?"), {"api-key": "any"}
        for address, headers, status, code in (
            (url, {"Authorization": "Bearer any"}, 401, "401"),
            (url, {"api-key": "bad-key"}, 401, "401"),
            (url.partition("?")[0], key, 404, "404"),
        ):
            async with farebox.http.post(address, json=asked, headers=headers) as reply:
                assert (reply.status, (await reply.json())["error"]["code"]) == (status, code)
