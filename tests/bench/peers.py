"""Farebox beside other gateways, where they are installed: each on the first processor, before the same vendor, in turn.

    peers.py [--litellm BIN] [--portkey FOLDER] [--rounds 5] [--seconds 4] [--json]

BIN is LiteLLM's command (`pip install 'litellm[proxy]'` in a virtual environment of its own), FOLDER a `node_modules/@portkey-ai/gateway`
(`npm install @portkey-ai/gateway`). Neither keeps a budget or a ledger here: LiteLLM would need a database for that, and
Portkey's gateway has none; Farebox keeps both. Quote the ratios. Exit codes as those of run.py.
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import vendor
import yaml
from run import (
    KEY,
    PLAIN,
    ROOT,
    Target,
    Wrong,
    cores,
    free_port,
    launch,
    machine,
    memory,
    on,
    post,
    script,
    start_farebox,
    vendor_for,
    wrk,
)

STARTS_S = 120.0  # LiteLLM imports for half a minute on a slow machine


def answering(child, url, headers, log):
    """Seconds until a request of the load is answered."""
    began = time.perf_counter()
    request = urllib.request.Request(url, PLAIN.encode(), {"Content-Type": "application/json", **headers})
    while time.perf_counter() - began < STARTS_S and child.poll() is None:
        with contextlib.suppress(OSError, urllib.error.URLError), urllib.request.urlopen(request, timeout=20) as answer:
            if json.load(answer)["usage"]["total_tokens"] == vendor.USAGE["total_tokens"]:
                return time.perf_counter() - began
        time.sleep(0.1)
    raise Wrong(f"no answer from {child.args}: {log.read_text()[-500:]}")


def litellm(stack, folder, command, upstream, core):
    """LiteLLM's proxy with one worker, a master key and one model."""
    model = {"model": "openai/gpt-4o-mini", "api_base": f"http://127.0.0.1:{upstream}/plain/v1", "api_key": "sk-bench"}
    told = {"model_list": [{"model_name": "auto", "litellm_params": model}], "general_settings": {"master_key": KEY}}
    file, log, port = folder / "litellm.yaml", folder / "litellm.log", free_port()
    file.write_text(yaml.safe_dump(told))
    words = [command, "--config", file, "--host", "127.0.0.1", "--port", port, "--num_workers", 1]
    env = {**os.environ, "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    child = launch(stack, on(core, *words), log, cwd=folder, env=env)
    return child, port, {"Authorization": f"Bearer {KEY}"}, log


def portkey(stack, folder, package, upstream, core):
    """Portkey's gateway, told by headers whom to ask."""
    log, port = folder / "portkey.log", free_port()
    child = launch(
        stack, on(core, "node", package / "build/start-server.js", "--headless", f"--port={port}"), log, cwd=folder
    )
    headers = {
        "Authorization": "Bearer sk-bench",
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"http://127.0.0.1:{upstream}/plain/v1",
    }
    return child, port, headers, log


def installed():
    """(LiteLLM's command, Portkey's folder), each None where it is not there: `FAREBOX_LITELLM` and `FAREBOX_PORTKEY` say where,
    else the path and a `node_modules` here.
    """
    litellm = os.environ.get("FAREBOX_LITELLM") or shutil.which("litellm")
    portkey = Path(os.environ.get("FAREBOX_PORTKEY") or ROOT / "node_modules/@portkey-ai/gateway")
    there = shutil.which("node") and (portkey / "build/start-server.js").is_file()
    return Path(litellm) if litellm else None, portkey if there else None


def measure(litellm_bin, portkey_folder, rounds, seconds):
    proxies, others = cores()
    os.sched_setaffinity(0, {others})
    with vendor_for("peers", others) as (stack, folder, _, upstream):
        child, port, _ = start_farebox(stack, folder / "farebox", upstream, upstream, proxies)
        targets = {"farebox": (Target("farebox", port, port, child.pid, routed=True), script(folder, "farebox", PLAIN))}
        post(targets["farebox"][0], "plain", PLAIN)
        for name, start, where in (("litellm", litellm, litellm_bin), ("portkey", portkey, portkey_folder)):
            if where is None:
                continue
            child, port, headers, log = start(stack, folder, where, upstream, proxies)
            url = f"http://127.0.0.1:{port}/v1/chat/completions"
            print(f"{name} answers after {answering(child, url, headers, log):.1f} s", file=sys.stderr)
            file = script(folder, name, PLAIN)
            more = [f"wrk.headers[{json.dumps(key)}] = {json.dumps(value)}" for key, value in headers.items()]
            head, _, rest = file.read_text().partition("\ndone")
            file.write_text("\n".join([head, *more]) + "\ndone" + rest)
            targets[name] = Target(name, port, port, child.pid, routed=True), file
        found = {name: [] for name in targets}
        for target, file in targets.values():
            wrk(others, target, "plain", file, 32, 2)
        for _ in range(rounds):
            for name, (target, file) in targets.items():
                found[name].append(wrk(others, target, "plain", file, 32, seconds))
        ours = [load["rps"] for load in found["farebox"]]
        return {
            name: {
                "rps": statistics.median(load["rps"] for load in loads),
                "cpu_us": statistics.median(load["cpu_us"] for load in loads),
                "p99_ms": statistics.median(load["p99"] for load in loads),
                "farebox_is": statistics.median(a / load["rps"] for a, load in zip(ours, loads, strict=True)),
                "memory_mb": memory(targets[name][0].pid)[0],
            }
            for name, loads in found.items()
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--litellm", type=Path)
    parser.add_argument("--portkey", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args()
    if missing := vendor.missing():
        print(f"not installed: {', '.join(missing)}\n{vendor.NEEDED}", file=sys.stderr)
        return 2
    try:
        found = measure(told.litellm, told.portkey, told.rounds, told.seconds)
    except Wrong as error:
        print(error, file=sys.stderr)
        return 1
    if told.json:
        print(json.dumps({"machine": machine(), **found}))
        return 0
    print(f"{'':12}{'requests/s':>12}{'us each':>10}{'p99 ms':>9}{'MB':>7}   farebox serves")
    for name, one in found.items():
        print(
            f"{name:12}{one['rps']:>12,.0f}{one['cpu_us']:>10,.0f}{one['p99_ms']:>9,.0f}{one['memory_mb']:>7,.0f}"
            f"   {one['farebox_is']:.1f} times as many"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
