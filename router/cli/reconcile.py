"""`farebox ledger reconcile`: a vendor's invoice, line by line, against what the ledger has."""

import csv
import heapq
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click
from pydantic import Field, ValidationError

from router.cli.common import config_option, no, settings_or_exit
from router.cli.report import format_option, put, reading, time_options
from router.core.differences import MATCHED, Difference, Sums, show_exact
from router.core.invoice import ATTO, COUNTS, FIELDS, BadInvoice, Layout, Line, day, layout, names_of_models
from router.core.limits import micros, moment
from router.core.money import NANO
from router.pricebook import problems_of
from router.priceentry import Strict
from router.settings import Settings
from router.stores.invoicefile import Scope, bring, currencies, differences, elsewhere, load, vendors, workplace
from router.stores.place import Connection
from router.yamlfile import BadConfiguration
from router.yamlfile import load as load_yaml

COLUMNS = (
    "class", "line", "key", "id", "model", "lines", "rows", "billed", "recorded", "difference", "billed_input",
    "billed_output", "recorded_input", "recorded_output", "estimated", "why",
)  # fmt: skip
NUMBERS = set(COLUMNS) - {"class", "key", "id", "model", "why"}
TOTALS = ("class", "lines", "rows", "billed", "recorded", "difference")
SHOWN = 50  # differences in a table, the largest; CSV and JSON have all
FAULTS = 20  # lines that cannot be read which are told one by one


class Mapped(Strict):
    """The file that `--mapping` names."""

    columns: dict[str, str] = Field(default_factory=dict)
    models: dict[str, str] = Field(default_factory=dict)
    vendor: str | None = None
    currency: str | None = None
    timezone: str | None = None


def _columns(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    found = dict(value.partition("=")[::2] for value in values)
    if unknown := set(found) - set(FIELDS):
        raise click.BadParameter(f"{', '.join(sorted(unknown))}: a column is one of {', '.join(FIELDS)}")
    return found


def _tolerance(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[Decimal, bool]:
    """(how much, whether it is a share of what was billed)"""
    try:
        number = Decimal(value.removesuffix("%").strip())
    except InvalidOperation:
        number = Decimal(-1)
    if not number.is_finite() or not 0 <= number < 10**9:
        raise click.BadParameter(f"{value!r} is neither an amount (0.50) nor a percentage (0.1%)")
    return number, value.endswith("%")


def _zone(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        try:
            ZoneInfo(value)
        except (ValueError, OSError, LookupError):
            raise click.BadParameter(f"{value!r} is not a time zone") from None
    return value


@click.command("reconcile")
@config_option
@click.argument("invoice", metavar="INVOICE.CSV", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--vendor", metavar="V", help="Whose invoice it is (default: the only one in the ledger).")
@click.option(
    "--currency", metavar="CUR", help="What it is in, where no column says so (default: what the vendor's rows are in)."
)
@click.option(
    "--column", "columns", multiple=True, callback=_columns, metavar="FIELD=NAME",
    help=f"Which column is what, where its name is not a usual one; may be repeated. FIELD is one of {', '.join(FIELDS)}; an empty NAME is none.",
)  # fmt: skip
@click.option(
    "--mapping",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The same and more as YAML: columns, models, vendor, currency, timezone.",
)
@click.option(
    "--timezone", metavar="ZONE", callback=_zone, help="The invoice's days and times are of this zone (default: UTC)."
)
@click.option("--encoding", default="utf-8-sig", show_default=True, help="Of the file, such as gb18030.")
@time_options
@click.option("--window", type=click.IntRange(0, 86_400), default=600, show_default=True, metavar="SECONDS",
              help="How far apart times may be of what has no id in common.")  # fmt: skip
@click.option("--tolerance", default="0", show_default=True, callback=_tolerance, metavar="AMOUNT",
              help="What all differences may come to: an amount (0.50) or a share of what was billed (0.1%).")  # fmt: skip
@click.option("--all", "everything", is_flag=True, help="Show also what is matched.")
@format_option("table", "csv", "json")
def command(
    config: Path | None, invoice: Path, vendor: str | None, currency: str | None, columns: dict[str, str], mapping: Path | None,
    timezone: str | None, encoding: str, since: int | None, until: int | None, window: int, tolerance: tuple[Decimal, bool],
    everything: bool, format_: str,  # noqa: FBT001 (click hands over options by name)
) -> None:  # fmt: skip
    """Explain how a vendor's invoice differs from the ledger, line by line, in the vendor's currency.

    By request where the invoice has ids, else by model and day (or month). Exits 1 when the differences that are more
    than rounding come to more than the tolerance.
    """
    settings, told = settings_or_exit(config), _mapped(mapping)
    zone = ZoneInfo(timezone or told.timezone or "UTC")
    with reading(config) as connection, workplace(connection) as local, _opened(invoice, encoding) as text:
        vendor = _vendor(connection, vendor or told.vendor)
        wire = {name: model.name or name for name, model in settings.models.items() if model.vendor == vendor}
        named = names_of_models(wire, told.models, vendor)
        reader = Lines(text, {**told.columns, **columns}, zone, named, currency or told.currency or "")
        load(local, reader, by_id="id" in reader.columns)
        if reader.faults:
            more = f"\n… and {len(reader.faults) - FAULTS} more" if len(reader.faults) > FAULTS else ""
            no("\n".join(f"{invoice}:{line}: {fault}" for line, fault in reader.faults[:FAULTS]) + more)
        scope = Scope(
            vendor,
            reader.currency_of(currencies(connection, vendor)),
            *reader.span(since, until, zone),
            window * 1_000_000,
        )
        bring(connection, local, scope)
        ours = _ours(settings, vendor, named)
        found = differences(local, scope, ours, reader.bucket(zone), 10 ** (ATTO - reader.places) // 2)
        sums = Sums()
        head = {
            "invoice": str(invoice), "vendor": vendor, "currency": scope.currency, "by": "id" if "id" in reader.columns else "model and time",
            "since": _shown(scope.since), "until": _shown(scope.until), "not_compared": elsewhere(connection, scope),
        }  # fmt: skip
        PRINTERS[format_](head, _counted(found, sums, everything=everything), sums)
    amount, share = tolerance
    limit = amount * (sum(sums.billed.values()) if share else 10**ATTO) / (100 if share else 1)
    if sums.apart > limit:
        sys.exit(1)


# Reading


@contextmanager
def _opened(path: Path, encoding: str) -> Iterator[io.TextIOBase]:
    """The invoice's text, with a progress bar on a terminal."""
    from rich.console import Console  # noqa: PLC0415 (only a terminal needs it)
    from rich.progress import wrap_file  # noqa: PLC0415

    try:
        "".encode(encoding)
        with sys.stdin.buffer if str(path) == "-" else path.open("rb") as raw:
            size = 0 if str(path) == "-" else path.stat().st_size
            with wrap_file(
                raw,
                size,
                description="Reading",
                console=Console(stderr=True),
                transient=True,
                disable=not sys.stderr.isatty(),
            ) as shown:
                yield io.TextIOWrapper(shown, encoding=encoding, newline="")
    except OSError as error:
        no(f"{path} cannot be read: {error.strerror}")
    except LookupError:
        raise click.BadParameter(f"{encoding!r} is no encoding", param_hint="--encoding") from None
    except UnicodeDecodeError:
        no(f"{path} is not {encoding}; try --encoding gb18030")
    except csv.Error as error:
        no(f"{path} is not CSV: {error}")
    except BadInvoice as error:
        no(f"{path}: {error}")


class Lines(Iterable[Line]):
    """The lines of an invoice as they are read, and what they had in common."""

    def __init__(
        self, text: io.TextIOBase, columns: Mapping[str, str], zone: tzinfo, named: Callable[[str], str], currency: str
    ) -> None:
        first = text.readline()
        delimiter = max(",;\t|", key=first.count)
        header = next(csv.reader([first], delimiter=delimiter), [])
        if not header:
            raise BadInvoice("it is empty")
        self.columns, said = layout(header, columns)
        self._layout = Layout(self.columns, (currency or said).upper(), zone, delimiter == ";", named)
        self._reader = csv.reader(text, delimiter=delimiter)
        self.faults: list[tuple[int, BadInvoice]] = []
        self.places = 0
        self._currencies: set[str] = set()
        self._buckets: set[int] = set()
        self._first: int | None = None
        self._last: int | None = None
        self._months = False

    def __iter__(self) -> Iterator[Line]:
        for cells in self._reader:
            number = self._reader.line_num + 1  # the header was read before
            try:
                line = self._layout.line(number, cells)
                if line is not None:
                    self._note(line)
                    yield line
            except BadInvoice as error:
                self.faults.append((number, error))

    def _note(self, line: Line) -> None:
        self.places = max(self.places, line.places)
        self._currencies.add(line.currency)
        self._buckets.add(len(line.bucket))
        if len(self._buckets) > 1 and "id" not in self.columns:
            raise BadInvoice("days, months and lines without a date cannot be told apart in one invoice")
        if line.at is not None:
            self._first = line.at if self._first is None else min(self._first, line.at)
            self._last = line.at if self._last is None else max(self._last, line.at)

    def currency_of(self, paid: list[str]) -> str:
        """The one currency of the invoice; where it says none, the one that the vendor was paid in."""
        found = self._currencies - {""} or set(paid)
        if len(found) != 1:
            raise BadInvoice(
                f"it is in {', '.join(sorted(found))}: split it by currency" if self._currencies - {""}
                else f"say what it is in with --currency; the ledger has {', '.join(paid) or 'nothing'}"
            )  # fmt: skip
        return found.pop()

    def bucket(self, zone: tzinfo) -> Callable[[int], str] | None:
        """The invoice's day or month of an instant; None where it goes by ids."""
        if "id" in self.columns:
            return None
        size = max(self._buckets, default=0)
        return _bucket(zone, size)

    def span(self, since: int | None, until: int | None, zone: tzinfo) -> tuple[int | None, int | None]:
        """The time that the invoice is about: as told, else the days (or months) that its lines lie in."""
        if self._first is None or self._last is None:
            return since, until
        first, last = (_midnight(moment(at).astimezone(zone)) for at in (self._first, self._last))
        if max(self._buckets) == len("2026-01"):
            end = _midnight((last.replace(day=28) + timedelta(days=4)).replace(day=1))
        else:
            end = _midnight(last + timedelta(hours=36))  # also where the day has 23 or 25 hours
        return micros(first) if since is None else since, micros(end) if until is None else until


def _midnight(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


def _bucket(zone: tzinfo, size: int) -> Callable[[int], str]:
    known: dict[int, str] = {}  # by quarters of an hour, which no zone's offset is finer than

    def bucket(at: int) -> str:
        quarter = at // 900_000_000
        if quarter not in known:
            known[quarter] = day(quarter * 900_000_000, zone)[:size]
        return known[quarter]

    return bucket


def _mapped(path: Path | None) -> Mapped:
    if path is None:
        return Mapped()
    try:
        file = load_yaml(path)
        try:
            told = Mapped.model_validate(file.data)
        except ValidationError as error:
            raise BadConfiguration(problems_of(error, file)) from None
        if unknown := set(told.columns) - set(FIELDS):
            raise BadConfiguration([file.problem(("columns", min(unknown)), f"a column is one of {', '.join(FIELDS)}")])
        _zone(click.get_current_context(), click.Option(["--timezone"]), told.timezone)
    except BadConfiguration as error:
        no(error)
    return told


def _vendor(connection: Connection, told: str | None) -> str:
    known = vendors(connection)
    if told is None and len(known) != 1:
        raise click.UsageError(f"say whose invoice it is with --vendor; the ledger has {', '.join(known) or 'no rows'}")
    if told is not None and told not in known:
        no(f"the ledger has no rows of {told!r}; it has {', '.join(known) or 'none at all'}")
    return told or known[0]


def _ours(settings: Settings, vendor: str, named: Callable[[str], str]) -> Callable[[str], str]:
    """The ledger's name of a model → the invoice's."""
    return lambda name: (
        named(settings.models[name].name or name) if name in settings.models else named(name.removeprefix(f"{vendor}/"))
    )


# Printing


def _counted(found: Iterator[Difference], sums: Sums, *, everything: bool) -> Iterator[Difference]:
    for difference in found:
        sums.add(difference)
        if everything or difference.kind != MATCHED:
            yield difference


def _shown(at: int | None) -> str | None:
    return None if at is None else moment(at).isoformat().replace("+00:00", "Z")


def _row(found: Difference) -> tuple[Any, ...]:
    billed, recorded = found.billed, found.recorded
    counts = dict(zip(COUNTS, billed.counts, strict=True)) if billed else {}
    return (
        found.kind, billed and billed.line, (billed or recorded).key if billed or recorded else None, recorded and recorded.id,  # type: ignore[union-attr]  # one of them is there
        (billed.model if billed else "") or (recorded.model if recorded else ""), billed and billed.lines,
        recorded and recorded.rows, billed and show_exact(billed.amount), recorded and show_exact(recorded.nano * NANO),
        show_exact(found.amount), counts.get("input"), counts.get("output"),
        recorded and recorded.fresh + recorded.cache_read + recorded.cache_write,
        recorded and recorded.output + recorded.reasoning, recorded and recorded.estimated, found.why or None,
    )  # fmt: skip


def _json(head: Mapping[str, Any], found: Iterator[Difference], sums: Sums) -> None:
    """As it comes, one difference a line, so that no number of lines is too many."""
    print(f'{json.dumps(head, ensure_ascii=False)[:-1]}, "lines": [')
    for number, difference in enumerate(found):
        line = json.dumps(dict(zip(COLUMNS, _row(difference), strict=True)), ensure_ascii=False)
        print(f",\n{line}" if number else line, end="")
    print(f'\n], "apart": "{show_exact(sums.apart)}", "totals": {json.dumps(sums.table())}}}')


def _csv(head: Mapping[str, Any], found: Iterator[Difference], sums: Sums) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(map(_row, found))
    for row in sums.table():
        print(", ".join(f"{name} {value}" for name, value in row.items()), head["currency"], file=sys.stderr)


def _table(head: Mapping[str, Any], found: Iterator[Difference], sums: Sums) -> None:
    count = 0

    def ranked() -> Iterator[tuple[int, int, Difference]]:
        nonlocal count
        for difference in found:
            count += 1
            yield abs(difference.amount), -count, difference

    largest = heapq.nlargest(SHOWN, ranked(), key=lambda item: item[:2])
    span = " ".join(
        filter(None, (head["since"] and f"from {head['since']}", head["until"] and f"until {head['until']}"))
    )
    print(f"{head['vendor']}, in {head['currency']}, by {head['by']}, {span or 'all of the ledger'}")
    if head["not_compared"]:
        print(f"{head['not_compared']} rows of that time are in another currency and are not compared")
    if largest:
        print()
        put("table", COLUMNS, [_row(difference) for _, _, difference in largest], NUMBERS)
        if count > SHOWN:
            print(f"… and {count - SHOWN} more that are smaller; --format csv has all")
    print()
    put("table", TOTALS, [tuple(row[name] for name in TOTALS) for row in sums.table()], set(TOTALS) - {"class"})


PRINTERS: Mapping[str, Callable[[Mapping[str, Any], Iterator[Difference], Sums], None]] = {
    "table": _table, "csv": _csv, "json": _json,
}  # fmt: skip
