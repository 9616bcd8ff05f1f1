"""Write what `helm template` makes of the chart with everything on, in each of its shapes. Run it after a change of the chart.

What is rendered is kept here, so that tests can look at it where there is no helm; its first line tells of which chart it is.
"""

import hashlib
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHART = HERE.parents[2] / "deploy/helm/farebox"
SHAPES = ("sqlite", "postgresql")
KUBERNETES = ("--kube-version", "1.31.0")  # what a helm without a cluster takes it for differs


def values(shape):
    return HERE / f"values-{shape}.yaml"


def rendered(shape):
    return HERE / f"rendered-{shape}.yaml"


def fingerprint(shape):
    """Of all that is rendered from."""
    files = [*sorted(path for path in CHART.rglob("*") if path.is_file()), values(shape)]
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


def template(shape, *arguments):
    where = ("--namespace", "gateway", *KUBERNETES)
    return helm("template", "farebox", CHART, *where, "--values", values(shape), *arguments)


if __name__ == "__main__":
    for each in SHAPES:
        done = template(each)
        if done is None or done.returncode:
            raise SystemExit(done.stderr if done else "helm is needed: https://helm.sh")
        rendered(each).write_text(f"# chart {fingerprint(each)}\n{done.stdout}")
