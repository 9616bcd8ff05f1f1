"""How workers ask one another: who does not answer is as if it were not there."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from router.workers import siblings as module
from router.workers.siblings import Gone, Siblings


@pytest.fixture
async def three(tmp_path):
    async with AsyncExitStack() as stack:
        workers = [Siblings(tmp_path, number, 3) for number in range(3)]
        for worker in workers:
            worker.answers["number"] = answers(worker.number)
            await worker.listen()
            stack.push_async_callback(worker.stop)
        yield workers


def answers(found):
    async def answer(told):
        return {"found": found, **told}

    return answer


async def test_all_others_are_asked_and_their_answers_told_apart(three):
    assert await three[1].ask_all("number", more="x") == {
        0: {"found": 0, "do": "number", "more": "x"},
        2: {"found": 2, "do": "number", "more": "x"},
    }


async def test_one_that_has_ended_is_left_out(three):
    await three[0].stop()
    assert await three[1].ask_all("number") == {2: {"found": 2, "do": "number"}}
    with pytest.raises(Gone):
        await three[1].ask(0, "number")


async def test_one_that_hangs_is_waited_for_no_longer_than_it_takes_to_be_missed(three, monkeypatch):
    async def hang(_):
        await asyncio.Event().wait()

    three[2].answers["number"] = hang
    monkeypatch.setattr(module, "ASK_S", 0.05)
    assert await three[0].ask_all("number") == {1: {"found": 1, "do": "number"}}


async def test_a_question_that_fails_there_is_no_answer_here(three, caplog):
    async def fail(_):
        raise ValueError("no")

    three[2].answers["number"] = fail
    with pytest.raises(Gone, match="ValueError: no"):
        await three[0].ask(2, "number")
    with pytest.raises(Gone, match="cannot answer 'colour'"):
        await three[0].ask(2, "colour")
    assert "a sibling could not be answered" in caplog.text


async def test_what_is_told_on_the_way_out_is_still_heard(three):
    heard = []

    async def hear(told):
        heard.append(told["what"])

    for worker in three:
        worker.answers["hear"] = hear
    three[0].tell_all("hear", what="news")
    await three[0].stop()
    assert heard == ["news"] * 2


async def test_another_takes_the_place_of_one_that_was_killed(three, tmp_path):
    new = Siblings(tmp_path, 1, 3)  # the old one's socket is still there
    new.answers["number"] = answers("new")
    await new.listen()
    assert (await three[0].ask(1, "number"))["found"] == "new"
    await new.stop()


async def test_a_process_that_serves_alone_asks_nobody():
    alone = Siblings()
    await alone.listen()
    assert alone.alone and alone.first and alone.complete and await alone.ask_all("anything") == {}
    alone.tell_all("anything")
    await alone.stop()
