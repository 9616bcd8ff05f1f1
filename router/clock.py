"""The clock, as an argument, so that tests can push it."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self


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


@dataclass(slots=True)
class Stopwatch:
    """`with Stopwatch(...) as watch`: what of one request's time is our own, told once, when all of it is over."""

    clock: Clock
    tell: Callable[[float], object]
    since: float | None  # it runs since then; None while others are waited for
    own_s: float = 0.0
    calling: bool = False  # vendors are asked, perhaps when the request's own client has left
    told: bool = False

    def pause(self) -> None:
        if self.since is not None:
            self.own_s += self.clock.seconds() - self.since
            self.since = None

    def resume(self) -> None:
        self.since = self.clock.seconds()

    def lap(self, own_s: float) -> None:
        """So much of what has passed since it runs was our own."""
        self.own_s += own_s
        self.resume()

    def stop(self) -> None:
        if not self.calling and not self.told:
            self.pause()
            self.told = True
            self.tell(self.own_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
