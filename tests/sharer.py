"""`farebox serve` of one process among several that share a SQLite file: `python sharer.py serve --config FILE`."""

import asyncio
import sys
from pathlib import Path

from router import logs
from router.app import Farebox
from router.cli.serve import _say
from router.clock import SystemClock
from router.listening import bind
from router.server import run
from router.snapshot import load


async def serve(file):
    logs.set_up()
    farebox = Farebox(load(file), SystemClock(), shared=True)
    await run(farebox, bind("127.0.0.1", 0), lambda url: _say(url, farebox.snapshot, None))


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[sys.argv.index("--config") + 1])))
