"""Replicas behind the balancer of deploy/compose.yaml, stopped and started again one after the other under load: how many requests failed?

    python tests/bench/rolling.py [--rate 150] [--times 6] [--store URL --accounts URL] [--json]

The loader is takeover.py's: requests leave on a timetable whatever has become of those before them, a quarter of them streams, and a
tenth on connections of their own. A replica is told to end as Compose and Kubernetes do, by SIGTERM; it serves for `server.notice`,
drains, ends, and another process takes its place. Without --store (an empty PostgreSQL database) each has a ledger of its own: it
is the way to them that is tried. Needs nginx. At the end there must be a row for each answer.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import balancer
from crowd import child
from steady import percentile
from support import FareboxProcess, small_config
from takeover import COST, listens, load

NOTICE = "5s"  # as deploy/compose.yaml has it
TAKER = Path(__file__).with_name("takeover.py")


def replica(folder, port, vendor_port, args):
    """One that is not started yet."""
    folder.mkdir(exist_ok=True)
    config = small_config(folder, f"http://127.0.0.1:{vendor_port}/v1")
    config["server"] |= {"port": port, "notice": NOTICE}
    config["teams"]["search"]["budgets"] = [{"limit": 1_000_000, "per": "total"}]
    config |= {name: url for name, url in (("store", args.store), ("accounts", args.accounts)) if url}
    return FareboxProcess(config, folder)


def costs(store, serving):
    """Of every row of the store that is shared, or of all that there are."""
    if not store:
        return [row["cost"] for one in serving for row in one.rows()]
    import psycopg  # noqa: PLC0415 (only a shared store needs it)

    with psycopg.connect(store) as connection:
        return [cost for (cost,) in connection.execute("SELECT cost FROM ledger")]


async def main(args):
    found = {"results": Counter(), "took": []}
    vendor_port, port, health, *ports = (balancer.free_port() for _ in range(5))
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        stack.enter_context(child(str(TAKER), "--vendor", vendor_port))
        await listens(vendor_port)
        serving = [replica(folder / str(place), place, vendor_port, args) for place in ports]
        for one in serving:
            await asyncio.to_thread(stack.enter_context, one)
        stack.enter_context(balancer.started(folder, balancer.written(folder, port, health, ports)))
        await listens(port)
        going = asyncio.Event()
        going.set()
        loading = asyncio.create_task(load(port, args.rate, going, found))
        await asyncio.sleep(1)
        codes = Counter()
        for turn in range(args.times):
            place = turn % len(serving)
            serving[place].child.terminate()
            codes[await asyncio.to_thread(serving[place].child.wait, 90)] += 1
            serving[place] = replica(folder / str(ports[place]), ports[place], vendor_port, args)
            await asyncio.to_thread(stack.enter_context, serving[place])
            await asyncio.sleep(3)  # the balancer tries again who has refused, after two
        going.clear()
        await loading
        charged = await asyncio.to_thread(costs, args.store, serving)
    return {
        "restarts": args.times, "exit_codes": dict(codes), "asked": found["asked"], "rate": round(args.rate),
        "results": dict(found["results"]), "failed": found["asked"] - found["results"]["200"],
        "each_answer_has_its_row": charged == [COST] * found["results"]["200"],
        "p50_ms": round(percentile(found["took"], 0.5) * 1000), "p99_ms": round(percentile(found["took"], 0.99) * 1000),
        "slowest_ms": round(max(found["took"]) * 1000),
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=150)
    parser.add_argument("--times", type=int, default=6)
    parser.add_argument("--store", default="", help="a store that both share")
    parser.add_argument("--accounts", default="", help="and where their leases are")
    parser.add_argument("--json", action="store_true", help="one line, for machines")
    asked = parser.parse_args()
    if balancer.version() is None:
        sys.exit(2)
    with contextlib.suppress(ImportError):
        import uvloop

        uvloop.install()
    told = asyncio.run(main(asked))
    print(json.dumps(told) if asked.json else yaml.safe_dump(told, sort_keys=False))
    sys.exit(told["failed"] != 0)
