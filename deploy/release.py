"""What a release is held to before anything is signed; .github/workflows/release.yml calls it.

release.py version TAG           the tag, the program and the chart say the same version
release.py pinned                every digest that the workflow builds on is filled in
release.py chart IMAGE DIGEST    the chart's values name this image; writes deploy/helm/farebox/values.yaml

The standard library is all that it needs. Exit 1 says what is wrong.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORKFLOW = ROOT / ".github/workflows/release.yml"
VALUES = ROOT / "deploy/helm/farebox/values.yaml"
DIGEST = r"sha256:[0-9a-f]{64}"
VERSIONS = {  # where a version is written down
    "pyproject.toml": r'^version = "(.+)"$',
    "router/__init__.py": r'^__version__ = "(.+)"$',
    "deploy/helm/farebox/Chart.yaml": r"^version: (\S+)$",
    "deploy/helm/farebox/Chart.yaml, appVersion": r'^appVersion: "(.+?)"',
}


def versions() -> dict[str, str]:
    """The version by the place that says it."""
    found = {}
    for place, pattern in VERSIONS.items():
        match = re.search(pattern, (ROOT / place.split(",")[0]).read_text(encoding="utf-8"), re.MULTILINE)
        found[place] = match[1] if match else ""
    return found


def of_version(tag: str) -> list[str]:
    """What contradicts the tag."""
    return [
        f"{place} says {said or 'nothing'}, the tag {tag}" for place, said in versions().items() if f"v{said}" != tag
    ]


def unpinned(workflow: str) -> list[str]:
    """Which of a workflow's images have a digest that nobody has filled in."""
    images = re.findall(r"(\S+)@(sha256:\S+)", workflow)
    return [f"{image} has no digest yet" for image, digest in images if not re.fullmatch(DIGEST, digest)]


def with_image(values: str, image: str, digest: str) -> str:
    """A chart's values that name the image. Raises `ValueError` for what is no digest, or values without a place for it."""
    if not re.fullmatch(DIGEST, digest):
        raise ValueError(f"{digest or 'nothing'} is no digest")
    for key, value in (("repository", image), ("digest", f'"{digest}"')):
        values, count = re.subn(rf"^  {key}: \S+.*$", f"  {key}: {value}", values, count=1, flags=re.MULTILINE)
        if not count:
            raise ValueError(f"{VALUES.name} has no image.{key}")
    return values


def main(verb: str, *words: str) -> int:
    """0 where all is well."""
    wrong = []
    if verb == "version":
        wrong = of_version(*words)
    elif verb == "pinned":
        wrong = unpinned(WORKFLOW.read_text(encoding="utf-8"))
    elif verb == "chart":
        VALUES.write_text(with_image(VALUES.read_text(encoding="utf-8"), *words), encoding="utf-8")
    else:
        wrong = [__doc__ or ""]
    for line in wrong:
        print(line, file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
