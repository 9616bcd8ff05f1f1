"""The prices in force, as the admin API and the page tell them."""

from typing import Any

from router.core.limits import moment
from router.core.prices import Price, Unpriced
from router.snapshot import Snapshot


def prices(snapshot: Snapshot, now: int) -> list[dict[str, Any]]:
    """What each configured model costs now, and what comes next."""
    out = []
    for model in snapshot.catalog.models.values():
        try:
            current = model.timeline.at(now)
            shown, why = current.describe(), None
        except Unpriced as error:
            current, shown, why = None, None, str(error)
        upcoming = [p.label for p in model.timeline.prices if p.start is not None and p.start > now]
        out.append(
            {
                "model": model.name, "vendor": model.vendor, "tier": str(model.tier), "price": shown,
                "currency": current and current.currency, "rates": current and _rates(current),
                "from": current and _shown(current.start), "since": current and current.label, "source": current and current.source,
                "confidence": current and current.confidence, "next": upcoming, "unpriced": why,
            }
        )  # fmt: skip
    return out


def _rates(price: Price) -> list[dict[str, str | None]]:
    """Amounts per million tokens, and for one; several where the price depends on the request."""
    kinds = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning")
    return [dict.fromkeys(kinds) | rates.told() for rates in price.ordinary]


def _shown(at: int | None) -> str | None:
    return None if at is None else moment(at).isoformat().replace("+00:00", "Z")
