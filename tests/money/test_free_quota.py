"""A vendor's free quota: the first tokens of a window are free, the next is the first that is paid, whoever asks and how many."""

import asyncio
import contextlib
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from fakes import Conversation, KeptReply, Late, answer, event, snapshot_of
from hypothesis import given, settings
from hypothesis import strategies as st

from router.core import jsonio
from router.core.errors import OverBudget
from router.core.limits import micros

SMALL = {"currency": "USD", "input": 1, "output": 2}  # 1,000 and 2,000 nano-dollars a token
NO_MONEY = [{"limit": "0.000000001", "per": "day"}]
SHANGHAI = ZoneInfo("Asia/Shanghai")


def free(amount, unit="tokens", **more):
    return {unit: amount, "per": "day", "timezone": "Asia/Shanghai", **more}


def talk_of(folder, quota, *answers, budgets=(), models=None, **price):
    small = {"price": [{**SMALL, **price, "free_quota": quota}]}
    told = {"models": {"small": small, **(models or {})}, "teams": {"search": {"budgets": list(budgets)}}}
    return Conversation(snapshot_of(folder, **told), *answers)


def listed(prompt, completion, free_tokens=0):
    """What so many tokens cost in nano-dollars if the first of them are free, the prompt's before the answer's."""
    of_prompt = min(prompt, free_tokens)
    of_answer = min(completion, free_tokens - of_prompt)
    return (prompt - of_prompt) * 1000 + (completion - of_answer) * 2000


def free_of(talk):
    return [entry.free_tokens for entry in talk.ledger.closed]


def costs(talk):
    return [entry.cost for entry in talk.ledger.closed]


def streamed(prompt, completion):
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    word = event({"choices": [{"index": 0, "delta": {"content": "word"}}]})
    return [word, event({"choices": [], "usage": usage}), b"data: [DONE]\n\n"]


class Gates:
    """An upstream that answers the request "n7" with its seventh answer, once the seventh gate is open. An answer may be
    given as (prompt, completion): then it keeps to the output cap that it is told, as vendors do.
    """

    def __init__(self, talk, answers):
        self.inner, talk.upstream.open = talk.upstream.open, self.open
        self.upstream, self.answers = talk.upstream, answers
        self.gates = [asyncio.Event() for _ in answers]
        self.called = set()

    def open(self, call):
        asked = jsonio.loads(call.body)
        number = int(asked["messages"][0]["content"][1:])
        self.called.add(number)
        told = self.answers[number]
        if isinstance(told, tuple):
            told = answer(told[0], min(told[1], asked["max_tokens"]))
        self.upstream.answers.insert(0, Late(self.gates[number], told))
        return self.inner(call)


def asking(talk, number, **body):
    body = {"max_tokens": 100, **body}
    return asyncio.create_task(talk.ask(messages=[{"role": "user", "content": f"n{number}"}], **body))


async def turn(times=100):
    for _ in range(times):
        await asyncio.sleep(0)


def shown_cost(reply):
    """What the client was told, in nano-dollars."""
    if reply.body.startswith(b"data:"):
        told = [jsonio.loads(line[6:]) for line in reply.body.split(b"\n\n") if line.startswith(b"data: {")]
        return round(told[-1]["usage"]["cost"] * 10**9)
    return round(jsonio.loads(reply.body)["usage"]["cost"] * 10**9)


# The limit


@pytest.mark.parametrize("amount", [1, 700, 1234, 4174, 4175, 4176, 10_000])
async def test_fifty_requests_at_once_take_exactly_the_quota_and_pay_exactly_the_rest(tmp_path, amount):
    usages = [(9, 1), *((10 + i, 2 * i) for i in range(1, 50))]  # 4,175 tokens
    talk = talk_of(tmp_path, free(amount))
    gates = Gates(talk, [streamed(*usage) if i % 2 else answer(*usage) for i, usage in enumerate(usages)])
    tasks = [
        asking(talk, i, stream=bool(i % 2), **({"stream_options": {"include_usage": True}} if i % 2 else {}))
        for i in range(50)
    ]
    await turn()
    for i in sorted(range(50), key=lambda i: i * 17 % 50):
        gates.gates[i].set()
    replies = await asyncio.gather(*tasks)
    used = sum(prompt + completion for prompt, completion in usages)
    assert used == 4175 and len(talk.ledger.closed) == 50
    assert sum(tokens or 0 for tokens in free_of(talk)) == min(amount, used)
    told = {entry.attempt.request_id: entry for entry in talk.ledger.closed}
    for number, (reply, usage) in enumerate(zip(replies, usages, strict=True), 1):
        entry = told[f"fb-{number}"]
        assert (entry.usage.input_total, entry.usage.output_total) == usage
        assert entry.cost == entry.vendor_cost == shown_cost(reply) == listed(*usage, entry.free_tokens or 0)
    taken = [entry.free_tokens or 0 for entry in talk.ledger.closed]
    whole = [entry.usage.input_total + entry.usage.output_total for entry in talk.ledger.closed]
    assert sum(0 < t < w for t, w in zip(taken, whole, strict=True)) <= 1  # nobody but the one on the edge pays in part


@pytest.mark.parametrize("stride", [1, 17, 31, 49])
async def test_of_fifty_requests_at_once_only_the_token_after_the_millionth_of_the_day_is_paid(tmp_path, stride):
    """A million and one tokens, in whatever order the answers end: one output token of the last is paid."""
    usages = [(15_000, 5_000)] * 49 + [(15_000, 5_001)]
    talk = talk_of(tmp_path, free(1_000_000), answer(1, 1))
    gates = Gates(talk, [streamed(*usage) if i % 2 else answer(*usage) for i, usage in enumerate(usages)])
    tasks = [asking(talk, i, max_tokens=6_000, stream=bool(i % 2)) for i in range(50)]
    await turn()
    assert len(gates.called) == 50  # all are under way before the first ends
    for i in range(50):
        gates.gates[i * stride % 50].set()
    await asyncio.gather(*tasks)
    assert sum(tokens or 0 for tokens in free_of(talk)) == 1_000_000
    assert sorted(costs(talk)) == [0] * 49 + [2_000]
    talk.upstream.open = gates.inner
    await talk.ask()
    assert free_of(talk)[-1] is None and costs(talk)[-1] == listed(1, 1)  # nothing is left of the day


async def test_the_first_token_past_the_quota_is_the_first_that_is_paid(tmp_path):
    talk = talk_of(tmp_path, free(1_000_000), answer(999_000, 990), answer(10, 1), answer(10, 5))
    for _ in range(3):
        await talk.ask(max_tokens=2000)
    assert free_of(talk) == [999_990, 10, None]
    assert costs(talk) == [0, 2000, listed(10, 5)]


async def test_the_decision_takes_the_model_that_has_a_free_quota_until_it_is_gone(tmp_path):
    cheaper = {
        "vendor": "check",
        "tier": "cheap",
        "quality": 0.8,
        "price": {**SMALL, "input": "0.01", "output": "0.02"},
    }
    talk = talk_of(tmp_path, free(500), *[answer(10, 240) for _ in range(3)], models={"other": cheaper})
    for _ in range(3):
        await talk.ask()
    assert [sent["model"] for sent in talk.sent] == ["small", "small", "other"]
    assert free_of(talk) == [250, 250, None]


async def test_a_quota_that_pays_for_little_of_a_request_does_not_make_its_model_the_cheapest(tmp_path):
    cheaper = {
        "vendor": "check",
        "tier": "cheap",
        "quality": 0.8,
        "price": {**SMALL, "input": "0.01", "output": "0.02"},
    }
    talk = talk_of(tmp_path, free(3), answer(), models={"other": cheaper})
    await talk.ask()
    assert talk.sent[0]["model"] == "other"


async def test_an_attempt_that_is_not_billed_and_a_charge_of_the_vendors_own_take_nothing(tmp_path):
    talk = talk_of(tmp_path, free(100), (500, b"{}"), answer(10, 5))
    await talk.ask()
    assert free_of(talk) == [None, None] and costs(talk) == [0, 300_000]  # the second went to the flagship
    snapshot = snapshot_of(
        tmp_path,
        vendors={"xai": {"base_url": "http://127.0.0.1:1/v1", "api_key": "sk"}},
        models={"small": {"vendor": "xai", "price": [{**SMALL, "free_quota": free(100)}]}},
    )
    talk = Conversation(
        snapshot, answer(usage={"prompt_tokens": 10, "completion_tokens": 5, "cost_in_usd_ticks": 70_000})
    )
    await talk.ask()
    assert talk.rows == [("small", "ok", "vendor_cost", 7_000)] and free_of(talk) == [None]


async def test_a_stream_that_is_cut_takes_what_it_is_charged_for(tmp_path):
    talk = talk_of(tmp_path, free(1000), streamed(10, 5)[:1])
    await talk.ask(stream=True)
    (entry,) = talk.ledger.closed
    assert (entry.outcome, entry.basis, entry.cost) == ("cut", "estimated", 0)
    assert entry.free_tokens == entry.usage.input_total + entry.usage.output_total > 0


async def test_a_usage_that_grows_in_a_stream_takes_its_last_count_once(tmp_path):
    grows = streamed(10, 1)[:2] + streamed(10, 3)[1:2] + streamed(10, 5)[1:]
    talk = talk_of(tmp_path, free(100), grows, answer(80, 10))
    reply = await talk.ask(stream=True, stream_options={"include_usage": True})
    assert shown_cost(reply) == 0 and free_of(talk) == [15]
    await talk.ask()
    assert free_of(talk) == [15, 85] and costs(talk) == [0, 10_000]


async def test_requests_are_free_as_a_whole_while_the_count_lasts(tmp_path):
    fee = {"per_request": "0.01"}
    talk = talk_of(tmp_path, free(2, "requests"), (500, b"{}"), *[answer(10, 5) for _ in range(4)], **fee)
    await talk.ask()  # a request that is not billed does not count
    for _ in range(3):
        await talk.ask(model="small")
    assert free_of(talk) == [None, None, 15, 15, None]
    assert [entry.cost for entry in talk.ledger.closed[2:]] == [0, 0, 10_020_000]


async def test_a_saving_is_not_claimed_over_the_same_price(tmp_path):
    talk = talk_of(tmp_path, free(100), answer(10, 5), answer(10, 5))
    await talk.ask(model="small")
    await talk.ask(model="auto")
    assert [entry.saved for entry in talk.ledger.closed] == [0, 300_000]


# The clock


async def test_a_day_in_shanghai_begins_with_a_new_quota_and_a_late_answer_takes_from_its_own_day(tmp_path):
    talk = talk_of(tmp_path, free(20))
    talk.clock.at = micros(datetime(2026, 11, 22, 23, 59, 50, tzinfo=SHANGHAI))
    gates = Gates(talk, [answer(9, 3), answer(9, 1), answer(9, 7), answer(9, 1)])
    late, first = asking(talk, 0), asking(talk, 1)
    await turn()
    gates.gates[1].set()
    await first  # 10 of the 22nd
    talk.clock.push(20)
    gates.gates[2].set()
    await asking(talk, 2)  # 16 of the 23rd
    gates.gates[0].set()
    await late  # begun on the 22nd, of which 10 are left
    gates.gates[3].set()
    await asking(talk, 3)  # 4 are left of the 23rd
    assert free_of(talk) == [10, 16, 10, 4]
    assert costs(talk) == [0, 0, listed(9, 3, 10), listed(9, 1, 4)]


async def test_a_quota_is_given_from_its_first_instant_until_its_last(tmp_path):
    quota = free(100, per="total", **{"from": "2026-11-23", "to": "2026-11-24"})
    talk = talk_of(tmp_path, quota, *[answer(10, 5) for _ in range(4)])
    for at in (22, 23, 24):
        talk.clock.at = micros(datetime(2026, 11, at, tzinfo=SHANGHAI))
        await talk.ask()
    talk.clock.at = micros(datetime(2026, 11, 24, tzinfo=SHANGHAI)) - 1
    await talk.ask()
    assert free_of(talk) == [None, 15, None, 15]


# Teams without money


async def test_a_team_without_money_is_served_while_the_quota_covers_all_that_may_come(tmp_path):
    talk = talk_of(tmp_path, free(1000), answer(10, 5), budgets=NO_MONEY)
    await talk.ask(max_tokens=100)
    (entry,) = talk.ledger.closed
    assert (entry.cost, entry.attempt.held, entry.free_tokens) == (0, 0, 15)
    assert [nano for _, _, nano in entry.attempt.holds] == [0] and await talk.spent() == await talk.held() == 0
    assert entry.attempt.bound.input_total + entry.attempt.bound.output_total <= 1000
    with pytest.raises(OverBudget):
        await talk.ask(max_tokens=990)  # with its prompt more than what is left
    assert len(talk.ledger.opened) == 1


async def test_a_team_past_its_limit_is_served_from_the_quota_too(tmp_path):
    talk = talk_of(tmp_path, free(1000), answer(10, 5), budgets=[{"limit": "0.001", "per": "day"}])
    (budget,) = talk.snapshot.budgets
    talk.accounts.load(budget, budget.window(talk.clock.now())[0], 2_000_000)
    await talk.ask(max_tokens=100)
    assert costs(talk) == [0]


async def test_what_is_promised_to_one_is_out_of_the_others_reach_until_it_ends(tmp_path):
    talk = talk_of(tmp_path, free(400), budgets=NO_MONEY)
    gates = Gates(talk, [answer(10, 90), answer(10, 5), answer(10, 5)])
    first = asking(talk, 0, max_tokens=200)
    await turn()
    with pytest.raises(OverBudget):
        await asking(talk, 1, max_tokens=200)
    gates.gates[0].set()
    await first
    gates.gates[2].set()
    await asking(talk, 2, max_tokens=200)
    assert free_of(talk) == [100, 15] and gates.called == {0, 2}


async def test_what_is_promised_is_kept_from_those_who_pay(tmp_path):
    teams = {
        "poor": {"keys": [{"name": "app", "value": "fb-poor-key"}], "models": ["small"], "budgets": NO_MONEY},
        "search": {"keys": [{"name": "app", "value": "fb-search-key"}], "models": ["small"], "budgets": []},
    }
    snapshot = snapshot_of(tmp_path, models={"small": {"price": [{**SMALL, "free_quota": free(400)}]}}, teams=teams)
    talk = Conversation(snapshot)
    rich, poor = sorted(snapshot.callers.values(), key=lambda caller: len(caller.budgets))
    gates = Gates(talk, [answer(10, 90), answer(300, 200)])
    Conversation.caller, own = poor, Conversation.caller
    try:
        promised = asking(talk, 0, model="small", max_tokens=200)
        await turn()
        Conversation.caller = rich
        paying = asking(talk, 1, model="small", max_tokens=200)
        await turn()
    finally:
        Conversation.caller = own
    most = talk.ledger.opened[0].bound
    gates.gates[1].set()
    await paying
    gates.gates[0].set()
    await promised
    assert free_of(talk) == [400 - most.input_total - most.output_total, 100]
    assert costs(talk) == [listed(300, 200, free_of(talk)[0]), 0]


async def test_with_money_the_whole_bound_is_held_although_it_may_be_free(tmp_path):
    talk = talk_of(tmp_path, free(10_000), answer(10, 5), budgets=[{"limit": 1, "per": "day"}])
    await talk.ask(max_tokens=100)
    (entry,) = talk.ledger.closed
    assert entry.attempt.held == listed(entry.attempt.bound.input_total, 100) and entry.cost == 0
    assert await talk.spent() == 0


async def test_a_vendor_that_goes_past_its_bound_is_paid_for_what_the_quota_does_not_cover(tmp_path):
    talk = talk_of(tmp_path, free(300), answer(10, 400), budgets=NO_MONEY)
    await talk.ask(max_tokens=100)
    assert free_of(talk) == [300] and costs(talk) == [listed(10, 400, 300)] == [await talk.spent()]


async def test_a_fee_for_each_request_is_not_paid_for_with_tokens(tmp_path):
    talk = talk_of(tmp_path, free(10_000), answer(10, 5), per_request="0.01")
    await talk.ask()
    assert costs(talk) == [10_000_000] and free_of(talk) == [15]
    talk = talk_of(tmp_path, free(10_000), budgets=NO_MONEY, per_request="0.01")
    with pytest.raises(OverBudget):
        await talk.ask(max_tokens=100)


async def test_nothing_stays_promised_when_the_attempt_cannot_be_written_down_or_is_cancelled(tmp_path):
    talk = talk_of(tmp_path, free(400), answer(10, 5), budgets=NO_MONEY)
    talk.ledger.down = True
    for _ in range(3):
        with contextlib.suppress(Exception):
            await talk.ask(max_tokens=200)
    talk.ledger.down = False
    gates = Gates(talk, [answer(10, 5)])
    cancelled = asking(talk, 0, max_tokens=200)
    await turn()
    cancelled.cancel()
    gates.gates[0].set()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    await talk.settlement.drain(10)
    assert free_of(talk) == [15]
    (standing,) = talk.settlement.quotas.standing(talk.snapshot.catalog.models, talk.clock.now())
    assert (standing.vendor, standing.model, standing.unit, standing.left) == ("check", "small", "tokens", 385)


async def test_an_entry_that_is_written_at_the_second_try_takes_once(tmp_path):
    talk = talk_of(tmp_path, free(100), answer(10, 5), answer(90, 5))
    close, failures = talk.ledger.close, [1, 1]

    async def stumbling(entry):
        talk.ledger.down = bool(failures and failures.pop())
        await close(entry)

    talk.ledger.close = stumbling
    await talk.ask()
    await talk.ask()
    assert free_of(talk) == [15, 85]


# Any order


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_in_any_order_the_quota_is_never_passed_nor_is_a_budget(tmp_path_factory, data):
    """Requests with and without money begin, end, fail and leave in any order; the clock goes on; the configuration is
    read anew. At every instant what is taken and promised is within the quota, and what is spent and held within the
    budget.
    """
    amount = data.draw(st.sampled_from([0, 300, 700, 2000]), "quota") + 1
    limit = data.draw(st.sampled_from(["0.000000001", "0.0004", "0.002", "1"]), "budget")
    usages = data.draw(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 100)), min_size=1, max_size=12), "usages")

    async def run():
        talk = talk_of(tmp_path_factory.mktemp("quota"), free(amount), budgets=[{"limit": limit, "per": "total"}])
        talk.clock.at = micros(datetime(2026, 11, 22, 15, 0, tzinfo=UTC))
        gates = Gates(talk, usages)
        tasks, closed = {}, list(range(len(usages)))
        (budget,) = talk.snapshot.budgets
        quotas = talk.settlement.quotas

        async def check():
            await turn(40)
            days = {}
            for entry in talk.ledger.closed:
                day = datetime.fromtimestamp(entry.attempt.at / 10**6, SHANGHAI).date()
                days[day] = days.get(day, 0) + (entry.free_tokens or 0)
                assert entry.cost == listed(entry.usage.input_total, entry.usage.output_total, entry.free_tokens or 0)
            assert all(taken <= amount for taken in days.values())
            for window in quotas._windows.values():
                assert window.open >= 0 and window.settled >= 0 and window.settled + window.open <= amount
            (state,) = await talk.accounts.states([budget], talk.clock.now())
            assert state.held >= 0 and state.settled + state.held <= budget.limit
            assert state.settled == sum(entry.cost for entry in talk.ledger.closed)

        try:
            while closed or any(not task.done() for task in tasks.values()):
                waiting = [i for i, task in tasks.items() if not task.done()]
                step = data.draw(
                    st.sampled_from(["begin"] * bool(closed) + ["end", "leave"] * bool(waiting) + ["wait"])
                )
                if step == "begin":
                    number = closed.pop()
                    tasks[number] = asking(talk, number, model="small", max_tokens=100)
                elif step == "end":
                    gates.gates[data.draw(st.sampled_from(waiting))].set()
                elif step == "leave":
                    leaving = data.draw(st.sampled_from(waiting))
                    tasks[leaving].cancel()
                    gates.gates[leaving].set()
                else:
                    talk.clock.push(1800)
                await check()
            results = await asyncio.gather(*tasks.values(), return_exceptions=True)
            assert all(isinstance(result, KeptReply | OverBudget | asyncio.CancelledError) for result in results)
            await talk.settlement.drain(10)
            await check()
            assert not quotas._shares and all(not window.open for window in quotas._windows.values())
        finally:  # where an example is given up half-way, nobody waits for answers that will not come
            for gate in gates.gates:
                gate.set()
            await asyncio.gather(*tasks.values(), return_exceptions=True)

    asyncio.run(run())
