"""Leases in Redis, one script for each operation, beside a ledger in PostgreSQL.

Redis has the amounts; who lives, and what everybody has settled, is in PostgreSQL (`LeaseRows`). Redis may lose all of it at
any time, or come back with what it had an hour ago, and nothing may be spent twice for it:

- Everything in Redis belongs to an *epoch*: a marker key that names the server's run. Each script sees first that its
  caller's epoch is that of the server. A replica that finds another one says in it what it has leased, writes the epoch to
  its row in PostgreSQL, and is given more only once it has seen that all rows there have that epoch.
- The *base* of an account, what was settled by nobody who still has a lease, is read from PostgreSQL and set in Redis if
  nobody has set it meanwhile; those who are in Redis but were let go of in PostgreSQL are left out at the same time. Until
  then their money is counted twice, never not at all.

See docs/leases.md for why that is enough, and redislua.py for the scripts.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisError  # noqa: A004 (theirs is no OSError)

from router.core.lease import TTL_S, WANTED_S, Account, Ask, Lease, Renewed
from router.stores import redislua
from router.stores.leaserows import LeaseRows
from router.stores.leases import JOURNAL, Buried
from router.stores.ports import StoreDown

ANSWER_S = 2.0  # how long anybody waits for Redis
OTHERS_S = 4.0  # how long a draw waits for the others to come to a new epoch
AGAIN_S = 0.2  # between two looks whether they have
BASE_S = 60  # the oldest base
SHORT_S = 1.0  # and where money is short
KEPT_S = 90 * 86_400  # what nobody draws on for so long can be forgotten
_MOST = 200  # accounts to one script


class _Told(NamedTuple):
    epoch: str
    wanted: frozenset[Account]


class RedisLeases:
    """See the port `Leases`. Operations follow one another; one that was given up is known by its number if it comes late."""

    def __init__(
        self, url: str, rows: LeaseRows, prefix: str = "farebox", seconds: Callable[[], float] = time.monotonic
    ) -> None:
        """Nothing is opened before it is needed.

        Args:
            url: as `redis://` or `rediss://`; whatever is in it is not told.
            rows: in the database of the ledger.
            prefix: of every key, as a hash tag, so that a cluster keeps them together.
            seconds: a clock that never jumps.

        """
        self._redis = Redis.from_url(
            url,
            socket_timeout=ANSWER_S,
            socket_connect_timeout=ANSWER_S,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )
        self._rows, self._prefix, self._seconds = rows, f"{{{prefix}}}", seconds
        names = ("HELLO", "STATE", "DRAW", "PEEK", "BASE")
        self._scripts = {name: self._redis.register_script(getattr(redislua, name)) for name in names}
        self._lock = asyncio.Lock()
        self._number = 0
        self._doubtful = False  # since somebody was buried, accounts are looked at anew
        self._moved: float | None = None  # since when others are in an epoch that this replica cannot look for
        self._forget("")

    def _forget(self, replica: str) -> None:
        self._replica = replica
        self._epoch = ""  # in which it has said what it has
        self._entered = ""  # that is in its row
        self._alike = False  # it has seen everybody in it
        self._mine: dict[Account, int] = {}  # the most that it counts on
        self._settled: dict[Account, int] = {}  # by everybody else, as last known
        self._based: dict[Account, float] = {}  # when it last looked after a base

    # The port

    async def join(self, replica: str) -> Renewed:
        async with self._lock:
            told = await self._hello()  # whoever cannot reach Redis stays out, and nobody has to wait for it
            renewed = await self._rows.join(replica)
            self._forget(replica)
            self._epoch = told.epoch  # there is nothing to say in it
            self._alike, self._entered = await self._rows.enter(replica, told.epoch), told.epoch
            return renewed

    async def renew(self, replica: str) -> Renewed:
        wanted: frozenset[Account] = frozenset()
        async with self._lock:
            try:
                wanted = await self._enter()
            except Buried:
                raise
            except StoreDown:
                await self._hold_up()
            else:
                self._moved = None
            renewed = await self._rows.renew(replica)
            return renewed._replace(recalled=frozenset(key for key in wanted if self._mine.get(key, 0)))

    async def draw(self, replica: str, asks: Sequence[Ask], over: Sequence[Account] = ()) -> list[Lease]:
        async with self._lock:
            if over:
                await self._rows.draw(replica, (), over)
                for key in over:
                    self._mine.pop(key, None)
                    self._based.pop(key, None)
            if new := [ask.key for ask in asks if ask.key not in self._mine]:
                await self._rows.begin(replica, new)
            self._mine.update((ask.key, ask.keep) for ask in asks)
            out: list[Lease] = []
            for part in _parts(asks):
                out += await self._draw(part)
            return out

    async def look(self, replica: str, accounts: Sequence[Account]) -> list[Lease]:
        async with self._lock:
            told = await self._rows.look(replica, accounts)
            self._settled.update(zip(accounts, (lease.settled for lease in told), strict=True))
            taken: dict[Account, int] = {}
            if self._epoch:
                for part in _parts([key for key in accounts if self._doubtful and key not in self._based]):
                    await self._set_bases(part)
                for part in _parts(accounts):
                    found = await self._ask("PEEK", [self._hash(key) for key in part])
                    taken |= {
                        key: int(one[1])
                        for key, one in zip(part, found if found != "epoch" else (), strict=False)
                        if one[1]
                    }
            out = []
            for key, lease in zip(accounts, told, strict=True):
                own = self._mine.get(key, 0)
                out.append(Lease(own, max(lease.others, taken.get(key, 0) - own), lease.settled))
            return out

    async def leave(self, replica: str) -> None:
        async with self._lock:
            await self._rows.leave(replica)
            with contextlib.suppress(StoreDown):  # else it is left out as soon as somebody is short of money
                for part in _parts(list(self._mine)):
                    await self._set_bases(part)
            self._forget(replica)

    async def buried(self, replica: str) -> None:  # noqa: ARG002 (as the port has it)
        """Each account is to be looked at anew: it may have had something of it."""
        self._based.clear()
        self._doubtful = True

    async def close(self) -> None:
        """Let the connections go."""
        with contextlib.suppress(RedisError, OSError):
            await self._redis.aclose()
        await self._rows.close()

    # Epochs

    async def _hello(self) -> _Told:
        """Which epoch it is. Raises `StoreDown`, also where Redis may let go of keys by itself."""
        keys = [f"{self._prefix}:epoch", f"{self._prefix}:wanted:"]
        epoch, evicts, wanted = await self._run("HELLO", keys, [secrets.token_hex(8), int(WANTED_S)])
        if evicts and evicts != "noeviction":
            raise StoreDown(f"Redis may let go of leases: its maxmemory-policy is {evicts} and must be noeviction")
        return _Told(epoch, frozenset(_account(name) for name in wanted))

    async def _enter(self) -> frozenset[Account]:
        """Be in the epoch that it is: the accounts that are wanted. Raises `StoreDown`."""
        told = await self._hello()
        while told.epoch != self._epoch:
            self._alike, self._epoch = False, told.epoch
            self._based.clear()
            if await self._state():
                break
            self._epoch, told = "", await self._hello()
        if not self._alike:
            self._alike, self._entered = await self._rows.enter(self._replica, self._epoch), self._epoch
        return told.wanted

    async def _state(self) -> bool:
        """Say what this replica has; whether the epoch is still the same."""
        try:
            for part in _parts(list(self._mine)):
                hashes = [self._hash(key) for key in part]
                if await self._ask("STATE", hashes, [str(self._mine[key]) for key in part]) == "epoch":
                    return False
        except StoreDown:
            self._epoch = ""
            raise
        return True

    async def _be_alike(self) -> None:
        """Be in the epoch that it is, with everybody. Raises `StoreDown`."""
        end = self._seconds() + OTHERS_S
        while not (self._epoch and self._alike):
            await self._enter()
            if not self._alike:
                if self._seconds() > end:
                    raise StoreDown("Redis has begun anew, and not every replica has said yet what it has leased")
                await asyncio.sleep(AGAIN_S)

    async def _hold_up(self) -> None:
        """Redis does not answer, but PostgreSQL may: this replica lives on with what it has, unless the others have found
        Redis in a new epoch and wait for it. Raises `StoreDown` once they have waited so long that it has to be given up.
        """
        if not await self._rows.moved(self._entered):
            self._moved = None
            return
        now = self._seconds()
        self._moved = now if self._moved is None else self._moved
        if now - self._moved > TTL_S:
            raise StoreDown("Redis cannot be reached from here, and others wait for what this replica has leased")

    # Drawing

    async def _draw(self, asks: Sequence[Ask]) -> list[Lease]:
        fresh = set[Account]()
        while True:
            await self._be_alike()
            if first := [ask.key for ask in asks if ask.key not in self._based]:
                await self._set_bases(first, drawing=True)  # what this replica settled before it leased is in it
                fresh.update(first)
                continue
            parts = [
                (ask.limit, ask.keep, ask.need, ask.want, ask.parts, _name(ask.key), int(time.time()) + KEPT_S)
                for ask in asks
            ]
            keys = [self._wanted(), *(self._hash(ask.key) for ask in asks)]
            answers = await self._ask("DRAW", keys, [str(value) for part in parts for value in part])
            if answers == "epoch":
                self._epoch = ""
                continue
            late = [ask.key for ask, told in zip(asks, answers, strict=True) if self._is_late(ask, told, fresh)]
            if not late:
                break
            await self._set_bases(late, drawing=True)
            fresh.update(late)
        out = []
        if self._replica.startswith(JOURNAL):  # it may spend that although nobody hears of it any more
            await self._rows.keep(
                self._replica, {ask.key: int(told[0]) for ask, told in zip(asks, answers, strict=True)}
            )
        for ask, (nano, others, _) in zip(asks, answers, strict=True):
            self._mine[ask.key] = int(nano)
            settled = min(self._settled.get(ask.key, 0), int(others))
            out.append(Lease(int(nano), int(others), settled))
        return out

    def _is_late(self, ask: Ask, told: Sequence[str], fresh: Collection[Account]) -> bool:
        """Whether the base is missing, or so old that another might grant more or, after a vendor's overrun, less."""
        if not told:
            return True
        if ask.key in fresh:
            return False
        age = self._seconds() - self._based.get(ask.key, float("-inf"))
        return (int(told[0]) < ask.need and age > SHORT_S) or (int(told[2]) > BASE_S and age > BASE_S)

    async def _set_bases(self, accounts: Sequence[Account], *, drawing: bool = False) -> None:
        """Read them from PostgreSQL. Whoever was in Redis before and is not in PostgreSQL then was let go of. Raises `Buried`
        where that is this replica, which is `drawing`.
        """
        peeked = await self._ask("PEEK", [self._hash(key) for key in accounts])
        if peeked == "epoch":
            self._epoch = ""
            return
        sums = await self._rows.sums(accounts)
        now = self._seconds()
        for key, (version, _, *there) in zip(accounts, peeked, strict=True):
            found = sums[key]
            if drawing and self._replica not in found.settled:
                raise Buried(f"no replica {self._replica}")
            gone = [name for name in there if name not in found.settled]
            told = [version, found.base, int(time.time()) + KEPT_S, len(gone), *gone]
            for name, least in found.least.items():
                told += [name, least]
            if await self._ask("BASE", [self._hash(key)], [str(value) for value in told]) == "epoch":
                self._epoch = ""
                return
            self._based[key] = now
            self._settled[key] = found.all - found.settled.get(self._replica, 0)

    # Redis

    async def _ask(self, script: str, keys: Iterable[str], told: Iterable[str] = ()) -> Any:
        """Run a script in the epoch; "epoch" where it is not that any more."""
        self._number += 1
        return await self._run(
            script, [f"{self._prefix}:epoch", *keys], [self._epoch, self._replica, str(self._number), *told]
        )

    async def _run(self, script: str, keys: Sequence[str], told: Sequence[str | int]) -> Any:
        """An operation can be repeated, and a connection may have ended long ago with the server's last run."""
        try:
            with contextlib.suppress(ConnectionError):
                return await self._scripts[script](keys=keys, args=told)
            return await self._scripts[script](keys=keys, args=told)
        except (RedisError, OSError) as error:
            raise StoreDown(f"Redis: {error or type(error).__name__}") from None

    def _hash(self, account: Account) -> str:
        return f"{self._prefix}:{self._epoch}:{_name(account)}"

    def _wanted(self) -> str:
        return f"{self._prefix}:wanted:{self._epoch}"


def _parts(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (items[i : i + _MOST] for i in range(0, len(items), _MOST))


def _name(account: Account) -> str:
    return f"{account[1]} {account[0]}"


def _account(name: str) -> Account:
    start, _, account = name.partition(" ")
    return account, int(start)
