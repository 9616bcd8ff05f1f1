"""A configuration that changes while the proxy runs: the file, a signal, a fault in it."""

import asyncio
import concurrent.futures
import json
import signal
import urllib.error
import urllib.request

import pytest
import yaml
from support import KEY, FareboxProcess, open_attempts, rows, serving, small_config, until

from router.mock import MockVendors
from router.snapshot import Snapshot


@pytest.fixture
async def mock():
    vendors = MockVendors(pace=0)
    vendors.url = await vendors.start()
    yield vendors
    await vendors.stop()


@pytest.fixture
def config(mock, tmp_path):
    config = small_config(tmp_path, f"{mock.url}/check/v1")
    config["server"] |= {"reload_every": "50ms", "admin_key": "an-admin-key"}
    return config


def ask(farebox, model="auto", key=KEY):
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hi out=5 in=10"}]}).encode()
    request = urllib.request.Request(
        f"{farebox.url}/v1/chat/completions",
        body,
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status, reply.headers["x-farebox-model"]
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())["error"]["code"]


def write(farebox, config):
    """As an editor does: the new file takes the old one's place at once."""
    new = farebox.file.with_suffix(".new")
    new.write_text(config if isinstance(config, str) else yaml.safe_dump(config, sort_keys=False))
    new.replace(farebox.file)


async def test_a_changed_file_is_taken_up_and_what_was_spent_stays_spent(config, tmp_path):
    def work():
        with FareboxProcess(config, tmp_path) as farebox:
            assert ask(farebox) == (200, "small")
            spent = until(lambda: farebox.metric("farebox_budget_spent", team="search")[0], "it is settled")
            config["routes"]["auto"]["quality"] = 0.95
            config["teams"]["search"]["budgets"][0]["limit"] = 50
            write(farebox, config)
            until(lambda: farebox.metric("farebox_config_reloads_total", result="ok") == [1], "it is reloaded")
            assert farebox.metric("farebox_budget_limit", team="search") == [50]
            assert farebox.metric("farebox_budget_spent", team="search") == [spent]
            assert ask(farebox) == (200, "large")

    await asyncio.to_thread(work)


async def test_a_new_budget_knows_what_its_window_has_cost(config, tmp_path):
    def work():
        with FareboxProcess(config, tmp_path) as farebox:
            ask(farebox)
            spent = until(lambda: farebox.metric("farebox_budget_spent", per="total")[0], "it is settled")
            config["teams"]["search"]["budgets"].append({"limit": 1, "per": "year", "timezone": "Asia/Shanghai"})
            write(farebox, config)
            until(lambda: farebox.metric("farebox_budget_spent", per="year") == [spent], "the new budget has counted")

    await asyncio.to_thread(work)


@pytest.mark.parametrize("bad", ["", "teams: {search: [", "models: {gpt: {vendor: nobody}}\n", "currency: 5\n"])
async def test_a_bad_file_keeps_the_old_configuration_and_is_counted_and_shown(config, tmp_path, bad):
    def work():
        config["server"]["open_page"] = True
        with FareboxProcess(config, tmp_path) as farebox:
            write(farebox, bad)
            until(lambda: farebox.metric("farebox_config_reloads_total", result="failed") == [1], "it was tried")
            assert ask(farebox) == (200, "small")
            assert farebox.file.name in farebox.get("/")
            assert "Traceback" not in farebox.log
            write(farebox, config)
            until(
                lambda: farebox.metric("farebox_config_reloads_total", result="ok") == [1], "the good one is taken up"
            )

    await asyncio.to_thread(work)


async def test_a_file_that_is_being_written_is_not_taken_up_before_it_rests(config, tmp_path, monkeypatch):
    """Each part of it is a valid configuration, in which teams are missing."""
    team = {"keys": [{"name": "app", "value": "fb-key-of-another-team"}], "routes": ["auto"]}
    whole = {**config, "teams": {**config["teams"], "later": team}}
    async with serving(config, tmp_path) as running:
        path, looked, stamp = running.farebox.snapshot.path, 0, Snapshot.stamp

        def writing(snapshot):
            """Whenever it has been looked at, its writer goes on."""
            nonlocal looked
            found = stamp(snapshot)
            looked += 1
            if looked < 10:
                path.write_text(yaml.safe_dump({**config, "teams": {}}) + "#" * looked)
            elif looked == 10:
                path.write_text(yaml.safe_dump(whole))
            return found

        monkeypatch.setattr(Snapshot, "stamp", writing)
        while not running.farebox.metrics.reloads["ok"]:
            assert "search" in running.farebox.snapshot.teams
            await asyncio.sleep(0)
        assert looked > 10 and running.farebox.snapshot.teams.keys() == {"search", "later"}


async def test_sighup_reloads_at_once_and_a_key_that_is_gone_is_unknown(config, tmp_path):
    def work():
        config["server"]["reload_every"] = "1h"
        with FareboxProcess(config, tmp_path) as farebox:
            config["teams"]["search"]["keys"][0]["value"] = "fb-the-next-key"
            write(farebox, config)
            assert ask(farebox) == (200, "small")
            farebox.child.send_signal(signal.SIGHUP)
            until(lambda: farebox.metric("farebox_config_reloads_total", result="ok") == [1], "it is reloaded")
            assert ask(farebox) == (401, "invalid_api_key")
            assert ask(farebox, key="fb-the-next-key") == (200, "small")

    await asyncio.to_thread(work)


async def test_sigterm_lets_requests_in_flight_end_and_settles_them(config, tmp_path, mock):
    def work():
        farebox = FareboxProcess(config, tmp_path)
        with farebox, concurrent.futures.ThreadPoolExecutor(4) as threads:
            body = json.dumps(
                {"model": "small", "messages": [{"role": "user", "content": "out=5 in=10 delay=400"}]}
            ).encode()
            request = urllib.request.Request(
                f"{farebox.url}/v1/chat/completions", body, {"Authorization": f"Bearer {KEY}"}
            )
            asked = [threads.submit(lambda: urllib.request.urlopen(request, timeout=10).status) for _ in range(4)]
            until(lambda: farebox.metric("farebox_in_flight") == [4], "they are in flight")
            assert farebox.stop() == 0
            assert [each.result() for each in asked] == [200] * 4
        assert open_attempts(farebox.store) == []
        assert [row["outcome"] for row in rows(farebox.store)] == ["ok"] * 4

    await asyncio.to_thread(work)
    assert len(mock.bill) == 4
