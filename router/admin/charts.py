"""Charts as SVG, without a script: columns of a stack over time. Places and sizes are percentages, so that a chart fits any
width and its letters stay as they are; colours come from the style sheet by class.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from router.admin.markup import Html, tag

GAP = 0.22  # of a column's place is left empty


@dataclass(frozen=True, slots=True)
class Series:
    """One layer of the stack: its name, its class, and one amount for each column."""

    name: str
    kind: str
    amounts: Sequence[int]

    @property
    def total(self) -> int:
        return sum(self.amounts)


@dataclass(frozen=True, slots=True)
class Chart:
    """What is drawn, and how its amounts and columns are written."""

    label: str  # the same in words
    columns: Sequence[str]  # short, below; "" for those that go without
    titles: Sequence[str]  # whole, of each column
    series: Sequence[Series]
    show: Callable[[int], str]

    def sums(self) -> list[int]:
        return [sum(series.amounts[i] for series in self.series) for i in range(len(self.columns))]


def ticks(most: int) -> list[int]:
    """Round amounts from 0 to at least `most`, three or four steps of 1, 2 or 5 times a power of ten.

    >>> ticks(7)
    [0, 2, 4, 6, 8]
    """
    step = 1
    while step * 4 < most:
        step = _next(step)
    return [step * i for i in range(-(-most // step) + 1)]


def _next(step: int) -> int:
    """1, 2, 5, 10, 20, …"""
    return step * 5 // 2 if str(step).startswith("2") else step * 2


def stacked(chart: Chart, number: Callable[[int], str]) -> Html:
    """The plot with its scale on the left, written by `number`, and its dates below."""
    scale = ticks(max(1, *chart.sums()))
    top = scale[-1]
    lines = [
        tag("line", x1="0", x2="100%", y1=y, y2=y, class_="base" if not amount else "grid")
        for amount, y in ((amount, _y(amount, top)) for amount in scale)
    ]
    columns = [_column(chart, i, top) for i in range(len(chart.columns))]
    plot = tag("svg", lines, columns, class_="plot", role="img", aria_label=chart.label)
    numbers = [
        tag("text", number(amount), x="100%", y=_y(amount, top), dy="0.32em", text_anchor="end") for amount in scale
    ]
    left = tag("svg", numbers, class_="scale", aria_hidden="true")
    return tag("div", left, plot, _dates(chart.columns), class_="chart")


def _y(amount: int, top: int) -> str:
    return f"{100 - 100 * amount / top:.2f}%"


def _column(chart: Chart, i: int, top: int) -> Html:
    """One stack; the pointer anywhere above its date is told what it is made of."""
    place = 100 / len(chart.columns)
    x, width = place * (i + GAP / 2), place * (1 - GAP)
    layers, below = [], 0
    for series in chart.series:
        amount = series.amounts[i]
        if amount <= 0:
            continue
        y, height = 100 - 100 * (below + amount) / top, 100 * amount / top
        layers.append(
            tag(
                "rect", class_=series.kind, x=f"{x:.2f}%", y=f"{y:.2f}%", width=f"{width:.2f}%", height=f"{height:.2f}%"
            )
        )
        below += amount
    told = [f"{series.name} {chart.show(series.amounts[i])}" for series in chart.series if series.amounts[i]]
    title = "\n".join([f"{chart.titles[i]}: {chart.show(below)}", *reversed(told)] if told else [chart.titles[i]])
    place_x = {"x": f"{place * i:.2f}%", "width": f"{place:.2f}%"}
    touched = tag("rect", class_="touch", y="0", height="100%", **place_x)
    return tag("g", tag("title", title), touched, layers)


def _dates(names: Sequence[str]) -> Html:
    shown = [_date(name, i, len(names)) for i, name in enumerate(names) if name]
    return tag("svg", shown, class_="dates", aria_hidden="true")


def _date(name: str, i: int, columns: int) -> Html:
    """Below the middle of its column; below the last one it ends with the plot, not beyond it."""
    if i == columns - 1:
        return tag("text", name, x="100%", y="1em", text_anchor="end")
    return tag("text", name, x=f"{100 * (i + 0.5) / columns:.2f}%", y="1em", text_anchor="middle")


def legend(series: Sequence[Series], show: Callable[[int], str | Html], share: Callable[[int], str]) -> Html:
    """What each colour stands for, with its sum; the largest first, as they lie from the ground up."""
    items = [
        tag(
            "li",
            tag("span", class_=f"key {one.kind}"),
            tag("span", one.name, class_="name"),
            tag("span", show(one.total), class_="sum"),
            tag("span", share(one.total), class_="quiet"),
        )
        for one in series
    ]
    return tag("ul", items, class_="legend")


def layers(
    amounts: Mapping[tuple[str, int], int], columns: int, others: str, kinds: Sequence[str], most: int
) -> list[Series]:
    """The `most` largest names as layers of their own, the largest at the ground, and the others as one.

    Args:
        amounts: (name, column) → amount.
        columns: how many there are.
        others: what the last layer is called.
        kinds: a class for each layer; the last is that of the others.
        most: how many names have a layer of their own.

    """
    sums: dict[str, int] = {}
    for (name, _), amount in amounts.items():
        sums[name] = sums.get(name, 0) + amount
    ranked = sorted((name for name in sums if sums[name]), key=lambda name: (-sums[name], name))
    own, rest = (ranked, []) if len(ranked) <= most + 1 else (ranked[:most], ranked[most:])
    found = [
        Series(name, kinds[place], [amounts.get((name, i), 0) for i in range(columns)])
        for place, name in enumerate(own)
    ]
    if rest:
        found.append(Series(others, kinds[-1], [sum(amounts.get((n, i), 0) for n in rest) for i in range(columns)]))
    return found
