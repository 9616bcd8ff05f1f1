"""`make fuzz`: every target in turn, on every core, for as long as is asked for. Prints executions; exits 1 with what failed.

python tests/fuzz/run.py [--seconds 600] [--seed N] [--only NAME,NAME] [--workers N]
"""

import argparse
import multiprocessing
import os
import sys
import time
import traceback
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from mutate import inputs  # noqa: E402
from targets import TARGETS  # noqa: E402

KEPT = 5  # failures of a target, each by another place in the code


def fuzz(job):
    name, seed, seconds = job
    target, corpus = TARGETS[name]
    end, count, failures = time.monotonic() + seconds, 0, {}
    for count, data in enumerate(inputs(corpus, seed), 1):
        try:
            target(data)
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{type(error).__name__} at {frame.filename}:{frame.lineno}"
            smaller = failures.get(place)
            if (smaller is None and len(failures) < KEPT) or (smaller is not None and len(data) < len(smaller[0])):
                failures[place] = (data, count, traceback.format_exc())
        if not count % 16 and time.monotonic() > end:
            break
    return name, seed, count, failures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=600.0, help="in all")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", default="")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    told = parser.parse_args()
    names = [name for name in TARGETS if not told.only or name in told.only.split(",")]
    each = told.seconds * told.workers / len(names)
    total, bad = 0, 0
    with multiprocessing.Pool(told.workers) as pool:
        jobs = [(name, told.seed, each) for name in names]
        for name, seed, count, failures in pool.imap_unordered(fuzz, jobs):
            total += count
            print(f"{name:24} {count:10} executions, seed {seed}, {len(failures)} failures", flush=True)
            for place, (data, number, trace) in failures.items():
                bad += 1
                print(f"--- {name}: {place}, input {number}\n{data[:4000]!r}\n{trace}", flush=True)
    print(f"{total} executions of {len(names)} targets in {told.seconds:g} s, {bad} failures")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
