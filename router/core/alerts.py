"""What is worth telling somebody outside: a budget that passed a share of its limit, and spend that is out of proportion."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, log
from statistics import median
from typing import Any, Literal

from router.core.limits import MICROS, Budget, BudgetState, moment
from router.core.money import show

Kind = Literal["generic", "slack", "feishu", "dingtalk"]
Topic = Literal["budget", "anomaly"]

HOUR = 3600 * MICROS
DAYS_BACK = 14  # hours that the present one is compared with: of so many days before
LEAST_HOURS = 21  # seven days of three hours each; with fewer a team's habits are not known and nothing is said
SPREADS = 4.0
MAX_LOG = 20.0  # half a billion times the usual: no sum is
TIMES = 2.0
MAD_TO_SIGMA = (
    1.4826  # what makes the median absolute deviation of normally distributed values their standard deviation
)


@dataclass(frozen=True, slots=True, repr=False)  # the address and the secret are credentials
class Target:
    """Somebody who is told."""

    name: str
    kind: Kind
    url: str
    secret: str = ""
    topics: frozenset[str] = frozenset({"budget", "anomaly"})
    owners: frozenset[str] | None = None  # teams, and "*" for the budgets of everybody; None: all
    least: int = 0  # nano-units of the reporting currency; an hour that cost less is no anomaly

    def wants(self, alert: "Alert") -> bool:
        return alert.topic in self.topics and (self.owners is None or alert.owner.partition("/")[0] in self.owners)


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing to tell. The `id` is the same for the same thing however often it is found: that is why it is told once."""

    id: str
    topic: Topic
    owner: str
    at: int  # microseconds since 1970
    text: str
    data: Mapping[str, Any] = field(default_factory=dict)


def share_of(state: BudgetState) -> float | None:
    """The highest share of its limit that a budget has passed."""
    return max((share for share in state.budget.alert_at if state.settled >= state.budget.limit * share), default=None)


def passed(state: BudgetState, at: int) -> list[Alert]:
    """An alert for each share that a budget has passed in this window, the highest last: only that is worth sending."""
    budget, out = state.budget, list[Alert]()
    for share in sorted(budget.alert_at):
        if state.settled >= budget.limit * share:
            out.append(_at_share(budget, state, share, at))
    return out


def _at_share(budget: Budget, state: BudgetState, share: float, at: int) -> Alert:
    percent = f"{share * 100:g}"
    limit, spent = f"{show(budget.limit)} {budget.currency}", show(state.settled)
    resets = None if budget.per == "total" else shown(state.ends)
    text = f"Farebox: {budget.describe()} has passed {percent} %: {spent} of {limit} are spent"
    data = {
        "owner": budget.owner, "per": budget.per, "timezone": budget.zone_name, "currency": budget.currency,
        "threshold": share, "limit": show(budget.limit), "spent": spent, "held": show(state.held),
        "window_start": None if budget.per == "total" else shown(state.starts), "resets": resets,
        "on_exceed": budget.on_exceed,
    }  # fmt: skip
    text += f"; it begins anew at {resets}." if resets else "."
    return Alert(f"budget|{budget.account}|{state.starts}|{percent}", "budget", budget.owner, at, text, data)


class Spend:
    """What each team has spent in each hour of the last days: a fold over ledger entries, in nano-units."""

    def __init__(self) -> None:
        self._hours: dict[str, dict[int, int]] = {}
        self._bounds: dict[str, tuple[int, int, int] | None] = {}
        self._since: dict[str, int] = {}

    def load(self, rows: Iterable[tuple[str, int, int]]) -> None:
        """Begin anew with what the ledger has: (team, hour since 1970, spent)."""
        self._hours.clear()
        self._bounds.clear()
        self._since.clear()
        for team, hour, nano in rows:
            self._add(team, hour, nano)

    def add(self, team: str, at: int, nano: int) -> None:
        self._add(team, at // HOUR, nano)

    def _add(self, team: str, hour: int, nano: int) -> None:
        hours = self._hours.setdefault(team, {})
        if hour not in hours:
            self._bounds.pop(team, None)
            for old in [known for known in hours if known < hour - (DAYS_BACK + 1) * 24]:
                del hours[old]
        hours[hour] = hours.get(hour, 0) + nano
        self._since[team] = min(self._since.get(team, hour), hour)

    def unusual(self, team: str, at: int, least: int, currency: str) -> Alert | None:
        """An alert if this hour's spend is out of proportion already, once a day (UTC) for each team."""
        hour = at // HOUR
        spent = self._hours.get(team, {}).get(hour, 0)
        if spent < least:
            return None
        known = self._bounds.get(team)
        if known is None or known[0] != hour:
            found = bound(self.like(team, hour))
            known = self._bounds[team] = (hour, *found) if found else (hour, -1, -1)
        _, usual, most = known
        if most < 0 or spent <= most:
            return None
        day = shown(hour // 24 * 24 * HOUR)[:10]
        text = (
            f"Farebox: team {team} has spent {show(spent)} {currency} since {shown(hour * HOUR)}; "
            f"at this time of day it is {show(usual)} an hour as a rule, and {show(most)} would have been much."
        )
        data = {
            "owner": team, "currency": currency, "hour": shown(hour * HOUR), "spent": show(spent),
            "usual": show(usual), "bound": show(most),
        }  # fmt: skip
        return Alert(f"anomaly|{team}|{day}", "anomaly", team, at, text, data)

    def like(self, team: str, hour: int) -> list[int]:
        """The hours to compare with: the same hour of the day, the one before and the one after, of each day before. An hour
        without spend counts as nothing, from the first hour that the team is known to have spent in.
        """
        hours = self._hours.get(team, {})
        since = self._since.get(team, hour)
        wanted = (hour - 24 * back + off for back in range(1, DAYS_BACK + 1) for off in (-1, 0, 1))
        return [hours.get(each, 0) for each in wanted if since <= each < hour]


def bound(hours: Sequence[int]) -> tuple[int, int] | None:
    """What is usual, and what is beyond doubt too much; None while too little is known.

    Spend varies by factors rather than by amounts, so it is logarithms that are looked at, of the hours that cost anything. Their
    median and median absolute deviation, because up to half of the hours may be anything without moving them far:
    yesterday's runaway does not hide today's, as it would in a mean. Four spreads: of independent lognormal hours that are as
    they always were one in 2,000 is beyond, however wide they vary (tests/core/test_anomalies.py): a false alarm of a team
    in some 80 days. With three and a half it is one in 500, with five an hour has to cost 12 times the usual where four
    find 7 times (a sigma of 0.5). At least twice the usual, because the spread of steady traffic is next to nothing and any small rise
    would be many of them. Where no hour cost anything, whatever does is unusual.
    """
    if len(hours) < LEAST_HOURS:
        return None
    logs = [log(hour) for hour in hours if hour > 0]
    if not logs:
        return 0, 0
    middle = median(logs)
    spread = MAD_TO_SIGMA * median(abs(each - middle) for each in logs)
    usual = round(exp(middle))
    return usual, round(usual * max(TIMES, exp(min(SPREADS * spread, MAX_LOG))))


def shown(at: int) -> str:
    """2026-11-25T12:00:00Z"""
    return moment(at).isoformat(timespec="seconds").replace("+00:00", "Z")
