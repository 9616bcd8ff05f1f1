"""A scripted day of traffic, as a real Prometheus has it: every query that ships finds something, and sums are the ledger's."""

import asyncio
import re
import time
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from aiohttp import web
from day import HOURS, DayClock, config, lived
from watching import (
    DEPLOY,
    documented,
    filled,
    prometheus,
    promtool,
    rules,
    series,
    shown,
    value,
    within,
    without_thresholds,
)

# What a day without certificates, labels, cascades, a cache and replicas does not have is played here, with the labels it would
# have.
PLAYED = {
    "farebox_quality_bound": 'farebox_quality_bound{route="auto",team="search"} 0.93',
    "farebox_quality_broken": 'farebox_quality_broken{route="auto"} 0',
    "farebox_quality_stale": 'farebox_quality_stale{route="auto"} 0',
    "farebox_quality_labels": 'farebox_quality_labels{route="auto"} 40',
    "farebox_quality_loss": 'farebox_quality_loss{route="auto"} 0.02',
    "farebox_cascade_total": 'farebox_cascade_total{route="auto",outcome="accepted"} 5',
    "farebox_cache_hits_total": 'farebox_cache_hits_total{team="search",route="auto"} 7',
    "farebox_labels_total": 'farebox_labels_total{route="auto",source="checker"} 3',
    "farebox_labels_dropped_total": 'farebox_labels_dropped_total{route="auto"} 0',
    "farebox_ledger_cost": 'farebox_ledger_cost{team="search",route="auto",model="m",vendor="v",tier="cheap",currency="USD"} 0',
    "farebox_ledger_vendor_cost": 'farebox_ledger_vendor_cost{vendor="v",model="m",currency="USD"} 0',
    "farebox_ledger_saved": 'farebox_ledger_saved{team="search",route="auto",currency="USD"} 0',
    "farebox_ledger_fixed_model_cost": 'farebox_ledger_fixed_model_cost{team="search",route="auto",currency="USD"} 0',
    "farebox_ledger_estimated_cost": 'farebox_ledger_estimated_cost{team="search",currency="USD"} 0',
    "farebox_ledger_tokens": 'farebox_ledger_tokens{team="search",model="m",vendor="v",kind="input"} 0',
    "farebox_ledger_requests": 'farebox_ledger_requests{team="search",route="auto",model="m",vendor="v",tier="cheap",outcome="ok"} 0',
    "farebox_shadow_total": 'farebox_shadow_total{route="auto",outcome="scored"} 3',
}


@pytest.fixture
async def played(running):
    """Serves metrics that Farebox does not have yet; hands out where, and a list to fill."""
    lines = []

    async def answer(_):
        return web.Response(text="\n".join(lines) + "\n")

    app = web.Application()
    app.add_routes([web.get("/metrics", answer)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    yield f"{host}:{port}", lines
    await runner.cleanup()


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_every_query_that_ships_finds_something_after_a_day_and_its_sums_are_the_ledgers(
    running, demo, played, tmp_path
):
    ends = int(time.time()) // 60 * 60
    begins = ends - HOURS * 3600
    clock = DayClock(time.time() - begins)
    on = await running(config(demo, begins), clock=clock)
    day = await lived(on, clock, begins, ends)
    where, lines = played
    lines += [line for name, line in PLAYED.items() if not any(text.startswith(name + "{") for text in day.text)]

    past = tmp_path / "past.om"
    past.write_text("".join(day.text) + "# EOF\n")
    done = await asyncio.to_thread(promtool, "tsdb", "create-blocks-from", "openmetrics", past, tmp_path / "tsdb")
    assert done.returncode == 0, done.stderr
    async with prometheus(tmp_path, day.instance, where) as url:
        await within(60, lambda: value(on.http, url, "up"))
        done = await asyncio.to_thread(
            promtool, "tsdb", "create-blocks-from", "rules", f"--start={begins}", f"--end={ends}", f"--url={url}",
            f"--output-dir={tmp_path / 'tsdb'}", "--eval-interval=5m", DEPLOY / "rules/farebox.yml",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    async with prometheus(tmp_path, day.instance, where) as url:
        await within(60, lambda: value(on.http, url, "farebox_cost_total offset 2s"))
        # Each target is scraped at its own moment, and a rate wants two samples of what is played too.
        await within(60, lambda: value(on.http, url, "count_over_time(farebox_shadow_total[1h]) >= 3"))
        await sums_are_the_ledgers(on, url, day, ends)
        assert await nothing_found(on, url) == []


async def sums_are_the_ledgers(on, url, day, ends):
    """At the end and over the day, to the nano-unit."""
    rows = await on.rows()
    assert len(rows) > 400 and {row["outcome"] for row in rows} >= {"ok", "error"}

    async def nano(query, **how):
        return {
            one["metric"].get("team", ""): round(Decimal(one["value"][1]) * 10**9)
            for one in await series(on.http, url, query, **how)
        }

    assert await nano("sum(farebox_cost_total)") == {"": sum(row["cost"] for row in rows)}
    assert await nano("sum by (team) (farebox_cost_total)") == day.ledger[ends]
    yuan = sum(row["vendor_cost"] for row in rows if row["vendor_currency"] == "CNY")
    assert await nano('sum(farebox_vendor_cost_total{currency="CNY"})') == {"": yuan} != {"": 0}
    today = next(one.expr for one in shown() if one.where == "farebox-spend: By team")
    assert "offset 1d" in today
    grown = await nano(today, time=ends)
    before = day.ledger[ends - 86400]
    assert grown == {team: nano - before.get(team, 0) for team, nano in day.ledger[ends].items()}
    litellm = await nano("sum by (team) (litellm_spend_metric_total)")
    assert litellm == day.ledger[ends]
    tokens = sum(
        sum(row[name] or 0 for name in ("input_fresh", "cache_read", "cache_write_5m", "cache_write_1h"))
        for row in rows
    )
    assert Decimal(await value(on.http, url, "sum(litellm_input_tokens_metric)")) == tokens
    assert tokens > 100_000
    assert (await nano("sum(farebox_overrun_total)"))[""] > 0


async def nothing_found(on, url):
    """Every query that ships, and every documented one, that finds nothing."""
    now = time.time()
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    begins = {"now/d": midnight.timestamp(), "now/M": midnight.replace(day=1).timestamp()}
    found = []
    for one in shown():
        span = {"start": begins.get(one.since, now - 3600), "end": now, "step": "15s" if not one.since else "1h"}
        if not await series(on.http, url, one.expr, **span):
            found.append((one.where, one.expr))
    for name, _ in rules("record"):
        if not await within_or_none(on, url, name):
            found.append(("rule", name))
    for name, expr in rules("alert"):
        if not await series(on.http, url, without_thresholds(expr)):
            found.append((name, without_thresholds(expr)))
    examples = [(query, await series(on.http, url, without_thresholds(filled(query)))) for query in documented()]
    return found + [("docs/metrics.md", query) for query, answer in examples if not answer]


async def within_or_none(on, url, query):
    """Rules are evaluated twice a second; those that stand on others a moment later."""
    try:
        return await within(5, lambda: series(on.http, url, query))
    except TimeoutError:
        return None


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("a > 1 and b < 2", "a - 1 and b - 2"),
        ('sum by (team) (a) > 0 or sum by (team) (a{b="c"} unless a offset 10m) > 0', "sum by (team) (a) - 0"),
        ("a == 1", "a - 1"),
    ],
)
def test_what_keeps_a_query_silent_can_be_left_out(query, told):
    assert without_thresholds(query) == told


def test_every_alert_is_explained_in_the_operations_guide_and_tested_with_promtool():
    names = {name for name, _ in rules("alert")}
    guide = (DEPLOY.parent.parent / "docs/operations.md").read_text()
    assert set(re.findall(r"^\| `(Farebox\w+)` \|", guide, re.MULTILINE)) == names
    tried = set(re.findall(r"alertname: (\w+)", "".join(f.read_text() for f in (DEPLOY / "tests").glob("*.yml"))))
    assert tried == names


@pytest.mark.parametrize("file", sorted((DEPLOY / "rules").glob("*.yml")), ids=lambda file: file.stem)
def test_promtool_accepts_the_rules(file):
    done = promtool("check", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr


# Of eight promtools at once on two processors one in ten misses a sample of a test that lasts for days: each compacts its
# storage beside the evaluation. What is wrong with a rule is wrong each time.
TRIES = 5


@pytest.mark.timeout(600)  # promtool walks days of samples, on whatever machine there is
@pytest.mark.parametrize("file", sorted((DEPLOY / "tests").glob("*.yml")), ids=lambda file: file.stem)
def test_rules_and_alerts_do_what_their_tests_say(file):
    for _ in range(TRIES):
        done = promtool("test", "rules", file)
        if done.returncode == 0:
            break
    assert done.returncode == 0, done.stdout + done.stderr
