"""The page's two languages."""

import re
from pathlib import Path
from string import Formatter

import pytest

from router import admin
from router.admin.words import LANGUAGES, WORDS, Words, choose
from router.core.failure import Fault

SOURCES = {file.name: file.read_text() for file in Path(admin.__file__).parent.glob("*.py") if file.name != "words.py"}


def places(text):
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("key", WORDS)
def test_every_word_is_there_in_both_languages_with_the_same_places(key):
    english, chinese = WORDS[key]
    assert english.strip() and chinese.strip()
    assert places(english) == places(chinese)
    assert not re.search(r"[\u4e00-\u9fff]", english)
    unworded = {"title", "tier_free"}  # a name may stand for itself in both
    assert re.search(r"[\u4e00-\u9fff]", chinese) or key in unworded


def test_every_word_that_is_asked_for_is_in_the_table_and_none_is_there_for_nothing():
    source = "\n".join(SOURCES.values())
    asked = set(re.findall(r'words(?:\.html)?\(\s*"(\w+)"', source))
    assert asked <= WORDS.keys()
    quoted = set(re.findall(r'"(\w+)"', source))
    made = {key for key in WORDS for prefix in re.findall(r"""f["'](\w+_)\{""", source) if key.startswith(prefix)}
    assert WORDS.keys() - quoted - made == set()


def test_every_fault_has_words():
    assert {f"fault_{fault}" for fault in Fault} == {key for key in WORDS if key.startswith("fault_")}


@pytest.mark.parametrize(
    ("asked", "accepted", "language"),
    [
        (None, "", "en"), (None, "zh", "zh"), (None, "zh-CN,zh;q=0.9,en;q=0.8", "zh"), (None, "de,en;q=0.5,zh;q=0.4", "en"),
        (None, "en;q=0.2, zh-TW;q=0.7", "zh"), (None, "fr", "en"), (None, "zh;q=0", "en"), (None, "zh;q=x", "en"),
        (None, "*;q=0.5", "en"), (None, ",;,=;q", "en"), (None, "zh;q=0.5,en", "en"), ("en", "zh", "en"), ("zh", "en", "zh"),
        ("tlh", "zh", "zh"), (None, "zh;q=nan", "en"), (None, "ZH-hans", "zh"),
    ],
)  # fmt: skip
def test_the_language_is_the_one_asked_for_or_the_first_that_the_visitor_reads(asked, accepted, language):
    assert choose(asked, accepted) == language


async def test_the_page_speaks_chinese_to_who_asks_for_it_and_its_links_go_on_so(seen, look):
    _, page = await look(seen, "/?lang=zh")
    assert '<html lang="zh-Hans">' in page
    for text in ("预算", "费用趋势", "路由节省", "最近的决策", "供应商状况", "现行价格", "个中最便宜", "成功"):
        assert text in page
    assert 'href="?span=day&amp;lang=zh"' in page
    assert 'href="?lang=en" lang="en"' in page
    _, same = await look(seen, headers={"Accept-Language": "zh-CN"})
    assert '<html lang="zh-Hans">' in same
    assert 'href="?span=day"' in same


async def test_nothing_of_the_pages_own_stays_english_in_chinese(seen, look):
    """What is between tags and not a name, a number or a sentence of the core that says that it is English."""
    for path in ("/?lang=zh", "/?lang=zh&span=day&refresh=off"):
        _, page = await look(seen, path)
        body = re.sub(r'<(\w+)[^>]* lang="en"[^>]*>[^<]*</\1>', "", page[page.index("<body") :])
        body = re.sub(r"<title>.*?</title>", "", body, flags=re.DOTALL)
        texts = re.findall(r">([^<]+)<", body) + re.findall(r'(?:aria-label|data-label|data-text)="([^"]+)"', body)
        english = {word.lower() for key, (text, _) in WORDS.items() for word in re.findall(r"[A-Za-z]{4,}", text)}
        names = {"farebox", "openai", "flagship", "free", "cheap", "batch", "search", "support"}
        for text in texts:
            assert not set(re.findall(r"[a-z]{4,}", text.lower())) & (english - names), text


async def test_the_door_speaks_the_visitors_language_and_keeps_it_through_the_login(running, demo, look):
    demo["server"]["open_page"] = False
    on = await running(demo)
    _, page = await look(on, "/?lang=zh")
    assert "管理密钥可见全部" in page
    assert 'action="login?lang=zh"' in page
    async with on.http.post(on.url + "/login?lang=zh", data={"key": "x"}, allow_redirects=False) as reply:
        assert "这不是此页的表单" in await reply.text()
    demo["server"]["admin_key"] = None


def test_what_the_core_says_is_translated_or_left_as_it_is():
    chinese = Words("zh")
    assert chinese.said("cheapest of 3 that meet 0.85") == "达到 0.85 的 3 个中最便宜"
    assert chinese.said("quality 0.82, 0.85 is needed") == "质量 0.82，需要 0.85"
    assert chinese.said("something else") is None
    assert Words("en").said("something else") == "something else"
    assert set(LANGUAGES) == {"en", "zh"}
