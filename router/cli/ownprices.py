"""The prices that a configuration gives its models itself, beside those of the books."""

from collections.abc import Mapping
from dataclasses import replace
from zoneinfo import ZoneInfo

from router import vendors
from router.core.catalog import Tier
from router.core.prices import Timeline
from router.pricebook import BookModel, PriceBook, free_timeline, timelines
from router.priceentry import Place
from router.settings import ModelSettings, Settings
from router.yamlfile import BadConfiguration, Problem, YamlFile


def own_prices(settings: Settings, file: YamlFile, book: PriceBook) -> Mapping[str, BookModel]:
    """The models with a `price` of their own, as `vendor/model` by the configuration's name. Raises `BadConfiguration`."""
    problems: list[Problem] = []
    out = {}
    for name, told in settings.models.items():
        if told.price is not None:
            found = book.find(told.vendor, told.priced_as or told.name or name)
            tier = told.tier or (found.tier if found else Tier.CHEAP)
            own = _timelines(name, told, tier, settings, file, problems)
            window, most = (found.context_window, found.max_output) if found else (None, None)
            kind = told.kind or (found.kind if found else "chat")
            out[f"{told.vendor}/{name}"] = BookModel(
                told.vendor, name, tier, told.context_window or window, told.max_output or most, frozenset(), kind, own
            )
    if problems:
        raise BadConfiguration(problems)
    return out


def overridden(settings: Settings) -> set[str]:
    """What the books have, as `vendor/name`, and no configured model is billed by, but by a price of its own."""
    own, by_the_book = set(), set()
    for name, told in settings.models.items():
        wire_name = f"{told.vendor}/{told.name or name}"
        if told.price is not None:
            own.add(wire_name)
        else:
            by_the_book |= {wire_name, f"{told.vendor}/{told.priced_as}"}
    return own - by_the_book


def _timelines(
    name: str, told: ModelSettings, tier: Tier, settings: Settings, file: YamlFile, problems: list[Problem]
) -> Mapping[str, Timeline]:
    if told.price == "free":
        vendor, known = settings.vendors.get(told.vendor), vendors.find(told.vendor)
        currency = (vendor and vendor.currency) or (known.currency if known else settings.currency)
        found: Mapping[str, Timeline] = {currency: free_timeline(name, currency)}
    else:
        entries = told.price if isinstance(told.price, list) else [told.price] if told.price else []
        found = timelines(name, entries, Place(ZoneInfo("UTC")), tier, file, ("models", name, "price"), problems)
    return {currency: _sourced(timeline) for currency, timeline in found.items()}


def _sourced(timeline: Timeline) -> Timeline:
    prices = [replace(price, source=price.source or "the configuration") for price in timeline.prices]
    return Timeline(timeline.name, prices)
