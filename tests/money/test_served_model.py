"""A name that a vendor re-points: the price is that of the name that was asked for, by its dated entries; an answer that names
a model with another price is told of, since then the book is behind the vendor.
"""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from fakes import Conversation, answer, event, snapshot_of
from prometheus_client import generate_latest

from router.core import jsonio
from router.core.limits import micros
from router.core.money import show
from router.logs import observe as log_entry
from router.metrics import Metrics, Now

COUNTER = "farebox_served_at_another_price_total"


def talk_of(folder, vendor, model, *answers, **told):
    snapshot = snapshot_of(
        folder,
        vendors={vendor: {"base_url": "http://127.0.0.1:1/v1", "api_key": "sk"}},
        models={model: {"vendor": vendor, **told}},
        teams={"search": {"models": ["*"]}},
        exchange_rates={"CNY": [{"from": "2024-01-01", "rate": "0.14"}]},
    )
    talk = Conversation(snapshot, *answers)
    talk.clock.at = at("2026-11-24T20:00")
    return talk


def at(text):
    return micros(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Asia/Shanghai")))


def named(model, **more):
    return answer(1000, 1000, model=model, **more)


def streamed(model):
    usage = {"prompt_tokens": 1000, "completion_tokens": 1000, "total_tokens": 2000}
    word = {"model": model, "choices": [{"index": 0, "delta": {"content": "word"}}]}
    return [event(word), event({"model": model, "choices": [], "usage": usage}), b"data: [DONE]\n\n"]


def told(talk, caplog):
    """(models that the log names, the counter)"""
    metrics = Metrics(lambda: Now(talk.snapshot, 0, (), 0, 0.0))
    for entry in talk.ledger.closed:
        metrics.observe(entry)
        log_entry(entry)
    lines = [line for line in generate_latest(metrics.registry).decode().splitlines() if line.startswith(COUNTER)]
    served = [record.served for record in caplog.records if record.name == "farebox.ledger"]
    return served, sum(float(line.split()[-1]) for line in lines)


async def test_a_re_pointed_name_costs_what_the_model_behind_it_does_from_its_day_on(tmp_path, caplog):
    talk = talk_of(tmp_path, "deepseek", "deepseek-v4-flash", *[named("deepseek-flash") for _ in range(2)])
    talk.clock.at = at("2026-09-10T00:00") - 1
    await talk.ask(model="deepseek-v4-flash")
    talk.clock.at += 1
    await talk.ask(model="deepseek-v4-flash")
    # 0.22 and 0.66 until then, off-peak; 0.15 and 0.6 from then on
    assert [show(entry.vendor_cost) for entry in talk.ledger.closed] == ["0.00088", "0.00075"]
    assert [entry.served for entry in talk.ledger.closed] == ["deepseek-flash", ""]  # the name did not lead there yet
    assert told(talk, caplog) == (["deepseek-flash"], 1)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_an_answer_of_a_model_with_another_price_is_charged_as_asked_and_told(tmp_path, caplog, stream):
    reply = streamed("gpt-4o-2024-05-13") if stream else named("gpt-4o-2024-05-13")
    talk = talk_of(tmp_path, "openai", "gpt-4o", reply)
    await talk.ask(model="gpt-4o", stream=stream)
    (entry,) = talk.ledger.closed
    assert (show(entry.vendor_cost), entry.attempt.price) == ("0.0125", "USD 2.5/1.25/10 from 2024-08-06")
    assert told(talk, caplog) == (["gpt-4o-2024-05-13"], 1)


@pytest.mark.parametrize(
    "served",
    ["gpt-4o", "gpt-4o-2024-11-20", "gpt-4o-2031-01-01", "", None, 7, ["gpt-4o-2024-05-13"]],
)
async def test_the_same_price_or_a_name_that_no_book_has_is_nothing_to_tell(tmp_path, caplog, served):
    talk = talk_of(tmp_path, "openai", "gpt-4o", named(served))
    await talk.ask(model="gpt-4o")
    assert told(talk, caplog) == ([], 0)


async def test_a_name_of_azure_is_looked_up_in_the_book_it_bills_by(tmp_path, caplog):
    talk = talk_of(tmp_path, "azure-openai", "ours", named("gpt-4o-2024-05-13"), name="ours", priced_as="gpt-4o")
    await talk.ask(model="ours")
    assert told(talk, caplog) == (["gpt-4o-2024-05-13"], 1)


async def test_a_price_of_the_operators_own_is_not_compared_with_a_book(tmp_path, caplog):
    price = {"currency": "USD", "input": 1, "output": 1}
    talk = talk_of(tmp_path, "openai", "gpt-4o", named("gpt-4o-2024-05-13"), price=price)
    await talk.ask(model="gpt-4o")
    assert told(talk, caplog) == ([], 0)


async def test_a_doubtful_price_is_nothing_to_compare_with(tmp_path, caplog):
    talk = talk_of(tmp_path, "tencent", "hunyuan-turbos-latest", named("hunyuan-t1-latest"))
    assert "hunyuan-t1-latest" in talk.snapshot.catalog.models["hunyuan-turbos-latest"].others
    await talk.ask(model="hunyuan-turbos-latest")
    assert len(talk.ledger.closed) == 1 and told(talk, caplog) == ([], 0)


async def test_anthropics_wire_names_its_model_too(tmp_path, caplog):
    usage = {"input_tokens": 1000, "output_tokens": 1000}
    message = {"id": "m", "type": "message", "role": "assistant", "model": "claude-opus-5", "stop_reason": "end_turn"}
    reply = jsonio.dumps({**message, "content": [{"type": "text", "text": "hi"}], "usage": usage})
    talk = talk_of(tmp_path, "anthropic", "claude-sonnet-4-5", reply)
    await talk.ask(model="claude-sonnet-4-5")
    assert told(talk, caplog) == (["claude-opus-5"], 1)
