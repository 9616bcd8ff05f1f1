"""A vendor that is never the bottleneck: nginx with its echo module, answering OpenAI-wire requests from memory.

Paths, all of them POST with any body:
    /plain/v1/chat/completions   an answer at once
    /burst/v1/chat/completions   a stream of 200 chunks back to back, then usage and [DONE]
    /calm/v1/chat/completions    a stream of 20 chunks, 10 ms apart
    /late/v1/chat/completions    an answer after 100 ms
    /ill/v1/chat/completions     status 500
"""

import json
import shutil
from pathlib import Path

MODULES = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules")
NEEDED = "Debian and Ubuntu: apt-get install nginx-light libnginx-mod-http-echo wrk"
CHUNKS = 200
# What a client sees of a burst: the role, the chunks, the finish reason and [DONE]. The usage event is not counted:
# Farebox hides it from a client that has not asked for it.
EVENTS = CHUNKS + 3

USAGE = {
    "prompt_tokens": 120,
    "completion_tokens": 50,
    "total_tokens": 170,
    "prompt_tokens_details": {"cached_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0},
}
BASE = {"id": "chatcmpl-bench", "created": 1732233600, "model": "gpt-4o-mini-2024-07-18", "system_fingerprint": "fp"}
MESSAGE = {"role": "assistant", "content": "The quick brown fox jumps over the lazy dog. " * 5, "refusal": None}
CHOICE = {"index": 0, "finish_reason": "stop", "logprobs": None, "message": MESSAGE}
ANSWER = {**BASE, "object": "chat.completion", "choices": [CHOICE], "usage": USAGE, "service_tier": "default"}


def missing() -> list[str]:
    """What has to be installed first."""
    tools = [name for name in ("nginx", "wrk", "taskset") if shutil.which(name) is None]
    return tools if _module() else [*tools, "nginx's echo module"]


def _module() -> Path | None:
    found = [path for folder in MODULES if (path := Path(folder) / "ngx_http_echo_module.so").exists()]
    return found[0] if found else None


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _chunk(delta: object, finish: str | None = None, usage: object = None) -> str:
    choices = [] if usage else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    told = {**BASE, "object": "chat.completion.chunk", "choices": choices, "usage": usage}
    return f"data: {_compact(told)}\n\n"


def _echo(text: str) -> str:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'echo -n "{quoted}";'


def _stream(chunks: int, gap_s: float = 0.0) -> str:
    out = [_chunk({"role": "assistant", "content": ""})]
    out += [_chunk({"content": f" word{i}"}) for i in range(chunks)]
    out += [_chunk({}, "stop"), _chunk({}, usage=USAGE), "data: [DONE]\n\n"]
    wait = f"echo_sleep {gap_s}; " if gap_s else ""
    return " ".join(f"{wait}{_echo(event)} echo_flush;" for event in out)


def configuration(folder: Path, port: int) -> Path:
    """Write nginx's configuration; to be started in the foreground with `nginx -e FOLDER/nginx.err -c` this file."""
    answer, path = _compact(ANSWER), "v1/chat/completions"
    places = "\n".join(
        f"  {name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    file = folder / "nginx.conf"
    file.write_text(f"""load_module {_module()};
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.err warn;
worker_rlimit_nofile 4096;
events {{ worker_connections 2048; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 600s; default_type application/json;
  client_body_buffer_size 4m; client_max_body_size 20m;
{places}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location = /health/ready {{ return 200 'ok'; }}
    location = /plain/{path} {{ return 200 '{answer}'; }}
    location = /burst/{path} {{ default_type text/event-stream; {_stream(CHUNKS)} }}
    location = /calm/{path} {{ default_type text/event-stream; {_stream(20, 0.01)} }}
    location = /late/{path} {{ echo_sleep 0.1; {_echo(answer)} }}
    location = /ill/{path} {{ return 500 '{_compact({"error": {"message": "ill", "type": "server_error"}})}'; }}
  }}
}}
""")
    return file
