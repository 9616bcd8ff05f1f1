"""A free quota that several replicas take from: what is not leased is not free, and all of it together is given once."""

import asyncio
import random

import pytest
from fakes import model
from leasing import World

from router.core.lease import RENEW_S
from router.core.prices import Quota
from router.core.usage import Usage
from router.freewindows import LeasedWindow
from router.quotas import Quotas, Share, _budget

MODEL = model()
AMOUNT = 6000
QUOTA = Quota("tokens", AMOUNT, "total")


@pytest.fixture
async def replicas():
    """(the world, quotas of each of its replicas)"""
    w = await World(3, (_budget(MODEL, QUOTA),)).begin()
    quotas = []
    for replica in w.replicas:
        one = Quotas()
        one.lent = replica.accounts
        one._known = {"small": (MODEL, QUOTA)}
        quotas.append(one)
    return w, quotas


def share_of(quotas, w):
    window = quotas._window(MODEL, QUOTA, w.clock.now())
    assert isinstance(window, LeasedWindow)
    return Share(QUOTA, window)


async def beat(w, quotas):
    for replica, one in zip(w.replicas, quotas, strict=True):
        await w.beat(replica)
        one.prepare(w.clock.now())
    await asyncio.sleep(0.001)
    w.push(RENEW_S)


async def take(w, quotas, i, tokens):
    """What of these tokens an attempt of replica `i` gets for nothing."""
    share, replica = share_of(quotas[i], w), w.replicas[i]
    free = share.take(Usage(tokens)) or 0
    charges = share.charges()
    w.leases.settle(replica.accounts.replica, charges)
    share.close()
    replica.accounts._purses.settle((), charges)
    return free


async def test_no_token_is_given_twice_and_nearly_all_are_given(replicas):
    w, quotas = replicas
    dice, taken = random.Random(7), 0
    for i in range(600):
        if i % 10 == 0:
            await beat(w, quotas)
        taken += await take(w, quotas, dice.randrange(3), dice.randint(1, 60))
        w.check()
    assert AMOUNT * 0.9 <= taken <= AMOUNT


async def test_what_nobody_has_leased_is_not_free(replicas):
    w, quotas = replicas
    assert await take(w, quotas, 0, 10) == 0
    await beat(w, quotas)
    assert await take(w, quotas, 0, 10) == 10
    assert quotas[0].left(MODEL, QUOTA, w.clock.now()) < AMOUNT / 2


async def test_what_was_promised_to_an_attempt_is_nobody_elses(replicas):
    w, quotas = replicas
    await beat(w, quotas)
    left = quotas[0].left(MODEL, QUOTA, w.clock.now())
    share = share_of(quotas[0], w)
    share._keep(left, 0)
    assert await take(w, quotas, 0, 10) == 0
    share.close()
    assert quotas[0].left(MODEL, QUOTA, w.clock.now()) == left


async def test_a_replica_that_was_taken_for_dead_gives_nothing_back_that_it_has_not(replicas):
    w, quotas = replicas
    await beat(w, quotas)
    share = share_of(quotas[0], w)
    share._keep(10, 0)
    w.past_burial()
    await w.beat(w.replicas[1])
    await w.beat(w.replicas[0])  # it starts over
    share.close()
    purse = w.replicas[0].accounts.purse(w.budgets[0], w.clock.now())
    assert (purse.held, purse.settled, purse.lease) == (0, 0, 0)
    w.check()
