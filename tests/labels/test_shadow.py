"""Shadow calls: the other side is asked after the answer, both are judged, and nobody's budget but its own pays."""

import asyncio
import json

import pytest
from fakes import KeptReply
from graded import Grades
from support import open_attempts, samples

from router.core.entry import SHADOW
from router.dialects import read
from router.shadow import Kept

BODY = b'{"model": "auto", "messages": [{"role": "user", "content": "?"}]}'
BUDGET = {"limit": 5, "per": "day"}
SHADOWED = {"shadow": {"rate": 0.5, "budget": BUDGET, "checker": {"webhook": "http://127.0.0.1:9/grades"}}}


@pytest.fixture
def grades():
    return Grades(qwen_plus=0.5, gpt_4o=0.9)


@pytest.fixture
def shadowed(start, config, grades):
    async def begin(route=None, team=None, **more):
        return await start(config(SHADOWED | (route or {}), team, **more), sample=0.49, checker=grades)

    return begin


async def over(on):
    """Wait until no shadow call is under way, and what it wrote is there."""
    await asyncio.gather(*on.farebox.labels.shadow._tasks)
    rows = await on.rows()
    await on.farebox.labels.store.flush()
    return rows


async def scraped(on):
    async with on.http.get(f"{on.url}/metrics") as reply:
        return await reply.text()


async def test_the_other_side_is_asked_the_same_and_both_are_judged(shadowed, grades, say, kept):
    on = await shadowed()
    seen = []
    on.farebox.labels.observers.append(seen.append)
    name, _, raw = await say(on, "Why do prices fall? out=5", user="u-1")
    await over(on)
    (asked, own, served, route), (same, theirs, other, _) = grades.asked
    assert (served, other, route) == ("qwen-plus", "gpt-4o", "auto") and own == raw
    assert asked == same and json.loads(asked)["user"] == "u-1"
    assert json.loads(theirs)["choices"][0]["message"]["content"]
    (row,) = await kept(on, labelled=True)
    assert row["scores"] == {"qwen-plus": 0.5, "gpt-4o": 0.9} and row["costs"].keys() == row["scores"].keys()
    assert {(one["model"], one["source"], one["shadow"]) for one in row["labels"]} == {
        ("qwen-plus", "checker", True), ("gpt-4o", "checker", True),
    }  # fmt: skip
    assert [(one.model, one.loss, one.again) for one in seen] == [
        ("qwen-plus", 0.9 - 0.5, False),
        ("gpt-4o", None, False),
    ]
    assert row["request_id"] == name


async def test_a_shadow_is_in_the_ledger_and_the_vendors_bill_but_is_no_request_and_saves_nothing(shadowed, say):
    on = await shadowed(team={"budgets": [{"limit": 1, "per": "day"}]})
    name, _, _ = await say(on)
    await over(on)
    first, second = await on.rows()
    assert (second["team"], second["key"], second["route"], second["model"]) == ("shadow", "auto", "auto", "gpt-4o")
    assert (second["final"], second["request_id"], json.loads(second["tags"])) == (0, f"{name}-s", {"shadow": name})
    assert second["cost"] == second["flagship_cost"] > 0 and second["outcome"] == "ok"
    text, nano = await scraped(on), 10**9
    assert sum(samples(text, "farebox_requests_total")) == 1
    assert samples(text, "farebox_cost_total", team="shadow", route="auto") == [second["cost"] / nano]
    assert samples(text, "farebox_vendor_cost_total", vendor="openai") == [second["vendor_cost"] / nano]
    assert sum(samples(text, "farebox_saved_total", team="shadow")) == 0
    assert samples(text, "farebox_budget_spent", team="search") == [first["cost"] / nano]
    assert samples(text, "farebox_budget_spent", team="shadow/auto") == [second["cost"] / nano]
    assert samples(text, "farebox_shadow_total", route="auto", outcome="scored") == [1]
    assert samples(text, "farebox_labels_total", route="auto", source="checker") == [2]


async def test_budgets_are_the_same_when_they_are_counted_anew_from_the_rows(running, shadowed, config, say):
    shared = {"budgets": [{"limit": 100, "per": "month"}]}
    on = await shadowed(team={"budgets": [BUDGET]}, **shared)
    await say(on)
    own, shadow = await over(on)
    before = {state.budget.owner: state.settled for state in on.farebox.budgets()}
    assert before == {"search": own["cost"], "shadow/auto": shadow["cost"], "*": own["cost"] + shadow["cost"]}
    await on.farebox.stop()
    zoned = [{**BUDGET, "timezone": "Asia/Shanghai", "per": "total"}]  # other accounts, which begin from the rows
    route = {"shadow": {**SHADOWED["shadow"], "budget": zoned[0]}}
    again = await running(config(route, {"budgets": zoned}, budgets=zoned))
    assert {state.budget.owner: state.settled for state in again.farebox.budgets()} == before


async def test_a_budget_of_its_own_that_is_used_up_ends_shadow_calls_and_nothing_else(shadowed, grades, say):
    on = await shadowed({"shadow": {**SHADOWED["shadow"], "budget": {"limit": "0.0001", "per": "day"}}})
    await say(on)
    assert len(await over(on)) == 1 and grades.asked == []
    assert samples(await scraped(on), "farebox_shadow_total", outcome="budget") == [1]


async def test_everybodys_budget_bounds_shadow_calls_too(shadowed, grades, say):
    on = await shadowed(budgets=[{"limit": "0.02", "per": "day"}])
    await say(on, max_tokens=5000)
    assert len(await over(on)) == 1 and grades.asked == []


async def test_a_streamed_answer_is_judged_as_a_whole_one(shadowed, grades, say, kept):
    on = await shadowed()
    await say(on, "Why? out=7", stream=True)
    await over(on)
    texts = [json.loads(answer)["choices"][0]["message"]["content"] for _, answer, _, _ in grades.asked]
    assert len(texts) == 2 and all(len(text.split()) > 2 for text in texts)
    assert (await kept(on))[0]["scores"] == {"qwen-plus": 0.5, "gpt-4o": 0.9}


async def test_another_wires_client_is_judged_in_its_own_words(shadowed, grades, say):
    on = await shadowed()
    for stream in (False, True):
        await say(on, "Why? out=7", path="/v1/messages", max_tokens=64, stream=stream)
        await over(on)
    answers = [json.loads(answer) for _, answer, _, _ in grades.asked]
    assert [answer["type"] for answer in answers] == ["message"] * 4
    assert all(answer["content"][0]["text"] for answer in answers)


async def test_what_was_drawn_to_the_flagship_has_the_cheap_model_as_its_shadow(shadowed, say, kept):
    on = await shadowed({"explore": 0.05})
    on.farebox.labels.chance = lambda: 0.0
    assert (await say(on))[1] == "gpt-4o"
    rows = await over(on)
    assert [(row["model"], row["propensity"], row["team"]) for row in rows] == [
        ("gpt-4o", 0.05, "search"), ("qwen-plus", None, "shadow"),
    ]  # fmt: skip
    assert rows[1]["flagship_cost"] == rows[1]["cost"]  # though a flagship would have cost more
    assert (await kept(on))[0]["scores"] == {"gpt-4o": 0.9, "qwen-plus": 0.5}


async def test_what_a_cascade_has_accepted_is_compared_with_the_better_model(shadowed, say, kept):
    on = await shadowed({"quality": 0.95, "cascade": {"when_ratio": 2}})
    assert (await say(on))[1] == "qwen-plus"
    await over(on)
    (row,) = await kept(on, labelled=True)
    assert row["scores"] == {"qwen-plus": 0.5, "gpt-4o": 0.9}


async def test_a_sample_is_only_taken_at_its_rate(shadowed, say):
    on = await shadowed()
    on.farebox.labels.shadow.chance = lambda: 0.5
    await say(on)
    assert len(await over(on)) == 1 and not on.farebox.labels.shadow.outcomes


@pytest.mark.parametrize(
    ("what", "outcome", "rows"),
    [
        ("a vendor that fails", "failed", 2),
        ("a model that is named", None, 1),
        ("another tier that cannot", "alone", 1),
        ("a checker that raises", "unscored", 2),
        ("a checker that cannot say", "unscored", 2),
        ("no checker", "unscored", 1),
        ("an embedding", None, 1),
    ],
)
async def test_what_cannot_be_compared_is_counted_and_the_client_sees_nothing(
    shadowed, grades, say, what, outcome, rows
):
    dead = {"vendors": {"openai": {"base_url": "http://127.0.0.1:9/v1", "api_key": "none"}, "alibaba": {}}}
    on = await shadowed(**dead if what == "a vendor that fails" else {})
    shadow = on.farebox.labels.shadow
    if what == "a vendor that fails":
        await say(on)
    elif what == "a model that is named":
        await say(on, model="qwen-plus")
    elif what == "another tier that cannot":
        await say(on, farebox={"tier": "cheap"})
    elif what == "a checker that raises":
        grades.scores = {"gpt-4o": ValueError("what a user's code may do"), "qwen-plus": 1.0}
        await say(on)
    elif what == "a checker that cannot say":
        grades.scores = {}
        await say(on)
    elif what == "no checker":
        shadow.checkers = lambda _: None
        await say(on)
    else:
        async with on.post("/v1/embeddings", json={"model": "auto", "input": "words"}) as reply:
            await reply.read()
    assert len(await over(on)) == rows
    assert shadow.outcomes == ({} if outcome is None else {("auto", outcome): 1})


async def test_while_there_is_much_to_do_no_shadow_call_is_made(shadowed, say):
    on = await shadowed(server={"port": 0, "max_in_flight": 1})
    await say(on)  # it is itself in flight when it is drawn
    assert len(await over(on)) == 1
    assert on.farebox.labels.shadow.outcomes == {("auto", "busy"): 1}


async def test_no_more_are_under_way_at_once_than_the_route_allows(shadowed, grades, say):
    on = await shadowed({"shadow": {**SHADOWED["shadow"], "concurrent": 1}})
    gate = asyncio.Event()

    async def later(asked, answer, model, route):
        await gate.wait()
        return 1.0

    grades.score = later
    await say(on)
    await say(on)
    gate.set()
    await over(on)
    assert on.farebox.labels.shadow.outcomes == {("auto", "scored"): 1, ("auto", "busy"): 1}


async def test_a_place_among_shadow_calls_is_given_back_whatever_becomes_of_the_request(shadowed, grades, say):
    on = await shadowed({"shadow": {**SHADOWED["shadow"], "concurrent": 1}})
    body = {"model": "auto", "messages": [{"role": "user", "content": "status=500"}]}
    for _ in range(3):
        async with on.post(json=body) as reply:
            assert reply.status == 502
    await say(on)
    await over(on)
    assert on.farebox.labels.shadow.outcomes == {("auto", "incomplete"): 3, ("auto", "scored"): 1}


async def test_a_shutdown_ends_a_shadow_call_and_what_it_asked_is_in_the_ledger(shadowed, grades, say):
    on = await shadowed()
    asking = asyncio.Event()

    async def never(asked, answer, model, route):
        asking.set()
        await asyncio.Event().wait()

    grades.score = never
    await say(on)
    await asking.wait()
    await on.farebox.stop()
    assert on.farebox.labels.shadow.outcomes == {("auto", "stopped"): 1}
    store = on.farebox.snapshot.settings.store
    assert open_attempts(store) == [] and len(await on.rows()) == 2


async def test_a_shadow_call_that_a_dead_process_left_open_is_charged_and_no_request(
    shadowed, running, config, say, monkeypatch
):
    on = await shadowed()

    async def died(entry):
        if entry.attempt.team != SHADOW:
            await write(entry)

    write = on.farebox.settlement._write
    monkeypatch.setattr(type(on.farebox.settlement), "_write", lambda _, entry: died(entry))
    await say(on)
    await over(on)
    await on.farebox.stop()
    monkeypatch.undo()
    again = await running(config(SHADOWED))
    rows = await again.rows()
    assert [(row["team"], row["outcome"], row["final"]) for row in rows] == [
        ("search", "ok", 1),
        ("shadow", "abandoned", 0),
    ]
    assert sum(samples(await scraped(again), "farebox_requests_total")) == 1


@pytest.mark.parametrize(("endpoint", "end"), [("chat/completions", b"data: [DONE]\n\n"), ("messages", b"")])
async def test_an_answer_that_did_not_come_to_its_end_is_not_judged(shadowed, say, endpoint, end):
    on = await shadowed()
    body = {"model": "auto", "max_tokens": 64, "stream": True, "messages": [{"role": "user", "content": "? out=9"}]}
    _, _, raw = await say(on, "? out=9", path=f"/v1/{endpoint}", max_tokens=64, stream=True)
    chat = read(endpoint, json.dumps(body).encode(), {})
    events = raw.split(b"\n\n")
    for count in range(len(events) - 3):
        cut = Kept()
        await cut.begin({})
        await cut.write(b"\n\n".join(events[:count]) + b"\n\n")
        assert cut.whole(chat) is None, count
    await cut.write(raw[len(cut.body) :] + end)
    assert b"content" in cut.whole(chat)
    await over(on)


async def test_an_answer_that_is_too_long_to_be_kept_is_passed_on_and_not_judged(tmp_path):
    client = KeptReply()
    kept = Kept(client)
    await kept.begin({})
    for _ in range(3):
        await kept.write(b"x" * 2**19)
    assert len(client.body) == 3 * 2**19 and kept.whole(read("chat/completions", BODY, {})) is None and not kept.body


async def test_a_shadows_row_cannot_be_judged_as_if_it_were_a_clients(shadowed, say, judge):
    on = await shadowed()
    name, _, _ = await say(on)
    await over(on)
    assert (await judge(on, {"request_id": f"{name}-s", "score": 1}))[0] == 404
