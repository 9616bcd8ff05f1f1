"""Leases in Redis in every order of events: see `redismodel`. `FAREBOX_MODEL=large` tries larger worlds, for minutes."""

import os

import pytest
from redismodel import Rules, Sizes, explore

SMALL = {
    "all is lost once": Sizes(limit=1, faults=0, draws=1, looks=1),
    "one dies": Sizes(limit=1, lives=1, losses=0, draws=1, looks=1),
}
LARGE = {
    "one dies and another comes": Sizes(limit=1, losses=0, draws=1, looks=1),
    "all is lost twice": Sizes(limit=1, faults=0, draws=1, looks=2, losses=2),
    "two draws": Sizes(limit=2, faults=0, looks=1),
    "one dies and all is lost": Sizes(limit=1, draws=1, looks=1),
}
WORLDS = SMALL | (LARGE if os.environ.get("FAREBOX_MODEL") == "large" else {})
TIGHT = {  # where the way to a passed cap is shortest
    "numbered": Sizes(limit=2, slots=2, lives=1, looks=1, losses=0),
    "versioned": Sizes(limit=1, lives=2, draws=1, looks=1, losses=0),
    "seen_only": Sizes(limit=1, lives=2, draws=1, looks=1, losses=0),
}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("world", WORLDS)
def test_no_order_of_events_passes_the_cap(world):
    found = explore(Rules(), WORLDS[world])
    print(f"{world}: {found.states} states")
    assert found.faults == ()
    assert found.states > 1_000


@pytest.mark.parametrize("rule", Rules._fields)
def test_each_rule_of_the_protocol_is_needed(rule):
    sizes = TIGHT.get(rule, Sizes(limit=1, faults=0, draws=1, looks=1))
    found = explore(Rules()._replace(**{rule: False}), sizes)
    print(f"without {rule}: after {len(found.faults) - 1} steps {found.faults[-1:]} ({found.states} states)")
    assert found.faults
