"""A real Prometheus: reads the configuration that ships, scrapes a running Farebox, answers every documented query."""

import asyncio
import subprocess
from decimal import Decimal

import pytest
from watching import CONFIG, documented, program, prometheus, promtool, shown, value


def test_promtool_accepts_the_configuration():
    done = promtool("check", "config", CONFIG)
    assert done.returncode == 0, done.stdout + done.stderr


async def test_promtool_finds_nothing_to_complain_of_in_a_scrape(seen):
    async with seen.http.get(seen.url + "/metrics") as reply:
        text = await reply.read()
    done = subprocess.run(
        [program("promtool"), "check", "metrics"], input=text, capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b""), done


async def test_what_prometheus_adds_up_is_what_the_ledger_holds(seen, tmp_path):
    rows = await seen.rows()
    spent = sum(row["cost"] for row in rows)
    assert spent > 0
    async with prometheus(tmp_path, seen.url.removeprefix("http://")) as url:
        async with asyncio.timeout(60):
            while (found := await value(seen.http, url, "sum(farebox_cost_total)")) is None:
                await asyncio.sleep(0.1)
        assert round(Decimal(found) * 10**9) == spent
        tokens = sum(row[name] or 0 for row in rows for name in ("input_fresh", "cache_read", "output_text"))
        assert Decimal(await value(seen.http, url, 'sum(farebox_tokens_total{kind!="reasoning"})')) == tokens
        assert Decimal(await value(seen.http, url, "sum(farebox_requests_total)")) == sum(row["final"] for row in rows)
        yuan = sum(row["vendor_cost"] for row in rows if row["vendor_currency"] == "CNY")
        assert (
            round(Decimal(await value(seen.http, url, 'sum(farebox_vendor_cost_total{currency="CNY"})')) * 10**9)
            == yuan
        )
        # A day of these counters lies in the last second, which is what a new series looks like to a dashboard.
        grown = next(one.expr for one in shown() if one.where == "farebox-spend: By team")
        assert sum([round(Decimal(await value(seen.http, url, f"sum({grown})")) * 10**9)]) == spent
        for query in documented():
            await value(seen.http, url, query)


def test_there_are_queries_to_try():
    if not documented():
        pytest.fail("docs/metrics.md has no PromQL")
    assert len(list(shown())) > 60
