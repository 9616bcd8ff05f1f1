"""A ledger of millions of rows, and what reading it costs: `farebox report`, the page's queries, `farebox whatif`.

    rows.py FILE [--rows 5000000] [--keep]

Real rows are made by `farebox ledger demo`, 100,000 of them; the rest are copies of them, a microsecond later each, so
that it takes minutes and not hours. The copies' hashes are not a chain: this is no ledger to verify. The sums per hour and
day are made as on a ledger of an earlier version, by its migration, whose time is told too. Times are of the wall and of
the processor; memory is the most that the process ever had.
"""

import argparse
import contextlib
import json
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from router.core.limits import micros
from router.stores.ledgerfile import connect, migrate, totals
from router.stores.schema import COLUMNS, STEPS
from router.stores.spans import DAY, summed

ROOT = Path(__file__).resolve().parents[2]
MONTH, REAL = "2026-10", 100_000
SUMS = next(number for number, step in enumerate(STEPS) if "CREATE TABLE spans" in step)  # the schema before them
CONFIG = ROOT / "config" / "demo.yaml"


def farebox(*words):
    """Run a command; (seconds of the wall, of the processor, MiB at most, its output)."""
    begun = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "router", *map(str, words)], cwd=ROOT, stdout=subprocess.PIPE, env={**os.environ}
    )
    out = child.stdout.read()
    _, status, used = os.wait4(child.pid, 0)
    assert status == 0, words
    return time.perf_counter() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, out


def make(file, rows):
    """The file at the schema before the sums, then brought up to date."""
    small = file.with_suffix(".real.db")
    for old in (file, small):
        for end in ("", "-wal", "-shm"):
            Path(f"{old}{end}").unlink(missing_ok=True)
    farebox("ledger", "demo", "--config", CONFIG, "--month", MONTH, "--rows", min(REAL, rows), small)
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.executescript(
            f"PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; {''.join(STEPS[:SUMS])} PRAGMA user_version={SUMS};"
        )
        connection.execute("ATTACH ? AS small", (str(small),))
        names = ", ".join(COLUMNS)
        copied = ", ".join(
            {"id": "printf('%s-%d', id, ?1)", "request_id": "printf('%s-%d', request_id, ?1)", "at": "at + ?1"}.get(
                name, name
            )
            for name in COLUMNS
        )
        for number in range(-(-rows // REAL)):
            connection.execute(
                f"INSERT INTO ledger ({names}, hash) SELECT {copied}, hash FROM small.ledger WHERE seq <= ?2",
                (number, min(REAL, rows - number * REAL)),
            )
            connection.commit()
    begun = time.perf_counter(), time.process_time()
    migrate(file)
    took = time.perf_counter() - begun[0], time.process_time() - begun[1]
    print(f"migration: {took[0]:.1f} s, {took[1]:.1f} s of processor")


def timed(what, query):
    """The best of five, in milliseconds."""
    best, found = 1e9, 0
    for _ in range(5):
        begun = time.perf_counter()
        found = len(list(query()))
        best = min(best, (time.perf_counter() - begun) * 1000)
    print(f"{what}: {best:.0f} ms, {found} rows")


def queries(file):
    """What a page asks for: now, the last day by hour, the month by day, everything."""
    from datetime import UTC, datetime  # noqa: PLC0415

    now = micros(datetime(2026, 10, 30, 13, 47, 11, tzinfo=UTC))
    month = micros(datetime(2026, 10, 1, tzinfo=UTC)) - 8 * DAY // 24  # of Shanghai
    with contextlib.closing(connect(file)) as connection:
        hours, spans = connection.execute("SELECT count(*), sum(length = 3600000000) FROM spans").fetchone()
        print(f"sums kept: {hours} rows, {spans} of them of hours")
        timed("all time, by everything (the page's totals)", lambda: totals(connection))
        timed("the last 24 hours, by everything", lambda: totals(connection, now - DAY, now))
        timed("the last 24 hours by hour and model", lambda: summed(connection, ("model", "tier"), ("cost",), now - DAY, now, "hour"))  # fmt: skip
        timed("a month of Shanghai by day and model", lambda: summed(connection, ("model", "tier"), ("cost",), month, now, "day"))  # fmt: skip
        timed("a month by hour and model", lambda: summed(connection, ("model", "tier"), ("cost",), month, now, "hour"))


def reports(file, rows):
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "farebox.yaml"
        config.write_text(CONFIG.read_text().replace("sqlite:///var/demo.db", f"sqlite:///{file.absolute()}"))
        for words in (
            ("report", "--by", "team,day"),
            ("report", "--by", "team,day", "--since", "2026-10-03T01:02:03", "--until", "2026-10-29T04:05:06"),
            ("report", "--format", "focus"),
            ("top", "--once", "--span", "month"),
        ):
            wall, cpu, mib, _ = min(farebox(*words, "--config", config) for _ in range(3))
            print(f"{' '.join(words)}: {wall:.2f} s, {cpu:.2f} s of processor, {mib:.0f} MiB")
        for words in (("whatif", "--stay"), ("whatif",), ("whatif", "--without", "deepseek")):
            wall, cpu, mib, out = farebox(*words, "--config", config, "--format", "json")
            moved = json.loads(out)["total"]["share"]
            print(
                f"{' '.join(words)}: {wall:.1f} s, {cpu:.1f} s of processor, {rows / cpu:,.0f} rows/s of it, {mib:.0f} MiB, moved {moved} %"
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--keep", action="store_true", help="measure a file that was made before")
    told = parser.parse_args()
    if not told.keep:
        make(told.file, told.rows)
    queries(told.file)
    reports(told.file, told.rows)
    print(f"this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
