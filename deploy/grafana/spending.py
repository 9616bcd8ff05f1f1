"""The dashboards for whoever pays: spend, and budgets."""

from typing import Any

from panels import (
    MONTH,
    OWNER,
    TODAY,
    Row,
    choice,
    columns,
    grown,
    lines,
    made_of,
    number,
    per_day,
    rate,
    shares,
    so_far,
)

ANSWERED = '{team=~"$team", outcome!="error"}'
CHEAP = '{team=~"$team", outcome!="error", tier=~"free|cheap"}'
# How much of this month (UTC) has passed; the first hundredth counts as whole, as for a budget's forecast.
MONTH_PASSED = "scalar(clamp_min(((day_of_month() - 1) * 86400 + hour() * 3600 + minute() * 60) / (days_in_month() * 86400), 0.01))"
COST, SAVED, FIXED = "farebox_cost_total", "farebox_saved_total", "farebox_fixed_model_cost_total"


def spend() -> Any:
    """By team, model, tier, vendor and currency; today, this month, forecast; what routing saved."""
    cost, saved = grown(COST, "currency"), grown(SAVED, "currency")
    against_fixed = f"{grown(FIXED, 'currency')} - {cost}"
    month = so_far(COST, "currency")
    now = [
        number("Today", "Since midnight, in the time zone in which Grafana rounds: the browser's, in some versions", so_far(COST, "currency"), decimals=2, since=TODAY),
        number("This month", "Since the first, at midnight as for today", month, decimals=2, since=MONTH),
        number("Forecast", "What this month will have cost, at its pace so far; how much of it has passed is told in UTC", f"({month}) / {MONTH_PASSED}", decimals=2, since=MONTH),
        number("Saved against the flagship, 24 h", "What the route's cheapest flagship would have cost more, for the same tokens", saved, decimals=2),
        number(
            "Saved against the best fixed model, 24 h",
            "What the cheapest single model that is good enough would have cost more; below nothing where one model for all would have been cheaper",
            against_fixed, decimals=2,
        ),
        number("Free or cheap, 24 h", "Share of answered requests", f"{grown('farebox_requests_total', '', CHEAP)} / {grown('farebox_requests_total', '', ANSWERED)}", "percentunit", legend=""),
        number("Requests, 24 h", "Whatever became of them", grown("farebox_requests_total", ""), legend="", decimals=0),
        number("Estimated, 24 h", "Share of spend that no vendor reported", f"{grown('farebox_estimated_cost_total', 'currency')} / {cost}", "percentunit"),
    ]  # fmt: skip
    exact = "Exact: the difference of two readings of what the ledger has"
    days = [
        per_day(f"By {name}", exact, COST, f"{label}, currency", f"{{{{{label}}}}} {{{{currency}}}}")
        for name, label in (("team", "team"), ("model", "model"), ("tier", "tier"), ("vendor", "vendor"))
    ]
    days.append(
        per_day(
            "By the vendors' currencies", "What their invoices should say, of all teams", "farebox_vendor_cost_total",
            "vendor, currency", "{{vendor}} {{currency}}", "",
        )
    )  # fmt: skip
    days.append(
        lines("Pace", "Per hour", (f"{rate(COST, 'team, currency')} * 3600", "{{team}} {{currency}}"), stack="normal")
    )
    saving = [
        per_day("Saved against the flagship, by team", exact, SAVED, "team, currency", "{{team}} {{currency}}"),
        lines(
            "What it would have cost", "Per hour: as routed, at the best fixed model of each route, at its flagship",
            (f"{rate(COST, 'currency')} * 3600", "as routed {{currency}}"),
            (f"{rate(FIXED, 'currency')} * 3600", "best fixed model {{currency}}"),
            (f"({rate(COST, 'currency')} + {rate(SAVED, 'currency')}) * 3600", "flagship {{currency}}"),
        ),
        lines(
            "Tiers", "Share of answered requests", (rate("farebox_requests_total", "tier", ANSWERED), "{{tier}}"),
            unit="reqps", stack="percent",
        ),
    ]  # fmt: skip
    tokens = [
        lines("Tokens by kind", "As billed", (rate("farebox_tokens_total", "kind"), "{{kind}}"), stack="normal"),
        lines(
            "Read from vendors' caches", "Share of prompt tokens",
            (
                f"{rate('farebox_tokens_total', 'model', _kind('cache_read'))} / {rate('farebox_tokens_total', 'model', _kind('input|cache_read'))}",
                "{{model}}",
            ),
            unit="percentunit",
        ),
        lines(
            "Estimated", "Share of spend that no vendor reported; a vendor that stops reporting usage shows here",
            (f"{rate('farebox_estimated_cost_total', 'team')} / {rate(COST, 'team')}", "{{team}}"), unit="percentunit",
        ),
    ]  # fmt: skip
    return made_of(
        "farebox-spend", "Farebox: spend", "What was spent, by whom and on what, and what routing saved.",
        (Row("Now", 4, 4, now), Row("Per day", 3, 8, days), Row("Saved", 3, 8, saving), Row("Tokens", 3, 8, tokens)),
        choice("team", "Team", "label_values(farebox_cost_total, team)"),
    )  # fmt: skip


def _kind(kinds: str) -> str:
    return f'{{team=~"$team", kind=~"{kinds}"}}'


def budgets() -> Any:
    """How full each is, when it will be, and who was refused."""
    # Each replica tells of what all have spent, as it last heard: the fullest of its tales is the newest.
    told = {
        name: f"{'min' if name == 'remaining' else 'max'} by (team, per, currency) (farebox_budget_{name}{OWNER})"
        for name in ("limit", "spent", "held", "remaining", "forecast", "resets_seconds")
    }
    spent, limit, forecast, resets = (told[name] for name in ("spent", "limit", "forecast", "resets_seconds"))
    legend = "{{team}} per {{per}} {{currency}}"
    whole = [
        shares("Spent", "As a share of the limit", f"{spent} / {limit}", legend, ("green", None), ("orange", 0.8), ("red", 1)),
        shares(
            "Forecast", "What will have been spent when the window ends, as a share of the limit", f"{forecast} / {limit}", legend,
            ("green", None), ("orange", 0.9), ("red", 1),
        ),
    ]  # fmt: skip
    each = columns(
        "Budgets",
        "Spent plus held is never more than the limit. The tightest, where an owner has several of one period.",
        {"resets in": "s"},
        *[(query, name.replace("_seconds", " in")) for name, query in told.items()],
    )
    over_time = [
        lines("Spent, over time", "As a share of the limit; falls to nothing when a window ends", (f"{spent} / {limit}", legend), unit="percentunit"),
        lines("Held", "What requests in flight have set aside", (told["held"], legend)),
        lines("Window ends in", "Absent for budgets without an end", (resets, legend), unit="s"),
        lines(
            "Refused", "Before any attempt, by reason", (rate("farebox_refused_total", "team, reason"), "{{team}}: {{reason}}"), unit="reqps",
        ),
        lines(
            "Beyond the hold", "Charged over what was set aside, per hour: a vendor that did not keep to its cap",
            (f"{rate('farebox_overrun_total', 'team, currency', OWNER)} * 3600", "{{team}} {{currency}}"),
        ),
        lines(
            "Left in free quotas", "What goes beyond them is paid for", ("min by (vendor, model, unit) (farebox_free_quota_remaining)", "{{vendor}}/{{model}} {{unit}}"),
        ),
    ]  # fmt: skip
    return made_of(
        "farebox-budgets", "Farebox: budgets", "What each budget has left, and when it will be spent.",
        (Row("Now", 2, 8, whole), Row("Each", 1, 9, [each]), Row("Over time", 3, 8, over_time)),
        choice("team", "Team", "label_values(farebox_requests_total, team)"), since="now-24h",
    )  # fmt: skip
