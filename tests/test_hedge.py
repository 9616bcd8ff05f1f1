"""A second vendor asked beside a slow one: whole conversations with a pushed clock."""

import asyncio

import pytest

from router.core.errors import UpstreamFailed
from router.core.failure import Failure, Fault
from router.hedge import ENOUGH, KEPT
from tests.fakes import Conversation, KeptReply, Late, answer, snapshot_of, stream

HEDGED = {"routes": {"auto": {"models": ["small", "large"], "quality": 0, "hedge": {"percentile": 90, "share": 0.5}}}}
RESET = Failure(Fault.RESET, "gone")


async def known(tmp_path, *answers, **changes):
    """A conversation whose vendors' paces are known: the first byte came at once, always."""
    talk = Conversation(snapshot_of(tmp_path, **{**HEDGED, **changes}))
    for _ in range(ENOUGH):
        talk.upstream.answers.append(answer())
        await talk.ask()
    talk.ledger.closed.clear()
    talk.upstream.calls.clear()
    talk.upstream.answers.extend(answers)
    return talk


async def calls(talk, count):
    for _ in range(200):
        if len(talk.upstream.calls) >= count:
            return
        await asyncio.sleep(0)
    pytest.fail(f"{len(talk.upstream.calls)} calls, not {count}")


def finals(talk):
    return [(entry.attempt.model, entry.outcome, entry.final) for entry in talk.ledger.closed]


async def slow(talk, **body):
    """A request under way whose first vendor has not begun in time."""
    asking = asyncio.ensure_future(talk.ask(**body))
    await calls(talk, 1)
    talk.clock.push(0.5)
    return asking


async def test_a_second_vendor_answers_when_the_first_is_slow_and_both_are_paid(tmp_path):
    gate = asyncio.Event()
    talk = await known(tmp_path, Late(gate, answer(completion=7)), answer(text="from the second"))
    asking = await slow(talk)
    await calls(talk, 2)
    gate.set()  # read on without a client: its bill is known to the token
    reply = await asking
    assert b"from the second" in reply.body
    assert reply.headers["x-farebox-model"] == "large"
    assert reply.headers["x-farebox-reason"].endswith("small had not begun after 0 s")
    rows = {entry.attempt.model: entry for entry in talk.ledger.closed}
    assert sorted(finals(talk)) == [("large", "ok", True), ("small", "left", False)]
    assert rows["small"].basis == "reported"
    assert rows["small"].usage.output_text == 7
    assert rows["small"].flagship_cost == rows["small"].cost  # what nobody got has saved nothing
    assert await talk.held() == 0


async def test_the_first_still_wins_if_it_begins_first(tmp_path):
    first, second = asyncio.Event(), asyncio.Event()
    talk = await known(tmp_path, Late(first, stream("one", "two")), Late(second, stream("other")))
    asking = await slow(talk, stream=True)
    await calls(talk, 2)
    first.set()
    while talk.ledger.opened[-1].model != "large":
        await asyncio.sleep(0)
    second.set()
    reply = await asking
    assert b"one" in reply.body
    assert b"other" not in reply.body
    assert sorted(finals(talk)) == [("large", "left", False), ("small", "ok", True)]


async def test_who_is_in_time_is_asked_alone(tmp_path):
    talk = await known(tmp_path, answer())
    await talk.ask()
    talk.clock.push(10)
    assert finals(talk) == [("small", "ok", True)]


async def test_when_both_fail_the_request_fails_once_and_the_last_is_final(tmp_path):
    first, second = asyncio.Event(), asyncio.Event()
    talk = await known(tmp_path, Late(first, RESET), Late(second, RESET))
    asking = await slow(talk)
    await calls(talk, 2)
    first.set()
    while not talk.ledger.closed:
        await asyncio.sleep(0)
    second.set()
    with pytest.raises(UpstreamFailed) as told:
        await asking
    assert "small" in str(told.value)
    assert "large" in str(told.value)
    assert [row[2] for row in finals(talk)] == [False, True]


async def test_a_failure_of_one_waits_for_the_other(tmp_path):
    first, second = asyncio.Event(), asyncio.Event()
    talk = await known(tmp_path, Late(first, RESET), Late(second, answer(text="late")))
    asking = await slow(talk)
    await calls(talk, 2)
    first.set()
    while not talk.ledger.closed:
        await asyncio.sleep(0)
    second.set()
    reply = await asking
    assert b"late" in reply.body
    assert finals(talk) == [("small", "error", False), ("large", "ok", True)]


async def test_a_client_that_leaves_leaves_both_and_one_row_is_final(tmp_path):
    gates = asyncio.Event(), asyncio.Event()
    talk = await known(tmp_path, Late(gates[0], answer()), Late(gates[1], answer()))
    asking = await slow(talk)
    await calls(talk, 2)
    asking.cancel()
    for _ in range(50):  # both are left before either vendor answers
        await asyncio.sleep(0)
    for gate in gates:
        gate.set()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await talk.settlement.drain(10)
    assert sorted(finals(talk)) == [("large", "left", False), ("small", "left", True)]
    assert await talk.held() == 0


async def test_no_second_where_no_budget_can_hold_it(tmp_path):
    gate = asyncio.Event()
    keys = [{"name": "app", "value": "fb-search-key"}]
    teams = {"search": {"keys": keys, "models": ["*"], "budgets": [{"limit": "0.002", "per": "total"}]}}
    talk = await known(tmp_path, Late(gate, answer(text="the first")), teams=teams)
    asking = await slow(talk, max_tokens=800)  # 0.0016 of the cheap, 0.032 of the dear
    for _ in range(50):
        await asyncio.sleep(0)
    gate.set()
    reply = await asking
    assert b"the first" in reply.body
    assert finals(talk) == [("small", "ok", True)]


async def test_no_more_than_the_routes_share_is_asked_twice(tmp_path):
    routes = {"auto": {"models": ["small", "large"], "quality": 0, "hedge": {"percentile": 90, "share": 0.1}}}
    talk = await known(tmp_path, routes=routes)  # 30 requests have earned all that can be saved up: three
    twice = 0
    for _ in range(20):
        gate = asyncio.Event()
        talk.upstream.calls.clear()
        talk.upstream.answers[:] = [Late(gate, answer()), answer()]
        asking = await slow(talk, reply=KeptReply())
        for _ in range(50):
            await asyncio.sleep(0)
        gate.set()
        await asking
        twice += len(talk.upstream.calls) == 2
    assert twice == 4  # three saved up, one earned on the way


async def test_a_route_without_it_never_asks_twice(tmp_path):
    gate = asyncio.Event()
    talk = await known(tmp_path, Late(gate, answer()), routes={"auto": {"tiers": ["cheap", "flagship"], "hedge": None}})
    asking = await slow(talk)
    for _ in range(50):
        await asyncio.sleep(0)
    gate.set()
    await asking
    assert len(talk.upstream.calls) == 1


async def test_a_pace_is_that_of_late_answers_only(tmp_path):
    paces = (await known(tmp_path)).services.hedges.paces
    assert paces.percentile_s("small", 95) == 0
    entry = (await _entry(tmp_path))[0]
    for _ in range(KEPT):
        paces.observe(entry)
    assert paces.percentile_s("small", 50) == 2.0
    assert paces.percentile_s("large", 50) is None


async def _entry(tmp_path):
    gate = asyncio.Event()
    talk = Conversation(snapshot_of(tmp_path), Late(gate, answer()))
    asking = asyncio.ensure_future(talk.ask())
    await calls(talk, 1)
    talk.clock.push(2)
    gate.set()
    await asking
    return talk.ledger.closed
