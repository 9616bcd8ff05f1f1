"""A ledger with a past: what teams might have asked over some weeks, priced by the real price book, each row as the store
itself writes it. `python tests/admin/past.py CONFIG --rows 1000000 --days 30` fills the store of a configuration.
"""

import argparse
import asyncio
import math
import random
import time
from pathlib import Path

from router.core.entry import Attempt, Entry
from router.core.limits import MICROS, moment
from router.core.money import nano_from_pico
from router.core.prices import Facts, Unpriced
from router.core.usage import Usage
from router.snapshot import load
from router.stores.sqlite import SqliteLedger

DAY_S = 86_400
BATCH = 1000
# team → (share of the requests, [(model, share before a while ago, share since, why)])
TEAMS = {
    "search": (0.55, [
        ("qwen-plus", 0.30, 0.22, "cheapest of 4 that meet 0.85"), ("gpt-4o-mini", 0.35, 0.16, "cheapest of 3"),
        ("deepseek-chat", 0.15, 0.50, "cheapest of 5 that meet 0.85"), ("gpt-4o", 0.14, 0.08, "named"),
        ("claude-sonnet-4-5", 0.06, 0.04, "named"),
    ]),
    "support": (0.25, [
        ("gpt-4o", 0.55, 0.40, "cheapest of 2 that meet 0.95"), ("claude-sonnet-4-5", 0.25, 0.20, "best there is: none is known to meet 0.97"),
        ("deepseek-chat", 0.20, 0.40, "cheapest of 4"),
    ]),
    "batch": (0.20, [
        ("doubao-pro-32k", 0.50, 0.35, "cheapest of 4 that meet 0.8"), ("gpt-4o-mini", 0.30, 0.15, "cheapest of 3 that meet 0.8"),
        ("deepseek-chat", 0.20, 0.50, "cheapest of 3 that meet 0.8"),
    ]),
}  # fmt: skip
FLAGSHIP = "gpt-4o"
FIXED = {"search": "deepseek-chat", "support": "gpt-4o", "batch": "gpt-4o-mini"}  # the one model that would do for all


class Past:
    """Entries from `days` ago to `until`, in the order of time; the same for the same seed."""

    def __init__(self, snapshot, days, until, seed=7):
        self.snapshot, self.days, self.until = snapshot, days, until
        self.random = random.Random(seed)
        self.models = snapshot.catalog.models
        self.budgets = snapshot.budgets

    def moments(self, rows):
        """More by day than by night, fewer at weekends, and a little more each week."""
        weights = []
        hours = int(self.days * 24)
        begin = self.until - hours * 3600 * MICROS
        for hour in range(hours):
            local = moment(begin + hour * 3600 * MICROS)
            day = 0.35 + math.exp(-(((local.hour - 9) / 5.0) ** 2)) + 0.5 * math.exp(-(((local.hour - 15) / 3.0) ** 2))
            weights.append(day * (0.45 if local.weekday() >= 5 else 1.0) * (1 + 0.6 * hour / hours))
        counts = [0] * hours
        for hour in self.random.choices(range(hours), weights, k=rows):
            counts[hour] += 1
        for hour, count in enumerate(counts):
            start = begin + hour * 3600 * MICROS
            yield from sorted(start + self.random.randrange(3600 * MICROS) for _ in range(count))

    def entries(self, rows):
        teams = list(TEAMS)
        shares = [TEAMS[team][0] for team in teams]
        turn = self.until - int(self.days * 0.45) * DAY_S * MICROS
        for number, at in enumerate(self.moments(rows)):
            team = self.random.choices(teams, shares)[0]
            mix = TEAMS[team][1]
            name, *_, why = self.random.choices(mix, [then[2 if at > turn else 1] for then in mix])[0]
            entry = self.entry(number, at, team, self.models[name], why)
            if entry is not None:
                yield entry

    def entry(self, number, at, team, model, why):
        failed = self.random.random() < 0.008
        prompt, answer = int(self.random.lognormvariate(7.2, 0.9)), int(self.random.lognormvariate(5.6, 0.8))
        cached = prompt * 2 // 3 if self.random.random() < 0.3 else 0
        usage = Usage() if failed else Usage(input_fresh=prompt - cached, cache_read=cached, output_text=answer)
        rates = self.snapshot.rates.at(at)
        try:
            price, flagship = model.timeline.at(at), self.models[FLAGSHIP].timeline.at(at)
            facts = Facts(at, usage.input_total, usage.output_total)
            vendor_cost, cost = self._costs(price, usage, facts, rates)
            _, dearest = self._costs(flagship, usage, facts, rates)
            one = model if why == "named" else self.models[FIXED[team]]
            _, fixed = self._costs(one.timeline.at(at), usage, facts, rates)
        except Unpriced:
            return None
        owners = {team, f"{team}/demo", "*"}
        charges = []
        for budget in self.budgets:
            if budget.owner in owners:
                start, _ = budget.window(at)
                charges.append((budget.account, start, vendor_cost if budget.currency == price.currency else cost if budget.currency == self.snapshot.rates.reporting else nano_from_pico(cost * 1000, rates[budget.currency].inverse())))  # fmt: skip
        request = f"fb-past{number:08x}"
        route = {"search": "auto", "support": "auto", "batch": "bulk"}[team] if why != "named" else model.name
        attempt = Attempt(
            f"{request}.1", request, 1, at, team, "demo", route, model.name, model.vendor, str(model.tier), price.label,
            self.snapshot.rates.reporting, price.currency, cost, vendor_cost, dearest, tuple(charges), usage, why,
        )  # fmt: skip
        first = int(self.random.lognormvariate(6.0 if model.tier != "flagship" else 6.5, 0.4))
        outcome = "error" if failed else self.random.choices(("ok", "left", "cut"), (0.985, 0.01, 0.005))[0]
        basis = "estimated" if outcome in {"left", "cut"} else "reported"
        return Entry(
            attempt, outcome, basis, usage, cost, vendor_cost, dearest, tuple(charges),
            first_byte_ms=None if failed else first, total_ms=first + answer * 12, fixed_cost=fixed,
        )  # fmt: skip

    @staticmethod
    def _costs(price, usage, facts, rates):
        pico = price.cost_pico(usage, facts)
        return nano_from_pico(pico), nano_from_pico(pico, rates[price.currency])


async def fill(snapshot, rows, days, until=None, seed=7):
    """Write a past into the store of a configuration; how many rows it has."""
    past = Past(snapshot, days, until or int(time.time() * MICROS), seed)
    ledger = SqliteLedger(snapshot.settings.store_path)
    ledger.start()
    written, batch = 0, []
    for entry in past.entries(rows):
        batch.append(ledger.close(entry))
        if len(batch) == BATCH:
            await asyncio.gather(*batch)
            written, batch = written + BATCH, []
    await asyncio.gather(*batch)
    await ledger.stop()
    return written + len(batch)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--days", type=float, default=30)
    parser.add_argument("--seed", type=int, default=7)
    told = parser.parse_args()
    began = time.perf_counter()
    count = asyncio.run(fill(load(told.config, "http://127.0.0.1:1"), told.rows, told.days, seed=told.seed))
    print(f"{count} rows in {time.perf_counter() - began:.0f} s")
