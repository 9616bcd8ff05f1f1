"""A cascade through a real port: clients of three dialects, vendors of two, a checker behind HTTP, the ledger and the metrics."""

import json
from dataclasses import replace

import pytest
from support import KEY, samples

from router.quality import Certificate

ASKED = "Where is it? out=5"
BODIES = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": ASKED}]},
    "/v1/messages": {"messages": [{"role": "user", "content": ASKED}], "max_tokens": 300},
    "/v1/responses": {"input": ASKED},
}


@pytest.fixture
def start(running, tmp_path, vendor):
    """Start a Farebox whose route tries qwen-plus, and then claude; `vendor` is the checker."""

    async def begin(**cascade):
        told = {"when_ratio": 2, "checker": {"webhook": f"{vendor.url}/score", "timeout": 5}, **cascade}
        return await running({
            "server": {"port": 0, "admin_key": "admin"},
            "store": f"sqlite:///{tmp_path}/farebox.db",
            "mock": {"pace": 0},
            "vendors": {"anthropic": {}, "alibaba": {}},
            "exchange_rates": {"CNY": [{"from": "2024-01-01", "rate": "0.14"}]},
            "models": {
                "better": {"vendor": "anthropic", "tier": "flagship", "name": "claude-opus-4-5"},
                "cheap": {"vendor": "alibaba", "tier": "cheap", "quality": 0.8, "name": "qwen-plus"},
            },
            "routes": {"auto": {"tiers": ["cheap", "flagship"], "quality": 0.95, "cascade": told}},
            "teams": {"search": {"keys": [{"name": "ci", "value": KEY}], "models": ["*"], "budgets": []}},
        })  # fmt: skip

    return begin


async def ask(on, path="/v1/chat/completions", **body):
    headers = {"anthropic-version": "2023-06-01"} if path == "/v1/messages" else {}
    async with on.post(path, json={"model": "auto", **BODIES[path], **body}, headers=headers) as reply:
        raw = await reply.read()
        assert reply.status == 200, raw
        return reply.headers["x-farebox-model"], reply.headers["x-farebox-reason"], raw


async def tried(on):
    """The ledger's calls, and how the cascade's are counted."""
    rows = [(row["model"], row["outcome"], row["final"], float(row["cost"]) > 0) for row in await on.rows()]
    async with on.http.get(f"{on.url}/metrics") as reply:
        told = await reply.text()
    outcomes = {
        outcome: samples(told, "farebox_cascade_total", route="auto", outcome=outcome)
        for outcome in ("accepted", "escalated", "unchecked")
    }
    return (
        rows,
        {outcome: sum(values) for outcome, values in outcomes.items() if values},
        sum(samples(told, "farebox_requests_total")),
    )


@pytest.mark.parametrize("path", BODIES)
async def test_a_checker_decides_for_clients_of_any_dialect(start, vendor, path):
    on = await start()
    vendor.answers(b'{"score": 0.9}')
    model, reason, raw = await ask(on, path)
    assert model == "cheap" and reason.endswith("cascade: cheap is tried first")
    seen = json.loads(vendor.calls[0].body)
    assert (seen["model"], seen["route"]) == ("cheap", "auto")
    assert seen["answer"] == json.loads(raw)
    assert seen["request"] == {"model": "auto", **BODIES[path]}
    vendor.answers(b'{"score": 0.1}')
    model, reason, raw = await ask(on, path)
    assert model == "better" and reason.endswith("escalated from cheap: checker: 0.1 is below 0.5")
    assert json.loads(raw)
    rows, outcomes, requests = await tried(on)
    assert rows == [("cheap", "ok", True, True), ("cheap", "ok", False, True), ("better", "ok", True, True)]
    assert (outcomes, requests) == ({"accepted": 1, "escalated": 1}, 2)


async def test_a_certificate_says_which_answers_pass_and_one_for_another_judge_lets_none(start, vendor, tmp_path):
    made = Certificate(
        kind="cascade", flagship="better", models=("cheap",), epsilon=0.05, delta=0.05, n=800, method="", threshold=0.8,
        artefact="a checker", route="auto",
    )  # fmt: skip
    made.save(tmp_path / "cascade.json")
    on = await start(certificate=str(tmp_path / "cascade.json"))
    vendor.answers(b'{"score": 0.8}')
    assert (await ask(on))[0] == "cheap"
    vendor.answers(b'{"score": 0.79}')
    model, reason, _ = await ask(on)
    assert model == "better" and reason.endswith("escalated from cheap: checker: 0.79 is below 0.8")
    replace(made, artefact="judge cheap").save(tmp_path / "cascade.json")
    async with on.http.post(f"{on.url}/admin/v1/reload", headers={"Authorization": "Bearer admin"}) as reply:
        assert reply.status == 200, await reply.text()
    asked = len(vendor.calls)
    assert (await ask(on))[0] == "better"
    assert len(vendor.calls) == asked
    rows, outcomes, _ = await tried(on)
    assert [row[:3] for row in rows] == [
        ("cheap", "ok", True), ("cheap", "ok", False), ("better", "ok", True), ("better", "ok", True),
    ]  # fmt: skip
    assert outcomes == {"accepted": 1, "escalated": 1}


async def test_a_cheap_vendor_that_is_down_is_not_waited_for(start, vendor):
    on = await start()
    said = [{"role": "user", "content": "Where is it? out=3 status=503 fail=1 id=once"}]
    assert (await ask(on, messages=said))[0] == "better"
    assert not vendor.calls
    rows, outcomes, requests = await tried(on)
    assert [row[:3] for row in rows] == [("cheap", "error", False), ("better", "ok", True)]
    assert (outcomes, requests) == ({"escalated": 1}, 1)


async def test_a_checker_that_is_down_escalates_and_is_counted(start, vendor):
    on = await start()
    vendor.answers(b"nothing of use")
    assert (await ask(on))[0] == "better"
    await vendor.stop()
    assert (await ask(on))[0] == "better"
    _, outcomes, requests = await tried(on)
    assert (outcomes, requests) == ({"unchecked": 2}, 2)


async def test_a_stream_goes_to_the_better_model_at_once(start, vendor):
    on = await start()
    for path in BODIES:
        assert (await ask(on, path, stream=True))[0] == "better"
    assert not vendor.calls
    assert [row[0] for row in (await tried(on))[0]] == ["better"] * 3
