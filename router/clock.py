"""The clock, as an argument, so that tests can push it."""

import time
from typing import Protocol


class Clock(Protocol):
    def now(self) -> int:
        """Microseconds since 1970, UTC."""

    def seconds(self) -> float:
        """Seconds on a clock that never jumps, for measuring."""


class SystemClock:
    def now(self) -> int:
        return time.time_ns() // 1000

    def seconds(self) -> float:
        return time.perf_counter()
