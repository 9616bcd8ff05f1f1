"""The built-in price books, read as plain YAML: no router code, so that a fault here is a fault of the files."""

import re
from datetime import date
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import yaml

BOOKS = sorted((Path(__file__).parents[1] / "config" / "prices").glob("*.yaml"))
VENDORS = {
    *("openai", "azure-openai", "anthropic", "google", "xai", "meta", "mistral", "together", "groq", "ollama"),
    *("alibaba", "baidu", "tencent", "bytedance", "deepseek", "zhipu", "moonshot", "minimax", "baichuan", "01ai"),
    *("iflytek", "stepfun"),
}
AMOUNTS = {"input", "cache_read", "cache_write", "cache_write_1h", "input_audio", "output"}
EACH = {"per_search"}
WHEN = {"input_tokens", "output_tokens", "thinking", "timezone", "hours", "weekdays", "holidays", "service_tier"}
TIERS = {"flex", "priority", "fast", "batch"}
MONTHS = ("May", "June", "August", "September")
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]

# {(vendor, model): why its output may cost less than its input}
CHEAPER_OUTPUT = {}


def load(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def models(path):
    return (load(path)["models"] or {}).items()


def entries():
    return [
        pytest.param(path.stem, name, model, entry, id=f"{path.stem}/{name}/{entry['currency']}/{entry.get('from')}")
        for path in BOOKS
        for name, model in models(path)
        for entry in model["prices"]
    ]


def rates(entry):
    """Every set of amounts, those of service tiers that are written out among them."""
    return [*entry.get("rates", [entry]), *(told for told in entry.get("tiers", {}).values() if isinstance(told, dict))]


def aliases(model):
    """(name, dates) of each alias."""
    return [(a, {}) if isinstance(a, str) else (a["name"], a) for a in model.get("aliases", ())]


def amounts(entry):
    return [(unit, Decimal(rate[unit])) for rate in rates(entry) for unit in sorted(AMOUNTS & rate.keys())]


def tracks(model):
    found = {}
    for entry in model["prices"]:
        found.setdefault(entry["currency"], []).append(entry)
    return found


def in_force(vendor, wanted, currency, day):
    """The entry of a day as an operator would look it up: by name or alias, then by date."""
    book = load(Path(BOOKS[0].parent, f"{vendor}.yaml"))
    model = next(m for name, m in book["models"].items() if wanted in (name, *m.get("aliases", ())))
    found = None
    for entry in tracks(model).get(currency, ()):
        if entry.get("from", date.min) <= day:
            found = entry
    return found if found and day < found.get("to", date.max) else None


every_book = pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
every_entry = pytest.mark.parametrize(("vendor", "name", "model", "entry"), entries())


def test_there_is_one_book_per_known_vendor():
    assert {path.stem for path in BOOKS} == VENDORS


@every_book
def test_a_book_names_its_vendor_and_timezone_and_opens_with_a_comment(path):
    book = load(path)
    assert book.keys() <= {"vendor", "timezone", "calendar", "checked", "same_as", "models"}
    assert book.get("calendar", "china") == "china"
    assert book["vendor"] == path.stem
    assert ZoneInfo(book["timezone"])
    assert book.get("same_as", "openai") in VENDORS
    assert path.read_text(encoding="utf-8").startswith("# ")


@every_book
def test_no_key_occurs_twice_in_a_book(path):
    def look(node):
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value]
            assert len(keys) == len(set(keys)), f"line {node.start_mark.line + 1}: {keys}"
            for _, value in node.value:
                look(value)
        elif isinstance(node, yaml.SequenceNode):
            for value in node.value:
                look(value)

    look(yaml.compose(path.read_text(encoding="utf-8")))


@every_book
def test_a_model_says_what_it_is_in_known_words(path):
    for name, model in models(path):
        assert isinstance(name, str)
        assert not set(name) & set(" ()"), f"{name} cannot be sent to an API"
        assert model.keys() <= {"kind", "tier", "context_window", "max_output", "lacks", "aliases", "prices"}, name
        assert model["tier"] in {"free", "cheap", "mid", "flagship"}, name
        assert model.get("kind", "embedding") == "embedding", name
        assert set(model.get("lacks", [])) <= {"tools", "images", "json_schema", "audio"}, name
        assert all(isinstance(model.get(key, 1), int) for key in ("context_window", "max_output")), name
        assert model["prices"], name


@every_book
def test_no_name_means_two_models_at_once(path):
    names = [name for key, model in models(path) for name, dates in [(key, {}), *aliases(model)] if not dates]
    assert len(names) == len(set(names))
    for _, model in models(path):
        assert all(dates.keys() <= {"name", "from", "to"} for _, dates in aliases(model))


@every_entry
def test_an_entry_has_the_allowed_keys_a_currency_and_a_source(vendor, name, model, entry):
    plain = {"from", "to", "currency", "confidence", "source", "note", "free", "tiers", "evaluated"} | EACH
    assert entry.keys() <= plain | ({"rates"} if "rates" in entry else AMOUNTS)
    assert entry.get("tiers", {}).keys() <= TIERS
    assert entry.get("evaluated", "completion") == "completion"
    assert entry["currency"] in {"CNY", "USD"}
    assert entry["confidence"] in {"high", "medium", "doubtful"}
    assert entry["source"].strip() and not entry["source"].endswith(".txt")
    assert all(type(entry.get(key, date.min)) is date for key in ("from", "to"))


@every_book
def test_every_entry_tells_a_day_on_which_it_was_checked(path):
    """By its source, or for catalogues without a day by the book; else nobody would be warned that it is old."""
    book = load(path)
    undated = [
        (name, entry["source"])
        for name, model in models(path)
        for entry in model["prices"]
        if not re.search(rf"\b20\d\d-\d\d|({'|'.join(MONTHS)}) 20\d\d", entry["source"])
    ]
    assert not undated or type(book["checked"]) is date
    catalogues = ("genai-prices ", "model-prices ", "litellm ")
    assert [name for name, source in undated if not source.startswith(catalogues)] == []


@every_entry
def test_amounts_are_quoted_exact_decimals_of_at_most_six_places(vendor, name, model, entry):
    assert amounts(entry), "an entry without any amount says nothing"
    for rate in rates(entry):
        for unit in AMOUNTS & rate.keys():
            assert isinstance(rate[unit], str), unit
            value = Decimal(rate[unit])
            assert value.is_finite() and value.as_tuple().exponent >= -6, unit
    for told in (entry.get("per_search"), *entry.get("tiers", {}).values()):
        assert told is None or isinstance(told, dict) or (isinstance(told, str) and 0 < Decimal(told) < 10)
    assert Decimal(entry.get("per_search", "0.01")) < Decimal("0.1")


@every_entry
def test_amounts_are_plausible_and_zero_only_where_free(vendor, name, model, entry):
    free = model["tier"] == "free" or entry.get("free", False)
    for unit, value in amounts(entry):
        assert (value == 0 and free) or Decimal("0.001") <= value <= 1000, unit


@every_entry
def test_reading_a_cache_costs_at_most_the_input_price(vendor, name, model, entry):
    for rate in rates(entry):
        if "cache_read" in rate:
            assert Decimal(rate["cache_read"]) <= Decimal(rate["input"])


@every_entry
def test_output_costs_at_least_the_input_price(vendor, name, model, entry):
    pairs = [(Decimal(r["input"]), Decimal(r["output"])) for r in rates(entry) if {"input", "output"} <= r.keys()]
    assert all(output >= paid for paid, output in pairs) or (vendor, name) in CHEAPER_OUTPUT


@every_entry
def test_an_embedding_has_no_output_price(vendor, name, model, entry):
    assert ("embed" in name) == ("kind" in model)
    if "kind" in model:
        assert {unit for unit, _ in amounts(entry)} == {"input"}


@every_entry
def test_conditional_rates_are_well_formed_and_the_default_comes_last(vendor, name, model, entry):
    for i, rate in enumerate(entry.get("rates", ())):
        assert rate.keys() <= AMOUNTS | {"when"}
        assert "when" in rate or i == len(entry["rates"]) - 1
        assert rate.get("when", {}).get("service_tier", "flex") in TIERS
        when = rate.get("when", {"thinking": True})
        assert when and when.keys() <= WHEN
        for key in ("input_tokens", "output_tokens"):
            span = when.get(key, {"to": 1})
            assert span and span.keys() <= {"above", "to"}
            assert 0 <= span.get("above", 0) < span.get("to", 10**9)
        assert isinstance(when.get("thinking", True), bool)
        assert set(when.get("weekdays", [])) <= set(DAYS)
        if "hours" in when:
            start, end = when["hours"].split("-")
            assert all("00:00" <= clock <= "23:59" and len(clock) == 5 for clock in (start, end))


@every_entry
def test_bands_of_prompt_length_follow_each_other_without_overlap(vendor, name, model, entry):
    bands = {}
    for rate in entry.get("rates", ()):
        when = dict(rate.get("when", {}))
        span = when.pop("input_tokens", None)
        if span:
            bands.setdefault(str(when), []).append((span.get("above", -1), span.get("to", 10**9)))
    for spans in bands.values():
        assert all(low[1] <= high[0] for low, high in pairwise(spans)), spans


@every_book
def test_the_dates_of_one_currency_are_in_order_and_never_overlap(path):
    for name, model in models(path):
        for currency, track in tracks(model).items():
            for entry in track:
                assert entry.get("from", date.min) < entry.get("to", date.max), (name, currency)
            for earlier, later in pairwise(track):
                assert "from" in later, (name, currency, "only the first entry may have no beginning")
                assert earlier.get("from", date.min) < later["from"], (name, currency)
                assert earlier.get("to", later["from"]) <= later["from"], (name, currency)


# The price war of 2024 by date: vendor/model, currency, the day, (input, output) the day before and on the day; None is
# unknown, which is refused and never zero.
UNKNOWN = (None, None)
WAR = [
    ("deepseek/deepseek-chat", "CNY", "2024-05-06", UNKNOWN, ("1", "2")),
    ("deepseek/deepseek-v2", "CNY", "2024-05-06", UNKNOWN, ("1", "2")),
    ("zhipu/glm-3-turbo", "CNY", "2024-05-13", ("5", "5"), ("1", "1")),
    ("openai/gpt-4o", "USD", "2024-05-13", UNKNOWN, ("5", "15")),
    ("bytedance/doubao-pro-32k", "CNY", "2024-05-15", UNKNOWN, ("0.8", "2")),
    ("bytedance/doubao-pro-128k", "CNY", "2024-05-15", UNKNOWN, ("5", "9")),
    ("bytedance/doubao-lite-32k", "CNY", "2024-05-15", UNKNOWN, ("0.3", "0.6")),
    ("alibaba/qwen-long", "CNY", "2024-05-21", ("20", None), ("0.5", "2")),
    ("alibaba/qwen-turbo", "CNY", "2024-05-21", UNKNOWN, ("2", "6")),
    ("alibaba/qwen-plus", "CNY", "2024-05-21", UNKNOWN, ("4", "12")),
    ("alibaba/qwen-max", "CNY", "2024-05-21", UNKNOWN, ("40", "120")),
    ("tencent/hunyuan-standard-256k", "CNY", "2024-05-22", ("120", None), ("15", "60")),
    ("baidu/ernie-speed", "CNY", "2024-05-21", UNKNOWN, ("0", "0")),
    ("baidu/ernie-speed-8k", "CNY", "2024-05-21", UNKNOWN, ("0", "0")),
    ("baidu/ernie-lite", "CNY", "2024-05-21", UNKNOWN, ("0", "0")),
    ("iflytek/spark-lite", "CNY", "2024-05-22", UNKNOWN, ("0", "0")),
    ("tencent/hunyuan-lite", "CNY", "2024-05-22", UNKNOWN, ("0", "0")),
    ("openai/gpt-4o-mini", "USD", "2024-07-18", UNKNOWN, ("0.15", "0.6")),
    ("openai/gpt-4o", "USD", "2024-08-06", ("5", "15"), ("2.5", "10")),
    ("alibaba/qwen-turbo", "CNY", "2024-09-19", ("2", "6"), ("0.3", "0.6")),
    ("alibaba/qwen-plus", "CNY", "2024-09-19", ("4", "12"), ("0.8", "2")),
    ("alibaba/qwen-max", "CNY", "2024-09-19", ("40", "120"), ("20", "60")),
    ("openai/gpt-4-turbo", "USD", "2024-04-09", UNKNOWN, ("10", "30")),
]


@pytest.mark.parametrize(("name", "currency", "day", "before", "on"), WAR)
def test_the_price_war_of_2024_is_right_to_the_day(name, currency, day, before, on):
    day = date.fromisoformat(day)
    eve = date.fromordinal(day.toordinal() - 1)
    for when, expected in ((eve, before), (day, on)):
        entry = in_force(*name.split("/"), currency, when) or {}
        assert (entry.get("input"), entry.get("output")) == expected, when
