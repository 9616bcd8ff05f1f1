"""`farebox prices`: the book as it is, was and will be; what is unknown is never a zero."""

import json
from datetime import UTC, datetime, timedelta

import pytest
import yaml

BOOK = """\
vendor: check
timezone: Asia/Shanghai
models:
  plain:
    tier: cheap
    aliases: [plain-latest]
    context_window: 1000
    prices:
      - {currency: CNY, input: "8", output: "20", to: 2024-06-01}
      - {from: 2024-06-01, currency: CNY, input: "4", output: "20", cache_read: "1", source: "a page"}
      - {from: 2999-01-01, currency: CNY, input: "2", output: "30"}
      - {from: 2024-06-01, currency: USD, input: "1", output: "3"}
  tiered:
    tier: mid
    prices:
      - currency: CNY
        rates:
          - {when: {input_tokens: {to: 1000}, thinking: true}, input: "1", output: "2"}
          - {when: {hours: "16:30-00:30", weekdays: [mon, fri]}, input: "3", output: "9"}
          - {input: "2", output: "4"}
  blank: {tier: cheap, prices: [{currency: CNY, input: "5"}]}
  doubted: {tier: cheap, prices: [{currency: CNY, input: "6", output: "7", confidence: doubtful}]}
  ended: {tier: cheap, prices: [{currency: CNY, input: "6", output: "7", to: 2024-01-01}]}
  gratis: {tier: free, prices: [{currency: CNY, input: "0", output: "0"}]}
  vectors: {tier: cheap, kind: embedding, prices: [{currency: CNY, input: "0.5"}]}
"""


@pytest.fixture
def prices(run, config):
    """Run `farebox prices …` with a book of one vendor and give back its rows."""
    (config.parent / "book.yaml").write_text(BOOK)
    config.write_text(yaml.safe_dump({"prices": ["builtin", "book.yaml"], "vendors": {"check": {}}}))

    def call(*words):
        told = json.loads(run("prices", *words, "--format", "json").stdout)
        return told["changes"] if words[0] == "diff" else told

    return call


def test_the_list_has_the_configured_vendors_models_with_what_is_in_force(prices):
    rows = {(row["model"], row["currency"]): row for row in prices("list")}
    assert {name for name, _ in rows} == {
        f"check/{name}" for name in ("plain", "tiered", "blank", "doubted", "ended", "gratis", "vectors")
    }
    assert rows["check/plain", "CNY"] == {
        "model": "check/plain", "tier": "cheap", "currency": "CNY", "input": "4", "cache_read": "1", "output": "20",
        "since": "2024-06-01", "confidence": "high", "checked": None, "stale": None, "source": "a page",
    }  # fmt: skip
    assert rows["check/tiered", "CNY"]["output"] == "2 to 9"


def test_what_is_unknown_or_doubtful_is_said_and_never_zero(prices):
    rows = {row["model"]: (row["input"], row["output"]) for row in prices("list") if row["currency"] == "CNY"}
    assert rows["check/blank"] == ("5", "unknown")
    assert rows["check/doubted"] == ("(6)", "(7)")
    assert rows["check/ended"] == ("unknown", "unknown")
    assert rows["check/gratis"] == ("0", "0")
    assert rows["check/vectors"] == ("0.5", None)


OWN = {
    "prices": ["builtin", "book.yaml"],
    "vendors": {"check": {}, "openai": {}, "mine": {"base_url": "http://127.0.0.1:1/v1", "dialect": "openai"}},
    "models": {
        "plain": {"vendor": "check", "price": {"currency": "CNY", "input": 3, "output": 5}},
        "ours": {"vendor": "openai", "name": "gpt-4o", "price": {"currency": "USD", "input": "2", "output": "6"}},
        "mini": {"vendor": "openai", "name": "gpt-4o-mini", "price": {"currency": "USD", "input": "1", "output": "2"}},
        "gpt-4o-mini": {"vendor": "openai"},
        "llama": {"vendor": "mine", "tier": "free", "price": "free"},
    },
}


def test_a_price_of_the_configurations_is_listed_and_not_the_books(prices, config):
    config.write_text(yaml.safe_dump(OWN))
    for words in (["list"], ["at", "2026-11-01"]):
        rows = {(row["model"], row["currency"]): row for row in prices(*words)}
        plain = rows["check/plain", "CNY"]
        assert (plain["input"], plain["output"], plain["source"]) == ("3", "5", "the configuration")
        assert ("check/plain", "USD") not in rows
        assert (rows["openai/ours", "USD"]["input"], rows["openai/ours", "USD"]["tier"]) == ("2", "flagship")
        assert ("openai/gpt-4o", "USD") not in rows
        assert rows["openai/mini", "USD"]["input"] == "1"
        assert rows["openai/gpt-4o-mini", "USD"]["input"] == "0.15"  # another model is billed by it
        assert rows["mine/llama", "USD"]["input"] == "0"
    assert {row["input"] for row in prices("show", "plain")} == {"3"}
    assert {row["model"] for row in prices("list", "--vendor", "mine")} == {"mine/llama"}


def test_all_has_every_vendor_and_vendor_has_only_that(prices, run):
    vendors = {row["model"].partition("/")[0] for row in prices("list", "--all")}
    assert {"check", "openai", "azure-openai", "alibaba"} <= vendors
    assert {row["model"].partition("/")[0] for row in prices("list", "--vendor", "azure-openai")} == {"azure-openai"}
    assert "no price book has a vendor 'opnai'" in run("prices", "list", "--vendor", "opnai", code=1).stderr


@pytest.mark.parametrize(
    ("date", "told"),
    [
        ("2024-05-31", "8"),
        ("2024-06-01", "4"),
        ("2024-05-31T23:59:59+08:00", "8"),
        ("2024-06-01T00:00:00+08:00", "4"),
        ("2999-01-02", "2"),
    ],
)
def test_the_book_as_of_a_date_or_an_instant(prices, date, told):
    assert next(row["input"] for row in prices("at", date) if row["model"] == "check/plain") == told


def test_what_is_no_date_is_wrong_usage(prices, run):
    run("prices", "at", "soon", code=2)
    run("prices", "diff", "soon", "now", code=2)


def test_the_history_of_a_model_marks_what_is_in_force_and_what_comes(prices, run):
    rows = [(row["state"], row["currency"], row["from"], row["to"], row["input"]) for row in prices("show", "plain")]
    assert rows == [
        ("", "CNY", None, "2024-05-31T16:00:00Z", "8"),
        (">", "CNY", "2024-06-01", "2999-01-01", "4"),
        ("+", "CNY", "2999-01-01", None, "2"),
        (">", "USD", "2024-06-01", None, "1"),
    ]
    told = run("prices", "show", "check/plain").stdout
    assert "check/plain: cheap, window 1000 tokens" in told
    assert "CNY 4/1/20 from 2024-06-01 is in force; next: CNY 2/30 from 2999-01-01" in told


def test_a_model_is_found_by_its_alias_and_at_every_vendor(prices, run):
    assert {row["model"] for row in prices("show", "plain-latest")} == {"check/plain-latest"}
    assert {row["model"] for row in prices("show", "gpt-4o")} == {"openai/gpt-4o", "azure-openai/gpt-4o"}
    assert "no price book has 'gpt-5000'" in run("prices", "show", "gpt-5000", code=1).stderr


def test_conditions_are_told_in_words(prices):
    assert [row["when"] for row in prices("show", "tiered")] == [
        "prompt up to 1000, thinking",
        "16:30-00:30 UTC, mon fri",
        None,
    ]


@pytest.mark.parametrize(
    ("model", "told"), [("blank", "unknown"), ("doubted", "is doubtful: refused"), ("ended", "no price is known")]
)
def test_the_history_says_what_is_not_billed_by(prices, run, model, told):
    assert told in run("prices", "show", f"check/{model}").stdout


def changes(rows):
    return [(row["model"], row["currency"], row["kind"], row["before"], row["after"], row["percent"]) for row in rows]


def test_a_difference_between_two_days_is_per_model_and_in_percent(prices):
    found = [row for row in changes(prices("diff", "2024-05-31", "2024-06-02")) if row[0].startswith("check/")]
    assert found == [
        ("check/plain", "CNY", "input", "8", "4", -50.0),
        ("check/plain", "CNY", "cache_read", "8", "1", -87.5),
        ("check/plain", "USD", "input", "unknown", "1", None),
        ("check/plain", "USD", "output", "unknown", "3", None),
    ]


def test_nothing_changed_is_said(prices, run):
    told = run("prices", "diff", "2025-01-01T00:00:00Z", "2025-01-01", "--only", "changes").stdout
    assert told == "nothing changed\n"


def test_a_difference_between_two_books_has_what_was_added_and_removed(prices, config):
    new = BOOK.replace('output: "20", cache_read: "1"', 'output: "25", cache_read: "1"').replace("gratis:", "gift:")
    new = new.replace('input: "5"', 'input: "5", output: "6"').replace("confidence: doubtful", "confidence: high")
    (config.parent / "new.yaml").write_text(new)
    assert changes(prices("diff", "book.yaml", "new.yaml")) == [
        ("check/blank", "CNY", "output", "unknown", "6", None),
        ("check/doubted", "CNY", "input", "doubtful", "6", None),
        ("check/doubted", "CNY", "output", "doubtful", "7", None),
        ("check/gift", "CNY", "input", None, "0", None),
        ("check/gift", "CNY", "output", None, "0", None),
        ("check/gratis", "CNY", "input", "0", None, None),
        ("check/gratis", "CNY", "output", "0", None, None),
        ("check/plain", "CNY", "output", "20", "25", 25.0),
    ]
    assert ("check/plain", "CNY", "output", "20", "25", 25.0) not in changes(
        prices("diff", "book.yaml", "new.yaml", "--at", "2999-06-01")
    )


def test_beside_a_date_a_book_is_compared_in_its_own_models(prices, config):
    (config.parent / "new.yaml").write_text(BOOK.replace('input: "0.5"', 'input: "0.6"'))
    assert changes(prices("diff", "now", "new.yaml")) == [("check/vectors", "CNY", "input", "0.5", "0.6", 20.0)]


def test_a_broken_book_is_a_no_with_its_place(prices, run, config):
    (config.parent / "new.yaml").write_text("vendor: check\nmodels: {plain: {tier: dear, prices: []}}\n")
    assert "new.yaml:2: models.plain.tier" in run("prices", "diff", "book.yaml", "new.yaml", code=1).stderr


# What is old


def aged(config, *entries, top=""):
    told = f"vendor: check\n{top}\nmodels:\n"
    for number, entry in enumerate(entries):
        told += f"  m{number}: {{tier: cheap, prices: [{{currency: USD, input: 1, output: 2, {entry}}}]}}\n"
    (config.parent / "book.yaml").write_text(told)


def ago(days):
    return (datetime.now(UTC).date() - timedelta(days)).isoformat()


def test_an_old_price_in_force_is_told_with_the_days_since_somebody_looked(prices, run, config):
    aged(
        config,
        f"source: a page, checked: {ago(119)}",
        f"source: a page, checked: {ago(125)}",
        f'source: "a page, {ago(300)}; a list, {ago(10)}"',
        f'source: "a page, {ago(500)}; a list, {ago(400)}"',
        'source: "a page, March 2024"',
        f'source: "a page, {ago(500)}", checked: {ago(1)}',
        'source: "our contract"',
        'source: "part 2024-99 of a list"',
        f"source: a page, checked: {ago(300)}, confidence: doubtful",
    )
    rows = {row["model"].partition("/")[2]: (row["checked"], row["stale"]) for row in prices("list")}
    assert rows["m0"] == (ago(119), None) and rows["m1"] == (ago(125), "125")
    assert rows["m2"] == (ago(10), None) and rows["m3"] == (ago(400), "400")
    assert rows["m4"][0] == "2024-03-01" and int(rows["m4"][1]) > 900
    assert rows["m5"] == (ago(1), None) and rows["m6"] == rows["m7"] == (None, None)
    shown = run("prices", "list")
    assert "3 of 9 prices were last checked more than 120 days before" in shown.stderr
    assert "warning" not in shown.stdout
    assert run("prices", "list", "--format", "csv").stderr == ""


def test_the_books_own_day_is_for_sources_that_name_none(prices, config):
    aged(
        config,
        'source: "catalogue 1.2"',
        f'source: "a list, {ago(7)}"',
        top=f"timezone: Asia/Shanghai\nchecked: {ago(200)}",
    )
    rows = {row["model"]: row["checked"] for row in prices("list")}
    assert rows == {"check/m0": ago(200), "check/m1": ago(7)}


def test_check_warns_of_configured_models_whose_price_is_old_or_refused_and_says_yes(prices, run, config):
    aged(
        config,
        f"source: a page, checked: {ago(10)}",
        f"source: a page, checked: {ago(130)}",
        f"source: a page, checked: {ago(10)}, confidence: doubtful",
        f"source: a page, checked: {ago(10)}, to: 2025-01-01",
        f"source: a page, checked: {ago(130)}",
    )
    told = yaml.safe_load(config.read_text())
    told["vendors"] = {"check": {"dialect": "openai", "base_url": "http://127.0.0.1:1/v1"}}
    told["models"] = {name: {"vendor": "check", "name": name[:2]} for name in ("m0", "m1", "m2", "m3")}
    told["models"]["own"] = {"vendor": "check", "tier": "cheap", "price": {"currency": "USD", "input": 1, "output": 2}}
    told["routes"] = {"auto": {"models": [*told["models"]]}}
    config.write_text(yaml.safe_dump(told))
    found = run("check")
    assert "is right" in found.stdout
    warnings = [line.partition("models.")[2] for line in found.stderr.splitlines() if "models." in line]
    assert warnings == [
        f"m1: USD 1/2 was last checked on {ago(130)}, 130 days ago: compare it with the vendor",
        "m2: USD 1/2 is doubtful: refused until a book of yours confirms it",
        "m3: no price is known for today: refused",
    ]


# What is coming


def upcoming(prices, config, text, *words):
    (config.parent / "book.yaml").write_text(text)
    return [tuple(row.values())[:-1] for row in prices("next", *words)]


def later(days):
    return ago(-days)


def test_what_becomes_dearer_or_cheaper_is_told_with_its_day_and_percent(prices, run, config):
    text = f"""
vendor: check
models:
  m:
    tier: cheap
    prices:
      - {{currency: CNY, input: "10", output: "20"}}
      - {{from: {later(20)}, currency: CNY, input: "5", output: "20", note: announced}}
      - {{from: {later(200)}, currency: CNY, input: "1", output: "1"}}
"""
    assert upcoming(prices, config, text) == [(later(20), "check/m", "CNY", "input", None, "10", "5", -50.0)]
    assert len(upcoming(prices, config, text, "--days", 300)) == 3
    assert upcoming(prices, config, text, "--days", 10) == []
    assert "a new price: announced" in run("prices", "next").stdout
    assert (
        run("prices", "next", "--days", 10).stdout == "nothing changes in the next 10 days, as far as the books know\n"
    )


def test_promotions_quotas_ends_and_doubtful_prices_that_are_coming_are_told(prices, run, config):
    text = f"""
vendor: check
models:
  deal:
    tier: cheap
    prices:
      - {{currency: CNY, input: "10", output: "20"}}
      - {{from: {later(5)}, to: {later(9)}, currency: CNY, input: "1", output: "2", promotion: true}}
  ends: {{tier: cheap, prices: [{{to: {later(7)}, currency: CNY, input: "1", output: "1"}}]}}
  gift: {{tier: cheap, prices: [{{currency: CNY, input: "1", output: "1", free_quota: {{tokens: 1000, per: day, to: {later(6)}}}}}]}}
  rumour:
    tier: cheap
    prices:
      - {{currency: CNY, input: "1", output: "1"}}
      - {{from: {later(8)}, currency: CNY, input: "2", output: "2", confidence: doubtful}}
"""
    (config.parent / "book.yaml").write_text(text)
    told = [
        (row["on"], row["model"][6:], row["kind"], row["before"], row["after"], row["why"]) for row in prices("next")
    ]
    assert told == [
        (later(5), "deal", "input", "10", "1", f"a promotion begins, until {later(9)}"),
        (later(5), "deal", "output", "20", "2", f"a promotion begins, until {later(9)}"),
        (later(6), "gift", "free_quota", "1000 tokens free per day", None, "the free quota ends"),
        (later(7), "ends", "input", "1", "unknown", "the price ends; none is known after it: refused"),
        (later(7), "ends", "output", "1", "unknown", "the price ends; none is known after it: refused"),
        (later(8), "rumour", "input", "1", "doubtful", "a doubtful price begins: refused"),
        (later(8), "rumour", "output", "1", "doubtful", "a doubtful price begins: refused"),
        (later(9), "deal", "input", "1", "10", "a promotion ends"),
        (later(9), "deal", "output", "2", "20", "a promotion ends"),
    ]
    assert "promotion begins" in run("prices", "next").stdout


def test_a_name_that_is_re_pointed_is_told_also_where_it_costs_the_same(prices, config):
    text = f"""
vendor: check
models:
  old: {{tier: cheap, aliases: [{{name: chat, to: {later(3)}}}], prices: [{{currency: CNY, input: "1", output: "2"}}]}}
  new: {{tier: cheap, aliases: [{{name: chat, from: {later(3)}}}], prices: [{{currency: CNY, input: "1", output: "3"}}]}}
"""
    assert upcoming(prices, config, text) == [
        (later(3), "check/chat", "CNY", "model", None, "old", "new", None),
        (later(3), "check/chat", "CNY", "output", None, "2", "3", 50.0),
    ]


def test_a_free_quota_that_a_book_adds_is_a_difference(prices, config):
    quota = ", free_quota: {requests: 5, per: total}"
    (config.parent / "new.yaml").write_text(BOOK.replace('input: "5"}', f'input: "5"{quota}}}'))
    assert changes(prices("diff", "book.yaml", "new.yaml")) == [
        ("check/blank", "CNY", "free_quota", None, "5 requests free in all", None)
    ]
