"""Cheap first, looked at, and a better model where it will not do: whole conversations."""

import asyncio
import sys
import threading
import types

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.checker import AT_ONCE
from router.core import jsonio
from router.core.errors import OverBudget
from router.core.failure import Failure, Fault
from router.habits import ENOUGH
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

    module.waiting = asyncio.Event()

    async def waits(request, told, model, route):
        module.waiting.set()
        await asyncio.Event().wait()

    async def never(request, told, model, route):
        await asyncio.Event().wait()

    def broken(request, told, model, route):
        raise RuntimeError("a fault in the user's own code")

    def quotes(request, told, model, route):
        raise ValueError(told["choices"][0]["message"]["content"])

    def ends(request, told, model, route):
        sys.exit(1)

    class Scorer:
        async def __call__(self, request, told, model, route):
            return score(request, told, model, route)

    module.hanging = threading.Event()

    def hangs(request, told, model, route):
        module.hanging.wait()

    module.score, module.later, module.never, module.broken, module.number = score, later, never, broken, 5
    module.ends, module.scorer, module.hangs, module.waits = ends, Scorer(), hangs, waits
    module.quotes = quotes
    sys.modules["users_checks"] = module
    yield module
    module.hanging.set()
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


async def test_what_a_vendor_says_in_its_error_fits_a_header_and_a_column(tmp_path):
    said = "坏了\r\nx-evil: 1\ud800" + "很长" * 9000
    talk = talk_of(
        tmp_path,
        (500, jsonio.dumps({"error": {"message": said.replace("\ud800", "@")}}).replace(b"@", b"\\ud800")),
        GOOD,
    )
    reply = await talk.ask(model="best")
    told = reply.headers["x-farebox-reason"]
    assert "坏了 x-evil: 1 很长" in told
    assert told.isprintable() and len(told.encode()) < 2000
    reasons = [entry.attempt.reason for entry in talk.ledger.closed]
    assert reasons[-1] == told and "\ud800" not in reasons[-1]


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


@pytest.mark.parametrize("name", ["score", "later", "scorer"])
async def test_the_users_own_function_is_asked(tmp_path, checkers, name):
    checker = {"python": f"users_checks:{name}"}
    talk = talk_of(tmp_path, answer(text="so so"), GOOD, cascade={"checker": checker})
    reply = await talk.ask(model="best")
    assert reply.headers["x-farebox-reason"].endswith("escalated from small: checker: 0.2 is below 0.5")
    assert checkers.seen == [("hello", "small", "best")]
    talk.upstream.answers.append(GOOD)
    assert (await talk.ask(model="best")).headers["x-farebox-model"] == "small"


@pytest.mark.parametrize("name", ["never", "broken", "ends", "quotes"])
async def test_an_answer_that_could_not_be_checked_is_not_served(tmp_path, checkers, name, caplog):
    checker = {"python": f"users_checks:{name}", "timeout": 0.01}
    talk = talk_of(tmp_path, GOOD, GOOD, cascade={"checker": checker})
    reply = await talk.ask(model="best")
    assert reply.headers["x-farebox-model"] == "large"
    assert reply.headers["x-farebox-reason"].endswith("escalated from small: checker: it could not be checked")
    assert talk.services.cascades.outcomes == {("best", "unchecked"): 1}
    assert "checked" in caplog.text or "checker" in caplog.text
    assert not any("good answer" in str(vars(record)) for record in caplog.records)


async def test_a_function_that_hangs_takes_nobody_elses_threads(tmp_path, checkers):
    talk = talk_of(tmp_path, cascade={"checker": {"python": "users_checks:hangs", "timeout": 0.001}})
    for _ in range(AT_ONCE + 40):  # more than the event loop's own threads
        talk.upstream.answers[:] = [GOOD, GOOD]
        assert (await talk.ask(model="best")).headers["x-farebox-model"] == "large"
    assert await asyncio.wait_for(asyncio.to_thread(lambda: 5), 10) == 5
    assert sum(thread.name == "checker" for thread in threading.enumerate()) >= AT_ONCE


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
        ("fb-1-judge", "best", "small"), ("fb-1", "best", "small"), ("fb-1", "best", "large"),
    ]  # fmt: skip
    assert all(entry.cost > 0 for entry in talk.ledger.closed)
    talk.upstream.answers[:] = [GOOD, answer(text="9")]
    assert (await talk.ask(model="best")).headers["x-farebox-model"] == "small"
    talk.upstream.answers[:] = [GOOD, answer(text="excellent"), GOOD]
    assert (await talk.ask(model="best")).headers["x-farebox-model"] == "large"


@pytest.mark.parametrize("told", ["Score: 8", "between 7 and 9", "11", "9.5.1", ""])
async def test_a_judge_that_says_more_than_a_number_has_not_judged(tmp_path, told):
    talk = talk_of(tmp_path, GOOD, answer(text=told), GOOD, cascade={"judge": "small"})
    assert (await talk.ask(model="best")).headers["x-farebox-model"] == "large"
    assert talk.services.cascades.outcomes == {("best", "unchecked"): 1}


@pytest.mark.parametrize("told", ["8", "8/10", "**8**", "7.5.\n"])
async def test_a_judges_number_may_have_its_marks(tmp_path, told):
    talk = talk_of(tmp_path, GOOD, answer(text=told), cascade={"judge": "small"})
    assert (await talk.ask(model="best")).headers["x-farebox-model"] == "small"


PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 1000}}


@pytest.mark.parametrize("content", [[{"type": "text", "text": "what is it?"}, PICTURE], "long " * 4000])
async def test_what_a_judge_would_not_see_or_be_paid_too_much_for_is_not_sent_to_it(tmp_path, content):
    talk = talk_of(tmp_path, GOOD, GOOD, cascade={"judge": "small"})
    reply = await talk.ask(model="best", messages=[{"role": "user", "content": content}])
    assert reply.headers["x-farebox-reason"].endswith("judge: it could not be checked")
    assert [row[0] for row in rows(talk)] == ["small", "large"]


async def test_what_a_judge_costs_is_its_routes_and_says_whose_answer_it_was_asked_about(tmp_path):
    talk = talk_of(tmp_path, GOOD, answer(text="9", completion=2), cascade={"judge": "small"})
    await talk.ask(model="best", headers={"x-farebox-tags": "feature=search"})
    judges, own = talk.ledger.closed
    assert (judges.attempt.route, judges.final, own.attempt.route) == ("best", False, "best")
    assert judges.attempt.tags == {"feature": "search", "judge": "fb-1"} and own.attempt.tags == {"feature": "search"}
    assert talk.services.habits.expected_output("small") == 2  # its number is no answer of the route's
    assert talk.services.habits.expected_output("best") == own.usage.output_total != 2


async def test_a_judge_may_be_the_model_that_has_just_answered_and_has_room_for_one(tmp_path):
    models = {"small": {"limits": {"concurrent": 1}}}
    talk = talk_of(tmp_path, GOOD, answer(text="9"), cascade={"judge": "small"}, models=models)
    assert (await talk.ask(model="best")).headers["x-farebox-model"] == "small"
    assert rows(talk) == [("small", "ok", False), ("small", "ok", True)]  # the judge's is no client's request


async def test_a_client_that_leaves_while_its_answer_is_checked_has_made_one_request(tmp_path, checkers):
    talk = talk_of(tmp_path, GOOD, cascade={"checker": {"python": "users_checks:waits", "timeout": 60}})
    asking = asyncio.create_task(talk.ask(model="best"))
    await checkers.waiting.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await talk.settlement.drain(10)
    assert rows(talk) == [("small", "left", True)]
    assert talk.ledger.closed[0].cost > 0
    assert await talk.held() == 0


async def test_what_was_not_good_enough_teaches_nothing_of_how_long_answers_are(tmp_path):
    talk = talk_of(tmp_path, answer(text="I cannot help with that.", completion=3), answer(completion=400))
    await talk.ask(model="best")
    assert talk.services.habits.expected_output("best") == 400


async def test_the_length_is_looked_at_once_enough_answers_were_seen(tmp_path):
    talk = talk_of(tmp_path, answer(completion=1))
    talk.services.habits.observe("best", 300)
    assert (await talk.ask(model="best")).headers["x-farebox-model"] == "small"
    for _ in range(ENOUGH):
        talk.services.habits.observe("best", 300)
    talk.upstream.answers[:] = [answer(completion=1), GOOD]
    reply = await talk.ask(model="best")
    assert reply.headers["x-farebox-reason"].endswith("length: it is shorter than the route's answers are by far")


async def test_the_time_of_the_cheap_one_is_not_ours(tmp_path):
    talk, overhead = talk_of(tmp_path, cascade={"judge": "small"}), []
    talk.services.on_overhead = overhead.append
    answers = iter([GOOD, answer(text="1"), GOOD])

    def slow(call):
        talk.clock.push(5)
        talk.upstream.answers[:] = [next(answers)]
        return opened(call)

    opened, talk.upstream.open = talk.upstream.open, slow
    assert (await talk.ask(model="best")).headers["x-farebox-model"] == "large"
    assert [round(seconds) for seconds in overhead] == [0]  # and the judge's is none of a request's


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("completions", {"prompt": "hello"}),  # of which nobody reads the answers
        ("messages", {"max_tokens": 100, "tools": [{"name": "look", "input_schema": {"type": "object"}}], "messages": [
            {"role": "user", "content": "look"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "look", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "nothing"}, {"type": "text", "text": "go on"}]},
        ]}),
        ("responses", {"input": [
            {"role": "user", "content": "look"},
            {"type": "function_call", "call_id": "1", "name": "look", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "1", "output": "nothing"},
        ]}),
    ],
)  # fmt: skip
async def test_a_tool_loop_is_one_in_any_dialect_and_a_completion_is_never_tried(tmp_path, endpoint, body):
    talk = talk_of(tmp_path, GOOD)
    if endpoint == "completions":
        talk.upstream.answers[:] = [
            b'{"id":"x","choices":[{"text":"hi","finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'
        ]
    raw = jsonio.dumps({"model": "best", **body})
    await talk.ask(raw=raw, endpoint=endpoint)
    assert rows(talk) == [("large", "ok", True)]


async def test_a_conversation_that_the_vendor_keeps_stays_where_it_is(tmp_path):
    talk = talk_of(tmp_path, vendors={"check": {"dialect": "responses"}}, models={
        name: {"context_window": 8000} for name in ("small", "large")
    })  # fmt: skip
    talk.upstream.answers[:] = [RESPONSE]
    raw = b'{"model":"best","input":"and then?","previous_response_id":"resp_1"}'
    await talk.ask(raw=raw, endpoint="responses")
    assert rows(talk) == [("large", "ok", True)]


RESPONSE = jsonio.dumps({
    "id": "resp_2", "object": "response", "status": "completed", "model": "large",
    "output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "A good answer."}]}],
    "usage": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15},
})  # fmt: skip


async def test_an_old_function_call_is_an_answer(tmp_path):
    message = {"role": "assistant", "content": None, "function_call": {"name": "look", "arguments": "{}"}}
    called = answer(choices=[{"index": 0, "message": message, "finish_reason": "function_call"}])
    talk = talk_of(tmp_path, called)
    reply = await talk.ask(model="best", functions=[{"name": "look", "parameters": {"type": "object"}}])
    assert reply.headers["x-farebox-model"] == "small"


async def test_what_costs_nothing_either_way_is_not_asked_twice(tmp_path):
    talk = talk_of(tmp_path, GOOD, models={name: {"price": "free"} for name in ("small", "large")})
    await talk.ask(model="best")
    assert rows(talk) == [("large", "ok", True)]


async def test_a_budget_that_cannot_hold_the_better_model_pays_for_the_cheap_one_and_refuses(tmp_path):
    teams = {"search": {"budgets": [{"limit": "0.001", "per": "total"}]}}
    talk = talk_of(tmp_path, BAD, teams=teams)
    with pytest.raises(OverBudget):
        await talk.ask(model="best", max_tokens=100, messages=[{"role": "user", "content": "hello " * 90}])
    assert [(e.attempt.model, e.outcome) for e in talk.ledger.closed] == [("small", "ok")]
    assert await talk.held() == 0
    assert await talk.spent() == talk.ledger.closed[0].cost > 0


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
