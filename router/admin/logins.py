"""Logins to the page: who has shown which key, until when, and who has to wait before trying again.

Kept in the process's memory, and in that of every worker: a restart ends every login. Only hashes of cookies are kept.
"""

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from router.core.limits import MICROS

LOGIN_S = 12 * 3600
MOST_LOGINS = 1000  # the oldest end when there are more
BURST = 10  # wrong keys that an address may try in a row
PAUSE_S = 6  # after which it may try one more
MOST_ADDRESSES = 4096


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


class Logins:
    """Times are in microseconds since 1970."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, tuple[int, str]] = OrderedDict()  # hash of the cookie → (until, hash of the key)
        self._ended: OrderedDict[str, None] = OrderedDict()  # hashes of cookies: who still tells of one tells old news
        self._wrong: OrderedDict[str, int] = OrderedDict()  # address → when all its wrong keys are forgotten

    def begin(self, key: str, now: int) -> str:
        """A cookie for who has shown the key."""
        token = secrets.token_urlsafe(32)
        self.adopt((_hash(token), now + LOGIN_S * MICROS, _hash(key)))
        return token

    def entry(self, token: str) -> list[Any]:
        """A login as another worker adopts it: its cookie's hash, until when, and the hash of its key."""
        return [_hash(token), *self._open[_hash(token)]]

    def adopt(self, entry: Sequence[Any]) -> None:
        """A login that another worker has begun."""
        cookie, until, under = entry
        if cookie not in self._ended:
            self._open[cookie] = until, under
        while len(self._open) > MOST_LOGINS:
            self._open.popitem(last=False)

    def kept(self) -> dict[str, Any]:
        """All there is, for a worker that has just begun."""
        return {"open": [[cookie, *told] for cookie, told in self._open.items()], "wrong": dict(self._wrong)}

    def take(self, kept: Mapping[str, Any]) -> None:
        for entry in kept["open"]:
            self.adopt(entry)
        self._wrong.update(kept["wrong"])

    def under(self, token: str, now: int) -> str:
        """The hash of the key that a cookie of ours was given for; "" for one that has ended or is none. Found by its hash,
        so the time that it takes tells nothing of what others hold.
        """
        until, under = self._open.get(_hash(token), (0, ""))
        return under if now < until else ""

    def end(self, token: str) -> str:
        """The cookie opens nothing any more, whoever has a copy. Its hash, by which others forget it."""
        self.forget(_hash(token))
        return _hash(token)

    def forget(self, cookie: str) -> None:
        self._open.pop(cookie, None)
        self._ended[cookie] = None
        while len(self._ended) > MOST_LOGINS:
            self._ended.popitem(last=False)

    def wait_s(self, address: str, now: int) -> int:
        """Seconds until this address may try a key; 0: now. Each wrong one costs a pause, of which some are free."""
        ahead = self._wrong.get(address, 0) - now - (BURST - 1) * PAUSE_S * MICROS
        return max(0, -(-ahead // MICROS))

    def was_wrong(self, address: str, now: int) -> None:
        self._wrong[address] = max(now, self._wrong.pop(address, 0)) + PAUSE_S * MICROS
        while len(self._wrong) > MOST_ADDRESSES:
            self._wrong.popitem(last=False)
