"""Millions of requests through one Farebox, and whether it is the same at the end: memory, files, threads, asyncio's tasks.

    soak.py [--requests 2000000] [--minutes N] [--round 20] [--json]

The vendor is nginx. In each round wrk asks for plain answers (32 connections) and streams of 203 events (4 connections)
as fast as they come, while a client of every trouble goes on beside it: unknown keys and models, bodies that are no JSON, a
vendor that is ill, answers and streams whose client leaves before they come or in the middle, scrapes, and a configuration
that is changed and reloaded each round. Then all is quiet for a moment, and what the process has is counted.

It passes (exit 0) if the last half is flat: no more files, threads or tasks in its last quarter than there were in its first,
and memory (the process's, and the number of Python's blocks) that grows by less than 1 % over it; if every request of wrk was answered, and if the ledger has a row for each call
and nothing left open. Exit 1: it is not, or something answered wrongly; 2: a tool is missing.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import os
import random
import signal
import sqlite3
import statistics
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import vendor
import yaml
from run import (
    BURST,
    KEY,
    OURS,
    PATH,
    PLAIN,
    Target,
    Wrong,
    configuration,
    cores,
    launch,
    machine,
    metric,
    on,
    script,
    vendor_for,
    wait_ready,
    wrk,
)

QUIET_S = 4.0  # after a round: kept-alive connections of its troubles end, rows are written
ODD_AT_ONCE = 8
GROWTH = 0.01  # of memory, over the last half
MESSAGES = [{"role": "user", "content": "hello there"}]


def serve(config, told):
    """Farebox as `farebox serve` starts it, and now and then the numbers of its tasks and of Python's blocks of memory in a file:
    blocks that are in use, so the collector goes first.
    """
    from router import app, cli  # noqa: PLC0415 (only the child needs it)

    start = app.Farebox.start

    async def counting(told):
        while True:
            gc.collect()
            Path(f"{told}.new").write_text(f"{len(asyncio.all_tasks())} {sys.getallocatedblocks()}")
            Path(f"{told}.new").rename(told)
            await asyncio.sleep(QUIET_S / 2)

    async def begin(self, *args, **more):
        await start(self, *args, **more)
        self._own(counting(told))

    app.Farebox.start = begin
    cli.main(["serve", "--config", config])


def configured(folder, upstream):
    """That of the other benchmarks, and vendors for what goes wrong."""
    told = configuration(folder, upstream, upstream)
    price = {"currency": "USD", "input": 1, "output": 2}
    for name in ("calm", "late", "ill"):
        url = f"http://127.0.0.1:{upstream}/{name}/v1"
        told["vendors"][name] = {"dialect": "openai", "base_url": url, "api_key": "sk-bench"}
        told["models"][name] = {"vendor": name, "tier": "cheap", "quality": 0.8, "price": price}
    told["routes"]["healing"] = {"models": ["ill"], "fallback": ["small"]}
    told["teams"]["bench"]["routes"].append("healing")
    told["teams"]["bench"]["models"] += ["calm", "late", "ill", "small"]
    return told


class Troubles:
    """A client that does everything wrong, and one that leaves."""

    def __init__(self, port, seed):
        self.port, self.draw, self.seen = port, random.Random(seed), Counter()
        self.until = 0.0

    async def ask(self, body, *, key=KEY, leave_after=None, raw=None):
        """The status; or 0 if we have left after so many seconds."""
        told = raw if raw is not None else json.dumps(body).encode()
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {key}\r\nContent-Length: {len(told)}\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(head.encode() + told)
            if leave_after is None:
                answer = await asyncio.wait_for(reader.read(), 30)
                return int(answer.split(b" ", 2)[1])
            await asyncio.sleep(leave_after)
            return 0
        finally:
            writer.transport.abort()

    async def one(self):
        """One trouble: (what, what must come of it)."""
        what = self.draw.choice(
            ("key", "model", "json", "ill", "healing", "leaves an answer", "leaves a stream", "stays", "scrape")
        )
        plain = {"messages": MESSAGES, "max_tokens": 50}
        asked = {
            "key": (self.ask({**plain, "model": "auto"}, key="fb-nobody-0123456789"), (401,)),
            "model": (self.ask({**plain, "model": f"m{self.draw.random()}"}), (404,)),
            "json": (self.ask(None, raw=b'{"model": '), (400,)),
            "ill": (self.ask({**plain, "model": "ill"}), (502, 503)),
            "healing": (self.ask({**plain, "model": "healing"}), (200,)),
            "leaves an answer": (self.ask({**plain, "model": "late"}, leave_after=self.draw.random() * 0.08), (0,)),
            "leaves a stream": (
                self.ask({**plain, "model": "calm", "stream": True}, leave_after=self.draw.random() * 0.25),
                (0,),
            ),
            "stays": (self.ask({**plain, "model": "calm", "stream": True}), (200,)),
            "scrape": (self.scrape(), (200,)),
        }
        for other, (work, _) in asked.items():
            if other != what:
                work.close()
        work, allowed = asked[what]
        status = await work
        if status not in allowed:
            raise Wrong(f"{what}: {status}")
        self.seen[what] += 1

    async def scrape(self):
        await asyncio.to_thread(metric, self.port, "farebox_requests_total")
        return 200

    async def go_on(self):
        while time.monotonic() < self.until:
            await self.one()

    async def during(self, seconds):
        self.until = time.monotonic() + seconds
        await asyncio.gather(*(self.go_on() for _ in range(ODD_AT_ONCE)))


def counted(pid, told):
    """What the process has now."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    tasks, blocks = map(int, Path(told).read_text().split())
    return {
        "memory_mb": int(status["VmRSS"].split()[0]) / 1024,
        "files": sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()),
        "threads": int(status["Threads"]),
        "tasks": tasks,
        "blocks": blocks,
    }


def one_round(target, core, scripts, troubles, seconds, reload):
    """Requests that wrk saw answered."""
    with ThreadPoolExecutor(3) as pool:
        loads = [
            pool.submit(wrk, core, target, kind, scripts[kind], connections, seconds)
            for kind, connections in (("plain", 32), ("burst", 4))
        ]
        odd = pool.submit(asyncio.run, troubles.during(seconds))
        time.sleep(seconds / 2)
        reload()
        odd.result()
        return [load.result()["requests"] for load in loads]


def soak(args):
    proxies, others = cores()
    os.sched_setaffinity(0, {others})
    with vendor_for("soak", others) as (stack, folder, _, upstream):
        config, file = configured(folder, upstream), folder / "farebox.yaml"
        file.write_text(yaml.safe_dump(config, sort_keys=False))
        log, tasks, port = folder / "farebox.log", folder / "tasks", config["server"]["port"]
        command = on(proxies, sys.executable, __file__, "--serve", file, tasks)
        child = launch(stack, command, log, cwd=folder, env=OURS)
        wait_ready(child, port, log)
        target = Target("farebox", port, port, child.pid, routed=True)
        scripts = {"plain": script(folder, "plain", PLAIN), "burst": script(folder, "burst", BURST)}
        troubles, samples, made, reloads = Troubles(port, 1), [], Counter(), 0

        def reload():
            nonlocal reloads
            reloads += 1
            config["teams"]["bench"]["budgets"][0]["limit"] = 1_000_000 + reloads % 2
            new = file.with_suffix(
                ".new"
            )  # never half of it: what can be read of a file that is being written may be valid
            new.write_text(yaml.safe_dump(config, sort_keys=False))
            new.rename(file)
            child.send_signal(signal.SIGHUP)

        began = time.monotonic()
        last = began + args.minutes * 60 if args.minutes else float("inf")
        while sum(made.values()) + troubles.seen.total() < args.requests and time.monotonic() < last:
            plain, burst = one_round(target, others, scripts, troubles, args.round, reload)
            made["plain"] += plain
            made["streams"] += burst
            time.sleep(QUIET_S)
            told = {"at_s": time.monotonic() - began, "requests": sum(made.values()) + troubles.seen.total()}
            samples.append({**told, **counted(child.pid, tasks)})
            print(
                "{at_s:6.0f} s {requests:9,d} requests {memory_mb:7.1f} MB {files:4d} files {threads:3d} threads "
                "{tasks:3d} tasks {blocks:9,d} blocks".format(**samples[-1]), file=sys.stderr, flush=True,
            )  # fmt: skip
        reloaded = metric(port, "farebox_config_reloads_total")
        with contextlib.closing(sqlite3.connect(folder / "farebox.db")) as ledger:
            rows = dict(ledger.execute("SELECT outcome, count(*) FROM ledger GROUP BY outcome").fetchall())
            left_open = ledger.execute("SELECT count(*) FROM attempts").fetchone()[0]
        return {
            "machine": machine(), "requests": dict(made), "troubles": dict(troubles.seen), "reloads": reloaded,
            "rows": rows, "left_open": left_open, "samples": samples, "bugs": log.read_text().count("which is a bug"),
        }  # fmt: skip


def judged(found):
    """(what, at the beginning of the last half, at its end, whether it is flat)."""
    half = found["samples"][len(found["samples"]) // 2 :]
    part = max(1, len(half) // 4)
    out = []
    for name in ("memory_mb", "blocks", "files", "threads", "tasks"):
        first, last = ([one[name] for one in few] for few in (half[:part], half[-part:]))
        most = statistics.median(first) * (1 + GROWTH) if name in {"memory_mb", "blocks"} else max(first)
        out.append((name, statistics.median(first), statistics.median(last), statistics.median(last) <= most))
    served = sum(found["requests"].values())
    out.append(("rows with an answer", served, found["rows"].get("ok", 0), found["rows"].get("ok", 0) >= served))
    out.append(("attempts left open", 0, found["left_open"], not found["left_open"]))
    out.append(("bugs in the log", 0, found["bugs"], not found["bugs"]))
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--requests", type=int, default=2_000_000)
    parser.add_argument("--round", type=int, default=20, help="seconds of each round")
    parser.add_argument("--minutes", type=float, help="stop then, however many it were")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(*args.serve)
        return 0
    if missing := vendor.missing():
        print(f"not installed: {', '.join(missing)}\n{vendor.NEEDED}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        found = soak(args)
    except Wrong as error:
        print(f"wrong: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(found))
    told = judged(found)
    if not args.json:
        print(f"requests {found['requests']}, troubles {found['troubles']}, reloads {found['reloads']:.0f}")
        print(f"rows by what became of them {found['rows']}")
        for name, first, last, flat in told:
            print(f"{name:22} {first:>14,.1f} {last:>14,.1f}   {'flat' if flat else 'NOT FLAT'}")
    return 0 if all(flat for *_, flat in told) else 1


if __name__ == "__main__":
    sys.exit(main())
