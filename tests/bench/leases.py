"""Many replicas that share many budgets, simulated: the real accounts, over a store in memory, on a clock that jumps.

    python tests/bench/leases.py [--replicas 1000] [--rate 100000] [--budgets 10000] [--spread 1000,30,8] [--seconds 60] [--seed N]

Each request belongs to a budget, comes to one of the replicas that serve it (`--spread`: all, or those to which a balancer
sends its key), holds its worst case, costs a part of that, and takes a second or so; every operation of the store takes two
milliseconds. Budgets are as unequal as teams are. One in a hundred
is tight (`--tight`): it ends while the simulation runs. Told are

    operations  of the store, all of them, for each request
    draws       those among them in which money was asked for or given back
    waited      the 99th percentile of how long a request waited for its hold, in milliseconds
    stranded    the share of a budget that lay in leases when its first request was refused, beyond what those who waited
                with it would have taken: on the mean of those that ended, and at most
    false       requests that were refused although what nobody had spent or held would have done for them and for all
                who waited with them
"""

import argparse
import asyncio
import gc
import itertools
import json
import random
import selectors
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from router.core.lease import MICROS, RENEW_S
from router.core.limits import Budget
from router.stores.leased import LeasedAccounts
from router.stores.memoryleases import MemoryLeases

HOLD = 10_000_000  # nano-units: a cent
LATENCY_S = 0.002
WAIT_S = 5.0  # server.budget_wait
NOW = 10**15


class Jumping(selectors.DefaultSelector):
    """Nothing is waited for: the clock goes to when something is due."""

    at = 0.0

    def select(self, timeout=None):
        if timeout is None:
            raise RuntimeError("nothing will ever happen")
        Jumping.at += max(0.0, timeout)
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self):
        Jumping.at = 0.0
        super().__init__(Jumping())

    def time(self):
        return Jumping.at


class Distant:
    """A store that is some milliseconds away."""

    def __init__(self, leases):
        self._leases = leases

    def __getattr__(self, name):
        work = getattr(self._leases, name)

        async def call(*told):
            await asyncio.sleep(LATENCY_S / 2)
            out = await work(*told)
            await asyncio.sleep(LATENCY_S / 2)
            return out

        return call


@dataclass(slots=True)
class Account:
    """What is true of a budget."""

    budget: Budget
    replicas: list
    key: tuple
    spent: int = 0
    held: int = 0
    waiting: int = 0
    refused_at: int | None = None  # what was left then

    @property
    def left(self):
        return self.budget.limit - self.spent - self.held


@dataclass
class Simulation:
    args: argparse.Namespace
    spread: int
    asked: int = 0
    refused: int = 0
    falsely: int = 0
    wrong: BaseException | None = None
    waited: list = field(default_factory=list)
    under_way: set = field(default_factory=set)

    def build(self):
        self.dice = random.Random(self.args.seed)
        self.store = MemoryLeases(lambda: NOW + int(Jumping.at * MICROS))
        names = map(str, itertools.count())
        store, clock = Distant(self.store), lambda: Jumping.at
        self.replicas = [LeasedAccounts(store, clock, names.__next__) for _ in range(self.args.replicas)]
        weights = [min(50.0, self.dice.paretovariate(1.2)) for _ in range(self.args.budgets)]
        self.cumulative = list(itertools.accumulate(weights))
        mean = self.args.rate * (self.args.warm + self.args.seconds) * HOLD * 0.4 / self.cumulative[-1]
        self.accounts = []
        for i, weight in enumerate(weights):
            share = self.dice.uniform(0.2, 0.8) if self.dice.random() < self.args.tight else self.dice.uniform(20, 2000)
            limit = max(20 * HOLD, int(share * weight * mean))
            budget = Budget(f"team{i}", limit, "USD", "total", UTC)
            some = self.dice.sample(self.replicas, min(self.spread, len(self.replicas)))
            self.accounts.append(Account(budget, some, (budget.account, 0)))

    async def run(self):
        self.build()
        await asyncio.gather(*(replica.join() for replica in self.replicas))
        tasks = [asyncio.create_task(self.tend(replica)) for replica in self.replicas]
        for task in tasks:
            task.add_done_callback(self.stopped)
        await self.requests(self.args.warm)
        began, before, drawn = self.asked, self.operations(), self.operations("draw")
        self.waited.clear()
        await self.requests(self.args.seconds)
        self.counted, self.steady = self.asked - began, self.operations() - before
        self.draws = self.operations("draw") - drawn
        await asyncio.wait(self.under_way)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def tend(self, replica):
        await asyncio.sleep(self.dice.random() * RENEW_S)
        await replica.tend(self.never, self.heard)

    async def heard(self):
        """Each time that a replica has renewed."""

    async def never(self, name):
        raise AssertionError(f"{name} is alive")

    def operations(self, *kinds):
        return sum(sum(n for kind, n in r.operations.items() if kind in kinds or not kinds) for r in self.replicas)

    async def requests(self, seconds):
        """Each at a moment of its own."""
        loop, dice, at, until = asyncio.get_running_loop(), self.dice, Jumping.at, Jumping.at + seconds
        numbers = range(len(self.accounts))
        while (at := at + dice.expovariate(self.args.rate)) < until:
            if at > Jumping.at + 0.0005:
                await asyncio.sleep(at - Jumping.at)
                if self.wrong is not None:
                    raise self.wrong
            account = self.accounts[dice.choices(numbers, cum_weights=self.cumulative)[0]]
            self.asked += 1
            task = loop.create_task(self.one(account, dice.choice(account.replicas), str(self.asked)))
            self.under_way.add(task)
            task.add_done_callback(self.ended)
        await asyncio.sleep(max(0, until - Jumping.at))

    def ended(self, task):
        self.under_way.discard(task)
        self.stopped(task)

    def stopped(self, task):
        if not task.cancelled() and task.exception() is not None and self.wrong is None:
            self.wrong = task.exception()

    async def one(self, account, replica, name):
        """One request, as a settlement serves it."""
        budgets, holds, began, waits = (account.budget,), ((*account.key, HOLD),), Jumping.at, False
        while True:
            (state,) = await replica.states(budgets, NOW)
            if state.free >= HOLD:
                if await replica.reserve(name, budgets, holds):
                    break
                continue
            if Jumping.at >= began + WAIT_S or not state.held:
                self.refuse(account)
                account.waiting -= waits
                return
            if not waits:
                account.waiting, waits = account.waiting + 1, True
            await replica.changed(began + WAIT_S - Jumping.at, budgets, holds)
        account.waiting -= waits
        self.waited.append(Jumping.at - began)
        account.held += HOLD
        assert account.left >= 0, "a cap was passed"
        cost = int(HOLD * self.dice.uniform(0.1, 0.7))
        await asyncio.sleep(self.dice.lognormvariate(0, 0.7))
        account.held -= HOLD
        account.spent += cost
        charges = ((*account.key, cost),)
        self.store.settle(replica.replica, charges)
        await replica.settle(name, charges)

    def refuse(self, account):
        beyond = account.left // HOLD - max(
            0, account.waiting - 1
        )  # what would do for this one and all who wait with it
        self.refused += 1
        self.falsely += beyond > 0
        if account.refused_at is None:
            account.refused_at = max(0, beyond) * HOLD

    def told(self, took):
        tight = [account for account in self.accounts if account.refused_at is not None]
        share = [account.refused_at / account.budget.limit for account in tight]
        waited = sorted(self.waited)
        kinds = sum((replica.operations for replica in self.replicas), Counter())
        return {
            "replicas": self.args.replicas, "rate": self.args.rate, "budgets": self.args.budgets, "spread": self.spread,
            "requests": self.counted, "operations": round(self.steady / self.counted, 4),
            "draws": round(self.draws / self.counted, 4),
            "per second": round(self.steady / self.args.seconds),
            "waited": round(waited[int(len(waited) * 0.99)] * 1000, 1), "ended": len(tight),
            "stranded": f"{100 * sum(share) / max(1, len(share)):.2f} %", "at most": f"{100 * max(share, default=0):.1f} %",
            "refused": self.refused, "false": self.falsely,
            "kinds": dict(kinds), "took_s": round(took),
        }  # fmt: skip


def main(args):
    gc.disable()  # millions of small objects, none of them in a circle
    for spread in map(int, args.spread.split(",")):
        simulation, began = Simulation(args, spread), time.perf_counter()
        with asyncio.Runner(loop_factory=JumpingLoop) as runner:
            runner.run(simulation.run())
        print(json.dumps(simulation.told(time.perf_counter() - began)), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, default=1000)
    parser.add_argument("--rate", type=int, default=100_000, help="requests a second")
    parser.add_argument("--budgets", type=int, default=10_000)
    parser.add_argument("--spread", default="1000,30,8", help="replicas that serve one budget")
    parser.add_argument("--tight", type=float, default=0.01, help="share of the budgets that end")
    parser.add_argument("--warm", type=int, default=20, help="seconds that are not counted")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args())
