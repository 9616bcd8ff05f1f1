"""Never paying twice: answers that are kept, and calls that are shared, as conversations."""

import asyncio
import re

import pytest
from fakes import Conversation, KeptReply, Late, answer, merged, snapshot_of, stream
from support import small_config

from router.core import jsonio
from router.core.errors import BadKey, Overloaded, RateLimited, UpstreamFailed
from router.core.failure import Failure, Fault
from router.core.sse import events
from router.hedge import ENOUGH
from router.relay import ClientLeft
from router.turns import Turns

COST = re.compile(rb'"cost":[\d.]+')
CACHED = {"auto": {"cache": {"ttl": "10m"}}}
TWO_TEAMS = {
    "search": {"keys": [{"name": "app", "value": "fb-search-key"}], "budgets": []},
    "ads": {"keys": [{"name": "app", "value": "fb-ads-key"}], "budgets": []},
}


class Kept(KeptReply):
    """A client that keeps each piece that it was sent."""

    def __init__(self, **how):
        super().__init__(**how)
        self.pieces = []

    async def write(self, data):
        await super().write(data)
        self.pieces.append(data)


class Slow(Kept):
    """One that takes a piece only when it is told to."""

    def __init__(self):
        super().__init__()
        self.may = asyncio.Event()

    async def write(self, data):
        await self.may.wait()
        await super().write(data)


def talk(folder, *answers, cache=True, **changes):
    routes = {"auto": {"cache": cache}, "best": {"cache": cache}}
    return Conversation(snapshot_of(folder, **merged({"routes": routes}, changes)), *answers)


def without_cost(body):
    return COST.sub(b'"cost":0', body)


# What is kept


async def test_the_second_of_two_identical_requests_costs_nothing_and_is_a_row_that_tells_what_it_saved(tmp_path):
    conversation = talk(tmp_path, answer(31, 7))
    first = await conversation.ask()
    second = await conversation.ask()
    assert first.headers["x-farebox-cache"] == "miss" and second.headers["x-farebox-cache"] == "hit"
    assert len(conversation.upstream.calls) == 1
    assert conversation.rows == [("small", "ok", "reported", 45_000), ("small", "ok", "reported", 0)]
    paid, kept = conversation.ledger.closed
    assert (kept.attempt.id, kept.attempt.number, kept.attempt.held, kept.attempt.holds) == ("fb-2.0", 0, 0, ())
    assert kept.saved == paid.flagship_cost == 590_000 and kept.vendor_cost == 0
    assert kept.usage.as_dict() == {} and kept.charges == ()
    assert conversation.ledger.opened[1] is kept.attempt  # before anything was sent


async def test_a_kept_answer_is_the_vendors_but_at_no_cost(tmp_path):
    conversation = talk(tmp_path, answer(31, 7, made_up=[1.0]))
    first, second = await conversation.ask(), await conversation.ask()
    assert without_cost(first.body) == second.body != first.body
    assert jsonio.loads(second.body)["usage"] == {
        "prompt_tokens": 31, "completion_tokens": 7, "total_tokens": 38, "cost": 0, "cost_currency": "USD",
        "flagship_cost": 590e-6,
    }  # fmt: skip
    told = second.headers
    assert (told["x-farebox-cost"], told["x-farebox-model"], told["x-farebox-tier"]) == ("0", "small", "cheap")
    assert (told["x-farebox-request-id"], told["x-farebox-reason"]) == ("fb-2", "cache: the answer of fb-1")
    assert told["content-type"] == "application/json"


async def test_a_kept_stream_is_replayed_event_by_event(tmp_path):
    said = stream("wör", "d", "s")
    conversation = talk(tmp_path, [b"".join(said)])  # the vendor's events come in one piece
    options = {"stream": True, "stream_options": {"include_usage": True}}
    first = await conversation.ask(Kept(), **options)
    second = await conversation.ask(Kept(), **options)
    assert second.pieces == events(without_cost(first.body)) and len(second.pieces) == 5
    assert second.headers["x-farebox-cache"] == "hit" and second.headers["content-type"] == "text/event-stream"
    assert [row[3] for row in conversation.rows] == [20_000, 0]


async def test_a_stream_and_a_plain_answer_are_kept_apart(tmp_path):
    conversation = talk(tmp_path, answer(), stream("a"), stream("b"))
    await conversation.ask()
    await conversation.ask(stream=True)
    await conversation.ask(stream=True, stream_options={"include_usage": True})
    assert len(conversation.upstream.calls) == 3


async def test_an_answer_is_forgotten_when_its_time_is_over(tmp_path):
    conversation = talk(tmp_path, answer(text="old"), answer(text="new"), cache={"ttl": "10m"})
    await conversation.ask()
    conversation.clock.push(599)
    kept = await conversation.ask()
    assert b"old" in kept.body and kept.headers["age"] == "599"
    conversation.clock.push(2)
    assert b"new" in (await conversation.ask()).body


async def test_what_a_route_keeps_is_bounded_in_bytes_and_the_least_used_goes(tmp_path):
    conversation = talk(tmp_path, *[answer() for _ in range(4)], cache={"max_bytes": 2700})
    for text in ("a", "b", "a", "c", "a", "b"):  # a is used again, so that b goes when c comes
        await conversation.ask(messages=[{"role": "user", "content": text}])
    assert [sent["messages"][0]["content"] for sent in conversation.sent] == ["a", "b", "c", "b"]


async def test_an_answer_that_is_too_large_is_passed_on_and_not_kept(tmp_path):
    words = ["x" * 100] * 30
    conversation = talk(tmp_path, stream(*words), stream(*words), cache={"max_answer_bytes": "1kB"})
    first, second = await conversation.ask(stream=True), await conversation.ask(stream=True)
    assert len(conversation.upstream.calls) == 2 and first.body == second.body and len(first.body) > 3000


# What is not


async def test_a_route_without_a_cache_keeps_nothing(tmp_path):
    conversation = talk(tmp_path, answer(), answer(), cache=False)
    assert "x-farebox-cache" not in (await conversation.ask()).headers
    await conversation.ask()
    assert len(conversation.upstream.calls) == 2


async def test_a_model_that_is_named_is_always_asked(tmp_path):
    conversation = talk(tmp_path, answer(), answer())
    await conversation.ask(model="small")
    await conversation.ask(model="small")
    assert len(conversation.upstream.calls) == 2


TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


@pytest.mark.parametrize(
    ("fields", "allowed"),
    [({"temperature": 0.7}, {"any_temperature": True}), ({"tools": [TOOL]}, {"tools": True})],
)
async def test_tools_and_a_temperature_above_zero_are_not_cached_unless_told_so(tmp_path, fields, allowed):
    conversation = talk(tmp_path, answer(), answer())
    await conversation.ask(**fields)
    await conversation.ask(**fields)
    assert len(conversation.upstream.calls) == 2
    conversation = talk(tmp_path, answer(), cache=allowed)
    await conversation.ask(**fields)
    await conversation.ask(**fields)
    assert len(conversation.upstream.calls) == 1


async def test_no_temperature_and_a_temperature_of_zero_are_cached(tmp_path):
    conversation = talk(tmp_path, answer(), answer())
    for fields in ({}, {}, {"temperature": 0}, {"temperature": 0.0}):
        await conversation.ask(**fields)
    assert len(conversation.upstream.calls) == 2


async def test_a_dry_run_neither_uses_nor_fills_the_cache(tmp_path):
    conversation = talk(tmp_path, answer())
    await conversation.ask(farebox={"dry_run": True})
    await conversation.ask()
    told = jsonio.loads((await conversation.ask(farebox={"dry_run": True})).body)
    assert told["object"] == "farebox.decision" and len(conversation.upstream.calls) == 1


async def test_no_store_leaves_the_cache_alone_and_no_cache_asks_anew(tmp_path):
    conversation = talk(tmp_path, answer(text="one"), answer(text="two"), answer(text="three"))
    no_store, no_cache = {"Cache-Control": "no-store"}, {"Cache-Control": "max-age=0, No-Cache"}
    await conversation.ask()
    assert b"two" in (await conversation.ask(headers=no_store)).body
    assert b"one" in (await conversation.ask()).body
    assert b"three" in (await conversation.ask(headers=no_cache)).body
    assert b"three" in (await conversation.ask()).body


async def test_an_error_is_not_kept(tmp_path):
    failed = (500, b'{"error": {"message": "no"}}')
    conversation = talk(tmp_path, failed, failed, answer(), routes={"auto": {"tiers": ["cheap"]}})
    for _ in range(2):
        with pytest.raises(UpstreamFailed):
            await conversation.ask()
        conversation.clock.push(600)
    assert (await conversation.ask()).status == 200


async def test_an_answer_after_a_failure_is_not_kept(tmp_path):
    failed = (500, b'{"error": {"message": "no"}}')
    conversation = talk(tmp_path, failed, answer(text="by another"), answer())
    assert b"by another" in (await conversation.ask()).body
    conversation.clock.push(600)
    assert (await conversation.ask()).headers["x-farebox-cache"] == "miss"


async def test_a_stream_that_breaks_off_is_not_kept(tmp_path):
    broken = [*stream("half", done=False, usage=None), Failure(Fault.RESET, "reset")]
    conversation = talk(tmp_path, broken, stream("whole"))
    await conversation.ask(stream=True)
    assert b"whole" in (await conversation.ask(stream=True)).body


async def test_an_answer_that_met_a_cap_of_ours_is_not_kept_and_one_that_met_the_clients_is(tmp_path):
    conversation = talk(tmp_path, answer(10, 20), answer(10, 20), routes={"auto": {"max_output_tokens": 20}})
    await conversation.ask()
    assert (await conversation.ask()).headers["x-farebox-cache"] == "miss"
    conversation = talk(tmp_path, answer(10, 20))
    await conversation.ask(max_tokens=20)
    assert (await conversation.ask(max_tokens=20)).headers["x-farebox-cache"] == "hit"


async def test_an_answer_that_a_budget_made_smaller_is_not_kept(tmp_path):
    tight = {"search": {"budgets": [{"limit": "0.0016", "per": "day"}]}}
    conversation = talk(tmp_path, answer(10, 20), answer(10, 20), teams=tight, routes={"auto": {"tiers": ["cheap"]}})
    await conversation.ask()
    assert conversation.sent[0]["max_tokens"] < 4096
    assert (await conversation.ask()).headers["x-farebox-cache"] == "miss"


# Who shares


async def test_two_teams_never_share_an_answer(tmp_path):
    conversation = talk(tmp_path, answer(text="of search"), answer(text="of ads"), teams=TWO_TEAMS)
    search, ads = conversation.snapshot.callers.values()
    for caller in (search, ads, search, ads):
        conversation.who = caller
        reply = await _as(conversation, caller)
        assert f"of {caller.team}".encode() in reply.body
    assert len(conversation.upstream.calls) == 2


async def _as(conversation, caller, **more):
    class As(Conversation):
        caller = property(lambda self: caller)

    conversation.__class__ = As
    return await conversation.ask(**more)


async def test_two_teams_at_once_do_not_share_a_call(tmp_path):
    gate = asyncio.Event()
    conversation = talk(tmp_path, Late(gate, answer()), Late(gate, answer()), teams=TWO_TEAMS)
    asking = []
    for caller in conversation.snapshot.callers.values():
        asking += [asyncio.create_task(_as(conversation, caller)), asyncio.create_task(_as(conversation, caller))]
        await _calls(conversation, len(asking) // 2)
    gate.set()
    await asyncio.gather(*asking)
    assert len(conversation.upstream.calls) == 2


async def _calls(conversation, number):
    """Until so many calls were made, and whoever else could has begun to wait for one."""
    async with asyncio.timeout(5):
        while len(conversation.upstream.calls) < number:
            await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_need_that_other_models_meet_gets_another_answer(tmp_path):
    conversation = talk(tmp_path, answer(text="cheap"), answer(text="good"))
    assert b"cheap" in (await conversation.ask()).body
    assert b"good" in (await conversation.ask(farebox={"quality": 0.99})).body
    assert b"cheap" in (await conversation.ask(farebox={"tags": {"job": "x"}}, user="u-1", metadata={"a": "b"})).body


# At once


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_thousand_identical_requests_at_once_reach_the_vendor_once(tmp_path, streamed):
    gate = asyncio.Event()
    said = [*stream("a", "b")[:1], gate, *stream("a", "b")[1:]] if streamed else Late(gate, answer())
    conversation = talk(tmp_path, said)
    options = {"stream": True, "stream_options": {"include_usage": True}} if streamed else {}
    asking = [asyncio.create_task(conversation.ask(Kept(), **options)) for _ in range(1000)]
    await _calls(conversation, 1)
    gate.set()
    replies = await asyncio.gather(*asking)
    assert len(conversation.upstream.calls) == 1
    told = [reply.headers["x-farebox-cache"] for reply in replies]
    assert (told.count("miss"), told.count("hit")) == (1, 999)
    paid = replies[told.index("miss")]
    for reply in replies:
        assert without_cost(reply.body) == without_cost(paid.body)
        assert [without_cost(piece) for piece in reply.pieces] == [without_cost(piece) for piece in paid.pieces]
        assert reply is paid or reply.body == without_cost(paid.body)
    assert len(conversation.ledger.closed) == 1000
    assert sum(row[3] for row in conversation.rows) == 20_000 == max(row[3] for row in conversation.rows)
    assert {entry.saved for entry in conversation.ledger.closed if entry.attempt.kept} == {300_000}


async def test_whoever_comes_while_a_stream_runs_gets_it_from_its_beginning(tmp_path):
    gate, said = asyncio.Event(), stream("a", "b", "c")
    conversation = talk(tmp_path, [said[0], said[1], gate, *said[2:]])
    first = asyncio.create_task(conversation.ask(early := Kept(), stream=True))
    await _calls(conversation, 1)
    assert len(early.pieces) == 2
    second = asyncio.create_task(conversation.ask(late := Kept(), stream=True))
    await _calls(conversation, 1)
    assert late.pieces == early.pieces  # as far as it has come, before the rest is there
    gate.set()
    await asyncio.gather(first, second)
    assert late.body == early.body and len(conversation.upstream.calls) == 1


async def test_the_call_goes_on_for_those_who_follow_when_its_first_client_leaves(tmp_path):
    gate, said = asyncio.Event(), stream("a", "b", "c")
    conversation = talk(tmp_path, [said[0], gate, *said[1:]])
    first = asyncio.create_task(conversation.ask(KeptReply(patience=1), stream=True))
    await _calls(conversation, 1)
    second = asyncio.create_task(conversation.ask(late := Kept(), stream=True))
    await _calls(conversation, 1)
    gate.set()
    with pytest.raises(ClientLeft):
        await first
    await second
    assert b"[DONE]" in late.body
    assert conversation.rows == [("small", "ok", "reported", 20_000), ("small", "ok", "reported", 0)]


async def test_the_call_goes_on_when_the_request_of_its_first_client_is_cancelled(tmp_path):
    gate = asyncio.Event()
    conversation = talk(tmp_path, Late(gate, answer()))
    first = asyncio.create_task(conversation.ask())
    await _calls(conversation, 1)
    second = asyncio.create_task(conversation.ask())
    await _calls(conversation, 1)
    first.cancel()
    await _calls(conversation, 1)
    gate.set()
    assert (await second).status == 200
    assert len(conversation.upstream.calls) == 1
    assert sorted(conversation.rows) == [("small", "ok", "reported", 0), ("small", "ok", "reported", 20_000)]


async def test_a_call_that_nobody_waits_for_is_charged_as_one_that_was_left(tmp_path):
    gate, later, said = asyncio.Event(), asyncio.Event(), stream("a", "b", "c")
    conversation = talk(tmp_path, [said[0], gate, said[1], later, *said[2:]], stream("again"))
    first = asyncio.create_task(conversation.ask(KeptReply(patience=1), stream=True))
    await _calls(conversation, 1)
    gate.set()
    with pytest.raises(ClientLeft):
        await first
    later.set()
    await _calls(conversation, 1)
    await conversation.settlement.drain(10)
    assert conversation.rows == [("small", "left", "reported", 20_000)]
    assert b"again" in (await conversation.ask(stream=True)).body


async def test_a_follower_that_leaves_is_a_row_and_nobody_elses_matter(tmp_path):
    gate, said = asyncio.Event(), stream("a", "b", "c")
    conversation = talk(tmp_path, [said[0], gate, *said[1:]])
    first = asyncio.create_task(conversation.ask(Kept(), stream=True))
    await _calls(conversation, 1)
    second = asyncio.create_task(conversation.ask(KeptReply(patience=1), stream=True))
    await _calls(conversation, 1)
    gate.set()
    with pytest.raises(ClientLeft):
        await second
    assert b"[DONE]" in (await first).body
    assert sorted(row[1:] for row in conversation.rows) == [("left", "reported", 0), ("ok", "reported", 20_000)]


async def test_when_a_call_fails_those_who_followed_go_on_by_themselves(tmp_path):
    gate = asyncio.Event()
    failed = Late(gate, (500, b'{"error": {"message": "no"}}'))
    conversation = talk(tmp_path, failed, answer(), routes={"auto": {"tiers": ["cheap"]}})
    asking = [asyncio.create_task(conversation.ask()) for _ in range(5)]
    await _calls(conversation, 1)
    gate.set()
    replies = await asyncio.gather(*asking, return_exceptions=True)
    assert sum(isinstance(reply, UpstreamFailed) for reply in replies) == 1
    assert sum(isinstance(reply, KeptReply) and reply.status == 200 for reply in replies) == 4
    assert len(conversation.upstream.calls) == 2


async def test_a_follower_waits_for_anothers_call_no_longer_than_for_its_own_and_then_makes_that(tmp_path):
    gate = asyncio.Event()
    conversation = talk(tmp_path, Late(gate, answer(text="late")), answer(text="own"))
    first = asyncio.create_task(conversation.ask())
    await _calls(conversation, 1)
    second = asyncio.create_task(conversation.ask())
    await _calls(conversation, 1)
    conversation.clock.push(119)  # the vendor's `first_byte` is 120 s
    await _calls(conversation, 1)
    assert not second.done()
    conversation.clock.push(1)
    await _calls(conversation, 2)
    gate.set()
    assert b"own" in (await second).body and b"late" in (await first).body
    assert [row[3] for row in conversation.rows] == [20_000, 20_000]  # two calls were made


async def test_a_call_that_breaks_in_our_own_hands_strands_nobody(tmp_path, monkeypatch):
    conversation, gate = talk(tmp_path, answer()), asyncio.Event()
    made = conversation.services.turns.pick

    async def broken(*told):
        monkeypatch.setattr(Turns, "pick", lambda _, *more: made(*more))
        await gate.wait()
        raise ZeroDivisionError

    monkeypatch.setattr(Turns, "pick", lambda _, *told: broken(*told))
    asking = [asyncio.create_task(conversation.ask()) for _ in range(5)]
    await _calls(conversation, 0)
    gate.set()
    replies = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(reply).__name__ for reply in replies] == ["ZeroDivisionError", *["KeptReply"] * 4]
    assert sorted(row[3] for row in conversation.rows) == [0, 0, 0, 20_000]


async def test_the_loser_of_a_race_does_not_end_what_the_winner_answers(tmp_path):
    first, second, rest, said = asyncio.Event(), asyncio.Event(), asyncio.Event(), stream("one", "two")
    route = {"models": ["small", "large"], "quality": 0, "hedge": {"percentile": 90, "share": 0.5}}
    conversation = talk(tmp_path, *[answer() for _ in range(ENOUGH)], routes={"auto": route}, teams=TWO_TEAMS)
    for n in range(ENOUGH):
        await conversation.ask(messages=[{"role": "user", "content": f"question {n}"}])
    conversation.upstream.answers += [Late(first, [*said[:2], rest, *said[2:]]), Late(second, answer())]
    asking = asyncio.create_task(conversation.ask(stream=True))
    await _calls(conversation, ENOUGH + 1)
    conversation.clock.push(0.5)
    await _calls(conversation, ENOUGH + 2)
    follower = asyncio.create_task(conversation.ask(stream=True))
    first.set()
    await _calls(conversation, ENOUGH + 2)
    second.set()
    while conversation.ledger.closed[-1].attempt.model != "large":  # the loser's row is there first
        await asyncio.sleep(0)
    rest.set()
    assert b"two" in (await asking).body and b"two" in (await follower).body
    lost, *others = conversation.ledger.closed[ENOUGH:]
    assert (lost.attempt.model, lost.final) == ("large", False)
    won, kept = sorted(others, key=lambda entry: -entry.cost)
    assert kept.attempt.kept and kept.flagship_cost == won.flagship_cost > 0
    await conversation.ask(stream=True)
    assert len(conversation.upstream.calls) == ENOUGH + 2  # it was kept


async def test_a_slow_client_holds_nobody_up_until_it_is_too_far_behind(tmp_path):
    words = [str(n) * 60 for n in range(40)]
    conversation = talk(tmp_path, stream(*words), cache={"max_answer_bytes": 20_000})
    slow = asyncio.create_task(conversation.ask(behind := Slow(), stream=True))
    await _calls(conversation, 1)
    quick = await asyncio.wait_for(conversation.ask(Kept(), stream=True), 5)
    assert b"[DONE]" in quick.body and not behind.body
    behind.may.set()
    assert (await slow).body == quick.body
    assert len(conversation.upstream.calls) == 1


async def test_what_a_slow_client_has_not_taken_is_bounded_and_lost_to_nobody(tmp_path):
    words = ["x" * 100] * 200
    conversation = talk(tmp_path, stream(*words), cache={"max_answer_bytes": 2000})
    slow = asyncio.create_task(conversation.ask(behind := Slow(), stream=True))
    await _calls(conversation, 1)
    (_, flight, _), *_ = conversation.services.cache._open.values()
    assert sum(map(len, flight.pieces)) < 2500 and not behind.body  # the vendor waits
    behind.may.set()
    assert (await slow).body.count(b"x" * 100) == 200


# Money, limits, keys, the store


async def test_a_hit_needs_no_budget(tmp_path):
    poor = {"search": {"budgets": [{"limit": "0.01", "per": "day"}]}}
    conversation = talk(tmp_path, answer(10, 4900), teams=poor, routes={"auto": {"tiers": ["cheap"]}})
    await conversation.ask(max_tokens=4900)
    spent = await conversation.spent()
    assert spent == 9_810_000  # of 10,000,000: less than a call is held for
    assert (await conversation.ask(max_tokens=4900)).headers["x-farebox-cache"] == "hit"
    assert await conversation.spent() == spent and await conversation.held() == 0


async def test_a_hit_counts_as_a_request_for_the_rate_limit(tmp_path):
    limited = {"search": {"limits": {"requests_per_minute": 2}}}
    conversation = talk(tmp_path, answer(), teams=limited)
    await conversation.ask()
    await conversation.ask()
    with pytest.raises(RateLimited):
        await conversation.ask()


async def test_nothing_is_served_unrecorded_from_the_cache_either(tmp_path):
    conversation = talk(tmp_path, answer())
    await conversation.ask()
    conversation.ledger.down = True
    with pytest.raises(Overloaded):
        await conversation.ask()


@pytest.fixture
async def farebox(running, vendor, tmp_path):
    config = small_config(tmp_path, vendor.url)
    config["routes"]["auto"]["cache"] = {"ttl": "1h", "max_store_bytes": "1MiB"}
    vendor.answers(answer(31, 7))
    return await running(config)


async def say(farebox, **how):
    async with farebox.post(json={"model": "auto", "messages": [{"role": "user", "content": "hi"}]}, **how) as reply:
        return reply.status, dict(reply.headers), await reply.read()


async def test_hits_are_counted_by_team_and_route_and_are_no_calls(farebox, vendor):
    replies = await asyncio.gather(*[say(farebox) for _ in range(50)])
    assert {status for status, _, _ in replies} == {200} and len(vendor.calls) == 1
    await farebox.rows()
    async with farebox.http.get(f"{farebox.url}/metrics") as reply:
        text = await reply.text()
    assert 'farebox_cache_hits_total{route="auto",team="search"} 49.0' in text
    assert 'farebox_attempts_total{model="small",result="ok",vendor="check"} 1.0' in text
    assert re.search(r'farebox_requests_total\{model="small".*\} 50.0', text)


async def test_a_hit_needs_a_key_like_any_request(farebox):
    await say(farebox)
    status, _, body = await say(farebox, key="fb-nobodys-key")
    assert status == 401 and BadKey.code.encode() in body


async def test_answers_outlive_the_process_where_the_store_may_have_them(running, vendor, tmp_path):
    config = small_config(tmp_path, vendor.url)
    config["routes"]["auto"]["cache"] = {"ttl": "1h", "max_store_bytes": "1MiB"}
    vendor.answers(answer(31, 7))
    first = await running(config)
    _, _, paid = await say(first)
    await first.rows()
    await first.farebox.stop()
    second = await running(config)
    _, headers, body = await say(second)
    assert headers["x-farebox-cache"] == "hit" and body == without_cost(paid) and len(vendor.calls) == 1
    assert (tmp_path / "farebox.db.answers").stat().st_mode & 0o077 == 0
    assert [(row["attempt"], row["cost"]) for row in await second.rows()] == [(1, 45_000), (0, 0)]
