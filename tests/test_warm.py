"""Vendors' prompt caches made to pay: a conversation stays where its beginning is, and breakpoints go where they are worth it."""

from pathlib import Path

import pytest
from fakes import Conversation, answer, merged, snapshot_of
from support import KEY

from router.core import jsonio
from router.core.explain import explain
from router.core.failure import Failure, Fault
from router.core.prefix import prefix_of
from router.dialects import read

RECORDED = Path(__file__).parent / "recorded/anthropic_turns.jsonl"
LONG = "In the beginning there is a long text of many words. " * 200  # some 2,200 tokens

# Two models of one quality: `near` is cheaper cold, `far` has the cheaper cache.
NEAR = {"vendor": "check", "tier": "cheap", "quality": 0.8, "price": {"currency": "USD", "input": 2, "output": 2}}
FAR = {
    "vendor": "check", "tier": "cheap", "quality": 0.8,
    "price": {"currency": "USD", "input": 3, "cache_read": "0.3", "output": 2},
}  # fmt: skip


def two(folder, *answers):
    models = {"near": NEAR, "far": FAR}
    return Conversation(snapshot_of(folder, models=models, routes={"auto": {"models": ["near", "far"]}}), *answers)


def turns(n, text=LONG):
    out = [{"role": "system", "content": text}]
    for i in range(n):
        out += [{"role": "user", "content": f"question {i}"}, {"role": "assistant", "content": f"answer {i}"}]
    return [*out, {"role": "user", "content": f"question {n}"}]


def cached(read, prompt=2250):
    return answer(prompt, 5, usage={
        "prompt_tokens": prompt, "completion_tokens": 5, "total_tokens": prompt + 5,
        "prompt_tokens_details": {"cached_tokens": read},
    })  # fmt: skip


DOWN = Failure(Fault.CONNECT, "refused")


async def test_a_conversation_stays_with_the_model_that_has_its_beginning_while_that_is_cheaper(tmp_path):
    conversation = two(tmp_path, DOWN, cached(0), cached(2200), answer(2250, 5))
    await conversation.ask(messages=turns(0))  # `near` is down, so `far` answers
    conversation.clock.push(60)  # and is up again
    await conversation.ask(messages=turns(1))
    assert [sent["model"] for sent in conversation.sent] == ["near", "far", "far"]
    decision = conversation.decisions[1][2]
    assert decision.reason.endswith("the beginning of the prompt is in the cache of far")
    told = {candidate["model"]: candidate for candidate in explain(decision, "USD")["candidates"]}
    assert told["near"]["expected_cached"] == 0 and 2000 < told["far"]["expected_cached"] < 2300
    conversation.clock.push(300)  # by now the vendor has forgotten it
    await conversation.ask(messages=turns(2))
    assert conversation.sent[-1]["model"] == "near"


async def test_another_conversation_and_another_team_are_not_expected_to_be_in_a_cache(tmp_path):
    conversation = two(tmp_path, DOWN, cached(0), answer(2250, 5))
    await conversation.ask(messages=turns(0))
    conversation.clock.push(60)
    await conversation.ask(messages=turns(0, "Another " + LONG))
    assert conversation.sent[-1]["model"] == "near"
    seen = conversation.services.warm
    chat = read("chat/completions", jsonio.dumps({"model": "auto", "messages": turns(1)}), {})
    far = conversation.snapshot.catalog.models["far"]
    assert seen.longest("search", far, prefix_of(chat)) == 2 and seen.longest("ads", far, prefix_of(chat)) is None


async def test_a_model_that_does_not_read_what_it_should_have_is_believed_less_each_time(tmp_path):
    conversation = two(tmp_path, DOWN, *[cached(0) for _ in range(6)])
    for n in range(6):
        await conversation.ask(messages=turns(n))
        conversation.clock.push(60)
    assert [sent["model"] for sent in conversation.sent] == ["near", "far", "far", "far", "far", "near", "near"]


async def test_a_short_prompt_is_in_nobodys_cache(tmp_path):
    conversation = two(tmp_path, DOWN, answer(), answer())
    await conversation.ask()
    conversation.clock.push(60)
    await conversation.ask()
    assert conversation.sent[-1]["model"] == "near"


def test_a_mark_of_the_clients_makes_no_other_beginning():
    plain = {"model": "m", "max_tokens": 9, "system": LONG, "messages": [{"role": "user", "content": "a"}]}
    marked = {**plain, "system": [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}]}
    one, other = (prefix_of(read("messages", jsonio.dumps(body), {})) for body in (plain, marked))
    assert one.digests == other.digests and other.marked and not one.marked


# Breakpoints, with a vendor that bills its cache as Anthropic does

RATES = {"input": 3, "cache_read": "0.3", "cache_write": "3.75", "output": 15}
NANO = {"input_fresh": 3000, "cache_read": 300, "cache_write_5m": 3750, "output_text": 15_000}


def anthropic(folder, *, breakpoints=True):
    return {
        "server": {"port": 0},
        "store": f"sqlite:///{folder}/farebox.db",
        "mock": {"pace": 0},
        "vendors": {"anthropic": {}},
        "models": {"claude-sonnet-4-5": {"vendor": "anthropic", "tier": "flagship", "price": {"currency": "USD", **RATES}}},
        "routes": {"chat": {"models": ["claude-sonnet-4-5"], "cache_breakpoints": breakpoints}},
        "teams": {"search": {"keys": [{"name": "ci", "value": KEY}], "budgets": []}},
    }  # fmt: skip


def trace(conversations, length, path):
    """The requests of conversations one after the other, each with a system prompt of its own."""
    for c in range(conversations):
        system, messages = f"Conversation {c}. {LONG}", []
        for n in range(length):
            messages = [*messages, {"role": "user", "content": f"Question {n}: " + "what of it? " * 60}]
            if path == "/v1/messages":
                yield {"model": "chat", "max_tokens": 50, "system": system, "messages": messages}
            else:
                yield {
                    "model": "chat",
                    "max_tokens": 50,
                    "messages": [{"role": "system", "content": system}, *messages],
                }
            messages = [*messages, {"role": "assistant", "content": f"Answer {n}."}]


async def replayed(running, folder, requests, path, **how):
    """The rows of a trace."""
    folder.mkdir()
    farebox = await running(anthropic(folder, **how))
    for body in requests:
        async with farebox.post(path, json=body) as reply:
            assert reply.status == 200, await reply.text()
        await farebox.farebox.settlement.drain(10)  # the next turn comes when this one is over
    return await farebox.rows()


def bill(rows):
    return sum(row["cost"] for row in rows)


def prompt(row):
    return sum(row[leaf] or 0 for leaf in ("input_fresh", "cache_read", "cache_write_5m"))


def predicted(without, begins, length):
    """The bill of conversations of so many turns with breakpoints from one request on: each turn reads what the one before it
    was, and writes what is new.
    """
    out = before = 0
    for i, row in enumerate(without):
        whole, words = prompt(row), row["output_text"] * NANO["output_text"]
        if i < begins:
            out += whole * NANO["input_fresh"] + words
        else:
            kept = 0 if i % length == 0 or i == begins else before
            out += kept * NANO["cache_read"] + (whole - kept) * NANO["cache_write_5m"] + words
        before = whole
    return out


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
async def test_the_bill_of_conversations_falls_as_predicted(running, tmp_path, path):
    requests = list(trace(4, 8, path))
    without = await replayed(running, tmp_path / "off", requests, path, breakpoints=False)
    marked = await replayed(running, tmp_path / "on", requests, path)
    assert all(not row["cache_read"] and not row["cache_write_5m"] for row in without)
    begins = next(i for i, row in enumerate(marked) if row["cache_write_5m"])
    assert begins == 4  # so many turns of the first conversation have come again by then
    assert [prompt(row) for row in marked] == [prompt(row) for row in without]
    assert bill(marked) == predicted(without, begins, 8)
    print(f"{bill(without)} nano-units without breakpoints, {bill(marked)} with: {bill(marked) / bill(without):.3f}")
    assert bill(marked) < 0.45 * bill(without)


async def test_the_bill_of_a_recorded_conversation_falls_as_predicted(running, tmp_path):
    """What anthropic 2.13.0 sent in ten turns of an agent that reads pages by a tool (recorded 2026-11-29)."""
    requests = [jsonio.loads(line) for line in RECORDED.read_bytes().splitlines()]
    without = await replayed(running, tmp_path / "off", requests, "/v1/messages", breakpoints=False)
    marked = await replayed(running, tmp_path / "on", requests, "/v1/messages")
    begins = next(i for i, row in enumerate(marked) if row["cache_write_5m"])
    assert bill(marked) == predicted(without, begins, len(requests))
    print(f"{bill(without)} nano-units without breakpoints, {bill(marked)} with: {bill(marked) / bill(without):.3f}")
    assert bill(marked) < 0.8 * bill(without)


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
async def test_the_bill_never_rises_where_nothing_comes_again(running, tmp_path, path):
    requests = list(trace(30, 1, path))
    without = await replayed(running, tmp_path / "off", requests, path, breakpoints=False)
    marked = await replayed(running, tmp_path / "on", requests, path)
    assert bill(marked) == bill(without) and not any(row["cache_write_5m"] for row in marked)


async def test_a_system_prompt_that_all_share_is_marked_and_what_follows_it_is_not(running, tmp_path):
    requests = [
        {"model": "chat", "max_tokens": 50, "system": LONG, "messages": [{"role": "user", "content": f"Question {n}"}]}
        for n in range(12)
    ]
    marked = await replayed(running, tmp_path / "on", requests, "/v1/messages")
    written = [row["cache_write_5m"] for row in marked if row["cache_write_5m"]]
    assert len(written) == 1  # once, and never a question
    assert all(row["cache_read"] == written[0] and row["input_fresh"] < 30 for row in marked[5:])


async def test_a_client_that_marks_for_itself_is_left_alone(running, tmp_path):
    mark = {"type": "ephemeral"}
    requests = list(trace(1, 6, "/v1/messages"))
    for body in requests:
        body["system"] = [{"type": "text", "text": body["system"], "cache_control": mark}]
    tmp_path.joinpath("on").mkdir()
    farebox = await running(anthropic(tmp_path / "on"))
    for body in requests:
        async with farebox.post("/v1/messages", json=body) as reply:
            assert reply.status == 200
        await farebox.farebox.settlement.drain(10)
    assert {row["cache_read"] or row["cache_write_5m"] for row in await farebox.rows()} == {
        (await farebox.rows())[0]["cache_write_5m"]
    }


async def test_there_are_never_more_than_three_marks_and_they_are_where_they_may_be(tmp_path):
    snapshot = snapshot_of(
        tmp_path, **merged(anthropic(tmp_path), {"mock": None, "vendors": {"anthropic": {"api_key": "k"}}})
    )
    model = snapshot.catalog.models["claude-sonnet-4-5"]
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    messages = [
        *turns(1)[:-1],
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "found"},
    ]
    from dataclasses import replace  # noqa: PLC0415

    from router.dialects import request  # noqa: PLC0415

    chat = read("chat/completions", jsonio.dumps({"model": "chat", "messages": messages, "tools": [tool]}), {})
    chat = replace(chat, marks={model.name: (0, 1, len(messages))})
    body = jsonio.loads(request(chat, model, 100, "k", must=True, now=0).body)
    assert jsonio.dumps(body).count(b'"cache_control":{"type":"ephemeral"}') == 3
    assert "cache_control" in body["tools"][-1] and "cache_control" in body["system"][-1]
    assert body["messages"][-1]["content"][-1]["type"] == "tool_result"
    assert "cache_control" in body["messages"][-1]["content"][-1]
