"""Lengths, service tiers, free quotas and charges of a vendor's own together, against an independent calculation in decimals."""

from dataclasses import replace
from decimal import ROUND_CEILING, Decimal, localcontext
from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from router.core.charge import Terms
from router.core.money import Rate, price_pico, scaled
from router.core.prices import FREE_FIRST, Facts, Price, Quota, Rates, Span, When
from router.core.rates import PLACES
from router.core.usage import INPUTS, LEAVES, Usage
from router.freewindows import Window
from router.quotas import Share
from router.tally import MOST_VENDOR_COST, Tally

# leaf → the rate that prices it, and those that stand in where it is blank
RATE_OF = {
    "input_fresh": ("input",),
    "cache_read": ("cache_read", "input"),
    "cache_write_5m": ("cache_write_5m", "input"),
    "cache_write_1h": ("cache_write_1h", "cache_write_5m", "input"),
    "input_audio": ("input_audio", "input"),
    "input_image": ("input_image", "input"),
    "output_text": ("output",),
    "output_reasoning": ("reasoning", "output"),
    "output_audio": ("output_audio", "output"),
    "output_image": ("output_image", "output"),
    "output_rejected": ("output",),
}

amounts = st.decimals(min_value=0, max_value=1000, places=6, allow_nan=False, allow_infinity=False)
each = st.none() | st.decimals(min_value=0, max_value=5, places=12, allow_nan=False, allow_infinity=False)
known_each = st.decimals(min_value=0, max_value=5, places=12, allow_nan=False, allow_infinity=False)
blank = st.none() | amounts
written = st.fixed_dictionaries(
    {
        "input": amounts, "output": amounts, "cache_read": blank, "cache_write_5m": blank, "cache_write_1h": blank,
        "reasoning": blank, "input_audio": blank, "input_image": blank, "output_audio": blank, "output_image": blank,
        "per_request": each, "per_search": known_each, "per_image": known_each,
    }
)  # fmt: skip
usages = st.builds(Usage, **dict.fromkeys(LEAVES, st.none() | st.integers(0, 400)))
exchange = st.decimals(min_value="0.000001", max_value=10000, places=6, allow_nan=False, allow_infinity=False)
quotas = st.none() | st.tuples(
    st.sampled_from(["tokens", "requests"]), st.integers(1, 3000), st.integers(0, 3000), st.integers(0, 500)
)
"""(unit, amount, taken by earlier attempts, promised to others)"""


def rates_of(told, when):
    pico = {
        name: scaled(value, PLACES) if name.startswith("per_") else price_pico(value)
        for name, value in told.items()
        if value is not None
    }
    return Rates(**pico, when=when)


def priced(bands, ends, tier):
    """Rates of one service tier, by the length of the prompt: each band's end belongs to it, the last has none."""
    ends = ends[: len(bands) - 1]
    spans = [Span(above=low, to=high) for low, high in zip([-1, *ends], [*ends, None], strict=True)]
    return [
        rates_of(told, When(input_tokens=span, service_tier=tier)) for told, span in zip(bands, spans, strict=False)
    ]


def band_of(bands, ends, usage):
    total = sum(getattr(usage, leaf) or 0 for leaf in INPUTS)
    passed = sum(total > end for end in ends[: len(bands) - 1])
    return bands[passed]


def by_hand(told, usage, free_tokens=0):
    """The bill as finance works it out, in whole units: the free tokens are the first of the prompt, then of the answer."""
    total = Decimal(0)
    for leaf in FREE_FIRST:
        count = getattr(usage, leaf) or 0
        paid = count - min(count, free_tokens)
        free_tokens -= count - paid
        rate = next(told[name] for name in RATE_OF[leaf] if told[name] is not None)
        total += paid * rate / 10**6
    total += (usage.searches or 0) * told["per_search"] + (usage.images or 0) * told["per_image"]
    if any(usage.as_dict().values()):
        total += told["per_request"] or 0
    return total


def up(amount):
    return int((amount * 10**9).to_integral_value(ROUND_CEILING))


@settings(max_examples=400, deadline=None)
@given(
    st.lists(written, min_size=1, max_size=4),
    st.lists(written, max_size=4),
    st.lists(st.integers(0, 3000), min_size=3, max_size=3, unique=True).map(sorted),
    usages,
    st.sampled_from([None, "default", "flex"]),
    quotas,
    st.none() | st.integers(0, 10**13) | st.just(MOST_VENDOR_COST + 1),
    exchange,
    exchange,
)
def test_a_charge_is_exact_whatever_length_tier_quota_and_vendor_say(
    ordinary, special, ends, usage, served, quota, own, rate, second
):
    price = Price("CNY", (*priced(ordinary, ends, None), *priced(special, ends, "flex")))
    bands = special if served == "flex" else ordinary
    if not bands:
        bands, served = ordinary, None
    share = None
    if quota is not None:
        unit, amount, settled, promised = quota
        price = replace(price, quota=Quota(unit, amount, "day"))
        share = Share(price.quota, Window(2**62, settled=settled, open=promised))
    plan = SimpleNamespace(price=price, facts=Facts(0))
    accounts = (("usd", 0, "USD"), ("cny", 0, "CNY"), ("eur", 0, "EUR"))
    rates = {"CNY": Rate.of(rate), "USD": Rate(), "EUR": Rate.of(second)}
    tally = Tally(plan, None, Terms(plan, rates, None, accounts), 0.0, {}, lambda: 0, share)
    tally.reader = SimpleNamespace(service_tier=served, vendor_cost_nano=own, usage_final=True)
    charge = tally.charge(usage)
    with localcontext() as context:
        context.prec = 60
        told = band_of(bands, ends, usage)
        exact, free = by_hand(told, usage), None
        if own is not None and own <= MOST_VENDOR_COST:
            assert (charge.by_vendor, charge.list_cost) == (True, up(exact))
            exact = Decimal(own) / 10**9
        elif quota is not None:
            tokens = sum(getattr(usage, leaf) or 0 for leaf in FREE_FIRST)
            left = max(0, amount - settled - promised)
            if unit == "tokens":
                free = min(tokens, left) or None
                exact = by_hand(told, usage, free or 0)
            elif left and (tokens or usage.searches or usage.images):
                free, exact = tokens, Decimal(0)
        assert charge.free_tokens == free
        assert charge.vendor == up(exact)
        assert charge.cost == up(exact * rate)
        assert [nano for _, _, nano in charge.accounts] == [up(exact * rate), up(exact), up(exact * rate / second)]
    if share is not None:  # what was taken is out of the others' reach, and never more than there is
        taken = 0 if free is None else free if unit == "tokens" else 1
        assert (share.taken, share.window.open) == (taken, promised + taken)
        assert taken == 0 or settled + promised + taken <= amount
