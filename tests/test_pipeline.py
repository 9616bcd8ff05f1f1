"""Conversations: a request in, calls out, bytes out, rows written."""

import asyncio

import pytest
from fakes import Conversation, KeptLedger, KeptReply, Late, answer, event, snapshot_of, stream

from router.auth import identify
from router.core import jsonio
from router.core.errors import (
    BadKey,
    ContextTooLong,
    InvalidRequest,
    NoSuchModel,
    NotAllowed,
    OverBudget,
    Overloaded,
    RateLimited,
    UpstreamFailed,
    UpstreamTimeout,
)
from router.core.failure import Failure, Fault

TIGHT = {"search": {"budgets": [{"limit": "0.0003", "per": "day"}]}}


@pytest.fixture
def plain(tmp_path):
    return snapshot_of(tmp_path)


def error(status, code=None, kind="server_error", message="as asked"):
    return status, jsonio.dumps({"error": {"message": message, "type": kind, "code": code}})


# The main road


async def test_the_cheapest_model_that_meets_the_need_is_asked_and_its_answer_gains_its_cost(plain):
    talk = Conversation(plain, answer(31, 7))
    reply = await talk.ask(temperature=0.5, made_up={"a": 1})
    assert talk.sent == [
        {"model": "small", "messages": [{"role": "user", "content": "hello"}], "temperature": 0.5, "made_up": {"a": 1}}
    ]
    told = jsonio.loads(reply.body)
    assert (told["usage"]["cost"], told["usage"]["cost_currency"], told["usage"]["flagship_cost"]) == (
        45e-6,
        "USD",
        590e-6,
    )
    assert reply.headers["x-farebox-cost"] == "0.000045"
    assert reply.headers["x-farebox-model"] == "small" and reply.headers["x-farebox-tier"] == "cheap"
    assert talk.rows == [("small", "ok", "reported", 45_000)]


async def test_a_row_tells_what_its_prompt_was_estimated_at_and_held_for(plain):
    talk = Conversation(plain, answer(31, 7))
    await talk.ask()
    attempt, plan = talk.ledger.closed[0].attempt, talk.decisions[0][2].plans[0]
    assert (attempt.prompt_estimate, attempt.prompt_high) == (plan.tokens.tokens, plan.tokens.high)
    assert 0 < attempt.prompt_estimate < attempt.prompt_high == attempt.bound.input_fresh


async def test_a_higher_need_takes_the_flagship_wherever_it_is_said(plain):
    for told in ({"model": "best"}, {"farebox": {"quality": 0.99}}, {"headers": {"x-farebox-quality": "0.99"}}):
        talk = Conversation(plain, answer())
        await talk.ask(**told)
        assert talk.sent[0]["model"] == "large" and "farebox" not in talk.sent[0]


async def test_the_team_beats_the_route_and_the_request_beats_both(tmp_path):
    talk = Conversation(snapshot_of(tmp_path, teams={"search": {"quality": 0.99}}), answer(), answer())
    await talk.ask()
    await talk.ask(farebox={"quality": 0.5})
    assert [sent["model"] for sent in talk.sent] == ["large", "small"]


async def test_no_header_of_the_client_reaches_the_vendor(plain):
    talk = Conversation(plain, answer())
    await talk.ask(headers={"Cookie": "a=b", "Authorization": "Bearer fb-search-key", "X-Forwarded-For": "10.0.0.1"})
    assert dict(talk.upstream.calls[0].headers) == {
        "Content-Type": "application/json",
        "Authorization": "Bearer sk-vendor",
    }


async def test_a_dry_run_tells_everything_and_calls_nobody(plain):
    talk = Conversation(plain)
    reply = await talk.ask(farebox={"dry_run": True})
    told = jsonio.loads(reply.body)
    assert told["chosen"] == "small" and [c["model"] for c in told["candidates"]] == ["small", "large"]
    assert not talk.upstream.calls and not talk.ledger.opened


async def test_a_model_or_vendor_and_model_can_be_named_directly(plain):
    talk = Conversation(plain, answer(), answer())
    await talk.ask(model="large")
    await talk.ask(model="check/large")
    assert [sent["model"] for sent in talk.sent] == ["large", "large"]
    assert talk.decisions[0][2].reason == "named"


# Streams


async def test_a_stream_is_relayed_byte_for_byte_without_the_usage_event_that_was_not_asked_for(plain):
    chunks = stream("wör", "d")
    talk = Conversation(plain, chunks)
    reply = await talk.ask(stream=True)
    assert reply.body == b"".join(chunks[:2] + chunks[3:])
    assert talk.sent[0]["stream_options"] == {"include_usage": True}
    assert talk.rows == [("small", "ok", "reported", 20_000)]


async def test_the_usage_event_carries_the_cost_when_it_was_asked_for(plain):
    talk = Conversation(plain, stream("a"))
    reply = await talk.ask(stream=True, stream_options={"include_usage": True})
    assert b'"total_tokens":15,"cost":0.00002,"cost_currency":"USD","flagship_cost":0.0003}' in reply.body


async def test_a_client_that_leaves_does_not_stop_the_count(plain):
    talk = Conversation(plain, stream("a", "b", "c", usage=(10, 3)))
    await talk.ask(KeptReply(patience=1), stream=True)
    assert talk.rows == [("small", "left", "reported", 16_000)]


async def test_a_client_that_leaves_before_a_plain_answer_pays_for_it(plain):
    talk = Conversation(plain, answer(10, 3))
    await talk.ask(KeptReply(patience=0))
    assert talk.rows == [("small", "left", "reported", 16_000)]


async def test_a_handler_that_is_cancelled_pays_for_what_the_vendor_goes_on_to_serve(plain):
    gate = asyncio.Event()
    first, *rest = stream("a", "b", usage=(10, 2))
    talk = Conversation(plain, [first, gate, *rest])
    reply = KeptReply()
    asking = asyncio.create_task(talk.ask(reply, stream=True))
    while not reply.writes:
        await asyncio.sleep(0)
    asking.cancel()
    await asyncio.sleep(0)
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await talk.settlement.drain(10)
    assert talk.rows == [("small", "left", "reported", 14_000)]


async def cancelled(talk, gate, **body):
    """A handler that is cancelled while it waits for the vendor's first byte; the vendor answers all the same."""
    asking = asyncio.create_task(talk.ask(**body))
    while not talk.upstream.calls:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.sleep(0)
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await talk.settlement.drain(10)


async def test_a_handler_that_is_cancelled_before_the_answer_pays_what_the_vendor_reports(plain):
    gate = asyncio.Event()
    talk = Conversation(plain, Late(gate, stream("a", usage=(10, 3))))
    await cancelled(talk, gate, stream=True)
    assert talk.rows == [("small", "left", "reported", 16_000)]


async def test_a_handler_that_is_cancelled_before_an_error_pays_nothing(plain):
    gate = asyncio.Event()
    talk = Conversation(plain, Late(gate, error(500)))
    await cancelled(talk, gate)
    assert talk.rows == [("small", "left", "reported", 0)]


async def test_a_stream_without_usage_is_charged_as_counted_and_marked(plain):
    talk = Conversation(plain, stream("one", " two", " three", usage=None))
    await talk.ask(stream=True)
    ((_, outcome, basis, cost),) = talk.rows
    assert (outcome, basis) == ("ok", "estimated")
    tokens = talk.ledger.closed[0].usage
    assert tokens.output_text == 3 and cost == (tokens.input_fresh + 2 * 3) * 1000


async def test_a_stream_that_breaks_off_is_told_inside_it_and_charged_as_counted(plain):
    talk = Conversation(plain, [*stream("one", usage=None, done=False), Failure(Fault.RESET, "gone")])
    reply = await talk.ask(stream=True)
    assert b'"code":"upstream_error"' in reply.body and b"[DONE]" not in reply.body
    assert talk.rows[0][1:3] == ("cut", "estimated") and talk.ledger.closed[0].usage.output_text == 1


async def test_a_stream_past_its_cap_is_ended_with_length_when_money_depends_on_it(tmp_path):
    snapshot = snapshot_of(tmp_path, teams={"search": {"budgets": [{"limit": 1, "per": "day"}]}})
    talk = Conversation(snapshot, stream(*["word "] * 100, usage=None))
    reply = await talk.ask(stream=True, max_tokens=10)
    assert reply.body.count(b"word ") < 40
    assert b'"finish_reason":"length"' in reply.body and reply.body.endswith(b"data: [DONE]\n\n")
    assert talk.rows[0][1] == "cut"


# Attempts


async def test_a_vendor_that_fails_is_followed_by_the_next_candidate_and_both_are_rows(plain):
    talk = Conversation(plain, error(500), answer(10, 5))
    reply = await talk.ask()
    assert reply.headers["x-farebox-model"] == "large"
    assert talk.rows == [("small", "error", "reported", 0), ("large", "ok", "reported", 300_000)]
    assert [e.final for e in talk.ledger.closed] == [False, True]
    assert talk.fallbacks == [("auto", "small", "large")]


async def test_who_is_asked_after_a_failure_says_why(plain):
    talk = Conversation(plain, error(500), answer(10, 5))
    reply = await talk.ask()
    first, second = [e.attempt.reason for e in talk.ledger.closed]
    assert "failed" not in first
    assert second == reply.headers["x-farebox-reason"] == f"{first}; small failed: server"


async def test_an_error_inside_a_200_is_a_failure_too(plain):
    broken = jsonio.dumps({"error": {"message": "oops", "type": "server_error"}})
    talk = Conversation(plain, broken, [event({"error": {"message": "oops"}})])
    with pytest.raises(UpstreamFailed):
        await talk.ask(stream=True)
    assert [row[:2] for row in talk.rows] == [("small", "error"), ("large", "error")]


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (error(500), error(500), UpstreamFailed),
        (error(429), error(429), RateLimited),
        (error(503), error(429), Overloaded),
        (error(401), error(500), UpstreamFailed),  # our key at the vendor, not the caller's
        (Failure(Fault.TIMEOUT, "slow"), Failure(Fault.TIMEOUT, "slow"), UpstreamTimeout),
        (Failure(Fault.CONNECT, "refused"), b"<html>", UpstreamFailed),
    ],
)
async def test_when_every_attempt_failed_the_error_names_each(plain, first, second, kind):
    talk = Conversation(plain, first, second)
    with pytest.raises(kind) as caught:
        await talk.ask()
    assert "small (check)" in caught.value.message and "large (check)" in caught.value.message
    assert len(caught.value.details["attempts"]) == len(talk.rows) == 2


@pytest.mark.parametrize(
    ("status", "code", "shown"),
    [(400, "whatever", "invalid_request"), (400, "context_length_exceeded", "context_length_exceeded"),
     (400, "content_filter", "content_filter"), (422, None, "invalid_request")],
)  # fmt: skip
async def test_the_callers_own_fault_is_told_at_once_with_the_vendors_words(tmp_path, status, code, shown):
    windows = {"small": {"context_window": 8000}, "large": {"context_window": 8000}}
    talk = Conversation(snapshot_of(tmp_path, models=windows), error(status, code, message="field x is wrong"))
    with pytest.raises(InvalidRequest) as caught:
        await talk.ask()
    assert (caught.value.code, caught.value.message) == (shown, "field x is wrong")
    assert talk.rows == [("small", "error", "reported", 0)]


async def test_an_answer_that_never_came_is_charged_at_its_bound(tmp_path):
    snapshot = snapshot_of(tmp_path, teams={"search": {"budgets": [{"limit": 1, "per": "day"}]}})
    talk = Conversation(snapshot, Failure(Fault.TIMEOUT, "slow"))
    with pytest.raises(UpstreamTimeout):
        await talk.ask(model="small", max_tokens=100)
    assert talk.rows[0][1:3] == ("error", "estimated")
    assert talk.ledger.closed[0].usage.output_text == 100


# Money


async def test_the_cap_is_lowered_to_what_is_left_and_the_vendor_is_told(tmp_path):
    talk = Conversation(snapshot_of(tmp_path, teams=TIGHT), answer(10, 5))
    await talk.ask(max_tokens=1000)
    bound = talk.ledger.opened[0]
    assert talk.sent[0]["max_tokens"] < 1000
    assert bound.held <= 300_000 < bound.held + 2_000
    assert await talk.held() == 0 and await talk.spent() == 20_000


async def test_what_does_not_even_pay_for_the_prompt_is_refused_and_told(tmp_path):
    talk = Conversation(snapshot_of(tmp_path, teams={"search": {"budgets": [{"limit": "0.00001", "per": "day"}]}}))
    with pytest.raises(OverBudget) as caught:
        await talk.ask()
    assert "daily budget of team search has 0.00001 USD left of 0.00001" in caught.value.message
    assert caught.value.details["budget"]["resets_at"] == "2026-11-19T00:00:00Z"
    assert not talk.ledger.opened and await talk.held() == 0


async def test_past_a_soft_limit_only_the_cheap_tier_is_left(tmp_path):
    soft = {"search": {"budgets": [{"limit": 1, "per": "day", "soft": 0.5}]}}
    talk = Conversation(snapshot_of(tmp_path, teams=soft), answer(0, 20_000), answer())
    await talk.ask(model="large", max_tokens=20_000)
    await talk.ask(model="auto", max_tokens=10)
    assert [sent["model"] for sent in talk.sent] == ["large", "small"]
    with pytest.raises(OverBudget, match="soft limit"):
        await talk.ask(model="best", farebox={"tier": "flagship"})


async def test_max_cost_lowers_a_cap_that_nobody_set_and_refuses_one_that_was_set(plain):
    talk = Conversation(plain, answer())
    await talk.ask(farebox={"max_cost": "0.0003"})
    assert 0 < talk.sent[0]["max_tokens"] < 200
    assert talk.ledger.opened[0].held <= 300_000
    with pytest.raises(OverBudget, match="above max_cost"):
        await talk.ask(farebox={"max_cost": "0.0003"}, max_tokens=4000)


async def test_nothing_is_served_that_cannot_be_written_down(tmp_path):
    talk = Conversation(snapshot_of(tmp_path, teams=TIGHT))
    talk.ledger.down = True
    with pytest.raises(Overloaded):
        await talk.ask()
    assert not talk.upstream.calls and await talk.held() == 0


async def test_a_price_cut_changes_the_choice_at_its_instant_without_a_reload(tmp_path):
    cut = [
        {"currency": "USD", "input": 10, "output": 20, "to": "2026-11-19"},
        {"from": "2026-11-19", "currency": "USD", "input": "0.1", "output": "0.2"},
    ]
    other = {"vendor": "check", "tier": "cheap", "quality": 0.8, "price": cut}
    talk = Conversation(snapshot_of(tmp_path, models={"other": other}), answer(), answer())
    await talk.ask()
    talk.clock.push(86_400)
    await talk.ask()
    assert [sent["model"] for sent in talk.sent] == ["small", "other"]


async def test_usage_in_yuan_is_kept_in_yuan_and_reported_in_dollars_rounded_once(tmp_path):
    talk = Conversation(
        snapshot_of(
            tmp_path,
            currency="USD",
            exchange_rates={"CNY": [{"from": "2024-01-01", "rate": "0.142857"}]},
            models={"small": {"price": {"currency": "CNY", "input": "0.8", "output": 2}}},
            teams={"search": {"budgets": [{"limit": 1, "per": "day", "currency": "CNY"}, {"limit": 1, "per": "day"}]}},
        ),
        answer(1, 1),
    )
    await talk.ask()
    entry = talk.ledger.closed[0]
    assert (entry.vendor_cost, entry.cost) == (2800, 400)  # 2.8 µCNY; 0.3999996 µUSD, up
    assert [nano for _, _, nano in entry.charges] == [2800, 400]


# Refusals before any attempt


@pytest.mark.parametrize(
    ("told", "kind", "words"),
    [
        ({"model": "no-such"}, NoSuchModel, "auto, best, small, large"),
        ({"model": ""}, InvalidRequest, "model"),
        ({"messages": []}, InvalidRequest, "messages"),
        ({"farebox": {"vendors": ["nobody"]}}, InvalidRequest, "unknown vendor nobody"),
        ({"farebox": {"tier": "free"}}, InvalidRequest, "tier"),
        ({"farebox": {"wish": 1}}, InvalidRequest, "unknown wish"),
    ],
)
async def test_what_cannot_be_served_is_refused_and_holds_nothing(plain, told, kind, words):
    talk = Conversation(plain)
    with pytest.raises(kind, match=words):
        await talk.ask(**told)
    assert not talk.ledger.opened


async def test_a_prompt_that_fits_no_window_is_told_so(tmp_path):
    windows = {name: {"context_window": 100} for name in ("small", "large")}
    talk = Conversation(snapshot_of(tmp_path, models=windows))
    with pytest.raises(ContextTooLong, match="does not fit its window of 100"):
        await talk.ask(messages=[{"role": "user", "content": "word " * 500}])


async def test_a_route_that_is_not_the_teams_is_not_allowed(tmp_path):
    talk = Conversation(snapshot_of(tmp_path, teams={"search": {"routes": ["auto"], "models": []}}))
    with pytest.raises(NotAllowed):
        await talk.ask(model="best")
    with pytest.raises(NotAllowed):
        await talk.ask(model="large")


async def test_a_route_may_refuse_instead_of_taking_the_flagship(tmp_path):
    routes = {
        "strict": {"models": ["small"], "quality": 0.9, "on_unmet": "refuse"},
        "kind": {"models": ["small"], "quality": 0.9},
    }
    talk = Conversation(snapshot_of(tmp_path, routes=routes), answer())
    with pytest.raises(InvalidRequest, match=r"known to meet quality 0\.9"):
        await talk.ask(model="strict")
    await talk.ask(model="kind")
    assert "best there is" in talk.decisions[-1][2].reason


async def test_needs_that_a_model_lacks_rule_it_out(tmp_path):
    talk = Conversation(snapshot_of(tmp_path, models={"small": {"lacks": ["tools", "images"]}}), answer(), answer())
    await talk.ask(tools=[{"type": "function", "function": {"name": "f"}}])
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    await talk.ask(messages=[{"role": "user", "content": [image]}])
    assert [sent["model"] for sent in talk.sent] == ["large", "large"]


def test_a_key_is_found_by_its_hash_until_it_expires(tmp_path):
    expiring = {"search": {"keys": [{"name": "app", "value": "fb-search-key", "expires": "2026-11-18"}]}}
    callers = snapshot_of(tmp_path, teams=expiring).callers
    midnight = 1_794_960_000_000_000
    for headers in ({"Authorization": "Bearer fb-search-key"}, {"x-api-key": "fb-search-key"}):
        assert identify(headers, callers, midnight - 1).team == "search"
        with pytest.raises(BadKey, match="expired"):
            identify(headers, callers, midnight)
    for headers in ({}, {"Authorization": "Basic x"}, {"Authorization": "Bearer nope"}):
        with pytest.raises(BadKey):
            identify(headers, callers, 0)


# Rate limits


async def test_requests_past_the_minutes_worth_are_told_when_to_come_back(tmp_path):
    talk = Conversation(
        snapshot_of(tmp_path, teams={"search": {"limits": {"requests_per_minute": 2}}}), *[answer()] * 3
    )
    await talk.ask()
    await talk.ask()
    with pytest.raises(RateLimited) as caught:
        await talk.ask()
    assert caught.value.retry_after_s == pytest.approx(30)
    talk.clock.push(30)
    await talk.ask()


async def test_tokens_past_the_minutes_worth_are_paid_off_before_the_next_request(tmp_path):
    talk = Conversation(
        snapshot_of(tmp_path, teams={"search": {"limits": {"tokens_per_minute": 600}}}), answer(1000, 199), answer()
    )
    await talk.ask()
    with pytest.raises(RateLimited) as caught:
        await talk.ask()
    assert caught.value.retry_after_s > 60  # a debt of 599, and what the next is expected to take
    talk.clock.push(caught.value.retry_after_s - 0.1)
    with pytest.raises(RateLimited):
        await talk.ask()
    talk.clock.push(0.1)
    await talk.ask()


async def test_no_more_requests_at_once_than_allowed_and_a_finished_one_makes_room(tmp_path):
    gate = asyncio.Event()
    first, *rest = stream("a")
    talk = Conversation(
        snapshot_of(tmp_path, teams={"search": {"limits": {"concurrent": 1}}}), [first, gate, *rest], answer()
    )
    reply = KeptReply()
    asking = asyncio.create_task(talk.ask(reply, stream=True))
    while not reply.writes:
        await asyncio.sleep(0)
    with pytest.raises(RateLimited, match="1 requests in flight"):
        await talk.ask()
    gate.set()
    await asking
    await talk.ask()


# A configuration that changes while requests are in flight


async def test_a_budget_that_comes_while_a_request_is_in_flight_is_charged_for_it(tmp_path):
    gate = asyncio.Event()
    first, *rest = stream("a", usage=(10, 5))
    talk = Conversation(snapshot_of(tmp_path), [first, gate, *rest])
    reply = KeptReply()
    asking = asyncio.create_task(talk.ask(reply, stream=True))
    while not reply.writes:
        await asyncio.sleep(0)
    later = snapshot_of(tmp_path, teams={"search": {"budgets": [{"limit": 1, "per": "day"}]}})
    async with talk.settlement.still():
        talk.settlement.budgets = later.budgets_by_owner()
        for each in later.budgets:
            talk.accounts.load(each, each.window(talk.clock.now())[0], 7)
    gate.set()
    await asking
    (state,) = await talk.accounts.states(later.budgets, talk.clock.now())
    assert (state.settled, state.held) == (20_007, 0)


async def test_nothing_is_charged_while_the_budgets_change(tmp_path):
    talk = Conversation(snapshot_of(tmp_path, teams=TIGHT), answer())
    async with talk.settlement.still():
        asking = asyncio.create_task(talk.ask())
        for _ in range(50):
            await asyncio.sleep(0)
        assert talk.ledger.opened and not talk.ledger.closed
    await asking
    assert talk.ledger.closed


async def test_a_budget_that_comes_when_an_entry_is_about_to_be_written_is_charged_for_it(tmp_path):
    talk = Conversation(snapshot_of(tmp_path), answer())
    later = snapshot_of(tmp_path, teams={"search": {"budgets": [{"limit": 1, "per": "day"}]}})
    async with talk.settlement.still():
        asking = asyncio.create_task(talk.ask())
        for _ in range(50):
            await asyncio.sleep(0)
        assert talk.ledger.opened and not talk.ledger.closed
        talk.settlement.budgets = later.budgets_by_owner()
        (day,) = later.budgets
        talk.accounts.load(day, day.window(talk.clock.now())[0], 7)
    await asking
    (state,) = await talk.accounts.states([day], talk.clock.now())
    assert (state.settled, state.held) == (20_007, 0)


# What must not be silent


async def test_an_observer_that_fails_is_told_in_the_log_and_leaves_nothing_held(tmp_path, caplog):
    talk = Conversation(snapshot_of(tmp_path, teams=TIGHT), answer())
    talk.settlement.observers.append(lambda entry: 1 / 0)
    await talk.ask()
    assert "could not be closed" in caplog.text
    assert await talk.held() == 0 and await talk.spent() == 20_000


class SlowLedger(KeptLedger):
    """Writes an attempt down only once its gate is open."""

    gate = None

    async def open(self, attempt):
        await self.gate.wait()
        await super().open(attempt)


async def test_a_request_that_is_cancelled_while_it_is_written_down_calls_nobody_and_holds_nothing(tmp_path):
    talk = Conversation(snapshot_of(tmp_path, teams=TIGHT))
    talk.settlement.ledger = talk.ledger = SlowLedger()
    talk.ledger.gate = asyncio.Event()
    asking = asyncio.create_task(talk.ask())
    while not await talk.held():
        await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await talk.settlement.drain(10)
    assert not talk.upstream.calls and talk.rows == [("small", "error", "reported", 0)]
    assert await talk.held() == 0 and await talk.spent() == 0


async def test_a_prompt_that_a_vendor_finds_too_long_goes_to_a_larger_window_and_only_there(tmp_path):
    too_long = (400, jsonio.dumps({"error": {"message": "too long", "code": "context_length_exceeded"}}))
    windows = {"small": {"context_window": 8000}, "large": {"context_window": 200_000}}
    talk = Conversation(snapshot_of(tmp_path, models=windows), too_long, answer())
    reply = await talk.ask(max_tokens=9)
    assert [row[:2] for row in talk.rows] == [("small", "error"), ("large", "ok")]
    assert reply.headers["x-farebox-model"] == "large"
    windows["large"]["context_window"] = 8000
    talk = Conversation(snapshot_of(tmp_path, models=windows), too_long)
    with pytest.raises(ContextTooLong):
        await talk.ask()


async def test_an_estimate_is_never_dearer_than_the_cap_that_the_vendor_kept(tmp_path):
    talk = Conversation(
        snapshot_of(tmp_path), answer(text="many more words than five tokens could be " * 9, usage=None)
    )
    await talk.ask(max_tokens=5)
    (entry,) = talk.ledger.closed
    assert (entry.outcome, entry.basis, entry.usage.output_text) == ("ok", "estimated", 5)
    assert entry.cost <= entry.attempt.held


async def test_savings_are_measured_against_the_flagship_and_against_the_best_fixed_model(tmp_path):
    talk = Conversation(snapshot_of(tmp_path), answer(prompt=1000, completion=100), answer(prompt=1000, completion=100))
    await talk.ask()  # small will do for everything that needs 0.7
    await talk.ask(model="best")  # and nothing but the flagship for what needs 0.95
    costs = [(e.attempt.model, e.cost, e.fixed_cost, e.flagship_cost) for e in talk.ledger.closed]
    assert costs == [
        ("small", 1_200_000, 1_200_000, 14_000_000),
        ("large", 14_000_000, 14_000_000, 14_000_000),
    ]


async def test_a_request_that_only_a_fallback_can_serve_goes_there_where_no_quality_is_needed(tmp_path):
    changes = {
        "models": {"small": {"lacks": ["tools"]}},
        "routes": {"auto": {"tiers": ["cheap"], "fallback": ["large"], "quality": None}},
    }
    talk = Conversation(snapshot_of(tmp_path, **changes), answer())
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
    reply = await talk.ask(tools=tools)
    assert reply.headers["x-farebox-model"] == "large"
    assert reply.headers["x-farebox-reason"] == "fallback: none of the route's own models can serve it"


async def test_a_plain_answer_where_a_stream_was_asked_for_is_played_as_one(plain):
    talk = Conversation(plain, answer(31, 7))
    reply = await talk.ask(stream=True, stream_options={"include_usage": True})
    assert reply.headers["content-type"] == "text/event-stream"
    *events, last = [line.removeprefix("data: ") for line in reply.body.decode().split("\n\n") if line]
    told = [jsonio.loads(event.encode()) for event in events]
    assert last == "[DONE]" and {chunk["object"] for chunk in told} == {"chat.completion.chunk"}
    choices = [choice for chunk in told for choice in chunk["choices"]]
    whole = jsonio.loads(answer(31, 7))["choices"][0]
    assert "".join(choice["delta"].get("content") or "" for choice in choices) == whole["message"]["content"]
    assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == [whole["finish_reason"]]
    assert (told[-1]["usage"]["prompt_tokens"], told[-1]["usage"]["completion_tokens"]) == (31, 7)
    assert talk.rows == [("small", "ok", "reported", 45_000)]


NOTHING = [b"data: [DONE]\n\n"], [b": a ping\n\n", b": another\n\ndata: [DONE]\n\n"], [b"data:[DONE]\r\n\r\n"]


@pytest.mark.parametrize("nothing", NOTHING)
@pytest.mark.parametrize("endpoint", ["chat/completions", "messages", "responses"])
async def test_a_stream_of_nothing_but_its_end_is_no_answer_and_another_is_asked(plain, nothing, endpoint):
    talk = Conversation(plain, list(nothing), stream("hi"))
    more = {"max_tokens": 9} if endpoint == "messages" else {}
    reply = await talk.ask(endpoint=endpoint, stream=True, **more)
    assert b"hi" in reply.body and reply.headers["x-farebox-model"] == "large"
    assert sorted(row[:2] for row in talk.rows) == [("large", "ok"), ("small", "error")]
    talk = Conversation(plain, list(nothing), list(nothing))
    with pytest.raises(UpstreamFailed, match="the stream ended before it began"):
        await talk.ask(endpoint=endpoint, stream=True, **more)


@pytest.mark.parametrize("opening", [b"event: chunk\n", b": ping\n\n", b""])
async def test_an_answer_without_a_word_is_one_if_there_is_a_chunk(plain, opening):
    chunk = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    talk = Conversation(plain, [opening + event(chunk) + b"data: [DONE]\n\n"])
    reply = await talk.ask(stream=True)
    assert b"stop" in reply.body and reply.headers["x-farebox-model"] == "small"


async def test_after_a_prompt_too_long_a_window_that_nobody_knows_is_tried_after_those_known_to_be_larger(tmp_path):
    price = {"currency": "USD", "input": 1, "output": 1}
    models = {
        "short": {"vendor": "check", "tier": "cheap", "price": {**price, "input": "0.1"}, "context_window": 1000},
        "unknown": {"vendor": "check", "tier": "cheap", "price": {**price, "input": "0.2"}},
        "long": {"vendor": "check", "tier": "cheap", "price": {**price, "input": "0.3"}, "context_window": 9000},
        "shorter": {"vendor": "check", "tier": "cheap", "price": {**price, "input": "0.4"}, "context_window": 900},
    }
    routes = {"auto": {"models": list(models), "quality": 0}}
    too_long = (400, jsonio.dumps({"error": {"message": "too long", "code": "context_length_exceeded"}}))
    talk = Conversation(snapshot_of(tmp_path, models=models, routes=routes), too_long, too_long, answer())
    assert (await talk.ask()).headers["x-farebox-model"] == "unknown"
    assert [sent["model"] for sent in talk.sent] == ["short", "long", "unknown"]
    talk = Conversation(snapshot_of(tmp_path, models=models, routes=routes), too_long, too_long, too_long)
    with pytest.raises(ContextTooLong):
        await talk.ask()
