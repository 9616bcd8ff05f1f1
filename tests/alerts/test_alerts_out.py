"""Budgets that pass a share of their limit, told to a real receiver: once, also across a restart, and again until heard."""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import sqlite3

import pytest
from fakes import PushedClock
from receiver import receiving
from support import serving, small_config

SECRET = "whsec_" + base64.b64encode(b"a secret of the test that is long").decode()
ONE = 0.000019  # what one request costs at the mock


@pytest.fixture
async def receiver():
    async with receiving() as found:
        yield found


def configured(folder, alerts, budgets=None):
    config = small_config(folder, "", mock={"pace": 0}, alerts=alerts)
    config["vendors"]["check"].pop("base_url")
    config["teams"]["search"]["budgets"] = budgets or [{"limit": "0.00019", "per": "day", "on_exceed": "allow"}]
    return config


def target(receiver, name="ops", **more):
    return {"name": name, "url": f"{receiver.url}/{name}/token-in-the-path", "on": ["budget"], **more}


async def ask(running, times=1):
    for _ in range(times):
        body = {"model": "small", "max_tokens": 5, "messages": [{"role": "user", "content": "in=10 out=5"}]}
        async with running.post(json=body) as response:
            assert response.status == 200, await response.text()
    await running.rows()


async def settled(running):
    """Until the alerts' task has looked at what came and waits for more."""
    alerts = running.farebox.alerts
    async with asyncio.timeout(10):
        while alerts._wake.is_set() or not alerts.idle:
            await asyncio.sleep(0)


def outbox(folder):
    with sqlite3.connect(folder / "farebox.db") as connection:
        return connection.execute("SELECT id, target, done IS NOT NULL FROM alerts ORDER BY id").fetchall()


async def test_each_share_of_a_budget_is_told_once_in_a_window(tmp_path, receiver):
    config = configured(tmp_path, [target(receiver)])
    clock = PushedClock()
    async with serving(config, tmp_path, clock=clock) as running:
        await ask(running, 4)
        await settled(running)
        assert receiver.heard == []
        await ask(running, 2)  # 60 %
        (first,) = await receiver.until(1)
        assert first.json["type"] == "farebox.budget"
        assert first.json["data"]["threshold"] == 0.5
        assert first.json["data"]["owner"] == "search"
        assert first.json["data"]["limit"] == "0.00019"
        assert "the daily budget of team search has passed 50 %" in first.json["text"]
        await settled(running)  # before the clock moves: the next one is due 3 s after this was heard
        clock.push(60)
        await ask(running, 1)
        await settled(running)
        assert len(receiver.heard) == 1
        await ask(running, 1)  # 80 %
        assert (await receiver.until(2))[1].json["data"]["threshold"] == 0.8
        await settled(running)
        clock.push(86_400)
        await ask(running, 6)
        third = (await receiver.until(3))[2].json
        assert third["data"]["threshold"] == 0.5
        assert third["id"] != first.json["id"]


async def test_a_charge_that_passes_several_shares_tells_the_highest(tmp_path, receiver):
    config = configured(tmp_path, [target(receiver)], [{"limit": ONE, "per": "day", "on_exceed": "allow"}])
    async with serving(config, tmp_path, clock=PushedClock()) as running:
        await ask(running)
        (only,) = await receiver.until(1)
        assert only.json["data"]["threshold"] == 1.0
        await settled(running)
        assert len(receiver.heard) == 1


async def test_the_shares_are_the_budgets_own_and_none_is_silence(tmp_path, receiver):
    budgets = [
        {"limit": "0.00019", "per": "day", "alert_at": [0.1], "on_exceed": "allow"},
        {"limit": "0.00004", "per": "week", "alert_at": [], "on_exceed": "allow"},
    ]
    async with serving(configured(tmp_path, [target(receiver)], budgets), tmp_path, clock=PushedClock()) as running:
        await ask(running, 3)
        (only,) = await receiver.until(1)
        assert (only.json["data"]["per"], only.json["data"]["threshold"]) == ("day", 0.1)


async def test_what_was_told_is_not_told_again_after_a_restart(tmp_path, receiver):
    config, clock = configured(tmp_path, [target(receiver)]), PushedClock()
    async with serving(config, tmp_path, clock=clock) as running:
        await ask(running, 6)
        await receiver.until(1)
        await settled(running)
    clock.push(60)
    async with serving(config, tmp_path, clock=clock) as running:
        await ask(running, 1)
        await settled(running)
        assert len(receiver.heard) == 1
        await ask(running, 1)
        assert (await receiver.until(2))[1].json["data"]["threshold"] == 0.8


async def test_what_was_not_heard_is_told_after_a_restart(tmp_path, receiver):
    receiver.usual = (503, {}, {})
    config, clock = configured(tmp_path, [target(receiver)]), PushedClock()
    async with serving(config, tmp_path, clock=clock) as running:
        await ask(running, 6)
        (first,) = await receiver.until(1)
        await settled(running)
    assert [done for _, _, done in outbox(tmp_path)] == [0]
    receiver.usual = (200, {}, {})
    async with serving(config, tmp_path, clock=clock) as running:
        again = (await receiver.until(2))[1]
        await settled(running)
    assert again.json == first.json
    assert again.headers["webhook-id"] == first.headers["webhook-id"]
    assert [done for _, _, done in outbox(tmp_path)] == [1]


async def test_what_was_passed_while_nobody_looked_is_told_at_the_start(tmp_path, receiver):
    clock = PushedClock()
    async with serving(configured(tmp_path, []), tmp_path, clock=clock) as running:
        await ask(running, 6)
    async with serving(configured(tmp_path, [target(receiver)]), tmp_path, clock=clock) as running:
        assert (await receiver.until(1))[0].json["data"]["threshold"] == 0.5
        await settled(running)


async def test_it_is_tried_again_later_and_later_until_it_is_heard(tmp_path, receiver):
    receiver.answers = [(500, {}, {}), (429, {}, {"Retry-After": "20"}), (404, {}, {})]
    clock = PushedClock()
    async with serving(configured(tmp_path, [target(receiver)]), tmp_path, clock=clock) as running:
        await ask(running, 6)
        for tries, wait in ((1, 1), (2, 20), (3, 30)):
            await receiver.until(tries)
            await settled(running)
            clock.push(wait - 0.5)
            await settled(running)
            assert len(receiver.heard) == tries  # not yet
            clock.push(0.5)
        await receiver.until(4)
        await settled(running)
        clock.push(3600)
        await settled(running)
        assert len(receiver.heard) == 4
        assert len({each.headers["webhook-id"] for each in receiver.heard}) == 1


async def test_what_nobody_hears_for_a_day_is_given_up(tmp_path, receiver):
    receiver.usual = (500, {}, {})
    clock = PushedClock()
    async with serving(configured(tmp_path, [target(receiver)]), tmp_path, clock=clock) as running:
        await ask(running, 6)
        await receiver.until(1)
        await settled(running)
        clock.push(86_401)
        await settled(running)
        assert [done for _, _, done in outbox(tmp_path)] == [1]
        assert len(receiver.heard) == 1


async def test_a_target_that_is_down_keeps_neither_requests_nor_other_targets(tmp_path, receiver):
    down = {"name": "down", "url": "http://127.0.0.1:1/x", "on": ["budget"]}
    async with serving(configured(tmp_path, [down, target(receiver)]), tmp_path, clock=PushedClock()) as running:
        await ask(running, 6)
        await receiver.until(1)
        await ask(running, 1)
        await settled(running)
    assert {(name, done) for _, name, done in outbox(tmp_path)} == {("down", 0), ("ops", 1)}


async def test_targets_hear_only_of_their_teams_and_topics(tmp_path, receiver):
    alerts = [
        target(receiver, "theirs", teams=["other"]),
        target(receiver, "all", teams=["*"]),
        target(receiver, "odd", on=["anomaly"]),
    ]
    config = configured(tmp_path, alerts)
    config["teams"]["other"] = {"budgets": []}
    config["budgets"] = [{"limit": "0.00019", "per": "day", "on_exceed": "allow"}]
    async with serving(config, tmp_path, clock=PushedClock()) as running:
        await ask(running, 6)
        (only,) = await receiver.until(1)
        await settled(running)
    assert only.json["data"]["owner"] == "*"
    assert len(receiver.heard) == 1


async def test_the_generic_shape_is_signed_as_standard_webhooks_has_it(tmp_path, receiver):
    config = configured(tmp_path, [target(receiver, secret=SECRET)])
    async with serving(config, tmp_path, clock=PushedClock()) as running:
        await ask(running, 6)
        (got,) = await receiver.until(1)
        await settled(running)
    signed = f"{got.headers['webhook-id']}.{got.headers['webhook-timestamp']}.".encode() + got.body
    mac = hmac.new(b"a secret of the test that is long", signed, hashlib.sha256).digest()
    assert got.headers["webhook-signature"] == "v1," + base64.b64encode(mac).decode()


async def test_feishu_gets_its_own_shape_and_sign_and_its_refusal_with_status_200_is_none_of_ours(tmp_path, receiver):
    receiver.answers = [(200, {"code": 19021, "msg": "sign match fail"}, {})]
    clock = PushedClock()
    async with serving(
        configured(tmp_path, [target(receiver, kind="feishu", secret="feishu-secret")]), tmp_path, clock=clock
    ) as running:
        await ask(running, 6)
        await receiver.until(1)
        await settled(running)
        clock.push(1)
        first, second = await receiver.until(2)
        await settled(running)
    assert first.json["msg_type"] == "text"
    assert first.json["content"]["text"].startswith("Farebox: the daily budget")
    stamp = second.json["timestamp"]
    assert int(stamp) == int(first.json["timestamp"]) + 1
    mac = hmac.new(f"{stamp}\nfeishu-secret".encode(), b"", hashlib.sha256).digest()
    assert second.json["sign"] == base64.b64encode(mac).decode()


async def test_dingtalk_gets_its_own_shape_and_its_sign_in_the_query(tmp_path, receiver):
    receiver.answers = [(200, {"errcode": 310000, "errmsg": "sign not match"}, {})]
    clock = PushedClock()
    to = target(receiver, kind="dingtalk", secret="SECabc") | {"url": f"{receiver.url}/robot/send?access_token=t0ken"}
    async with serving(configured(tmp_path, [to]), tmp_path, clock=clock) as running:
        await ask(running, 6)
        await receiver.until(1)
        await settled(running)
        clock.push(1)
        got = (await receiver.until(2))[1]
        await settled(running)
    assert got.json["msgtype"] == "text"
    assert got.query["access_token"] == "t0ken"
    stamp = got.query["timestamp"]
    assert int(stamp) == clock.now() // 1000
    mac = hmac.new(b"SECabc", f"{stamp}\nSECabc".encode(), hashlib.sha256).digest()
    assert got.query["sign"] == base64.b64encode(mac).decode()


async def test_slack_gets_text_alone(tmp_path, receiver):
    async with serving(
        configured(tmp_path, [target(receiver, kind="slack")]), tmp_path, clock=PushedClock()
    ) as running:
        await ask(running, 6)
        (got,) = await receiver.until(1)
        await settled(running)
    assert set(got.json) == {"text"}


async def test_no_address_and_no_secret_is_in_the_log_or_the_store(tmp_path, receiver, caplog):
    caplog.set_level(logging.DEBUG)
    receiver.usual = (403, {"error": "token-in-the-path"}, {})
    down = {"name": "down", "url": "http://127.0.0.1:1/token-in-the-path", "on": ["budget"]}
    alerts = [target(receiver, secret=SECRET), down]
    async with serving(configured(tmp_path, alerts), tmp_path, clock=PushedClock()) as running:
        await ask(running, 6)
        await receiver.until(1)
        await settled(running)
    ours = [record for record in caplog.records if record.name.startswith("farebox")]
    assert "an alert was not taken by ops" in [record.getMessage() for record in ours]
    told = json.dumps([vars(record) for record in ours], default=str) + str(outbox(tmp_path))
    assert "token-in-the-path" not in told
    assert SECRET not in told


async def test_a_reload_that_adds_a_target_tells_it_how_things_stand(tmp_path, receiver):
    config = configured(tmp_path, [])
    async with serving(config, tmp_path, clock=PushedClock()) as running:
        await ask(running, 6)
        path = running.farebox.snapshot.path
        path.write_text(json.dumps(configured(tmp_path, [target(receiver)])))
        assert await running.farebox.reload()
        await receiver.until(1)
        assert await running.farebox.reload()
        await settled(running)
        assert len(receiver.heard) == 1


async def test_spend_out_of_proportion_is_told_once_a_day_by_what_the_ledger_knows(tmp_path, receiver):
    config = configured(tmp_path, [target(receiver, on=["anomaly"], anomaly_least="0.00001")])
    clock = PushedClock()
    async with serving(config, tmp_path, clock=clock) as running:
        for _ in range(8 * 24):  # eight days, one request in each hour
            await ask(running, 1)
            clock.push(3600)
        await settled(running)
        assert receiver.heard == []
    async with serving(config, tmp_path, clock=clock) as running:  # which only the ledger remembers
        await ask(running, 2)
        await settled(running)
        assert receiver.heard == []
        await ask(running, 1)
        (got,) = await receiver.until(1)
        assert got.json["type"] == "farebox.anomaly"
        assert got.json["data"]["owner"] == "search"
        assert float(got.json["data"]["spent"]) > 2 * float(got.json["data"]["usual"])
        await ask(running, 3)
        await settled(running)
    async with serving(config, tmp_path, clock=clock) as running:
        await ask(running, 3)
        await settled(running)
    assert len(receiver.heard) == 1
