"""A cascade whose threshold is a certificate's: what it lets pass, and when nothing cheap is tried at all."""

import asyncio
import sys
import types
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.cli.certificates import dated
from router.core.cascade import Doubt, short_of
from router.core.labels import Labelled
from router.promises import Promises
from router.quality.certificate import Certificate, save
from router.yamlfile import BadConfiguration
from tests.fakes import Conversation, answer, snapshot_of

MADE = Certificate(
    kind="cascade", flagship="large", models=("small",), epsilon=0.05, delta=0.05, n=800, method="", threshold=0.7,
    artefact="a checker", date="2026-11-01",
)  # fmt: skip


@pytest.fixture
def checker():
    """A module of the user's own that gives the score it is told to."""
    module = types.ModuleType("users_scores")
    module.score, module.says = 0.9, lambda *_: module.score
    sys.modules["users_scores"] = module
    yield module
    del sys.modules["users_scores"]


def talk_of(tmp_path, certificate=MADE, **changes):
    save([certificate], tmp_path / "cascade.json")
    cascade = {"checker": {"python": "users_scores:says"}, "certificate": "cascade.json"}
    best = {"tiers": ["cheap", "flagship"], "quality": 0.95, "cascade": cascade}
    talk = Conversation(snapshot_of(tmp_path, **{"routes": {"best": best}, **changes}))
    talk.upstream.answers[:] = [answer(text="the first"), answer(text="the second")]
    return talk


async def served(talk, **body):
    reply = await talk.ask(**{"model": "best", **body})
    return reply.headers["x-farebox-model"], reply.headers["x-farebox-reason"].split("; ")[-1]


async def test_the_certified_threshold_decides_which_cheap_answers_pass(tmp_path, checker):
    checker.score = 0.7
    assert await served(talk_of(tmp_path)) == ("small", "cascade: small is tried first")
    checker.score = 0.69
    assert await served(talk_of(tmp_path)) == ("large", "escalated from small: checker: 0.69 is below 0.7")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(threshold=st.floats(0, 1), score=st.none() | st.floats(0, 1))
def test_nothing_below_the_certified_threshold_ever_passes(tmp_path, checker, threshold, score):
    certificate = replace(MADE, threshold=threshold)
    talk = talk_of(tmp_path, certificate)
    told = talk.snapshot.catalog.routes["best"].cascade
    assert (short_of(told, "checker", score) is None) == certificate.accepts(score)
    checker.score = score
    model, _ = asyncio.run(served(talk))
    assert model == ("small" if score is not None and score >= threshold else "large")


@pytest.mark.parametrize(
    ("odd", "told"),
    [
        ({"artefact": "judge mini"}, "is about scores of judge mini, not of a checker"),
        ({"route": "another"}, "holds no certificate for this cascade"),
        ({"kind": "two-tier"}, "holds no certificate for this cascade"),
        ({"threshold": None}, "holds no certificate for this cascade"),
        ({"models": ("tiny",)}, "names models that are not configured: tiny"),
    ],
)
async def test_a_certificate_that_is_not_in_force_lets_nothing_cheap_be_tried_and_is_told(tmp_path, checker, odd, told):
    talk = talk_of(tmp_path, replace(MADE, **odd))
    assert any(told in str(warning) for warning in talk.snapshot.warnings)
    assert (await served(talk))[0] == "large"
    assert len(talk.upstream.calls) == 1


async def test_it_is_only_about_its_own_two_models(tmp_path, checker):
    tiny = {
        "vendor": "check",
        "tier": "cheap",
        "quality": 0.5,
        "price": {"currency": "USD", "input": 0.1, "output": 0.1},
    }
    talk = talk_of(tmp_path, models={"tiny": tiny})
    assert (await served(talk))[0] == "small"  # tiny would be cheaper
    great = {"vendor": "check", "tier": "flagship", "price": {"currency": "USD", "input": 5, "output": 20}}
    talk = talk_of(tmp_path, models={"great": great})
    assert (await served(talk))[0] == "great"  # of which nobody said how much better it is
    assert len(talk.upstream.calls) == 1


async def test_a_need_above_the_promise_is_not_met_by_it(tmp_path, checker):
    assert (await served(talk_of(tmp_path), farebox={"quality": 0.99}))[0] == "large"
    low = replace(MADE, flagship_score=0.5)  # 0.05 points of 0.5 are a tenth of the flagship's quality
    assert (await served(talk_of(tmp_path, low)))[0] == "large"
    assert (await served(talk_of(tmp_path, low), farebox={"quality": 0.9}))[0] == "small"


async def test_a_broken_certificate_sends_everything_to_the_better_model_at_once_and_after_a_restart(
    tmp_path, checker, caplog
):
    talk = talk_of(tmp_path)
    promises = talk.services.promises = Promises(tmp_path / "farebox.db.promises")
    certified = talk.snapshot.catalog.routes["best"].cascade.certified
    count = 0
    while (await served(talk))[0] == "small":
        promises.observe_cascade(certified, Labelled(str(count), "best", "small", "checker", 0.0, 1.0, served=True))
        talk.upstream.answers[:] = [answer(), answer()]
        count += 1
        assert count < 50
    assert "a promise of quality is broken" in caplog.text
    (state,) = promises.standings(None, talk.snapshot.catalog, 0)
    assert (state.route, state.broken, state.labels, state.loss, state.certificate.quality) == (
        "best",
        True,
        count,
        1.0,
        0.95,
    )
    talk.services.promises = Promises(tmp_path / "farebox.db.promises")
    talk.upstream.answers[:] = [answer()]
    assert (await served(talk))[0] == "large"
    again = talk_of(tmp_path, replace(MADE, date="2026-11-20"))  # made anew
    again.services.promises = Promises(tmp_path / "farebox.db.promises")
    assert (await served(again))[0] == "small"


def test_only_what_the_cheap_model_answered_can_have_lost_anything(tmp_path, checker):
    certified, promises = talk_of(tmp_path).snapshot.catalog.routes["best"].cascade.certified, Promises()
    label = {
        "request_id": "1",
        "route": "best",
        "model": "small",
        "source": "checker",
        "score": 0.0,
        "loss": 1.0,
        "served": True,
    }
    for odd in ({"source": "human"}, {"served": False}, {"again": True}, {"loss": None}):
        promises.observe_cascade(certified, Labelled(**{**label, **odd}))
    promises.observe_cascade(None, Labelled(**label))
    promises.observe_cascade(certified, Labelled(**{**label, "model": "large", "loss": None}))
    (watch,) = promises._watches.values()
    assert (watch.labels, watch.total) == (1, 0.0)
    promises.observe_cascade(certified, Labelled(**label))
    assert (watch.labels, watch.total) == (2, 1.0)


@pytest.mark.parametrize(
    ("cascade", "told"),
    [
        ({"at_least": 0.5}, "give either `at_least` or the `certificate`"),
        ({"checker": None}, "is about the scores of a `checker` or a `judge`: name one"),
        ({"certificate": "nowhere.json"}, "nowhere.json: No such file"),
        ({"certificate": "farebox.yaml"}, "this is no file of certificates"),
    ],
)
def test_what_cannot_be_is_told_at_start(tmp_path, checker, cascade, told):
    with pytest.raises(BadConfiguration) as problems:
        talk_of(tmp_path, routes={"best": {"cascade": {
            "checker": {"python": "users_scores:says"}, "certificate": "cascade.json", **cascade,
        }}})  # fmt: skip
    assert told in str(problems.value)


def test_the_judge_is_part_of_who_scores_and_of_doubt_there_is_one_place(tmp_path, checker):
    cascade = {"checker": {"python": "users_scores:says"}, "judge": "small", "certificate": "cascade.json"}
    talk = talk_of(tmp_path, replace(MADE, artefact="a checker and judge small"), routes={"best": {"cascade": cascade}})
    told = talk.snapshot.catalog.routes["best"].cascade
    assert short_of(told, "judge", 0.5) == Doubt("judge: 0.5 is below 0.7")


LATER = 2_000_000_000_000_000
DEARER = {"small": {"price": [{"currency": "USD", "input": 1, "output": 2},
    {"currency": "USD", "input": 2, "output": 4, "from": "2026-11-10"}]}}  # fmt: skip


@pytest.mark.parametrize(
    ("certificate", "models", "stale"),
    [
        (MADE, {}, ""),
        (MADE, DEARER, "the price of small has changed since"),
        (replace(MADE, versions={"small": "small"}), {}, ""),
        (replace(MADE, versions={"small": "small-2025"}), {}, "small is small now, not small-2025"),
    ],
)
def test_a_cascades_promise_is_stale_once_a_price_or_a_model_has_changed(tmp_path, checker, certificate, models, stale):
    snapshot = talk_of(tmp_path, certificate, models=models).snapshot
    assert [state.stale for state in Promises().standings(None, snapshot.catalog, LATER)] == [stale]


def test_a_certificate_says_what_the_vendors_called_its_models_when_a_configuration_is_given(tmp_path):
    path = snapshot_of(tmp_path, models={"small": {"name": "small-2026-11"}}).path
    assert dated([MADE], None) == [MADE]
    assert dated([MADE], path)[0].versions == {"large": "large", "small": "small-2026-11"}
