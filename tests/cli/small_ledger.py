"""A configuration of two models and a ledger of five entries, as values."""

import pytest

from router.core.entry import Attempt, Entry
from router.core.usage import Usage

DAY = 86_400_000_000
NOON = 1_795_348_800_000_000  # 2026-11-22T12:00:00Z
SECRET = "fb-key-that-nobody-may-see"

both = pytest.mark.both_stores
"""Marks a test, or a module, whose store is in each database in turn."""

CONFIG = {
    "vendors": {"check": {"dialect": "openai", "base_url": "http://127.0.0.1:9/v1", "api_key": "sk-secret-of-vendor"}},
    "models": {
        "small": {
            "vendor": "check", "tier": "cheap", "quality": 0.8, "price": {"currency": "USD", "input": 1, "output": 2},
        },
        "large": {
            "vendor": "check", "tier": "flagship", "price": {"currency": "USD", "input": 10, "output": 40},
        },
    },
    "routes": {"auto": {"tiers": ["cheap", "flagship"], "quality": 0.7}, "best": {"tiers": ["flagship"]}},
    "teams": {
        "search": {"keys": [{"name": "app", "value": SECRET}], "models": ["small"], "budgets": []},
        "support": {
            "quality": 0.95, "routes": ["auto"],
            "budgets": [{"limit": 10, "per": "total", "soft": 0.5}],
        },
    },
}  # fmt: skip


def attempt(number=1, **over):
    told = {
        "id": f"fb-{number:04}.1", "request_id": f"fb-{number:04}", "number": 1, "at": NOON + number, "team": "search",
        "key": "app", "route": "auto", "model": "small", "vendor": "check", "tier": "cheap", "price": "USD 1/2",
        "currency": "USD", "vendor_currency": "CNY", "held": 9_000, "held_vendor": 63_000, "held_flagship": 90_000,
        "holds": (), "bound": Usage(input_fresh=100, output_text=50), "reason": "cheapest of 2", "tags": {"k": "v"},
    }  # fmt: skip
    return Attempt(**told | over)


def entry(number=1, over=None, **more):
    told = {
        "outcome": "ok", "basis": "reported", "cost": 1_000 * number, "vendor_cost": 7_000 * number,
        "flagship_cost": 15_000, "charges": (), "first_byte_ms": 5, "total_ms": 9,
        "usage": Usage(input_fresh=10, cache_read=3, output_text=5, output_reasoning=2),
    }  # fmt: skip
    return Entry(attempt=attempt(number, **(over or {})), **told | more)


ENTRIES = [
    entry(1),
    entry(2, {"team": "support", "model": "large", "tier": "flagship"}, cost=15_000),
    entry(3, {"at": NOON + DAY}, outcome="error", usage=Usage(), cost=0, final=False),
    entry(4, {"at": NOON + DAY}, basis="estimated", usage=Usage(input_fresh=7, cache_write_5m=4, output_text=1)),
    entry(
        5,
        {"at": NOON + DAY, "key": "ci", "prompt_estimate": 9, "prompt_high": 12},
        outcome="left",
        basis="estimated",
        cost=20_000,
        list_cost=140_001,
        service_tier="flex",
        free_tokens=4,
    ),
]
