"""Logins to the page: who has shown which key, until when, and who has to wait before trying again.

Kept in the process's memory: a restart ends every login. Only hashes of cookies are kept.
"""

import hashlib
import secrets
from collections import OrderedDict

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
        self._wrong: OrderedDict[str, int] = OrderedDict()  # address → when all its wrong keys are forgotten

    def begin(self, key: str, now: int) -> str:
        """A cookie for who has shown the key."""
        token = secrets.token_urlsafe(32)
        self._open[_hash(token)] = (now + LOGIN_S * MICROS, _hash(key))
        while len(self._open) > MOST_LOGINS:
            self._open.popitem(last=False)
        return token

    def under(self, token: str, now: int) -> str:
        """The hash of the key that a cookie of ours was given for; "" for one that has ended or is none. Found by its hash,
        so the time that it takes tells nothing of what others hold.
        """
        until, under = self._open.get(_hash(token), (0, ""))
        return under if now < until else ""

    def end(self, token: str) -> None:
        """The cookie opens nothing any more, whoever has a copy."""
        self._open.pop(_hash(token), None)

    def wait_s(self, address: str, now: int) -> int:
        """Seconds until this address may try a key; 0: now. Each wrong one costs a pause, of which some are free."""
        ahead = self._wrong.get(address, 0) - now - (BURST - 1) * PAUSE_S * MICROS
        return max(0, -(-ahead // MICROS))

    def was_wrong(self, address: str, now: int) -> None:
        self._wrong[address] = max(now, self._wrong.pop(address, 0)) + PAUSE_S * MICROS
        while len(self._wrong) > MOST_ADDRESSES:
            self._wrong.popitem(last=False)
