"""What a request costs where there is much of everything: 10,000 teams, 1,000 models, a ledger of millions of rows.

    flat.py [--rows 5000000] [--rounds 5] [--json]

One Farebox has 10 teams, 10 models and an empty ledger; each of the others has one of these many times over. Each team has
a key and a budget of its own, and requests come from all of them at random. All are loaded in turn, round after round; what
counts is the processor time of a request beside that of the first. Exit codes as those of run.py.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys

import rows
import vendor
import yaml
from run import (
    DONE,
    OURS,
    PLAIN,
    Target,
    Wrong,
    configuration,
    cores,
    launch,
    on,
    vendor_for,
    wait_ready,
    wrk,
)

FEW = 10
WAIT_S = 180.0


def configured(folder, upstream, teams, models):
    told = configuration(folder, upstream, upstream)
    one = told["models"]["small"]
    told["models"] |= {
        f"model-{i}": {**one, "price": {"currency": "USD", "input": 1 + i, "output": 2}} for i in range(models)
    }
    team = told["teams"].pop("bench")
    told["teams"] = {f"team-{i}": {**team, "keys": [{"name": "app", "value": key(i)}]} for i in range(teams)}
    return told  # fmt: skip


def key(number):
    return f"fb-bench-team-{number:06d}"


def script(folder, teams):
    """Requests by all teams, at random."""
    file = folder / "load.lua"
    file.write_text(f"""wrk.method = "POST"
wrk.body = {json.dumps(PLAIN)}
wrk.headers["Content-Type"] = "application/json"
request = function()
  wrk.headers["Authorization"] = string.format("Bearer fb-bench-team-%06d", math.random(0, {teams - 1}))
  return wrk.format()
end
""" + DONE)  # fmt: skip
    return file


def started(stack, folder, upstream, core, teams=FEW, models=FEW, ledger=0):
    """(target, its load)."""
    folder.mkdir()
    config = configured(folder, upstream, teams, models)
    if ledger:
        with contextlib.redirect_stdout(sys.stderr):
            rows.make(folder / "farebox.db", ledger)
    file, log, port = folder / "farebox.yaml", folder / "farebox.log", config["server"]["port"]
    file.write_text(yaml.dump(config, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False))
    command = on(core, sys.executable, "-m", "router", "serve", "--config", file)
    child = launch(stack, command, log, cwd=folder, env=OURS)
    wait_ready(child, port, log, WAIT_S)
    return Target(folder.name, port, port, child.pid, routed=True), script(folder, teams)


def measure(ledger_rows, rounds, seconds=3):
    """{what: {cpu_us, ratio, ready_us}}, the first of them with few of everything."""
    proxies, others = cores()
    with vendor_for("flat", others) as (stack, folder, _, upstream):
        wanted = {
            f"{FEW} teams, {FEW} models, no rows": {},
            "10,000 teams": {"teams": 10_000},
            "1,000 models": {"models": 1_000},
            f"{ledger_rows:,} rows": {"ledger": ledger_rows},
        }
        targets = {
            what: started(stack, folder / f"t{i}", upstream, proxies, **more)
            for i, (what, more) in enumerate(wanted.items())
        }
        found = {what: [] for what in targets}
        for target, file in targets.values():
            wrk(others, target, "plain", file, 32, 2)
        for _ in range(rounds):
            for what, (target, file) in targets.items():
                found[what].append(wrk(others, target, "plain", file, 32, seconds)["cpu_us"])
        first = next(iter(found.values()))
        return {
            what: {
                "cpu_us": statistics.median(each),
                "ratio": statistics.median(a / b for a, b in zip(each, first, strict=True)),
            }
            for what, each in found.items()
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args()
    if missing := vendor.missing():
        print(f"not installed: {', '.join(missing)}\n{vendor.NEEDED}", file=sys.stderr)
        return 2
    os.sched_setaffinity(0, {cores()[1]})
    try:
        found = measure(told.rows, told.rounds)
    except Wrong as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 1
    if told.json:
        print(json.dumps(found))
        return 0
    for what, one in found.items():
        print(f"{what:34} {one['cpu_us']:6.0f} us a request   {one['ratio']:.2f} times")
    return 0


if __name__ == "__main__":
    sys.exit(main())
