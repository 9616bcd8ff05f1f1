"""Write what a release is made of as CycloneDX: `make sbom`. From the lock files alone, so the same locks give the same bytes.

`shared.txt` is `run.txt` and what the extras for several replicas bring, which the image has too: these are `optional`.
"""

import json
import re
import sys
import tomllib
import uuid
from pathlib import Path

HERE = Path(__file__).parent
TARGET = HERE / "sbom.cdx.json"
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)(?: ; ([^\\]+?))? \\$", re.MULTILINE)


def components(lock: str, required: str) -> list[dict[str, object]]:
    """Every package of a lock file, with the hashes of all files that may be installed for it; those that are not in the
    lock file `required` too are optional.
    """
    always = {match[1].lower() for match in _PINNED.finditer(required)}
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
            "scope": "required" if name in always else "optional",
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
    lock = (HERE / "shared.txt").read_text(encoding="utf-8")
    listed = components(lock, (HERE / "run.txt").read_text(encoding="utf-8"))
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
    TARGET.write_text(told := text(), encoding="utf-8")
    sys.stdout.write(f"{TARGET.relative_to(HERE.parent)} has {len(json.loads(told)['components'])} packages\n")


if __name__ == "__main__":
    main()
