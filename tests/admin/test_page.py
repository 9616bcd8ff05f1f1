"""The page over HTTP; `test_page_in_a_browser` looks at it with a browser's eyes."""

import re
from html.parser import HTMLParser

import pytest
from traffic import SEARCH, send_traffic

from router.admin import figures
from router.admin.markup import Html, join, tag

POLICY = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
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
    assert not re.search(r"<script|\bon\w+=|style=|javascript:|//", page)
    async with seen.http.get(seen.url + "/page.css") as reply:
        style = await reply.text()
        assert (reply.status, reply.headers["Content-Type"]) == (200, "text/css; charset=utf-8")
    assert not re.search(r"url\(|@import|//", style)


async def test_the_page_shows_budgets_spend_decisions_and_prices(seen, look, ask):
    _, page = await look(seen)
    _, told = await ask(seen, "spend")
    for one in told["data"]:
        assert f'<data value="{one["cost"]}">' in page
    for text in (
        ">50.00</data> spent",
        "per month, Asia/Shanghai",
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
    assert [names.count(name) for name in ("html", "title", "h1", "header", "main", "footer", "nav")] == 7 * [1]
    assert names.count("caption") == names.count("table") == 4
    assert all(attributes["aria-label"] for name, attributes in seen_tags if name == "svg")
    sections = {attributes["aria-labelledby"] for name, attributes in seen_tags if name == "section"}
    assert sections == {attributes["id"] for name, attributes in seen_tags if name == "h2"}


async def test_the_page_refreshes_itself_until_it_is_told_not_to(seen, look):
    assert '<meta http-equiv="refresh" content="10">' in (await look(seen))[1]
    assert "http-equiv" not in (await look(seen, "/?refresh=off"))[1]


async def test_the_page_can_show_a_shorter_span_of_time(seen, look):
    _, everything = await look(seen)
    for span, title in (("day", "last 24 hours"), ("month", "last 30 days"), ("nonsense", "all time")):
        status, page = await look(seen, f"/?span={span}")
        assert status == 200
        assert f"Spend: {title}" in page
        assert page.count("<tr") == everything.count("<tr")


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
    assert {name for name, _ in Tags(page.removeprefix("<!doctype html>")).seen} & {"script", "img", "style"} == set()
    assert not re.search(r"<script|<img", page)


async def test_a_page_without_traffic_and_without_budgets_says_so(running, demo, look):
    for team in demo["teams"].values():
        team["budgets"] = []
    status, page = await look(await running(demo))
    assert status == 200
    for text in ("No budget is configured", "Nothing has been spent", "No request has been decided"):
        assert text in page


async def test_a_budget_on_course_for_more_than_its_limit_is_marked_in_words(running, demo, look):
    demo["teams"]["batch"]["budgets"] = [{"limit": "0.001", "per": "year", "on_exceed": "allow"}]
    demo["teams"]["batch"]["routes"] = ["best"]
    on = await running(demo)
    await send_traffic(on, [("fb-demo-batch-key", "best", "Hello. out=400")])
    assert "above the limit" in (await look(on))[1]


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
