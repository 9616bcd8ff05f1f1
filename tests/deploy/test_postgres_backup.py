"""docs/deploy.md: a ledger in PostgreSQL is backed up, restored and proven by the commands that it gives."""

import json
import os
import re
import shlex
import subprocess
import sys
import urllib.request

import psycopg
import pytest
from postgresserver import programs
from support import ROOT, FareboxProcess, demo_config, until, write_config

GUIDE = (ROOT / "docs/deploy.md").read_text()
REQUESTS = 5


@pytest.fixture
def place(postgres):
    """A database for the ledger; names the server as programs of PostgreSQL want it named."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE farebox")
    yield {"PGHOST": "127.0.0.1", "PGPORT": str(postgres.port), "PGUSER": "farebox"}
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        for name in ("farebox", "copy"):
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def run(words, place, **how):
    done = subprocess.run(
        [programs() / "bin" / words[0], *words[1:]],
        env=os.environ | place,
        capture_output=True,
        check=False,
        timeout=60,
        **how,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def written(database):
    with psycopg.connect(database) as connection:
        return connection.execute("SELECT count(*) FROM ledger").fetchone()[0]


def test_a_dump_that_was_taken_while_it_serves_is_restored_and_proven(postgres, place, tmp_path):
    (dump,) = re.findall(r"exec -T postgres (pg_dump .*) farebox >farebox\.dump$", GUIDE, re.MULTILINE)
    (create, restore) = re.findall(r"^\$ (createdb copy) && (pg_restore .*)$", GUIDE, re.MULTILINE)[0]
    config = demo_config(tmp_path) | {"store": postgres.of("farebox")}
    with FareboxProcess(config, tmp_path) as process:
        for number in range(REQUESTS):
            body = {"model": "auto", "messages": [{"role": "user", "content": f"number {number}"}]}
            headers = {"Authorization": "Bearer fb-demo-search-key", "Content-Type": "application/json"}
            request = urllib.request.Request(f"{process.url}/v1/chat/completions", json.dumps(body).encode(), headers)
            with urllib.request.urlopen(request, timeout=30) as answer:
                assert answer.status == 200
        until(lambda: written(postgres.of("farebox")) == REQUESTS, "each answer has its row")
        words = [*shlex.split(dump.replace("-U postgres", "-U farebox")), "farebox"]
        (tmp_path / "farebox.dump").write_bytes(run(words, place))
    run(shlex.split(create), place)
    run(shlex.split(restore), place, cwd=tmp_path)
    copy = write_config(demo_config(tmp_path) | {"store": postgres.of("copy")}, tmp_path)
    verified = subprocess.run(
        [sys.executable, "-m", "router", "ledger", "verify", "--config", copy],
        capture_output=True, text=True, check=False, timeout=60, cwd=ROOT,
    )  # fmt: skip
    assert verified.returncode == 0, verified.stderr
    assert verified.stdout.startswith(f"all {REQUESTS} rows are as they were written")
