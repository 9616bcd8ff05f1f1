"""The clock, as an argument, so that tests can push it."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Alarm(Protocol):
    def cancel(self) -> None:
        """Do not ring; safe to call when it has rung."""


class Clock(Protocol):
    def now(self) -> int:
        """Microseconds since 1970, UTC."""

    def seconds(self) -> float:
        """Seconds on a clock that never jumps, for measuring."""

    def later(self, seconds: float, call: Callable[[], object]) -> Alarm:
        """Call back on the running loop after so many seconds."""


class SystemClock:
    def now(self) -> int:
        return time.time_ns() // 1000

    seconds = staticmethod(time.perf_counter)

    def later(self, seconds: float, call: Callable[[], object]) -> Alarm:
        return asyncio.get_running_loop().call_later(seconds, call)
