"""What a vendor's failures do to the requests after it: whole conversations with several vendors and credentials."""

import asyncio

import pytest

from router.core import jsonio
from router.core.errors import Overloaded, RateLimited, RouterError
from router.core.health import STREAK
from tests.fakes import Conversation, Late, answer, snapshot_of

NO_MONEY = (429, jsonio.dumps({"error": {"message": "no money", "code": "insufficient_quota"}}))
TOO_FAST = (429, jsonio.dumps({"error": {"message": "slow down", "code": "rate_limit_exceeded"}}))
DOWN = (503, b"{}")


def keys_used(talk):
    return [call.headers["Authorization"].removeprefix("Bearer ") for call in talk.upstream.calls]


def two_keys(tmp_path, *answers):
    vendors = {"check": {"api_key": None, "api_keys": ["sk-a", "sk-b"]}}
    return Conversation(snapshot_of(tmp_path, vendors=vendors), *answers)


async def test_an_account_without_money_is_asked_once_and_the_next_candidate_from_then_on(tmp_path):
    other = {"dialect": "openai", "base_url": "http://127.0.0.1:2/v1", "api_key": "sk-other"}
    snapshot = snapshot_of(tmp_path, models={"large": {"vendor": "other"}}, vendors={"other": other})
    talk = Conversation(snapshot, NO_MONEY, answer(), answer(), answer())
    for _ in range(3):
        reply = await talk.ask()
    assert [row[:2] for row in talk.rows] == [("small", "error"), ("large", "ok"), ("large", "ok"), ("large", "ok")]
    assert reply.headers["x-farebox-reason"] == "cheapest of 2 that meet 0.7; passing over small, which is unwell"
    unwell = {verdict.model.name: str(verdict.unwell) for verdict in talk.decisions[-1][2].verdicts}
    assert unwell["small"].startswith("its breaker is open (quota_exhausted)")
    talk.clock.push(30)
    talk.upstream.answers.append(answer())
    await talk.ask()  # it is tried again in its place, which is the first
    assert talk.rows[-1][:2] == ("small", "ok")


async def test_who_is_unwell_is_tried_last_and_still_tried(tmp_path):
    talk = Conversation(snapshot_of(tmp_path), NO_MONEY, answer(), DOWN, answer())
    await talk.ask()  # both are behind one credential
    await talk.ask()
    assert [row[:2] for row in talk.rows] == [("small", "error"), ("large", "ok"), ("small", "error"), ("large", "ok")]


@pytest.mark.parametrize(("first", "refusal"), [(TOO_FAST, RateLimited), (NO_MONEY, Overloaded)])
async def test_when_nobody_else_can_serve_one_request_at_a_time_finds_out(tmp_path, first, refusal):
    gate = asyncio.Event()
    talk = Conversation(snapshot_of(tmp_path), first, Late(gate, answer()), answer())
    with pytest.raises(RouterError):
        await talk.ask(model="small")
    trying = asyncio.ensure_future(talk.ask(model="small"))
    while len(talk.upstream.calls) < 2:
        await asyncio.sleep(0)
    with pytest.raises(refusal) as refused:
        await talk.ask(model="small")
    assert 0 < refused.value.retry_after_s <= 30
    assert len(talk.upstream.calls) == 2  # it was not even sent
    gate.set()
    await trying
    await talk.ask(model="small")
    assert [row[1] for row in talk.rows] == ["error", "ok", "ok"]


async def test_credentials_take_turns_and_one_without_money_costs_one_try(tmp_path):
    talk = two_keys(tmp_path, answer(), NO_MONEY, *[answer()] * 3)
    for _ in range(4):
        await talk.ask(model="small")
    assert keys_used(talk) == ["sk-a", "sk-b", "sk-a", "sk-a", "sk-a"]
    assert [row[:2] for row in talk.rows] == [("small", "ok"), ("small", "error"), *[("small", "ok")] * 3]
    assert talk.rows[1][3] == 0


async def test_a_vendor_that_is_down_is_passed_over_until_it_answers(tmp_path):
    other = {"dialect": "openai", "base_url": "http://127.0.0.1:2/v1", "api_key": "sk-other"}
    snapshot = snapshot_of(tmp_path, models={"large": {"vendor": "other"}}, vendors={"other": other})
    talk = Conversation(snapshot, *[DOWN, answer()] * STREAK, answer())
    for _ in range(STREAK + 1):
        await talk.ask()
    assert [row[0] for row in talk.rows] == ["small", "large"] * STREAK + ["large"]
    talk.clock.push(5)
    talk.upstream.answers += [answer(), answer()]
    await talk.ask()
    await talk.ask()
    assert [row[:2] for row in talk.rows[-2:]] == [("small", "ok"), ("small", "ok")]
