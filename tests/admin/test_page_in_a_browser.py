"""The page in headless Chromium: what a person gets, and what the browser complains about."""

import zlib
from pathlib import Path

import pytest
from chromium import browser
from nodes import node_modules
from traffic import ADMIN, send_traffic

ERRORS = "error", "warning"


def complaints(page):
    """What the console shows as wrong: a refused style, a broken policy, a resource from elsewhere."""
    return [told for told in page.complaints if told.get("entry", {}).get("level", "error") in ERRORS]


def colours(png):
    """The colours in the first rows of a screenshot: proof that something was painted."""
    data, at = b"", 8
    while at < len(png):
        size, kind = int.from_bytes(png[at : at + 4], "big"), png[at + 4 : at + 8]
        data += png[at + 8 : at + 8 + size] if kind == b"IDAT" else b""
        at += size + 12
    return set(zlib.decompress(data))


@pytest.fixture(scope="module")
def axe():
    """axe-core as a script: what finds barriers."""
    return (node_modules(Path(__file__).parent / "axe") / "axe-core/axe.min.js").read_text()


# How it looks


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_the_page_is_whole_and_without_barriers_at_any_width_in_either_colours(
    seen, tmp_path, axe, dark, language
):
    """Every width is a tab of one browser: a browser takes a second to start."""
    said = {
        "en": ("Budgets", "By team", "Cost over time", "Last decisions", "Prices in force"),
        "zh": ("预算", "费用趋势", "最近的决策"),
    }
    async with browser(tmp_path) as open_page:
        for width in (390, 820, 1280):
            async with open_page(f"{seen.url}/?lang={language}", width=width, dark=dark) as page:
                dom = await page.dom()
                for text in (*said[language], "claude-sonnet-4-5"):
                    assert text in dom
                assert await page.value("document.documentElement.scrollWidth") <= width
                assert await page.value("document.querySelectorAll('.cards li').length") == 4
                assert await page.value("document.querySelector('.cards rect.spent').getBoundingClientRect().width") > 0
                ground = await page.value("getComputedStyle(document.body).backgroundColor")
                assert ground == ("rgb(16, 19, 23)" if dark else "rgb(245, 246, 248)")
                assert set(page.asked) - {seen.url + "/page.svg"} == {
                    f"{seen.url}/{name}" for name in (f"?lang={language}", "page.css", "page.js")
                }
                await page.picture(tmp_path / "page.png")
                assert len(colours((tmp_path / "page.png").read_bytes())) > 20
                assert await barriers(page, axe) == []
                await page.value("document.querySelectorAll('details').forEach(one => { one.open = true })")
                assert await barriers(page, axe) == []
                assert await page.value("document.documentElement.scrollWidth") <= width
                assert complaints(page) == []


async def barriers(page, axe):
    """What axe-core finds against WCAG 2.2 AA and its own good practices."""
    await page.value(axe)
    found = await page.settled("axe.run().then(told => ({wrong: told.violations, right: told.passes.length}))")
    assert found["right"] > 20
    return [(one["id"], [node["html"][:150] for node in one["nodes"]][:3]) for one in found["wrong"]]


async def test_the_door_is_without_barriers(running, demo, tmp_path, axe):
    demo["server"]["open_page"] = False
    on = await running(demo)
    async with browser(tmp_path) as open_page:
        for dark in (False, True):
            async with open_page(on.url, width=390, dark=dark) as page:
                assert await barriers(page, axe) == []
                await page.value("document.querySelector('#key').value = 'not the key'")
                await page.press("main button")
                assert await barriers(page, axe) == []
                page.complaints = [told for told in page.complaints if "403" not in str(told)]
                assert complaints(page) == []


async def test_bars_and_columns_are_as_long_as_the_shares_they_show(seen, tmp_path):
    async with browser(tmp_path) as open_page, open_page(seen.url) as page:
        shares = await page.value("""[...document.querySelectorAll('td svg')].map(bar =>
            [...bar.querySelectorAll('rect')].reduce((sum, part) => sum + part.getBoundingClientRect().width, 0)
            / bar.getBoundingClientRect().width)""")
        assert shares == pytest.approx([1] * len(shares), abs=0.01)  # the tiers of a team are all of its answers
        assert len(shares) == 3
        drawn = await page.value("""[...document.querySelectorAll('.plot')].map(plot => [...plot.querySelectorAll('g')].at(-1))
            .map(column => [...column.querySelectorAll('rect:not(.touch)')].map(part => part.height.baseVal.value))""")
        costs = {}
        for row in await seen.rows():
            costs[row["model"]] = costs.get(row["model"], 0) + row["cost"]
        largest = sorted((cost for cost in costs.values() if cost), reverse=True)[:6]
        heights = [height / drawn[0][0] for height in drawn[0]][: len(largest)]
        assert heights == pytest.approx([cost / largest[0] for cost in largest], abs=0.01)
        assert sum(drawn[1]) == pytest.approx(sum(drawn[0]), rel=0.01)


# How it is used


async def test_the_whole_page_can_be_walked_by_keyboard_and_shows_where_one_is(running, demo, tmp_path):
    demo["server"]["open_page"] = False
    on = await running(demo)
    await send_traffic(on)
    async with browser(tmp_path) as open_page, open_page(on.url) as page:
        assert await page.value("document.activeElement.id") == "key"
        for letter in ADMIN:
            await page.call("Input.dispatchKeyEvent", type="char", text=letter)
        before = page.loads
        await page.key("Enter", 13, "\r")
        await page.loaded(before)
        places = []
        for _ in range(60):
            await page.key("Tab", 9)
            place, outline, visible = await page.value("""(() => {
                const one = document.activeElement, box = one.getBoundingClientRect();
                return [one.textContent, getComputedStyle(one).outlineStyle, box.width > 0 && box.left >= 0];
            })()""")
            if places and place == places[0]:
                break
            assert visible and outline != "none", place
            places.append(place)
            if place == "Stop refreshing":
                break
        assert places[:7] == ["Skip to the figures", "24 hours", "7 days", "30 days", "All time", "中文", "Log out"]
        assert places.count("The same as a table") == 2
        assert places[-1] == "Stop refreshing"
        await page.value("document.querySelector('.why summary').focus()")
        await page.key("Enter", 13, "\r")
        assert await page.value("document.querySelector('.why').open")
        await page.value("document.querySelector('.skip').focus()")
        await page.key("Enter", 13, "\r")
        assert await page.value("document.activeElement.id") == "main"
        assert complaints(page) == []


REFRESHED = """new Promise(done => {
    new MutationObserver(() => done(true)).observe(document.getElementById('main'), {childList: true, subtree: true});
    document.dispatchEvent(new Event('visibilitychange'));
})"""


async def test_new_figures_come_without_a_reload_and_what_was_open_and_focused_stays_so(seen, tmp_path):
    async with browser(tmp_path) as open_page, open_page(seen.url) as page:
        await page.value("window.same = true")
        await page.value("document.querySelector('.why').open = true")
        name = await page.value("document.querySelector('.why').id")
        await page.value("document.querySelector('.why summary').focus()")
        before = await page.value("document.querySelector('.tiles').textContent")
        await send_traffic(seen)
        assert await page.settled(REFRESHED)
        assert await page.value("document.querySelector('.tiles').textContent") != before
        assert await page.value("window.same")
        assert await page.value(f"document.getElementById('{name}').open")
        assert await page.value("document.activeElement.closest('details').id") == name
        assert complaints(page) == []


async def test_a_page_whose_server_is_gone_says_that_it_is_old(seen, tmp_path):
    async with browser(tmp_path) as open_page, open_page(seen.url) as page:
        await page.call(
            "Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1
        )
        told = await page.settled("""new Promise(done => {
            const lost = document.getElementById('lost');
            new MutationObserver(() => done(lost.textContent)).observe(lost, {childList: true});
            document.dispatchEvent(new Event('visibilitychange'));
        })""")
        assert told == "No answer from Farebox; these figures are old."
        await page.call(
            "Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1
        )
        assert (
            await page.settled("""new Promise(done => {
            const lost = document.getElementById('lost');
            new MutationObserver(() => done(lost.textContent)).observe(lost, {childList: true});
            document.dispatchEvent(new Event('visibilitychange'));
        })""")
            == ""
        )


async def test_a_page_whose_login_has_ended_shows_the_door(running, demo, tmp_path):
    demo["server"]["open_page"] = False
    on = await running(demo)
    async with browser(tmp_path) as open_page, open_page(on.url) as page:
        await page.value(f"document.querySelector('#key').value = '{ADMIN}'")
        await page.press("main button")
        on.farebox.snapshot.path.write_text(on.farebox.snapshot.path.read_text().replace(ADMIN, "another-admin-key"))
        assert await on.farebox.reload()
        before = page.loads
        await page.value("document.dispatchEvent(new Event('visibilitychange'))")
        await page.loaded(before)
        assert await page.value("document.querySelector('#key').type") == "password"


async def test_without_scripts_the_page_says_the_same_and_loads_itself_anew(seen, tmp_path):
    async with browser(tmp_path) as open_page, open_page(seen.url, scripts=False) as page:
        document = (await page.call("DOM.getDocument", depth=-1))["root"]
        text = (await page.call("DOM.getOuterHTML", nodeId=document["nodeId"]))["outerHTML"]
        for there in ("Budgets", "Cost over time", "claude-sonnet-4-5", 'class="plot"'):
            assert there in text
        assert (
            '<noscript><meta http-equiv="refresh" content="10"></noscript>' in text
        )  # an element, where scripts are off
        assert seen.url + "/page.js" not in page.asked
        assert complaints(page) == []


async def test_a_person_logs_in_looks_and_logs_out(running, demo, tmp_path):
    demo["server"]["open_page"] = False
    on = await running(demo)
    await send_traffic(on)
    async with browser(tmp_path) as open_page, open_page(on.url) as page:
        await page.value("document.querySelector('#key').value = 'not the key'")
        await page.press("main button")
        assert "That is not the admin key, nor a team's." in await page.dom()
        page.complaints.clear()  # the console tells of the 403
        await page.value(f"document.querySelector('#key').value = '{ADMIN}'")
        await page.press("main button")
        assert await page.value("location.pathname") == "/"
        assert "Budgets" in await page.dom()
        assert await page.value("document.cookie") == ""  # no script could read it
        await page.press(".spans a")
        assert "Spend <small>in the last 24 hours</small>" in await page.dom()
        await page.press(".languages a")
        assert await page.value("document.documentElement.lang") == "zh-Hans"
        assert await page.value("location.search") == "?span=day&lang=zh"
        await page.press("header button")
        assert "密钥" in await page.dom()
        assert complaints(page) == []
