"""The fold that the page's sums over time are added up from, held to the ledger."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from past import Past, fill
from support import write_config
from traffic import send_traffic

from router.admin.history import HISTORY, History
from router.admin.spans import DAY, span
from router.core.limits import micros
from router.core.savings import saving
from router.snapshot import load
from router.stores.hours import HOUR

ROWS = 600


@pytest.fixture
async def past(running, demo, tmp_path):
    """A Farebox whose ledger has a past of forty days."""

    snapshot = load(write_config(demo, tmp_path), "http://127.0.0.1:1")
    assert await fill(snapshot, ROWS, 40) == ROWS
    return await running(demo)


async def whole(on):
    found = History(on.farebox.ledger, on.farebox.clock)
    await found.look()
    return found


def summed(cells):
    out = {}
    for cell in cells:
        key = (cell.team, cell.model, cell.currency)
        was = out.get(key, (0, 0, 0, 0, 0))
        more = (cell.attempts, cell.cost, cell.saved, cell.input + cell.cache_read, cell.output)
        out[key] = tuple(a + b for a, b in zip(was, more, strict=True))
    return out


async def test_sums_over_time_are_those_of_the_ledger(past):
    found = await whole(past)
    expected = summed(await past.farebox.ledger.totals())
    assert summed(found.cells(0)) == expected
    now = past.farebox.clock.now()
    drawn = found.draw(span("all", now, found.first()), None, "USD")
    assert summed(drawn.sums) == expected
    cost = sum(row["cost"] for row in await past.rows())
    assert sum(drawn.by_model.values()) == sum(drawn.by_tier.values()) == cost
    paid, flagship, fixed = (sum(day[i] for day in drawn.by_day.values()) for i in range(3))
    rows = await past.rows()
    assert paid == cost and len(drawn.by_day) == len({row["at"] // DAY for row in rows})
    assert flagship == sum(
        max(row["flagship_cost"], row["cost"]) if row["outcome"] != "error" else row["cost"] for row in rows
    )
    assert fixed == sum(row["cost"] if row["fixed_cost"] is None else row["fixed_cost"] for row in rows)


async def test_the_page_says_how_far_what_was_saved_can_be_trusted(past, look):
    found = await whole(past)
    shown = span("month", past.farebox.clock.now(), found.first())
    days = found.draw(shown, None, "USD").by_day.values()
    expected = saving([(paid, flagship) for paid, flagship, _ in days])
    await past.app[HISTORY].advance()  # what the page itself has begun to fold is there then
    _, page = await look(past, "?span=month")
    assert f"95 %: {expected.low:.1%} to {expected.high:.1%}, from {len(days)} days." in page
    assert page.count("95 %: ") == 2
    _, page = await look(past, "?span=day")
    assert "An interval takes five days; there are" in page


@pytest.mark.parametrize("name", ["day", "week", "month"])
async def test_a_spans_columns_hold_the_rows_of_their_time(past, name):
    found = await whole(past)
    shown = span(name, past.farebox.clock.now(), found.first())
    drawn = found.draw(shown, None, "USD")
    expected = {}
    for row in await past.rows():
        if row["at"] >= shown.since and row["cost"]:
            key = (row["model"], (row["at"] - shown.since) // shown.step)
            expected[key] = expected.get(key, 0) + row["cost"]
    assert drawn.by_model == expected
    assert len(expected) > 2  # a Sunday has few rows


async def test_what_comes_later_is_added_whether_it_is_new_or_late(past):
    found = await whole(past)
    shown = [span(name, past.farebox.clock.now(), found.first()) for name in ("day", "month", "all")]
    for one in shown:
        found.draw(one, None, "USD")  # what has passed is remembered from here on
    await send_traffic(past)
    late = next(Past(past.farebox.snapshot, 5, past.farebox.clock.now() - DAY // 12, seed=3).entries(1))
    late = replace(late, attempt=replace(late.attempt, id="fb-late.1", request_id="fb-late"))
    await past.farebox.ledger.close(late)
    await found.look()
    fresh = await whole(past)
    for one in shown:
        again, anew = found.draw(one, None, "USD"), fresh.draw(one, None, "USD")
        assert (again.by_model, again.by_tier) == (anew.by_model, anew.by_tier)
        assert summed(again.sums) == summed(anew.sums)
    assert sum(again.by_model.values()) == sum(row["cost"] for row in await past.rows())


async def test_a_team_has_its_own_sums(past):
    found = await whole(past)
    rows = [row for row in await past.rows() if row["team"] == "batch"]
    assert sum(cell.cost for cell in found.cells(0, "batch")) == sum(row["cost"] for row in rows)
    assert {cell.team for cell in found.cells(0, "batch")} == {"batch"}
    assert found.first("nobody") is None


def without_first_bytes(cells):
    return {key: replace(cell, first_ms=0, first_count=0) for key, cell in cells.items()}


async def test_it_begins_with_sums_that_are_those_of_folding_every_row(past):
    begun, folded = await whole(past), History(past.farebox.ledger, past.farebox.clock)
    folded.seen = 0  # so that it goes through the rows
    await folded.look()
    assert begun.seen == folded.seen == ROWS
    assert without_first_bytes(begun._hours) == without_first_bytes(folded._hours) != {}
    assert without_first_bytes(begun._days) == without_first_bytes(folded._days) != {}


async def test_the_last_day_has_times_to_the_first_byte_from_the_start(past):
    found, since = await whole(past), past.farebox.clock.now() - DAY
    told = [(cell.first_ms, cell.first_count) for cell in found.cells(since)]
    rows = [row["first_byte_ms"] for row in await past.rows() if row["at"] >= since - since % HOUR + HOUR]
    known = [ms for ms in rows if ms is not None]
    assert tuple(map(sum, zip(*told, strict=True))) == (sum(known), len(known)) != (0, 0)


async def test_hours_are_let_go_after_two_weeks_and_days_stay(past):
    found = await whole(past)
    now = past.farebox.clock.now()
    oldest = min(cell.at for cell in found._hours.values())
    assert now - 15 * DAY - HOUR <= oldest
    assert found.first() <= now - 39 * DAY
    found._clock = type("Later", (), {"now": lambda _: now + 3 * DAY})()
    await found.look()
    assert min(cell.at for cell in found._hours.values()) > oldest + 2 * DAY
    assert summed(found.cells(0)) == summed(await past.farebox.ledger.totals())


async def test_while_the_ledger_is_read_the_page_says_so_and_does_not_wait(past, look):
    there = past.app[HISTORY]
    await there._busy.acquire()  # as while it is being read
    seen, there.seen = there.seen, None
    _, page = await asyncio.wait_for(look(past), 5)
    assert "The ledger is still being read" in page
    there._busy.release()
    there.seen = seen
    assert "still being read" not in (await look(past))[1]


async def test_what_is_new_is_in_the_next_view(past, look):
    _, before = await look(past, "/?span=day&refresh=off")
    await send_traffic(past)
    _, after = await look(past, "/?span=day&refresh=off")
    assert "claude-sonnet-4-5" in after
    assert before != after
    assert past.app[HISTORY].seen == len(await past.rows())


def test_the_past_is_the_same_for_the_same_seed(tmp_path, demo):
    from support import write_config  # noqa: PLC0415

    snapshot = load(write_config(demo, tmp_path), "http://127.0.0.1:1")
    until = micros(datetime(2026, 11, 25, tzinfo=UTC))
    first, second = ([e.cost for e in Past(snapshot, 10, until).entries(50)] for _ in range(2))
    assert first == second
    begin = until - 10 * DAY
    assert all(begin <= e.attempt.at < until for e in Past(snapshot, 10, until).entries(50))
