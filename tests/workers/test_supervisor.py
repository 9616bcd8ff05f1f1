"""The parent by itself, with workers that do as little as can be: each test runs one in a process of its own."""

import itertools
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from support import ROOT, until

SCRIPT = """
    import json, os, signal, socket, sys, threading, time
    from pathlib import Path
    from router.workers import supervisor
    from router.workers.supervisor import Supervisor, close, shares

    folder, how = Path(sys.argv[1]), sys.argv[2]
    if how in ("beats", "drains"):
        supervisor.SILENT_S, supervisor.BEAT_S = 1.5, 0.3

    def beat(channel):
        while how == "beats":
            channel.sendall(b'{"alive": true}\\n')
            time.sleep(0.1)

    def drain(channel):
        channel.sendall(b'{"ends": true}\\n')
        time.sleep(2.5)
        os._exit(0)

    def child(worker, channel):
        with (folder / "born").open("a") as born:
            born.write(f"{worker.number} {os.getpid()} {time.monotonic()}\\n")
        if how == "fails" and worker.number == 1:
            raise SystemExit(3)
        signal.signal(signal.SIGHUP, lambda *_: (folder / f"hup-{worker.number}").touch())
        if how == "drains":
            signal.signal(signal.SIGTERM, lambda *_: drain(channel))
        channel.sendall(json.dumps({"replica": f"r{os.getpid()}", "ready": True}).encode() + b"\\n")
        threading.Thread(target=beat, args=[channel], daemon=True).start()
        for line in channel.makefile():
            with (folder / f"told-{worker.number}").open("a") as told:
                told.write(line)
            if how == "dies" and worker.number == 1 and "complete" in line:
                os._exit(9)

    raise SystemExit(Supervisor(2, child, lambda: (folder / "announced").write_text(str(os.getpid()))).run())
"""


class Parent:
    def __init__(self, folder, how):
        self.folder = folder
        (folder / "script.py").write_text(textwrap.dedent(SCRIPT))
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.errors = (folder / "errors").open("w+b")
        self.child = subprocess.Popen(
            [sys.executable, folder / "script.py", folder, how], env=environment, stderr=self.errors
        )

    def born(self):
        """(number, pid, when) of every worker that was ever started."""
        file = self.folder / "born"
        lines = file.read_text().splitlines() if file.exists() else []
        return [(int(number), int(pid), float(at)) for number, pid, at in map(str.split, lines)]

    def pids(self):
        return {number: pid for number, pid, _ in self.born()}

    def told(self, number):
        file = self.folder / f"told-{number}"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def announced(self):
        return (self.folder / "announced").exists()


@pytest.fixture
def parent(tmp_path):
    made = []

    def start(how="serves"):
        made.append(Parent(tmp_path, how))
        return made[-1]

    yield start
    for one in made:
        if one.child.poll() is None:
            one.child.kill()
        one.child.wait()
        one.errors.close()


def is_there(pid):
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_it_is_announced_once_all_are_ready_and_ended_with_all_of_them(parent):
    one = parent()
    until(one.announced, "all are ready")
    assert sorted(one.pids()) == [0, 1]
    until(lambda: all({"do": "complete"} in one.told(number) for number in (0, 1)), "they know it")
    one.child.terminate()
    assert one.child.wait(10) == 1  # these workers know of no draining: the signal ends them
    assert not any(is_there(pid) for pid in one.pids().values())


def test_one_that_is_killed_is_buried_and_covered_by_a_sibling_until_another_has_its_place(parent):
    one = parent()
    until(one.announced, "all are ready")
    before = one.pids()
    os.kill(before[1], signal.SIGKILL)
    until(lambda: {"do": "uncover", "number": 1} in one.told(0), "another has its place")
    assert one.pids()[0] == before[0] and one.pids()[1] != before[1]
    said = [told for told in one.told(0) if told["do"] != "complete"]
    assert said == [
        {"do": "bury", "replica": f"r{before[1]}"},
        {"do": "cover", "number": 1},
        {"do": "uncover", "number": 1},
    ]


def test_one_that_dies_again_and_again_is_started_ever_more_slowly(parent):
    one = parent("dies")
    until(lambda: len([n for n, _, _ in one.born() if n == 1]) >= 4, "it was started four times")
    times = [at for number, _, at in one.born() if number == 1]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps[0] < 0.25 <= gaps[1] < gaps[2]
    assert [number for number, _, _ in one.born()].count(0) == 1  # its sibling serves on


def test_nothing_is_served_where_one_cannot_start(parent):
    one = parent("fails")
    assert one.child.wait(10) == 1
    assert not one.announced() and not any(is_there(pid) for pid in one.pids().values())


def test_a_hangup_goes_to_all(parent):
    one = parent()
    until(one.announced, "all are ready")
    one.child.send_signal(signal.SIGHUP)
    until(lambda: all((one.folder / f"hup-{number}").exists() for number in (0, 1)), "both have heard it")


def test_one_that_hangs_is_killed_and_replaced(parent):
    one = parent("beats")
    until(one.announced, "all are ready")
    before = one.pids()
    os.kill(before[1], signal.SIGSTOP)
    until(lambda: {"do": "uncover", "number": 1} in one.told(0), "another has its place")
    assert one.pids()[0] == before[0] and one.pids()[1] != before[1] and not is_there(before[1])
    assert {"do": "bury", "replica": f"r{before[1]}"} in one.told(0)
    assert "a worker hangs: it has said nothing for 1.5 s and is killed" in (one.folder / "errors").read_text()


def test_nobody_is_killed_after_all_were_stopped_together(parent):
    one = parent("beats")
    until(one.announced, "all are ready")
    before = one.born()
    everybody = [*one.pids().values(), one.child.pid]
    for pid in everybody:  # the parent last, when it has read all that they have said
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.2)
    time.sleep(2)
    for pid in reversed(everybody):  # and first again: each worker has its whole time from then
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.2)
    time.sleep(1.5)
    assert one.born() == before and all(is_there(pid) for pid in everybody)


def test_one_that_has_said_that_it_ends_may_be_silent(parent):
    one = parent("drains")
    until(one.announced, "all are ready")
    one.child.terminate()
    assert one.child.wait(10) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a worker sees its channel end")
def test_workers_die_with_a_parent_that_is_killed(parent):
    one = parent()
    until(one.announced, "all are ready")
    one.child.kill()
    one.child.wait()
    until(lambda: not any(is_there(pid) for pid in one.pids().values()), "nobody is left")
