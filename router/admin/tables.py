"""The page's tables. On a narrow screen each row becomes a small card, so every cell carries its column's name."""

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from router.admin.figures import bar, count, money, percent
from router.admin.markup import Html, tag
from router.admin.spend import TIERS, Spend, group
from router.admin.words import Words
from router.stores.ports import Total

Cell = str | Html
Row = Sequence[Cell]


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
        role="group",  # where it is too wide it scrolls, also by keyboard
        tabindex="0",
        aria_label=re.sub(r"<[^>]+>", "", caption) if isinstance(caption, Html) else caption,
    )


def nothing(text: str) -> Html:
    return tag("p", text, class_="quiet empty")


def tier(name: str, words: Words) -> Html:
    """A tier with its colour; one that is no longer known as it was written down."""
    known = name in TIERS
    shown = words(f"tier_{name}") if known else name
    return tag("span", tag("span", class_=f"key {name}" if known else "key"), shown, class_="tier")


def _tiers(spend: Spend, words: Words) -> Html:
    """Which tiers answered, in words and as a bar."""
    parts = [(name, spend.by_tier[name]) for name in TIERS if spend.by_tier.get(name)]
    if not parts:
        return Html("–")
    told = ", ".join(f"{percent(number, spend.answered)} {words(f'tier_{name}')}" for name, number in parts)
    return tag("div", tag("span", told, class_="quiet", aria_hidden="true"), bar(told, parts, spend.answered))


def _saved(spend: Spend) -> Html:
    if not spend.saved:
        return money(0, spend.currency)
    share = percent(spend.saved, spend.saved + spend.cost)
    return tag("span", money(spend.saved, spend.currency), " ", tag("span", f"({share})", class_="quiet"))


def teams_table(totals: Iterable[Total], words: Words) -> Html:
    rows = [
        (
            spend.names[0], count(spend.requests), _tiers(spend, words), _saved(spend), money(spend.cost, spend.currency),
        )
        for spend in group(totals, ("team",))
    ]  # fmt: skip
    columns = tuple(words(name) for name in ("team", "requests", "by_tier_column", "saved", "cost"))
    return table(words("team_caption"), columns, rows, frozenset({1, 3, 4}))


def models_table(totals: Iterable[Total], words: Words) -> Html:
    rows = [
        (
            spend.names[0], spend.names[1], tier(spend.names[2], words), count(spend.requests),
            count(spend.input + spend.cache_read + spend.cache_write), count(spend.output + spend.reasoning),
            _saved(spend), money(spend.cost, spend.currency),
        )
        for spend in group(totals, ("model", "vendor", "tier"))
    ]  # fmt: skip
    names = ("model", "vendor", "tier", "requests", "tokens_in", "tokens_out", "saved", "cost")
    return table(words("by_model"), tuple(words(name) for name in names), rows, frozenset({3, 4, 5, 6, 7}))


# Prices


def prices_table(prices: Sequence[dict[str, Any]], words: Words) -> Html:
    rows = [_price(told, words) for told in prices]
    names = ("model", "vendor", "tier", "input", "cached", "output", "since")
    return table(words("prices_caption"), tuple(words(name) for name in names), rows, frozenset({3, 4, 5}))


def _price(told: dict[str, Any], words: Words) -> Row:
    """One model's price now."""
    names = (told["model"], told["vendor"], tier(told["tier"], words))
    if told["unpriced"]:
        why = tag("span", told["unpriced"], lang="en")
        return (*names, "–", "–", "–", tag("span", words.html("no_price", why=why), class_="over"))
    shown = [_rates(told, kind) for kind in ("input", "cache_read", "output")]
    _, dated, day = told["since"].partition(" from ")  # the vendor's own date; in UTC it may be the day before
    return (*names, *shown, day if dated else "–")


def _rates(told: dict[str, Any], kind: str) -> str:
    amounts = [Decimal(rates[kind]) for rates in told["rates"] if rates[kind] is not None]
    if not amounts:
        return "–"
    low, high = min(amounts), max(amounts)
    return f"{told['currency']}\u00a0{low}" + (f"–{high}" if high > low else "")
