"""Cheap first, looked at, and a better model where it will not do: whole conversations."""

import asyncio
import sys
import types

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.core import jsonio
from router.core.failure import Failure, Fault
from router.yamlfile import BadConfiguration
from tests.fakes import Conversation, answer, snapshot_of, stream

BAD, GOOD = answer(text="I cannot help with that."), answer(text="A good answer.")
RESET = Failure(Fault.RESET, "gone")


def talk_of(tmp_path, *answers, cascade=None, **changes):
    best = {"tiers": ["cheap", "flagship"], "quality": 0.95, "cascade": cascade or {"when_ratio": 10}}
    return Conversation(snapshot_of(tmp_path, **{"routes": {"best": best}, **changes}), *answers)


def rows(talk):
    return [(e.attempt.model, e.outcome, e.final) for e in talk.ledger.closed]


@pytest.fixture
def checkers():
    """A module of the user's own, that scores by what the answer says."""
    module = types.ModuleType("users_checks")
    module.seen = []

    def score(request, told, model, route):
        module.seen.append((request["messages"][-1]["content"], model, route))
        return 1.0 if "good" in told["choices"][0]["message"]["content"] else 0.2

    async def later(request, told, model, route):
        return score(request, told, model, route)

    async def never(request, told, model, route):
        await asyncio.Event().wait()

    def broken(request, told, model, route):
        raise RuntimeError("a fault in the user's own code")

    module.score, module.later, module.never, module.broken, module.number = score, later, never, broken, 5
    sys.modules["users_checks"] = module
    yield module
    del sys.modules["users_checks"]


async def test_a_cheap_answer_that_will_do_is_all_that_is_paid(tmp_path):
    talk = talk_of(tmp_path, GOOD)
    reply = await talk.ask(model="best")
    assert b"A good answer." in reply.body
    assert reply.headers["x-farebox-model"] == "small"
    assert reply.headers["x-farebox-reason"].endswith("cascade: small is tried first")
    assert rows(talk) == [("small", "ok", True)]
    assert talk.services.cascades.outcomes == {("best", "accepted"): 1}


async def test_one_that_will_not_do_is_charged_too_and_a_better_model_asked(tmp_path):
    talk = talk_of(tmp_path, BAD, GOOD)
    reply = await talk.ask(model="best")
    assert b"A good answer." in reply.body
    assert reply.headers["x-farebox-model"] == "large"
    assert reply.headers["x-farebox-reason"].endswith("escalated from small: refused: it begins as a refusal does")
    assert rows(talk) == [("small", "ok", False), ("large", "ok", True)]
    first = talk.ledger.closed[0]
    assert first.cost > 0
    assert (first.saved, first.fixed_cost) == (0, 0)  # what nobody got has saved nothing, and costs more than without
    assert await talk.held() == 0


async def test_a_cheap_vendor_that_fails_is_passed_over(tmp_path):
    talk = talk_of(tmp_path, RESET, GOOD)
    reply = await talk.ask(model="best")
    assert b"A good answer." in reply.body
    assert rows(talk) == [("small", "error", False), ("large", "ok", True)]


async def test_where_it_would_hardly_pay_the_better_model_is_asked_at_once(tmp_path):
    talk = talk_of(tmp_path, GOOD, cascade={"when_ratio": 30})
    await talk.ask(model="best")
    assert rows(talk) == [("large", "ok", True)]


TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
LOOP = [
    {"role": "user", "content": "look"},
    {
        "role": "assistant",
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "1", "content": "nothing"},
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(
    streamed=st.booleans(), loop=st.booleans(), named=st.booleans(), several=st.booleans(), tools=st.booleans(),
    cheap_enough=st.booleans(),
)  # fmt: skip
def test_nothing_streamed_pinned_or_in_a_tool_loop_is_ever_tried_cheap_first(
    tmp_path, streamed, loop, named, several, tools, cheap_enough
):
    async def run():
        talk = talk_of(tmp_path, cascade={"when_ratio": 10 if cheap_enough else 1000})
        talk.upstream.answers.append(stream("A good answer.") if streamed else GOOD)
        body = {"messages": LOOP if loop else LOOP[:1]} | ({"tools": [TOOL]} if tools or loop else {})
        body |= {"stream": True} if streamed else {}
        body |= {"n": 2} if several else {}
        await talk.ask(model="large" if named else "best", **body)
        return talk.ledger.closed[0].attempt.model

    forbidden = streamed or loop or named or several or not cheap_enough
    assert asyncio.run(run()) == ("large" if forbidden else "small")


@pytest.mark.parametrize("name", ["score", "later"])
async def test_the_users_own_function_is_asked(tmp_path, checkers, name):
    checker = {"python": f"users_checks:{name}"}
    talk = talk_of(tmp_path, answer(text="so so"), GOOD, cascade={"checker": checker})
    reply = await talk.ask(model="best")
    assert reply.headers["x-farebox-reason"].endswith("escalated from small: checker: 0.2 is below 0.5")
    assert checkers.seen == [("hello", "small", "best")]
    talk.upstream.answers.append(GOOD)
    assert (await talk.ask(model="best")).headers["x-farebox-model"] == "small"


@pytest.mark.parametrize("name", ["never", "broken"])
async def test_an_answer_that_could_not_be_checked_is_not_served(tmp_path, checkers, name, caplog):
    checker = {"python": f"users_checks:{name}", "timeout": 0.01}
    talk = talk_of(tmp_path, GOOD, GOOD, cascade={"checker": checker})
    reply = await talk.ask(model="best")
    assert reply.headers["x-farebox-model"] == "large"
    assert reply.headers["x-farebox-reason"].endswith("its answer could not be checked")
    assert "checked" in caplog.text or "checker" in caplog.text


async def test_a_webhook_is_sent_request_and_answer(tmp_path):
    checker = {"webhook": "http://127.0.0.1:9/score"}
    talk = talk_of(tmp_path, GOOD, (200, b'{"score": 0.9}'), cascade={"checker": checker})
    reply = await talk.ask(model="best")
    assert reply.headers["x-farebox-model"] == "small"
    told = jsonio.loads(talk.upstream.calls[1].body)
    assert (told["model"], told["route"]) == ("small", "best")
    assert told["request"]["messages"][0]["content"] == "hello"
    assert told["answer"]["choices"][0]["message"]["content"] == "A good answer."


@pytest.mark.parametrize("said", [(500, b"{}"), (200, b"no"), (200, b'{"score": 7}'), (200, b"{}"), RESET])
async def test_a_webhook_that_says_nothing_of_use_escalates(tmp_path, said):
    talk = talk_of(tmp_path, GOOD, said, GOOD, cascade={"checker": {"webhook": "http://127.0.0.1:9/score"}})
    assert (await talk.ask(model="best")).headers["x-farebox-model"] == "large"


async def test_a_paid_judge_is_a_request_like_any_other(tmp_path):
    talk = talk_of(tmp_path, GOOD, answer(text="3"), GOOD, cascade={"judge": "small"})
    reply = await talk.ask(model="best")
    assert reply.headers["x-farebox-reason"].endswith("escalated from small: judge: 0.3 is below 0.5")
    assert [(e.attempt.request_id, e.attempt.route, e.attempt.model) for e in talk.ledger.closed] == [
        ("fb-1-judge", "small", "small"), ("fb-1", "best", "small"), ("fb-1", "best", "large"),
    ]  # fmt: skip
    assert all(entry.cost > 0 for entry in talk.ledger.closed)
    talk.upstream.answers[:] = [GOOD, answer(text="9")]
    assert (await talk.ask(model="best")).headers["x-farebox-model"] == "small"
    talk.upstream.answers[:] = [GOOD, answer(text="excellent"), GOOD]
    assert (await talk.ask(model="best")).headers["x-farebox-model"] == "large"


async def test_a_budget_that_pays_for_the_cheap_one_only_serves_it_and_refuses_what_it_cannot_pay(tmp_path):
    keys = [{"name": "app", "value": "fb-search-key"}]
    teams = {"search": {"keys": keys, "models": ["*"], "budgets": [{"limit": "0.001", "per": "total"}]}}
    talk = talk_of(tmp_path, GOOD, BAD, teams=teams)
    assert (await talk.ask(model="best", max_tokens=100)).headers["x-farebox-model"] == "small"
    assert await talk.held() == 0


async def test_other_dialects_are_looked_at_too(tmp_path):
    talk = talk_of(tmp_path, BAD, GOOD)
    reply = await talk.ask(model="best", endpoint="messages", max_tokens=300)
    assert b"A good answer." in reply.body
    assert rows(talk) == [("small", "ok", False), ("large", "ok", True)]
    talk.upstream.answers[:] = [BAD, GOOD]
    reply = await talk.ask(model="best", endpoint="responses")
    assert b"A good answer." in reply.body


@pytest.mark.parametrize(
    ("cascade", "told"),
    [
        ({"judge": "nobody"}, "'nobody' is not under `models`"),
        ({"checker": {"python": "no.such_module:score"}}, "cannot be loaded: ModuleNotFoundError"),
        ({"checker": {"python": "users_checks:number"}}, "is no function"),
        ({"checker": {}}, "give either `webhook` or `python`"),
        ({"checks": ["magic"]}, "checks"),
    ],
)
def test_what_cannot_work_is_told_at_start(tmp_path, checkers, cascade, told):
    with pytest.raises(BadConfiguration) as problems:
        talk_of(tmp_path, cascade=cascade)
    assert told in str(problems.value)
