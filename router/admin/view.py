"""The page's frame, its headline figures and its budgets: values in, HTML out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from router.admin.figures import bar, count, duration, money, percent, when
from router.admin.markup import Html, document, join, tag
from router.admin.spend import Spend, group
from router.admin.tables import Recent, decisions_table, models_table, prices_table, teams_table
from router.core.limits import BudgetState
from router.stores.ports import Total

SPANS = {"day": "Last 24 hours", "month": "Last 30 days", "all": "All time"}
REFRESH_S = 10


@dataclass(frozen=True, slots=True)
class View:
    """Everything that one rendering shows."""

    at: int
    currency: str
    span: str
    refresh: bool
    may_log_out: bool
    version: str
    in_flight: int
    problems: Sequence[str]
    budgets: Sequence[BudgetState]
    totals: Sequence[Total]
    recent: Sequence[Recent]
    prices: Sequence[dict[str, Any]]


def page(view: View) -> str:
    head = tag("meta", http_equiv="refresh", content=str(REFRESH_S)) if view.refresh else Html()
    body = tag(
        "body",
        _header(view),
        tag(
            "main",
            _problems(view.problems),
            _tiles(view),
            _section("Budgets", "budgets", _budgets(view)),
            _section(
                f"Spend: {SPANS[view.span].lower()}", "spend", teams_table(view.totals), models_table(view.totals)
            ),
            _section("Last decisions", "decisions", decisions_table(view.recent, view.at)),
            _section("Prices in force", "prices", prices_table(view.prices)),
        ),
        _footer(view),
    )
    return document("Farebox", head, body)


def _section(title: str, name: str, *children: Html) -> Html:
    return tag("section", tag("h2", title, id=name), *children, aria_labelledby=name)


def _header(view: View) -> Html:
    links = [
        tag("a", label, href=_link(name, refresh=view.refresh), aria_current="page" if name == view.span else None)
        for name, label in SPANS.items()
    ]
    leave = tag("form", tag("button", "Log out"), method="post", action="logout") if view.may_log_out else None
    return tag("header", tag("h1", "Farebox"), tag("nav", links, aria_label="Span of time"), leave)


def _link(span: str, *, refresh: bool) -> str:
    wanted = [f"span={span}"] if span != "all" else []
    wanted += [] if refresh else ["refresh=off"]
    return "?" + "&".join(wanted) if wanted else "./"


def _problems(problems: Sequence[str]) -> Html | None:
    if not problems:
        return None
    return tag(
        "section",
        tag("h2", "The configuration on disk was not loaded", id="problems"),
        "Farebox goes on with the one before it. What is wrong:",
        tag("ul", [tag("li", problem) for problem in problems]),
        class_="warning",
        role="alert",
        aria_labelledby="problems",
    )


def _tiles(view: View) -> Html:
    """The sums of everything, in the reporting currency of today."""
    found = [spend for spend in group(view.totals, ()) if spend.currency == view.currency]
    sums = found[0] if found else Spend((), view.currency)
    modest = sums.by_tier.get("free", 0) + sums.by_tier.get("cheap", 0)
    estimated = f"{percent(sums.estimated_cost, sums.cost)} of it estimated" if sums.cost else "nothing yet"
    tiles = [
        ("Spent", money(sums.cost, view.currency), estimated),
        (
            "Saved",
            money(sums.saved, view.currency),
            f"{percent(sums.saved, sums.saved + sums.cost)} of the flagship's price",
        ),
        ("Requests", count(sums.requests), f"{count(sums.failed)} failed, {count(view.in_flight)} in flight"),
        ("Free or cheap tier", percent(modest, sums.answered), f"of {count(sums.answered)} answered"),
    ]
    shown = [
        tag("div", tag("dt", name), tag("dd", figure, class_="figure"), tag("dd", note, class_="quiet"))
        for name, figure, note in tiles
    ]
    return tag("dl", shown, class_="tiles")


# Budgets


def _budgets(view: View) -> Html:
    if not view.budgets:
        return tag("p", "No budget is configured: every team may spend without a limit.", class_="quiet")
    key = tag(
        "p",
        tag("span", class_="key spent"), "spent  ", tag("span", class_="key held"),
        "held by requests in flight; the line is the forecast for the end of the window",
        class_="quiet",
    )  # fmt: skip
    return join(tag("ul", [_budget(state, view.at) for state in view.budgets], class_="cards"), key)


def _budget(state: BudgetState, now: int) -> Html:
    budget, forecast, used = state.budget, state.forecast(now), percent(state.settled, state.budget.limit)
    endless = budget.per == "total"
    words = f"{used} spent, {percent(state.held, budget.limit)} held, forecast {percent(forecast, budget.limit)}"
    marks = [("forecast", forecast)] if not endless and forecast else []
    marks += [("soft", budget.soft)] if budget.soft else []
    over = forecast > budget.limit
    rows = [
        ("Left", money(max(0, state.free), budget.currency)),
        ("Held", money(state.held, budget.currency)),
        None if endless else ("Forecast", join(money(forecast, budget.currency), " – above the limit" if over else "")),
        None if budget.soft is None else ("Only cheap from", money(budget.soft, budget.currency)),
        ("Resets", "never" if endless else join(f"in {duration(state.ends - now)}, ", when(state.ends, now, "%H:%M"))),
    ]
    told = [
        join(tag("dt", row[0]), tag("dd", row[1], class_="over" if over and row[0] == "Forecast" else None))
        for row in rows
        if row is not None
    ]
    zone = "" if endless or budget.zone_name == "UTC" else f", {budget.zone_name}"
    return tag(
        "li",
        tag("div", tag("h3", _owner(budget.owner)), tag("span", _period(budget.per), zone), class_="top"),
        tag("p", tag("strong", money(state.settled, budget.currency)), " of ", money(budget.limit), f" spent ({used})"),
        bar(words, [("spent", state.settled), ("held", state.held)], budget.limit, marks),
        tag("dl", told),
    )


def _owner(owner: str) -> str:
    if owner == "*":
        return "Everybody"
    team, slash, key = owner.partition("/")
    return f"{team}, key {key}" if slash else team


def _period(per: str) -> str:
    return "in total" if per == "total" else f"per {per}"


def _footer(view: View) -> Html:
    other = not view.refresh
    link = tag("a", "Refresh every 10 seconds" if other else "Stop refreshing", href=_link(view.span, refresh=other))
    return tag(
        "footer",
        "As of ", when(view.at, view.at), " UTC. ", link, ". Farebox ", view.version, ". Times are UTC; amounts are rounded for the eye.",
    )  # fmt: skip


# The door


def door(error: str = "") -> str:
    """Where the admin key is asked for."""
    form = tag(
        "form",
        tag("input", name="username", value="admin", autocomplete="username", hidden=True),
        tag("label", "Admin key", for_="key"),
        tag(
            "input",
            id="key",
            name="key",
            type="password",
            required=True,
            autocomplete="current-password",
            autofocus=True,
        ),
        tag("button", "Log in"),
        method="post",
        action="login",
    )
    return _door(
        tag("p", "This page shows spend and budgets."),
        tag("p", error, class_="over", role="alert") if error else None,
        form,
    )


def closed() -> str:
    """What there is to see without an admin key."""
    return _door(
        tag("p", "This page is closed, because no admin key is configured. To open it, set one in the configuration:"),
        tag("p", tag("code", 'server: {admin_key: "${FAREBOX_ADMIN_KEY}"}')),
        tag("p", "or, where everybody who reaches this port may see spend and budgets:"),
        tag("p", tag("code", "server: {open_page: true}")),
    )


def unreadable(error: str) -> str:
    return _door(tag("p", "The store cannot be read:"), tag("p", error, class_="over", role="alert"))


def _door(*children: Html | None) -> str:
    body = tag("body", tag("main", tag("div", tag("h1", "Farebox"), children, class_="sheet door")))
    return document("Farebox", Html(), body)
