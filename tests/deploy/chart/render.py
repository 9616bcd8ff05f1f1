"""Write rendered.yaml: what `helm template` makes of the chart with everything on. Run it after a change of the chart.

What is rendered is kept here, so that tests can look at it where there is no helm; its first line tells of which chart it is.
"""

import hashlib
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHART = HERE.parents[2] / "deploy/helm/farebox"
RENDERED = HERE / "rendered.yaml"
KUBERNETES = ("--kube-version", "1.31.0")  # what a helm without a cluster takes it for differs


def fingerprint():
    """Of all that rendered.yaml is made from."""
    files = [*sorted(path for path in CHART.rglob("*") if path.is_file()), HERE / "values.yaml"]
    told = hashlib.sha256()
    for path in files:
        told.update(f"{path.name}\n".encode() + path.read_bytes())
    return told.hexdigest()


def helm(*arguments):
    """The finished process; None where there is no helm."""
    program = shutil.which("helm")
    if program is None:
        return None
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=100)


def template(*arguments):
    where = ("--namespace", "gateway", *KUBERNETES)
    return helm("template", "farebox", CHART, *where, "--values", HERE / "values.yaml", *arguments)


if __name__ == "__main__":
    done = template()
    if done is None or done.returncode:
        raise SystemExit(done.stderr if done else "helm is needed: https://helm.sh")
    RENDERED.write_text(f"# chart {fingerprint()}\n{done.stdout}")
