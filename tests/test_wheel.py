"""The wheel, built and installed outside the checkout, finds everything that it needs to serve."""

import os
import signal
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from support import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("farebox-*.whl")
    return built


def test_the_wheel_holds_the_package_its_configurations_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {
        "router",
        next(n for n in names if "dist-info" in n).split("/")[0],
    }
    for needed in (
        "router/_config/demo.yaml",
        "router/_config/prices/openai.yaml",
        "router/admin/page.css",
        "router/admin/page.js",
        "router/admin/page.svg",
        "router/cli/serve.py",
    ):
        assert needed in names


def test_the_installed_wheel_serves_the_demo_from_anywhere(wheel, tmp_path):
    place = tmp_path / "venv"
    venv.create(place, with_pip=False)
    python = place / "bin/python"
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    zipfile.ZipFile(wheel).extractall(site)
    # The dependencies are those of this environment; as a plain path, so that the checkout's own link is not followed.
    Path(site, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run = subprocess.Popen(
        [python, "-m", "router", "serve", "--port", "0"], cwd=elsewhere, stdout=subprocess.PIPE, text=True,
        env={"HOME": str(elsewhere), "PATH": os.environ["PATH"]},
    )  # fmt: skip
    try:
        first = run.stdout.readline()
        assert f"{site}/router/_config/demo.yaml" in first
        url = first.split()[-1]
        answer = subprocess.run(
            ["curl", "-sf", f"{url}/v1/chat/completions", "-H", "Authorization: Bearer fb-demo-search-key", "-d",
             '{"model": "auto", "messages": [{"role": "user", "content": "hi out=3"}]}'],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        assert '"cost":' in answer
    finally:
        run.send_signal(signal.SIGTERM)
        run.wait(15)
        run.stdout.close()
    assert (elsewhere / "var/demo.db").exists()
