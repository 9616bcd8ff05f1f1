"""What `server.workers: 2` serves on two processors, beside one process on one.

    workers.py [--rounds 5] [--seconds 4] [--json]

Both have everything on, as in run.py, and are loaded in turn, round after round. The vendor (nginx) and the loader (wrk) need
processors too: where there are only two they take of the second what they need, so the processor time of a request is told
beside the rates, theirs as well. Exit codes as those of run.py.
"""

import argparse
import json
import os
import resource
import statistics
import sys
from pathlib import Path

import vendor
import yaml
from run import (
    OURS,
    PLAIN,
    Target,
    Wrong,
    configuration,
    cores,
    launch,
    on,
    processor_us,
    script,
    vendor_for,
    wait_ready,
    wrk,
)

CONNECTIONS = 32  # for each process


def family(pid):
    """A process and its children."""
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def started(stack, folder, upstream, workers, where):
    folder.mkdir()
    config = configuration(folder, upstream, upstream)
    file, log, port = folder / "farebox.yaml", folder / "farebox.log", config["server"]["port"]
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    command = on(where, sys.executable, "-m", "router", "serve", "--config", file, "--workers", workers)
    child = launch(stack, command, log, cwd=folder, env=OURS)
    wait_ready(child, port, log)
    return Target(f"{workers} of them", port, port, child.pid, routed=True)


def loader_us():
    """The processor time of every loader that has ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) * 1e6


def round_of(target, processes, nginx, file, seconds):
    """Requests a second, and processor time for each: Farebox's, and that of vendor and loader."""
    ours, theirs = [sum(map(processor_us, pids)) for pids in (family(target.pid), family(nginx))]
    before = loader_us()
    load = wrk(",".join(map(str, sorted(set(cores())))), target, "plain", file, CONNECTIONS * processes, seconds)
    return {
        "rps": load["rps"],
        "us": (sum(map(processor_us, family(target.pid))) - ours) / load["requests"],
        "others_us": (sum(map(processor_us, family(nginx))) - theirs + loader_us() - before) / load["requests"],
    }


def measure(rounds, seconds):
    """{processes: medians}, and how the two compare."""
    first, second = cores()
    if first == second:
        raise Wrong("there is only one processor")
    both = f"{first},{second}"
    with vendor_for("workers", both) as (stack, folder, nginx, upstream):
        file = script(folder, "plain", PLAIN)
        targets = {
            1: started(stack, folder / "one", upstream, 1, first),
            2: started(stack, folder / "two", upstream, 2, both),
        }
        found = {processes: [] for processes in targets}
        for processes, target in targets.items():
            round_of(target, processes, nginx.pid, file, 1)
        for _ in range(rounds):
            for processes, target in targets.items():
                found[processes].append(round_of(target, processes, nginx.pid, file, seconds))
    out = {
        processes: {name: statistics.median(one[name] for one in each) for name in each[0]}
        for processes, each in found.items()
    }
    pairs = list(zip(found[1], found[2], strict=True))
    return {
        "one": out[1],
        "two": out[2],
        "times": statistics.median(two["rps"] / one["rps"] for one, two in pairs),
        "times_by_processor_time": statistics.median(2 * one["us"] / two["us"] for one, two in pairs),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args()
    if missing := vendor.missing():
        print(f"not installed: {', '.join(missing)}\n{vendor.NEEDED}", file=sys.stderr)
        return 2
    try:
        found = measure(told.rounds, told.seconds)
    except Wrong as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 1
    if told.json:
        print(json.dumps(found))
        return 0
    for name in ("one", "two"):
        each = found[name]
        print(
            f"{name:4} {each['rps']:8,.0f} requests/s {each['us']:6.0f} us each; "
            f"vendor and loader {each['others_us']:.0f} us"
        )
    print(
        f"two serve {found['times']:.2f} times as many; by processor time they could serve "
        f"{found['times_by_processor_time']:.2f} times as many"
    )
    return 0


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
