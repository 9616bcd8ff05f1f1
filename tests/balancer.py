"""The balancer that deploy/compose.yaml has in front of its replicas, on this machine: a real nginx with the file that ships."""

import contextlib
import re
import shutil
import socket
import subprocess

from support import ROOT

FILE = ROOT / "deploy/nginx/farebox.conf"
RESOLVES = (1, 27, 3)  # the first version that looks a server's name up again


def version():
    """nginx's, as numbers; None where there is none."""
    program = shutil.which("nginx")
    if program is None:
        return None
    told = subprocess.run([program, "-v"], capture_output=True, text=True, check=False, timeout=60).stderr
    return tuple(map(int, re.search(r"nginx/([\d.]+)", told)[1].split(".")))


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def written(folder, listen, health, replicas):
    """The file with places of this machine for those of the container; what an older nginx does not know is left out."""
    text = FILE.read_text()
    for name, port in zip(("farebox-1", "farebox-2"), replicas, strict=True):
        text, count = re.subn(rf"\b{name}:8080\b", f"127.0.0.1:{port}", text)
        assert count == 2
    for there, here in (
        ("listen 8080 ", f"listen 127.0.0.1:{listen} "), ("listen 127.0.0.1:8081;", f"listen 127.0.0.1:{health};"),
        ("/tmp/", f"{folder}/"), ("/dev/stderr", f"{folder}/nginx.err"),
    ):  # fmt: skip
        assert there in text, there
        text = text.replace(there, here)
    if version() < RESOLVES:
        text = text.replace(" resolve ", " ")
    file = folder / "nginx.conf"
    file.write_text(text)
    return file


@contextlib.contextmanager
def started(folder, file):
    """nginx in the foreground, until it is left."""
    words = ["nginx", "-e", str(folder / "nginx.err"), "-c", str(file), "-g", "daemon off;"]
    child = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield child
    finally:
        child.terminate()
        child.wait(10)
