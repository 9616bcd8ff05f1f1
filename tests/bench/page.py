"""The page's server time with a large ledger: `python tests/bench/page.py [--rows 1000000] [--store FILE]`.

Makes a ledger with a past in a temporary folder (about 15 s for 100,000 rows), serves it, and asks for each span of time again
and again. With `--store` a ledger that is there already is taken as it is.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/admin")]

from past import fill  # noqa: E402
from support import FareboxProcess, demo_config, write_config  # noqa: E402

from router.snapshot import load  # noqa: E402

VIEWS = 40


def view(url):
    began = time.perf_counter()
    with urllib.request.urlopen(url) as reply:
        page = reply.read()
    return (time.perf_counter() - began) * 1000, page


def measure(url):
    began, first = time.perf_counter(), []
    while True:
        took, page = view(url)
        first.append(took)
        if b"still being read" not in page:
            break
        time.sleep(0.5)
    print(f"read after {time.perf_counter() - began:.1f} s; until then {max(first):.0f} ms at most")
    for span in ("day", "week", "month", "all"):
        took = sorted(view(f"{url}/?span={span}")[0] for _ in range(VIEWS))
        print(
            f"{span:6} median {statistics.median(took):5.1f} ms, 95 % {took[VIEWS * 95 // 100 - 1]:5.1f} ms, most {took[-1]:5.1f} ms"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--days", type=float, default=90)
    parser.add_argument("--store", type=Path, help="a ledger that is there already")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        config = demo_config(folder)
        if told.store:
            config["store"] = f"sqlite:///{told.store.absolute()}"
        else:
            for team in config["teams"].values():
                team["budgets"] = []
            count = asyncio.run(fill(load(write_config(config, folder), "http://127.0.0.1:1"), told.rows, told.days))
            print(f"{count} rows")
        with FareboxProcess(config, folder) as process:
            measure(process.url)
            status = Path(f"/proc/{process.child.pid}/status").read_text()
            print(next(line for line in status.splitlines() if line.startswith("VmRSS")))


if __name__ == "__main__":
    main()
