"""Tokens that credentials were exchanged for, on wires that want one: kept, renewed in time, asked for once at a time.

They live in memory only. Nothing here is ever written, logged or shown.
"""

import asyncio
from dataclasses import dataclass, field

from router.clock import Clock
from router.core.catalog import Access
from router.core.failure import AttemptFailed, Failure, Fault
from router.dialects.grant import Grant
from router.upstream import Upstream, UpstreamCall

EARLY = 0.1  # the last part of a token's time, in which it is renewed
RETRY_S = 30.0  # how long a token that could not be renewed in time is used before that is tried again
# An exchange that came to no answer cost nothing, whatever it was that kept it: no model was asked.
UNANSWERED = frozenset({Fault.TIMEOUT, Fault.RESET, Fault.GARBAGE})

Place = tuple[str, str]  # base URL, credential


@dataclass(frozen=True, slots=True, repr=False)
class Token:
    """What a call is made with, and which wire's it is."""

    text: str
    grant: Grant
    place: Place


@dataclass(frozen=True, slots=True, repr=False)
class _Held:
    text: str
    renew_s: float  # on the measuring clock
    ends_s: float


@dataclass(slots=True)
class Grants:
    """Every token in use."""

    upstream: Upstream
    clock: Clock
    _held: dict[Place, _Held] = field(default_factory=dict, repr=False)
    _asking: dict[Place, asyncio.Future[Failure | None]] = field(default_factory=dict, repr=False)

    async def token(self, grant: Grant, access: Access, credential: str) -> Token:
        """The token for a credential; that itself where it is one. Raises `AttemptFailed`: there is none to be had."""
        place = (access.base_url, credential)
        if grant.ask(*place) is None:
            return Token(credential, grant, place)
        while True:
            held = self._held.get(place)
            if held is not None and self.clock.seconds() < held.renew_s:
                return Token(held.text, grant, place)
            asking = self._asking.get(place)
            if asking is None:
                return Token(await self._renewed(grant, access, place), grant, place)
            # Shielded: one that gives up waiting does not end it for the others.
            if (failure := await asyncio.shield(asking)) is not None:
                raise AttemptFailed(failure)

    def forget(self, token: Token, failure: Failure | None) -> bool:
        """Whether a call failed because its token holds no longer, and a new one can be asked for. A token that has been
        renewed meanwhile stays.
        """
        if failure is None or failure.code not in token.grant.stale or token.grant.ask(*token.place) is None:
            return False
        held = self._held.get(token.place)
        if held is not None and held.text == token.text:
            del self._held[token.place]
        return True

    async def _renewed(self, grant: Grant, access: Access, place: Place) -> str:
        """Ask for a token, for all who wait for it. One that still holds is used on if there is no other."""
        asking = self._asking[place] = asyncio.get_running_loop().create_future()
        failure = None
        try:
            text, holds_s = await self._exchange(grant, access, place)
        except AttemptFailed as error:
            now, held = self.clock.seconds(), self._held.get(place)
            if held is not None and now < held.ends_s:
                self._held[place] = _Held(held.text, min(now + RETRY_S, held.ends_s), held.ends_s)
                return held.text
            failure = error.failure
            raise
        else:
            now = self.clock.seconds()
            self._held[place] = _Held(text, now + holds_s * (1 - EARLY), now + holds_s)
            return text
        finally:  # also when this one is cancelled: the next who waits asks then
            del self._asking[place]
            asking.set_result(failure)

    async def _exchange(self, grant: Grant, access: Access, place: Place) -> tuple[str, float]:
        sent = grant.ask(*place)
        if sent is None:
            raise RuntimeError("a token is exchanged")
        call = UpstreamCall(url=sent.url, headers=sent.headers, body=sent.body, timeouts=access.timeouts)
        exchange = self.upstream.open(call)
        try:
            await exchange.response()
            return grant.read(exchange.status, await exchange.read())
        except AttemptFailed as error:
            failure = error.failure
            if failure.fault not in UNANSWERED:
                raise
            raise AttemptFailed(Failure(Fault.CONNECT, f"no access token: {failure.message}", failure.status)) from None
        finally:
            exchange.close()
