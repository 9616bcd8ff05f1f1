"""The page over HTTP; `test_page_in_a_browser` looks at it with a browser's eyes."""

import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest
from traffic import SEARCH, send_traffic

from router.admin import figures, overview
from router.admin.certificates import Certificate
from router.admin.markup import Html, join, tag
from router.admin.words import Words
from router.core.failure import Failure, Fault
from router.core.limits import FOREVER, MICROS, Budget, BudgetState

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SOON = (datetime.now(UTC) + timedelta(days=30)).date().isoformat()
HOSTILE = "</td><script>alert(1)</script><img/src=x/onerror=alert(1)>&\"'"
HOSTILE_TEAM = HOSTILE.replace("/", "")


class Tags(HTMLParser):
    """Every element, and whether those that must be closed are, in order."""

    VOID = ("meta", "link", "input", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.seen = [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


# What it says


async def test_the_page_is_sent_with_strict_headers_and_asks_for_nothing_from_elsewhere(seen):
    async with seen.http.get(seen.url + "/") as reply:
        page = await reply.text()
        assert reply.headers["Content-Security-Policy"] == POLICY
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Referrer-Policy"] == "no-referrer"
        assert reply.headers["Cache-Control"] == "no-store"
        assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
    assert re.findall(r"<script[^>]*>[^<]*", page) == ['<script src="page.js" defer>']  # none within
    assert not re.search(r"\bon\w+=|style=|javascript:|//", page)
    async with seen.http.get(seen.url + "/page.css") as reply:
        style = await reply.text()
        assert (reply.status, reply.headers["Content-Type"]) == (200, "text/css; charset=utf-8")
    assert not re.search(r"url\(|@import|//", style)
    for name, kind in (("page.js", "text/javascript"), ("page.svg", "image/svg+xml")):
        async with seen.http.get(f"{seen.url}/{name}") as reply:
            assert (reply.status, reply.content_type) == (200, kind)
            assert reply.headers["Content-Security-Policy"] == POLICY


async def test_the_page_shows_budgets_spend_decisions_and_prices(seen, look, ask):
    _, page = await look(seen)
    _, told = await ask(seen, "spend")
    for one in told["data"]:
        assert f'<data value="{one["cost"]}">' in page
    for text in (
        ">50.00</data> spent",
        "per month, Asia/Shanghai",
        "Cost over time",
        "What routing saved",
        "On course",
        "Only cheap from",
        "Last decisions",
        "Prices in force",
    ):
        assert text in page
    rows = await seen.rows()
    assert page.count('data-label="Outcome"') == len({row["request_id"] for row in rows})
    assert "<s>qwen-plus</s>, then " in page  # the fallback
    assert "% flagship" in page


async def test_the_page_is_well_formed_with_headings_landmarks_and_captions(seen, look):
    _, page = await look(seen)
    seen_tags = Tags(page.removeprefix("<!doctype html>")).seen
    names = [name for name, _ in seen_tags]
    assert [names.count(name) for name in ("html", "h1", "header", "main", "footer", "nav")] == [1, 1, 1, 1, 1, 2]
    assert names.count("caption") == names.count("table") == 7  # two of them say what the charts draw
    assert all(
        attributes.get("aria-label") or attributes.get("aria-hidden") for name, attributes in seen_tags if name == "svg"
    )
    sections = {attributes["aria-labelledby"] for name, attributes in seen_tags if name == "section"}
    headings = {attributes["id"] for name, attributes in seen_tags if name == "h2"}
    assert sections == headings - {"figures"}
    ids = [attributes["id"] for _, attributes in seen_tags if "id" in attributes]
    assert len(ids) == len(set(ids))


async def test_the_page_refreshes_itself_until_it_is_told_not_to(seen, look):
    _, page = await look(seen)
    assert '<noscript><meta http-equiv="refresh" content="10"></noscript>' in page
    assert 'data-refresh="10"' in page
    _, page = await look(seen, "/?refresh=off")
    assert "http-equiv" not in page
    assert "data-refresh" not in page


async def test_the_page_can_show_a_shorter_span_of_time(seen, look):
    _, month = await look(seen)
    for span, title, step in (
        ("day", "in the last 24 hours", "per hour"),
        ("week", "in the last 7 days", "per 6 hours"),
        ("month", "in the last 30 days", "per day"),
        ("all", "since the first request", "per day"),
        ("nonsense", "since the first request", "per day"),
    ):
        status, page = await look(seen, f"/?span={span}")
        assert status == 200
        assert f"Spend <small>{title}</small>" in page
        assert f"USD, {step}</span>" in page
        assert page.count("<tr") == month.count("<tr")


async def test_decisions_from_before_the_start_are_told_by_the_ledger(seen, look):
    _, page = await look(seen)
    seen.farebox.kept.clear()
    _, again = await look(seen)
    rows = await seen.rows()
    assert (
        again.count('data-label="Outcome"')
        == page.count('data-label="Outcome"')
        == len({r["request_id"] for r in rows})
    )
    assert page.count('class="why"') == len({row["request_id"] for row in rows})
    assert 'class="why"' not in again  # every candidate is only known while the process remembers
    for row in rows:
        assert row["reason"] in again


async def test_a_decision_opens_to_every_candidate_and_what_it_lost_by(seen, look):
    _, page = await look(seen)
    (why, *_) = re.findall(r'<details id="why-[^"]+" class="why">.*?</details>', page)
    assert "quality 0.82, 0.85 is needed" in page
    assert "<summary>" in why
    assert "place 1, about " in why


async def test_coming_prices_are_told_with_when_and_how_much(running, demo, look):
    demo["models"]["qwen-plus"]["price"] = [
        {"currency": "CNY", "input": 0.8, "output": 2, "from": "2024-01-01", "to": SOON},
        {"currency": "CNY", "input": 0.4, "output": 3, "from": SOON},
    ]
    demo["models"]["gpt-4o-mini"]["price"] = [{"currency": "USD", "input": 1, "output": 2, "to": SOON}]
    _, page = await look(await running(demo))
    told = re.sub(r"<[^>]+>", "|", page[page.index("Next price changes") :]).replace("\u00a0", " ")
    assert re.search(rf"qwen-plus\|+alibaba\|+Input\|+CNY 0.8\|+CNY 0.4\|+−50 %\|+{SOON}, in 29 d", told)
    assert "Output||CNY 2||CNY 3||" in told
    assert "+50 %" in told
    assert "USD 1||unknown: refused" in told


async def test_a_vendor_that_is_unwell_is_shown_with_the_reason(seen, look):
    assert ">Well</span>" in (await look(seen))[1]
    model = seen.farebox.snapshot.catalog.models["qwen-plus"]
    health, now = seen.farebox.services.health, seen.farebox.clock.seconds()
    health.tell(model, model.access.keys[0], Failure(Fault.QUOTA_EXHAUSTED, "no money"), now, heard=False)
    _, page = await look(seen)
    assert "Breaker open: no money on the account; next try in 30 s" in page
    other = seen.farebox.snapshot.catalog.models["deepseek-chat"]
    health.tell(other, other.access.keys[0], Failure(Fault.RATE_LIMITED, "", retry_after_s=7), now, heard=False)
    assert "Rate limited for 7 s" in (await look(seen))[1]


async def test_certificates_have_a_section_only_where_there_are_some(seen, look, monkeypatch):
    assert "certificates" not in (await look(seen))[1]
    found = [Certificate("auto", "0.05", "0.01", 1200, "2026-11-20", state) for state in ("valid", "stale", "broken")]
    monkeypatch.setattr("router.admin.look._certificates", lambda *_: found)
    _, page = await look(seen)
    for text in ("Quality certificates", ">1,200<", "in force", "stale", "broken"):
        assert text in page


async def test_hostile_names_are_shown_as_text(running, demo, look):
    demo["teams"][HOSTILE_TEAM] = demo["teams"].pop("search")
    demo["routes"][HOSTILE] = demo["routes"].pop("auto")
    demo["models"]["qwen-plus" + HOSTILE] = demo["models"].pop("qwen-plus") | {"name": "qwen-plus"}
    demo["teams"][HOSTILE_TEAM]["routes"][0] = HOSTILE
    demo["teams"][HOSTILE_TEAM]["keys"][0] |= {"name": HOSTILE_TEAM, "budgets": [{"limit": 1, "per": "day"}]}
    on = await running(demo)
    await send_traffic(on, [(SEARCH, HOSTILE, "Hello. out=20")])
    on.farebox.problems = (HOSTILE,)
    _, page = await look(on)
    assert page.count("&lt;script&gt;alert(1)") > 5
    names = [name for name, _ in Tags(page.removeprefix("<!doctype html>")).seen]
    assert (names.count("script"), names.count("img"), names.count("style")) == (1, 0, 0)
    assert not re.search(r"<script>|<img", page)


async def test_a_page_without_traffic_and_without_budgets_says_so(running, demo, look):
    for team in demo["teams"].values():
        team["budgets"] = []
    status, page = await look(await running(demo))
    assert status == 200
    for text in ("No budget is configured", "Nothing has been spent", "No request has been decided yet"):
        assert text in page


DAY = 86_400 * MICROS


@pytest.mark.parametrize(
    ("settled", "held", "now", "said"),
    [
        (10, 0, DAY // 2, "On course"),
        (50, 5, DAY - 1, "On course"),
        (60, 0, DAY // 2, "Heading above its limit"),
        (79, 1, DAY - 1, "Only the cheap tier"),
        (90, 10, DAY - 1, "Used up"),
        (120, 0, DAY - 1, "Used up"),
    ],
)
def test_a_budget_says_in_words_how_it_stands(settled, held, now, said):
    budget = Budget("search", 100, "USD", "day", UTC, soft=80)
    told = overview.budgets([BudgetState(budget, settled, held, 0, DAY)], now, Words(), of_team=False)
    badges = re.findall(r'class="badge \w+">([^<]+)<', told)
    assert badges == [said]


def test_budgets_that_need_somebody_come_first():
    states = [
        BudgetState(Budget(owner, 100, "USD", "total", UTC), settled, 0, 0, FOREVER)
        for owner, settled in (("*", 5), ("search", 100), ("search/app", 7))
    ]
    told = overview.budgets(states, 1, Words(), of_team=False)
    assert re.findall(r"<h3>([^<]+)<", told) == ["search", "Everybody", "search, key app"]


# Its parts


def test_markup_escapes_everything_that_is_not_markup():
    assert tag("p", "<&\"'>", title='"<') == '<p title="&quot;&lt;">&lt;&amp;&quot;&#x27;&gt;</p>'
    assert tag("p", tag("b", "x"), None, ["<", Html("&amp;")]) == "<p><b>x</b>&lt;&amp;</p>"
    assert tag("input", required=True, disabled=False, value=None, data_label="a") == '<input required data-label="a">'
    assert join("a", [tag("i"), "<"]) == "a<i></i>&lt;"


@pytest.mark.parametrize(
    ("nano", "shown"),
    [
        (0, "0"), (1, "<0.000001"), (999, "<0.000001"), (1000, "0.000001"), (45_678, "0.000046"),
        (31_415_926, "0.0314"), (999_999_999, "1"), (1_234_567_890_000, "1,234.57"), (-2_500_000_000, "-2.50"),
    ],
)  # fmt: skip
def test_amounts_are_rounded_for_the_eye_and_exact_in_their_value(nano, shown):
    assert figures.rounded(nano) == shown


def test_a_share_is_never_nothing_while_it_is_something_nor_all_while_something_is_missing():
    shown = [
        figures.percent(*pair).replace("\u00a0", "")
        for pair in ((0, 5), (1, 1000), (1, 3), (999, 1000), (5, 5), (7, 0))
    ]
    assert shown == ["0%", "<1%", "33%", ">99%", "100%", "–"]


def test_a_bar_never_draws_beyond_its_end():
    drawn = figures.bar("", [("spent", 90), ("held", 30)], 100, [("forecast", 250)])
    assert re.findall(r'width="([^"]+)"', drawn) == ["90.00%", "10.00%"]
    assert 'x1="99.60%"' in drawn
    assert figures.bar("", [("spent", 5)], 0) == tag("svg", class_="bar", role="img", aria_label="")
