"""The page's two languages."""

import ast
import re
from datetime import UTC
from itertools import product
from pathlib import Path
from string import Formatter

import pytest

import router
from router import admin
from router.admin.said import SAID
from router.admin.words import LANGUAGES, WORDS, Words, choose
from router.core.failure import Fault
from router.core.limits import Budget

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
        names = {"farebox", "qwen", "plus", "openai", "flagship", "free", "cheap", "batch", "search", "support"}
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


# What the core says: every sentence in the code that makes a reason, or tells why a candidate is not tried

SAYING = {
    "core/policy.py": {"decide", "_cheapest_of", "_well_first", "_unmet", "_too_plain"},
    "core/plan.py": {"plan_of", "within"},
    "core/catalog.py": {"_lost"},
    "core/checks.py": {"_finish", "_empty", "_refused", "_language", "_schema", "_tools", "_code", "_length"},
    "core/cascade.py": {"short_of"},
    "core/explore.py": {"explore"},
    "promises.py": {"judge"},
    "attempts.py": {"run", "_second", "_cheap_first", "_how_it_failed"},
    "cascade.py": {"doubt"},
    "cache.py": {"_reason"},
    "settlement.py": {"only_cheap"},
}
FRAGMENTS = {"its quality is not configured", "quality 0.85"}  # a sentence goes on after them
SAMPLES = {
    "reason": ("named", "cheapest of 3"), "said": tuple(FRAGMENTS), "who": ("checker", "judge"), "why": ("it refuses",),
    "tally.failure.fault if tally.failure else Fault.SERVER": ("server",), "error": ("no price is known",), "wrong": ("it says nothing",), "certificate.stated": ("95% with 95% confidence",),
    "', '.join(sorted(missing))": ("tools, vision",),
    "state.budget.describe()": tuple(Budget(owner, 1, "USD", per, UTC).describe() for per in ("hour", "day", "week", "month", "quarter", "year", "total") for owner in ("*", "search", "search/app")),
    "'shorter' if ratio < 1 else 'longer'": ("shorter", "longer"),
    "'JSON' if language.lower() == 'json' else 'Python'": ("JSON", "Python"),
}  # fmt: skip


def filled(node):
    """An f-string with every kind of thing in its places."""
    if isinstance(node, ast.Constant):
        return [node.value]
    pieces = []
    for value in node.values:
        if isinstance(value, ast.Constant):
            pieces.append([value.value])
        else:
            form = ast.unparse(value.format_spec)[2:-1] if value.format_spec else ""
            number = {":g": "0.85", ".0%": "40%", "g": "0.85", ".2g": "1.5"}.get(form)
            pieces.append(SAMPLES.get(ast.unparse(value.value), (number or "gpt-4o-mini",)))
    return ["".join(chosen) for chosen in product(*pieces)]


def sentences_in(node):
    """Strings of more than a word, but for docstrings and what is raised."""
    if isinstance(node, ast.Raise) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        return
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        yield from (text for text in filled(node) if " " in text.strip())
        return
    for child in ast.iter_child_nodes(node):
        yield from sentences_in(child)


def said_by(file, names):
    tree = ast.parse((Path(router.__file__).parent / file).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in names:
            yield node.name, {text for line in node.body for text in sentences_in(line)} - FRAGMENTS


@pytest.mark.parametrize("file", SAYING)
def test_every_sentence_that_the_core_can_say_of_a_decision_has_a_translation(file):
    found = dict(said_by(file, SAYING[file]))
    assert found.keys() == SAYING[file] and all(found.values())  # none was renamed, or says nothing any more
    chinese = Words("zh")
    for sentence in sorted(set().union(*found.values())):
        here = chinese.said(sentence)
        assert here and re.search(r"[\u4e00-\u9fff]", here), sentence
        bare = re.sub(
            r"gpt-4o-mini|checker|judge|JSON|Python|tools, vision|max_cost|search(/app)?|no price is known",
            "",
            here,
        )
        assert not re.search(r"[A-Za-z]{3,}", bare), here


def test_no_sentence_is_translated_that_nobody_says():
    said = set().union({"named", "shadow", "finish: it refuses"}, *(found for file in SAYING for _, found in said_by(file, SAYING[file])))  # fmt: skip
    said |= {part for text in said for part in text.split("; ")}
    said |= {*SAMPLES["state.budget.describe()"], "everybody", "team search", "key search/app"}
    for pattern, _ in SAID:
        assert any(re.fullmatch(pattern, text) for text in said), pattern


def test_a_reason_of_several_parts_is_translated_part_by_part_and_what_a_vendor_said_stays():
    chinese = Words("zh")
    assert chinese.said("cheapest of 3 that meet 0.85") == "达到 0.85 的 3 个中最便宜"
    assert chinese.said("cheapest of 2; the beginning of the prompt is in the cache of qwen; passing over qwen, which is unwell") == (
        "2 个中最便宜；提示的开头在 qwen 的缓存中；跳过状况不佳的 qwen"
    )  # fmt: skip
    assert chinese.said("named; escalated from small: 529 overloaded: busy; try later; large had not begun after 0.5 s") == (
        "指定；从 small 升级：529 overloaded: busy; try later；large 在 0.5 秒后仍未开始应答"
    )  # fmt: skip
    assert chinese.said("flagship: none is known to meet 1; escalated from small: refused: it begins as a refusal does") == (
        "旗舰：没有已知达到 1 的模型；从 small 升级：refused：开头像是拒绝"
    )  # fmt: skip
    assert chinese.said("cheapest of 2; small failed: rate_limited") == "2 个中最便宜；small 失败：被限速"
    assert chinese.said("something else") is None
    assert chinese.said("cheapest of 2; something else") is None
    assert Words("en").said("something else") == "something else"
    assert set(LANGUAGES) == {"en", "zh"}
