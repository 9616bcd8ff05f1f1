"""The page's frame: values in, HTML out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from router.admin.certificates import Certificate, certificates_table
from router.admin.coming import Coming, coming_table
from router.admin.decisions import Recent, decisions_table
from router.admin.figures import when
from router.admin.health import VendorHealth, health_table
from router.admin.history import Drawn
from router.admin.markup import Html, document, join, tag
from router.admin.overview import budgets, tiles
from router.admin.spans import SPANS, Span
from router.admin.spend import Spend, group
from router.admin.tables import models_table, nothing, prices_table, teams_table
from router.admin.trends import over_time, routing
from router.admin.words import LANGUAGES, TAGS, Words
from router.core.limits import BudgetState

REFRESH_S = 10
DEFAULT_SPAN = "month"


@dataclass(frozen=True, slots=True)
class View:
    """Everything that one rendering shows."""

    at: int
    words: Words
    asked_language: str | None  # in the address: links keep it
    team: str | None  # whose figures these are; None: everybody's
    token: str | None  # of the form that logs out; None: nobody is logged in
    refresh: bool
    version: str
    currency: str
    span: Span
    in_flight: int | None
    reading: bool  # the ledger, for the first time
    problems: Sequence[str]
    budgets: Sequence[BudgetState]
    drawn: Drawn
    recent: Sequence[Recent]
    health: Sequence[VendorHealth]
    prices: Sequence[dict[str, Any]]
    coming: Sequence[Coming]
    certificates: Sequence[Certificate] = ()


def page(view: View) -> str:
    words = view.words
    head = Html()
    if view.refresh:  # a script does this more gently where there is one
        head = tag("noscript", tag("meta", http_equiv="refresh", content=str(REFRESH_S)))
    head = join(head, tag("script", src="page.js", defer=True))
    body = tag(
        "body",
        tag("a", words("skip"), href="#main", class_="skip"),
        _header(view),
        tag("p", class_="lost", role="status", id="lost", data_text=words("lost")),
        tag("main", _sections(view), id="main", tabindex="-1", data_refresh=str(REFRESH_S) if view.refresh else None),
        _footer(view),
    )
    return document(words("title"), head, body, words.tag)


def _sections(view: View) -> list[Html | None]:
    words = view.words
    found = [spend for spend in group(view.drawn.sums, ()) if spend.currency == view.currency]
    sums = found[0] if found else Spend((), view.currency)
    return [
        _problems(view),
        tag("p", words("reading"), class_="notice", role="status") if view.reading else None,
        tag("h2", words("figures"), " ", tag("small", words(f"since_{view.span.name}")), id="figures"),
        tiles(sums, view.in_flight, words),
        _section(view, "budgets", budgets(view.budgets, view.at, words, of_team=view.team is not None)),
        _section(view, "over_time", over_time(view.drawn, view.span, view.currency, words), timed=True),
        _section(view, "routing", routing(sums, view.drawn, words), timed=True),
        _section(view, "spend", *_spend(view), timed=True),
        _section(view, "decisions", decisions_table(view.recent, view.at, view.currency, words)),
        _section(view, "vendors", health_table(view.health, words)),
        _section(view, "prices", prices_table(view.prices, words)),
        _section(view, "changes", coming_table(view.coming, view.at, words)),
        _section(view, "quality", certificates_table(view.certificates, words)) if view.certificates else None,
    ]


def _section(view: View, name: str, *children: Html, timed: bool = False) -> Html:
    span = [" ", tag("small", view.words(f"since_{view.span.name}"))] if timed else []
    return tag("section", tag("h2", view.words(name), span, id=name), *children, aria_labelledby=name)


def _spend(view: View) -> list[Html]:
    if not view.drawn.sums:
        return [nothing(view.words("nothing_spent"))]
    teams = [] if view.team is not None else [teams_table(view.drawn.sums, view.words)]
    return [*teams, models_table(view.drawn.sums, view.words)]


def _header(view: View) -> Html:
    words = view.words
    spans = [
        tag(
            "a", words(f"span_{name}"), href=_link(view, span=name),
            aria_current="page" if name == view.span.name else None,
        )
        for name in SPANS
    ]  # fmt: skip
    languages = [
        tag("a", label, href=_link(view, language=name), lang=TAGS[name], hreflang=TAGS[name])
        for name, label in LANGUAGES.items()
        if name != words.language
    ]
    whose = tag("span", words("team_only", team=view.team), class_="whose") if view.team is not None else None
    leave = None
    if view.token is not None:
        leave = tag(
            "form",
            tag("input", type="hidden", name="token", value=view.token),
            tag("button", words("log_out")),
            method="post",
            action="logout" + _query(view.asked_language),
        )
    return tag(
        "header",
        tag("h1", mark(), "Farebox"),
        whose,
        tag("nav", spans, aria_label=words("span"), class_="spans"),
        tag("nav", languages, aria_label=words("language"), class_="languages"),
        leave,
    )


def mark() -> Html:
    """The box with its slot, and a coin on the way."""
    return tag(
        "svg",
        tag("rect", x="2", y="9", width="20", height="13", rx="3", class_="box"),
        tag("rect", x="7", y="12", width="10", height="2", rx="1", class_="slot"),
        tag("circle", cx="12", cy="5", r="3.5", class_="coin"),
        viewBox="0 0 24 24",
        class_="mark",
        aria_hidden="true",
    )


def _link(view: View, *, span: str | None = None, language: str | None = None, refresh: bool | None = None) -> str:
    span = view.span.name if span is None else span
    language = view.asked_language if language is None else language
    wanted = [f"span={span}"] if span != DEFAULT_SPAN else []
    wanted += [f"lang={language}"] if language else []
    wanted += [] if (view.refresh if refresh is None else refresh) else ["refresh=off"]
    return "?" + "&".join(wanted) if wanted else "./"


def _query(language: str | None) -> str:
    return f"?lang={language}" if language else ""


def _problems(view: View) -> Html | None:
    if not view.problems:
        return None
    return tag(
        "section",
        tag("h2", view.words("problems"), id="problems"),
        view.words("problems_why"),
        tag("ul", [tag("li", problem, lang="en") for problem in view.problems]),
        class_="warning",
        role="alert",
        aria_labelledby="problems",
    )


def _footer(view: View) -> Html:
    words, other = view.words, not view.refresh
    link = tag("a", words("refresh_on" if other else "refresh_off"), href=_link(view, refresh=other))
    return tag(
        "footer",
        tag("p", words.html("as_of", at=when(view.at, view.at)), " ", link),
        tag("p", words("colophon"), " Farebox ", view.version),
    )
