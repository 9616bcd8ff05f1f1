"""`farebox ledger reconcile`: invoices against a small ledger of one vendor, billed in CNY."""

import csv
import io
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_ledger import DAY, NOON, both, entry

from router.core.differences import Sums, show_exact
from router.core.invoice import ATTO, BadInvoice, exact, layout, when, whole
from router.core.usage import Usage

pytestmark = both
USED = Usage(input_fresh=100, cache_read=20, output_text=50, output_reasoning=5)
HEAD = "request_id,time,model,input_tokens,output_tokens,cost"


def answer(number, cost="0.0012", *, at=None, **more):
    """A row: 120 tokens in, 55 out, for 0.0012 CNY."""
    nano = round(float(cost) * 10**9)
    over = {"at": NOON + number * 1_000_000 if at is None else at, **more.pop("over", {})}
    told = {"usage": USED, "vendor_cost": nano, "vendor_id": f"answer-{number}", **more}
    return entry(number, over, **told)


@pytest.fixture
def reconcile(run, tmp_path):
    """The exit code's output as JSON: {line's class: its lines}, and all of it."""

    def call(text, *options, code=1):
        file = tmp_path / "invoice.csv"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return json.loads(run("ledger", "reconcile", file, "--format", "json", *options, code=code).stdout)

    return call


def kinds(told):
    return [(line["class"], line["key"]) for line in told["lines"]]


def totals(told):
    return {row["class"]: (row["billed"], row["recorded"], row["difference"]) for row in told["totals"]}


def test_an_invoice_that_says_what_the_ledger_says_is_a_yes(ledger, reconcile):
    ledger([answer(1), answer(2)])
    told = reconcile(
        f"{HEAD}\nanswer-1,2026-11-22T12:00:01Z,small,120,55,0.0012\nanswer-2,,small,120,55,0.001200\n", code=0
    )
    assert told["lines"] == []
    assert totals(told) == {"matched": ("0.0024", "0.0024", "0"), "total": ("0.0024", "0.0024", "0")}
    assert (told["vendor"], told["currency"], told["by"]) == ("check", "CNY", "id")


def test_every_kind_of_difference_is_told_with_its_line_and_its_money(ledger, reconcile):
    ledger(
        [
            answer(1),
            answer(2),
            answer(3),
            answer(4, basis="estimated"),
            answer(5),
            answer(6, cost="0", usage=Usage(), outcome="error"),
        ]
    )
    told = reconcile(
        f"{HEAD}\n"
        "answer-1,2026-11-22 12:00:01,small,120,55,0.0012\n"
        "answer-2,2026-11-22 12:00:02,small,120,55,0.0015\n"
        "answer-4,2026-11-22 12:00:04,small,130,70,0.0014\n"
        "answer-5,2026-11-22 12:00:05,small,120,60,0.0013\n"
        "answer-9,2026-11-22 12:00:09,small,1,1,0.5\n"
    )
    assert kinds(told) == [
        ("price differs", "answer-2"), ("estimate differs", "answer-4"), ("usage differs", "answer-5"),
        ("missing here", "answer-9"), ("missing there", "answer-3"),
    ]  # fmt: skip
    assert [line["line"] for line in told["lines"]] == [3, 4, 5, 6, None]
    assert [line["difference"] for line in told["lines"]] == ["0.0003", "0.0002", "0.0001", "0.5", "-0.0012"]
    why = [line["why"] for line in told["lines"]]
    assert why[0] == "the same usage; here at USD 1/2 (+25.00 %)"
    assert why[1] == "billed 130 in, 70 out; here 120 in, 55 out"
    assert totals(told)["total"] == ("0.5054", "0.006", "0.4994")
    assert told["apart"] == "0.5018"  # none against another


def test_what_differs_by_less_than_the_tolerance_is_a_yes(ledger, reconcile):
    ledger([answer(1), answer(2)])
    text = f"{HEAD}\nanswer-1,,small,120,55,0.0013\nanswer-2,,small,120,55,0.0011\n"
    assert reconcile(text)["apart"] == "0.0002"  # though the totals are the same
    reconcile(text, "--tolerance", "0.0002", code=0)
    reconcile(text, "--tolerance", "0.00019", code=1)
    reconcile(text, "--tolerance", "8.4%", code=0)
    reconcile(text, "--tolerance", "8.3%", code=1)


def test_rounding_in_the_invoices_last_decimal_is_no_difference(ledger, reconcile):
    ledger([answer(1, cost="0.001234567"), answer(2, cost="0.0012")])
    reconcile(f"{HEAD}\nanswer-1,,small,120,55,0.0012\nanswer-2,,small,120,55,0.0012\n", code=0)
    reconcile(f"{HEAD}\nanswer-1,,small,120,55,0.0012\nanswer-2,,small,120,55,0.0012000\n", code=1)


def test_a_request_may_have_several_lines(ledger, reconcile):
    ledger([answer(1)])
    text = (
        "Request ID;Date;Token type;Quantity;Cost (CNY)\n"
        "answer-1;2026-11-22;small prompt tokens;100;0,0006\n"
        "answer-1;2026-11-22;small cached tokens;20;0,0001\n"
        "answer-1;2026-11-22;small completion tokens;55;0,0005\n"
        ";;;;\nTotal;;;;0,0012\n"
    )
    told = reconcile(text, "--all", code=0)
    assert [(line["class"], line["lines"], line["billed"]) for line in told["lines"]] == [("matched", 3, "0.0012")]


def test_without_ids_a_models_day_is_compared(ledger, reconcile):
    tomorrow = NOON + DAY
    ledger(
        [
            answer(1),
            answer(2),
            answer(3, at=tomorrow),
            answer(4, at=tomorrow, over={"model": "large"}),
            answer(5, at=tomorrow),
        ]
    )
    told = reconcile(
        "usage_date,model,input_tokens,cached_tokens,output_tokens,amount\n"
        "2026-11-22,small-2026-01-01,240,40,110,0.0024\n"
        "2026-11-23,small,240,40,110,0.0030\n"
        "2026-11-24,small,1,0,1,0.1\n",
        "--all",
    )
    assert [(line["class"], line["key"], line["rows"]) for line in told["lines"]] == [
        ("matched", "2026-11-22 small", 2), ("price differs", "2026-11-23 small", 2),
        ("missing here", "2026-11-24 small", None), ("missing there", "2026-11-23 large", 1),
    ]  # fmt: skip
    assert told["by"] == "model and time"
    assert (told["since"], told["until"]) == ("2026-11-22T00:00:00Z", "2026-11-25T00:00:00Z")


def test_days_are_of_the_vendors_zone(ledger, reconcile):
    at = NOON + 5 * 3600_000_000  # 2026-11-23 01:00 in Shanghai
    ledger([answer(1, at=at)])
    text = "date,model,cost\n2026/11/23,small,0.0012\n"
    reconcile(text, "--timezone", "Asia/Shanghai", code=0)
    assert [kind for kind, _ in kinds(reconcile(text, "--since", "2026-11-01"))] == ["missing here", "missing there"]


def test_a_month_is_compared_as_a_month(ledger, reconcile):
    ledger([answer(1), answer(2, at=NOON + 5 * DAY), answer(3, at=NOON + 20 * DAY)])
    reconcile("month,model,cost\n2026-11,small,0.0024\n", code=0)
    assert kinds(reconcile("month,model,cost\n2026-12,small,0.0024\n")) == [("price differs", "2026-12 small")]


def test_an_invoice_without_any_date_is_compared_with_the_time_that_is_told(ledger, reconcile):
    ledger([answer(1), answer(2, at=NOON + DAY)])
    reconcile("model,total cost\nsmall,0.0024\n", code=0)
    reconcile("model,total cost\nsmall,0.0012\n", "--until", "2026-11-23", code=0)


def test_what_has_no_name_in_common_is_matched_by_usage_and_time_and_estimates_by_time(ledger, reconcile):
    gone = answer(
        3, basis="estimated", outcome="abandoned", usage=Usage(input_fresh=200, output_text=900), vendor_id=None
    )
    ledger([answer(1, vendor_id=None), answer(2, vendor_id=None), gone])
    told = reconcile(
        f"{HEAD}\n"
        "x-1,2026-11-22T12:00:03Z,small,120,55,0.0012\n"
        "x-2,2026-11-22T12:00:04Z,small,120,55,0.0012\n"
        "x-3,2026-11-22T12:01:00Z,small,200,10,0.0002\n",
        "--all",
    )
    assert [(line["class"], line["key"], line["id"]) for line in told["lines"]] == [
        ("matched", "x-1", "fb-0001.1"), ("matched", "x-2", "fb-0002.1"), ("estimate differs", "x-3", "fb-0003.1"),
    ]  # fmt: skip
    assert told["lines"][2]["why"] == "billed 200 in, 10 out; here 200 in, 900 out; matched by model and time"
    told = reconcile(f"{HEAD}\nx-1,2026-11-22T13:00:03Z,small,120,55,0.0012\n", "--window", "60")
    assert {kind for kind, _ in kinds(told)} == {"missing here", "missing there"}


def test_a_named_request_is_found_though_the_clocks_put_it_on_another_day(ledger, reconcile):
    ledger([answer(1, at=NOON - DAY // 2 - 1_000_000)])
    reconcile(f"{HEAD}\nanswer-1,2026-11-22T00:00:01Z,small,120,55,0.0012\n", code=0)


def test_a_vendor_may_count_caches_and_reasoning_beside_or_inside(ledger, reconcile):
    ledger([answer(1), answer(2)])
    head = "id,input_tokens,cache_read_input_tokens,output_tokens,reasoning_tokens,cost"
    reconcile(f"{head}\nanswer-1,100,20,50,5,0.0012\nanswer-2,120,20,55,5,0.0012\n", code=0)
    told = reconcile(f"{head}\nanswer-1,100,21,50,5,0.0012\nanswer-2,120,20,55,,0.0012\n", code=0)
    assert kinds(told) == [("usage differs", "answer-1")]  # it is told; the money is the same


def test_columns_models_and_the_rest_can_be_mapped(ledger, reconcile, tmp_path):
    ledger([answer(1), answer(2)])
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(
        "columns: {amount: Betrag, model: Produkt, at: Tag}\nmodels: {Kleines Modell: small}\ntimezone: Europe/Berlin\n"
    )
    text = "Tag,Produkt,Betrag,cost\n2026-11-22,Kleines Modell,0.0024,7\n"
    reconcile(text, "--mapping", mapping, code=0)
    options = ("--column", "amount=betrag", "--column", "model=Produkt", "--column", "at=Tag")
    assert kinds(reconcile(text, *options))[0] == ("missing here", "2026-11-22 Kleines Modell")


def test_rows_in_another_currency_are_not_compared_and_that_is_said(ledger, reconcile):
    ledger([answer(1), answer(2, over={"vendor_currency": "USD"})])
    told = reconcile("id,time,cost,currency\nanswer-1,2026-11-22,¥0.0012,RMB\n", code=0)
    assert told["not_compared"] == 1
    assert totals(told)["total"] == ("0.0012", "0.0012", "0")


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        ("", [], "it is empty"),
        ("a,b\n1,2\n", [], "no column is an amount"),
        ("cost,b\n1,2\n", [], "no column is a request's id or a model"),
        ("id,cost\nanswer-1,\n", [], ":2: it has no amount"),
        ("id,cost\nanswer-1,abc\n,2\n", [], ":3: it has no id"),
        ("id,cost\nanswer-1,1e400\n", [], "is no decimal number"),
        ("id,cost\nanswer-1,0.0000000000000000001\n", [], "finer than 18"),
        ("id,cost,input_tokens\nanswer-1,1,1.5\n", [], "'1.5' is no count"),
        ("date,model,cost\nyesterday,small,1\n", [], "'yesterday' is no date or time"),
        ("date,model,cost\n2026-11,small,1\n2026-11-02,small,1\n", [], "cannot be told apart"),
        ("id,cost,currency\na,1,USD\nb,1,CNY\n", [], "it is in CNY, USD: split it by currency"),
        ("id,cost\na,1\n", ["--column", "amount=price"], "there is no column 'price'; the columns are id, cost"),
        ("id,cost\na,1\n", ["--vendor", "nobody"], "the ledger has no rows of 'nobody'; it has check"),
        (b"id,cost,\xcf\xfb\xb7\xd1\na,1\n", [], "try --encoding gb18030"),
        ('id,cost\n"' + "x" * 200_000 + '",1\n', [], "is not CSV"),
        ("id,cost\na\0,1\n", [], None),
    ],
)
def test_what_cannot_be_read_is_said_with_its_line(run, ledger, tmp_path, text, options, told):
    ledger([answer(1)])
    file = tmp_path / "invoice.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    done = run("ledger", "reconcile", file, *options, code=1)
    assert told is None or told in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_options_are_exit_2(run, ledger, tmp_path):
    ledger([answer(1), answer(2, over={"vendor": "another"})])
    file = tmp_path / "invoice.csv"
    file.write_text("id,cost\nanswer-1,0.0012\n")
    for options in (
        [], ["--vendor", "check", "--column", "x=y"], ["--vendor", "check", "--tolerance", "much"],
        ["--vendor", "check", "--timezone", "Mars"], ["--vendor", "check", "--encoding", "runes"],
    ):  # fmt: skip
        run("ledger", "reconcile", file, *options, code=2)
    run("ledger", "reconcile", file, "--vendor", "check", code=0)
    assert run("ledger", "reconcile", "-", "--vendor", "check", code=0, input="id,cost\nanswer-1,0.0012\n").stdout


def test_the_table_shows_the_largest_and_the_totals_and_csv_has_all(run, ledger, tmp_path):
    ledger([answer(number) for number in range(1, 61)])
    file = tmp_path / "invoice.csv"
    file.write_text("id,cost\n" + "".join(f"answer-{n},{n}\n" for n in range(1, 61)))
    shown = run("ledger", "reconcile", file, code=1).stdout
    assert shown.startswith("check, in CNY, by id, all of the ledger\n\nclass ")
    assert "59.9988" in shown and " 9.9988" not in shown
    assert "… and 10 more that are smaller" in shown
    assert "\ntotal             60    60    1830     0.072    1829.928\n" in shown
    done = run("ledger", "reconcile", file, "--format", "csv", code=1)
    assert len(list(csv.DictReader(io.StringIO(done.stdout)))) == 60
    assert "class total, lines 60, rows 60, billed 1830, recorded 0.072, difference 1829.928 CNY" in done.stderr


def test_a_large_invoice_is_read_in_bounded_memory(run, ledger, tmp_path):
    import resource  # noqa: PLC0415

    ledger([answer(1)])
    file = tmp_path / "invoice.csv"
    with file.open("w") as out:
        out.write("id,cost\nanswer-1,0.0012\n")
        out.writelines(f"chatcmpl-{number:032d},0.0001\n" for number in range(150_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done = run("ledger", "reconcile", file, code=1)
    assert "missing here  150000" in done.stdout
    assert (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000
    )  # kB; the lines alone are as large as that


amounts = st.integers(-(10**26), 10**26)


@given(amounts)
def test_an_amount_is_read_as_it_is_shown(units):
    assert exact(show_exact(units))[0] == units


@given(st.text(max_size=30))
def test_whatever_a_cell_holds_it_is_read_or_refused(text):
    from datetime import UTC  # noqa: PLC0415

    for read in (exact, whole, lambda cell: exact(cell, comma=True), lambda cell: when(cell, UTC)):
        try:
            read(text)
        except BadInvoice:
            continue


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9), st.sampled_from(["both", "bill", "row"]))))
def test_the_totals_of_the_classes_are_the_totals_of_both_sides(things):
    from router.core.differences import Billed, Recorded, compare  # noqa: PLC0415

    sums, billed, recorded = Sums(), 0, 0
    for number, (theirs, ours, where) in enumerate(things):
        bill = Billed(str(number), number, 1, None, "m", (None,) * 6, theirs * 10**9) if where != "row" else None
        row = Recorded(str(number), "", 1, 0, "m", 0, 0, 0, 0, 0, ours, 0, "", "ok") if where != "bill" else None
        sums.add(compare(bill, row, 0))
        billed, recorded = billed + (theirs if bill else 0), recorded + (ours if row else 0)
    total = sums.table()[-1]
    assert (total["billed"], total["recorded"]) == (show_exact(billed * 10**9), show_exact(recorded * 10**9))


def test_amounts_are_read_as_vendors_write_them():
    one = 10**ATTO
    for text, units in {
        "$1,234.50": 1234 * one + one // 2, "1.2e-05": 12 * one // 10**6, "¥ 0.5": one // 2, "-3": -3 * one, "(3)": -3 * one, ".5": one // 2,
    }.items():  # fmt: skip
        assert exact(text)[0] == units, text
    assert exact("1.234,5", comma=True) == (12345 * one // 10, 1)
    for text in ("0,0023", "1,23,4", "NaN", "Infinity", "١", "1_000", "--1"):
        with pytest.raises(BadInvoice):
            exact(text)


def test_the_usual_exports_need_no_mapping():
    for header in (
        "snapshot_id,n_context_tokens_total,n_generated_tokens_total,usage_date,cost_in_usd",
        "generation_id,created_at,model_permaslug,tokens_prompt,tokens_completion,cost_total",
        "usage_date_utc,model_version,usage_input_tokens_no_cache,usage_output_tokens,cost_usd",
        "start_time_iso,line_item,amount_value,amount_currency",
        "日期,模型名称,输入Tokens,输出Tokens,费用,币种",
        "\ufeffDate,Model,Total Cost (USD)",
    ):
        columns, currency = layout(header.split(","), {})
        assert "amount" in columns and ("id" in columns or "model" in columns), header
        assert (currency == "USD") == ("usd" in header.lower())


def test_an_entry_keeps_the_name_of_its_answer(run, ledger):
    ledger([replace(answer(1), vendor_id="answer-词")])
    assert json.loads(run("ledger", "export").stdout)["vendor_id"] == "answer-词"
