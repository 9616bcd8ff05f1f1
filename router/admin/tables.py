"""The page's tables. On a narrow screen each row becomes a small card, so every cell carries its column's name."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from router.admin.figures import bar, count, money, percent, when
from router.admin.markup import Html, join, tag
from router.admin.spend import TIERS, Spend, group
from router.stores.ports import Total

Cell = str | Html
Row = Sequence[Cell]


@dataclass(frozen=True, slots=True)
class Recent:
    """A decision and, once it is known, what became of it."""

    id: str
    at: int
    team: str
    route: str
    chosen: str
    reason: str
    answered_by: str = ""  # another model, after a fallback
    outcome: str = ""
    cost: int | None = None
    currency: str = ""


def table(
    caption: str | Html, columns: Sequence[str], rows: Iterable[Row], numbers: frozenset[int], kind: str = ""
) -> Html:
    """A table whose first column names its rows; `numbers` are the columns set flush right."""
    head = [
        tag("th", name, scope="col", role="columnheader", class_="number" if i in numbers else None)
        for i, name in enumerate(columns)
    ]
    body = [
        tag(
            "tr",
            tag("th", cells[0], scope="row", role="rowheader"),
            [
                tag("td", cell, role="cell", data_label=columns[i], class_="number" if i in numbers else None)
                for i, cell in enumerate(cells[1:], 1)
            ],
            role="row",
        )
        for cells in rows
    ]
    return tag(
        "div",
        tag(
            "table",
            tag("caption", caption),
            tag("thead", tag("tr", head, role="row"), role="rowgroup"),
            tag("tbody", body, role="rowgroup"),
            role="table",
            class_=kind or None,
        ),
        class_="sheet",
    )


def _nothing(text: str) -> Html:
    return tag("p", text, class_="quiet")


def tier(name: str) -> Html:
    return tag("span", tag("span", class_=f"key {name}" if name in TIERS else "key"), name, class_="tier")


def _tiers(spend: Spend) -> Html:
    """Which tiers answered, in words and as a bar."""
    parts = [(name, spend.by_tier[name]) for name in TIERS if spend.by_tier.get(name)]
    if not parts:
        return Html("–")
    words = ", ".join(f"{percent(number, spend.answered)} {name}" for name, number in parts)
    return tag("div", tag("span", words, class_="quiet", aria_hidden="true"), bar(words, parts, spend.answered))


def _saved(spend: Spend) -> Html:
    if not spend.saved:
        return money(0, spend.currency)
    share = percent(spend.saved, spend.saved + spend.cost)
    return tag("span", money(spend.saved, spend.currency), " ", tag("span", f"({share})", class_="quiet"))


def teams_table(totals: Iterable[Total]) -> Html:
    found = group(totals, ("team",))
    if not found:
        return _nothing("Nothing has been spent in this span of time.")
    rows = [
        (spend.names[0], count(spend.requests), _tiers(spend), _saved(spend), money(spend.cost, spend.currency))
        for spend in found
    ]
    columns = ("Team", "Requests", "Answered by tier", "Saved", "Cost")
    return table("By team. Saved: what the flagship would have cost more.", columns, rows, frozenset({1, 3, 4}))


def models_table(totals: Iterable[Total]) -> Html:
    found = group(totals, ("model", "vendor", "tier"))
    if not found:
        return Html()
    rows = [
        (
            spend.names[0], spend.names[1], tier(spend.names[2]), count(spend.requests),
            count(spend.input + spend.cache_read + spend.cache_write), count(spend.output + spend.reasoning),
            _saved(spend), money(spend.cost, spend.currency),
        )
        for spend in found
    ]  # fmt: skip
    columns = ("Model", "Vendor", "Tier", "Requests", "Tokens in", "Tokens out", "Saved", "Cost")
    return table("By model", columns, rows, frozenset({3, 4, 5, 6, 7}))


def decisions_table(recent: Sequence[Recent], now: int) -> Html:
    if not recent:
        return _nothing("No request has been decided since this process started.")
    rows = [
        (
            when(one.at, now), one.team, one.route, _chosen(one), one.reason, one.outcome or "–",
            "–" if one.cost is None else money(one.cost, one.currency),
        )
        for one in recent
    ]  # fmt: skip
    columns = ("Time", "Team", "Route", "Chosen", "Reason", "Outcome", "Cost")
    caption = join(
        "The newest first. Every candidate and why it lost: ", tag("code", "GET /admin/v1/decisions/{request id}")
    )
    return table(caption, columns, rows, frozenset({6}), "log")


def _chosen(one: Recent) -> Cell:
    if not one.answered_by or one.answered_by == one.chosen:
        return one.chosen
    return tag("span", tag("s", one.chosen), ", then ", one.answered_by)


def prices_table(prices: Sequence[dict[str, Any]]) -> Html:
    rows = [_price(told) for told in prices]
    columns = ("Model", "Vendor", "Tier", "Input", "Cached", "Output", "Since", "Next")
    caption = (
        "Per million tokens, in the vendor's currency. A range depends on the request: its length, hour or thinking."
    )
    return table(caption, columns, rows, frozenset({3, 4, 5}))


def _price(told: dict[str, Any]) -> Row:
    """One model's price now, and what comes next."""
    names = (told["model"], told["vendor"], tier(told["tier"]))
    upcoming = "; ".join(told["next"]) or "–"
    if told["unpriced"]:
        return (*names, "–", "–", "–", tag("span", "no price: ", told["unpriced"], class_="over"), upcoming)
    shown = [_rates(told, kind) for kind in ("input", "cache_read", "output")]
    _, dated, day = told["since"].partition(" from ")  # the vendor's own date; in UTC it may be the day before
    return (*names, *shown, day if dated else "–", upcoming)


def _rates(told: dict[str, Any], kind: str) -> str:
    amounts = [Decimal(rates[kind]) for rates in told["rates"] if rates[kind] is not None]
    if not amounts:
        return "–"
    low, high = min(amounts), max(amounts)
    return f"{told['currency']}\u00a0{low}" + (f"–{high}" if high > low else "")
