"""A certificate in force: learnt, certified, served, watched, and broken; whole conversations on made-up labels.

Cheap answers are good where a request says "easy" and of no use where it says "hard"; flagship answers are good.
"""

import asyncio
import random
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.core.labels import Labelled
from router.promises import Promises
from router.quality import Certificate, Model, calibrate, train
from router.quality.certificate import save
from router.yamlfile import BadConfiguration
from tests.fakes import Conversation, answer, snapshot_of

WORDS = [
    "rice",
    "wheat",
    "oil",
    "price",
    "month",
    "year",
    "market",
    "tax",
    "river",
    "road",
    "city",
    "train",
    "school",
    "book",
    "table",
]
CHINESE = ["大米", "小麦", "价格", "市场", "城市", "学校", "火车", "河流", "道路", "书本"]
EPSILON = 0.05


def prompt(draw):
    easy = draw.random() < 0.6
    words = draw.choices(CHINESE if draw.random() < 0.5 else WORDS, k=8)
    words.insert(draw.randrange(8), draw.choice(("easy", "simple") if easy else ("hard", "tricky")))
    return " ".join(words), easy


def score(text, model):
    return 1.0 if model == "large" or "easy" in text or "simple" in text else 0.0


def labelled(count, seed):
    draw = random.Random(seed)
    texts = [prompt(draw)[0] for _ in range(count)]
    return [{"prompt": text, "scores": {"large": 1.0, "small": score(text, "small")}} for text in texts]


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """A quality model and a certificate, in files."""
    folder = tmp_path_factory.mktemp("learnt")
    model = train(labelled(400, 1), flagship="large")
    model.save(folder / "quality.model")
    scores, losses = [], []
    for row in labelled(600, 2):
        found = model.score(row["prompt"])
        scores.append(found["large"] - found["small"])
        losses.append(1.0 - row["scores"]["small"])
    made = calibrate(
        scores, losses, EPSILON, 0.05, flagship="large", cheap="small", artefact=model.hash, date="2026-11-01"
    )
    save([made], folder / "quality.json")
    return folder


def talk_of(tmp_path, learnt, **changes):
    quality = {"model": str(learnt / "quality.model"), "certificates": str(learnt / "quality.json")}
    return Conversation(snapshot_of(tmp_path, quality=quality, **changes))


async def ask(talk, text, **body):
    talk.upstream.answers.append(answer())
    said = [{"role": "user", "content": text}]
    return await talk.ask(**{"model": "best", "messages": said, **body})


async def test_what_is_promised_is_kept_on_requests_that_were_not_seen_and_costs_what_it_said(tmp_path, learnt):
    talk, draw, lost, down = talk_of(tmp_path, learnt), random.Random(3), 0.0, 0
    for _ in range(300):
        text, _easy = prompt(draw)
        reply = await ask(talk, text)
        served = reply.headers["x-farebox-model"]
        lost += score(text, "large") - score(text, served)
        down += served == "small"
    certificate = Certificate.load(learnt / "quality.json")
    assert lost / 300 <= EPSILON
    assert abs(down / 300 - certificate.routed_down) < 0.1
    cost, flagship = (sum(getattr(e, name) for e in talk.ledger.closed) for name in ("cost", "flagship_cost"))
    assert abs((1 - cost / flagship) - down / 300 * (1 - 20 / 300)) < 0.02  # an answer costs 20 or 300 of the same
    assert sum(e.fixed_cost for e in talk.ledger.closed) == flagship  # no single cheaper model would have done


async def test_each_request_is_told_what_is_promised(tmp_path, learnt):
    talk = talk_of(tmp_path, learnt)
    reply = await ask(talk, "an easy question of the price of rice")
    assert reply.headers["x-farebox-reason"] == "certified: 95% with 95% confidence, small will do"
    reply = await ask(talk, "a hard question of the price of rice")
    assert reply.headers["x-farebox-reason"] == "certified: 95% with 95% confidence, large will do"
    lost = {v.model.name: v.lost for v in talk.decisions[-1][2].verdicts}
    assert lost["small"].endswith("not enough for what is promised")


async def test_a_need_above_the_promise_is_met_by_what_is_configured(tmp_path, learnt):
    talk = talk_of(tmp_path, learnt)
    reply = await ask(talk, "an easy question", farebox={"quality": 0.99})
    assert reply.headers["x-farebox-model"] == "large"
    assert "certified" not in reply.headers["x-farebox-reason"]
    reply = await ask(talk, "a hard question", model="auto", farebox={"quality": 0})
    assert reply.headers["x-farebox-model"] == "small"  # nothing is needed, so nothing is asked of the promise


TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def loop(text):
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    return [
        {"role": "user", "content": text},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "nothing"},
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(
    text=st.sampled_from(["an easy question", "一个 easy 问题", "simple simple"]), named=st.booleans(), in_loop=st.booleans(),
    lacks=st.booleans(), tools=st.booleans(), endpoint=st.sampled_from(["chat/completions", "messages"]),
)  # fmt: skip
def test_no_request_is_ever_routed_down_where_a_hard_constraint_forbids_it(
    tmp_path, learnt, text, named, in_loop, lacks, tools, endpoint
):
    async def run():
        talk = talk_of(tmp_path, learnt, models={"small": {"lacks": ["tools"] if lacks else []}})
        talk.upstream.answers.append(answer())
        body = {"messages": [{"role": "user", "content": text}]}
        if endpoint == "messages":
            body["max_tokens"] = 100
        elif in_loop:
            body["messages"] = loop(text)
        if endpoint == "chat/completions" and (tools or in_loop):
            body["tools"] = [TOOL]
        await talk.ask(model="large" if named else "best", endpoint=endpoint, **body)
        return talk.ledger.closed[0].attempt.model

    chat = endpoint == "chat/completions"
    forbidden = named or (chat and in_loop) or (chat and lacks and (tools or in_loop))
    assert asyncio.run(run()) == ("large" if forbidden else "small")


async def test_a_broken_promise_sends_the_route_back_to_the_flagship_at_once_and_after_a_restart(
    tmp_path, learnt, caplog
):
    talk = talk_of(tmp_path, learnt)
    promises = talk.services.promises = Promises(tmp_path / "farebox.db.promises")
    promised = talk.snapshot.promised
    count = 0
    while (await ask(talk, "an easy question")).headers["x-farebox-model"] == "small":
        promises.observe(promised, Labelled(str(count), "best", "small", "checker", 0.0, 1.0, served=True))
        count += 1
        assert count < 50
    assert count < 20  # twenty times the promised loss is seen soon
    assert "a promise of quality is broken" in caplog.text
    reply = await ask(talk, "an easy question")
    assert reply.headers["x-farebox-reason"] == "flagship: the promise for best is broken"
    talk.services.promises = Promises(tmp_path / "farebox.db.promises")
    assert (await ask(talk, "an easy question")).headers["x-farebox-model"] == "large"
    (state,) = [s for s in talk.services.promises.standings(promised, talk.snapshot.catalog, 0) if s.route == "best"]
    assert (state.broken, state.labels, state.loss) == (True, count, 1.0)


async def test_a_cascade_does_not_go_behind_a_promise_that_is_kept_or_broken(tmp_path, learnt):
    talk = talk_of(tmp_path, learnt, routes={"best": {"cascade": {"when_ratio": 10}}})
    reply = await ask(talk, "a hard question")
    assert reply.headers["x-farebox-reason"] == "certified: 95% with 95% confidence, large will do"
    promised, promises = talk.snapshot.promised, talk.services.promises
    for i in range(50):
        promises.observe(promised, Labelled(str(i), "best", "small", "checker", 0.0, 1.0, served=True))
    reply = await ask(talk, "an easy question")
    assert reply.headers["x-farebox-reason"] == "flagship: the promise for best is broken"
    assert {entry.attempt.model for entry in talk.ledger.closed} == {"large"}
    reply = await ask(talk, "an easy question", farebox={"quality": 0.99})  # above what is promised
    assert reply.headers["x-farebox-reason"].endswith("cascade: small is tried first")


def test_only_a_random_sample_of_what_the_policy_served_is_watched(tmp_path, learnt):
    promised = talk_of(tmp_path, learnt).snapshot.promised
    promises = Promises()
    label = {"request_id": "1", "route": "best", "model": "small", "source": "checker", "score": 0.0, "loss": 1.0}
    for odd in ({"source": "human"}, {"served": False}, {"again": True}, {"loss": None}):
        promises.observe(promised, Labelled(**{**label, "served": True, **odd}))
    promises.observe(promised, Labelled(**{**label, "model": "large", "loss": None, "served": True}))  # nothing is lost
    watch = next(iter(promises._watches.values()))
    assert (watch.labels, watch.total) == (1, 0.0)


def test_a_promise_is_stale_once_a_price_or_a_model_has_changed(tmp_path, learnt):
    snapshot = talk_of(tmp_path, learnt).snapshot
    (state, *_) = Promises().standings(snapshot.promised, snapshot.catalog, 2_000_000_000_000_000)
    assert state.stale == ""
    priced = {"small": {"price": [{"currency": "USD", "input": 1, "output": 2},
        {"currency": "USD", "input": 2, "output": 4, "from": "2026-11-10"}]}}  # fmt: skip
    snapshot = talk_of(tmp_path, learnt, models=priced).snapshot
    (state, *_) = Promises().standings(snapshot.promised, snapshot.catalog, 2_000_000_000_000_000)
    assert state.stale == "the price of small has changed since"
    before = 1_762_000_000_000_000  # in 2025
    (state, *_) = Promises().standings(snapshot.promised, snapshot.catalog, before)
    assert state.stale == ""


def test_a_certificate_of_another_model_is_told_and_not_used(tmp_path, learnt):
    other = tmp_path / "other"
    other.mkdir()
    train(labelled(200, 9), flagship="large").save(other / "quality.model")
    (other / "quality.json").write_bytes((learnt / "quality.json").read_bytes())
    talk = talk_of(tmp_path, other)
    assert "was made with another quality model" in str(talk.snapshot.warnings[0])
    reply = asyncio.run(ask(talk, "an easy question"))
    assert reply.headers["x-farebox-model"] == "large"


@pytest.mark.parametrize("broken", ["quality.model", "quality.json"])
def test_files_that_cannot_be_read_are_problems_of_the_configuration(tmp_path, learnt, broken):
    other = tmp_path / "other"
    other.mkdir()
    for name in ("quality.model", "quality.json"):
        (other / name).write_bytes(b"nonsense" if name == broken else (learnt / name).read_bytes())
    with pytest.raises(BadConfiguration) as told:
        talk_of(tmp_path, other)
    assert broken in str(told.value)
    (other / broken).unlink()
    with pytest.raises(BadConfiguration) as told:
        talk_of(tmp_path, other)
    assert "No such file" in str(told.value)


def test_nothing_is_asked_of_the_network(monkeypatch, learnt):
    monkeypatch.setattr(socket, "socket", lambda *_: pytest.fail("a socket was opened"))
    assert Model.load(learnt / "quality.model").score("an easy question").keys() == {"large", "small"}
