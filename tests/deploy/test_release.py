"""The release workflow: who may do what, that everything is named by what cannot change, and what a release is held to."""

import importlib
import re
import shutil
import subprocess
import sys

import pytest
import yaml
from support import ROOT

from router import __version__

PATH = ROOT / ".github/workflows/release.yml"
TEXT = PATH.read_text()
WORKFLOW = yaml.safe_load(TEXT)
JOBS = WORKFLOW["jobs"]
STEPS = [step for job in JOBS.values() for step in job["steps"]]
SCRIPT = "\n".join(step.get("run", "") for step in STEPS)
A_DIGEST = "sha256:" + "0a" * 32


@pytest.fixture(scope="module")
def release():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "deploy")
        patch.setattr(sys, "dont_write_bytecode", True)
        return importlib.import_module("release")


def test_every_action_is_named_by_its_commit_and_says_its_version():
    used = re.findall(r"uses: (.*)$", TEXT, re.MULTILINE)
    assert len(used) == sum("uses" in step for step in STEPS) >= 4
    for action in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


def test_every_image_has_a_place_for_its_digest():
    images = [value for name, value in WORKFLOW["env"].items() if name.endswith("_IMAGE")]
    images += [job["container"] for job in JOBS.values() if "container" in job]
    assert len(images) == 3
    assert all(re.search(r"@sha256:\w+$", image) for image in images)
    assert "imagetools inspect" in TEXT


def test_a_job_may_do_only_what_it_says_and_only_the_last_may_write():
    assert WORKFLOW["permissions"] == {}
    assert all("permissions" in job and "timeout-minutes" in job for job in JOBS.values())
    writing = {name for name, job in JOBS.items() if "write" in job["permissions"].values()}
    assert writing == {"release"}
    assert JOBS["test"]["needs"] == "check" and JOBS["release"]["needs"] == "test"
    checkouts = [step for step in STEPS if step.get("uses", "").startswith("actions/checkout@")]
    assert len(checkouts) == 3
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_nothing_that_an_event_says_is_put_into_a_script():
    assert "${{" not in SCRIPT
    assert TEXT.count("pull_request") == 0
    assert WORKFLOW[True] == {"push": {"tags": ["v[0-9]+.[0-9]+.[0-9]+"]}}  # YAML's `on` is true


def test_what_is_released_has_a_bill_of_materials_and_a_signature():
    for said in (
        "--sbom=true --provenance=mode=max", 'cosign sign --yes "$IMAGE@$IMAGE_DIGEST"', "cosign attest --yes --type cyclonedx",
        'cosign sign --yes "$CHARTS/farebox@$CHART_DIGEST"', "cosign sign-blob --yes --bundle SHA256SUMS.sigstore.json SHA256SUMS",
        "requirements/sbom.cdx.json", '--build-arg "PYTHON_IMAGE=$PYTHON_IMAGE"',
    ):  # fmt: skip
        assert said in SCRIPT, said
    assert any("attest-build-provenance" in step.get("uses", "") for step in STEPS)
    assert WORKFLOW["defaults"]["run"]["shell"] == "bash"  # with pipefail


def test_the_workflow_calls_what_the_script_knows(release):
    called = re.findall(r"deploy/release\.py (\w+)", SCRIPT)
    assert called == ["version", "pinned", "chart"]
    assert all(f"release.py {verb}" in release.__doc__ for verb in called)


def test_a_tag_of_another_version_is_no_release(release):
    assert release.of_version(f"v{__version__}") == []
    wrong = release.of_version("v9.9.9")
    assert len(wrong) == len(release.VERSIONS) == 4
    assert all(__version__ in line for line in wrong)
    assert release.main("version", f"v{__version__}") == 0 and release.main("version", "v9.9.9") == 1


def test_nothing_is_released_on_an_image_that_is_not_pinned(release):
    assert release.unpinned("A: python:3.13@sha256:DIGEST\nB: other:1@sha256:" + "0" * 63) == [
        "python:3.13 has no digest yet",
        "other:1 has no digest yet",
    ]
    assert release.unpinned(f"A: python:3.13@{A_DIGEST}") == []
    assert len(release.unpinned(TEXT)) in {0, 3}  # all of them, or none


def test_a_released_chart_names_the_image_that_was_built(release):
    before = release.VALUES.read_text()
    after = release.with_image(before, "registry.example/farebox", A_DIGEST)
    told = yaml.safe_load(after)
    assert told["image"]["repository"] == "registry.example/farebox" and told["image"]["digest"] == A_DIGEST
    told["image"] = yaml.safe_load(before)["image"]
    assert told == yaml.safe_load(before)


@pytest.mark.parametrize(("values", "digest"), [("image: {}\n", A_DIGEST), ('  repository: a\n  digest: ""\n', "")])
def test_a_chart_without_a_digest_or_a_place_for_it_is_no_release(release, values, digest):
    with pytest.raises(ValueError, match=r"digest|image"):
        release.with_image(values, "registry.example/farebox", digest)


@pytest.mark.skipif(shutil.which("actionlint") is None, reason="install actionlint: the text alone is tested")
def test_actionlint_finds_nothing_to_complain_of():
    done = subprocess.run(["actionlint", PATH], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout
