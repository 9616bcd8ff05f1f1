"""The page in headless Chromium: what a person gets, and what the browser complains about."""

import zlib

import pytest
from chromium import browser
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


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_the_page_is_whole_at_any_width_in_either_colours(seen, tmp_path, width, dark):
    async with browser(tmp_path) as open_page, open_page(seen.url, width=width, dark=dark) as page:
        dom = await page.dom()
        for text in ("Budgets", "By team", "By model", "Last decisions", "Prices in force", "claude-sonnet-4-5"):
            assert text in dom
        assert await page.value("document.documentElement.scrollWidth") <= width
        assert await page.value("document.querySelectorAll('.cards li').length") == 4
        assert await page.value("document.querySelector('.cards rect.spent').getBoundingClientRect().width") > 0
        ground = await page.value("getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(21, 23, 26)" if dark else "rgb(246, 246, 243)")
        assert complaints(page) == []
        assert set(page.asked) == {seen.url + "/", seen.url + "/page.css"}
        await page.picture(tmp_path / "page.png")
        assert len(colours((tmp_path / "page.png").read_bytes())) > 20


async def test_bars_are_as_long_as_the_shares_they_show(seen, tmp_path):
    async with browser(tmp_path) as open_page, open_page(seen.url) as page:
        shares = await page.value("""[...document.querySelectorAll('td svg')].map(bar =>
            [...bar.querySelectorAll('rect')].reduce((sum, part) => sum + part.getBoundingClientRect().width, 0)
            / bar.getBoundingClientRect().width)""")
        assert shares == pytest.approx([1] * len(shares), abs=0.01)  # the tiers of a team are all of its answers
        assert len(shares) == 3


async def test_a_person_logs_in_looks_and_logs_out(running, demo, tmp_path):
    demo["server"]["open_page"] = False
    on = await running(demo)
    await send_traffic(on)
    async with browser(tmp_path) as open_page, open_page(on.url) as page:
        await page.value("document.querySelector('#key').value = 'not the key'")
        await page.press("main button")
        assert "That is not the admin key." in await page.dom()
        page.complaints.clear()  # the console tells of the 403
        await page.value(f"document.querySelector('#key').value = '{ADMIN}'")
        await page.press("main button")
        assert await page.value("location.pathname") == "/"
        assert "Budgets" in await page.dom()
        assert await page.value("document.cookie") == ""  # no script could read it
        await page.press("nav a")
        assert "Spend: last 24 hours" in await page.dom()
        await page.press("header button")
        assert "Admin key" in await page.dom()
        assert complaints(page) == []
