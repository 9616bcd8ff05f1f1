"""The official `openai` package for Node, pinned in node/package-lock.json, against the configuration of `make run`.

The package is installed once for each state of the lock, under var/ (which git ignores).
"""

import hashlib
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from support import ROOT, FareboxProcess, demo_config, unavailable

HERE = Path(__file__).resolve().parent / "node"
CHECKS = re.findall(r'^  async "(.+)"\(\) \{$', (HERE / "checks.mjs").read_text(), re.MULTILINE)
NODE = 20  # the package asks for 22 and warns below it; all that is used here runs on 20
NO_NETWORK = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH", "EHOSTUNREACH")


def run(*command, **how):
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, **how)


@pytest.fixture(scope="module")
def modules():
    """A folder `node_modules` with what the lock says."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            unavailable(f"{program} is missing: install Node {NODE} or newer with npm (apt-get install nodejs npm)")
    version = run("node", "--version").stdout
    if int(version.removeprefix("v").partition(".")[0]) < NODE:
        unavailable(f"node is {version.strip()}: install Node {NODE} or newer")
    lock = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()[:16]
    place = ROOT / "var" / "tests" / f"node-{lock}"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=place.parent))
        try:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(HERE / name, fresh)
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


@pytest.fixture(scope="module")
def outcomes(modules, tmp_path_factory):
    """What the script says of each check."""
    folder = tmp_path_factory.mktemp("node")
    shutil.copy(HERE / "checks.mjs", folder)
    (folder / "node_modules").symlink_to(modules)
    with FareboxProcess(demo_config(folder), folder) as farebox:
        done = run("node", folder / "checks.mjs", f"{farebox.url}/v1")
        assert farebox.rows()
        assert "Traceback" not in farebox.log and '"frames"' not in farebox.log
    assert done.returncode == 0, done.stderr
    return {line["check"]: line for line in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("check", CHECKS)
def test_the_node_sdk_finds_what_it_expects(outcomes, check):
    assert outcomes[check]["ok"], outcomes[check]["why"]


def test_every_check_of_the_script_is_looked_at(outcomes):
    assert list(outcomes) == CHECKS
    assert len(CHECKS) >= 20


def test_the_lock_names_no_registry():
    """Whoever installs from it uses the registry of their own configuration; the hash says that it is the same file."""
    lock = json.loads((HERE / "package-lock.json").read_text())
    assert "resolved" not in (HERE / "package-lock.json").read_text()
    assert all(package["integrity"].startswith("sha512-") for path, package in lock["packages"].items() if path)
