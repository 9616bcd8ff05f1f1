"""What the mock vendors would put on their invoices."""

import dataclasses
from collections.abc import Iterable
from typing import Any

COUNTS = (
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cache_written_tokens",
    "cache_written_1h_tokens",
)


@dataclasses.dataclass(slots=True)
class BillLine:
    """One request that reached a model. `input_tokens` includes those read from a cache and those written to one, of which some are
    kept for an hour; `output_tokens` includes the reasoning ones, and grows while a stream is served: a client that leaves pays for
    what was written until then.
    """

    vendor: str
    model: str
    endpoint: str
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    status: int
    at: float
    request_id: str
    cache_written_tokens: int = 0
    cache_written_1h_tokens: int = 0


def totals(lines: Iterable[BillLine]) -> list[dict[str, Any]]:
    """Sums per vendor and model, in order of first use."""
    sums: dict[tuple[str, str], dict[str, Any]] = {}
    for line in lines:
        row = sums.setdefault(
            (line.vendor, line.model),
            {"vendor": line.vendor, "model": line.model, "requests": 0, **dict.fromkeys(COUNTS, 0)},
        )
        row["requests"] += 1
        for count in COUNTS:
            row[count] += getattr(line, count)
    return list(sums.values())


def invoice(lines: list[BillLine]) -> dict[str, Any]:
    """The body of `GET /bill`."""
    per_model = totals(lines)
    per_vendor: dict[str, dict[str, int]] = {}
    for row in per_model:
        vendor = per_vendor.setdefault(row["vendor"], dict.fromkeys(("requests", *COUNTS), 0))
        for count in vendor:
            vendor[count] += row[count]
    return {
        "requests": len(lines),
        "vendors": per_vendor,
        "models": per_model,
        "lines": [dataclasses.asdict(line) for line in lines],
    }
