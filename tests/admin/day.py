"""A scripted day of traffic, served by a real Farebox whose clock is pushed through it, and scraped on the way."""

import random
import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from traffic import BATCH, SEARCH, SUPPORT

from router.clock import SystemClock

HOURS = 27
STEP_S = 300
_LINE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
BUSY = (
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    2,
    3,
    4,
    4,
    3,
    3,
    4,
    4,
    4,
    3,
    2,
    2,
    1,
    1,
    1,
    1,
)  # requests each step, by the hour of the script


class DayClock(SystemClock):
    """The system's, but `behind` by so many seconds; pushing it catches up."""

    def __init__(self, behind):
        self.behind = behind

    def now(self):
        return super().now() - round(self.behind * 1_000_000)

    def seconds(self):
        return super().seconds() - self.behind

    def push(self, seconds):
        self.behind -= seconds


def config(demo, begins):
    """The demo's, with a price that changes in the middle of the day, one that has not begun, and a free quota."""
    middle = datetime.fromtimestamp(begins + HOURS * 1800, UTC).isoformat(timespec="minutes")
    demo["models"]["qwen-plus"]["price"] = [
        {"currency": "CNY", "input": 0.8, "output": 2, "from": "2024-01-01"},
        {"currency": "CNY", "input": 0.4, "output": 1, "from": middle},
    ]
    demo["models"]["doubao-pro-32k"]["price"] = [
        {"currency": "CNY", "input": 0.8, "output": 2, "from": "2099-01-01"},
    ]
    demo["models"]["gpt-4o-mini"]["price"] = {
        "currency": "USD", "input": 0.15, "cache_read": 0.075, "cache_write": 0.15, "output": 0.6, "free_quota": {"tokens": 5000, "per": "day"},
    }  # fmt: skip
    demo["teams"]["search"]["keys"][0]["budgets"] = [{"limit": 4, "per": "day"}]
    demo["teams"]["batch"]["budgets"] = [{"limit": "0.0001", "per": "hour"}]
    return demo


def asked(chance, hour):
    """One request of the script: its key, route, text and output cap."""
    kind = chance.random()
    out = chance.randrange(20, 400)
    if kind < 0.35:
        return SEARCH, "auto", f"Tell me about queues. out={out} cached=200 in={chance.randrange(300, 2000)}", None
    if kind < 0.5:
        return SEARCH, "best", f"Think about prices. out={out} reasoning={out // 2}", None
    if kind < 0.6:
        return SEARCH, "anthropic/claude-sonnet-4-5", f"Keep this. written=300 in=900 out={out}", None
    if kind < 0.8:
        return SUPPORT, "auto", f"Why is my bill so high? out={out}", None
    if kind < 0.84:
        return SUPPORT, "auto", f"Nothing is reported here. nousage=1 out={out}", None
    if kind < 0.88:
        return SEARCH, "auto", f"The first vendor fails. status=503 fail=1 id={chance.random()} out={out}", None
    if kind < 0.9:
        return SEARCH, "best", f"A vendor that keeps to no cap. ignorecap=1 out={5 * out}", 20
    if kind < 0.93:
        return BATCH, "bulk", "More than this budget can ever pay for. " * 500, None
    return BATCH, "bulk", f"Summarise this. out={out * (1 + (hour == 12))}", None


@dataclass
class Day:
    """What was seen on the way."""

    instance: str
    text: list[str] = field(default_factory=list)  # OpenMetrics, each sample with its time
    ledger: dict[int, dict[str, int]] = field(default_factory=dict)  # by the time of a scrape: nano-units per team

    async def scrape(self, on, at):
        async with on.http.get(on.url + "/metrics") as reply:
            text = await reply.text()
        told = f'job="farebox",instance="{self.instance}"'
        for name, labels, number in _LINE.findall(text):
            self.text.append(f"{name}{{{labels + ',' if labels else ''}{told}}} {number} {at}\n")
        self.text.append(f"up{{{told}}} 1 {at}\n")
        spent = self.ledger[at] = {}
        for row in await on.rows():
            spent[row["team"]] = spent.get(row["team"], 0) + row["cost"]


async def lived(on, clock, begins, ends):
    """Serve the day, scraping every five minutes, and every minute in its last quarter of an hour; it ends now."""
    day, chance = Day(on.url.removeprefix("http://")), random.Random(7)
    steps = [*range(begins, ends - 900, STEP_S), *range(ends - 900, ends + 1, 60)]
    for at in steps:
        clock.push(at - (time.time() - clock.behind))
        hour = (at - begins) // 3600 % 24
        for _ in range(BUSY[hour]):
            key, route, text, cap = asked(chance, hour)
            body = {"model": route, "messages": [{"role": "user", "content": text}]}
            if cap:
                body["max_tokens"] = cap
            async with on.post(key=key, json=body) as reply:
                assert reply.status in {200, 402}, await reply.text()
                await reply.read()
        await on.farebox.settlement.drain(10)
        await day.scrape(on, at)
    clock.behind = 0.0
    return day
