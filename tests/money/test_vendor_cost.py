"""The vendor's own charge, where it reports one, is what everybody is told and charged; the price book's is kept beside it."""

from dataclasses import replace

import pytest
from fakes import Conversation, KeptReply, answer, event, snapshot_of
from prometheus_client import generate_latest

from router.core import jsonio
from router.core.entry import Attempt, Entry
from router.core.limits import micros, moment
from router.core.usage import Usage
from router.logs import observe as log_entry
from router.metrics import Metrics, Now

# 10 tokens at 1 and 5 at 2 USD per million are 20,000 nano-dollars: 200,000 ticks.
LISTED = 20_000


def usage(ticks, prompt=10, completion=5):
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return counts if ticks is None else {**counts, "cost_in_usd_ticks": ticks}


def talk_of(folder, *answers, price=None, **changes):
    """A conversation with a vendor that reports its charge."""
    told = {
        "vendors": {"xai": {"base_url": "http://127.0.0.1:1/v1", "api_key": "sk-vendor"}},
        "models": {"small": {"vendor": "xai", "price": [price or {"currency": "USD", "input": 1, "output": 2}]}},
        **changes,
    }
    return Conversation(snapshot_of(folder, **told), *answers)


def stream(*usages):
    words = [event({"choices": [{"index": 0, "delta": {"content": "word"}}]})]
    return [*words, *(event({"choices": [], "usage": told}) for told in usages), b"data: [DONE]\n\n"]


async def test_the_vendors_own_charge_is_what_the_client_the_row_and_the_budget_are_told(tmp_path):
    teams = {"search": {"budgets": [{"limit": 1, "per": "day"}]}}
    talk = talk_of(tmp_path, answer(usage=usage(199_991)), teams=teams)
    reply = await talk.ask()
    (entry,) = talk.ledger.closed
    assert talk.rows == [("small", "ok", "vendor_cost", 20_000)]  # 19,999.1, up
    assert (entry.vendor_cost, entry.list_cost, entry.usage) == (20_000, LISTED, Usage(10, None, None, None, 5))
    assert reply.headers["x-farebox-cost"] == "0.00002"
    assert jsonio.loads(reply.body)["usage"]["cost"] == 20e-6
    assert await talk.spent() == 20_000 and await talk.held() == 0


async def test_a_streams_last_event_tells_the_vendors_own_charge(tmp_path):
    talk = talk_of(tmp_path, stream(usage(123_450)))
    reply = await talk.ask(stream=True, stream_options={"include_usage": True})
    assert b'"cost":0.000012345,' in reply.body
    assert talk.rows == [("small", "ok", "vendor_cost", 12_345)]


async def test_of_several_usages_in_a_stream_the_last_holds(tmp_path):
    talk = talk_of(tmp_path, stream(usage(None, 10, 1), usage(150_000, 10, 3), usage(210_000)))
    reply = await talk.ask(stream=True, stream_options={"include_usage": True})
    assert b'"cost":0.000021,' in reply.body
    assert talk.rows == [("small", "ok", "vendor_cost", 21_000)]


async def test_a_client_that_left_is_charged_what_the_vendor_charges(tmp_path):
    talk = talk_of(tmp_path, stream(usage(210_000)))
    await talk.ask(KeptReply(patience=0), stream=True)
    assert talk.rows == [("small", "left", "vendor_cost", 21_000)]


async def test_without_a_charge_of_its_own_the_price_book_holds(tmp_path):
    talk = talk_of(tmp_path, answer(usage=usage(None)))
    await talk.ask()
    assert talk.rows == [("small", "ok", "reported", LISTED)] and talk.ledger.closed[0].list_cost is None


async def test_each_account_is_charged_in_its_currency_rounded_once_up(tmp_path):
    talk = talk_of(
        tmp_path,
        answer(usage=usage(10)),  # one nano-dollar
        exchange_rates={"CNY": [{"from": "2024-01-01", "rate": "0.15"}]},
        teams={"search": {"budgets": [{"limit": 1, "per": "day", "currency": "CNY"}, {"limit": 1, "per": "day"}]}},
    )
    await talk.ask()
    (entry,) = talk.ledger.closed
    assert (entry.vendor_cost, entry.cost) == (1, 1)
    assert [nano for _, _, nano in entry.charges] == [7, 1]  # 6.67


LONG = {"currency": "USD", "rates": [{"when": {"input_tokens": {"to": 100}}, "input": 1, "output": 2}]}


async def test_a_usage_without_a_price_is_charged_as_the_vendor_says(tmp_path):
    talk = talk_of(tmp_path, answer(usage=usage(70_000_000, 5000)), price=LONG)
    await talk.ask()
    assert talk.rows == [("small", "ok", "vendor_cost", 7_000_000)] and talk.ledger.closed[0].list_cost is None
    talk = talk_of(tmp_path, answer(usage=usage(None, 5000)), price=LONG)
    await talk.ask()
    assert talk.rows == [("small", "ok", "estimated", 5_010_000)]


async def test_a_charge_that_cannot_be_one_is_not_believed(tmp_path):
    talk = talk_of(tmp_path, answer(usage=usage(10**30)))
    await talk.ask()
    assert talk.rows == [("small", "ok", "reported", LISTED)]


async def test_a_saving_is_not_claimed_over_the_same_price(tmp_path):
    talk = talk_of(tmp_path, answer(usage=usage(100_000)), answer(usage=usage(100_000)))
    await talk.ask(model="small")
    await talk.ask(model="auto")
    assert [entry.saved for entry in talk.ledger.closed] == [0, 300_000 - 10_000]


def closed(vendor_cost, list_cost):
    attempt = Attempt(
        "fb-1.1", "fb-1", 1, micros(moment(0)), "search", "app", "auto", "small", "check", "cheap", "USD 1/2", "USD", "USD",
        1, 1, 1, (), Usage(),
    )  # fmt: skip
    return Entry(attempt, "ok", "vendor_cost", Usage(), vendor_cost, vendor_cost, 0, (), list_cost=list_cost)


@pytest.mark.parametrize(
    ("vendor_cost", "list_cost", "disputed"),
    [
        (20_000, 20_000, False), (20_200, 20_000, False), (20_201, 20_000, True), (19_799, 20_000, True),
        (2, 1, False), (0, 1, False), (3, 1, True), (2, 0, True), (1, 0, False), (20_000, None, False),
    ],
)  # fmt: skip
def test_a_charge_is_disputed_past_a_nano_unit_and_one_per_cent(tmp_path, caplog, vendor_cost, list_cost, disputed):
    snapshot, entry = snapshot_of(tmp_path), closed(vendor_cost, list_cost)
    metrics = Metrics(lambda: Now(snapshot, 0, (), 0, 0.0))
    metrics.observe(entry)
    metrics.observe(replace(entry, attempt=replace(entry.attempt, id="fb-2.1")))
    log_entry(entry)
    line = 'farebox_vendor_cost_mismatch_total{model="small",vendor="check"} 2.0'
    assert (line in generate_latest(metrics.registry).decode()) is disputed
    assert len(caplog.records) == disputed
    if disputed:
        (told,) = caplog.records
        assert (told.vendor_cost, told.list_cost) == (f"0.{vendor_cost:09d}".rstrip("0"), f"0.{list_cost:09d}".rstrip("0") if list_cost else "0")  # fmt: skip


async def test_the_service_tier_that_the_vendor_says_it_served_is_in_the_row(tmp_path):
    talk = talk_of(tmp_path, answer(usage=usage(None), service_tier="default"), answer(usage=usage(None)))
    await talk.ask()
    await talk.ask()
    assert [entry.service_tier for entry in talk.ledger.closed] == ["default", None]
