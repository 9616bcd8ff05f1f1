"""Rate limits of teams, keys, credentials and models: who waits, who goes first, who is told when to come back."""

import asyncio
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.api import show
from router.core import jsonio
from router.core.errors import Overloaded, RateLimited, RouterError
from router.core.failure import Failure, Fault
from tests.fakes import Conversation, Headed, KeptReply, Late, answer, snapshot_of, stream

OTHER = {"dialect": "openai", "base_url": "http://127.0.0.1:2/v1", "api_key": "sk-other"}
TOO_FAST = (429, jsonio.dumps({"error": {"message": "slow down", "code": "rate_limit_exceeded"}}))
DOWN = (503, b"{}")


def team(name, *keys, **told):
    """A team with a key of each name, or one."""
    found = [{"name": key, "value": f"fb-{name}-{key}"} for key in keys or ("app",)]
    return {"keys": found, "models": ["*"], "budgets": [], **told}


def caller(talk, name, key="app"):
    return next(found for found in talk.snapshot.callers.values() if (found.team, found.key) == (name, key))


def start(talk, count=1, **told):
    return [asyncio.ensure_future(talk.ask(**told)) for _ in range(count)]


async def spin():
    """Let everything go on that can without the clock."""
    for _ in range(80):
        await asyncio.sleep(0)


async def passing(talk, seconds, step=0.25):
    """Push the clock by so much, in steps, and let everything follow."""
    await spin()
    for _ in range(round(seconds / step)):
        talk.clock.push(step)
        await spin()


def outcomes(tasks):
    return [
        "waits" if not task.done() else type(task.exception()).__name__ if task.exception() else "ok" for task in tasks
    ]


def limited(tmp_path, count=60, wait_s=2.0, **limits):
    """A team that has sent its sixty requests of the minute."""
    snapshot = snapshot_of(tmp_path, teams={"search": {"limits": {"requests_per_minute": 60, **limits}}})
    return Conversation(snapshot, *[answer()] * (60 + count), wait_s=wait_s)


# Teams and keys


async def test_a_request_that_finds_no_room_waits_for_its_turn_and_is_served(tmp_path):
    talk = limited(tmp_path)
    for _ in range(60):
        await talk.ask()
    tasks = start(talk, 2)
    await spin()
    assert outcomes(tasks) == ["waits", "waits"] and talk.gate.lines.count() == 2
    await passing(talk, 1.25)
    assert outcomes(tasks) == ["ok", "waits"]
    await passing(talk, 1)
    assert (
        outcomes(tasks) == ["ok", "ok"] and not talk.gate.lines.count() and not any(a.call for a in talk.clock.alarms)
    )


async def test_who_cannot_have_a_turn_in_time_is_told_at_once_when_there_is_room_and_then_there_is(tmp_path):
    talk = limited(tmp_path)
    for _ in range(60):
        await talk.ask()
    tasks = start(talk, 3)
    await spin()
    assert outcomes(tasks) == ["waits", "waits", "RateLimited"]
    wait = tasks[2].exception().retry_after_s
    assert wait == pytest.approx(3)  # two are before it
    await passing(talk, wait, step=wait / 12)
    assert outcomes(tasks[:2]) == ["ok", "ok"]
    (again,) = start(talk)
    await spin()
    assert outcomes([again]) == ["ok"]


async def test_without_a_deadline_nobody_waits(tmp_path):
    talk = limited(tmp_path, wait_s=0)
    for _ in range(60):
        await talk.ask()
    with pytest.raises(RateLimited, match="team search has sent its 60 requests per minute") as refused:
        await talk.ask()
    assert refused.value.retry_after_s == pytest.approx(1)


async def test_a_wait_for_others_to_end_has_a_deadline_and_an_end_makes_room(tmp_path):
    gate = asyncio.Event()
    snapshot = snapshot_of(tmp_path, teams={"search": {"limits": {"concurrent": 1}}})
    talk = Conversation(snapshot, Late(gate, answer()), answer(), wait_s=2)
    first = start(talk)
    await spin()
    tooearly = start(talk)
    await passing(talk, 1)
    intime = start(talk)
    await passing(talk, 1)
    assert outcomes([*first, *tooearly, *intime]) == ["waits", "RateLimited", "waits"]
    assert "1 requests in flight" in tooearly[0].exception().message
    gate.set()
    await spin()
    assert outcomes([*first, *intime]) == ["ok", "ok"]


async def test_a_client_that_leaves_the_line_leaves_nothing_behind(tmp_path):
    gate = asyncio.Event()
    snapshot = snapshot_of(tmp_path, teams={"search": {"limits": {"concurrent": 1}}})
    talk = Conversation(snapshot, Late(gate, answer()), answer(), wait_s=2)
    first, leaving, last = start(talk, 3)
    await spin()
    leaving.cancel()
    await spin()
    assert talk.gate.lines.count() == 1
    gate.set()
    last_one = asyncio.gather(first, last)
    await spin()
    assert last_one.done() and len(talk.upstream.calls) == 2


async def test_a_client_that_leaves_in_the_moment_of_its_turn_gives_it_to_the_next(tmp_path):
    talk = limited(tmp_path)
    for _ in range(60):
        await talk.ask()
    leaving, next_one = start(talk, 2)
    await spin()
    talk.clock.push(1.01)  # its turn has come, and it has not been told yet
    leaving.cancel()
    await spin()
    assert leaving.cancelled() and outcomes([next_one]) == ["ok"]


async def test_a_key_has_limits_of_its_own_and_keeps_no_other_key_out(tmp_path):
    slow = {"name": "slow", "value": "fb-key-slow", "limits": {"requests_per_minute": 60}}
    fast = {"name": "fast", "value": "fb-key-fast"}
    snapshot = snapshot_of(tmp_path, teams={"search": team("search") | {"keys": [slow, fast]}})
    talk = Conversation(snapshot, *[answer()] * 90, wait_s=2)
    await asyncio.gather(*start(talk, 60, caller=caller(talk, "search", "slow")))
    waiting = start(talk, 3, caller=caller(talk, "search", "slow"))
    others = start(talk, 5, caller=caller(talk, "search", "fast"))
    await spin()
    assert outcomes(waiting) == ["waits", "waits", "RateLimited"] and outcomes(others) == ["ok"] * 5
    assert waiting[2].exception().message.startswith("key search/slow has sent its 60 requests per minute")
    waiting[0].cancel(), waiting[1].cancel()


async def test_keys_of_a_team_take_fair_turns_however_many_requests_one_of_them_sends(tmp_path):
    limits = {"limits": {"requests_per_minute": 60}}
    talk = Conversation(
        snapshot_of(tmp_path, teams={"search": team("search", "loud", "quiet", **limits)}), *[answer()] * 200, wait_s=10
    )
    loud, quiet = (caller(talk, "search", name) for name in ("loud", "quiet"))
    await asyncio.gather(*start(talk, 60, caller=loud))
    flood = start(talk, 100, caller=loud)
    await spin()
    few = start(talk, 3, caller=quiet)
    await passing(talk, 7.25)
    assert outcomes(few) == ["ok"] * 3
    assert outcomes(flood).count("ok") == 4 and outcomes(flood).count("RateLimited") == 90
    [task.cancel() for task in flood]


async def test_a_request_that_needs_little_does_not_overtake_one_that_waits_for_much(tmp_path):
    gate = asyncio.Event()
    snapshot = snapshot_of(tmp_path, teams={"search": {"limits": {"tokens_per_minute": 1000}}})
    talk = Conversation(snapshot, *[Late(gate, answer())] * 3, *[answer()] * 2, wait_s=60)
    start(talk, 3)
    await spin()
    (big,) = start(talk, 1, messages=[{"role": "user", "content": "word " * 400}])
    await spin()
    (little,) = start(talk, 1, max_tokens=1)
    await spin()
    assert outcomes([big, little]) == ["waits", "waits"] and len(talk.upstream.calls) == 3
    await passing(talk, 40)
    assert outcomes([big, little]) == ["ok", "ok"]
    gate.set()
    await spin()


async def test_tokens_are_taken_before_they_are_used_so_that_a_crowd_cannot_overrun_them(tmp_path):
    gate = asyncio.Event()
    snapshot = snapshot_of(tmp_path, teams={"search": {"limits": {"tokens_per_minute": 1000}}})
    talk = Conversation(snapshot, *[Late(gate, answer())] * 20)
    tasks = start(talk, 20)
    await spin()
    assert outcomes(tasks).count("waits") == 3  # 256 of output are expected of each
    gate.set()
    await spin()
    assert outcomes(tasks).count("ok") == 3
    await talk.ask()  # they needed only 15 each
    assert talk.gate._limiters["search"].tokens.level == pytest.approx(1000 - 4 * 15)


async def test_a_request_that_is_refused_elsewhere_gives_its_tokens_back(tmp_path):
    snapshot = snapshot_of(
        tmp_path,
        teams={"search": {"limits": {"tokens_per_minute": 1000}, "budgets": [{"limit": "0.000001", "per": "day"}]}},
    )
    talk = Conversation(snapshot)
    for _ in range(9):
        with pytest.raises(RouterError) as refused:
            await talk.ask()
        assert refused.value.status == 402
    assert talk.gate._limiters["search"].tokens.level == 1000 and not talk.gate._promised


# Vendors


def vendor_limited(tmp_path, *answers, wait_s=2.0, models=None, teams=None, **limits):
    """Two vendors, the cheap model's with limits."""
    snapshot = snapshot_of(
        tmp_path,
        vendors={"check": {"limits": limits}, "other": OTHER},
        models={"large": {"vendor": "other"}, **(models or {})},
        teams=teams or {},
    )
    return Conversation(snapshot, *answers, wait_s=wait_s)


async def test_a_model_whose_limit_is_used_up_is_passed_over_while_another_can_serve(tmp_path):
    talk = vendor_limited(tmp_path, *[answer()] * 4, requests_per_minute=2)
    for _ in range(4):
        reply = await talk.ask()
    assert [sent["model"] for sent in talk.sent] == ["small", "small", "large", "large"]
    assert reply.headers["x-farebox-reason"].endswith("passing over small, which is unwell")
    unwell = {verdict.model.name: str(verdict.unwell) for verdict in talk.decisions[-1][2].verdicts}
    assert unwell["small"] == "its requests per minute are used up for another 30.0 s"
    talk.clock.push(30)
    talk.upstream.answers.append(answer())
    await talk.ask()
    assert talk.sent[-1]["model"] == "small"


async def test_a_burst_never_passes_a_limit_on_requests_at_once(tmp_path):
    gate = asyncio.Event()
    talk = vendor_limited(tmp_path, *[Late(gate, answer())] * 40, concurrent=3)
    tasks = start(talk, 40)
    await spin()
    assert Counter(sent["model"] for sent in talk.sent) == {"small": 3, "large": 37}
    gate.set()
    await spin()
    assert outcomes(tasks) == ["ok"] * 40


async def test_when_nobody_else_can_serve_it_is_waited_for_within_the_deadline(tmp_path):
    talk = vendor_limited(
        tmp_path, *[answer()] * 9, requests_per_minute=60, models={"small": {"limits": {"requests_per_minute": 2}}}
    )
    await asyncio.gather(*start(talk, 2, model="small"))
    talk.clock.push(29)
    tasks = start(talk, 2, model="small")
    await spin()
    assert outcomes(tasks) == ["waits", "RateLimited"] and len(talk.upstream.calls) == 2
    assert tasks[1].exception().retry_after_s == pytest.approx(31)
    await passing(talk, 1.25)
    assert outcomes(tasks)[0] == "ok"
    with pytest.raises(RateLimited, match="its requests per minute are used up") as refused:
        await talk.ask(model="small")
    talk.clock.push(refused.value.retry_after_s)
    await talk.ask(model="small")
    assert len(talk.rows) == 4  # who was refused is no attempt


async def test_each_credential_has_its_own_limit_and_all_are_used(tmp_path):
    keys = {"api_key": None, "api_keys": ["sk-a", "sk-b"], "limits": {"requests_per_minute": 2}}
    talk = Conversation(snapshot_of(tmp_path, vendors={"check": keys}), *[answer()] * 4)
    for _ in range(4):
        await talk.ask(model="small")
    used = Counter(call.headers["Authorization"] for call in talk.upstream.calls)
    assert used == {"Bearer sk-a": 2, "Bearer sk-b": 2}
    with pytest.raises(RateLimited):
        await talk.ask(model="small")


async def shares(tmp_path, weights, asked, seconds):
    """What teams were served of a vendor's sixty requests per minute while all of them waited."""
    teams = {name: team(name, weight=weight) for name, weight in weights.items()}
    talk = vendor_limited(tmp_path, *[answer()] * 400, wait_s=600, teams=teams, requests_per_minute=60)
    await asyncio.gather(*start(talk, 60, model="small"))
    tasks = []
    for name, count in asked.items():
        tasks += start(talk, count, model="small", caller=caller(talk, name))
        await spin()
    await passing(talk, seconds, step=0.5)
    for task in tasks:
        task.cancel()
    await spin()
    assert talk.turns.lines.count() == 0
    return Counter(entry.attempt.team for entry in talk.ledger.closed[60:])


async def test_teams_that_wait_for_a_vendor_share_it_by_weight(tmp_path):
    got = await shares(tmp_path, {"a": 1, "b": 2, "c": 3}, {"a": 80, "b": 80, "c": 80}, 60.5)
    assert got == {"a": 10, "b": 20, "c": 30}


async def test_a_team_that_floods_a_vendor_does_not_starve_one_that_comes_later(tmp_path):
    got = await shares(tmp_path, {"loud": 1, "quiet": 1}, {"loud": 150, "quiet": 5}, 12.5)
    assert got["quiet"] == 5


async def test_a_newcomer_does_not_overtake_those_who_wait_for_the_same_limit(tmp_path):
    gate = asyncio.Event()
    talk = vendor_limited(tmp_path, *[Late(gate, answer())] * 3, *[answer()] * 2, wait_s=60, tokens_per_minute=1000)
    start(talk, 3, model="small")  # some 265 tokens are expected of each
    await spin()
    (big,) = start(talk, 1, model="small", messages=[{"role": "user", "content": "word " * 400}])
    await spin()
    (little,) = start(talk, 1, model="small", max_tokens=1)  # there would be room for it
    await spin()
    assert outcomes([big, little]) == ["waits", "waits"] and len(talk.upstream.calls) == 3
    await passing(talk, 40)
    assert outcomes([big, little]) == ["ok", "ok"]
    assert ["word" in sent["messages"][0]["content"] for sent in talk.sent] == [False] * 3 + [True, False]
    gate.set()
    await spin()


async def test_a_seat_at_a_vendor_is_taken_until_its_stream_was_read_to_the_end(tmp_path):
    gate = asyncio.Event()
    first, second, *rest = stream("a", "b")
    talk = vendor_limited(tmp_path, [first, second, gate, *rest], answer(), wait_s=2, concurrent=1)
    reply = KeptReply(patience=1)  # its client is gone after the first piece; the vendor goes on writing
    start(talk, 1, reply=reply, model="small", stream=True)
    await spin()
    (second,) = start(talk, 1, model="small")
    await spin()
    assert reply.writes and outcomes([second]) == ["waits"] and len(talk.upstream.calls) == 1
    gate.set()
    await spin()
    assert outcomes([second]) == ["ok"]


async def test_money_that_is_short_gives_the_seat_back(tmp_path):
    talk = vendor_limited(
        tmp_path, concurrent=1, teams={"search": {"budgets": [{"limit": "0.000001", "per": "day"}]}}, wait_s=0
    )
    for _ in range(3):
        with pytest.raises(RouterError) as refused:
            await talk.ask(model="small")
        assert refused.value.status == 402


async def test_a_probe_that_money_forbids_lets_the_next_request_try(tmp_path):
    talk = vendor_limited(tmp_path, TOO_FAST, answer(), wait_s=0)
    with pytest.raises(RateLimited):
        await talk.ask(model="small")
    poor = vendor_limited(tmp_path, teams={"search": {"budgets": [{"limit": "0.000001", "per": "day"}]}}, wait_s=0)
    poor.services.health = poor.turns.health = talk.turns.health
    for _ in range(2):
        with pytest.raises(RouterError) as refused:
            await poor.ask(model="small")
        assert refused.value.status == 402
    await talk.ask(model="small")
    assert talk.rows[-1][:2] == ("small", "ok")


@pytest.mark.parametrize(("wait", "told"), [(0.01, "1"), (1.0, "1"), (1.2, "2"), (30.0000001, "30"), (59.01, "60")])
def test_the_header_is_rounded_up_so_that_it_is_true(wait, told):
    assert show(RateLimited("no", retry_after_s=wait)).headers["Retry-After"] == told


# What vendors tell


def left(requests, limit=100, reset="60s"):
    names = {"remaining": requests, "limit": limit, "reset": reset}
    return {f"x-ratelimit-{name}-requests": str(value) for name, value in names.items()}


async def test_a_model_whose_vendor_says_that_nothing_is_left_is_passed_over_until_there_is(tmp_path):
    talk = vendor_limited(tmp_path, Headed(left(0), answer()), answer(), answer(), wait_s=0)
    await talk.ask()
    await talk.ask()
    assert [sent["model"] for sent in talk.sent] == ["small", "large"]
    talk.clock.push(0.6)  # a hundred in sixty seconds
    await talk.ask()
    assert talk.sent[-1]["model"] == "small"


async def test_a_burst_sends_a_vendor_no_more_than_it_said_is_left(tmp_path):
    gate = asyncio.Event()
    talk = vendor_limited(tmp_path, Headed(left(3), answer()), *[Late(gate, answer())] * 10, wait_s=0)
    await talk.ask()
    tasks = start(talk, 10)
    await spin()
    assert Counter(sent["model"] for sent in talk.sent[1:]) == {"small": 3, "large": 7}
    gate.set()
    await spin()
    assert outcomes(tasks) == ["ok"] * 10


async def test_what_a_vendor_said_is_waited_for_when_nobody_else_can_serve(tmp_path):
    talk = vendor_limited(tmp_path, Headed(left(0), answer()), answer())
    await talk.ask(model="small")
    (task,) = start(talk, 1, model="small")
    await spin()
    assert outcomes([task]) == ["waits"] and len(talk.upstream.calls) == 1
    await passing(talk, 0.75)
    assert outcomes([task]) == ["ok"]


async def test_a_vendor_whose_word_is_wrong_is_tried_all_the_same_one_request_at_a_time(tmp_path):
    gate = asyncio.Event()
    nothing = left(0, limit=1, reset="3600s")
    talk = vendor_limited(
        tmp_path, Headed(nothing, answer()), Late(gate, Headed(nothing, answer())), Headed(nothing, answer())
    )
    await talk.ask(model="small")
    tasks = start(talk, 2, model="small")
    await spin()
    assert outcomes(tasks) == ["waits", "RateLimited"] and len(talk.upstream.calls) == 2
    gate.set()
    await spin()
    await talk.ask(model="small")
    assert len(talk.upstream.calls) == 3


# Retries


async def retried(talk, seconds=5, **told):
    (task,) = start(talk, 1, **told)
    await passing(talk, seconds)
    assert task.done()
    return task


@pytest.mark.parametrize("fault", [DOWN, Failure(Fault.CONNECT, "refused"), TOO_FAST])
async def test_what_a_vendor_refused_before_it_worked_is_asked_again_where_nobody_else_can_be(tmp_path, fault):
    talk = Conversation(snapshot_of(tmp_path), fault, answer(), wait_s=2)
    task = await retried(talk, model="small")
    assert outcomes([task]) == ["ok"]
    assert [row[:2] for row in talk.rows] == [("small", "error"), ("small", "ok")]
    assert [entry.final for entry in talk.ledger.closed] == [False, True] and not talk.fallbacks
    assert [entry.attempt.number for entry in talk.ledger.closed] == [1, 2]


async def test_another_candidate_goes_before_a_retry(tmp_path):
    talk = Conversation(snapshot_of(tmp_path), DOWN, DOWN, answer(), wait_s=2)
    task = await retried(talk)
    assert outcomes([task]) == ["ok"]
    assert [row[0] for row in talk.rows] == ["small", "large", "large"]


async def test_retries_have_an_end_and_each_waits_longer(tmp_path):
    talk = Conversation(snapshot_of(tmp_path), DOWN, DOWN, DOWN, wait_s=2)
    (task,) = start(talk, 1, model="small")
    await passing(talk, 0.25)
    assert len(talk.upstream.calls) == 2
    await passing(talk, 0.25)
    assert len(talk.upstream.calls) == 2
    await passing(talk, 0.25)
    assert len(talk.upstream.calls) == 3 and isinstance(task.exception(), Overloaded)
    assert [entry.final for entry in talk.ledger.closed] == [False, False, True]
    assert len(task.exception().details["attempts"]) == 3


@pytest.mark.parametrize(
    "fault", [(500, b"{}"), Failure(Fault.TIMEOUT, "slow"), Failure(Fault.RESET, "gone"), (401, b"{}")]
)
async def test_what_may_have_been_billed_or_cannot_get_better_is_not_asked_again(tmp_path, fault):
    talk = Conversation(snapshot_of(tmp_path), fault, wait_s=2)
    task = await retried(talk, model="small")
    assert isinstance(task.exception(), RouterError) and len(talk.rows) == 1


async def test_a_vendors_retry_after_is_honoured_within_the_bound_and_told_beyond_it(tmp_path):
    talk = Conversation(
        snapshot_of(tmp_path), Headed({"retry-after": "1.5"}, TOO_FAST), answer(), Headed({"retry-after": "20"}, TOO_FAST),
        wait_s=2,
    )  # fmt: skip
    (task,) = start(talk, 1, model="small")
    await passing(talk, 1.25)
    assert len(talk.upstream.calls) == 1
    await passing(talk, 0.5)
    assert outcomes([task]) == ["ok"]
    with pytest.raises(RateLimited) as refused:
        await talk.ask(model="small")
    assert refused.value.retry_after_s == 20 and len(talk.upstream.calls) == 3


async def test_an_overload_of_a_known_length_is_not_waited_for_beyond_its_bound(tmp_path):
    talk = Conversation(snapshot_of(tmp_path), Headed({"retry-after": "30"}, DOWN), wait_s=2)
    with pytest.raises(Overloaded) as refused:
        await talk.ask(model="small")
    assert refused.value.retry_after_s == 30


async def test_a_stream_that_has_begun_is_not_tried_again(tmp_path):
    talk = Conversation(snapshot_of(tmp_path), [*stream("one", usage=None, done=False), Failure(Fault.OVERLOADED, "x")])
    reply = await talk.ask(stream=True, model="small")
    assert b"upstream_error" in reply.body and len(talk.rows) == 1


ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'


@pytest.mark.parametrize(
    "end", [b'data: {"error":{"message":"no","type":"overloaded_error"}}\n\n', Failure(Fault.RESET, "gone")]
)
async def test_a_stream_that_broke_before_it_said_anything_is_followed_by_the_next_candidate(tmp_path, end):
    whole = [ROLE, *stream("wör", "d")]
    talk = Conversation(snapshot_of(tmp_path), [ROLE, b": ping\n\n", end], whole)
    reply = await talk.ask(stream=True)
    assert reply.body == b"".join(whole[:3] + whole[4:]) and reply.headers["x-farebox-model"] == "large"
    broken, served = sorted(talk.ledger.closed, key=lambda entry: entry.attempt.number)
    assert (broken.attempt.model, broken.outcome, served.attempt.model, served.outcome) == (
        "small",
        "error",
        "large",
        "ok",
    )
    assert broken.usage.output_total == 0


async def test_a_vendor_that_says_nothing_for_long_is_passed_on_as_it_is(tmp_path):
    first, second = asyncio.Event(), asyncio.Event()
    talk = Conversation(snapshot_of(tmp_path), [ROLE, first, b": ping\n\n", second, *stream("a")])
    reply = KeptReply()
    (task,) = start(talk, 1, reply=reply, stream=True)
    await spin()
    assert reply.status is None
    talk.clock.push(16)
    first.set()
    await spin()
    assert reply.body == ROLE + b": ping\n\n"
    second.set()
    await task


async def test_a_stream_without_a_word_is_an_answer_too(tmp_path):
    whole = [ROLE, *stream()]
    talk = Conversation(snapshot_of(tmp_path), whole)
    reply = await talk.ask(stream=True)
    assert reply.body == whole[0] + whole[2] and talk.rows[0][:2] == ("small", "ok")


async def test_a_client_that_leaves_while_a_retry_waits_ends_it(tmp_path):
    talk = Conversation(snapshot_of(tmp_path), DOWN, wait_s=2)
    (task,) = start(talk, 1, model="small")
    await spin()
    task.cancel()
    await passing(talk, 3)
    assert task.cancelled() and len(talk.rows) == len(talk.upstream.calls) == 1
    assert not any(alarm.call for alarm in talk.clock.alarms)


# Whatever comes


ANSWERS = st.sampled_from(["ok", "429", "503", "500", "late", "connect"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["ask", "push", "cancel", "open"]), ANSWERS), min_size=5, max_size=60))
def test_whatever_happens_every_seat_is_given_back_and_no_limit_is_passed(tmp_path, steps):
    asyncio.run(schedule(tmp_path, steps))


async def schedule(tmp_path, steps):
    teams = {name: team(name, limits={"concurrent": 4, "tokens_per_minute": 5000}) for name in ("a", "b")}
    talk = vendor_limited(
        tmp_path, teams=teams, concurrent=2, requests_per_minute=30, models={"small": {"limits": {"concurrent": 1}}}
    )
    gate, tasks = asyncio.Event(), []
    made = {"ok": answer(), "429": TOO_FAST, "503": DOWN, "500": (500, b"{}"), "connect": Failure(Fault.CONNECT, "no")}
    for i, (step, kind) in enumerate(steps):
        if step == "ask":
            talk.upstream.answers += [Late(gate, answer()) if kind == "late" else made[kind]]
            model = "small" if i % 3 else "auto"
            tasks += start(talk, 1, model=model, caller=caller(talk, "ab"[i % 2]))
        elif step == "push":
            talk.clock.push(0.5)
        elif step == "cancel" and tasks:
            tasks[i % len(tasks)].cancel()
        else:
            gate.set()
        talk.upstream.answers += [answer()] * 5
        await spin()
        seats = talk.services.health.seats._limiters
        assert all(limiter.inside <= limiter.limits.concurrent for limiter in seats.values())
        assert all(0 <= limiter.inside <= 4 for limiter in talk.gate._limiters.values())
    gate.set()
    await passing(talk, 8)
    assert all(task.done() for task in tasks)
    await talk.settlement.drain(10)
    assert not talk.gate.lines.count() and not talk.turns.lines.count()
    limiters = [*talk.services.health.seats._limiters.values(), *talk.gate._limiters.values()]
    assert all(limiter.inside == 0 for limiter in limiters)
    assert not talk.gate._promised and len(talk.rows) == len(talk.upstream.calls)
    assert all(
        task.cancelled() or task.exception() is None or isinstance(task.exception(), RouterError) for task in tasks
    )
