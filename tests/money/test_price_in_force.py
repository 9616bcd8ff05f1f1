"""Which price a request is charged at, through the whole pipeline: past a length, by the clock of Beijing, on a holiday, while
a price changes. The prices are those of the built-in books where a vendor has such a one.
"""

import asyncio
from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest
from fakes import Conversation, KeptReply, Late, answer, merged, snapshot_of, stream
from test_price_war import REFUSED, WAR

from router.core.errors import NotAllowed, OverBudget
from router.core.failure import Failure, Fault
from router.core.limits import micros
from router.core.money import amount_nano, show

SHANGHAI, UTC = ZoneInfo("Asia/Shanghai"), ZoneInfo("UTC")
RATES = {"exchange_rates": {"CNY": [{"from": "2024-01-01", "rate": "0.14"}]}}


def at(text, zone=SHANGHAI):
    return micros(datetime.fromisoformat(text).replace(tzinfo=zone))


def talk_of(folder, names, *answers, **changes):
    """A conversation with models of known vendors, named "vendor/model", at their prices in the built-in books."""
    vendors = {name.partition("/")[0] for name in names}
    told = {
        "vendors": {name: {"base_url": "http://127.0.0.1:1/v1", "api_key": "sk"} for name in vendors},
        "models": {name.partition("/")[2]: {"vendor": name.partition("/")[0]} for name in names},
        "teams": {"search": {"models": ["*"]}},
        **RATES,
    }
    return Conversation(snapshot_of(folder, **merged(told, changes)), *answers)


def charged(talk):
    """(vendor's currency, its amount, basis) of each row."""
    return [(e.attempt.vendor_currency, show(e.vendor_cost), e.basis) for e in talk.ledger.closed]


def asking(talk, **body):
    return asyncio.create_task(talk.ask(**body))


async def turn(times=100):
    for _ in range(times):
        await asyncio.sleep(0)


async def both(talk, model, **body):
    """Ask once plainly and once for a stream."""
    await talk.ask(model=model, **body)
    await talk.ask(model=model, stream=True, stream_options={"include_usage": True}, **body)


# Every cut of 2024, from the request to the ledger


BY_CURRENCY = [row for row in WAR if row[3].output_total]


@pytest.mark.parametrize("row", BY_CURRENCY, ids=[f"{r[0]}/{r[1]}/{r[3].input_total}" for r in BY_CURRENCY])
async def test_the_price_war_is_charged_to_the_day_through_the_pipeline(tmp_path, row):
    day, name, currency, usage, eve, on, story = row
    midnight = micros(
        datetime.combine(date.fromisoformat(day), datetime.min.time(), SHANGHAI if currency == "CNY" else UTC)
    )
    vendor, model = name.split("/")
    talk = talk_of(tmp_path, [name], vendors={vendor: {"currency": currency}})
    for instant, told in ((midnight - 1, eve), (midnight, on)):
        talk.clock.at = instant
        seen = len(talk.ledger.closed)
        talk.upstream.answers[:] = [answer(usage.input_total, usage.output_total), stream("w", usage=(usage.input_total, usage.output_total))]  # fmt: skip
        if told == REFUSED:
            with pytest.raises(NotAllowed, match="unpriced"):
                await both(talk, model)
            assert len(talk.ledger.opened) == seen  # nobody was called
            continue
        await both(talk, model)
        assert charged(talk)[seen:] == [(currency, told, "reported")] * 2, story
        assert {e.vendor_cost for e in talk.ledger.closed[seen:]} == {amount_nano(told)}


# Length


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        (31_999, "0.194394"),  # 31,999 at 6 and 100 at 24 per million
        (32_001, "0.258808"),  # 32,001 at 8 and 100 at 28: all of it, not only the token too many
    ],
)
async def test_a_prompt_of_31_999_tokens_costs_the_lower_tier_and_one_of_32_001_the_higher_on_all_of_it(
    tmp_path, prompt, told
):
    talk = talk_of(tmp_path, ["zhipu/glm-5.1"], answer(prompt, 100), stream("w", usage=(prompt, 100)))
    talk.clock.at = at("2026-11-24T10:00")
    await both(talk, "glm-5.1")
    assert charged(talk) == [("CNY", told, "reported")] * 2


async def test_what_is_held_near_a_tier_pays_for_the_dearer_side_of_it(tmp_path):
    """The prompt is estimated at about 31,000 tokens, with the tier inside the bound."""
    talk = talk_of(
        tmp_path,
        ["zhipu/glm-5.1"],
        answer(32_001, 100),
        teams={"search": {"models": ["*"], "budgets": [{"limit": 1, "per": "day"}]}},
    )
    talk.clock.at = at("2026-11-24T10:00")
    await talk.ask(model="glm-5.1", max_tokens=100, messages=[{"role": "user", "content": "word " * 31_000}])
    (entry,) = talk.ledger.closed
    assert entry.attempt.prompt_estimate < 32_000 < entry.attempt.prompt_high
    assert entry.attempt.held >= entry.cost == await talk.spent()


# The clock of Beijing


PEAK, VALLEY = "0.0528", "0.0264"  # 10,000 in and 10,000 out of deepseek-v4-pro, in USD: 1.32 and 3.96, or half


@pytest.mark.parametrize(
    ("when", "told"),
    [
        ("2026-11-24T08:59", VALLEY),  # a Tuesday
        ("2026-11-24T09:00", PEAK),
        ("2026-11-24T11:59", PEAK),
        ("2026-11-24T12:00", VALLEY),
        ("2026-11-24T13:59", VALLEY),
        ("2026-11-24T14:00", PEAK),
        ("2026-11-24T17:59", PEAK),
        ("2026-11-24T18:00", VALLEY),
        ("2026-10-01T10:00", VALLEY),  # National Day, a Thursday
        ("2026-10-08T10:00", PEAK),  # the first working day after it
        ("2026-11-22T10:00", VALLEY),  # a Sunday
        ("2026-10-10T10:00", VALLEY),  # a Saturday that is worked in exchange: the rule is Monday to Friday
    ],
)
async def test_deepseek_costs_what_the_clock_and_the_calendar_of_beijing_say(tmp_path, when, told):
    talk = talk_of(tmp_path, ["deepseek/deepseek-v4-pro"], answer(10_000, 10_000), stream("w", usage=(10_000, 10_000)))
    talk.clock.at = at(when)
    await both(talk, "deepseek-v4-pro")
    assert charged(talk) == [("USD", told, "reported")] * 2


@pytest.mark.parametrize(
    ("begun", "seconds", "told"),
    [
        ("2026-11-24T11:59:30", 20, PEAK),
        ("2026-11-24T11:59:30", 40, VALLEY),  # complete at 12:00:10
        ("2026-11-24T08:59:30", 40, PEAK),  # begun off-peak, complete at 9:00:10
        ("2026-09-30T23:59:30", 10 * 3600, VALLEY),  # complete on National Day
    ],
)
@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
async def test_deepseek_is_charged_by_when_the_answer_is_complete(tmp_path, begun, seconds, told, streamed):
    gate = asyncio.Event()
    words = stream("w", "w", usage=(10_000, 10_000))
    talk = talk_of(
        tmp_path,
        ["deepseek/deepseek-v4-pro"],
        [words[0], gate, *words[1:]] if streamed else Late(gate, answer(10_000, 10_000)),
    )
    talk.clock.at = at(begun)
    task = asking(talk, model="deepseek-v4-pro", stream=streamed)
    await turn()
    talk.clock.push(seconds)
    gate.set()
    await task
    assert charged(talk) == [("USD", told, "reported")]


async def test_a_client_that_leaves_in_peak_hours_pays_for_when_the_vendor_was_done(tmp_path):
    gate = asyncio.Event()
    words = stream("w", "w", usage=(10_000, 10_000))
    talk = talk_of(tmp_path, ["deepseek/deepseek-v4-pro"], [*words[:2], gate, *words[2:]])
    talk.clock.at = at("2026-11-24T11:59:30")
    task = asking(talk, reply=KeptReply(patience=0), model="deepseek-v4-pro", stream=True)
    await turn()
    talk.clock.push(60)
    gate.set()
    await task
    assert charged(talk) == [("USD", VALLEY, "reported")] and talk.ledger.closed[0].outcome == "left"


# A price that changes meanwhile


CUT = "2024-09-19T00:00"  # qwen-plus from 4 and 12 to 0.8 and 2
OLD, NEW = "0.16", "0.028"  # 10,000 in and 10,000 out, in CNY


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
async def test_a_cut_that_takes_effect_while_a_request_is_in_flight_is_for_those_that_begin_after_it(
    tmp_path, streamed
):
    gate = asyncio.Event()
    words = stream("w", usage=(10_000, 10_000))
    told = [words[0], gate, *words[1:]] if streamed else Late(gate, answer(10_000, 10_000))
    talk = talk_of(tmp_path, ["alibaba/qwen-plus"], told, answer(10_000, 10_000), answer(10_000, 10_000))
    talk.clock.at = at(CUT) - 1
    before = asking(talk, model="qwen-plus", stream=streamed)
    await turn()
    talk.clock.push(1)
    await talk.ask(model="qwen-plus")  # begins after the cut and ends first
    gate.set()
    await before
    await talk.ask(model="qwen-plus")
    assert charged(talk) == [("CNY", NEW, "reported"), ("CNY", OLD, "reported"), ("CNY", NEW, "reported")]
    assert [e.attempt.price for e in talk.ledger.closed][:2] == [
        "CNY 0.8/2 from 2024-09-19",
        "CNY 4/12 from 2024-05-21",
    ]


async def test_an_attempt_that_begins_after_the_cut_costs_what_it_does_then_although_its_request_came_before(tmp_path):
    """The first model fails; the clock turns meanwhile."""
    gate = asyncio.Event()
    failure = Failure(Fault.SERVER, "broken", 500)
    talk = talk_of(
        tmp_path, ["alibaba/qwen-plus", "alibaba/qwen-max"], Late(gate, failure), answer(10_000, 10_000),
        routes={"pair": {"models": ["qwen-plus", "qwen-max"]}},
    )  # fmt: skip
    talk.clock.at = at(CUT) - 1
    task = asking(talk, model="pair")
    await turn()
    talk.clock.push(1)
    gate.set()
    await task
    assert [e.attempt.model for e in talk.ledger.closed] == ["qwen-plus", "qwen-max"]
    assert charged(talk)[1] == ("CNY", "0.8", "reported")  # 20 and 60, not 40 and 120
    assert talk.ledger.closed[1].attempt.price == "CNY 20/60 from 2024-09-19"


async def test_an_attempt_whose_price_has_ended_meanwhile_is_not_made(tmp_path):
    gate = asyncio.Event()
    price = [
        {"currency": "USD", "input": 1, "output": 2, "to": "2026-11-25"},
    ]
    talk = Conversation(
        snapshot_of(tmp_path, models={"large": {"price": price}}), Late(gate, Failure(Fault.SERVER, "broken", 500))
    )
    talk.clock.at = at("2026-11-25T00:00", UTC) - 1
    task = asking(talk, model="auto")
    await turn()
    talk.clock.push(1)
    gate.set()
    with pytest.raises(NotAllowed, match="the price of large ended"):
        await task
    assert [attempt.model for attempt in talk.ledger.opened] == ["small"] and len(talk.upstream.calls) == 1


async def test_a_client_is_told_what_is_written_down_where_hours_and_budgets_change_in_between(tmp_path):
    """The price is judged by when the answer is complete; the row is made a moment later, of other budgets."""
    rates = [{"when": {"hours": "09:00-12:00"}, "input": 40, "output": 40}, {"input": 20, "output": 20}]
    price = [{"currency": "USD", "rates": rates, "evaluated": "completion"}]
    talk = Conversation(snapshot_of(tmp_path, models={"large": {"price": price}}), answer(1000, 1000))
    talk.clock.at = at("2026-11-24T11:59:59", UTC)

    class Slow(KeptReply):
        async def send(self, status, body, headers):
            talk.clock.push(2)
            talk.settlement.budgets = {}
            await super().send(status, body, headers)

    reply = await talk.ask(Slow(), model="large")
    assert reply.headers["x-farebox-cost"] == "0.08"
    assert talk.rows == [("large", "ok", "reported", 80_000_000)]


@pytest.mark.parametrize("capped", [False, True], ids=["smaller", "refused"])
async def test_an_attempt_whose_price_has_risen_meanwhile_keeps_to_max_cost(tmp_path, capped):
    gate, day, most = asyncio.Event(), "2026-11-25", "0.001"
    price = [
        {"currency": "USD", "input": 1, "output": 2, "to": day},
        {"currency": "USD", "input": 1, "output": 40, "from": day},
    ]
    broken = Late(gate, Failure(Fault.SERVER, "broken", 500))
    talk = Conversation(snapshot_of(tmp_path, models={"large": {"price": price}}), broken, answer(8, 5))
    talk.clock.at = at(f"{day}T00:00", UTC) - 1
    task = asking(talk, model="auto", farebox={"max_cost": most}, **({"max_tokens": 50} if capped else {}))
    await turn()
    talk.clock.push(1)
    gate.set()
    if capped:
        with pytest.raises(OverBudget, match=r"large: could cost up to .*, above max_cost 0\.001"):
            await task
        assert [attempt.model for attempt in talk.ledger.opened] == ["small"]
    else:
        await task
        assert talk.ledger.opened[1].model == "large"
        assert talk.ledger.opened[1].held <= amount_nano(most)
        assert 0 < talk.sent[1]["max_tokens"] < 25


async def test_hours_are_those_of_the_attempt_and_not_of_the_request(tmp_path):
    """A price that is judged by the start, asked for the second time after its hours have begun."""
    gate = asyncio.Event()
    rates = [
        {"when": {"hours": "09:00-12:00"}, "input": 40, "output": 40},
        {"input": 20, "output": 20},
    ]
    talk = Conversation(
        snapshot_of(tmp_path, models={"large": {"price": [{"currency": "USD", "rates": rates}]}}),
        Late(gate, Failure(Fault.SERVER, "broken", 500)),
        answer(1000, 1000),
    )
    talk.clock.at = at("2026-11-24T08:59:59", UTC)
    task = asking(talk, model="auto")
    await turn()
    talk.clock.push(2)
    gate.set()
    await task
    assert talk.rows[1] == ("large", "ok", "reported", 80_000_000)
