"""Write what a release is made of as CycloneDX: `make sbom`. From the lock file alone, so the same lock gives the same bytes."""

import json
import re
import sys
import tomllib
import uuid
from pathlib import Path

HERE = Path(__file__).parent
TARGET = HERE / "sbom.cdx.json"
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)(?: ; ([^\\]+?))? \\$", re.MULTILINE)


def components(lock: str) -> list[dict[str, object]]:
    """Every package of a lock file, with the hashes of all files that may be installed for it."""
    found = list(_PINNED.finditer(lock))
    ends = [match.start() for match in found[1:]] + [len(lock)]
    out: list[dict[str, object]] = []
    for match, end in zip(found, ends, strict=True):
        name, version, marker = match[1].lower(), match[2], match[3]
        component: dict[str, object] = {
            "type": "library",
            "bom-ref": f"pkg:pypi/{name}@{version}",
            "name": name,
            "version": version,
            "purl": f"pkg:pypi/{name}@{version}",
            "hashes": [
                {"alg": "SHA-256", "content": digest}
                for digest in re.findall(r"--hash=sha256:([0-9a-f]{64})", lock[match.end() : end])
            ],
        }
        if marker:
            component["properties"] = [{"name": "farebox:marker", "value": marker.strip()}]
        out.append(component)
    return out


def text() -> str:
    """The whole document."""
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lock = (HERE / "run.txt").read_text(encoding="utf-8")
    listed = components(lock)
    refs = {str(component["name"]): component["bom-ref"] for component in listed}
    wanted = [re.split(r"[^A-Za-z0-9._-]", told)[0].lower() for told in project["dependencies"]]
    root = f"pkg:pypi/{project['name']}@{project['version']}"
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, root + lock)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": root,
                "name": project["name"],
                "version": project["version"],
                "purl": root,
                "licenses": [{"license": {"id": project["license"]}}],
            }
        },
        "components": listed,
        "dependencies": [{"ref": root, "dependsOn": [refs[name] for name in wanted]}],
    }
    return json.dumps(document, indent=1) + "\n"


def main() -> None:
    TARGET.write_text(text(), encoding="utf-8")
    sys.stdout.write(
        f"{TARGET.relative_to(HERE.parent)} has {len(components((HERE / 'run.txt').read_text()))} packages\n"
    )


if __name__ == "__main__":
    main()
