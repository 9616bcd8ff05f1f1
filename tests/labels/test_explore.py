"""Randomised routing: what is drawn, what never is, and what is written down of it."""

import pytest
from fakes import budget, caller, model
from hypothesis import given, settings
from hypothesis import strategies as st

from router.core import jsonio
from router.core.catalog import ChatRequest, Route, Tier, Wishes, candidates
from router.core.charge import fit
from router.core.errors import RouterError
from router.core.explore import explorable, explore
from router.core.failure import Fault
from router.core.health import Unwell
from router.core.limits import BudgetState
from router.core.money import Rate, amount_nano
from router.core.plan import Market
from router.core.policy import decide
from router.core.tokens import Measure, Prompt
from router.dialects import read

RATES = {"USD": Rate(1, 1)}
UNWELL = Unwell(Fault.SERVER, 5.0, "its breaker is open")
CASES = st.fixed_dictionaries(
    {
        "models": st.lists(
            st.tuples(
                st.sampled_from(list(Tier)), st.sampled_from([None, 0.3, 0.8, 1.0]), st.integers(1, 50),
                st.frozensets(st.sampled_from(["tools", "images"])), st.sampled_from([None, 50, 5000]), st.booleans(),
            ),
            min_size=1, max_size=6,
        ),
        "fallbacks": st.integers(0, 2),
        "needs": st.sampled_from([frozenset(), frozenset(), frozenset({"tools"})]),
        "quality": st.sampled_from([None, 0.5, 0.9, 1.0]),
        "tier": st.sampled_from([None, None, None, Tier.CHEAP, Tier.FLAGSHIP]),
        "max_cost": st.sampled_from([None, None, "0.0001", "0.01"]),
        "tokens": st.sampled_from([10, 10, 100, 6000]),
        "soft": st.sampled_from([None, None, "the budget is past its soft limit"]),
        "pinned": st.sampled_from([False, False, False, True]),
        "rate": st.sampled_from([0.0, 0.05, 1.0, 1.0]),
        "draw": st.sampled_from([0.0, 0.049, 0.05, 0.999]),
        "left": st.sampled_from([None, None, "0.0001", "0.1"]),
    }
)  # fmt: skip


@given(CASES)
@settings(max_examples=1500, deadline=None)
def test_exploring_never_chooses_what_was_forbidden(case):
    models = [
        model(f"m{i}", tier, quality, (price, price), lacks=lacks, context_window=window)
        for i, (tier, quality, price, lacks, window, _) in enumerate(case["models"])
    ]
    unwell = {f"m{i}" for i, told in enumerate(case["models"]) if told[-1]}
    cut = max(1, len(models) - case["fallbacks"])
    route = Route("auto", tuple(models[:cut]), case["quality"], fallback=tuple(models[cut:]), pinned=case["pinned"])
    cost = case["max_cost"] and amount_nano(case["max_cost"])
    chat = ChatRequest(
        "chat/completions", {"messages": [{"role": "user", "content": "?"}]}, "auto", Prompt(),
        needs=case["needs"], wishes=Wishes(tier=case["tier"], max_cost=cost),
    )  # fmt: skip
    considered = candidates(chat, route, lambda *_: "")
    lost = {one.model.name for one in considered if one.lost}
    market = Market(0, RATES, lambda _: None, lambda *_: None, unwell=lambda m: UNWELL if m.name in unwell else None)
    try:
        before = decide(
            chat, route, caller(), considered, Measure(Prompt(), {"o200k_base": case["tokens"]}), market, case["soft"]
        )
    except RouterError:
        return
    states = [] if case["left"] is None else [BudgetState(budget(case["left"]), 0, 0, 0, 1)]

    def may(plan):
        return fit(plan, states, RATES, plan.output_cap).plan is plan

    after = explore(before, case["rate"], case["draw"], may)
    if not after.explored:
        assert after.plans == before.plans and after.reason == before.reason
        assert after.propensity in {None, round(1 - case["rate"], 9)}
        return
    plan = after.plans[0]
    assert case["draw"] < case["rate"] == after.propensity and not route.pinned
    assert plan.model in route.models and plan.model.name not in lost | unwell
    assert (plan.model.tier is Tier.FLAGSHIP) != (before.plans[0].model.tier is Tier.FLAGSHIP)
    assert case["soft"] is None or plan.model.tier in {Tier.CHEAP, Tier.FREE}
    assert plan.model.context_window is None or plan.tokens.tokens <= plan.model.context_window
    assert cost is None or (plan.bound_pico <= cost * 1000 and plan.capped_by != "max_cost")
    assert all(plan.bound_pico <= state.free * 1000 for state in states)
    assert [p for p in after.plans[1:] if p.model is not plan.model] == [
        p for p in before.plans if p.model is not plan.model
    ]
    assert after.reason.startswith("explored: ")
    assert not next(v for v in after.verdicts if v.model is plan.model).lost


@pytest.mark.parametrize(
    "messages",
    [
        [
            {"role": "user", "content": "?"},
            {"role": "assistant", "tool_calls": [{"id": "1"}]},
            {"role": "tool", "content": "5"},
        ],
        [{"role": "user", "content": "?"}, {"role": "assistant", "tool_calls": [{"id": "1"}]}],
        [{"role": "user", "content": "?"}, {"role": "function", "name": "f", "content": "5"}],
    ],
)
def test_nothing_is_drawn_in_a_tool_loop(messages):
    body = {"model": "auto", "messages": messages}
    assert not explorable(read("chat/completions", jsonio.dumps(body), {}))
    assert explorable(read("chat/completions", jsonio.dumps({**body, "messages": messages[:1]}), {}))


def test_nothing_is_drawn_in_a_tool_loop_of_another_wire():
    told = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "5"}]},
    ]
    body = {"model": "auto", "max_tokens": 5, "messages": told}
    assert not explorable(read("messages", jsonio.dumps(body), {}))
    assert explorable(read("messages", jsonio.dumps({**body, "messages": told[:1]}), {}))


@pytest.mark.parametrize("headers", [{"x-farebox-quality": "0.9"}])
def test_nothing_is_drawn_where_the_request_says_how_good_its_answer_must_be(headers):
    body = {"model": "auto", "messages": [{"role": "user", "content": "?"}]}
    assert not explorable(read("chat/completions", jsonio.dumps(body), headers))


# In conversation


async def test_the_draw_sends_a_request_to_the_other_side_and_the_ledger_has_its_propensity(start, config, say, kept):
    on = await start(config({"explore": 0.05}), draw=0.049)
    name, chosen, _ = await say(on)
    (row,) = await on.rows()
    assert (chosen, row["model"], row["propensity"]) == ("gpt-4o", "gpt-4o", 0.05)
    assert row["reason"] == "explored: gpt-4o instead of qwen-plus, which is done with 0.05 of requests"
    (told,) = await kept(on)
    assert (told["model"], told["propensity"], told["explored"]) == ("gpt-4o", 0.05, True)
    assert on.farebox.explained(name)["chosen"] == "gpt-4o"
    on.farebox.labels.chance = lambda: 0.05
    _, chosen, _ = await say(on)
    assert (chosen, (await on.rows())[1]["propensity"]) == ("qwen-plus", 0.95)
    assert [(one["propensity"], one["explored"]) for one in await kept(on)] == [(0.05, True), (0.95, False)]


async def test_with_a_quality_that_only_the_flagship_meets_the_draw_goes_down(start, config, say):
    on = await start(config({"explore": 0.02, "quality": 0.95}), draw=0.01)
    assert (await say(on))[1] == "qwen-plus"
    assert (await on.rows())[0]["propensity"] == 0.02


@pytest.mark.parametrize(
    "asked",
    [
        {"model": "qwen-plus"},
        {"farebox": {"tier": "cheap"}},
        {"farebox": {"vendors": ["alibaba"]}},
        {"farebox": {"quality": 0.5}},
        {"farebox": {"max_cost": "0.001"}, "max_tokens": 200},
        {"model": "plain"},
    ],
)
async def test_where_nothing_may_be_drawn_the_ledger_has_no_propensity(start, config, say, asked):
    on = await start(config({"explore": 0.05}), draw=0.0)
    assert (await say(on, **asked))[1] == "qwen-plus"
    assert (await on.rows())[0]["propensity"] is None


@pytest.mark.parametrize("told", [{"limit": "0.002", "per": "total"}, {"limit": 1, "per": "total", "soft": 0.000001}])
async def test_nothing_is_drawn_that_a_budget_would_have_to_shorten_or_forbids(start, config, say, told):
    on = await start(config({"explore": 0.05, "max_output_tokens": 200}, {"budgets": [told]}), draw=0.999)
    await say(on, max_tokens=5)  # past the soft limit from here on
    on.farebox.labels.chance = lambda: 0.0
    assert (await say(on, max_tokens=200))[1] == "qwen-plus"
    assert (await on.rows())[1]["propensity"] is None


async def test_when_the_drawn_model_fails_the_policys_own_answers_and_has_no_propensity(start, config, say, kept):
    on = await start(config({"explore": 0.05}), draw=0.0)
    _, chosen, _ = await say(on, "status=503 fail=1 id=drawn out=5")
    assert chosen == "qwen-plus"
    assert [(row["model"], row["propensity"]) for row in await on.rows()] == [("gpt-4o", 0.05), ("qwen-plus", None)]
    (told,) = await kept(on)
    assert (told["model"], told["propensity"], told["explored"]) == ("qwen-plus", None, False)


async def test_a_dry_run_tells_the_policys_choice(start, config):
    on = await start(config({"explore": 0.05}), draw=0.0)
    body = {"model": "auto", "messages": [{"role": "user", "content": "?"}], "farebox": {"dry_run": True}}
    async with on.post(json=body) as reply:
        assert (await reply.json())["chosen"] == "qwen-plus"


async def test_the_draws_are_as_frequent_as_they_are_said_to_be(start, config, say, kept):
    import random  # noqa: PLC0415

    on = await start(config({"explore": 0.05}))
    on.farebox.labels.chance = random.Random(7).random
    body = {"model": "auto", "messages": [{"role": "user", "content": "? out=1"}]}
    for _ in range(400):
        async with on.post(json=body) as reply:
            await reply.read()
    await on.rows()
    rows = await kept(on)
    explored = [row for row in rows if row["explored"]]
    assert len(rows) == 400 and 8 <= len(explored) <= 34  # 20 expected; 3 deviations
    assert {row["model"] for row in explored} == {"gpt-4o"} and {row["propensity"] for row in rows} == {0.05, 0.95}
    # an inverse-propensity estimate of the flagship's share of one is one
    assert sum(1 / row["propensity"] for row in explored) / 400 == pytest.approx(1, abs=0.7)


async def test_what_a_cascade_tries_is_not_drawn(start, config, say, kept):
    cascade = {"quality": 0.95, "explore": 0.05, "cascade": {"when_ratio": 2}}
    on = await start(config(cascade), draw=0.0)
    assert (await say(on))[1] == "qwen-plus"
    (row,) = await on.rows()
    assert (row["propensity"], row["reason"]) == (
        None,
        "cheapest of 1 that meet 0.95; cascade: qwen-plus is tried first",
    )
    (told,) = await kept(on)
    assert (told["model"], told["propensity"], told["explored"]) == ("qwen-plus", None, False)
    await say(on, stream=True)  # which no cascade tries
    assert [row["propensity"] for row in await kept(on)] == [None, 0.05]
