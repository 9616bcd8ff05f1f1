"""The spans of time that the page shows, and the columns that they are drawn in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from router.core.limits import MICROS, moment
from router.stores.hours import HOUR

DAY = 24 * HOUR

SPANS: Mapping[str, tuple[int, int]] = {  # name → (step, columns); all time finds its own
    "day": (HOUR, 24),
    "week": (6 * HOUR, 28),
    "month": (DAY, 30),
    "all": (0, 0),
}
STEPS = (DAY, 7 * DAY, 30 * DAY)
MOST_COLUMNS = 60
MOST_LABELS = 6


@dataclass(frozen=True, slots=True)
class Span:
    """Columns of equal width, in UTC; the last one is the running one."""

    name: str
    since: int  # microseconds since 1970
    step: int
    columns: int

    def column(self, at: int) -> int:
        return min(self.columns - 1, max(0, (at - self.since) // self.step))

    @property
    def step_s(self) -> int:
        return self.step // MICROS

    def labels(self) -> Sequence[str]:
        """Short, for below some of the columns, so few that they have room on a phone; "" below the others."""
        form = "%H:%M" if self.step < 6 * HOUR else "%m-%d"
        starts = [self.since + i * self.step for i in range(self.columns)]
        return [moment(at).strftime(form) if self._is_marked(i, at) else "" for i, at in enumerate(starts)]

    def _is_marked(self, i: int, at: int) -> bool:
        if self.step == HOUR:
            return at % (4 * HOUR) == 0
        if self.step < DAY:
            return at % (2 * DAY) == 0
        return (self.columns - 1 - i) % -(-self.columns // MOST_LABELS) == 0  # the newest is always marked

    def titles(self) -> Sequence[str]:
        """Whole: when each column begins."""
        form = "%Y-%m-%d" if self.step >= DAY else "%Y-%m-%d %H:%M"
        return [moment(self.since + i * self.step).strftime(form) for i in range(self.columns)]


def span(name: str, now: int, first: int | None) -> Span:
    """A span that ends with the running column; `first` is the first day of which there is something."""
    step, columns = SPANS.get(name, (0, 0))
    if not step:
        begin = now - now % DAY if first is None else first
        step = next((step for step in STEPS if (now - begin) // step < MOST_COLUMNS), STEPS[-1])
        columns = max(7, (now - begin) // step + 1) if step == DAY else (now - begin) // step + 1
        name = "all"
    start = now - now % step if step <= DAY else now - now % DAY - step + DAY
    return Span(name, start - (columns - 1) * step, step, columns)
