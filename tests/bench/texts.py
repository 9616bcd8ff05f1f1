"""Long prompts as applications send them: a megabyte of English and a megabyte of Chinese, the same on every run."""

import random

_ENGLISH = (
    "The customer reports that invoices exported from the billing console are missing the VAT line.",
    "Our nightly job reads about forty thousand rows, groups them by region and writes one file for each warehouse.",
    "I've checked the logs twice; nothing is wrong before 03:15, and then every request takes 2,400 ms or longer.",
    "Please summarise what was agreed at the meeting, who is responsible, and which questions are still open.",
    "Section 4.2 says that either party may end the agreement in writing with thirty days' notice.",
)
_CHINESE = (
    "客户反馈从计费控制台导出的发票缺少发往爱尔兰订单的增值税明细。",
    "我们的夜间任务大约读取四万行数据,按地区分组,然后为每个仓库写入一个文件。",
    "日志已经检查过两遍;凌晨三点十五分之前一切正常,之后每个请求都要两秒以上。",
    "请总结会议达成的共识、各项工作的负责人,以及仍然没有解决的问题。",
    "合同第四条第二款规定,任何一方都可以提前三十天以书面形式终止协议。",
)


def _long(sentences: tuple[str, ...], join: str, size: int) -> str:
    draw, out, length = random.Random(1), [], 0
    while length < size:
        paragraph = join.join(draw.choice(sentences) for _ in range(draw.randint(3, 8))) + "\n"
        out.append(paragraph)
        length += len(paragraph.encode())
    return "".join(out)


BIG = {"English": _long(_ENGLISH, " ", 10**6), "Chinese": _long(_CHINESE, "", 10**6)}
TICKET = "The customer reports that invoices are missing the VAT line. "
ORDINARY = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "Summarise the following support ticket and propose the next action. " + TICKET * 8},
]
