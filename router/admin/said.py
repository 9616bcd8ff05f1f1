"""What the core says of a decision, in Chinese: its sentences as patterns, each with the same in Chinese.

`{told}` in the Chinese is what the group of that name says, translated where there are words for it: a checker's or a vendor's own
word stays as it is. Names, amounts and the shares of a promise stay as well.
"""

import re
from collections.abc import Mapping

SAID: tuple[tuple[str, str], ...] = (
    # Who was chosen
    (r"cheapest of (\S+) that meet (\S+)", r"达到 \2 的 \1 个中最便宜"),
    (r"cheapest of (\S+)", r"\1 个中最便宜"),
    (r"named", "指定"),
    (r"fallback: none of the route's own models can serve it", "后备：路由自己的模型都无法应答"),
    (r"flagship: none is known to meet (\S+)", r"旗舰：没有已知达到 \1 的模型"),
    (r"best there is: none is known to meet (\S+)", r"现有最佳：没有已知达到 \1 的模型"),
    (r"certified: (\S+) with (\S+) confidence, (\S+) will do", r"有证书：以 \2 的置信度保证 \1，\3 即可"),
    (r"flagship: the promise for (\S+) is broken", r"旗舰：\1 的质量承诺已失效"),
    (r"flagship: in a tool loop nothing is routed down", "旗舰：工具调用途中不降级"),
    (r"explored: (\S+) instead of (\S+), which is done with (\S+) of requests", r"探索：以 \1 代替 \2（占请求的 \3）"),
    (r"cache: the answer of (\S+)", r"缓存：\1 的回答"),
    (r"shadow", "影子请求"),
    # And what more there is to it
    (r"the beginning of the prompt is in the cache of (\S+)", r"提示的开头在 \1 的缓存中"),
    (r"passing over (\S+), which is unwell", r"跳过状况不佳的 \1"),
    (r"cascade: (\S+) is tried first", r"级联：先试 \1"),
    (r"(\S+) had not begun after (\S+) s", r"\1 在 \2 秒后仍未开始应答"),
    (r"escalated from (\S+): (?P<told>.+)", r"从 \1 升级：{told}"),
    (r"(\S+) failed: (?P<told>\S+)", r"\1 失败：{told}"),
    # Why a cheap answer would not do
    (r"it has no room now", "现在没有余量"),
    (r"its answer cannot be read", "无法读取其回答"),
    (r"(checker|judge): it could not be checked", r"\1：未能检查"),
    (r"(checker|judge): (\S+) is below (\S+)", r"\1：\2 低于 \3"),
    (r"(finish|empty|refused|language|schema|tools|code|length): (?P<told>.+)", r"\1：{told}"),
    (r"it was filtered", "回答被过滤"),
    (r"it ended for want of room", "因长度上限而中止"),
    (r"it says nothing", "回答为空"),
    (r"it refuses", "拒绝回答"),
    (r"it begins as a refusal does", "开头像是拒绝"),
    (r"a question in (\S+) letters has an answer in (\S+) ones", r"问题用 \1 文字，回答却用 \2 文字"),
    (r"it is no JSON", "不是 JSON"),
    (r"it is no JSON object", "不是 JSON 对象"),
    (r"it calls no tool", "没有调用工具"),
    (r"it calls a tool that there is not", "调用了不存在的工具"),
    (r"the arguments of (\S+) are no JSON", r"\1 的参数不是 JSON"),
    (r"the arguments of (\S+): (?P<told>.+)", r"\1 的参数：{told}"),
    (r"(\S+) in it does not parse", r"其中的 \1 无法解析"),
    (r"it is shorter than the route's answers are by far", "远短于此路由通常的回答"),
    (r"it is longer than the route's answers are by far", "远长于此路由通常的回答"),
    # Why a candidate is not tried
    (r"quality (\S+), (\S+) is needed", r"质量 \1，需要 \2"),
    (r"its quality is not configured, (\S+) is needed", r"未配置质量，需要 \1"),
    (r"no promise covers it", "没有质量承诺涵盖它"),
    (r"acceptable with (\S+): not enough for what is promised", r"可接受的概率为 \1：不足以履行承诺"),
    (r"the vendor adds to its prompt what is not seen here, and its window is not known: no bound",
     "供应商会在提示中加入此处看不到的内容，且其窗口未知：没有上限"),
    (r"the prompt of about (\S+) tokens does not fit its window of (\S+)", r"约 \1 词元的提示超出其 \2 的窗口"),
    (r"unpriced: no exchange rate for (\S+)", r"没有价格：缺少 \1 的汇率"),
    (r"unpriced: (?P<told>.+)", r"没有价格：{told}"),
    (r"could cost up to (\S+), above max_cost (\S+)", r"最多可能花费 \1，高于 max_cost \2"),
    (r"tier (\S+) is not the tier asked for, (\S+)", r"档位 \1 不是所要求的 \2"),
    (r"vendor (\S+) is not among those asked for", r"供应商 \1 不在所要求的之列"),
    (r"makes embeddings only", "仅用于嵌入"),
    (r"cannot do (.+)", r"不支持 \1"),
    (r"(?P<told>.+) is past its soft limit: only the cheap tier is left", "{told}已超过软限额：仅剩低价档"),
    (r"the hourly budget of (?P<told>.+)", "{told}的每小时预算"),
    (r"the daily budget of (?P<told>.+)", "{told}的每日预算"),
    (r"the weekly budget of (?P<told>.+)", "{told}的每周预算"),
    (r"the monthly budget of (?P<told>.+)", "{told}的每月预算"),
    (r"the quarterly budget of (?P<told>.+)", "{told}的季度预算"),
    (r"the yearly budget of (?P<told>.+)", "{told}的年度预算"),
    (r"the total budget of (?P<told>.+)", "{told}的总预算"),
    (r"everybody", "所有团队"),
    (r"team (\S+)", r"团队 \1 "),
    (r"key (\S+)", r"密钥 \1 "),
)  # fmt: skip
_PATTERNS = tuple((re.compile(pattern), here) for pattern, here in SAID)

# Where a reason goes on. What a vendor said may have a semicolon too, and is left together.
_ON = re.compile(
    r"; (?=the beginning of the prompt is in the cache|passing over |cascade: |escalated from |\S+ had not begun after |\S+ failed: )"
)


def in_chinese(text: str, codes: Mapping[str, str]) -> str | None:
    """A reason or why a candidate was not tried; None where there are no words for some of it. `codes` has the words for codes
    that may stand in it, such as that of a fault.
    """
    parts = [_sentence(part, codes) for part in _ON.split(text)]
    told = [part for part in parts if part is not None]
    return "；".join(told) if len(told) == len(parts) else None


def _sentence(text: str, codes: Mapping[str, str]) -> str | None:
    for pattern, here in _PATTERNS:
        if found := pattern.fullmatch(text):
            told = found.groupdict().get("told")
            said = "" if told is None else codes.get(told) or _sentence(told, codes) or told
            return found.expand(here).replace("{told}", said)
    return None
