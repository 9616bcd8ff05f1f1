"""What the dashboards are made of: PromQL that is exact for counters of money, and Grafana's panels in a line or two each."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models.common import (
    BarAlignment,
    BarGaugeDisplayMode,
    BigValueColorMode,
    BigValueGraphMode,
    GraphDrawStyle,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    GridPos,
    Threshold,
    ThresholdsMode,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat, QueryEditorMode

SOURCE = DataSourceRef(type_val="prometheus", uid="${DS_PROMETHEUS}")
TEAM = '{team=~"$team"}'
OWNER = '{team=~"($team)(/.*)?"}'  # a team's budgets and those of its keys
APART = (
    "cluster, namespace, job"  # what sets Fareboxes apart that have a ledger each; whichever of these labels there are
)
TODAY, MONTH = "now/d", "now/M"
WIDTH = 24
SOON = "$__rate_interval"

Panel = Any  # a builder of the SDK, of whatever kind


class Row(NamedTuple):
    """Panels of one height under a heading."""

    title: str
    across: int
    height: int
    panels: Sequence[Panel]


# PromQL


def ever(metric: str, by: str, labels: str = TEAM, at: str = "") -> str:
    """What the ledger has: of replicas that share it what each tells of all, where the greatest is the newest; else the counters."""
    of_all = metric.removesuffix("_total").replace("farebox_", "farebox_ledger_", 1)
    each = f"{APART}, {by}" if by else APART
    shared = f"max by ({each}) (sum by ({each}, instance) ({of_all}{labels}{at}))"
    return f"sum by ({by}) ({shared} or sum by ({each}) ({metric}{labels}{at}))"


def grown(metric: str, by: str, labels: str = TEAM, since: str = "offset 1d") -> str:
    """By how much that grew: a difference of two readings, exact, and whole also for a series that is new."""
    now = ever(metric, by, labels)
    before = ever(metric, by, labels, f" {since}")
    return f"clamp_min({now} - ({before} or {now} * 0), 0)"


def so_far(metric: str, by: str, labels: str = TEAM) -> str:
    """By how much it grew since the panel's own time range began."""
    return grown(metric, by, labels, "@ start()")


def rate(metric: str, by: str, labels: str = TEAM, over: str = SOON) -> str:
    return f"sum by ({by}) (rate({metric}{labels}[{over}]))"


def quantile(share: float, metric: str, by: str = "", labels: str = "") -> str:
    return f"histogram_quantile({share}, sum by (le{by}) (rate({metric}_bucket{labels}[{SOON}])))"


def mean(metric: str, by: str, over: str = SOON) -> str:
    return f"sum by ({by}) (rate({metric}_sum[{over}])) / sum by ({by}) (rate({metric}_count[{over}]))"


# Panels


def _asked(made: Panel, title: str, about: str, queries: Iterable[tuple[str, str]], how: str) -> Panel:
    """`how` is `range`, `instant` or `table`."""
    made.title(title).description(about).datasource(SOURCE)
    for i, (expr, legend) in enumerate(queries):
        query = prometheus.Dataquery().ref_id(chr(65 + i)).expr(expr).legend_format(legend).datasource(SOURCE)
        query.editor_mode(QueryEditorMode.CODE)
        if how == "range":
            query.range()
        else:
            query.instant()
        if how == "table":
            query.format(PromQueryFormat.TABLE)
        made.with_target(query)
    return made


def steps(*levels: tuple[str, float | None]) -> Any:
    return (
        dashboard.ThresholdsConfig()
        .mode(ThresholdsMode.ABSOLUTE)
        .steps([Threshold(value=value, color=color) for color, value in levels])
    )


def number(
    title: str,
    about: str,
    expr: str,
    unit: str = "short",
    *,
    legend: str = "{{currency}}",
    decimals: float | None = None,
    since: str = "",
) -> Panel:
    """One figure; with `since` the last of a range that begins there, whatever the dashboard shows."""
    made = _asked(stat.Panel(), title, about, [(expr, legend)], "range" if since else "instant")
    made.unit(unit).color_mode(BigValueColorMode.VALUE).graph_mode(BigValueGraphMode.NONE)
    made.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    made.thresholds(steps(("text", None)))
    if decimals is not None:
        made.decimals(decimals)
    if since:
        made.time_from(since)
    return made


def lines(title: str, about: str, *queries: tuple[str, str], unit: str = "short", stack: str = "") -> Panel:
    made = _asked(timeseries.Panel(), title, about, queries, "range")
    made.unit(unit).min(0).line_width(1).fill_opacity(60 if stack else 8).show_points(VisibilityMode.NEVER)
    made.legend(
        common.VizLegendOptions()
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
        .show_legend(show_legend=True)
    )
    made.tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    if stack:
        made.stacking(common.StackingConfig().mode(StackingMode(stack)).group("A"))
    return made


def steps_over_time(title: str, about: str, *queries: tuple[str, str], unit: str = "short") -> Panel:
    """Lines that change at once and then stay: prices."""
    from grafana_foundation_sdk.models.common import LineInterpolation  # noqa: PLC0415 (one use)

    return lines(title, about, *queries, unit=unit).line_interpolation(LineInterpolation.STEP_AFTER).fill_opacity(0)


def per_day(title: str, about: str, metric: str, by: str, legend: str, labels: str = TEAM) -> Panel:
    """A bar for each day."""
    made = lines(title, about, (grown(metric, by, labels), legend), stack="normal")
    return made.interval("1d").decimals(2).draw_style(GraphDrawStyle.BARS).bar_alignment(BarAlignment.BEFORE)


def shares(title: str, about: str, expr: str, legend: str, *levels: tuple[str, float | None]) -> Panel:
    """A bar from nothing to all for each."""
    made = _asked(bargauge.Panel(), title, about, [(expr, legend)], "instant")
    made.unit("percentunit").min(0).max(1).thresholds(steps(*levels))
    made.orientation(VizOrientation.HORIZONTAL).display_mode(BarGaugeDisplayMode.BASIC)
    return made.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))


def columns(title: str, about: str, units: dict[str, str], *queries: tuple[str, str]) -> Panel:
    """A table with a row for each set of labels and a column for each query, which is told as (PromQL, heading)."""
    made = _asked(table.Panel(), title, about, [(expr, "") for expr, _ in queries], "table")
    one = {"Value": queries[0][1]} if len(queries) == 1 else {}
    named = one | {f"Value #{chr(65 + i)}": heading for i, (_, heading) in enumerate(queries)}
    made.with_transformation(DataTransformerConfig(id_val="merge", options={}))
    made.with_transformation(
        DataTransformerConfig(id_val="organize", options={"excludeByName": {"Time": True}, "renameByName": named})
    )
    for heading, unit in units.items():
        made.override_by_name(heading, [DynamicConfigValue(id_val="unit", value=unit)])
    return made


# A dashboard


def made_of(uid: str, title: str, about: str, rows: Sequence[Row], *variables: Any, since: str = "now-7d") -> Any:
    """Every panel in its place, and a way to the other dashboards."""
    made = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(f"{about} Written by deploy/grafana/build.py.")
        .tags(["farebox"])
        .timezone("utc")
        .refresh("1m")
        .time(since, "now")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .editable()
        .version(1)
        .link(
            dashboard.DashboardLink("Farebox")
            .type(DashboardLinkType.DASHBOARDS)
            .tags(["farebox"])
            .include_vars(include_vars=True)
            .keep_time(keep_time=True)
        )
        .with_variable(dashboard.DatasourceVariable("DS_PROMETHEUS").label("Prometheus").type("prometheus"))
    )
    for variable in variables:
        made.with_variable(variable)
    y, ids = 0, iter(range(1, 1000))
    for row in rows:
        made.with_row(dashboard.Row(row.title).id(next(ids)).grid_pos(GridPos(h=1, w=WIDTH, x=0, y=y)))
        y += 1
        width = WIDTH // row.across
        for i, panel in enumerate(row.panels):
            down, right = divmod(i, row.across)
            place = GridPos(h=row.height, w=width, x=right * width, y=y + down * row.height)
            made.with_panel(panel.id(next(ids)).grid_pos(place))
        y += -(-len(row.panels) // row.across) * row.height
    return made


def choice(name: str, label: str, query: str) -> Any:
    """A variable that is one, several or all of what Prometheus has."""
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(
            {
                "query": query,
                "refId": name,
                "qryType": 1,
                "label": name,
                "metric": query.split("(")[1].split(",", maxsplit=1)[0],
            }
        )
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".*")
        .current(VariableOption(selected=True, text="All", value="$__all"))
    )
