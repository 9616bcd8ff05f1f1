"""`make bench`: what one core of Farebox does, beside a bare upstream and a bare pass-through. See docs/performance.md.

    run.py [--quick] [--json]

The proxies have the first processor for themselves; the vendor (nginx), the loaders and this program share the second.
Targets are loaded in turn, round after round, so that the drift of a busy machine falls on all alike, and each figure
is the median of its rounds. Exit 0: measured; 1: something answered wrongly, so the figures mean nothing; 2: a tool is
missing.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import steady
import uvloop
import vendor
import yaml
from texts import BIG, ORDINARY

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
KEY = "fb-bench-key-0123456789"
OURS = {**os.environ, "PYTHONPATH": str(ROOT)}  # what is measured is the tree that this file is in
PATH = "/v1/chat/completions"
PLAIN = json.dumps({"model": "auto", "max_tokens": 200, "messages": ORDINARY})
SLOW = json.dumps({"model": "slow", "max_tokens": 200, "messages": ORDINARY})
FIRST = json.dumps({"model": "slow", "max_tokens": 200, "stream": True, "messages": ORDINARY})
BURST = json.dumps({"model": "burst", "stream": True, "messages": [{"role": "user", "content": "count words"}]})
RATE = 1000
SLOW_MS = 50
FLAT = 1.1  # times what it costs with few of them
DONE = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("\\nfigures %d %d %d %d %d\\n", summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
"""


class Wrong(Exception):
    """Something did not answer as it must."""


@dataclass
class Size:
    """How long a run is."""

    rounds: int
    wrk_s: int
    steady_s: int
    starts: int
    gaps: int
    probes: int
    streams: int  # open at once
    rows: int  # of the large ledger


FULL = Size(rounds=5, wrk_s=3, steady_s=4, starts=5, gaps=7, probes=3, streams=10_000, rows=5_000_000)
QUICK = Size(rounds=1, wrk_s=2, steady_s=3, starts=2, gaps=2, probes=1, streams=500, rows=20_000)


@dataclass
class Target:
    """Something that is loaded: where, and how its paths are called."""

    name: str
    port: int
    slow_port: int  # the same, or where the slow vendor is without anything before it
    pid: int
    routed: bool = False  # one path, and the model in the body says which vendor: Farebox
    answered: int = 0  # requests that a loader saw answered

    def url(self, kind):
        return f"http://127.0.0.1:{self.slow_port if kind == 'slow' else self.port}{self.path(kind)}"

    def path(self, kind):
        return PATH if self.routed else f"/{kind}{PATH}"


def say(text):
    print(text, file=sys.stderr, flush=True)


def cores():
    """(the proxies' processor, everything else's)."""
    found = sorted(os.sched_getaffinity(0))
    return (found[0], found[1]) if len(found) > 1 else (found[0], found[0])


def on(core, *command):
    return ["taskset", "-c", str(core), *map(str, command)]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def launch(stack, command, log, **more):
    """A child that ends with the stack, by its own pid."""
    out = stack.enter_context(log.open("ab"))
    child = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, **more)

    def end():
        child.terminate()
        try:
            child.wait(15)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    stack.callback(end)
    return child


@contextlib.contextmanager
def vendor_for(name, core):
    """nginx as the vendor, on a processor or several: (a stack that ends before it, a folder, it, its port)."""
    with contextlib.ExitStack() as stack:
        place = tempfile.TemporaryDirectory(prefix=f"farebox-{name}-", ignore_cleanup_errors=True)
        folder = Path(stack.enter_context(place))
        folder.chmod(0o755)
        port, log = free_port(), folder / "nginx.log"
        command = on(core, "nginx", "-e", folder / "nginx.err", "-c", vendor.configuration(folder, port))
        child = launch(stack, command, log)
        wait_ready(child, port, log)
        yield stack, folder, child, port


def wait_ready(child, port, log, within=20.0):
    """Seconds until GET /health/ready says yes."""
    began = time.perf_counter()
    while time.perf_counter() - began < within:
        if child.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as s:
            s.sendall(b"GET /health/ready HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
            if s.recv(64).split(b" ")[1:2] == [b"200"]:
                return time.perf_counter() - began
        time.sleep(0.002)
    raise Wrong(f"no readiness from {child.args}: {log.read_text()[-500:]}")


def configuration(folder, upstream, slow):
    """Every feature on: a key, counting, a route over two models of different price, a budget, a durable ledger."""
    price = {"currency": "USD", "input": 1, "output": 2}
    one = {"vendor": "plain", "tier": "cheap", "quality": 0.8, "price": price}
    return {
        "server": {"host": "127.0.0.1", "port": free_port()},
        "store": f"sqlite:///{folder}/farebox.db",
        "currency": "USD",
        "vendors": {
            name: {"dialect": "openai", "base_url": f"http://127.0.0.1:{port}/{name}/v1", "api_key": "sk-bench"}
            for name, port in (("plain", upstream), ("slow", slow), ("burst", upstream))
        },
        "models": {
            "small": one,
            "large": {
                **one,
                "tier": "flagship",
                "quality": 1.0,
                "price": {"currency": "USD", "input": 10, "output": 40},
            },
            "slow-small": {**one, "vendor": "slow"},
            "slow-large": {**one, "vendor": "slow", "tier": "flagship", "quality": 1.0},
            "burst": {**one, "vendor": "burst"},
        },
        "routes": {
            "auto": {"models": ["small", "large"], "quality": 0.7},
            "slow": {"models": ["slow-small", "slow-large"], "quality": 0.7},
        },
        "teams": {
            "bench": {
                "keys": [{"name": "bench", "value": KEY}],
                "routes": ["auto", "slow"],
                "models": ["burst"],
                "budgets": [{"limit": 1_000_000, "currency": "USD", "per": "month"}],
            }
        },
    }


def start_farebox(stack, folder, upstream, slow, core):
    """(the child, its port, seconds from start to ready)."""
    folder.mkdir()
    config = configuration(folder, upstream, slow)
    file, log, port = folder / "farebox.yaml", folder / "farebox.log", config["server"]["port"]
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    child = launch(
        stack, on(core, sys.executable, "-m", "router", "serve", "--config", file), log, cwd=folder, env=OURS
    )
    return child, port, wait_ready(child, port, log)


def measure_starts(folder, core, count):
    took = []
    for i in range(count):
        with contextlib.ExitStack() as stack:
            took.append(start_farebox(stack, folder / f"start{i}", 9, 9, core)[2])
    return took


def memory(pid):
    """Resident memory in MB: (now, at its peak)."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return tuple(int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))


def processor_us(pid):
    """The processor time that a process has used, all of its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1e6 / os.sysconf("SC_CLK_TCK")


def script(folder, name, body):
    """What wrk sends, and how it tells what it found."""
    file = folder / f"{name}.lua"
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    lines = ['wrk.method = "POST"', f"wrk.body = {json.dumps(body)}"]
    lines += [f"wrk.headers[{json.dumps(key)}] = {json.dumps(value)}" for key, value in headers.items()]
    file.write_text("\n".join(lines) + DONE)
    return file


def wrk(core, target, kind, file, connections, seconds):
    """One load: requests per second, p50 and p99 in ms, processor time per request."""
    used = processor_us(target.pid)
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s", "-s", file, target.url(kind)]
    out = subprocess.run(on(core, *command), capture_output=True, text=True, timeout=seconds + 40, check=False).stdout
    line = next((line for line in out.splitlines() if line.startswith("figures ")), None)
    if line is None:
        raise Wrong(f"wrk tells nothing of {target.name}: {out[-300:]}")
    requests, micros, p50, p99, errors = map(int, line.split()[1:])
    if errors or not requests:
        raise Wrong(f"{target.name}, {kind}: {errors} errors in {requests} requests")
    target.answered += requests
    return {
        "rps": requests / micros * 1e6,
        "p50": p50 / 1e3,
        "p99": p99 / 1e3,
        "requests": requests,
        "cpu_us": (processor_us(target.pid) - used) / requests,
    }


def post(target, kind, body):
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    with urllib.request.urlopen(urllib.request.Request(target.url(kind), body.encode(), headers), timeout=20) as answer:
        return answer.headers, answer.read()


def prove(targets):
    """Before anything is timed: does each target do what it is timed for?"""
    for target in targets:
        for kind, body in (("plain", PLAIN), ("slow", SLOW)):
            headers, answer = post(target, kind, body)
            if json.loads(answer)["usage"]["total_tokens"] != vendor.USAGE["total_tokens"]:
                raise Wrong(f"{target.name}: an unexpected answer: {answer[:200]}")
            if target.routed and "cheapest of 2" not in headers["x-farebox-reason"]:
                raise Wrong(f"the route did not choose between two models: {headers['x-farebox-reason']}")
        events = post(target, "burst", BURST)[1].count(b"data: ")
        if events != vendor.EVENTS + (not target.routed):  # only Farebox hides the usage event
            raise Wrong(f"{target.name}: {events} events instead of {vendor.EVENTS}")


def metric(port, name):
    """The sum of a counter over its labels."""
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith((name + "{", name + " ")))


def measure_throughput(targets, core, folder, size):
    """{(target, kind): rounds}, in turn."""
    found = {}
    for kind, body, connections in (("plain", PLAIN, 32), ("burst", BURST, 16)):
        file = script(folder, kind, body)
        for target in targets:
            wrk(core, target, kind, file, connections, 1)
        for i in range(size.rounds):
            say(f"  {kind} {i + 1}/{size.rounds}")
            for target in targets:
                found.setdefault((target.name, kind), []).append(wrk(core, target, kind, file, connections, size.wrk_s))
    return found


def measure_latency(targets, size, body):
    """{target: rounds of (p50, p99) in ms}, and how late the loader was."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    found, late = {}, []
    for i in range(size.rounds):
        say(f"  steady {RATE}/s {i + 1}/{size.rounds}")
        for target in targets:
            message = steady.request("POST", target.path("slow"), headers, body.encode())
            load = asyncio.run(steady.steady(target.slow_port, message, RATE, size.steady_s))
            if load.errors:
                raise Wrong(f"{target.name}: {len(load.errors)} errors, such as {load.errors[0][:200]}")
            target.answered += len(load.late)
            found.setdefault(target.name, []).append((load.percentile(0.5) * 1e3, load.percentile(0.99) * 1e3))
            late.append(steady.percentile(load.late, 0.99) * 1e3)
    return found, late


def measure_probes(target, count):
    """{text: [(largest latency of /health/live in ms: idle, during; the request's own time)]}."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    found = {}
    for _ in range(count):
        for name, text in BIG.items():
            messages = [{"role": "user", "content": text}]
            body = json.dumps({"model": "auto", "max_tokens": 200, "messages": messages}, ensure_ascii=False).encode()
            message = steady.request("POST", target.path("plain"), headers, body)
            idle, during, took = asyncio.run(steady.probe(target.port, message, "/health/live"))
            found.setdefault(name, []).append((max(idle) * 1e3, max(during) * 1e3, took * 1e3))
    return found


def measure_crowd(streams):
    """What `crowd.py` tells of streams that are open at once."""
    done = subprocess.run(
        [sys.executable, HERE / "crowd.py", "--json", "--streams", str(streams), "--burst", "100"],
        capture_output=True, text=True, timeout=900, check=False, env=OURS,
    )  # fmt: skip
    if done.returncode:
        raise Wrong(done.stderr[-500:])
    found = json.loads(done.stdout)["streams"]
    if found["whole"] != found["open"] or found["others"]:
        raise Wrong(f"of the streams that were open at once not all were whole: {found}")
    return found


def measure_gaps(core, rounds):
    done = subprocess.run(
        on(core, sys.executable, HERE / "gaps.py", rounds),
        capture_output=True, text=True, timeout=120, check=False, env=OURS,
    )  # fmt: skip
    if done.returncode:
        raise Wrong(done.stderr[-500:])
    return json.loads(done.stdout)


def measure(size):
    """Everything, as one value."""
    proxies, others = cores()
    os.sched_setaffinity(0, {others})
    uvloop.install()
    with vendor_for("bench", others) as (stack, folder, nginx, upstream):
        ports = upstream, free_port(), free_port()
        say("start to ready")
        starts = measure_starts(folder, proxies, size.starts)
        say("the longest stop of the event loop")
        gaps = measure_gaps(proxies, size.gaps)
        slow = launch(stack, on(others, sys.executable, HERE / "slow.py", ports[1], SLOW_MS), folder / "slow.log")
        wait_ready(slow, ports[1], folder / "slow.log")
        command = on(proxies, sys.executable, HERE / "passthrough.py", ports[2], ports[0], ports[1])
        through = launch(stack, command, folder / "passthrough.log")
        wait_ready(through, ports[2], folder / "passthrough.log")
        child, port, _ = start_farebox(stack, folder / "farebox", ports[0], ports[1], proxies)
        targets = [
            Target("upstream", ports[0], ports[1], nginx.pid),
            Target("pass-through", ports[2], ports[2], through.pid),
            Target("farebox", port, port, child.pid, routed=True),
        ]
        prove(targets)
        at_start = memory(child.pid)
        say("requests and events per second")
        rates = measure_throughput(targets, others, folder, size)
        say("latency added")
        latencies, late = measure_latency(targets, size, SLOW)
        say("first bytes of streams")
        firsts, _ = measure_latency(targets, size, FIRST)
        after_load = memory(child.pid)
        say("health while long prompts are counted")
        probes = measure_probes(targets[2], size.probes)
        time.sleep(0.5)
        served = targets[2].answered
        recorded = metric(port, "farebox_requests_total")
        if recorded < served:
            raise Wrong(f"{served} requests were answered and {recorded:.0f} are in the ledger")
        return {
            "size": vars(size), "machine": machine(), "starts": starts, "gaps": gaps, "probes": probes,
            "rates": {f"{kind} {name}": found for (name, kind), found in rates.items()},
            "latencies": latencies, "firsts": firsts, "loader_late_p99_ms": statistics.median(late),
            "memory": {"start": at_start, "load": after_load, "end": memory(child.pid)}, "recorded": recorded, "answered": served,
        }  # fmt: skip


def machine():
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return {"processor": model, "processors": os.cpu_count(),
            "python": platform.python_version(), "load": os.getloadavg()[0]}  # fmt: skip


def summary(raw):
    """The medians, and the ratios of interleaved rounds."""
    median = statistics.median

    def rate(name, kind):
        return [load["rps"] for load in raw["rates"][f"{kind} {name}"]]

    def ratio(kind, other):
        return median(a / b for a, b in zip(rate("farebox", kind), rate(other, kind), strict=True))

    def added(name, which, of="latencies"):
        """Above the bare upstream's *median*: taking its p99 off a p99 would flatter, as the two do not coincide."""
        pairs = zip(raw[of][name], raw[of]["upstream"], strict=True)
        return median(mine[which] - bare[0] for mine, bare in pairs)

    out = {}
    for kind, scale in (("plain", 1), ("burst", vendor.EVENTS)):
        out[kind] = {
            **{name: median(rate(name, kind)) * scale for name in ("farebox", "pass-through", "upstream")},
            "of_pass_through": ratio(kind, "pass-through"),
            "of_upstream": ratio(kind, "upstream"),
            "cpu_us": {
                name: median(load["cpu_us"] for load in raw["rates"][f"{kind} {name}"])
                for name in ("farebox", "pass-through")
            },
            "p50_ms": median(load["p50"] for load in raw["rates"][f"{kind} farebox"]),
            "p99_ms": median(load["p99"] for load in raw["rates"][f"{kind} farebox"]),
        }
    out["added_ms"] = {
        name: {"p50": added(name, 0), "p99": added(name, 1)} for name in ("farebox", "pass-through", "upstream")
    }
    out["first_ms"] = {name: added(name, 0, "firsts") for name in ("farebox", "pass-through")}
    out["memory_mb"] = raw["memory"]
    out["start_s"] = median(raw["starts"])
    out["gap_ms"] = {name: raw["gaps"][name] for name in ("idle", *BIG)}
    out["live_ms"] = {
        name: {part: median(row[i] for row in rows) for i, part in enumerate(("idle", "during", "request"))}
        for name, rows in raw["probes"].items()
    }
    return out


def table(found):
    """`what | measured | target | peer`, and whether the target is met."""
    plain, burst, added, rss = found["plain"], found["burst"], found["added_ms"], found["memory_mb"]
    gap, live, first = found["gap_ms"], found["live_ms"], found["first_ms"]

    def beside(row):
        return (
            f"pass-through {row['pass-through']:,.0f} (ratio {row['of_pass_through']:.2f}), "
            f"upstream {row['upstream']:,.0f} ({row['of_upstream']:.3f})"
        )

    rows = [
        ("plain requests/s, 32 connections", f"{plain['farebox']:,.0f}", "10,000", plain["farebox"] >= 10_000, beside(plain)),
        ("  their latency p50 / p99, saturated", f"{plain['p50_ms']:.1f} / {plain['p99_ms']:.1f} ms", "", None, ""),
        ("  their processor time, each", f"{plain['cpu_us']['farebox']:.0f} us", "", None,
         f"pass-through {plain['cpu_us']['pass-through']:.0f} us"),
        (f"added p50 at {RATE}/s, {SLOW_MS} ms upstream", f"{added['farebox']['p50']:.2f} ms", "< 0.4 ms",
         added["farebox"]["p50"] < 0.4, f"pass-through {added['pass-through']['p50']:.2f} ms"),
        (f"added p99 at {RATE}/s, {SLOW_MS} ms upstream", f"{added['farebox']['p99']:.2f} ms", "< 1.5 ms",
         added["farebox"]["p99"] < 1.5, f"pass-through {added['pass-through']['p99']:.2f} ms, bare {added['upstream']['p99']:.2f} ms"),
        ("first word of a stream later, p50", f"{first['farebox']:.2f} ms", "< 0.5 ms", first["farebox"] < 0.5,
         f"pass-through {first['pass-through']:.2f} ms"),
        ("relayed SSE events/s, 16 streams", f"{burst['farebox']:,.0f}", "150,000", burst["farebox"] >= 150_000, beside(burst)),
        (f"  processor time, each stream of {vendor.EVENTS}", f"{burst['cpu_us']['farebox']:.0f} us", "", None,
         f"pass-through {burst['cpu_us']['pass-through']:.0f} us"),
        ("resident memory after load", f"{rss['load'][0]:.0f} MB", "< 160 MB", rss["load"][0] < 160,
         f"at start {rss['start'][0]:.0f} MB"),
        ("  its peak, after load / after 1 MB prompts", f"{rss['load'][1]:.0f} / {rss['end'][1]:.0f} MB", "", None, ""),
        ("start to ready", f"{found['start_s']:.2f} s", "< 1 s", found["start_s"] < 1, ""),
    ]  # fmt: skip
    rows += [
        (f"largest loop gap, 1 MB {name} counted", f"{gap[name]:.1f} ms", "< 10 ms", gap[name] < 10,
         f"idle loop {gap['idle']:.1f} ms")
        for name in BIG
    ]  # fmt: skip
    rows += [
        (f"  /health/live meanwhile, largest, {name}", f"{live[name]['during']:.1f} ms", "", None,
         f"idle {live[name]['idle']:.1f} ms; the request took {live[name]['request']:.0f} ms")
        for name in BIG
    ]  # fmt: skip
    if "crowd" in found:
        crowd = found["crowd"]
        rows.append((f"memory for each of {crowd['open']:,} open streams", f"{crowd['kb_each']} kB", "< 25 kB",
                     crowd["kb_each"] < 25, f"{crowd['memory_before_mb']} MB before, {crowd['memory_with_them_mb']} MB with them"))  # fmt: skip
    rows += [
        (f"processor time of a request, {what}", f"{one['cpu_us']:.0f} us", "flat", one["ratio"] < FLAT, f"{one['ratio']:.2f} times")
        for what, one in found.get("flat", {}).items()
    ]  # fmt: skip
    if "workers" in found:
        two, times = found["workers"]["two"], found["workers"]["times"]
        rows.append(("two workers, requests/s beside one process", f"{two['rps']:,.0f}, {times:.2f} times", ">= 1.8 times", times >= 1.8,
                     f"{found['workers']['times_by_processor_time']:.2f} times by processor time; vendor and loader take {two['others_us']:.0f} us of the same two"))  # fmt: skip
    rows += [
        (f"{name}, in the same way", f"{one['rps']:,.0f}", "", None,
         f"{one['cpu_us']:,.0f} us each; Farebox serves {one['farebox_is']:.1f} times as many")
        for name, one in found.get("peers", {}).items() if name != "farebox"
    ]  # fmt: skip
    return [
        (what, measured, target if met is None else f"{target}{'' if met else ' (missed)'}", peer)
        for what, measured, target, met, peer in rows
    ]


def show(rows):
    rows = [("what", "measured", "target", "peer, or beside it in the same run"), *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    for row in rows:
        print(" | ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]).rstrip())


def beyond(size):
    """What needs programs of its own: open streams, a request where there is much of everything, workers, other gateways."""
    import flat  # noqa: PLC0415 (both build on this module)
    import peers  # noqa: PLC0415
    import workers  # noqa: PLC0415

    say("many streams at once")
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    out = {"crowd": measure_crowd(size.streams)}
    say("few and many teams, models and rows")
    out["flat"] = flat.measure(size.rows, size.rounds)
    if len(set(cores())) > 1:
        say("one process and two workers")
        out["workers"] = workers.measure(size.rounds, size.wrk_s)
    litellm, portkey = peers.installed()
    if litellm or portkey:
        say("other gateways")
        out["peers"] = peers.measure(litellm, portkey, size.rounds, size.wrk_s)
    return out


def main():
    parser = argparse.ArgumentParser(description="Measure Farebox beside a bare upstream and a bare pass-through.")
    parser.add_argument("--quick", action="store_true", help="one round of everything: about 35 s instead of 3 minutes")
    parser.add_argument("--json", action="store_true", help="everything that was measured, for machines")
    args = parser.parse_args()
    if missing := vendor.missing():
        say(f"missing: {', '.join(missing)}. {vendor.NEEDED}")
        sys.exit(2)
    # SIGTERM unwinds like Ctrl-C, so that no child outlives this program.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    try:
        size = QUICK if args.quick else FULL
        raw = measure(size)
        found = summary(raw) | beyond(size)
    except Wrong as error:
        say(f"not measured: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    if args.json:
        print(json.dumps({**found, "raw": raw}, indent=1))
        return
    show(table(found))
    m = raw["machine"]
    print(
        f"\none core of {m['processor']}, Python {m['python']}; load average {m['load']:.1f}; medians of "
        f"{raw['size']['rounds']} interleaved rounds; {raw['recorded']:.0f} requests in the ledger, none failed; "
        f"{time.monotonic() - began:.0f} s"
    )


if __name__ == "__main__":
    main()
