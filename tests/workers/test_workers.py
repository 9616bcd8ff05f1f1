"""Two workers behind one port are one Farebox: budgets, rows, metrics, and whatever an operator asks."""

import asyncio
import itertools
import os
import signal
import sys

import aiohttp
import pytest
import yaml
from support import KEY, demo_config, open_attempts, rows, until

EVERY = 12  # connections, so that each worker gets some but once in two thousand times

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="children are found in /proc")


def billed(mock):
    return sum(line.input_tokens * 1000 + line.output_tokens * 2000 for line in mock.bill)


def agree(process, mock):
    """Ledger, metrics, budget and the vendor's bill say the same."""
    found = process.rows()
    assert len({row["id"] for row in found}) == len(found) == len(mock.bill)
    assert sum(row["cost"] for row in found) == billed(mock)
    assert round(sum(process.metric("farebox_cost_total")) * 1e9) == billed(mock)
    assert round(sum(process.metric("farebox_budget_spent")) * 1e9) == billed(mock)
    assert sum(process.metric("farebox_budget_held")) == 0


async def test_a_scrape_of_any_worker_tells_of_all(start, ask, mock, workers):
    process = await start()
    assert len(workers(process)) == 2
    async with aiohttp.ClientSession() as http:
        assert {(await ask(http, process.url))[0] for _ in range(2 * EVERY)} == {200}
        written = lambda: sum(process.metric("farebox_attempts_total")) == 2 * EVERY
        await asyncio.to_thread(until, written, "all rows are written")
        for _ in range(EVERY):
            assert sum(process.metric("farebox_attempts_total")) == 2 * EVERY
            assert sum(process.metric("farebox_requests_total")) == 2 * EVERY
            assert sum(process.metric("farebox_overhead_seconds_count")) == 2 * EVERY
            assert process.metric("farebox_budget_limit") == [100]
    await asyncio.to_thread(agree, process, mock)


async def test_what_is_on_its_way_in_any_worker_is_counted_as_in_flight_and_held(start, ask, admin, mock):
    process = await start()
    async with aiohttp.ClientSession() as http:
        asking = [asyncio.create_task(ask(http, process.url, "in=10 out=5 delay=1500")) for _ in range(8)]
        await asyncio.to_thread(until, lambda: len(open_attempts(process.store)) == 8, "all are on their way")
        holds = {sum(process.metric("farebox_budget_held")) for _ in range(EVERY)}
        assert {sum(process.metric("farebox_in_flight")) for _ in range(EVERY)} == {8}
        told = [(await admin(http, process.url, "budgets"))[1]["data"][0]["held"] for _ in range(3)]
        assert len(holds) == 1 and {float(held) for held in told} == holds and holds.pop() > 0
        assert {(await each)[0] for each in asking} == {200}
    await asyncio.to_thread(agree, process, mock)


async def test_when_a_worker_is_killed_under_load_caps_hold_the_ledger_is_whole_and_the_other_serves_on(
    start, config, ask, mock, workers
):
    config["teams"]["search"]["budgets"] = [{"limit": "0.004", "per": "total"}]
    process, statuses, going, numbers, most = await start(), [], True, itertools.count(), 0.0

    async def load(http):
        while going:
            n = next(numbers)
            try:
                status, _, _ = await ask(http, process.url, f"in=10 out=5 delay={n % 20}", stream=n % 3 == 0)
                statuses.append(status)
            except aiohttp.ClientError:
                statuses.append(0)

    async with aiohttp.ClientSession() as http:
        loading = [asyncio.create_task(load(http)) for _ in range(10)]
        told, attempts = 0, 0
        for kill in range(4):
            await asyncio.to_thread(until, lambda: len(workers(process)) == 2, "both are there")
            victim = workers(process)[kill % 2]
            before = len(statuses)
            while len(statuses) < before + 20:
                await asyncio.sleep(0.01)
            spent = await asyncio.to_thread(lambda: sum(process.metric("farebox_budget_spent")))
            held = await asyncio.to_thread(lambda: sum(process.metric("farebox_budget_held")))
            most = max(most, spent + held)
            os.kill(victim, signal.SIGKILL)
            told, attempts = attempts, sum(await asyncio.to_thread(process.metric, "farebox_attempts_total"))
            assert attempts >= told, "no counter goes back"
        going = False
        await asyncio.gather(*loading)
    found = await asyncio.to_thread(process.rows)
    served, lost = statuses.count(200), statuses.count(0)
    assert set(statuses) <= {200, 402, 0} and 0 < lost <= 4 * 10 and served > 0
    assert len(mock.bill) <= len(found) <= len(mock.bill) + lost
    assert sum(row["outcome"] == "abandoned" for row in found) <= lost
    spent = sum(row["cost"] for row in found)
    assert billed(mock) <= spent <= 4_000_000 and most <= 0.004 + 1e-12
    assert round(sum(process.metric("farebox_cost_total")) * 1e9) == spent
    assert round(sum(process.metric("farebox_budget_spent")) * 1e9) == spent
    assert sum(process.metric("farebox_budget_held")) == 0


async def test_a_connection_that_waits_in_a_dead_workers_queue_is_served_by_its_sibling(start, ask, workers):
    process = await start()
    victim = workers(process)[0]
    os.kill(victim, signal.SIGSTOP)
    async with aiohttp.ClientSession() as http:
        asking = [asyncio.create_task(ask(http, process.url)) for _ in range(EVERY)]
        done, waiting = await asyncio.wait(asking, timeout=1)
        assert waiting, "some wait for the worker that does nothing"
        os.kill(victim, signal.SIGKILL)
        assert {(await each)[0] for each in asking} == {200}
        assert len(done) + len(waiting) == EVERY


async def test_a_worker_that_hangs_is_killed_and_what_waits_for_it_is_served(start, ask, mock, workers):
    quick = "from router.workers import supervisor as s; s.SILENT_S, s.BEAT_S = 3, 0.5"
    process = await start(command=[sys.executable, "-c", f"{quick}; from router.cli import main; main()"])
    before = workers(process)
    os.kill(before[0], signal.SIGSTOP)
    async with aiohttp.ClientSession() as http:
        found = await asyncio.gather(*(ask(http, process.url) for _ in range(EVERY)))
        await asyncio.to_thread(until, lambda: "has taken the place of another" in process.log, "another has its place")
        assert before[0] not in workers(process) and before[1] in workers(process)
        found += await asyncio.gather(*(ask(http, process.url) for _ in range(EVERY)))
    assert [status for status, _, _ in found] == [200] * 2 * EVERY
    assert "a worker hangs: it has said nothing for 3 s and is killed" in process.log
    await asyncio.to_thread(agree, process, mock)
    assert await asyncio.to_thread(process.stop) == 0


async def test_a_decision_is_explained_by_whichever_worker_is_asked(start, ask, admin):
    process = await start()
    async with aiohttp.ClientSession() as http:
        _, headers, _ = await ask(http, process.url)
        name = headers["x-farebox-request-id"]
        found = [await admin(http, process.url, f"decisions/{name}") for _ in range(EVERY)]
        assert {status for status, _ in found} == {200} and {told["id"] for _, told in found} == {name}
        assert (await admin(http, process.url, "decisions/fb-unknown"))[0] == 404


async def test_a_key_that_is_made_opens_every_worker_at_once(start, ask, admin):
    process = await start()
    async with aiohttp.ClientSession() as http:
        status, made = await admin(http, process.url, "keys", "POST", json={"team": "search", "name": "new"})
        assert status == 201
        assert {(await ask(http, process.url, key=made["key"]))[0] for _ in range(EVERY)} == {200}


async def test_a_reload_is_everybodys_and_one_that_fails_is_told(start, config, ask, admin):
    process = await start()
    team = config["teams"]["search"]
    async with aiohttp.ClientSession() as http:
        team["keys"].append({"name": "more", "value": "fb-another-key-of-the-team"})
        process.file.write_text(yaml.safe_dump(config))
        assert await admin(http, process.url, "reload", "POST") == (200, {"ok": True, "warnings": []})
        assert {(await ask(http, process.url, key="fb-another-key-of-the-team"))[0] for _ in range(EVERY)} == {200}
        process.file.write_text("nonsense: 1")
        status, told = await admin(http, process.url, "reload", "POST")
        assert status == 409 and "nonsense" in str(told)
        process.file.write_text(yaml.safe_dump(config))
        before = sum(process.metric("farebox_config_reloads_total", result="ok"))
        process.child.send_signal(signal.SIGHUP)
        await asyncio.to_thread(
            until, lambda: sum(process.metric("farebox_config_reloads_total", result="ok")) >= before + 2, "both reload"
        )


async def test_a_worker_that_is_replaced_while_the_file_is_bad_serves_by_what_the_others_serve_by(
    start, config, ask, workers
):
    config["server"]["reload_every"] = "1h"
    process = await start()
    before = workers(process)
    config["teams"]["search"]["keys"].append({"name": "more", "value": "fb-another-key-of-the-team"})
    process.file.write_text(yaml.safe_dump(config))
    process.child.send_signal(signal.SIGHUP)
    await asyncio.to_thread(
        until, lambda: process.metric("farebox_config_reloads_total", result="ok") == [2], "both have reloaded"
    )
    process.file.write_text("nonsense: 1")
    os.kill(before[0], signal.SIGKILL)
    await asyncio.to_thread(until, lambda: len(set(workers(process)) - set(before)) == 1, "another has its place")
    async with aiohttp.ClientSession() as http:
        assert {(await ask(http, process.url, key="fb-another-key-of-the-team"))[0] for _ in range(EVERY)} == {200}


async def test_who_logs_in_at_one_worker_is_known_to_all_also_to_one_that_comes_later_until_the_logout(start, workers):
    process = await start()
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar, headers={"Connection": "close"}) as http:

        async def page(path="/", **form):
            async with http.request("POST" if form else "GET", process.url + path, data=form or None) as reply:
                return await reply.text()

        def token(text):
            return text.partition('name="token" value="')[2].partition('"')[0]

        text = await page("/login", token=token(await page()), key="the-admin-key-of-the-test")
        assert all("At a glance" in text for text in [await page() for _ in range(EVERY)])
        before = workers(process)
        os.kill(before[1], signal.SIGKILL)
        await asyncio.to_thread(until, lambda: len(set(workers(process)) - set(before)) == 1, "another has its place")
        assert all("At a glance" in text for text in [await page() for _ in range(EVERY)])
        cookie = {one.key: one.value for one in jar}["farebox_page"]
        await page("/logout", token=token(text))
        jar.update_cookies({"farebox_page": cookie})
        assert not any("At a glance" in text for text in [await page() for _ in range(EVERY)]), "it is over"


async def test_feedback_finds_an_answer_that_another_worker_has_just_given(start, config, ask, admin):
    config["routes"]["auto"]["labels"] = True
    process = await start()
    async with aiohttp.ClientSession() as http:
        for _ in range(EVERY):
            _, headers, _ = await ask(http, process.url, model="auto")
            told = {"request_id": headers["x-farebox-request-id"], "score": 1}
            status, answer = await admin(http, process.url, "feedback", "POST", json=told)
            assert status == 200, answer
        assert sum(process.metric("farebox_labels_total")) == EVERY


async def test_the_command_line_beats_the_file_and_a_demo_plays_its_vendors_once(tmp_path, farebox_process, workers):
    config = demo_config(tmp_path)
    config["server"]["workers"] = 2
    process = farebox_process(config)
    assert len(workers(process)) == 3  # with the vendors
    assert process.said.count("Farebox serves") == 1
    assert sum(process.metric("process_resident_memory_bytes")) > 0


async def test_it_does_not_start_on_a_port_or_a_store_that_somebody_has(start, config, tmp_path):
    one = await start()
    with pytest.raises(pytest.fail.Exception, match="in use by another Farebox"):
        await start()
    config["server"]["port"] = int(one.url.rpartition(":")[2])
    config["store"] = f"sqlite:///{tmp_path}/another.db"
    with pytest.raises(pytest.fail.Exception, match="Address already in use"):
        await start()


async def test_an_orderly_end_leaves_nothing_open_and_nobody_alive(start, ask, mock, workers):
    process = await start()
    async with aiohttp.ClientSession() as http:
        asking = [asyncio.create_task(ask(http, process.url, "in=10 out=5 delay=300")) for _ in range(8)]
        await asyncio.to_thread(until, lambda: len(open_attempts(process.store)) == 8, "all are on their way")
        process.child.terminate()
        assert {(await each)[0] for each in asking} == {200}
    assert await asyncio.to_thread(process.child.wait, 20) == 0
    assert len(rows(process.store)) == len(mock.bill) == 8 and not open_attempts(process.store)


async def test_when_the_parent_is_killed_the_next_start_closes_what_was_open_at_once(start, ask, mock):
    process = await start()
    async with aiohttp.ClientSession() as http:
        asking = [asyncio.create_task(ask(http, process.url, "in=10 out=5 delay=3000")) for _ in range(4)]
        await asyncio.to_thread(until, lambda: len(open_attempts(process.store)) == 4, "all are on their way")
        await asyncio.to_thread(process.kill)
        await asyncio.gather(*asking, return_exceptions=True)
        again = await start()
        found = await asyncio.to_thread(again.rows)
        assert [row["outcome"] for row in found] == ["abandoned"] * 4
        assert (await ask(http, again.url))[0] == 200
        assert KEY not in again.log


async def test_on_postgresql_a_killed_workers_attempts_are_closed_at_once_and_counters_are_everybodys(
    start, config, ask, mock, workers, database
):
    config["store"] = database
    process = await start()
    async with aiohttp.ClientSession() as http:
        assert {(await ask(http, process.url))[0] for _ in range(EVERY)} == {200}
        asking = [asyncio.create_task(ask(http, process.url, "in=10 out=5 delay=5000")) for _ in range(8)]
        await asyncio.to_thread(until, lambda: len(open_attempts(process.store)) == 8, "all are on their way")
        for victim in workers(process):
            os.kill(victim, signal.SIGKILL)
        await asyncio.gather(*asking, return_exceptions=True)
        await asyncio.to_thread(until, lambda: not open_attempts(process.store), "what they left is closed")
        await asyncio.to_thread(until, process.is_ready, "others are there")
        assert {(await ask(http, process.url))[0] for _ in range(EVERY)} == {200}
        await asyncio.to_thread(until, lambda: len(rows(process.store)) == 2 * EVERY + 8, "all is written down")
        assert [row["outcome"] for row in rows(process.store)].count("abandoned") == 8
        assert sum(process.metric("farebox_requests_total", outcome="ok")) <= 2 * EVERY
        assert sum(process.metric("farebox_requests_total", outcome="abandoned")) == 8
