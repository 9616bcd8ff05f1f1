"""Feedback by request id, as clients and judges give it."""

import base64
import stat

import pytest
from graded import ADMIN, stand_in
from support import KEY, samples


async def test_a_request_of_a_labelled_route_is_kept_with_its_features_and_not_its_words(
    start, config, say, judge, kept
):
    on = await start(config({"labels": True, "max_output_tokens": 64}))
    name, model, _ = await say(on, "Why do prices fall? out=5")
    assert await judge(on, {"request_id": name, "score": 0.75, "source": "judge"}) == (
        200,
        {
            "object": "list",
            "data": [{"request_id": name, "model": model, "source": "judge", "score": 0.75, "label": None}],
        },
    )
    (row,) = await kept(on, labelled=True)
    (entry,) = await on.rows()
    assert (row["request_id"], row["team"], row["route"], row["model"], row["tier"]) == (
        name, "search", "auto", "qwen-plus", "cheap",
    )  # fmt: skip
    assert row["scores"] == {"qwen-plus": 0.75} and list(row["costs"]) == ["qwen-plus"]
    assert float(row["costs"]["qwen-plus"]) * 10**9 == entry["cost"]
    assert base64.b64decode(row["features"]) == stand_in("Why do prices fall? out=5")
    assert {one["model"]: one["tier"] for one in row["candidates"]} == {"qwen-plus": "cheap", "gpt-4o": "flagship"}
    assert row["shape"] == {
        "tools": False, "schema": False, "images": 0, "turns": 1, "output_cap": None,
        "input_tokens": entry["prompt_estimate"], "stream": False, "figures": [1.0, 2.0],
    }  # fmt: skip
    assert row["length"] == len("Why do prices fall? out=5") and row["propensity"] is None and not row["explored"]
    assert "prompt" not in row


async def test_a_route_without_labels_keeps_nothing_but_may_be_judged_by_what_the_ledger_knows(
    start, config, say, judge, kept
):
    on = await start(config())
    name, model, _ = await say(on, model="plain")
    assert not on.farebox.labels.store.path.exists()
    assert (await judge(on, {"request_id": name, "label": "bad"}))[0] == 200
    (row,) = await kept(on)
    assert (row["scores"], row["features"], row["shape"], row["model"]) == ({model: 0.0}, None, None, "qwen-plus")
    assert row["labels"][0]["label"] == "bad" and row["labels"][0]["source"] == "human" and row["costs"]


async def test_one_source_says_one_thing_of_one_answer_and_its_last_word_counts(
    start, config, say, judge, kept, scrape
):
    on = await start(config({"labels": True}))
    name, _, _ = await say(on)
    for score, source in ((0.2, "judge"), (0.4, "judge"), (1, "human"), (0.9, "the nightly job")):
        assert (await judge(on, {"request_id": name, "score": score, "source": source}))[0] == 200
    (row,) = await kept(on)
    assert {one["source"]: one["score"] for one in row["labels"]} == {
        "judge": 0.4,
        "human": 1.0,
        "the nightly job": 0.9,
    }
    assert row["scores"] == {"qwen-plus": 1.0}  # a human is believed before a judge
    assert [one["by"] for one in row["labels"]] == ["admin"] * 3
    assert await scrape(on, "farebox_labels_total", route="auto", source="judge") == 1
    assert await scrape(on, "farebox_labels_total", route="auto", source="other") == 1


async def test_another_models_answer_may_be_judged_too(start, config, say, judge, kept):
    on = await start(config({"labels": True}))
    name, _, _ = await say(on)
    items = [{"request_id": name, "score": 0.5}, {"request_id": name, "score": 0.8, "model": "gpt-4o"}]
    assert (await judge(on, items))[0] == 200
    (row,) = await kept(on)
    assert row["scores"] == {"qwen-plus": 0.5, "gpt-4o": 0.8}


@pytest.mark.parametrize(
    ("told", "field"),
    [
        ({}, "request_id"),
        ({"request_id": 5, "score": 1}, "request_id"),
        ({"request_id": "ID"}, "score"),
        ({"request_id": "ID", "score": 1.01}, "score"),
        ({"request_id": "ID", "score": -0.1}, "score"),
        ({"request_id": "ID", "score": "1"}, "score"),
        ({"request_id": "ID", "score": True}, "score"),
        ({"request_id": "ID", "label": "fine"}, "label"),
        ({"request_id": "ID", "label": ["good"]}, "label"),
        ({"request_id": "ID", "score": 1, "source": ""}, "source"),
        ({"request_id": "ID", "score": 1, "source": "x" * 65}, "source"),
        ({"request_id": "ID", "score": 1, "source": "a\nb"}, "source"),
        ({"request_id": "ID", "score": 1, "model": "nobody"}, "model"),
        ({"request_id": "ID", "score": 1, "model": 4}, "model"),
        ({"request_id": "ID", "score": 1, "colour": "red"}, "colour"),
        ([{"request_id": "ID", "score": 1}, {"request_id": "ID", "score": 2}], "[1].score"),
        ([{"request_id": "ID", "score": 1}, "no"], "[1]"),
        ([], None),
        ("text", None),
    ],
)
async def test_a_bad_body_is_refused_by_the_field_and_changes_nothing(start, config, say, judge, kept, told, field):
    on = await start(config({"labels": True}))
    name, _, _ = await say(on)

    def named(item):
        return {**item, "request_id": name} if isinstance(item, dict) and item.get("request_id") == "ID" else item

    status, answer = await judge(on, [named(item) for item in told] if isinstance(told, list) else named(told))
    assert (status, answer["error"]["code"], answer["error"]["param"]) == (400, "invalid_request", field)
    assert (await kept(on))[0]["labels"] == []


async def test_what_is_not_json_is_refused(start, config):
    on = await start(config())
    async with on.post("/admin/v1/feedback", key=ADMIN, data=b"{") as reply:
        assert reply.status == 400


async def test_an_unknown_request_is_not_found_and_a_list_with_one_changes_nothing(start, config, say, judge, kept):
    on = await start(config({"labels": True}))
    name, _, _ = await say(on)
    items = [{"request_id": name, "score": 1}, {"request_id": "fb-nothing", "score": 1}]
    status, answer = await judge(on, items)
    assert (status, answer["error"]["param"], answer["error"]["unknown"]) == (404, "[1].request_id", ["fb-nothing"])
    assert (await kept(on))[0]["labels"] == []


async def test_a_team_judges_its_own_requests_and_no_others(start, config, say, judge, kept):
    on = await start(config({"labels": True}))
    name, _, _ = await say(on)
    assert (await judge(on, {"request_id": name, "score": 1}, "fb-key-of-another-team"))[0] == 404
    assert (await judge(on, {"request_id": name, "score": 1}, "nobody"))[0] == 401
    assert (await judge(on, {"request_id": name, "score": 1}, KEY))[0] == 200
    (row,) = await kept(on)
    assert [one["by"] for one in row["labels"]] == ["search/ci"]
    async with on.http.get(on.url + "/admin/v1/spend", headers={"Authorization": f"Bearer {KEY}"}) as reply:
        assert reply.status == 401


async def test_feedback_that_follows_the_answer_at_once_finds_its_request(start, config, judge):
    on = await start(config({"labels": True}))
    body = {"model": "auto", "stream": True, "messages": [{"role": "user", "content": "Why? out=3"}]}
    for _ in range(20):
        async with on.post(json=body) as reply:
            await reply.read()
        assert (await judge(on, {"request_id": reply.headers["x-farebox-request-id"], "label": "good"}))[0] == 200


async def test_labels_and_requests_survive_a_restart(running, config, say, judge, kept, tmp_path):
    settings = config({"labels": True})
    on = await running(settings)
    first, _, _ = await say(on)
    await judge(on, {"request_id": first, "score": 0.25})
    await on.farebox.stop()
    again = await running(settings)
    assert (await judge(again, {"request_id": first, "score": 0.5, "source": "judge"}))[0] == 200
    second, _, _ = await say(again)
    assert [(row["request_id"], len(row["labels"]), row["shape"] is not None) for row in await kept(again)] == [
        (first, 2, True), (second, 0, True),
    ]  # fmt: skip
    assert stat.S_IMODE((tmp_path / "farebox.labels.db").stat().st_mode) == 0o600


async def test_a_failed_request_has_no_answer_to_judge(start, config, judge, kept):
    on = await start(config({"labels": True}))
    body = {"model": "auto", "messages": [{"role": "user", "content": "status=500"}]}
    async with on.post(json=body) as reply:
        assert reply.status == 502
        name = reply.headers["x-farebox-request-id"]
    await on.rows()
    assert (await judge(on, {"request_id": name, "score": 0}))[0] == 404
    assert await kept(on) == []


async def test_those_who_watch_are_told_of_each_label_and_of_its_loss_once_both_are_known(start, config, say, judge):
    on = await start(config({"labels": True}))
    seen = []
    on.farebox.labels.observers.append(seen.append)
    name, _, _ = await say(on)
    await judge(on, {"request_id": name, "score": 0.25, "source": "judge"})
    await judge(on, {"request_id": name, "score": 1.0, "source": "judge", "model": "gpt-4o"})
    told = [(one.route, one.model, one.score, one.loss, one.again) for one in seen]
    assert told == [
        ("auto", "qwen-plus", 0.25, None, False),
        ("auto", "gpt-4o", 1.0, None, False),
        ("auto", "qwen-plus", 0.25, 0.75, True),
    ]


@pytest.fixture
def scrape():
    async def call(on, name, **labels):
        async with on.http.get(f"{on.url}/metrics") as reply:
            return sum(samples(await reply.text(), name, **labels))

    return call
