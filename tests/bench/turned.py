"""Translated events per second on one core: an OpenAI client, a vendor on Anthropic's wire. Prints one line.

turned.py [SECONDS]; needs nginx-light, libnginx-mod-http-echo and wrk.
"""

import contextlib
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import vendor
import yaml
from run import cores, free_port, launch, on, wait_ready

KEY = "fb-bench-key-of-the-team"
BODY = {"model": "turned", "stream": True, "max_tokens": 4096, "messages": [{"role": "user", "content": "count words"}]}


def event(told):
    text = json.dumps(told, separators=(",", ":"))
    return f"event: {told['type']}\ndata: {text}\n\n"


def burst():
    """A message of `vendor.CHUNKS` deltas, one write each."""
    usage = {"input_tokens": 120, "output_tokens": 1}
    message = {"id": "msg_bench", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": usage}
    yield event({"type": "message_start", "message": message})
    yield event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    for i in range(vendor.CHUNKS):
        delta = {"type": "text_delta", "text": f" word{i}"}
        yield event({"type": "content_block_delta", "index": 0, "delta": delta})
    yield event({"type": "content_block_stop", "index": 0})
    yield event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 200}})
    yield event({"type": "message_stop"})


def configuration(folder, vendor_port, port):
    config = {
        "server": {"port": port},
        "store": f"sqlite:///{folder}/turned.db",
        "vendors": {
            "check": {"dialect": "anthropic", "base_url": f"http://127.0.0.1:{vendor_port}", "api_key": "sk-bench"}
        },
        "models": {
            "turned": {"vendor": "check", "tier": "cheap", "price": {"currency": "USD", "input": 1, "output": 5}}
        },
        "routes": {"all": {"models": ["turned"]}},
        "teams": {
            "bench": {
                "keys": [{"name": "app", "value": KEY}],
                "models": ["*"],
                "budgets": [{"limit": 100000, "per": "day"}],
            }
        },
    }
    file = folder / "farebox.yaml"
    file.write_text(yaml.safe_dump(config))
    return file


def main(seconds):
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder, (proxy, rest) = Path(name), cores()
        vendor_port, port = free_port(), free_port()
        nginx = vendor.configuration(folder, vendor_port)
        place = " ".join(f"{vendor._echo(one)} echo_flush;" for one in burst())
        more = f"location = /v1/messages {{ default_type text/event-stream; {place} }}\n    location = /health/ready"
        nginx.write_text(nginx.read_text().replace("location = /health/ready", more, 1))
        log = folder / "log"
        log.touch()
        served = launch(stack, on(rest, "nginx", "-e", folder / "nginx.err", "-c", nginx), log)
        wait_ready(served, vendor_port, log)
        command = on(
            proxy, sys.executable, "-m", "router", "serve", "--config", configuration(folder, vendor_port, port)
        )
        farebox = launch(stack, command, log)
        wait_ready(farebox, port, log)
        script = folder / "ask.lua"
        script.write_text(
            f"wrk.method = 'POST'\nwrk.body = '{json.dumps(BODY)}'\n"
            f"wrk.headers['Authorization'] = 'Bearer {KEY}'\nwrk.headers['Content-Type'] = 'application/json'\n"
        )
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        loader = on(rest, "wrk", "-t1", "-c16", f"-d{seconds}s", "-s", script, url)
        told = subprocess.run(loader, capture_output=True, text=True, check=True).stdout
        if "Non-2xx" in told:
            raise SystemExit(f"answers that are no successes:\n{told}")
        rate = float(re.search(r"Requests/sec:\s+([\d.]+)", told)[1])
        print(f"translated SSE events/s, 16 streams: {rate * (vendor.CHUNKS + 4):,.0f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 6)
