"""The page's first sections: the figures at a glance, and budgets."""

from collections.abc import Sequence

from router.admin.figures import bar, count, duration, money, percent, when
from router.admin.markup import Html, join, tag
from router.admin.spend import Spend
from router.admin.tables import nothing
from router.admin.words import Words
from router.core.limits import MICROS, BudgetState

HALF_A_YEAR = 182 * 86_400 * MICROS


def tiles(sums: Spend, in_flight: int | None, words: Words) -> Html:
    """The sums of everything that is shown, in the reporting currency of today."""
    modest = sums.by_tier.get("free", 0) + sums.by_tier.get("cheap", 0)
    estimated = words("estimated", share=percent(sums.estimated_cost, sums.cost)) if sums.cost else words("nothing_yet")
    notes = [words("failed", count=count(sums.failed))]
    if in_flight is not None:
        notes.append(words("in_flight", count=count(in_flight)))
    shown = [
        ("spent", money(sums.cost, sums.currency), estimated),
        (
            "saved",
            money(sums.saved, sums.currency),
            words("of_flagship", share=percent(sums.saved, sums.saved + sums.cost)),
        ),
        ("requests", count(sums.requests), ", ".join(notes)),
        ("modest", percent(modest, sums.answered), words("of_answered", count=count(sums.answered))),
    ]
    tiles = [
        tag("div", tag("dt", words(name)), tag("dd", figure, class_="figure"), tag("dd", note, class_="quiet"))
        for name, figure, note in shown
    ]
    return tag("dl", tiles, class_="tiles")


def budgets(states: Sequence[BudgetState], now: int, words: Words, *, of_team: bool) -> Html:
    """Every budget as it stands; those that need somebody come first."""
    if not states:
        return nothing(words("no_own_budget" if of_team else "no_budget"))
    ranked = sorted(states, key=lambda state: _standing(state, now)[0])
    key = tag(
        "p",
        tag("span", tag("span", class_="key spent"), words("spent")),
        tag("span", tag("span", class_="key held"), words("held_key")),
        tag("span", tag("span", class_="key mark"), words("forecast_key")),
        class_="quiet keys",
    )
    return join(tag("ul", [_budget(state, now, words) for state in ranked], class_="cards"), key)


def _standing(state: BudgetState, now: int) -> tuple[int, str, str]:
    """How much it needs somebody, what is said of it, and how that looks."""
    budget = state.budget
    if state.settled + state.held >= budget.limit:
        return 0, "state_spent", "bad"
    if state.forecast(now) > budget.limit:
        return 1, "state_over", "bad"
    if budget.soft is not None and budget.on_soft == "cheap" and state.settled + state.held >= budget.soft:
        return 2, "state_soft", "calm"
    return 3, "state_ok", "good"


def _budget(state: BudgetState, now: int, words: Words) -> Html:
    budget, forecast = state.budget, state.forecast(now)
    used, held = percent(state.settled, budget.limit), percent(state.held, budget.limit)
    endless = budget.per == "total"
    told = words("bar", spent=used, held=held)
    if not endless:
        told = words("bar_forecast", spent=used, held=held, forecast=percent(forecast, budget.limit))
    marks = [("forecast", forecast)] if not endless and forecast else []
    marks += [("soft", budget.soft)] if budget.soft else []
    _, standing, kind = _standing(state, now)
    rows = [
        ("left", money(max(0, state.free), budget.currency)),
        ("held", money(state.held, budget.currency)),
        None if endless else ("forecast", money(forecast, budget.currency)),
        None if budget.soft is None else ("soft", money(budget.soft, budget.currency)),
        ("resets", Html(words("never")) if endless else _resets(state, now, words)),
    ]
    over = forecast > budget.limit and not endless
    figures = [
        join(tag("dt", words(row[0])), tag("dd", row[1], class_="over" if over and row[0] == "forecast" else None))
        for row in rows
        if row is not None
    ]
    zone = "" if endless or budget.zone_name == "UTC" else f", {budget.zone_name}"
    return tag(
        "li",
        tag("div", tag("h3", _owner(budget.owner, words)), tag("span", words(standing), class_=f"badge {kind}"), class_="top"),
        tag("p", words(f"per_{budget.per}"), zone, class_="quiet"),
        tag(
            "p",
            tag("span", used, class_="share"), tag("strong", money(state.settled, budget.currency)), " ",
            words.html("of_limit", limit=money(budget.limit)),
            class_="spent",
        ),
        bar(told, [("spent", state.settled), ("held", state.held)], budget.limit, marks),
        tag("dl", figures),
    )  # fmt: skip


def _resets(state: BudgetState, now: int, words: Words) -> Html:
    return join(
        words("resets_in", time=duration(state.ends - now, words)), ", " if words.language == "en" else "，",
        when(state.ends, now, "%H:%M", "%m-%d %H:%M" if state.ends - now < HALF_A_YEAR else "%Y-%m-%d"),
    )  # fmt: skip


def _owner(owner: str, words: Words) -> str:
    if owner == "*":
        return words("everybody")
    team, slash, key = owner.partition("/")
    return words("of_key", team=team, key=key) if slash else team
