"""The ledger as a FOCUS 1.2 cost and usage data set: what cloud-cost tools read.

Columns and values are those of the FinOps Open Cost and Usage Specification, version 1.2 (2025-05), which has its columns
in alphabetical order; every mandatory column is there. Ours begin with `x_`, as the specification wants it. A row is a day
(UTC) of one team, key, route, model and vendor.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from router.core.limits import MICROS
from router.core.money import show
from router.core.usage import KINDS
from router.stores import spans
from router.stores.place import Connection

COLUMNS = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart",
    "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart",
    "ConsumedQuantity", "ConsumedUnit", "ContractedCost", "ContractedUnitPrice", "EffectiveCost", "InvoiceIssuerName",
    "ListCost", "ListUnitPrice", "PricingCategory", "PricingCurrency", "PricingQuantity", "PricingUnit", "ProviderName",
    "PublisherName", "ResourceId", "ResourceName", "ResourceType", "ServiceCategory", "ServiceName",
    "ServiceSubcategory", "SkuId", "SubAccountId", "SubAccountName", "SubAccountType", "Tags",
    "x_Attempts", "x_CacheReadTokens", "x_CacheWriteTokens", "x_EstimatedCost", "x_InputTokens", "x_OutputTokens",
    "x_ReasoningTokens", "x_ReportingCost", "x_ReportingCurrency", "x_Requests", "x_SavedCost",
)  # fmt: skip
MANDATORY = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart",
    "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodEnd", "ChargePeriodStart", "ContractedCost",
    "EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName",
    "ServiceCategory", "ServiceName",
)  # fmt: skip
_GROUPS = ("team", "key", "route", "model", "vendor", "tier", "currency", "vendor_currency")
_SUMS = ("attempts", "requests", "cost", "vendor_cost", "estimated_cost", "saved", *KINDS)


def rows(connection: Connection, since: int | None, until: int | None) -> Iterator[tuple[Any, ...]]:
    """Rows as `COLUMNS`, oldest first."""
    found = spans.summed(connection, _GROUPS, _SUMS, since, until, "day")
    for start, *values in sorted(found):
        names = dict(zip(_GROUPS, values[: len(_GROUPS)], strict=True))
        sums = dict(zip(_SUMS, values[len(_GROUPS) :], strict=True))
        told = _row(datetime.fromtimestamp(start // MICROS, UTC), names, sums)
        yield tuple(told.get(column) for column in COLUMNS)


def _row(day: datetime, names: dict[str, str], sums: dict[str, int]) -> dict[str, Any]:
    """One day of one set of names. What the vendor bills is in its own currency, at the price that was charged; which
    discounts there are is not known here, so that list and contracted cost are the same.
    """
    vendor, model, team = names["vendor"], names["model"], names["team"]
    month = day.replace(day=1)
    cost, tokens = show(sums["vendor_cost"]), sum(sums[kind] for kind in KINDS)
    tags = {"farebox/key": names["key"], "farebox/route": names["route"], "farebox/tier": names["tier"]}
    return {
        "BilledCost": cost, "EffectiveCost": cost, "ListCost": cost, "ContractedCost": cost,
        "BillingAccountId": vendor, "BillingCurrency": names["vendor_currency"],
        "PricingCurrency": names["vendor_currency"],
        "BillingPeriodStart": _instant(month), "BillingPeriodEnd": _instant((month + timedelta(days=32)).replace(day=1)),
        "ChargePeriodStart": _instant(day), "ChargePeriodEnd": _instant(day + timedelta(days=1)),
        "ChargeCategory": "Usage", "ChargeFrequency": "Usage-Based",
        "ChargeDescription": f"{model} of {vendor}, asked by team {team} on route {names['route']}",
        "ConsumedQuantity": tokens, "ConsumedUnit": "Tokens", "PricingQuantity": tokens, "PricingUnit": "Tokens",
        "PricingCategory": "Standard", "InvoiceIssuerName": vendor, "ProviderName": vendor, "PublisherName": vendor,
        "ResourceId": f"{vendor}/{model}", "ResourceName": model, "ResourceType": "Model",
        "ServiceCategory": "AI and Machine Learning", "ServiceSubcategory": "Generative AI",
        "ServiceName": f"{vendor} API", "SkuId": f"{vendor}/{model}",
        "SubAccountId": team, "SubAccountName": team, "SubAccountType": "Team", "Tags": orjson.dumps(tags).decode(),
        "x_Attempts": sums["attempts"], "x_Requests": sums["requests"], "x_InputTokens": sums["input"],
        "x_CacheReadTokens": sums["cache_read"], "x_CacheWriteTokens": sums["cache_write"],
        "x_OutputTokens": sums["output"], "x_ReasoningTokens": sums["reasoning"],
        "x_ReportingCost": show(sums["cost"]), "x_ReportingCurrency": names["currency"],
        "x_EstimatedCost": show(sums["estimated_cost"]), "x_SavedCost": show(sums["saved"]),
    }  # fmt: skip


def _instant(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
