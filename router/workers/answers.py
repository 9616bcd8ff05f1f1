"""What only the memory of one worker has, asked of all: each question of `ask`, and beside it the answer to it.

Alone a process asks nobody, so whoever needs something from here need not know how many serve.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client.core import Metric

from router.core.entry import Entry
from router.core.failure import Fault
from router.core.health import Unwell
from router.core.labels import Labelled
from router.core.limits import BudgetState
from router.gauges import budget_gauges
from router.metrics import FROM_THE_LEDGER
from router.stores.memory import MemoryAccounts
from router.stores.ports import StoreDown
from router.workers.scrape import Counted, last_told, of_json, to_json
from router.workers.scrape import together as together_told
from router.workers.siblings import Answer, Gone

if TYPE_CHECKING:
    from router.admin.logins import Logins
    from router.app import Farebox

Told = Mapping[str, Any]

HOUR = 3_600_000_000  # microseconds
TOLD_S = 1.0
READ_S = 2.0  # a scrape waits at most for so long for the sums; Prometheus gives it up after ten
SETTLES_S = 1.0  # how long an answer that has just been given may take to be written down


async def together(farebox: "Farebox", logins: "Logins") -> None:
    """Begin to answer, and take over what the others have in memory and a new one has not."""
    siblings = farebox.siblings
    siblings.counted = Counted(siblings.place(siblings.number, "counted"), _facts(farebox))
    siblings.answers |= _answers(farebox, logins)
    farebox.labels.observers.append(lambda label: siblings.tell_all("label", label=asdict(label)))
    if not siblings.first:
        farebox.promises.file = None  # the first writes down what all have seen
        observers = farebox.settlement.observers
        observers[observers.index(farebox.alerts.observe)] = Touched(farebox).observe
    await siblings.listen()  # before it asks, so that it misses nothing that happens meanwhile
    for number in siblings.others:
        with contextlib.suppress(Gone):
            found = await siblings.ask(number, "memory")
            logins.take(found["logins"])
            farebox.promises.take(found["promises"])
            break


def _answers(farebox: "Farebox", logins: "Logins") -> dict[str, Answer]:
    """By the name of the question."""

    async def reload(_: Told) -> Any:
        done = await farebox.reload()
        return {"ok": done, "problems": list(farebox.problems)}

    def now(look: Callable[[Told], Any]) -> Answer:
        async def answer(told: Told) -> Any:
            return look(told)

        return answer

    return {
        "ready": now(lambda _: farebox.is_ready and farebox.siblings.complete),
        "families": now(lambda _: to_json(farebox.siblings.tells(_collected(farebox)))),
        "in_flight": now(lambda _: farebox.room.in_flight),
        "held": now(lambda _: _held(farebox)),
        "explained": now(lambda told: farebox.explained(told["id"])),
        "recent": now(lambda told: _recent(farebox, told["team"], told["limit"])),
        "unwell": now(lambda _: _unwell_as_json(farebox)),
        "memory": now(lambda _: {"logins": logins.kept(), "promises": farebox.promises.kept()}),
        "logged_in": now(lambda told: logins.adopt(told["login"])),
        "logged_out": now(lambda told: logins.forget(told["cookie"])),
        "wrong_key": now(lambda told: logins.was_wrong(told["address"], told["at"])),
        "label": now(lambda told: farebox.hold_promises_to(Labelled(**told["label"]))),
        "touched": now(lambda told: farebox.alerts.hear(told["accounts"], told["spends"])),
        "settle": lambda _: _settle(farebox),
        "keys": lambda _: farebox.refresh_keys(),
        "reload": reload,
    }  # fmt: skip


class Touched:
    """What the entries of one worker have touched, told to the one that tells alerts: once a second at most."""

    def __init__(self, farebox: "Farebox") -> None:
        self._farebox = farebox
        self._accounts: set[str] = set()
        self._spends: Counter[tuple[str, int]] = Counter()  # (team, hour) → cost

    def observe(self, entry: Entry) -> None:
        if not self._farebox.snapshot.targets:
            return
        if not self._accounts and not self._spends:
            asyncio.get_running_loop().call_later(TOLD_S, self._tell)
        self._accounts.update(account for account, _, _ in entry.charges)
        attempt = entry.attempt
        if entry.cost and attempt.currency == self._farebox.snapshot.settings.currency:
            self._spends[attempt.team, attempt.at - attempt.at % HOUR] += entry.cost

    def _tell(self) -> None:
        spends = [[team, at, cost] for (team, at), cost in self._spends.items()]
        self._farebox.siblings.tell_first("touched", accounts=list(self._accounts), spends=spends)
        self._accounts.clear()
        self._spends.clear()


# Readiness, metrics


async def ready(farebox: "Farebox") -> bool:
    """Whether requests are served by all: by every worker from the start, and later by every one that lives, since a queue of
    one that has died is served by another.
    """
    if not farebox.is_ready or not farebox.siblings.complete:
        return False
    return all((await farebox.siblings.ask_all("ready")).values())


async def families(farebox: "Farebox") -> Sequence[Metric]:
    """What a scrape tells. What is one fact for all is read here."""
    siblings, facts = farebox.siblings, _facts(farebox)
    if not facts:
        await _read_of_all(farebox)
    if siblings.alone:
        return _collected(farebox)
    if facts:
        with contextlib.suppress(StoreDown):  # then it is what was read last
            farebox.metrics.load(await farebox.ledger.totals())
    states = await budgets(farebox)
    told = await siblings.ask_all("families")
    others = [of_json(told[n]) if n in told else last_told(siblings.place(n, "counted")) for n in siblings.others]
    standing = {family.name: family for family in budget_gauges(states, farebox.clock.now())}
    own = [standing.get(family.name, family) for family in siblings.tells(_collected(farebox))]
    return together_told(own, others, facts)


def _facts(farebox: "Farebox") -> frozenset[str]:
    """Counters that are read from the ledger for all. One that other machines write too has more than is ours to tell."""
    return FROM_THE_LEDGER if isinstance(farebox.ledger.place, Path) else frozenset()


async def _read_of_all(farebox: "Farebox") -> None:
    """A store that is away, or slow, must not keep the scrape that would tell of it: then it is what was read last."""
    if not farebox.recorder.down:
        with contextlib.suppress(StoreDown, TimeoutError):
            async with asyncio.timeout(READ_S):
                farebox.metrics.of_all = await farebox.ledger.totals()


async def budgets(farebox: "Farebox") -> list[BudgetState]:
    """Every budget as it stands: what all have spent, as the store says, and what requests hold, as each worker says. What was
    spent is read first, so that nothing is in both; what is read while it moves from one worker to another might be counted
    twice, but more than is left it cannot be.
    """
    siblings, accounts = farebox.siblings, farebox.accounts
    if siblings.alone or isinstance(accounts, MemoryAccounts) or not isinstance(farebox.ledger.place, Path):
        return farebox.budgets()  # what is held on other machines is only known by their leases
    with contextlib.suppress(StoreDown):  # then it is as it was seen last
        await accounts.refresh(farebox.snapshot.budgets, farebox.clock.now())
    others = await siblings.ask_all("held")
    held = Counter({(account, start): nano for account, start, nano in _held(farebox)})
    for told in others.values():
        held.update({(account, start): nano for account, start, nano in told})
    return [_standing(state, held[state.budget.account, state.starts]) for state in farebox.budgets()]


def _standing(state: BudgetState, held: int) -> BudgetState:
    if state.budget.on_exceed == "refuse":
        held = min(held, max(0, state.budget.limit - state.settled))
    return replace(state, held=held)


def _held(farebox: "Farebox") -> list[tuple[str, int, int]]:
    """What requests of this worker have set aside: account, start of its window, and how much."""
    sums: Counter[tuple[str, int]] = Counter()
    for holds in farebox.accounts.holds().values():
        for account, start, nano in holds:
            sums[account, start] += nano
    return [(account, start, nano) for (account, start), nano in sums.items()]


def _collected(farebox: "Farebox") -> list[Metric]:
    return list(farebox.metrics.registry.collect())


# What the admin API and the page look at


async def in_flight(farebox: "Farebox") -> int:
    found: list[int] = list((await farebox.siblings.ask_all("in_flight")).values())
    return farebox.room.in_flight + sum(found)


async def explained(farebox: "Farebox", request_id: str) -> dict[str, Any] | None:
    """A decision that is still kept by whoever has made it."""
    own = farebox.explained(request_id)
    if own is not None or farebox.siblings.alone:
        return own
    told = (await farebox.siblings.ask_all("explained", id=request_id)).values()
    return next((found for found in told if found is not None), None)


async def recent(farebox: "Farebox", team: str | None, limit: int) -> list[dict[str, Any]]:
    """The newest decisions that each still keeps, as `explained`."""
    found = _recent(farebox, team, limit)
    for told in (await farebox.siblings.ask_all("recent", team=team, limit=limit)).values():
        found += told
    return found


def _recent(farebox: "Farebox", team: str | None, limit: int) -> list[dict[str, Any]]:
    out = []
    for one in reversed(farebox.kept.values()):
        if team is None or one.team == team:
            told = farebox.explained(one.id)
            out += [told] if told is not None else []
            if len(out) == limit:
                break
    return out


async def unwell(farebox: "Farebox") -> dict[str, Unwell | None]:
    """How each model is: as the worker sees it that has to leave it alone longest."""
    found = _unwell(farebox)
    for told in (await farebox.siblings.ask_all("unwell")).values():
        for name, (fault, wait_s, busy, full) in told.items():
            there = found.get(name)
            seen = Unwell(Fault(fault), inf if wait_s is None else wait_s, busy, full)
            if name in found and (there is None or seen.wait_s > there.wait_s):
                found[name] = seen
    return found


def _unwell(farebox: "Farebox") -> dict[str, Unwell | None]:
    look, now = farebox.services.health.look, farebox.clock.seconds()
    return {model.name: look(model, now) for model in farebox.snapshot.catalog.models.values()}


def _unwell_as_json(farebox: "Farebox") -> dict[str, Any]:
    return {
        name: [str(one.fault), one.wait_s if isfinite(one.wait_s) else None, one.busy, one.full]
        for name, one in _unwell(farebox).items()
        if one is not None
    }


async def settled(farebox: "Farebox") -> None:
    """Wait a moment until what was answered is written down, whoever has answered it."""
    await _settle(farebox)
    await farebox.siblings.ask_all("settle")


async def _settle(farebox: "Farebox") -> None:
    await farebox.settlement.drain(SETTLES_S)
    with contextlib.suppress(StoreDown):  # it is in the log
        await farebox.labels.store.flush()


# What all have to do


async def reload(farebox: "Farebox") -> list[str] | None:
    """Have all take the configuration as it is on disk; why one did not, None if all did."""
    problems = None if await farebox.reload() else list(farebox.problems)
    for told in (await farebox.siblings.ask_all("reload")).values():
        if not told["ok"]:
            problems = list(dict.fromkeys([*(problems or ()), *told["problems"]]))
    return problems


async def refresh_keys(farebox: "Farebox") -> None:
    """Have all take note of keys that were made or revoked."""
    await farebox.refresh_keys()
    await farebox.siblings.ask_all("keys")
