"""Holiday calendars: the days that a book's `holidays` and `working_days` are judged by. docs/prices.md has the format."""

from datetime import date
from functools import cache
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from router.core.prices import Calendar
from router.resources import config_folder
from router.yamlfile import BadConfiguration, load


class Closed(BaseModel):
    """The constraint that unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class HolidaySettings(Closed):
    name: str = ""
    first: date = Field(alias="from")
    last: date | None = Field(default=None, alias="through")


class YearSettings(Closed):
    """What was published for one year. A holiday is given by its first and last day; both are holidays."""

    source: str = ""
    holidays: list[HolidaySettings]
    working_days: list[date] = Field(default_factory=list)


class CalendarSettings(Closed):
    calendar: str = ""
    years: Annotated[dict[int, YearSettings], Field(min_length=1)]

    def compiled(self, name: str) -> Calendar:
        holidays, made_up = set[int](), set[int]()
        for year in self.years.values():
            for holiday in year.holidays:
                first = holiday.first.toordinal()
                holidays |= set(range(first, (holiday.last or holiday.first).toordinal() + 1))
            made_up |= {day.toordinal() for day in year.working_days}
        return Calendar(name, frozenset(holidays), frozenset(made_up))


@cache
def find(name: str) -> Calendar:
    """A calendar that ships.

    Raises:
        ValueError: there is none of this name; the message says which there are.

    """
    folder = config_folder() / "calendars"
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise ValueError(f"no calendar is called {name!r}; there is {', '.join(known)}")
    try:
        told = CalendarSettings.model_validate(load(folder / f"{name}.yaml").data)
    except (ValidationError, BadConfiguration) as error:
        raise ValueError(f"the calendar {name!r} cannot be read: {error}") from None
    return told.compiled(name)
