"""Resolve the lock files again: `make lock`. One universal file per use, each package with the hashes of all its wheels."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
BASE = ["uv", "pip", "compile", "--quiet", "--upgrade", "--universal", "--python-version", "3.11", "--generate-hashes",
        "--no-emit-index-url", "--no-annotate", "--no-header"]  # fmt: skip


def main() -> None:
    for target, source in (
        ("run.txt", ["pyproject.toml"]),
        ("build.txt", ["requirements/build.in"]),
        ("otel.txt", ["pyproject.toml", "--extra", "otel"]),
        ("shared.txt", ["pyproject.toml", "--extra", "postgres", "--extra", "redis"]),
        ("dev.txt", ["pyproject.toml", "requirements/build.in", "--all-extras", "--group", "dev"]),
    ):
        subprocess.run(
            [sys.executable, "-m", *BASE, *source, "--output-file", f"requirements/{target}"],
            check=True,
            cwd=HERE.parent,
        )


if __name__ == "__main__":
    main()
