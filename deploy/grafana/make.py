"""Writes farebox.json, the Grafana dashboard, beside itself: `python deploy/grafana/make.py`.

A panel is a line or two here and forty in JSON. The tests hold the file against this script, every metric name against
a real scrape, and every query against a real Prometheus.
"""

import json
from pathlib import Path
from typing import Any

from panels import SOURCE, TEAM, Panel, grown, lines, panel, per_day, quantile, rate, stat

ANSWERED = f'{{{TEAM},outcome!="error"}}'
OWNER = '{team=~"($team)(/.*)?"}'  # a team's budgets and those of its keys
WIDTH = 24


def budgets() -> Panel:
    """One row for each budget."""
    names = ("limit", "spent", "held", "remaining", "forecast", "resets_seconds")
    made = panel(
        "table",
        "Budgets",
        "Settled plus held is never more than the limit. The tightest, where an owner has several of one period.",
        [(f"sum by (team, per, currency) (farebox_budget_{name}{OWNER})", "") for name in names],
    )
    for target in made["targets"]:
        target |= {"instant": True, "range": False, "format": "table"}
    shown = {f"Value #{chr(65 + i)}": name.removesuffix("_seconds") for i, name in enumerate(names)}
    made["transformations"] = [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": shown}},
    ]
    made["fieldConfig"]["overrides"] = [
        {"matcher": {"id": "byName", "options": "resets"}, "properties": [{"id": "unit", "value": "s"}]}
    ]
    return made


def used() -> Panel:
    """How full each budget is."""
    spent, limit = (f"farebox_budget_{name}{OWNER}" for name in ("spent", "limit"))
    steps = [{"color": "green", "value": None}, {"color": "orange", "value": 0.8}, {"color": "red", "value": 1}]
    made = panel(
        "bargauge", "Budget used", "Spent, as a share of the limit", [(f"{spent} / {limit}", "{{team}} per {{per}}")],
        unit="percentunit", min=0, max=1, thresholds={"mode": "absolute", "steps": steps},
    )  # fmt: skip
    made["targets"][0] |= {"instant": True, "range": False}
    made["options"] = {"orientation": "horizontal", "displayMode": "basic", "reduceOptions": {"calcs": ["lastNotNull"]}}
    return made


def headline() -> list[Panel]:
    cost, saved = grown("farebox_cost_total", "currency"), grown("farebox_saved_total", "currency")
    requests = grown("farebox_requests_total", "")
    answered = grown("farebox_requests_total", "", ANSWERED)
    modest = grown("farebox_requests_total", "", ANSWERED.replace("}", ',tier=~"free|cheap"}'))
    estimated = grown("farebox_estimated_cost_total", "currency")
    return [
        stat("Spent, 24 h", "In the reporting currency", cost, "short", decimals=2),
        stat("Saved, 24 h", "What the flagship would have cost more", saved, "short", decimals=2),
        stat("Requests, 24 h", "Whatever became of them", requests, "short", decimals=0),
        stat("Free or cheap, 24 h", "Share of answered requests", f"{modest} / {answered}", "percentunit"),
        stat("Estimated, 24 h", "Share of spend that no vendor reported", f"{estimated} / {cost}", "percentunit"),
        stat("In flight", "Requests being served", "sum(farebox_in_flight)", "short"),
    ]


def spend() -> list[Panel]:
    about = "Exact: the difference of two readings of a counter that equals the ledger"
    hourly = [(rate("farebox_cost_total", "team, currency") + " * 3600", "{{team}} {{currency}}")]
    return [
        per_day("Spend per day by team", about, "farebox_cost_total", "team, currency", "{{team}} {{currency}}"),
        per_day("Spend per day by model", about, "farebox_cost_total", "model, currency", "{{model}} {{currency}}"),
        per_day("Spend per day by tier", about, "farebox_cost_total", "tier, currency", "{{tier}} {{currency}}"),
        lines("Spend rate", "Per hour, at the pace of the moment", hourly, "short", stack="normal"),
        per_day("Saved per day", "Against the flagship's price", "farebox_saved_total", "team, currency", "{{team}}"),
        lines(
            "Estimated share of spend",
            "Spend that no vendor reported; a vendor that stops reporting usage shows here",
            [(f"{rate('farebox_estimated_cost_total', 'team')} / {rate('farebox_cost_total', 'team')}", "{{team}}")],
            "percentunit",
        ),
    ]


def traffic() -> list[Panel]:
    tiers = [(rate("farebox_requests_total", "tier", ANSWERED), "{{tier}}")]
    return [
        lines("Cheap and flagship", "Share of answered requests by tier", tiers, "reqps", stack="percent"),
        lines(
            "Requests by outcome",
            "ok, error, cut, left (the client went away), abandoned (the process died)",
            [(rate("farebox_requests_total", "outcome"), "{{outcome}}")],
            "reqps",
        ),
        lines(
            "Refusals", "Before any attempt", [(rate("farebox_refused_total", "team, reason"), "{{team}}: {{reason}}")],
            "reqps",
        ),
        lines(
            "Attempts by result", "Calls to vendors", [(rate("farebox_attempts_total", "vendor, result", ""), "{{vendor}}: {{result}}")],
            "reqps",
        ),
        lines(
            "Fallbacks", "Moves to the next candidate",
            [(rate("farebox_fallbacks_total", "route, from, to", ""), "{{route}}: {{from}} to {{to}}")], "reqps",
        ),
        lines("Tokens by kind", "As billed", [(rate("farebox_tokens_total", "kind"), "{{kind}}")], "short", stack="normal"),
    ]  # fmt: skip


def health() -> list[Panel]:
    first = "gen_ai_client_operation_time_to_first_chunk_seconds"
    whole = "gen_ai_client_operation_duration_seconds"
    model = ", gen_ai_request_model"
    return [
        lines(
            "Overhead", "The part of a request that is Farebox's own",
            [(quantile(q, "farebox_overhead_seconds"), name) for q, name in ((0.5, "p50"), (0.99, "p99"))], "s",
        ),
        lines(
            "Time to the first chunk", "From the call to the vendor",
            [(quantile(q, first, model), "{{gen_ai_request_model}} " + name) for q, name in ((0.5, "p50"), (0.99, "p99"))], "s",
        ),
        lines("Duration of an attempt", "p99", [(quantile(0.99, whole, model), "{{gen_ai_request_model}}")], "s"),
        lines("Ledger lag", "Age of the oldest write that is not durable yet", [("farebox_ledger_lag_seconds", "{{instance}}")], "s"),
        lines(
            "Charged beyond the hold", "More than was set aside: a vendor that did not keep to its cap",
            [(rate("farebox_overrun_total", "team, currency") + " * 3600", "{{team}} {{currency}}")],
        ),
        lines(
            "Passed over, and reloads that failed", "Candidates without a price; configurations that were not loaded",
            [
                (rate("farebox_unpriced_total", "vendor, model", ""), "no price: {{vendor}}/{{model}}"),
                ('sum(increase(farebox_config_reloads_total{result="failed"}[$__rate_interval]))', "failed reloads"),
            ],
        ),
    ]  # fmt: skip


def laid_out() -> list[Panel]:
    """Every panel in its place, under the heading of its row."""
    panels: list[Panel] = []
    y = 0
    rows = (
        ("Today", 6, 4, headline()),
        ("Budgets", 2, 8, [used(), budgets()]),
        ("Spend", 3, 8, spend()),
        ("Traffic", 3, 8, traffic()),
        ("Health", 3, 8, health()),
    )
    for title, across, height, members in rows:
        panels.append({"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": _at(0, y, WIDTH, 1)})
        y += 1
        width = WIDTH // across
        for i, member in enumerate(members):
            member["gridPos"] = _at(i % across * width, y + i // across * height, width, height)
            panels.append(member)
        y += -(-len(members) // across) * height
    return [{"id": number, **made} for number, made in enumerate(panels, 1)]


def _at(x: int, y: int, w: int, h: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": w, "h": h}


def dashboard() -> dict[str, Any]:
    return {
        "uid": "farebox",
        "title": "Farebox",
        "description": "Spend, budgets, savings and health of Farebox. Written by deploy/grafana/make.py.",
        "tags": ["farebox", "llm", "cost"],
        "schemaVersion": 41,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-7d", "to": "now"},
        "timezone": "",
        "annotations": {"list": []},
        "links": [],
        "templating": {
            "list": [
                {"name": "DS_PROMETHEUS", "label": "Prometheus", "type": "datasource", "query": "prometheus", "refresh": 1},
                {
                    "name": "team", "label": "Team", "type": "query", "datasource": SOURCE, "refresh": 2, "sort": 1,
                    "definition": "label_values(farebox_requests_total, team)",
                    "query": {"query": "label_values(farebox_requests_total, team)", "refId": "team"},
                    "multi": True, "includeAll": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"},
                },
            ]
        },
        "panels": laid_out(),
    }  # fmt: skip


def text() -> str:
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    (Path(__file__).parent / "farebox.json").write_text(text(), encoding="utf-8")
