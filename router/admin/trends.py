"""What is drawn over time, and what routing saved."""

from collections.abc import Iterator, Sequence

from router.admin.charts import Chart, Series, layers, legend, stacked
from router.admin.figures import bar, count, money, percent, rounded, tick
from router.admin.history import Drawn
from router.admin.markup import Html, join, tag
from router.admin.spans import Span
from router.admin.spend import TIERS, Spend
from router.admin.tables import nothing, table
from router.admin.words import Words
from router.core.savings import saving

MODELS = 6  # that have a colour of their own
MODEL_KINDS = (*(f"m{i}" for i in range(MODELS)), "rest")


def over_time(drawn: Drawn, span: Span, currency: str, words: Words) -> Html:
    """Cost by model and by tier, each as a chart and as a table."""
    if not drawn.by_model:
        return nothing(words("nothing_spent"))
    tiers = [
        Series(words(f"tier_{name}"), name, [drawn.by_tier.get((name, i), 0) for i in range(span.columns)])
        for name in TIERS
    ]
    models = layers(drawn.by_model, span.columns, words("others"), MODEL_KINDS, MODELS)
    return tag(
        "div",
        _figure("by_model", models, span, currency, words),
        _figure("by_tier", [series for series in tiers if series.total], span, currency, words),
        class_="charts",
    )


def _figure(name: str, series: Sequence[Series], span: Span, currency: str, words: Words) -> Html:
    titles = span.titles()
    sums = [sum(one.amounts[i] for one in series) for i in range(span.columns)]
    whole, peak = sum(sums), max(range(span.columns), key=sums.__getitem__)
    label = words(
        "chart", what=words(name), currency=currency, first=titles[0], last=titles[-1], total=rounded(whole),
        peak=titles[peak], most=rounded(sums[peak]),
    )  # fmt: skip
    chart = Chart(label, span.labels(), titles, series, rounded)
    return tag(
        "figure",
        tag("figcaption", tag("h3", words(name)), tag("span", f"{currency}, {words(f'per_step_{span.step_s}')}", class_="quiet")),
        stacked(chart, tick),
        legend(series, rounded, lambda part: percent(part, whole)),
        _as_table(name, chart, words),
        class_="sheet figure-sheet",
    )  # fmt: skip


def _as_table(name: str, chart: Chart, words: Words) -> Html:
    """The columns in which there is something, the newest first."""
    sums = chart.sums()
    rows = [
        (
            chart.titles[i],
            *(rounded(one.amounts[i]) if one.amounts[i] else "–" for one in chart.series),
            rounded(sums[i]),
        )
        for i in reversed(range(len(sums)))
        if sums[i]
    ]
    columns = (words("from"), *(one.name for one in chart.series), words("total"))
    inner = table(chart.label, columns, rows, frozenset(range(1, len(columns))), "plain")
    return tag("details", tag("summary", words("as_table")), inner, id=f"table-{name}")


def _sure(drawn: Drawn, words: Words) -> Iterator[str]:
    """How far what was saved can be trusted, against the flagship and against the one model that would do."""
    for name, i in (("sure_flagship", 1), ("sure_fixed", 2)):
        found = saving([(day[0], day[i]) for day in drawn.by_day.values()])
        if found is None:
            continue
        if found.low is None or found.high is None:
            yield words("too_few_days", days=str(found.days))
            return
        yield words(
            name, share=f"{found.share:.1%}", low=f"{found.low:.1%}", high=f"{found.high:.1%}", days=str(found.days)
        )


def routing(sums: Spend, drawn: Drawn, words: Words) -> Html:
    """What was spent beside what the flagship would have cost, and who answered."""
    if not sums.requests:
        return nothing(words("nothing_spent"))
    whole = max(1, sums.cost + sums.saved, sums.fixed_cost)
    lines = [
        ("as_routed", sums.cost, [("spent", sums.cost)]),
        ("at_fixed", sums.fixed_cost, [("mid", sums.fixed_cost)]),
        ("at_flagship", sums.cost + sums.saved, [("flagship", sums.cost + sums.saved)]),
    ]
    bars = [
        tag(
            "div",
            tag("dt", words(name)),
            tag("dd", money(amount, sums.currency)),
            tag("dd", bar(f"{words(name)}: {percent(amount, whole)}", parts, whole), class_="line"),
        )
        for name, amount, parts in lines
    ]
    tiers = [(name, sums.by_tier[name]) for name in TIERS if sums.by_tier.get(name)]
    told = ", ".join(f"{percent(number, sums.answered)} {words(f'tier_{name}')}" for name, number in tiers)
    split = [
        tag(
            "li",
            tag("span", class_=f"key {name}"),
            tag("span", words(f"tier_{name}"), class_="name"),
            tag("span", count(number), class_="sum"),
            tag("span", percent(number, sums.answered), class_="quiet"),
        )
        for name, number in tiers
    ]
    return tag(
        "div",
        tag(
            "div",
            tag("p", tag("strong", money(sums.saved, sums.currency)), " ", words("saved_share", share=percent(sums.saved, max(1, sums.cost + sums.saved))), class_="headline"),
            tag("dl", bars, class_="bars"),
            [tag("p", line, class_="quiet") for line in _sure(drawn, words)],
            tag("p", words("saved_caption"), class_="quiet"),
            class_="sheet",
        ),
        tag(
            "div",
            tag("h3", words("answered_by")),
            join(bar(told, tiers, sums.answered), tag("ul", split, class_="legend")) if tiers else nothing("–"),
            class_="sheet",
        ),
        class_="charts",
    )  # fmt: skip
