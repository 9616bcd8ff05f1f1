"""When a set of rates holds: how long prompt and answer are, whether the model was asked to think, which service tier
the request was served at, and what the clock and the calendar say where the vendor bills.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from router.core.limits import MICROS
from router.core.value import value

MICROS_PER_DAY = 86_400 * MICROS
MICROS_PER_MINUTE = 60 * MICROS
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC).toordinal()

ORDINARY_TIERS = frozenset({"default", "standard", "standard_only", "auto", "on_demand", "scale"})
"""How vendors call the service tier that costs what the list says; `scale` is paid for in advance."""


@value()
class Facts:
    """What a price may depend on, of one request."""

    at: int  # microseconds since 1970
    input_tokens: int = 0
    output_tokens: int = 0
    thinking: bool = False
    service_tier: str | None = None  # what was asked for, or what the answer says it got; None: the ordinary one

    @property
    def tier(self) -> str | None:
        """The service tier if it is not the ordinary one."""
        return special(self.service_tier)


def special(service_tier: str | None) -> str | None:
    """A service tier by the name that prices have for it; None for the ordinary one, whatever it is called."""
    name = (service_tier or "").lower()
    return None if not name or name in ORDINARY_TIERS else name


@dataclass(frozen=True, slots=True)
class Span:
    """A count of tokens more than `above` and at most `to`."""

    above: int = -1
    to: int | None = None

    def holds(self, count: int) -> bool:
        return count > self.above and (self.to is None or count <= self.to)

    def meets(self, low: int, high: int) -> bool:
        """Whether any count from low to high lies in it."""
        return high > self.above and (self.to is None or low <= self.to)


ANY = Span()


@dataclass(frozen=True, slots=True)
class Calendar:
    """Public holidays, and the weekend days that are worked in exchange. Days are ordinals, as `date.toordinal` has
    them. A day of a year that nobody has published is an ordinary one.
    """

    name: str
    holidays: frozenset[int]
    made_up: frozenset[int] = frozenset()

    def works(self, day: int) -> bool:
        """Whether a day is worked: Monday to Friday without the holidays, and what is worked in exchange."""
        return day in self.made_up or (_weekday(day) < 5 and day not in self.holidays)


@dataclass(frozen=True, slots=True)
class When:
    """The condition of one set of rates; the default holds for every request of the ordinary service tier."""

    input_tokens: Span = ANY
    output_tokens: Span = ANY
    thinking: bool | None = None
    minutes: tuple[int, int] | None = None  # of the day, [start, end), wrapping past midnight
    weekdays: frozenset[int] = frozenset()  # Monday is 0; empty means every day
    zone: tzinfo | None = None  # where minutes, weekdays and holidays are told; None: UTC
    calendar: Calendar | None = None
    holidays: bool | None = None  # whether the day is a holiday of the calendar
    working_days: bool | None = None  # whether the day is worked, by the calendar
    service_tier: str | None = None  # None: the ordinary one

    def holds(self, facts: Facts) -> bool:
        """Whether all of it but the service tier holds."""
        return (
            self.input_tokens.holds(facts.input_tokens)
            and self.output_tokens.holds(facts.output_tokens)
            and (self.thinking is None or self.thinking is facts.thinking)
            and self.holds_at(facts.at)
        )

    @property
    def clocked(self) -> bool:
        """Whether clock or calendar play a part."""
        return self.minutes is not None or bool(self.weekdays) or self.calendar is not None

    def holds_at(self, at: int) -> bool:
        """Whether the clock part holds at an instant (microseconds since 1970). Each instant is judged by the wall clock
        and the day that are told in `zone` then, also where hours reach past midnight.
        """
        if self.minutes is None and not self.weekdays and self.calendar is None:
            return True
        day, minute = _told(at, self.zone)
        if self.weekdays and _weekday(day) not in self.weekdays:
            return False
        if self.calendar is not None:
            if self.holidays is not None and self.holidays is not (day in self.calendar.holidays):
                return False
            if self.working_days is not None and self.working_days is not self.calendar.works(day):
                return False
        if self.minutes is None:
            return True
        start, end = self.minutes
        return start <= minute < end if start <= end else minute >= start or minute < end


ALWAYS = When()


def _told(at: int, zone: tzinfo | None) -> tuple[int, int]:
    """The day, as an ordinal, and its minute at an instant."""
    if zone is None:
        day, rest = divmod(at, MICROS_PER_DAY)
        return day + _EPOCH, rest // MICROS_PER_MINUTE
    local = datetime.fromtimestamp(at // MICROS, zone)
    return local.toordinal(), local.hour * 60 + local.minute


def _weekday(day: int) -> int:
    return (day + 6) % 7
