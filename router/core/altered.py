"""Models, routes and prices as they might be: for `replay`."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from router.core.catalog import Catalog, Model
from router.core.money import Rate
from router.core.prices import Price, Timeline, Unpriced


def altered(catalog: Catalog, prices: Callable[[Model], Timeline]) -> Catalog:
    """The same models and routes at other prices."""
    new = {id(model): replace(model, timeline=prices(model)) for model in catalog.models.values()}

    def those(models: Iterable[Model]) -> tuple[Model, ...]:
        return tuple(new[id(model)] for model in models)

    return Catalog(
        {name: new[id(model)] for name, model in catalog.models.items()},
        {
            name: replace(route, models=those(route.models), fallback=those(route.fallback))
            for name, route in catalog.routes.items()
        },
        {name: new[id(model)] for name, model in catalog.by_vendor.items()},
    )


def fixed(timeline: Timeline, at: int) -> Timeline:
    """The price of one instant, for ever. What is unknown then stays so."""
    try:
        price = timeline.at(at)
    except Unpriced as error:
        return Timeline(str(error) if timeline.prices else f"{timeline.name}: no price then", [])
    return Timeline(timeline.name, [replace(price, start=None, end=None)])


def times(timeline: Timeline, factor: Rate) -> Timeline:
    """Prices so many times as high, of everything that is priced.

    Raises:
        ValueError: one would be finer than a pico-unit.

    """
    return Timeline(timeline.name, [_price_times(price, factor) for price in timeline.prices])


def _price_times(price: Price, factor: Rate) -> Price:
    rates = tuple(one.times(factor, one.when, each=True) for one in price.rates)
    return replace(price, rates=rates, label=f"{price.label} times {factor.numerator / factor.denominator:g}")
