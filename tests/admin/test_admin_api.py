import asyncio
import re
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from traffic import ADMIN, SEARCH

CALLS = (
    ("GET", "spend"), ("GET", "ledger"), ("GET", "budgets"), ("GET", "decisions/fb-1"), ("POST", "reload"),
    ("GET", "keys"), ("POST", "keys"), ("POST", "feedback"), ("DELETE", "keys/key-1"), ("GET", "prices"), ("GET", "nothing"),
    ("POST", "feedback"),
)  # fmt: skip


# Who may ask


@pytest.mark.parametrize("blank", [None, ""])
async def test_without_a_configured_key_every_admin_path_is_closed(running, demo, ask, blank):
    demo["server"]["admin_key"] = blank
    on = await running(demo)
    for method, path in CALLS:
        for key in ("", ADMIN, "None"):
            status, told = await ask(on, path, method=method, key=key)
            assert (status, told["error"]["code"]) == (403, "not_allowed")
            assert told["error"]["message"] == "the admin API is closed; set server.admin_key"


async def test_a_wrong_key_is_refused_on_every_admin_path_and_changes_nothing(running, demo, ask):
    on = await running(demo)
    for method, path in CALLS:
        for key in ("", "wrong", ADMIN + "x", *([SEARCH] if path != "feedback" else [])):  # which is a team's too
            status, told = await ask(on, path, method=method, key=key)
            assert (status, told["error"]["code"], told["error"]["type"]) == (
                401,
                "invalid_api_key",
                "authentication_error",
            )
    assert await on.farebox.ledger.keys() == []
    assert not on.farebox.metrics.reloads


async def test_the_admin_key_is_no_key_for_requests(running, demo):
    on = await running(demo)
    async with on.post(key=ADMIN, json={"model": "auto", "messages": [{"role": "user", "content": "?"}]}) as reply:
        assert reply.status == 401


async def test_an_unknown_admin_path_or_method_is_not_found_in_openais_shape(running, demo, ask):
    on = await running(demo)
    for method, path in (("GET", "nothing"), ("GET", "feedback"), ("PUT", "keys"), ("DELETE", "spend")):
        status, told = await ask(on, path, method=method)
        assert (status, told["error"]["code"]) == (404, "not_found")
        assert told["error"]["message"] == f"{method} /admin/v1/{path} is not an endpoint of the admin API"


# Ledger


async def test_the_ledger_is_paged_through_without_loss_or_repetition(seen, ask):
    rows, after = [], 0
    while True:
        _, told = await ask(seen, f"ledger?after={after}&limit=3")
        rows += told["data"]
        after = told["next"]
        if not told["more"]:
            break
    assert [row["seq"] for row in rows] == list(range(1, len(await seen.rows()) + 1))
    exported = [{"seq": seq, **row} async for seq, row in seen.farebox.ledger.entries()]
    assert rows == exported
    assert {"id", "request_id", "attempt", "at", "team", "key", "usage", "cost", "hash"} <= rows[0].keys()
    assert all(re.fullmatch(r"\d+(\.\d{1,9})?", row["cost"]) for row in rows)


async def test_the_end_of_the_ledger_says_where_to_go_on_later(seen, ask):
    assert (await ask(seen, "ledger?after=5000"))[1] == {"object": "list", "data": [], "next": 5000, "more": False}


# Budgets


async def test_budgets_tell_limit_spent_held_left_forecast_and_window(seen, ask):
    _, told = await ask(seen, "budgets")
    month, day = (one for one in told["data"] if one["owner"] == "search")
    spent = Decimal(sum(row["cost"] for row in await seen.rows() if row["team"] == "search")) / 10**9
    assert (month["per"], month["timezone"], month["limit"], month["on_exceed"]) == (
        "month",
        "Asia/Shanghai",
        "50",
        "refuse",
    )
    assert Decimal(month["spent"]) == Decimal(day["spent"]) == spent
    assert (month["held"], month["soft"], day["soft"]) == ("0", None, "4")
    assert Decimal(month["remaining"]) == 50 - spent
    assert Decimal(month["forecast"]) >= spent
    starts, resets = (datetime.fromisoformat(month[name]) for name in ("starts_at", "resets_at"))
    assert starts <= datetime.fromisoformat(told["at"]) < resets
    assert resets.hour == 16  # midnight in Shanghai
    support = next(one for one in told["data"] if one["owner"] == "support")
    assert support["currency"] == "CNY"


async def test_a_total_budget_never_resets(running, demo, ask):
    demo["teams"]["batch"]["budgets"] = [{"limit": 1, "per": "total"}]
    _, told = await ask(await running(demo), "budgets")
    (batch,) = (one for one in told["data"] if one["owner"] == "batch")
    assert (batch["starts_at"], batch["resets_at"]) == (None, None)


# Decisions


async def test_a_decision_can_be_asked_for_by_the_id_that_every_answer_carries(seen, ask):
    body = {"model": "auto", "messages": [{"role": "user", "content": "Which one? out=5"}]}
    async with seen.post(key=SEARCH, json=body) as reply:
        name, model = reply.headers["x-farebox-request-id"], reply.headers["x-farebox-model"]
        await reply.read()
    status, told = await ask(seen, f"decisions/{name}")
    assert status == 200
    assert (told["id"], told["team"], told["route"], told["chosen"]) == (name, "search", "auto", model)
    lost = {one["model"]: one["lost"] for one in told["candidates"]}
    assert lost[model] is None
    assert lost["gpt-4o-mini"] == "quality 0.82, 0.85 is needed"


async def test_a_decision_that_is_not_kept_is_not_found(running, demo, ask):
    status, told = await ask(await running(demo), "decisions/fb-0")
    assert (status, told["error"]["code"], told["error"]["param"]) == (404, "not_found", "id")


# Reload


async def test_reload_takes_a_good_file_and_refuses_a_bad_one_with_every_problem(running, demo, ask, look):
    on = await running(demo)
    file = Path(on.farebox.snapshot.path)
    demo["teams"]["late"] = {"keys": [{"name": "k", "value": "fb-late-late-late"}], "budgets": []}
    file.write_text(yaml.safe_dump(demo))
    status, told = await ask(on, "reload", method="POST")
    assert (status, told) == (200, {"ok": True, "warnings": []})
    assert "late" in on.farebox.snapshot.teams
    assert "was not loaded" not in (await look(on))[1]

    demo["models"]["ghost"] = {"vendor": "nobody"}
    demo["routes"]["auto"]["fallback"] = ["<script>alert(1)</script>"]
    file.write_text(yaml.safe_dump(demo))
    status, told = await ask(on, "reload", method="POST")
    assert (status, told["error"]["code"]) == (409, "conflict")
    assert any("'nobody' is not under `vendors`" in problem for problem in told["error"]["problems"])
    assert "late" in on.farebox.snapshot.teams
    _, page = await look(on)
    assert 'role="alert"' in page
    assert "&#x27;nobody&#x27; is not under `vendors`" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>" not in page


# Prices


async def test_prices_tell_what_is_in_force_and_what_comes_next(running, demo, ask):
    demo["models"]["qwen-plus"]["price"] = [
        {"currency": "CNY", "input": 0.8, "output": 2, "from": "2024-01-01", "to": "2099-01-01"},
        {"currency": "CNY", "input": 0.4, "output": 1, "from": "2099-01-01"},
    ]
    _, told = await ask(await running(demo), "prices")
    found = {one["model"]: one for one in told["data"]}
    assert found["qwen-plus"]["next"] == ["CNY 0.4/1 from 2099-01-01"]
    assert (found["qwen-plus"]["currency"], found["qwen-plus"]["from"]) == ("CNY", "2024-01-01T00:00:00Z")
    assert (found["qwen-plus"]["rates"][0]["input"], found["qwen-plus"]["rates"][0]["cache_read"]) == ("0.8", None)
    assert len(found["claude-sonnet-4-5"]["rates"]) == 2  # dearer past 200,000 tokens


# When things go wrong


async def test_a_store_that_cannot_be_read_is_told_as_overloaded(running, demo, ask, look):
    on = await running(demo)
    on.farebox.ledger.path = Path("/nowhere/farebox.db")
    status, told = await ask(on, "spend")
    assert (status, told["error"]["code"]) == (503, "overloaded")
    status, page = await look(on)
    assert status == 503
    assert "The store cannot be read" in page


async def test_a_bug_in_an_admin_call_is_logged_and_told_without_its_cause(running, demo, ask, monkeypatch, caplog):
    on = await running(demo)
    monkeypatch.setattr("router.admin.listed.prices", lambda *_: 1 // 0)
    status, told = await ask(on, "prices")
    assert (status, told["error"]["code"]) == (500, "internal_error")
    assert "ZeroDivisionError" in caplog.text
    assert "Zero" not in told["error"]["message"]


async def test_budgets_and_metrics_say_the_same(seen, ask, scrape):
    _, told = await ask(seen, "budgets")
    for one in told["data"]:
        labels = {"team": one["owner"], "per": one["per"], "currency": one["currency"]}
        assert await scrape(seen, "farebox_budget_spent", **labels) == float(one["spent"])
        assert await scrape(seen, "farebox_budget_remaining", **labels) == float(one["remaining"])


async def test_many_readers_at_once_do_not_disturb_those_who_are_served(seen, ask, look):
    answers = await asyncio.gather(*(ask(seen, "spend") for _ in range(10)), *(look(seen) for _ in range(10)))
    assert {status for status, _ in answers} == {200}
