"""The price war of 2024, day by day: what one request cost on its eve and on its day, through the built-in books and the
same terms that a request is charged by. The amounts were worked out by hand; a date or an amount of a book that changes
makes this fail.
"""

from datetime import date, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest

from router.core.charge import Terms
from router.core.limits import micros
from router.core.money import ONE, show
from router.core.prices import Facts, Unpriced
from router.core.usage import Usage
from router.pricebook import read_books

MILLIONS = Usage(input_fresh=1_000_000, output_text=1_000_000)
PROMPT = Usage(input_fresh=1_000_000)
ODD = Usage(input_fresh=1234, output_text=567)
CHINA, UTC = ZoneInfo("Asia/Shanghai"), ZoneInfo("UTC")

REFUSED = "refused"  # nothing is known: never zero

# (day, model, currency, usage, on the eve, on the day, what happened)
WAR = [
    # 6 May: DeepSeek-V2 at 1 and 2 per million, about a hundredth of GPT-4 Turbo
    ("2024-05-06", "deepseek/deepseek-chat", "CNY", MILLIONS, REFUSED, "3", "1 + 2"),
    ("2024-05-06", "deepseek/deepseek-chat", "CNY", ODD, REFUSED, "0.002368", "0.001234 + 0.001134"),
    ("2024-05-06", "deepseek/deepseek-v2", "CNY", MILLIONS, REFUSED, "3", "the same under the model's own name"),
    # 13 May: GLM-3-Turbo from 5 li to 1 li per thousand, 80 % off
    ("2024-05-13", "zhipu/glm-3-turbo", "CNY", MILLIONS, "10", "2", "5 + 5, then 1 + 1"),
    ("2024-05-13", "zhipu/glm-3-turbo", "CNY", ODD, "0.009005", "0.001801", "1,801 tokens at 5, then at 1"),
    # 13 May: GPT-4o at half the price of GPT-4 Turbo
    ("2024-05-13", "openai/gpt-4o", "USD", MILLIONS, REFUSED, "20", "5 + 15"),
    ("2024-05-13", "openai/gpt-4o", "USD", ODD, REFUSED, "0.014675", "0.00617 + 0.008505"),
    ("2024-05-13", "openai/gpt-4o-2024-05-13", "USD", MILLIONS, REFUSED, "20", "the same under the snapshot's name"),
    ("2024-05-13", "openai/gpt-4-turbo", "USD", MILLIONS, "40", "40", "10 + 30, before and after"),
    ("2024-05-13", "openai/gpt-4-turbo", "USD", ODD, "0.02935", "0.02935", "0.01234 + 0.01701"),
    # 15 May: Doubao, told in li (a thousandth of a yuan) per thousand tokens
    ("2024-05-15", "bytedance/doubao-pro-32k", "CNY", PROMPT, REFUSED, "0.8", "0.8 li per thousand"),
    ("2024-05-15", "bytedance/doubao-pro-32k", "CNY", MILLIONS, REFUSED, "2.8", "0.8 + 2"),
    ("2024-05-15", "bytedance/doubao-pro-32k", "CNY", ODD, REFUSED, "0.0021212", "0.0009872 + 0.001134"),
    ("2024-05-15", "bytedance/doubao-pro-128k", "CNY", MILLIONS, REFUSED, "14", "5 + 9: half a fen, not half a li"),
    ("2024-05-15", "bytedance/doubao-lite-32k", "CNY", MILLIONS, REFUSED, "0.9", "0.3 + 0.6"),
    # 21 May, in the morning: Alibaba cuts nine models; Qwen-Long by 97 %
    ("2024-05-21", "alibaba/qwen-long", "CNY", PROMPT, "20", "0.5", "2 fen to half a li per thousand"),
    ("2024-05-21", "alibaba/qwen-long", "CNY", MILLIONS, REFUSED, "2.5", "0.5 + 2; the output before is not known"),
    ("2024-05-21", "alibaba/qwen-long", "CNY", ODD, REFUSED, "0.001751", "0.000617 + 0.001134"),
    ("2024-05-21", "alibaba/qwen-turbo", "CNY", MILLIONS, REFUSED, "8", "2 + 6"),
    ("2024-05-21", "alibaba/qwen-plus", "CNY", MILLIONS, REFUSED, "16", "4 + 12"),
    ("2024-05-21", "alibaba/qwen-max", "CNY", MILLIONS, REFUSED, "160", "40 + 120"),
    # 21 May, in the afternoon: Baidu makes ERNIE Speed and Lite free
    ("2024-05-21", "baidu/ernie-speed", "CNY", MILLIONS, REFUSED, "0", "free"),
    ("2024-05-21", "baidu/ernie-speed-8k", "CNY", MILLIONS, REFUSED, "0", "free"),
    ("2024-05-21", "baidu/ernie-lite", "CNY", MILLIONS, REFUSED, "0", "free"),
    # 22 May: iFlytek and Tencent follow
    ("2024-05-22", "iflytek/spark-lite", "CNY", MILLIONS, REFUSED, "0", "free"),
    ("2024-05-22", "iflytek/lite", "CNY", ODD, REFUSED, "0", "free, under the name of the API"),
    ("2024-05-22", "tencent/hunyuan-lite", "CNY", MILLIONS, REFUSED, "0", "free"),
    ("2024-05-22", "tencent/hunyuan-standard-256k", "CNY", PROMPT, "120", "15", "87.5 % off"),
    ("2024-05-22", "tencent/hunyuan-standard-256k", "CNY", MILLIONS, REFUSED, "75", "15 + 60"),
    # 18 July: GPT-4o mini, more than 60 % below GPT-3.5 Turbo
    ("2024-07-18", "openai/gpt-4o-mini", "USD", MILLIONS, REFUSED, "0.75", "0.15 + 0.6"),
    ("2024-07-18", "openai/gpt-4o-mini", "USD", ODD, REFUSED, "0.0005253", "0.0001851 + 0.0003402"),
    ("2024-07-18", "openai/gpt-3.5-turbo", "USD", MILLIONS, "2", "2", "0.5 + 1.5"),
    # 6 August: GPT-4o again
    ("2024-08-06", "openai/gpt-4o", "USD", MILLIONS, "20", "12.5", "5 + 15, then 2.5 + 10"),
    ("2024-08-06", "openai/gpt-4o", "USD", ODD, "0.014675", "0.008755", "then 0.003085 + 0.00567"),
    ("2024-08-06", "openai/gpt-4o-2024-05-13", "USD", MILLIONS, "20", "20", "the snapshot keeps its price"),
    # 5 September: DeepSeek-V2 ends as a price of its own
    ("2024-09-05", "deepseek/deepseek-chat", "CNY", MILLIONS, "3", REFUSED, "ended"),
    # 12 September: of o1-preview only the output price was reported
    ("2024-09-12", "openai/o1-preview", "USD", MILLIONS, REFUSED, REFUSED, "60 for the output; the input is not known"),
    # 19 September: Alibaba cuts again, Qwen-Turbo by 85 %
    ("2024-09-19", "alibaba/qwen-turbo", "CNY", PROMPT, "2", "0.3", "85 % off"),
    ("2024-09-19", "alibaba/qwen-turbo", "CNY", MILLIONS, "8", "0.9", "2 + 6, then 0.3 + 0.6"),
    ("2024-09-19", "alibaba/qwen-turbo", "CNY", ODD, "0.00587", "0.0007104", "then 0.0003702 + 0.0003402"),
    ("2024-09-19", "alibaba/qwen-plus", "CNY", PROMPT, "4", "0.8", "80 % off"),
    ("2024-09-19", "alibaba/qwen-plus", "CNY", MILLIONS, "16", "2.8", "4 + 12, then 0.8 + 2"),
    ("2024-09-19", "alibaba/qwen-plus", "CNY", ODD, "0.01174", "0.0021212", "then 0.0009872 + 0.001134"),
    ("2024-09-19", "alibaba/qwen-max", "CNY", PROMPT, "40", "20", "half"),
    ("2024-09-19", "alibaba/qwen-max", "CNY", MILLIONS, "160", "80", "40 + 120, then 20 + 60"),
    ("2024-09-19", "alibaba/qwen-max", "CNY", ODD, "0.1174", "0.0587", "0.04936 + 0.06804, then half"),
]


@pytest.fixture(scope="module")
def book():
    return read_books([(("prices", 0), "builtin")], None)


def charged(book, name, currency, usage, moment):
    """What the vendor's currency is charged for a usage at an instant, or that it is refused."""
    timeline = book.find(*name.split("/")).timelines[currency]
    at = micros(moment)
    try:
        plan = SimpleNamespace(price=timeline.at(at), facts=Facts(at))
        return show(Terms(plan, {currency: ONE}, None, ()).charge(usage).vendor)
    except Unpriced:
        return REFUSED


@pytest.mark.parametrize(
    ("day", "name", "currency", "usage", "eve", "on", "story"),
    WAR,
    ids=[f"{row[0]}/{row[1]}/{row[3].input_total}+{row[3].output_total}" for row in WAR],
)
def test_a_request_costs_what_it_did_to_the_day(book, day, name, currency, usage, eve, on, story):
    midnight = datetime.combine(date.fromisoformat(day), datetime.min.time(), CHINA if currency == "CNY" else UTC)
    moments = (
        midnight - timedelta(days=1),
        midnight - timedelta(microseconds=1),
        midnight,
        midnight + timedelta(hours=23),
    )
    assert [charged(book, name, currency, usage, moment) for moment in moments] == [eve, eve, on, on], story


def test_one_yuan_bought_two_million_tokens_of_qwen_long(book):
    may = datetime(2024, 5, 21, 12, tzinfo=CHINA)
    assert charged(book, "alibaba/qwen-long", "CNY", Usage(input_fresh=2_000_000), may) == "1"


CUTS = [  # how the press told it: (day, model, currency, usage, percent off at the least, at the most)
    ("2024-05-13", "zhipu/glm-3-turbo", "CNY", MILLIONS, 80, 80),
    ("2024-05-21", "alibaba/qwen-long", "CNY", PROMPT, 97, 98),
    ("2024-05-22", "tencent/hunyuan-standard-256k", "CNY", PROMPT, 87, 88),
    ("2024-09-19", "alibaba/qwen-turbo", "CNY", PROMPT, 85, 85),
    ("2024-09-19", "alibaba/qwen-plus", "CNY", PROMPT, 80, 80),
    ("2024-09-19", "alibaba/qwen-max", "CNY", MILLIONS, 50, 50),
]


@pytest.mark.parametrize(("day", "name", "currency", "usage", "least", "most"), CUTS, ids=[row[1] for row in CUTS])
def test_the_cuts_are_as_large_as_they_were_told(book, day, name, currency, usage, least, most):
    midnight = datetime.combine(date.fromisoformat(day), datetime.min.time(), CHINA)
    eve = Decimal(charged(book, name, currency, usage, midnight - timedelta(microseconds=1)))
    on = Decimal(charged(book, name, currency, usage, midnight))
    assert least <= (eve - on) * 100 / eve <= most


def test_openais_models_cost_what_was_said_of_each_other(book):
    def costs(name, day):
        return Decimal(
            charged(book, f"openai/{name}", "USD", MILLIONS, datetime.combine(day, datetime.min.time(), UTC))
        )

    may, july = date(2024, 5, 13), date(2024, 7, 18)
    assert costs("gpt-4o", may) * 2 == costs("gpt-4-turbo", may)
    assert costs("gpt-4o-mini", july) * 10 < costs("gpt-3.5-turbo", july) * 4  # more than 60 % cheaper


def test_the_table_has_every_price_that_the_books_date_in_those_months(book):
    """From 1 May to 30 September 2024; an entry that begins on the day a list was checked is no cut."""
    seen = {(day, name, currency) for day, name, currency, *_ in WAR}
    names: dict[int, set[str]] = {}
    for (vendor, name), model in book.models.items():
        names.setdefault(id(model), set()).add(f"{vendor}/{name}")
    missing = {
        (day, min(names[id(model)]), currency)
        for model in book.models.values()
        for currency, timeline in model.timelines.items()
        for price in timeline.prices
        if "2024-05-01" <= (day := price.label.partition(" from ")[2]) < "2024-10-01"
        and price.source != "LLM-Price list, 2024-05-23"
        and not any((day, name, currency) in seen for name in names[id(model)])
    }
    assert missing == set()
