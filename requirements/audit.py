"""Look every locked package up in the database of known vulnerabilities: `make audit`. Exits 1 if there is one.

Needs the network, so neither `make test` nor CI depends on it: where the database cannot be reached it says so and
exits 0, unless AUDIT=strict.
"""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
FILES = ("run.txt", "shared.txt", "build.txt", "dev.txt")
_UNREACHABLE = (
    "ConnectionError",
    "ConnectTimeout",
    "ReadTimeout",
    "Max retries",
    "ServiceError",
    "Could not connect",
    "ProxyError",
)


def main() -> None:
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--progress-spinner", "off"]
    service = os.environ.get("AUDIT_SERVICE", "osv")
    files = [word for name in FILES for word in ("-r", str(HERE / name))]
    done = subprocess.run([*command, "-s", service, *files], capture_output=True, text=True, check=False)
    sys.stdout.write(done.stdout)
    if done.returncode and any(sign in done.stderr for sign in _UNREACHABLE) and "Found" not in done.stderr:
        sys.stderr.write("not audited: the database of vulnerabilities cannot be reached from here\n")
        sys.exit(2 if os.environ.get("AUDIT") == "strict" else 0)
    sys.stderr.write(done.stderr)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
