"""A real Prometheus: reads the configuration that ships, scrapes a running Farebox, answers every documented query."""

import asyncio
import contextlib
import json
import re
import shutil
import socket
import subprocess
from decimal import Decimal

import pytest
import yaml
from support import ROOT, unavailable

CONFIG = ROOT / "deploy/prometheus/prometheus.yml"
DASHBOARD = ROOT / "deploy/grafana/farebox.json"
VARIABLES = {"$__rate_interval": "1m", "$__interval": "1m", "$team": ".*"}


def program(name):
    return shutil.which(name) or unavailable(f"the metrics' tests need {name}: apt-get install prometheus")


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.asynccontextmanager
async def prometheus(folder, target):
    """Prometheus with the configuration that ships, but scraping `target` twice a second; hands out its URL."""
    told = yaml.safe_load(CONFIG.read_text())
    told["global"] |= {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"}
    told["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(told))
    address = f"127.0.0.1:{free_port()}"
    with (folder / "prometheus.log").open("wb") as log:
        child = await asyncio.create_subprocess_exec(
            program("prometheus"), f"--config.file={file}", f"--storage.tsdb.path={folder}/tsdb",
            f"--web.listen-address={address}", stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield f"http://{address}"
    finally:
        child.terminate()
        await child.wait()


async def value(http, url, query):
    """An instant query's first value; None while there is none, or while Prometheus starts."""
    with contextlib.suppress(OSError):
        async with http.get(
            f"{url}/api/v1/query", params={"query": query}, headers={"Accept-Encoding": "identity"}
        ) as reply:
            told = await reply.json(content_type=None) if reply.status in {200, 400, 422} else None
        if told is not None:
            assert told["status"] == "success", (query, told)
            return told["data"]["result"][0]["value"][1] if told["data"]["result"] else None
    return None


def documented():
    """Every PromQL example of docs/metrics.md."""
    text = (ROOT / "docs/metrics.md").read_text()
    return [
        line for block in re.findall(r"```promql\n(.*?)```", text, re.DOTALL) for line in block.splitlines() if line
    ]


def shown():
    """Every query of the dashboard, with its variables filled in."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            query = target["expr"]
            for name, filled in VARIABLES.items():
                query = query.replace(name, filled)
            yield query


def test_promtool_accepts_the_configuration():
    done = subprocess.run([program("promtool"), "check", "config", CONFIG], capture_output=True, text=True, check=False)
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
        # A week of these counters lies in the last second, which is what a new series looks like to the dashboard.
        grown = next(query for query in shown() if query.startswith("clamp_min(sum by (currency) (farebox_cost_total"))
        assert round(Decimal(await value(seen.http, url, grown)) * 10**9) == spent
        for query in (*documented(), *shown()):
            await value(seen.http, url, query)


def test_there_are_queries_to_try():
    if not documented():
        pytest.fail("docs/metrics.md has no PromQL")
    assert len(list(shown())) > 30
