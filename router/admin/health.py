"""How vendors are: what is known of them now, and how their attempts ended in the last day."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, isfinite

from router.admin.figures import NBSP, count, percent
from router.admin.markup import Html, join, tag
from router.admin.tables import table
from router.admin.words import Words
from router.core.catalog import Model
from router.core.failure import Fault
from router.core.health import Unwell
from router.stores.hours import Cell


@dataclass(frozen=True, slots=True)
class VendorHealth:
    """One vendor: its models with what keeps each from being asked, and its last day."""

    vendor: str
    models: Sequence[tuple[str, Unwell | None]]
    attempts: int
    failed: int
    first_ms: int | None  # on average


def health(models: Iterable[Model], unwell: Mapping[str, Unwell | None], cells: Iterable[Cell]) -> list[VendorHealth]:
    """By vendor, in the order of the configuration."""
    by_vendor: dict[str, list[tuple[str, Unwell | None]]] = {}
    for model in models:
        by_vendor.setdefault(model.vendor, []).append((model.name, unwell[model.name]))
    sums = {vendor: [0, 0, 0, 0] for vendor in by_vendor}
    for cell in cells:
        if (told := sums.get(cell.vendor)) is not None:
            told[0] += cell.attempts
            told[1] += cell.attempts if cell.outcome == "error" else 0
            told[2] += cell.first_ms
            told[3] += cell.first_count
    return [
        VendorHealth(vendor, states, attempts, failed, round(first / counted) if counted else None)
        for vendor, states in by_vendor.items()
        for attempts, failed, first, counted in [sums[vendor]]
    ]


def health_table(found: Sequence[VendorHealth], words: Words) -> Html:
    rows = [
        (
            one.vendor, _states(one, words), count(one.attempts), percent(one.failed, one.attempts),
            "–" if one.first_ms is None else f"{one.first_ms:,}{NBSP}ms",
        )
        for one in found
    ]  # fmt: skip
    names = ("vendor", "state", "attempts", "failed_share", "first_word")
    return table(words("vendors_caption"), tuple(words(name) for name in names), rows, frozenset({2, 3, 4}))


def _states(one: VendorHealth, words: Words) -> Html:
    """Well if all are; else each model that is not, and why."""
    ill = [(name, unwell) for name, unwell in one.models if unwell is not None]
    if not ill:
        return tag("span", words("well"), class_="badge good")
    return join([tag("div", _state(unwell, words), " ", tag("span", name, class_="quiet")) for name, unwell in ill])


def _state(unwell: Unwell, words: Words) -> Html:
    seconds = ceil(unwell.wait_s) if isfinite(unwell.wait_s) else 0
    if unwell.full:
        return tag("span", words("full"), class_="badge calm")
    if unwell.fault is Fault.RATE_LIMITED:
        return tag("span", words("limited", seconds=seconds), class_="badge calm")
    return tag("span", words("open", fault=words(f"fault_{unwell.fault}"), seconds=seconds), class_="badge bad")
