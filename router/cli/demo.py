"""`farebox ledger demo`: a ledger of made-up traffic, to try `report`, `whatif` and the page on."""

import random
import sys
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path

import click

from router.cli.common import config_option, load_or_exit, no
from router.core.catalog import Caller, Catalog, Model, Route, Tier
from router.core.entry import Attempt, Entry, Outcome
from router.core.limits import MICROS, micros
from router.core.money import Rate, nano_from_pico
from router.core.prices import Facts, Timeline, Unpriced
from router.core.replay import Replay
from router.core.reprice import Consumed
from router.core.usage import Usage
from router.core.whom import Change, Target
from router.snapshot import Snapshot
from router.stores.ports import StoreDown
from router.stores.sqlite import fill

BY_HOUR = (2, 1, 1, 1, 1, 2, 4, 8, 14, 18, 18, 16, 12, 15, 18, 18, 16, 13, 10, 8, 7, 6, 4, 3)
"""How much is asked in each hour of a day, in UTC: an office's day."""
ANSWER = 220  # output tokens that an answer usually has


@click.command("demo")
@config_option
@click.option("--month", default="2024-06", show_default=True, metavar="YYYY-MM", help="When it all was.")
@click.option("--rows", type=click.IntRange(1), default=100_000, show_default=True, help="How many attempts.")
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed, other traffic.")
@click.argument("file", type=click.Path(path_type=Path))
def command(config: Path | None, month: str, rows: int, seed: int, file: Path) -> None:
    """Make a ledger of made-up traffic in FILE, which must not be there yet.

    The teams and routes are the configuration's. Each request is decided and charged as the server would have done, at
    the prices of its day. Nothing of it ever happened: do not mix it with a ledger that counts.
    """
    try:
        first = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
    except ValueError:
        raise click.BadParameter(f"{month!r} is not a month, as in 2024-06", param_hint="--month") from None
    if file.exists():
        no(f"{file} is there already; made-up rows go only into a file of their own")
    after = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    traffic = Traffic(load_or_exit(config, "http://mock.invalid"), micros(first), micros(after), rows, seed)
    try:
        fill(file, _shown(traffic.entries(), rows))
    except StoreDown as error:
        no(error)
    print(f"{file}: {rows} rows of made-up traffic in {month}")


def _shown(entries: Iterator[Entry], rows: int) -> Iterator[Entry]:
    from rich.console import Console  # noqa: PLC0415 (only a terminal needs it)
    from rich.progress import track  # noqa: PLC0415

    shown = sys.stderr.isatty()
    yield from track(entries, "Making", rows, console=Console(stderr=True), transient=True, disable=not shown)


class Traffic:
    """Attempts over a span of time, the same for the same seed."""

    def __init__(self, snapshot: Snapshot, since: int, until: int, rows: int, seed: int) -> None:
        self.snapshot = snapshot
        self.since, self.until, self.rows = since, until, rows
        self.draw = random.Random(seed)  # noqa: S311 (nothing secret)
        self.callers = _callers(snapshot)
        self.replay = Replay(
            snapshot.catalog, snapshot.teams, snapshot.rates, _nowhere, lambda _: ANSWER, _no_row, Change()
        )
        self.flagships: dict[str, Model | None] = {}
        days = max(1, (until - since) // (86_400 * MICROS))
        weights = [by * (1.0 if day % 7 < 5 else 0.4) for day in range(days) for by in BY_HOUR]
        self._until = list(accumulate(weights))

    def entries(self) -> Iterator[Entry]:
        """In the order in which they were closed."""
        made = 0
        while made < self.rows:
            caller, key, asked = self.draw.choice(self.callers)
            for entry in self._request(made, caller, key, asked):
                yield entry
                made += 1
                if made == self.rows:
                    return

    def _request(self, number: int, caller: Caller, key: str, asked: str) -> Iterator[Entry]:
        """The attempts of one request; one in a hundred fails once before it is answered."""
        draw, at = self.draw, self._instant(number)
        usage = self._usage(asked)
        target = self.replay.whom(caller.team, asked, at, usage.input_total * 2 + bool(usage.output_reasoning))
        if not isinstance(target, Target):
            no(f"at {datetime.fromtimestamp(at // MICROS, UTC):%Y-%m-%d}, of route {asked!r}: {target.why}")
        chance, tries = draw.random(), 1
        if chance < 0.01:
            tries = 2
            yield self._entry(number, 1, at, caller, key, asked, target, Usage(), "error")
        outcome: Outcome = "left" if chance > 0.995 else "ok"
        yield self._entry(number, tries, at + (tries - 1) * 300_000, caller, key, asked, target, usage, outcome)

    def _instant(self, number: int) -> int:
        """Requests follow each other over the days' and the weeks' ups and downs."""
        place = (number + self.draw.random()) / self.rows * self._until[-1]
        hour = min(bisect_right(self._until, place), len(self._until) - 1)
        begun = self._until[hour - 1] if hour else 0.0
        part = (place - begun) / (self._until[hour] - begun)
        length = (self.until - self.since) / len(self._until)
        return min(self.until - 1, self.since + int((hour + part) * length))

    def _usage(self, asked: str) -> Usage:
        draw = self.draw
        prompt = min(30_000, max(8, int(draw.lognormvariate(6.3, 1.0))))
        if self._embeds(asked):
            return Usage(input_fresh=min(prompt, 4000), output_text=0)
        cached = int(prompt * draw.random()) if prompt > 1024 and draw.random() < 0.4 else 0
        return Usage(prompt - cached, cached, output_text=max(1, min(4000, int(draw.lognormvariate(5.1, 0.8)))))

    def _embeds(self, asked: str) -> bool:
        route = self.snapshot.catalog.routes.get(asked)
        return route is not None and all(model.kind == "embedding" for model in route.models)

    def _entry(
        self, number: int, attempt: int, at: int, caller: Caller, key: str, asked: str, target: Target, usage: Usage,
        outcome: Outcome,
    ) -> Entry:  # fmt: skip
        vendor, _, name = target.name.partition("/")
        model, table, catalog = self.snapshot.catalog.models[name], self.snapshot.rates.at(at), self.snapshot.catalog
        price = target.timeline.at(at)
        took = 200 + 8 * (usage.output_text or 0)
        facts = Facts(at, usage.input_total, usage.output_total, bool(usage.output_reasoning))
        if price.evaluated == "completion":
            facts = Facts(at + took * 1000, facts.input_tokens, facts.output_tokens, facts.thinking)
        pico = price.cost_pico(usage, facts)
        vendor_cost, cost = nano_from_pico(pico), nano_from_pico(pico, table[price.currency])
        if asked not in self.flagships:
            self.flagships[asked] = _flagship(catalog, asked)
        flagship = _cost_at(self.flagships[asked], at, usage, table) or cost
        attempted = Attempt(
            id=f"demo-{number:09x}.{attempt}", request_id=f"demo-{number:09x}", number=attempt, at=at,
            team=caller.team, key=key, route=asked, model=name, vendor=vendor, tier=str(model.tier),
            price=price.label, currency=self.snapshot.rates.reporting, vendor_currency=price.currency,
            held=2 * cost, held_vendor=2 * vendor_cost, held_flagship=2 * flagship, holds=(), bound=usage,
            reason="made up", prompt_estimate=usage.input_total, prompt_high=2 * usage.input_total,
        )  # fmt: skip
        return Entry(
            attempt=attempted, outcome=outcome, basis="estimated" if outcome == "left" else "reported", usage=usage,
            cost=cost, vendor_cost=vendor_cost, flagship_cost=flagship, charges=(), final=outcome != "error",
            first_byte_ms=None if outcome == "error" else 180, total_ms=took,
        )  # fmt: skip


def _callers(snapshot: Snapshot) -> Sequence[tuple[Caller, str, str]]:
    """(team, key, route) for each that a team may use; the earlier teams and routes are used more."""
    out: list[tuple[Caller, str, str]] = []
    keys: dict[str, list[str]] = {}
    for caller in snapshot.callers.values():
        keys.setdefault(caller.team, []).append(caller.key)
    for place, (name, team) in enumerate(snapshot.teams.items()):
        routes = [route for route in snapshot.catalog.routes if team.routes is None or route in team.routes]
        for i, route in enumerate(routes):
            for key in keys.get(name, ["made-up"]):
                out += [(team, key, route)] * max(1, 6 - place - 2 * i)
    if not out:
        no("the configuration has no team that may use a route")
    return out


def _flagship(catalog: Catalog, asked: str) -> Model | None:
    route = catalog.routes.get(asked) or Route(asked, ())
    return next((model for model in route.models if model.tier is Tier.FLAGSHIP), None)


def _cost_at(model: Model | None, at: int, usage: Usage, table: Mapping[str, Rate]) -> int | None:
    """What the usage would cost at a model's price; None where nobody knows."""
    if model is None:
        return None
    try:
        price = model.timeline.at(at)
        return nano_from_pico(
            price.cost_pico(usage, Facts(at, usage.input_total, usage.output_total)), table[price.currency]
        )
    except (Unpriced, KeyError):
        return None


def _nowhere(_vendor: str, _model: str, _currency: str) -> Timeline | None:
    return None


def _no_row(_seq: int) -> Consumed:
    raise NotImplementedError  # made-up traffic is not read
