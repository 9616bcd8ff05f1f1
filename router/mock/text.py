"""Words: how many tokens a text is, and which words the pretended models answer with. Pure; the same seed gives the same words."""

import functools
import itertools
import random
import re
from collections.abc import Iterator

_CJK = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]+")
_ASKING = re.compile("请问|请|帮我|介绍|解释|说明|一下|告诉我|什么是|是什么|如何|怎么|为什么|[，。；：、？！]")
_ASKING_WORDS = re.compile(
    "about|after|before|between|compare|could|describe|explain|please|should|summari[sz]e|their|there|these|thing|translate|which|would|write"
)
_PIECES = re.compile(" ?[^ ]+| +$")
_CJK_PIECES = re.compile("[\u4e00-\u9fff]{1,2}[，。；：、？！]?|.", re.DOTALL)
_CODE_PIECES = re.compile(r"\s*(?:\w{1,6}|[^\w\s]{1,3})|\s+")
_NATURAL = (40, 120)  # tokens of an answer nobody asked a length of

_ENGLISH = (
    "The short answer is that it depends on how much latency you can afford.",
    "Start with the simplest version that works and measure it before changing anything.",
    "Most teams find that a small cache in front of the slow call removes the worst of the load.",
    "A queue helps when bursts are short, and only hides the problem when they are not.",
    "Keep the numbers next to the decision, so that the next reader can check both.",
    "In practice the difference shows up at the tail and not in the average.",
    "Two things matter here: who owns the data, and how quickly it goes stale.",
    "If the input is larger than expected, split it and merge the partial results at the end.",
    "The usual mistake is to retry without a limit, which turns one failure into many.",
    "Write the check first, then the change, and let the check tell you when you are done.",
    "It is cheaper to reject a request early than to give up on it halfway through.",
    "For everyday traffic the smaller model is good enough and costs a fraction of the large one.",
    "You can confirm this by comparing the totals of the two columns over a full month.",
    "A clear name saves more time than a long comment.",
    "The second option is slower, but it survives a restart without losing anything.",
    "When both sides keep their own count, the difference between them is worth an alarm.",
    "Nothing here needs a special library; the standard tools cover it.",
    "Consider what happens when the clock jumps, because sooner or later it will.",
    "The table below would be the same with twice as many rows.",
    "Once the pattern is visible, the remaining cases follow from it.",
)
_CHINESE = (
    "简单来说，这取决于您能接受多长的等待时间。",
    "建议先做出最简单的可用版本，测量之后再考虑优化。",
    "多数团队发现，在慢调用前面加一层小缓存就能消除大部分压力。",
    "突发流量较短时，队列很有帮助；如果持续时间长，它只会掩盖问题。",
    "请把数字和结论放在一起，方便后来的人核对。",
    "实际差别往往体现在长尾请求上，而不是平均值。",
    "这里有两点最重要：数据归谁所有，以及多久会过期。",
    "如果输入比预期更长，可以先分段处理，最后再合并结果。",
    "常见的错误是无限重试，结果一次失败变成了许多次失败。",
    "对日常请求来说，小模型的质量已经足够，而且费用低得多。",
    "您可以对比整个月的两列合计来确认这一点。",
    "第二种方案稍慢一些，但重启之后不会丢失任何内容。",
    "双方各自记账时，两边的差额就值得发出告警。",
    "早一点拒绝请求，比处理到一半再放弃更便宜。",
    "一旦看清规律，其余情况就可以依此类推。",
    "这不需要额外的依赖，标准工具已经够用。",
)
_OPENERS = (
    "Here is the short version about {}.",
    "Good question about {}.",
    "On {}, three points are worth knowing.",
    "Let me explain {} step by step.",
)
_CHINESE_OPENERS = (
    "关于“{}”，可以这样理解。",
    "下面简要说明“{}”。",
    "“{}”是一个很好的问题。",
    "我们一步一步来看“{}”。",
)


def tokens(text: str) -> int:
    """The mock's own tokenizer: 4 Latin characters or 1.6 CJK ones to a token. What it says is what the mock bills."""
    if text.isascii():
        return (len(text) + 3) // 4
    cjk = sum(map(len, _CJK.findall(text)))
    return ((len(text) - cjk) * 2 + cjk * 5 + 7) // 8


def is_chinese(text: str) -> bool:
    """Whether to answer in Chinese: at least a quarter of the visible characters."""
    if text.isascii():
        return False
    visible = len(text) - text.count(" ")
    return sum(map(len, _CJK.findall(text))) * 4 >= visible


def answer(question: str, rng: random.Random, count: int | None = None) -> tuple[str, ...]:
    """An answer of `count` tokens, or of a natural length; one string per token, to be joined with nothing between."""
    chinese = is_chinese(question)
    sentences = _sentences(question, rng, chinese=chinese)
    if count is None:
        return _natural(sentences, rng)
    if count == 0:
        return ()
    pieces = list(itertools.islice(itertools.chain.from_iterable(sentences), count))
    # An answer that ended is a sentence, also when its length was ordered.
    pieces[-1] = pieces[-1].rstrip(".,;:，。；：、") + ("。" if chinese else ".")
    return tuple(pieces)


def code(text: str) -> tuple[str, ...]:
    """JSON in pieces about as large as a model's tokens; nothing is lost or added."""
    return tuple(_CODE_PIECES.findall(text))


def exactly(pieces: tuple[str, ...], count: int | None) -> tuple[str, ...]:
    """The same JSON text in exactly `count` pieces: larger ones when it must be fewer, trailing blanks (JSON allows them) when more."""
    if count is None or count == len(pieces) or count == 0:
        return pieces if count != 0 else ()
    if count > len(pieces):
        return pieces + (" ",) * (count - len(pieces))
    bounds = [len(pieces) * i // count for i in range(count + 1)]
    return tuple("".join(pieces[a:b]) for a, b in itertools.pairwise(bounds))


def until(pieces: tuple[str, ...], stops: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """The pieces before the first stop sequence, which may begin or end inside one; and that sequence, empty if there was none."""
    whole = "".join(pieces)
    found = [(at, stop) for stop in stops if (at := whole.find(stop)) >= 0]
    if not found:
        return pieces, ""
    (left, stopped), kept = min(found), []
    for piece in pieces:
        if left <= 0:
            break
        kept.append(piece[:left])
        left -= len(piece)
    return tuple(kept), stopped


def _natural(sentences: Iterator[tuple[str, ...]], rng: random.Random) -> tuple[str, ...]:
    least, most = _NATURAL
    goal = rng.randint(least, most - 20)
    pieces: list[str] = []
    for sentence in sentences:
        if len(pieces) >= goal or len(pieces) + len(sentence) > most:
            break
        pieces.extend(sentence)
    return tuple(pieces)


def _sentences(question: str, rng: random.Random, *, chinese: bool) -> Iterator[tuple[str, ...]]:
    """Sentences without end, as pieces; each but the first begins with its blank."""
    bank = _bank(chinese=chinese)
    subject = _subject(question[:400], chinese=chinese)
    if subject:
        opener = rng.choice(_CHINESE_OPENERS if chinese else _OPENERS).format(subject)
        yield _split(opener, chinese=chinese)
    first = not subject
    while True:
        for sentence in rng.sample(bank, len(bank)):
            if first or chinese:
                yield sentence
            else:
                yield (" " + sentence[0], *sentence[1:])
            first = False


def _subject(question: str, *, chinese: bool) -> str:
    """A few words of the question, so that an answer looks like one."""
    if chinese:
        runs = _CJK.findall(_ASKING.sub("", question))
        return max(runs, key=len)[:8].strip("的吗呢") if runs else ""
    words = [w.lower() for w in re.findall(r"(?<![\w=./-])[A-Za-z]{5,20}(?![\w=/])", question)]
    longest = sorted(
        sorted(dict.fromkeys(w for w in words if not _ASKING_WORDS.fullmatch(w)), key=len, reverse=True)[:2],
        key=words.index,
    )
    together = " ".join(longest)
    return together if together in question.lower() else " and ".join(longest)


def _split(sentence: str, *, chinese: bool) -> tuple[str, ...]:
    return tuple((_CJK_PIECES if chinese else _PIECES).findall(sentence))


@functools.cache
def _bank(*, chinese: bool) -> tuple[tuple[str, ...], ...]:
    return tuple(_split(s, chinese=chinese) for s in (_CHINESE if chinese else _ENGLISH))
