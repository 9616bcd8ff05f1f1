"""A vendor's invoice as CSV: which column is what, and what a line says. Pure; amounts are exact to 18 decimal places."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from router.core.limits import micros

ATTO = 18
COUNTS = ("input", "cache_read", "cache_write", "output", "reasoning", "tokens")
FIELDS = ("id", "at", "model", "kind", "quantity", *COUNTS, "amount", "currency")

# Names of columns as vendors' exports have them, in lower case with `_` between words; the first that is there is taken.
NAMES: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "request_id", "response_id", "generation_id", "completion_id", "requestid", "请求id"),
    "at": (
        "at", "timestamp", "time", "datetime", "created_at", "created", "request_time", "start_time", "start_time_iso",
        "usage_start_time", "usage_date", "usage_date_utc", "date", "day", "month", "billing_cycle", "日期", "时间", "账期", "消费时间",
    ),
    "model": (
        "model", "model_name", "model_id", "model_version", "model_permaslug", "snapshot_id", "line_item", "模型", "模型名称",
    ),
    "kind": ("token_type", "usage_type", "unit_type", "meter", "meter_name", "billing_item", "计费项"),
    "quantity": ("quantity", "usage_amount", "usage_quantity", "units", "consumed_quantity", "用量", "使用量"),
    "input": (
        "input_tokens", "prompt_tokens", "input", "n_context_tokens_total", "tokens_prompt", "usage_input_tokens",
        "usage_input_tokens_no_cache", "输入token", "输入tokens",
    ),
    "cache_read": (
        "cache_read_tokens", "cached_tokens", "cache_read_input_tokens", "input_cached_tokens", "cached_input_tokens",
        "usage_input_tokens_cache_read", "tokens_cached", "cache_read", "缓存命中token",
    ),
    "cache_write": (
        "cache_write_tokens", "cache_creation_input_tokens", "cache_creation_tokens", "cache_write",
        "usage_input_tokens_cache_write",
    ),
    "output": (
        "output_tokens", "completion_tokens", "output", "n_generated_tokens_total", "tokens_completion",
        "usage_output_tokens", "输出token", "输出tokens",
    ),
    "reasoning": ("reasoning_tokens", "output_reasoning_tokens", "tokens_reasoning", "reasoning"),
    "tokens": ("total_tokens", "tokens", "total_token", "总token"),
    "amount": (
        "amount", "cost", "total_cost", "amount_value", "charge", "price", "cost_total", "total", "net_amount", "费用", "金额", "应付金额",
        "消费金额",
    ),
    "currency": ("currency", "amount_currency", "currency_code", "币种"),
}  # fmt: skip
# What a line of one kind counts, by a word in the kind's name; the first that fits.
KINDS = (
    ("cache_write", ("cache write", "cache creation", "cache_write", "cache_creation")),
    ("cache_read", ("cache", "缓存")),
    ("reasoning", ("reason", "thinking")),
    ("input", ("input", "prompt", "输入")),
    ("output", ("output", "completion", "generated", "输出")),
)
_SUMMARY = re.compile(r"^\s*(grand |sub-?)?total\b|^\s*sum\b|^\s*(合计|小计|总计)", re.IGNORECASE)
_IN_CURRENCY = re.compile(r"^(.*?)_?(?:in_)?(usd|cny|eur|rmb)$")
_PLAIN = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d{1,2})?", re.ASCII)
_GROUPED = re.compile(r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?", re.ASCII)
_MONTH = re.compile(r"(\d{4})[-/.]?(\d{2})", re.ASCII)
_DAY = re.compile(r"(\d{4})[-/.]?(\d{1,2})[-/.]?(\d{1,2})", re.ASCII)
_EPOCH = re.compile(r"\d{10}(\d{3})?(\.\d+)?", re.ASCII)
_DATED = re.compile(r"[-@](\d{4}-\d{2}-\d{2}|\d{8}|\d{4})$")


class BadInvoice(ValueError):
    """The file, or a line of it, cannot be read; the message says what would help."""


class Line(NamedTuple):
    """One line of an invoice."""

    number: int
    id: str
    at: int | None  # microseconds since 1970
    bucket: str  # the day or the month, as YYYY-MM-DD or YYYY-MM; "" where the invoice does not say
    model: str
    counts: tuple[int | None, ...]  # as in COUNTS
    amount: int  # in 10^-18 of its currency
    places: int  # decimals that were written
    currency: str


@dataclass(frozen=True, slots=True)
class Layout:
    """Where what stands, and how it is written."""

    columns: Mapping[str, int]
    currency: str = ""  # where no column says it
    zone: tzinfo = UTC
    decimal_comma: bool = False
    model: Callable[[str], str] = field(default=str)

    def line(self, number: int, cells: Sequence[str]) -> Line | None:
        """A line as it is meant; None for one that is blank or sums up others.

        Raises:
            BadInvoice: what it says cannot be read.

        """
        told = {name: cells[at].strip() for name, at in self.columns.items() if at < len(cells)}
        if not any(cell.strip() for cell in cells) or _SUMMARY.match(next(cell for cell in cells if cell.strip())):
            return None
        name = told.get("id", "")
        if "id" in self.columns and not name:
            raise BadInvoice("it has no id")
        at, bucket = when(told.get("at", ""), self.zone)
        amount, places = exact(told.get("amount", ""), comma=self.decimal_comma)
        currency = (told.get("currency") or self.currency).upper().replace("RMB", "CNY")
        return Line(
            number, name, at, bucket, self.model(told.get("model", "")), self._counts(told), amount, places, currency
        )

    def _counts(self, told: Mapping[str, str]) -> tuple[int | None, ...]:
        counts = {name: whole(told[name], comma=self.decimal_comma) for name in COUNTS if name in told}
        if told.get("kind") and "quantity" in told:
            kind = told["kind"].casefold()
            name = next((name for name, words in KINDS if any(word in kind for word in words)), None)
            if name is not None:
                counts[name] = whole(told["quantity"], comma=self.decimal_comma)
        return tuple(counts.get(name) for name in COUNTS)


def layout(header: Sequence[str], given: Mapping[str, str]) -> tuple[dict[str, int], str]:
    """(the place of each field's column, the currency that a column's name says).

    Args:
        header: the names as the file has them.
        given: field → the name of its column, where the usual names do not fit; "" for none.

    Raises:
        BadInvoice: a column is missing.

    """
    names = [_plain(name) for name in header]
    columns, currency = {}, ""
    for field_name in FIELDS:
        if field_name in given:
            if not given[field_name]:
                continue
            wanted = _plain(given[field_name])
            if wanted not in names:
                raise BadInvoice(f"there is no column {given[field_name]!r}; the columns are {', '.join(header)}")
            columns[field_name] = names.index(wanted)
            continue
        found = next((name for name in NAMES[field_name] if name in names), None)
        if found is not None:
            columns[field_name] = names.index(found)
    if "amount" not in columns and "amount" not in given:
        for at, name in enumerate(names):
            if (match := _IN_CURRENCY.match(name)) and match[1] in NAMES["amount"]:
                columns["amount"], currency = at, match[2].upper().replace("RMB", "CNY")
                break
    if "amount" not in columns:
        raise BadInvoice(
            f"no column is an amount; say which with --column amount=NAME. The columns are {', '.join(header)}"
        )
    if "id" not in columns and "model" not in columns:
        raise BadInvoice(
            "no column is a request's id or a model; say which with --column id=NAME or --column model=NAME"
        )
    return columns, currency


def _plain(name: str) -> str:
    return re.sub(r"[^\w]+", "_", name.strip().lstrip("\ufeff").casefold()).strip("_")


def exact(text: str, *, comma: bool = False) -> tuple[int, int]:
    """(an amount in 10^-18, the decimals that were written). Raises `BadInvoice`."""
    plain = text.strip().strip("$¥￥€ ")
    negative = plain.startswith("(") and plain.endswith(")")
    plain = plain.strip("()").strip("$¥￥€ ").replace("-$", "-").replace("-¥", "-")
    if comma:
        plain = plain.replace(".", "").replace(",", ".")
    elif _GROUPED.fullmatch(plain):
        plain = plain.replace(",", "")
    if len(plain) > 40 or not _PLAIN.fullmatch(plain):
        raise BadInvoice(f"its amount {text!r} is no decimal number" if plain else "it has no amount")
    number = Decimal(plain)
    shifted = number.scaleb(ATTO)
    if abs(number) >= 10**9 or shifted != shifted.to_integral_value():
        raise BadInvoice(f"its amount {text!r} is out of range or finer than {ATTO} decimal places")
    exponent = number.as_tuple().exponent
    return -int(shifted) if negative else int(shifted), max(0, -exponent if isinstance(exponent, int) else 0)


def whole(text: str, *, comma: bool = False) -> int | None:
    """A count; None where the cell is blank. Raises `BadInvoice`."""
    if not text or text in {"-", "–", "null", "None"}:
        return None
    try:
        units, _ = exact(text, comma=comma)
    except BadInvoice:
        units = 1
    if units < 0 or units % 10**ATTO:
        raise BadInvoice(f"{text!r} is no count")
    return int(units // 10**ATTO)


@lru_cache(maxsize=4096)
def when(text: str, zone: tzinfo) -> tuple[int | None, str]:
    """(the instant, the day or the month) that a cell says. Raises `BadInvoice`."""
    if not text:
        return None, ""
    try:
        if _EPOCH.fullmatch(text):
            at = int(Decimal(text) * (1_000_000 if len(text.partition(".")[0]) == 10 else 1000))
            return at, day(at, zone)
        if match := _MONTH.fullmatch(text):
            start = datetime(int(match[1]), int(match[2]), 1, tzinfo=zone)
            return micros(start), f"{match[1]}-{match[2]}"
        if match := _DAY.fullmatch(text):
            start = datetime(int(match[1]), int(match[2]), int(match[3]), tzinfo=zone)
            return micros(start), f"{start:%Y-%m-%d}"
        value = datetime.fromisoformat(text.removesuffix(" UTC").replace("/", "-"))
        value = value if value.tzinfo else value.replace(tzinfo=UTC if text.endswith(" UTC") else zone)
        return micros(value), f"{value.astimezone(zone):%Y-%m-%d}"
    except (ValueError, OverflowError):
        raise BadInvoice(f"{text!r} is no date or time") from None


def day(at: int, zone: tzinfo) -> str:
    """The day that an instant is on."""
    return f"{datetime.fromtimestamp(at // 1_000_000, zone):%Y-%m-%d}"


def names_of_models(wire: Mapping[str, str], given: Mapping[str, str], vendor: str) -> Callable[[str], str]:
    """How an invoice's names of models become one name for each, which the ledger's become too.

    Args:
        wire: configured model → what the vendor calls it.
        given: name on the invoice → configured model or the vendor's name, where they differ.
        vendor: whose invoice it is.

    A name on the invoice that ends in a date and is not known as such is the model without it.

    """
    known = {name.casefold(): name for name in wire.values()}
    known = {**{ours.casefold(): theirs for ours, theirs in wire.items()}, **known}
    told = {theirs.casefold(): wire.get(ours, ours) for theirs, ours in given.items()}

    @lru_cache(maxsize=4096)
    def name(text: str) -> str:
        plain = text.casefold()
        for tried in (plain, plain.removeprefix(f"{vendor}/"), plain.rpartition("/")[2]):
            for shorter in (tried, _DATED.sub("", tried)):
                if shorter in told:
                    return told[shorter]
                if shorter in known:
                    return known[shorter]
        return text

    return name
