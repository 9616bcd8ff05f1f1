"""What of a request's time is Farebox's own: one sample for each request, in which no time of others is."""

import asyncio

import pytest
from fakes import Conversation, Late, answer, snapshot_of, stream

from router.core.errors import InvalidRequest, OverBudget, RateLimited, UpstreamFailed
from router.core.failure import Failure, Fault
from router.hedge import ENOUGH
from router.relay import ClientLeft

BROKEN = (500, b'{"error": {"message": "no"}}')


class Measured(Conversation):
    """One in which every call takes its vendor 5 s, and whose samples are kept."""

    def __init__(self, folder, *answers, **changes):
        super().__init__(snapshot_of(folder, **changes), *answers)
        self.samples = []
        self.services.on_overhead = self.samples.append
        opened = self.upstream.open

        def slow(call):
            self.clock.push(5)
            return opened(call)

        self.upstream.open = slow


@pytest.mark.parametrize(
    "answers",
    [[answer()], [BROKEN, answer()], [Failure(Fault.RESET, "gone"), answer()], [stream("a")]],
    ids=["one call", "a fallback", "a fallback after a broken connection", "a stream"],
)
async def test_a_request_is_one_sample_however_many_calls_it_takes(tmp_path, answers):
    talk = Measured(tmp_path, *answers)
    await talk.ask(stream=isinstance(answers[-1], list))
    assert talk.samples == [0]


async def test_one_that_nobody_answers_is_one_too(tmp_path):
    talk = Measured(tmp_path, BROKEN, BROKEN)
    with pytest.raises(UpstreamFailed):
        await talk.ask()
    assert talk.samples == [0] and len(talk.upstream.calls) == 2


@pytest.mark.parametrize(
    ("error", "changes", "body"),
    [
        (InvalidRequest, {}, {"messages": 3}),
        (OverBudget, {"teams": {"search": {"budgets": [{"limit": "0.000000001", "per": "day"}]}}}, {}),
        (RateLimited, {"teams": {"search": {"limits": {"requests_per_minute": 1}}}}, {}),
    ],
)
async def test_one_that_is_refused_is_one_too(tmp_path, error, changes, body):
    talk = Measured(tmp_path, answer(), **changes)
    if error is RateLimited:
        await talk.ask()
        talk.samples.clear()
    with pytest.raises(error):
        await talk.ask(**body)
    assert talk.samples == [0]


async def test_a_dry_run_is_one_too(tmp_path):
    talk = Measured(tmp_path)
    await talk.ask(farebox={"dry_run": True})
    assert talk.samples == [0]


async def test_one_whose_answer_was_kept_is_one_too(tmp_path):
    talk = Measured(tmp_path, answer(), routes={"auto": {"cache": True}})
    await talk.ask()
    await talk.ask()
    assert talk.samples == [0, 0] and len(talk.upstream.calls) == 1


async def test_one_that_waits_for_anothers_call_is_one_and_does_not_count_its_time(tmp_path):
    gate = asyncio.Event()
    talk = Measured(tmp_path, Late(gate, answer()), routes={"auto": {"cache": True}})
    asking = [asyncio.ensure_future(talk.ask()) for _ in range(3)]
    for _ in range(50):
        await asyncio.sleep(0)
    talk.clock.push(7)
    gate.set()
    await asyncio.gather(*asking)
    assert len(talk.upstream.calls) == 1
    assert talk.samples == [0, 0, 0]


async def test_one_whose_client_leaves_a_call_that_others_share_is_one(tmp_path):
    class Gone:
        async def begin(self, headers):
            raise ClientLeft

    gate = asyncio.Event()
    talk = Measured(tmp_path, [stream("a")[0], gate, *stream("b")], routes={"auto": {"cache": True}})
    asking = asyncio.ensure_future(talk.ask(reply=Gone(), stream=True))
    for _ in range(50):
        await asyncio.sleep(0)
    talk.clock.push(7)
    gate.set()
    with pytest.raises(ClientLeft):
        await asking
    for _ in range(50):
        await asyncio.sleep(0)
    assert talk.samples == [0]


async def test_a_cascade_and_its_judge_are_one(tmp_path):
    routes = {"best": {"cascade": {"judge": "small"}}}
    talk = Measured(tmp_path, answer(), answer(text="1"), answer(), routes=routes)
    assert (await talk.ask(model="best")).headers["x-farebox-model"] == "large"
    assert talk.samples == [0]
    talk.upstream.answers[:] = [answer(), answer(text="10")]
    assert (await talk.ask(model="best")).headers["x-farebox-model"] == "small"
    assert talk.samples == [0, 0]


async def test_a_hedge_is_one_and_what_the_first_was_waited_for_is_the_vendors(tmp_path):
    route = {"models": ["small", "large"], "quality": 0, "hedge": {"percentile": 90, "share": 0.5}}
    talk = Conversation(snapshot_of(tmp_path, routes={"auto": route}))
    for _ in range(ENOUGH):
        talk.upstream.answers.append(answer())
        await talk.ask()
    talk.clock.push(1)
    samples, gate = [], asyncio.Event()
    talk.services.on_overhead = samples.append
    talk.upstream.answers[:] = [Late(gate, answer()), answer(text="from the second")]
    asking = asyncio.ensure_future(talk.ask())
    while len(talk.upstream.calls) == ENOUGH:
        await asyncio.sleep(0)
    talk.clock.push(0.5)
    while len(talk.upstream.calls) < ENOUGH + 2:
        await asyncio.sleep(0)
    gate.set()
    assert b"from the second" in (await asking).body
    assert samples == [0]
