"""The official `openai` package for Node, pinned in node/package-lock.json, against the configuration of `make run`."""

import json
import re
import shutil
from pathlib import Path

import pytest
from nodes import node_modules, run
from support import FareboxProcess, demo_config

HERE = Path(__file__).resolve().parent / "node"
CHECKS = re.findall(r'^  async "(.+)"\(\) \{$', (HERE / "checks.mjs").read_text(), re.MULTILINE)
# The package asks for Node 22 and warns below it; all that is used here runs on 20.


@pytest.fixture(scope="module")
def modules():
    return node_modules(HERE)


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
