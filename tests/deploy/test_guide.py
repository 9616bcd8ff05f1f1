"""docs/deploy.md: its commands do what they are said to do, and its figures are those of the files."""

import json
import re
import shlex
import stat
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml
from support import ROOT, FareboxProcess, demo_config, write_config

from router.settings import ServerSettings

GUIDE = (ROOT / "docs/deploy.md").read_text()
FILES = ("compose", "compose-single")
REQUESTS = 7


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    with FareboxProcess(demo_config(folder), folder) as process:
        for number in range(REQUESTS):
            body = {"model": "auto", "messages": [{"role": "user", "content": f"number {number}"}]}
            request = urllib.request.Request(
                f"{process.url}/v1/chat/completions",
                json.dumps(body).encode(),
                {"Authorization": "Bearer fb-demo-search-key", "Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=30) as answer:
                assert answer.status == 200
        yield process


def copied(store, copy):
    (command,) = re.findall(r"^\$ (python3 -c .*) FILE COPY$", GUIDE, re.MULTILINE)
    _, *words = shlex.split(command)
    return subprocess.run(
        [sys.executable, *words, store, copy], capture_output=True, text=True, check=False, timeout=60
    )


def test_the_ledger_is_backed_up_while_it_is_served_and_the_copy_is_proven(serving, tmp_path):
    store, copy = Path(serving.store.removeprefix("sqlite:///")), tmp_path / "copy.db"
    done = copied(store, copy)
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    config = write_config(demo_config(tmp_path) | {"store": f"sqlite:///{copy}"}, tmp_path)
    verified = subprocess.run(
        [sys.executable, "-m", "router", "ledger", "verify", "--config", config],
        capture_output=True, text=True, check=False, timeout=60, cwd=ROOT,
    )  # fmt: skip
    assert verified.returncode == 0, verified.stderr
    assert verified.stdout.startswith(f"all {REQUESTS} rows are as they were written")


def test_a_copy_never_replaces_what_is_there(serving, tmp_path):
    (tmp_path / "there.db").write_text("what somebody wants to keep")
    done = copied(Path(serving.store.removeprefix("sqlite:///")), tmp_path / "there.db")
    assert done.returncode != 0
    assert (tmp_path / "there.db").read_text() == "what somebody wants to keep"


def test_every_file_that_the_guide_names_is_there():
    named = {
        path
        for path in re.findall(r"(?<![\w/.])((?:deploy|config|\.github)/[\w./-]+)", GUIDE)
        if path != "deploy/.env"  # which everybody makes
    }
    assert len(named) >= 8
    for path in named:
        assert (ROOT / path).exists(), path


def test_everybody_waits_longer_than_farebox_may_drain():
    (told,) = re.findall(r"\| time to stop \|.*: (\d+) s unless", GUIDE)
    services = [yaml.safe_load((ROOT / f"deploy/{file}.yaml").read_text())["services"] for file in FILES]
    farebox = [service for found in services for name, service in found.items() if name.startswith("farebox")]
    values = yaml.safe_load((ROOT / "deploy/helm/farebox/values.yaml").read_text())
    unit = (ROOT / "deploy/systemd/farebox@.service").read_text()
    waits = [
        *(int(service["stop_grace_period"].removesuffix("s")) for service in farebox),
        values["terminationGracePeriodSeconds"],
        int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)[1]),
    ]
    server = ServerSettings()
    assert int(told) == server.notice + 2 * server.drain
    assert min(waits) > int(told)


def test_whoever_verifies_a_release_names_the_workflow_that_signs_it():
    (identity,) = re.findall(r"--certificate-identity \S+?/(\.github/\S+)@refs/tags/v", GUIDE)
    assert (ROOT / identity).is_file()
    for verb in ("verify ", "verify-attestation --type cyclonedx ", "verify-blob "):
        assert f"cosign {verb}" in GUIDE
