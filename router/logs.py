"""Logs as JSON lines on standard error. What a record may carry is a list, so that no prompt and no key can slip in."""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime

from router.core.entry import Entry
from router.core.money import show

# What a line may say besides time, level, logger and message. Anything else in `extra` is dropped.
ALLOWED = frozenset(
    {
        "id", "request_id", "team", "key", "route", "model", "vendor", "tier", "outcome", "basis", "cost", "currency",
        "vendor_cost", "list_cost", "vendor_currency", "input_tokens", "output_tokens", "first_byte_ms", "total_ms", "reason", "fault", "status", "code", "error", "path",
        "url", "page", "signal", "worker", "attempts", "version", "problems", "store", "count", "checkpoint",
    }
)  # fmt: skip


class JsonLines(logging.Formatter):
    """One JSON object a line. A traceback is told by its frames and the exception's type, never by its message or by
    values, which may hold what a client sent.
    """

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name in ALLOWED and value is not None}
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            frames = traceback.extract_tb(error.__traceback__)[-12:]
            line["error"] = type(error).__name__
            line["frames"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]  # type: ignore[assignment]  # a list in JSON
        return json.dumps(line, ensure_ascii=False, default=str)


def set_up(level: int = logging.INFO) -> None:
    """Send everything to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.access").setLevel(logging.ERROR)
    # aiohttp.server logs each malformed request with its bytes; the client is told, and the log stays clean
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)


_entries = logging.getLogger("farebox.ledger")


def observe(entry: Entry) -> None:
    """A line for each closed attempt that did not end well, and for each charge of a vendor's that is not its list price;
    the ledger has them all.
    """
    a = entry.attempt
    if entry.disputed:
        _entries.warning(
            "a vendor charged what its list price does not say",
            extra={
                "id": a.id, "model": a.model, "vendor": a.vendor, "vendor_cost": show(entry.vendor_cost),
                "list_cost": show(entry.list_cost or 0), "vendor_currency": a.vendor_currency,
            },
        )  # fmt: skip
    if entry.served:
        _entries.warning(
            "a vendor served a model that has another price than the one it was asked for, at whose price it is charged",
            extra={"id": a.id, "model": a.model, "vendor": a.vendor, "served": entry.served, "price": a.price},
        )
    if entry.outcome == "ok":
        return
    _entries.warning(
        "an attempt ended: %s",
        entry.outcome,
        extra={
            "id": a.id, "team": a.team, "key": a.key, "route": a.route, "model": a.model, "vendor": a.vendor,
            "outcome": entry.outcome, "basis": entry.basis, "cost": show(entry.cost), "currency": a.currency,
            "fault": entry.fault or None, "total_ms": entry.total_ms,
        },
    )  # fmt: skip
