"""Alerts that wait in a store which several processes have: each is told by one of them."""

import pytest

from router.core.alerts import Alert
from router.stores.ledgerfile import migrate
from router.stores.outbox import TURN_S, Outbox

NOW = 1_795_000_000_000_000
TURN = TURN_S * 1_000_000


def alert(name):
    return Alert(name, "budget", "search", NOW, "a budget has passed a share")


@pytest.fixture
def both(place):
    migrate(place)
    return Outbox(place, "a"), Outbox(place, "b")


def ids(found):
    return None if found is None else [one.id for one, _, _ in found]


def test_what_one_has_found_is_no_news_to_the_other(both):
    a, b = both
    assert a.put([alert("low"), alert("high")], "ops", NOW) is True
    assert b.put([alert("high")], "ops", NOW) is False
    assert b.put([alert("high")], "others", NOW) is True
    assert ids(a.waiting(NOW)) == ["high", "high"]


def test_one_at_a_time_tells_and_another_goes_on_when_it_is_done_or_dead(both):
    a, b = both
    a.put([alert("1")], "ops", NOW)
    assert (ids(a.waiting(NOW)), ids(b.waiting(NOW))) == (["1"], None)
    assert ids(a.waiting(NOW + TURN - 1)) == ["1"]  # it is at it still
    assert ids(b.waiting(NOW + TURN + 1)) is None
    assert ids(b.waiting(NOW + 3 * TURN)) == ["1"]
    b.done("1", "ops", NOW)
    assert (ids(b.waiting(NOW + 3 * TURN)), ids(a.waiting(NOW + 3 * TURN))) == ([], [])
    a.put([alert("2")], "ops", NOW)
    assert ids(a.waiting(NOW + 3 * TURN)) == ["2"]
