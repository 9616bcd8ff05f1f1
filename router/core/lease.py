"""What one of several replicas may spend of a budget by itself.

Replicas share a budget by leasing parts of it from the store. A lease is the amount that one replica may spend of one
account in one window ALTOGETHER: it is cumulative and absolute, so that every operation can be repeated. For each account
and window the store keeps

    base + the sum over replicas of max(lease, settled) <= limit

where `base` is what has been settled by nobody who still has a lease. A replica keeps

    own settled + own held <= own lease

and asks the store for more before a hold would break that. Money is only ever given back by asking for less than one has,
and the replica stops counting on it before it asks.
"""

from typing import NamedTuple

MICROS = 1_000_000
TTL_S = 15.0  # how long a replica may spend without having been heard of
RENEW_S = 3.0  # how often it tells that it lives
GRACE_S = 10.0  # how much later the others bury it: for clocks that step or run slow
WANTED_S = 10.0  # how long a wish for more is remembered, so that others give back what they do not need

Account = tuple[str, int]
"""The account of a budget and the start of its window in microseconds since 1970."""


class Ask(NamedTuple):
    """What a replica asks of one account, in nano-units, all of it cumulative. The answer is `granted`."""

    account: str
    start: int
    limit: int
    keep: int  # what it counts on already, which is not taken from it
    need: int  # what is of use to it at least; where that cannot be had it gets nothing, and others are asked to give back
    want: int  # what it would like
    parts: int = 1  # of what would be left beyond `need`, it gets at most one part of so many

    @property
    def key(self) -> Account:
        return self.account, self.start


class Lease(NamedTuple):
    """How an account stands for one replica, in nano-units."""

    nano: int  # its own lease
    others: int  # what everybody else has of the limit: base and each one's max(lease, settled)
    settled: int  # of `others`, what has been spent


class Renewed(NamedTuple):
    """What a replica is told when it has said that it lives."""

    live: int  # replicas that live, itself among them
    recalled: frozenset[Account]  # of which it has something and somebody else wants more
    dead: tuple[str, ...]  # replicas that nobody has heard of for so long that they can be buried


def granted(ask: Ask, others: int) -> int:
    """The lease that an ask comes to, where everybody else has `others` of the limit."""
    beyond = ask.limit - others - ask.need
    if beyond < 0:  # parts of what is needed, in the hands of several, would be of use to nobody
        return ask.keep
    return max(ask.keep, min(ask.want, ask.need + beyond // ask.parts))
