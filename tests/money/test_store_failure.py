"""A disk that is full: nothing is served unrecorded, or all of it is journalled; and what came of it when there is room again.

The limit on the size of its files makes every write of a real process fail as a full disk does, and can be lifted.
"""

import asyncio
import resource

import aiohttp
import pytest
from support import KEY, FareboxProcess, open_attempts, rows, small_config, until

from router.core.entry import Entry
from router.mock import MockVendors
from router.stores.journal import Journal, journal_of, left_behind
from router.stores.ports import StoreDown
from router.stores.recorder import Recorder
from tests.stores.sqlite_rows import attempt, entry

BUDGET = {"limit": 100, "per": "total"}


def fill(process):
    """From now on no file of the process can grow, nor be written beyond what the journal needs for some attempts."""
    _, hard = resource.prlimit(process.child.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.child.pid, resource.RLIMIT_FSIZE, (60_000, hard))


def make_room(process):
    _, hard = resource.prlimit(process.child.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.child.pid, resource.RLIMIT_FSIZE, (hard, hard))


@pytest.fixture
async def mock():
    vendors = MockVendors(pace=0)
    vendors.url = await vendors.start()
    yield vendors
    await vendors.stop()


@pytest.fixture
async def started(tmp_path, mock):
    """Starts Fareboxes on one store; each has served enough that the next write goes beyond what a full disk allows."""
    processes = []

    async def start(on_store_failure, wet=20):
        config = small_config(tmp_path, f"{mock.url}/check/v1")
        config["server"]["on_store_failure"] = on_store_failure
        process = await asyncio.to_thread(FareboxProcess(config, tmp_path).__enter__)
        processes.append(process)
        for _ in range(wet):
            assert (await ask(process))[0] == 200
        process.rows()
        return process

    yield start
    for process in processes:
        await asyncio.to_thread(process.stop)


async def ask(process, words="in=100 out=5", **more):
    body = {"model": "small", "messages": [{"role": "user", "content": words}], "max_tokens": 50, **more}
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as http,
        http.post(f"{process.url}/v1/chat/completions", json=body) as reply,
    ):
        return reply.status, await reply.json(content_type=None) if not more.get("stream") else await reply.read()


def agree(process, mock):
    """Ledger, metrics and the vendor's bill say the same."""
    found = process.rows()
    billed = sum(line.input_tokens * 1000 + line.output_tokens * 2000 for line in mock.bill)
    assert sum(row["cost"] for row in found) == billed
    assert round(sum(process.metric("farebox_cost_total")) * 1e9) == billed
    assert round(sum(process.metric("farebox_budget_spent")) * 1e9) == billed
    assert len({row["id"] for row in found}) == len(found) == len(mock.bill)


async def test_with_refuse_nobody_is_called_while_the_disk_is_full_and_all_goes_on_when_there_is_room(started, mock):
    process = await started("refuse")
    fill(process)
    status, told = await ask(process)
    assert (status, told["error"]["code"]) == (503, "overloaded")
    assert "nothing is served unrecorded" in told["error"]["message"]
    assert len(mock.bill) == 20
    assert not process.is_ready() and process.metric("farebox_store_down") == [1]
    make_room(process)
    until(process.is_ready, "it is ready again, without any request")
    assert process.metric("farebox_store_down") == [0]
    assert (await ask(process))[0] == 200
    agree(process, mock)


@pytest.mark.parametrize("on_failure", ["refuse", "serve"])
async def test_an_answer_that_was_on_its_way_when_the_disk_filled_is_written_when_there_is_room(
    started, mock, on_failure
):
    process = await started(on_failure)
    asking = asyncio.create_task(ask(process, "in=100 out=9 gap=60", stream=True))
    while not open_attempts(process.store):
        await asyncio.sleep(0.005)
    fill(process)
    assert (await asking)[1].endswith(b"[DONE]\n\n")
    until(lambda: process.metric("farebox_store_down") == [1], "it was noticed")
    make_room(process)
    until(lambda: process.metric("farebox_store_down") == [0], "it was noticed")
    agree(process, mock)


async def test_with_serve_requests_are_served_on_the_journal_and_the_ledger_has_them_later(started, mock):
    process = await started("serve")
    fill(process)
    for _ in range(5):
        assert (await ask(process))[0] == 200
    assert process.is_ready()
    assert process.metric("farebox_journalled_total", team="search") == [5]
    until(lambda: round(sum(process.metric("farebox_budget_spent")) * 1e9) == 25 * 110_000, "all is counted")
    assert len(rows(process.store)) == 20
    make_room(process)
    until(lambda: len(rows(process.store)) == 25, "the journal was taken in")
    agree(process, mock)
    assert (await ask(process))[0] == 200
    agree(process, mock)


async def test_a_budget_holds_on_the_journal(started, mock, tmp_path):
    config = small_config(tmp_path, f"{mock.url}/check/v1")
    config["server"]["on_store_failure"] = "serve"
    config["teams"]["search"]["budgets"] = [{"limit": "0.003", "per": "total"}]
    process = await asyncio.to_thread(FareboxProcess(config, tmp_path).__enter__)
    try:
        for _ in range(15):
            assert (await ask(process))[0] == 200
        fill(process)
        statuses = [(await ask(process))[0] for _ in range(20)]
        assert statuses[0] == 200 and statuses[-1] == 402
        assert sum(line.input_tokens * 1000 + line.output_tokens * 2000 for line in mock.bill) <= 3_000_000
    finally:
        make_room(process)
        await asyncio.to_thread(process.stop)


async def test_killed_while_it_served_on_the_journal_the_next_start_takes_it_in(started, mock):
    process = await started("serve")
    fill(process)
    for _ in range(3):
        assert (await ask(process))[0] == 200
    hanging = asyncio.create_task(ask(process, "in=100 out=50 gap=200", stream=True))
    waiting = (process.metric, "farebox_journalled_total")
    while await asyncio.to_thread(*waiting) != [4]:
        await asyncio.sleep(0.01)
    await asyncio.to_thread(process.kill)
    await asyncio.gather(hanging, return_exceptions=True)
    process.child.stdout.close()
    again = await started("refuse", wet=0)  # a journal that is there is taken in, whatever the setting now
    found = again.rows()
    assert [row["outcome"] for row in found] == ["ok"] * 23 + ["abandoned"]
    assert sum(row["cost"] for row in found[:23]) == 23 * 110_000
    assert round(sum(again.metric("farebox_budget_spent")) * 1e9) == sum(row["cost"] for row in found)
    (gone,) = [row for row in found if row["outcome"] == "abandoned"]
    assert gone["cost"] == gone["held"] >= 200_000


async def test_a_store_that_cannot_be_written_at_start_is_told_and_nothing_is_served(tmp_path, mock):
    config = small_config(tmp_path, f"{mock.url}/check/v1")
    config["store"] = "sqlite:////proc/farebox.db"
    config["server"]["on_store_failure"] = "serve"
    with pytest.raises(pytest.fail.Exception, match=r"ended with 1 .*farebox cannot serve: /proc/farebox\.db"):
        await asyncio.to_thread(FareboxProcess(config, tmp_path).__enter__)


# The journal itself


def test_a_record_is_there_after_a_restart_and_gone_once_it_was_taken_in(tmp_path):
    path = tmp_path / "farebox.db.journal"
    journal = Journal(path, room=10_000)
    journal.open()
    assert not journal
    journal.append(attempt())
    journal.append(entry())
    journal.close()
    again = Journal(path, room=10_000)
    again.open()
    assert again and list(again.records()) == [attempt(), entry()]
    again.empty()
    assert not again and path.stat().st_size == 10_000
    again.append(attempt(2))
    assert list(again.records()) == [attempt(2)]
    again.close()


def test_a_line_that_was_cut_by_a_crash_was_never_acted_on_and_is_written_over(tmp_path):
    path = tmp_path / "farebox.db.journal"
    journal = Journal(path, room=10_000)
    journal.open()
    journal.append(attempt())
    journal.close()
    whole = path.read_bytes()
    end = whole.index(b"\0")
    path.write_bytes(whole[:end] + b'{"attempt":{"id' + whole[end + 15 :])
    journal.open()
    assert list(journal.records()) == [attempt()]
    journal.append(entry())
    assert list(journal.records()) == [attempt(), entry()]
    journal.close()


def test_a_full_journal_lets_nothing_through(tmp_path):
    journal = Journal(tmp_path / "farebox.db.journal", room=1000)
    journal.open()
    journal.append(attempt())
    with pytest.raises(StoreDown, match="is full"):
        journal.append(attempt(2))
    journal.close()


class Store:
    """The part of `SqliteLedger` that a recorder uses."""

    shared = False

    def __init__(self):
        self.written, self.down = [], False

    async def open(self, one):
        await self._write(one)

    async def close(self, one):
        await self._write(one)

    async def probe(self):
        await self._write(None)

    async def _write(self, one):
        if self.down:
            raise StoreDown("full")
        self.written += [one] if one is not None else []


async def test_what_is_still_on_its_way_when_the_journal_is_taken_in_stays_open_in_the_store(tmp_path):
    store = Store()
    recorder = Recorder(store, Journal(tmp_path / "j", room=10_000), "serve")
    await recorder.start()
    store.down = True
    await recorder.open(attempt())
    await recorder.open(attempt(2))
    await recorder.close(entry(2))
    store.down = False
    await recorder.retry()
    assert store.written == [attempt(), entry(2)]  # what was closed need not be opened any more
    await recorder.close(entry())
    assert store.written[-1] == entry() and not recorder.journal and not recorder.down
    recorder.stop()


async def test_a_switch_to_refuse_is_followed_at_once(tmp_path):
    store = Store()
    recorder = Recorder(store, Journal(tmp_path / "j", room=10_000), "serve")
    await recorder.start()
    store.down = True
    await recorder.open(attempt())
    await recorder.follow("refuse")
    with pytest.raises(StoreDown):
        await recorder.open(attempt(2))
    assert recorder.refuses
    await recorder.close(entry())  # what was let through is still written down
    store.down = False
    await recorder.retry()
    assert store.written == [entry()]
    recorder.stop()


async def test_the_first_worker_takes_in_the_journals_of_those_that_there_are_no_more(tmp_path):
    path = tmp_path / "farebox.db"
    for number in (0, 1, 2, 11):
        journal = journal_of(path, number)
        journal.open()
        journal.append(attempt(number + 1))
        journal.append(entry(number + 1))
        journal.close()
    store = Store()
    recorder = Recorder(store, journal_of(path), "refuse", left_behind(path, 2))
    await recorder.start()
    assert [one for one in store.written if isinstance(one, Entry)] == [entry(1), entry(3), entry(12)]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["farebox.db.journal", "farebox.db.journal-1"]
    recorder.stop()
