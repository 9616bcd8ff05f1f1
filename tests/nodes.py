"""Packages of Node that tests need, installed once for each state of their lock, under var/ (which git ignores)."""

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from support import ROOT, unavailable

NODE = 20
NO_NETWORK = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH", "EHOSTUNREACH")


def run(*command, **how):
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, **how)


def node_modules(here):
    """A folder `node_modules` with what the lock in `here` says."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            unavailable(f"{program} is missing: install Node {NODE} or newer with npm (apt-get install nodejs npm)")
    version = run("node", "--version").stdout
    if int(version.removeprefix("v").partition(".")[0]) < NODE:
        unavailable(f"node is {version.strip()}: install Node {NODE} or newer")
    lock = hashlib.sha256((here / "package-lock.json").read_bytes()).hexdigest()[:16]
    place = ROOT / "var" / "tests" / f"node-{lock}"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=place.parent))
        try:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(here / name, fresh)
            done = run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=fresh)
            if done.returncode and any(code in done.stderr for code in NO_NETWORK):
                unavailable(f"npm ci has no network: {done.stderr[-300:]}")
            assert done.returncode == 0, done.stderr
            fresh.rename(place)  # whole, or not at all
        except OSError:
            if not place.exists():  # else another run was faster
                raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return place / "node_modules"
