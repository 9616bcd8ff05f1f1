"""Grafana's panels in a line or two each, for make.py."""

from typing import Any

SOURCE = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}
TEAM = 'team=~"$team"'

Panel = dict[str, Any]
Query = tuple[str, str]  # PromQL, legend


def grown(metric: str, by: str, labels: str = f"{{{TEAM}}}", span: str = "1d") -> str:
    """By how much a counter grew: a difference of two readings, exact, and whole also for a series that is new."""
    now = f"sum by ({by}) ({metric}{labels})"
    before = f"sum by ({by}) ({metric}{labels} offset {span})"
    return f"clamp_min({now} - ({before} or {now} * 0), 0)"


def rate(metric: str, by: str, labels: str = f"{{{TEAM}}}") -> str:
    return f"sum by ({by}) (rate({metric}{labels}[$__rate_interval]))"


def quantile(share: float, metric: str, by: str = "") -> str:
    return f"histogram_quantile({share}, sum by (le{by}) (rate({metric}_bucket[$__rate_interval])))"


def panel(kind: str, title: str, about: str, queries: list[Query], **field: Any) -> Panel:
    """One panel; `field` are Grafana's standard field options, and `custom` the kind's own."""
    targets = [
        {"refId": chr(65 + i), "expr": expr, "legendFormat": legend, "datasource": SOURCE, "editorMode": "code"}
        for i, (expr, legend) in enumerate(queries)
    ]
    return {
        "type": kind,
        "title": title,
        "description": about,
        "datasource": SOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": field, "overrides": []},
        "options": {},
    }


def stat(title: str, about: str, expr: str, unit: str, **field: Any) -> Panel:
    made = panel("stat", title, about, [(expr, "{{currency}}")], unit=unit, **field)
    made["targets"][0] |= {"instant": True, "range": False}
    made["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "none"}
    return made


def lines(title: str, about: str, queries: list[Query], unit: str = "short", *, stack: str = "") -> Panel:
    custom: Panel = {"lineWidth": 1, "fillOpacity": 60 if stack else 8, "showPoints": "never"}
    if stack:
        custom["stacking"] = {"mode": stack, "group": "A"}
    made = panel("timeseries", title, about, queries, unit=unit, min=0, custom=custom)
    made["options"] = {
        "legend": {"displayMode": "list", "placement": "bottom"},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return made


def per_day(title: str, about: str, metric: str, by: str, legend: str) -> Panel:
    """A bar for each day."""
    made = lines(title, about, [(grown(metric, by), legend)], "short", stack="normal")
    made["interval"] = "1d"
    made["fieldConfig"]["defaults"] |= {"decimals": 2}
    made["fieldConfig"]["defaults"]["custom"] |= {"drawStyle": "bars", "barAlignment": -1}
    return made
