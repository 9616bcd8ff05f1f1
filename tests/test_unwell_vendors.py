"""What a vendor's failures do to the requests after it: whole conversations with several vendors and credentials."""

import pytest

from router.core import jsonio
from router.core.errors import Overloaded, RateLimited
from router.core.health import STREAK
from tests.fakes import Conversation, answer, snapshot_of

NO_MONEY = (429, jsonio.dumps({"error": {"message": "no money", "code": "insufficient_quota"}}))
TOO_FAST = (429, jsonio.dumps({"error": {"message": "slow down", "code": "rate_limit_exceeded"}}))
DOWN = (503, b"{}")


def keys_used(talk):
    return [call.headers["Authorization"].removeprefix("Bearer ") for call in talk.upstream.calls]


def two_keys(tmp_path, *answers):
    vendors = {"check": {"api_key": None, "api_keys": ["sk-a", "sk-b"]}}
    return Conversation(snapshot_of(tmp_path, vendors=vendors), *answers)


async def test_an_account_without_money_is_asked_once_and_the_next_candidate_from_then_on(tmp_path):
    talk = Conversation(snapshot_of(tmp_path, models={"large": {"vendor": "other"}}, vendors={
        "other": {"dialect": "openai", "base_url": "http://127.0.0.1:2/v1", "api_key": "sk-other"}
    }), NO_MONEY, answer(), answer(), answer())  # fmt: skip
    for _ in range(3):
        await talk.ask()
    assert [row[:2] for row in talk.rows] == [
        ("small", "error"), ("large", "ok"), ("large", "ok"), ("large", "ok")
    ]  # fmt: skip
    lost = {verdict.model.name: verdict.lost for verdict in talk.decisions[-1][2].verdicts}
    assert lost["small"].startswith("its breaker is open (quota_exhausted)")
    talk.clock.push(30)
    talk.upstream.answers.append(answer())
    await talk.ask()  # the vendor was paid: one request tries, and it is the cheapest again
    assert talk.rows[-1][:2] == ("small", "ok")


async def test_money_and_rate_are_told_apart_by_what_comes_next(tmp_path):
    talk = Conversation(snapshot_of(tmp_path), TOO_FAST, answer())
    with pytest.raises(RateLimited) as refused:
        await talk.ask(model="small")
    assert refused.value.retry_after_s == 1.0
    with pytest.raises(RateLimited) as refused:
        await talk.ask(model="small")
    assert 0 < refused.value.retry_after_s <= 0.5
    assert len(talk.upstream.calls) == 1  # the second was not even sent
    assert await talk.held() == 0
    talk.clock.push(0.5)
    await talk.ask(model="small")
    talk.upstream.answers.append(NO_MONEY)
    with pytest.raises(Exception, match="quota_exhausted"):
        await talk.ask(model="small")
    with pytest.raises(Overloaded) as refused:
        await talk.ask(model="small")
    assert refused.value.retry_after_s == 30


async def test_credentials_take_turns_and_one_without_money_costs_one_try(tmp_path):
    talk = two_keys(tmp_path, answer(), NO_MONEY, *[answer()] * 3)
    for _ in range(4):
        await talk.ask(model="small")
    assert keys_used(talk) == ["sk-a", "sk-b", "sk-a", "sk-a", "sk-a"]
    assert [row[:2] for row in talk.rows] == [("small", "ok"), ("small", "error"), *[("small", "ok")] * 3]
    assert talk.rows[1][3] == 0


async def test_a_vendor_that_is_down_is_left_alone_until_one_request_finds_it_up(tmp_path):
    talk = Conversation(snapshot_of(tmp_path), *[DOWN] * STREAK)
    for _ in range(STREAK):
        with pytest.raises(Overloaded):
            await talk.ask(model="small")
    with pytest.raises(Overloaded, match="its breaker is open"):
        await talk.ask(model="small")
    assert len(talk.upstream.calls) == STREAK
    talk.clock.push(5)
    talk.upstream.answers += [answer(), answer()]
    await talk.ask(model="small")
    await talk.ask(model="small")
    assert [row[1] for row in talk.rows] == ["error"] * STREAK + ["ok", "ok"]
