"""Budgets and their calendar windows.

A window is the hour, day, week (from Monday), month, quarter or year that holds an instant in the budget's time zone,
as half-open instants in microseconds since 1970. `total` never ends.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal

from router.core.value import value

MICROS = 1_000_000
FOREVER = 2**62

Period = Literal["hour", "day", "week", "month", "quarter", "year", "total"]


def micros(when: datetime) -> int:
    """An aware datetime as microseconds since 1970."""
    return round(when.timestamp() * MICROS)


def moment(at: int) -> datetime:
    """Microseconds since 1970 as a UTC datetime."""
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=at)


def window(per: Period, zone: tzinfo, at: int) -> tuple[int, int]:
    """The window that holds the instant `at`, as [start, end)."""
    if per == "total":
        return 0, FOREVER
    local = moment(at).astimezone(zone)
    if per == "hour":  # subtracting elapsed time keeps the two equal hours of an autumn night apart
        begun = at - (local.minute * 60 + local.second) * MICROS - local.microsecond
        return begun, begun + 3600 * MICROS
    day = datetime(local.year, local.month, local.day, tzinfo=zone)
    if per == "day":
        start, end = day, _days_later(day, 1)
    elif per == "week":
        start = _days_later(day, -local.weekday())
        end = _days_later(start, 7)
    else:
        months = {"month": 1, "quarter": 3, "year": 12}[per]
        first = (local.month - 1) // months * months
        start = datetime(local.year, first + 1, 1, tzinfo=zone)
        end = datetime(local.year + (first + months) // 12, (first + months) % 12 + 1, 1, tzinfo=zone)
    return micros(start), micros(end)


def _days_later(day: datetime, days: int) -> datetime:
    """Midnight, so many calendar days later: a day with a clock change is not 24 hours long."""
    later = day.replace(tzinfo=None) + timedelta(days=days)
    return later.replace(tzinfo=day.tzinfo)


@dataclass(frozen=True, slots=True)
class Budget:
    """One limit on what an account may spend in a window. `account` names the counter in stores: it tells whose money,
    which window and which currency, and not the limit, so that a limit can be edited without losing what was spent.
    """

    owner: str  # "search" (a team), "search/app" (a team's key) or "*" (everybody): the `team` label of the gauges
    limit: int  # nano-units of `currency`
    currency: str
    per: Period
    zone: tzinfo
    zone_name: str = "UTC"
    soft: int | None = None  # nano-units; past it `on_soft` applies
    on_soft: str = "cheap"
    on_exceed: str = "refuse"
    alert_at: tuple[float, ...] = ()  # shares of the limit that are told when they are passed

    @property
    def account(self) -> str:
        return f"{self.owner}|{self.per}|{self.zone_name}|{self.currency}"

    def window(self, at: int) -> tuple[int, int]:
        return window(self.per, self.zone, at)

    def describe(self) -> str:
        """In a sentence: "the daily budget of team search"."""
        adjective = {"hour": "hourly", "day": "daily", "week": "weekly", "month": "monthly", "quarter": "quarterly"}
        whose = (
            "everybody" if self.owner == "*" else f"team {self.owner}" if "/" not in self.owner else f"key {self.owner}"
        )
        return f"the {adjective.get(self.per, 'yearly' if self.per == 'year' else 'total')} budget of {whose}"


@value()
class BudgetState:
    """What a budget looks like at an instant, in nano-units of its currency."""

    budget: Budget
    settled: int
    held: int
    starts: int
    ends: int

    @property
    def free(self) -> int:
        return self.budget.limit - self.settled - self.held

    def forecast(self, now: int) -> int:
        """What will have been spent when the window ends if it goes on as it has so far."""
        elapsed, whole = now - self.starts, self.ends - self.starts
        if self.budget.per == "total" or elapsed <= 0:
            return self.settled
        return self.settled * whole // max(elapsed, whole // 100)
