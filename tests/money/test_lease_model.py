"""Leases in every order of events: see `leasemodel`. `FAREBOX_MODEL=large` tries larger worlds, for minutes."""

import os

import pytest
from leasemodel import Rules, Sizes, explore

SMALL = {
    "one unit, one fault": Sizes(limit=1, faults=1, draws=2, holds=1, free_calls=0),
    "two units, no fault": Sizes(limit=2, faults=0, draws=2, holds=1),
    "three replicas, no fault": Sizes(limit=1, slots=3, lives=1, faults=0, draws=2, holds=1, free_calls=0),
}
LARGE = {
    "two units, one fault": Sizes(limit=2, faults=1, draws=2, holds=1, free_calls=0),
    "one unit, two faults": Sizes(limit=1, faults=2, draws=2, holds=1, free_calls=0),
    "two holds at once": Sizes(limit=2, faults=1, draws=2, free_calls=0),
    "three draws, two faults": Sizes(limit=1, faults=2, holds=1),
    "three replicas, one fault": Sizes(limit=1, slots=3, faults=1, draws=2, holds=1, free_calls=0),
}
WORLDS = SMALL | (LARGE if os.environ.get("FAREBOX_MODEL") == "large" else {})
TIGHT = {  # where the way to a passed cap is shortest
    "numbered": Sizes(limit=2, faults=1, draws=2, holds=1, free_calls=0),
    "lowered_first": Sizes(limit=1, faults=1, draws=2, holds=1, free_calls=0),
    "heeds_newest": Sizes(limit=2, faults=1, draws=2, holds=1, free_calls=0),
    "fenced_open": Sizes(limit=1, faults=1, draws=2, holds=1, free_calls=0),
    "unsure_kept": Sizes(limit=1, faults=2, draws=2, holds=1, free_calls=0),
    "surely_dead": Sizes(limit=1, faults=1, draws=2, holds=1, free_calls=0),
    "charged": Sizes(limit=1, faults=1, draws=2, holds=1, free_calls=0),
}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("world", WORLDS)
def test_no_order_of_events_passes_the_cap_and_none_loses_money(world):
    """Wherever it stands: once messages have arrived and the dead are buried, all that is not spent can be spent."""
    found = explore(Rules(), WORLDS[world], heal=True)
    print(f"{world}: {found.states} states")
    assert found.faults == ()
    assert found.lost is None
    assert found.states > 4_000


@pytest.mark.parametrize("rule", Rules._fields)
def test_each_rule_of_the_protocol_is_needed(rule):
    found = explore(Rules()._replace(**{rule: False}), TIGHT[rule])
    print(f"without {rule}: after {len(found.faults) - 1} steps {found.faults[-1]} ({found.states} states)")
    assert found.faults
