"""A real Prometheus, told to watch what a test runs, and the queries that ship: of dashboards, rules and alerts."""

import asyncio
import contextlib
import json
import re
import shutil
import socket
import subprocess
from typing import NamedTuple

import yaml
from support import ROOT, unavailable

DEPLOY = ROOT / "deploy/prometheus"
CONFIG = DEPLOY / "prometheus.yml"
DASHBOARDS = sorted((ROOT / "deploy/grafana").glob("*.json"))
VARIABLES = {"$__rate_interval": "20m", "$__interval": "5m", "$team": ".*", "$vendor": ".*"}


def program(name):
    return shutil.which(name) or unavailable(f"the metrics' tests need {name}: apt-get install prometheus")


def promtool(*arguments, **how):
    return subprocess.run(
        [program("promtool"), *map(str, arguments)], capture_output=True, text=True, check=False, timeout=500, **how
    )


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.asynccontextmanager
async def prometheus(folder, target, *others):
    """Prometheus with the configuration and the rules that ship, but scraping `target` (or several) twice a second, and
    `others` as jobs of their own; hands out its URL.
    """
    told = yaml.safe_load(CONFIG.read_text())
    told["global"] |= {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"}
    told["rule_files"] = [str(DEPLOY / pattern) for pattern in told["rule_files"]]
    told["scrape_configs"][0]["static_configs"][0]["targets"] = [target] if isinstance(target, str) else target
    told["scrape_configs"] += [
        {"job_name": f"other-{i}", "static_configs": [{"targets": [other]}]} for i, other in enumerate(others)
    ]
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(told))
    address = f"127.0.0.1:{free_port()}"
    with (folder / "prometheus.log").open("ab") as log:
        child = await asyncio.create_subprocess_exec(
            program("prometheus"), f"--config.file={file}", f"--storage.tsdb.path={folder}/tsdb",
            f"--web.listen-address={address}", "--storage.tsdb.allow-overlapping-blocks", stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield f"http://{address}"
    finally:
        child.terminate()
        await child.wait()


async def series(http, url, query, **span):
    """What a query finds, over `start`, `end` and `step` if they are told; None while Prometheus starts."""
    path = "query_range" if "start" in span else "query"
    with contextlib.suppress(OSError):
        async with http.get(
            f"{url}/api/v1/{path}", params={"query": query, **span}, headers={"Accept-Encoding": "identity"}
        ) as reply:
            told = await reply.json(content_type=None) if reply.status in {200, 400, 422} else None
        if told is not None:
            assert told["status"] == "success", (query, told)
            return told["data"]["result"]
    return None


async def value(http, url, query, **span):
    """An instant query's first value; None while there is none."""
    found = await series(http, url, query, **span)
    return found[0]["value"][1] if found else None


async def within(seconds, ask):
    """The first answer that is one."""
    async with asyncio.timeout(seconds):
        while (found := await ask()) in (None, []):
            await asyncio.sleep(0.1)
    return found


class Shown(NamedTuple):
    """A query of a panel."""

    where: str
    expr: str
    since: str  # where its range begins, if it has one of its own


def filled(query):
    for name, text in VARIABLES.items():
        query = query.replace(name, text)
    return query


def shown():
    """Every query of the dashboards, with their variables filled in."""
    for file in DASHBOARDS:
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel.get("targets", ()):
                yield Shown(f"{file.stem}: {panel['title']}", filled(target["expr"]), panel.get("timeFrom", ""))


def documented():
    """Every PromQL example of docs/metrics.md."""
    text = (ROOT / "docs/metrics.md").read_text()
    return [
        line for block in re.findall(r"```promql\n(.*?)```", text, re.DOTALL) for line in block.splitlines() if line
    ]


def rules(kind):
    """(name, expression) of every rule that ships: `record` or `alert`."""
    for file in sorted((DEPLOY / "rules").glob("*.yml")):
        for group in yaml.safe_load(file.read_text())["groups"]:
            yield from ((rule[kind], rule["expr"]) for rule in group["rules"] if kind in rule)


def without_thresholds(query):
    """The same without what keeps it silent: its comparisons become differences, which are there when both sides are."""
    query = re.sub(r" or sum by \(\w+\) \(\w+\{[^}]*\} unless .*", "", query)
    return re.sub(r" (?:>|<|==|!=) ", " - ", query)
